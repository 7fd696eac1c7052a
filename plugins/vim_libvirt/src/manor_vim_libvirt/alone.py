"""One at a time, of an endpoint's threads and processes on this machine: by a file lock, which dies with its owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from manor.api import CallContext

__all__ = ["alone"]

_POLL_S = 0.05


@contextlib.contextmanager
def alone(path: Path, ctx: CallContext, doing: str) -> Iterator[None]:
    """While nobody else is here with the same file. Raises DeadlineExceeded where others take too long."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                ctx.check(f"{doing}, which another call or process of this installation is at")
                time.sleep(_POLL_S)
        yield
