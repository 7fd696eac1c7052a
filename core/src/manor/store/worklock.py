"""The lock file beside a SQLite database: whoever holds it is the one process that works off operations there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

__all__ = ["take"]


def take(database: Path) -> IO[str] | None:
    """The lock, held until the file is closed; None where another process holds it."""
    lock = open(database.with_name(f"{database.name}.lock"), "a+", opener=_private)  # noqa: SIM115 - held by the caller
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
