"""Running the host's tools: argument lists, a deadline, and errors that say what core has to do next."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from manor.api import CallContext
from manor.errors import DeadlineExceeded, Indeterminate, Permanent

__all__ = ["run", "tried"]


def tried(argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The finished process, however it ended. Raises Permanent where the program is missing, DeadlineExceeded."""
    ctx.check(argv[0])
    try:
        return subprocess.run(
            list(argv), input=stdin, capture_output=True, timeout=max(0.1, ctx.remaining_s()), check=False
        )
    except FileNotFoundError as error:
        raise Permanent(f"{argv[0]} is not installed", hint="apt install iproute2 openvswitch-switch cpio") from error
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(f"{argv[0]} did not end in time") from error


def run(argv: Sequence[str], what: str, ctx: CallContext, *, stdin: bytes = b"") -> str:
    """Standard output. Raises Indeterminate naming ``what`` where the program says no: it may have done a part."""
    done = tried(argv, ctx, stdin=stdin)
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).decode(errors="replace").split())[:300]
        raise Indeterminate(f"{what}: {argv[0]} exited {done.returncode}: {words}")
    return done.stdout.decode(errors="replace")
