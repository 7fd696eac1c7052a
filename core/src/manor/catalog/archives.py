"""Zip and tar archives as package files, read as streams and within limits."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from manor.catalog.files import LIMITS, FolderFiles, Limits, PackageFiles, refused, safe_name
from manor.errors import DescriptorError

__all__ = ["TarFiles", "ZipFiles", "is_archive", "open_files"]

_SUFFIXES = (".csar", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)
"""What the standard library raises for archives that are damaged, encrypted or of an unknown method."""


def is_archive(path: Path) -> bool:
    """Whether the name says so."""
    return path.name.lower().endswith(_SUFFIXES)


def open_files(path: Path, *, limits: Limits = LIMITS) -> PackageFiles:
    """The files of a folder or archive. Raises DescriptorError where it is none, damaged or refused."""
    if path.is_dir():
        return FolderFiles(path, limits=limits)
    try:
        with open(path, "rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise refused("file-unreadable", f"cannot be read: {error.strerror}", str(path)) from None
    if start.startswith(b"PK"):
        return ZipFiles(path, limits=limits)
    return TarFiles(path, limits=limits)


class ZipFiles:
    """A zip archive (CSAR)."""

    def __init__(self, path: Path, *, limits: Limits = LIMITS) -> None:
        self._path = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise refused("archive-damaged", f"not a readable zip archive: {error}", self._path) from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.sizes: dict[str, int] = {}
        try:
            self._list(limits)
        except DescriptorError:
            self._zip.close()
            raise

    def _list(self, limits: Limits) -> None:
        members = self._zip.infolist()
        if len(members) > limits.members:
            raise refused("archive-members", f"{len(members)} members, {limits.members} are allowed", self._path)
        total = 0
        for member in members:
            name = safe_name(member.filename, self._path)
            if member.is_dir():
                continue
            mode = member.external_attr >> 16
            if stat.S_ISLNK(mode):
                raise refused("link-escapes", f"member {name} is a link", self._path, "put the file itself in")
            if member.flag_bits & 1:
                raise refused("archive-encrypted", f"member {name} is encrypted", self._path)
            if name in self.sizes:
                raise refused("archive-duplicate", f"member {name} is there twice", self._path)
            total += member.file_size
            if member.file_size > limits.member_bytes or total > limits.total_bytes:
                raise refused("archive-large", f"member {name} makes the package too large", self._path)
            if member.file_size > limits.ratio_floor_bytes and (
                member.file_size > limits.ratio * max(1, member.compress_size)
            ):
                message = f"member {name} grows {limits.ratio} times and more when unpacked"
                raise refused("archive-bomb", message, self._path, "put sparse images in as qcow2")
            self._members[name] = member
            self.sizes[name] = member.file_size

    def open(self, name: str) -> BinaryIO:
        try:
            stream = self._zip.open(self._members[name])
        except _BROKEN as error:
            raise refused("archive-damaged", f"member {name} cannot be read: {error}", self._path) from None
        return cast(BinaryIO, _Guarded(stream, name, self._path))

    def close(self) -> None:
        self._zip.close()


class _Guarded(io.RawIOBase):
    """A member's stream whose damage is a finding instead of a traceback."""

    def __init__(self, stream: IO[bytes], name: str, package: str) -> None:
        self._stream = stream
        self._name = name
        self._package = package

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except _BROKEN as error:
            message = f"member {self._name} is damaged: {error}"
            raise refused("archive-damaged", message, self._package) from None

    def close(self) -> None:
        self._stream.close()
        super().close()


class _TarInfo(tarfile.TarInfo):
    """A member whose extended header is not taken into memory whatever its size."""

    _MOST = 1 << 16

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        plain = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.CONTTYPE)
        if self.type not in plain and self.size > self._MOST:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


class TarFiles:
    """A tar archive, compressed or not, unpacked once into a private folder under names of our own."""

    def __init__(self, path: Path, *, limits: Limits = LIMITS) -> None:
        self._path = str(path)
        self.sizes: dict[str, int] = {}
        self._copies: dict[str, Path] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="manor-package-"))
        try:
            self._unpack(path, limits)
        except BaseException:
            self.close()
            raise

    def _unpack(self, path: Path, limits: Limits) -> None:
        packed = max(1, path.stat().st_size)
        allowed = min(limits.total_bytes, max(limits.ratio_floor_bytes, packed * limits.ratio))
        count = 0
        try:
            with tarfile.open(path, mode="r|*", tarinfo=_TarInfo) as archive:
                for member in archive:
                    count += 1
                    if count > limits.members:
                        raise refused("archive-members", f"more than {limits.members} members", self._path)
                    name = safe_name(member.name, self._path)
                    if member.issym() or member.islnk():
                        raise refused("link-escapes", f"member {name} is a link", self._path, "put the file itself in")
                    allowed -= max(0, member.size)
                    if member.size > limits.member_bytes or allowed < 0:
                        message = f"member {name} makes the package too large for its {packed} bytes"
                        raise refused("archive-bomb", message, self._path)
                    if not member.isfile():
                        continue
                    if name in self.sizes:
                        raise refused("archive-duplicate", f"member {name} is there twice", self._path)
                    self._copy(archive, member, name)
        except (tarfile.TarError, *_BROKEN) as error:
            if isinstance(error, DescriptorError):
                raise
            raise refused("archive-damaged", f"not a readable archive: {error}", self._path) from None

    def _copy(self, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        stream = archive.extractfile(member)
        copy = self._folder / str(len(self._copies))
        if stream is None:
            return
        with stream, open(copy, "xb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
        self._copies[name] = copy
        self.sizes[name] = copy.stat().st_size

    def open(self, name: str) -> BinaryIO:
        return open(self._copies[name], "rb")

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
