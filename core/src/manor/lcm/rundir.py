"""Where an installation's sockets are: a directory that is there while somebody uses it, and no longer.

It is in the home, or below /run where the home's path is too long for a socket's; there nobody would look for it after
the home is gone. Every process that uses it holds a shared lock on it, and the last one takes away what is empty. What
one that was killed leaves below /run, the next one there takes away, of whatever home it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import stat
import threading
import time
from pathlib import Path

__all__ = ["RunDir"]

_AWAY = Path("/run/manor")
_LONGEST = 70
"""A Unix socket's path may have 107 characters; a driver needs some of them for a name."""
_COMES_UP_S = 60.0
"""From a socket's making until somebody surely listens at it."""


class RunDir:
    """One process's hold on the directory of a home. Threads may share it."""

    def __init__(self, home: Path) -> None:
        inside = home.absolute() / "run"
        away = _AWAY / hashlib.sha256(str(inside).encode()).hexdigest()[:12]
        self.path = inside if len(str(inside)) <= _LONGEST else away
        self._lock = threading.Lock()
        self._held: int | None = None

    def make(self, part: str) -> Path:
        """A directory in it (0700), there until :meth:`leave` at least."""
        with self._lock:
            if self._held is not None and not self._is_at_path(self._held):  # somebody removed it
                os.close(self._held)
                self._held = None
            if self._held is None:
                self._held = self._enter()
        made = self.path / part
        made.mkdir(exist_ok=True, mode=0o700)
        return made

    def _enter(self) -> int:
        if self.path.parent == _AWAY and _AWAY.exists():
            _sweep()
        while True:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.ExitStack() as kept, contextlib.suppress(FileNotFoundError):
                held = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                kept.callback(os.close, held)
                fcntl.flock(held, fcntl.LOCK_SH)
                if self._is_at_path(held):
                    kept.pop_all()
                    return held
            # Another one has just taken it away: once more.

    def _is_at_path(self, held: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(held), self.path.stat())
        return False

    def leave(self) -> None:
        """Let go of it. Where nobody else holds it, what is empty goes; where an agent has its socket it stays."""
        with self._lock:
            held, self._held = self._held, None
        if held is None:
            return
        _clear(self.path, held)
        os.close(held)


def _clear(path: Path, held: int) -> None:
    """Take away the open directory with what is empty in it, where nobody else holds it."""
    with contextlib.suppress(OSError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for part in list(path.iterdir()):
            with contextlib.suppress(OSError):
                part.rmdir()
        path.rmdir()


def _sweep() -> None:
    """Clear what is held by nobody any more: its processes were killed, and its home may never be used again."""
    for path in list(_AWAY.iterdir()):
        with contextlib.suppress(OSError), contextlib.ExitStack() as kept:
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            kept.callback(os.close, held)
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for part in filter(_is_deserted, list(path.iterdir())):
                shutil.rmtree(part, ignore_errors=True)
            _clear(path, held)


def _is_deserted(part: Path) -> bool:
    """Whether it has sockets, nobody listens at any of them, and nobody is just coming up."""
    sockets = [one for one in part.iterdir() if stat.S_ISSOCK(one.lstat().st_mode)]
    is_old = time.time() - part.stat().st_mtime > _COMES_UP_S
    return bool(sockets) and is_old and not any(map(_answers, sockets))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            pass  # busy, or not ours to ask
    return True
