"""Who holds a SQLite file that is locked, as the kernel tells it: who finds it locked wants to know whom to ask.

The kernel's list is read, and the file left alone: to open and close it here would let go of every lock that this
process has on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["holder"]


def holder(path: Path) -> str:
    """The process that has locked the file or its write-ahead log, as ``process 12 (sqlite3)``; empty where no other
    process has that we may see."""
    ours = {id for one in (path, path.with_name(f"{path.name}-shm")) for id in _ids(one)}
    with suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            # 1: POSIX ADVISORY WRITE <pid> <major>:<minor>:<inode> <start> <end>; one that waits has -> as its second.
            if words[1:2] == ["POSIX"] and words[3] == "WRITE" and words[5] in ours and words[4] != str(os.getpid()):
                return _named(int(words[4]))
    return ""


def _ids(path: Path) -> Iterator[str]:
    with suppress(OSError):
        found = path.stat()
        yield f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"


def _named(pid: int) -> str:
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text(errors='replace').strip()})"
    except OSError:
        return f"process {pid}"
