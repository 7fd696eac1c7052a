"""Files of on-boarded packages, each once, named by its SHA-256, under ``packages`` in Manor's home.

A file appears under its name only whole and synced to disk. What no package refers to is swept away; a lock between
processes keeps the sweep from what another one is about to refer to.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from manor.catalog.files import PackageFiles
from manor.errors import UsageError

__all__ = ["Staged", "StagedFile", "artifact_path", "content_hash", "locked", "publish", "stage", "sweep"]

_CHUNK = 1 << 20
_STAGING = ".staging"
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedFile:
    """A file copied and hashed."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """A package's files, copied aside."""

    folder: Path
    files: Mapping[str, StagedFile]
    """By name in the package."""


def _root(home: Path) -> Path:
    return home / "packages"


def artifact_path(home: Path, sha256: str) -> Path:
    """Where the file with this hash is kept. Raises UsageError for what is no SHA-256."""
    if not _NAME.fullmatch(sha256):
        raise UsageError(f"{sha256[:80]!r} is not a SHA-256")
    return _root(home) / sha256[:2] / sha256


def content_hash(files: Mapping[str, StagedFile]) -> str:
    """One hash over all of a package: equal for equal files under equal names, in a folder or any archive."""
    lines = (f"{file.sha256}  {name}\n" for name, file in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def stage(home: Path, files: PackageFiles, names: Iterable[str]) -> Staged:
    """Copy these files aside as a stream, hashing on the way. On any failure nothing stays."""
    folder = _root(home) / _STAGING / uuid.uuid4().hex
    folder.mkdir(parents=True, mode=0o700)
    for parent in (_root(home), folder.parent):
        parent.chmod(0o700)
    try:
        return Staged(folder=folder, files={name: _copy(files, name, folder) for name in names})
    except BaseException:
        discard(folder)
        raise


def _copy(files: PackageFiles, name: str, folder: Path) -> StagedFile:
    digest, size = hashlib.sha256(), 0
    part = folder / "part"
    descriptor = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as out, files.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    part.rename(folder / digest.hexdigest())
    return StagedFile(sha256=digest.hexdigest(), size_bytes=size)


def discard(folder: Path) -> None:
    """Let go of a staging folder."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Alone among all processes with the kept files and what refers to them."""
    _root(home).mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(_root(home) / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def publish(home: Path, staged: Staged) -> None:
    """Put staged files under their names. Under :func:`locked`, until something refers to them."""
    folders = set()
    for file in staged.files.values():
        kept = artifact_path(home, file.sha256)
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        source = staged.folder / file.sha256
        if source.exists():
            source.replace(kept)
            folders.add(kept.parent)
    for folder in (*folders, _root(home)):
        _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(home: Path, referred: Collection[str]) -> int:
    """Remove every kept file that is not referred to; returns how many. Under :func:`locked`.

    Staging folders are left alone: another process may be filling one. They go with their process, or by
    :func:`sweep_staging` when none runs.
    """
    removed = 0
    for path in _root(home).glob("[0-9a-f][0-9a-f]/*"):
        if _NAME.fullmatch(path.name) and path.name not in referred:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def sweep_staging(home: Path, older_than_s: float, now_s: float) -> int:
    """Remove what a process that died left in staging; returns how many folders."""
    removed = 0
    for folder in (_root(home) / _STAGING).glob("*"):
        if folder.is_dir() and now_s - folder.stat().st_mtime > older_than_s:
            discard(folder)
            removed += 1
    return removed
