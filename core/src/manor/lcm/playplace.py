"""Where a playbook runs: a directory with the values it was given, secrets too, that does not outlive its process.

It is removed afterwards. Where the process was killed, whoever comes next removes it: a directory that nobody holds the
lock of belongs to nobody.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["place", "sweep"]


@contextmanager
def place(home: Path) -> Iterator[Path]:
    """A new private directory, gone at the end."""
    root = _root(home)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(root):  # so that no sweep finds it made and not yet held
        made = Path(tempfile.mkdtemp(dir=root))
        held = _hold(made)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(held)


def sweep(home: Path) -> int:
    """Remove what processes that were killed have left; how many directories that were."""
    root, removed = _root(home), 0
    if not root.is_dir():
        return 0
    with _locked(root):
        for left in root.iterdir():
            try:
                held = _hold(left)
            except OSError:  # somebody plays there, or has just left
                continue
            shutil.rmtree(left, ignore_errors=True)
            os.close(held)
            removed += 1
    return removed


def _root(home: Path) -> Path:
    return home / "run" / "playbooks"


def _hold(folder: Path) -> int:
    """The folder's lock, until it is closed. Raises OSError where another has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
