"""The way into a machine that has no guest agent: OpenSSH's own client, with the operator's key.

The host key is taken at the first contact with a machine that we made, and held from then on; a machine made anew has a
new one (:func:`forget`). Nothing of the operator's own ssh configuration is used.
"""

from __future__ import annotations

import hashlib
import re
import resource
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from manor.api import CallContext, GuestResult
from manor.errors import DeadlineExceeded, Indeterminate, Permanent, Transient, Unauthorized

__all__ = ["KEY", "SshGuest", "forget"]

KEY = "ssh/id_manor"
"""The private key, in Manor's home."""
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MOST_BYTES = 1 << 20
_CONNECT_S = 10
_SSH_FAILED = 255
_CUT_OFF = ("closed by remote host", "client_loop:", "Read from remote host", "Timeout, server")
"""What OpenSSH says of a connection that was lost once it stood."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SshGuest:
    """A machine by SSH; an api ``Guest``."""

    uri: str
    """``ssh://<user>@<address>[:<port>]``."""
    key: str
    """Key of the node."""
    home: Path

    def ping(self, ctx: CallContext) -> bool:
        """Whether somebody can log in."""
        return self.run(["true"], ctx).exit_code == 0

    def run(self, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        """Run a program inside and wait for it.

        Raises Transient where the machine does not answer, Indeterminate where it falls silent midway, Unauthorized
        where it does not know our key or is not the one it was, DeadlineExceeded where the program lasts too long,
        Permanent where it says more than a megabyte.
        """
        command = self._command(argv, min(_CONNECT_S, max(1, int(ctx.remaining_s()))))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.NamedTemporaryFile() as log:
            # What ssh itself says goes apart: a program may exit as ssh does where it fails, and say anything.
            command[1:1] = ["-E", log.name]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err) as process:  # noqa: S603 - a list, no shell
                # A guest is a stranger: it may talk without end.
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_MOST_BYTES, _MOST_BYTES))
                try:
                    process.communicate(stdin, timeout=ctx.remaining_s())
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise DeadlineExceeded(f"{self.key}: {argv[0]} has not ended in time") from None
            out.seek(0)
            err.seek(0)
            said, complained, told = out.read(), err.read(), log.read().decode(errors="replace")
        if process.returncode < 0:
            raise Permanent(f"{self.key}: {argv[0]} said more than {_MOST_BYTES >> 20} MiB")
        if process.returncode == _SSH_FAILED:
            if any(sign in f"{told}{complained[-200:].decode(errors='replace')}" for sign in _CUT_OFF):
                raise Indeterminate(f"{self.key}: the connection ended before it said how {argv[0]} went")
            if told:
                raise self.refusal(told)
        return GuestResult(exit_code=process.returncode, stdout=said, stderr=complained)

    def as_ansible_host(self) -> dict[str, object]:
        """The same way in, as an inventory's variables."""
        parts, options = self._checked(), self._options(_CONNECT_S)
        key = options.pop("IdentityFile")
        return {
            "ansible_host": parts.hostname,
            "ansible_port": parts.port or 22,
            "ansible_user": parts.username,
            "ansible_ssh_private_key_file": key,
            "ansible_ssh_common_args": shlex.join(
                ["-F", "none", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
            ),
        }

    def _command(self, argv: Sequence[str], connect_s: int) -> list[str]:
        parts = self._checked()
        told = [word for name, value in self._options(connect_s).items() for word in ("-o", f"{name}={value}")]
        port = ["-p", str(parts.port)] if parts.port else []
        # What follows the host is one line for the user's shell there: quoted, so that it is these words and no others.
        return [
            "ssh",
            "-F",
            "none",
            *told,
            *port,
            "-l",
            str(parts.username),
            "--",
            str(parts.hostname),
            shlex.join(argv),
        ]

    def _checked(self) -> SplitResult:
        parts = urlsplit(self.uri)
        if not parts.hostname or not _USER.fullmatch(parts.username or ""):
            raise Permanent(f"{self.key}: {self.uri!r} is no way in", hint="correct ssh_user in the descriptor")
        return parts

    def _options(self, connect_s: int) -> dict[str, str]:
        key, known = self.home / KEY, _known(self.home, self.key)
        for place in (key.parent, known.parent):  # one by one: the mode is for the last of a path only
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not key.is_file():
            raise Unauthorized(f"there is no key {key}", hint=f"ssh-keygen -t ed25519 -N '' -f {shlex.quote(str(key))}")
        return {
            "BatchMode": "yes",
            "ConnectTimeout": str(connect_s),
            "IdentitiesOnly": "yes",
            "IdentityFile": str(key),
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(known),
        }

    def refusal(self, complained: str) -> Transient | Unauthorized:
        """What it means that ``ssh`` did not get in and said this."""
        lines = [line.strip() for line in complained.splitlines() if line.strip(" @")]
        last = lines[-1][:200] if lines else "no reason given"
        if "Permission denied" in complained:
            public = f"{self.home / KEY}.pub"
            return Unauthorized(f"{self.key}: {last}", hint=f"the machine has to know {public}: put it into boot data")
        if "IDENTIFICATION HAS CHANGED" in complained:
            return Unauthorized(
                f"{self.key} is not the machine it was: its host key changed", hint="look who answers there; heal it"
            )
        return Transient(f"{self.key} does not answer by SSH: {last}")


def forget(home: Path, key: str) -> None:
    """Forget the host key of a machine that is made anew, or is gone."""
    _known(home, key).unlink(missing_ok=True)


def _known(home: Path, key: str) -> Path:
    return home / "ssh" / "known" / hashlib.sha256(key.encode()).hexdigest()[:16]
