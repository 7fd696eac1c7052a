"""Directories in memory where there is one, for tests that commit thousands of times and test no disk.

What a test run that was killed has left in memory, the next one takes away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["directory"]

_MEMORY = Path("/dev/shm")
_PREFIX = "manor-mem-"


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """An empty one, gone afterwards; by the next caller where this process is killed."""
    place = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        _take_away(left)
    with contextlib.ExitStack() as kept:
        while True:
            made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
            with contextlib.suppress(FileNotFoundError):  # another one took it for left behind just now
                held = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
                kept.callback(os.close, held)
                fcntl.flock(held, fcntl.LOCK_SH)
                if made.exists():
                    break
        kept.callback(shutil.rmtree, made, ignore_errors=True)
        yield made


def _take_away(left: Path) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as kept:
        held = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        kept.callback(os.close, held)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
