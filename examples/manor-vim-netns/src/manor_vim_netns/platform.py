"""What the driver noted of each resource: a file each, written atomically, for namespaces can carry no metadata.

A note is written before the thing is made and removed after it is gone, so that a crash in between leaves a note
without a thing, which ``observe`` tells as stopped, and never a thing without a note.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Native", "Platform"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Native:
    """One object of the platform, with what the driver noted on it."""

    native_id: str
    owner: str
    key: str
    kind: str
    spec: dict[str, Any]
    spec_hash: str
    running: bool


class Platform:
    """Objects as files in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._threads = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads and processes out while looking and changing."""
        with self._threads, open(self._directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def native_id(self, owner: str, kind: str, key: str) -> str:
        """The platform's name for a resource: made from the key, so that there can be only one."""
        return f"mn-{kind}-{hashlib.sha256(f'{owner} {key}'.encode()).hexdigest()[:16]}"

    def read(self) -> list[Native]:
        """Everything that is there, of whomever."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                found.append(Native(**json.loads(path.read_text())))
            except FileNotFoundError:
                continue  # removed since it was listed
        return found

    def write(self, native: Native) -> None:
        """Make or change an object."""
        path = self._directory / f"{native.native_id}.json"
        partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        partial.write_text(json.dumps({name: getattr(native, name) for name in Native.__slots__}))
        partial.replace(path)

    def delete(self, native: Native) -> None:
        """Remove an object."""
        (self._directory / f"{native.native_id}.json").unlink(missing_ok=True)
