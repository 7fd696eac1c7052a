"""The files of a package, wherever they are: a folder, a zip, a tarball; all seen the same, none trusted.

A name is a relative path with ``/``. What is absolute, climbs out, is a link out of the package or is too much is
refused with a finding before anything is read; nothing is ever written under a name that a package chose.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from manor.catalog.nodes import MAX_BYTES
from manor.catalog.report import refusal
from manor.errors import DescriptorError

__all__ = ["LIMITS", "FolderFiles", "Limits", "NearbyFiles", "PackageFiles"]
__all__ += ["digest_of", "read_text_file", "refused", "safe_name", "under"]

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much a package may be."""

    members: int = 10_000
    member_bytes: int = 32 << 30
    total_bytes: int = 64 << 30
    ratio: int = 200
    """Most that a member may grow by decompression, once it is larger than ``ratio_floor_bytes``."""
    ratio_floor_bytes: int = 64 << 20


LIMITS = Limits()


class PackageFiles(Protocol):
    """Regular files by name."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Size in bytes by name, in the package's order."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A stream of one file. Raises KeyError where it is not there, DescriptorError where it cannot be read."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


def refused(code: str, message: str, name: str, hint: str = "") -> DescriptorError:
    """The error for a package that may not be read at all."""
    return DescriptorError(f"{name}: {message}", findings=[refusal(code, message, file=name, hint=hint)])


def safe_name(name: str, package: str) -> str:
    """A member's name, normalised. Raises DescriptorError for one that would land outside the package."""
    if not name or "\0" in name or any(ord(letter) < 32 for letter in name):
        raise refused("path-unsafe", f"a member has an unusable name {name[:80]!r}", package)
    path = name.replace("\\", "/")
    if path.startswith("/") or (len(path) > 1 and path[1] == ":"):
        raise refused("path-absolute", f"member {name[:200]} has an absolute path", package)
    normal = posixpath.normpath(path)
    if normal == ".." or normal.startswith("../"):
        raise refused("path-escapes", f"member {name[:200]} points outside the package", package)
    return normal


def under(base: str, name: str) -> str:
    """``name`` as seen from the folder ``base``, normalised; empty where it leaves the package."""
    if "\0" in name or name.startswith("/"):
        return ""
    normal = posixpath.normpath(posixpath.join(base, name))
    return "" if normal == ".." or normal.startswith("../") or normal == "." else normal


class FolderFiles:
    """A folder as a package. Links inside are followed only to what is inside."""

    def __init__(self, root: Path, *, limits: Limits = LIMITS, skip: Iterable[str] = ()) -> None:
        self._root = root
        self._real = Path(os.path.realpath(root))
        self.sizes: dict[str, int] = {}
        skipped = frozenset(skip)
        total = 0
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if name not in (".git", "__pycache__"))
            for name in (*folders, *sorted(names)):
                path = Path(folder, name)
                relative = path.relative_to(root).as_posix()
                if path.is_symlink():
                    self._inside(path, relative)
                if name in folders and not path.is_symlink():
                    continue
                found = path.stat() if path.exists() else None
                if found is None or not stat.S_ISREG(found.st_mode) or relative in skipped:
                    continue
                self.sizes[relative] = found.st_size
                total += found.st_size
                if (
                    len(self.sizes) > limits.members
                    or found.st_size > limits.member_bytes
                    or total > limits.total_bytes
                ):
                    raise refused("package-large", "more than a package may be", str(root))

    def _inside(self, path: Path, name: str) -> None:
        target = Path(os.path.realpath(path))
        if target != self._real and self._real not in target.parents:
            raise refused("link-escapes", f"{name} is a link out of the package", str(self._root))

    def open(self, name: str) -> BinaryIO:
        """As :meth:`PackageFiles.open`."""
        return _open(self._root, name, self.sizes)

    def close(self) -> None:
        """Nothing is held."""


class NearbyFiles:
    """What is around a loose descriptor: its own folder, and the package's where that is ``Definitions``.

    Bounded, as the folder may be anything; links are left out.
    """

    _MOST = 5_000
    _DEPTH = 3

    def __init__(self, path: Path) -> None:
        path = path.absolute()
        self._root = path.parent.parent if path.parent.name == "Definitions" else path.parent
        self.entry = path.relative_to(self._root).as_posix()
        """The descriptor's own name."""
        self.sizes: dict[str, int] = {}
        self._add(path, self.entry)
        for folder, folders, names in os.walk(self._root):
            relative = Path(folder).relative_to(self._root)
            deep = len(relative.parts) >= self._DEPTH
            folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                self._add(Path(folder, name), (relative / name).as_posix())
                if len(self.sizes) >= self._MOST:
                    return

    def _add(self, path: Path, name: str) -> None:
        try:
            found = path.stat() if name == self.entry else path.lstat()
        except OSError:
            return
        if stat.S_ISREG(found.st_mode):
            self.sizes[name] = found.st_size

    def open(self, name: str) -> BinaryIO:
        """As :meth:`PackageFiles.open`."""
        return _open(self._root, name, self.sizes)

    def close(self) -> None:
        """Nothing is held."""


def _open(root: Path, name: str, sizes: Mapping[str, int]) -> BinaryIO:
    if name not in sizes:
        raise KeyError(name)
    try:
        return open(root / name, "rb")
    except OSError as error:
        raise refused("file-unreadable", f"cannot be read: {error.strerror}", name) from None


def read_text_file(files: PackageFiles, name: str, most: int = MAX_BYTES) -> bytes:
    """A small file as a whole. Raises DescriptorError where it is larger than ``most`` or cannot be read."""
    if files.sizes[name] > most:
        raise refused("file-large", f"the file has {files.sizes[name]} bytes, {most} are read", name)
    with files.open(name) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise refused("file-large", f"the file has more than {most} bytes", name)
    return data


def digest_of(files: PackageFiles, name: str, algorithm: str) -> str:
    """Hexadecimal digest of a file, read as a stream."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with files.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
