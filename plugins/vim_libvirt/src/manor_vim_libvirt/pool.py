"""The files of an installation on a host, by name.

All lie in one directory pool of its own (see :mod:`manor_vim_libvirt.directory`), so they reach a remote host by
libvirt alone, and nobody else's files are ever among them. Names say everything (:mod:`manor_vim_libvirt.names`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

from manor.api import CallContext
from manor.errors import DriverError, Indeterminate, Transient
from manor_vim_libvirt.directory import Directory
from manor_vim_libvirt.faults import has_no_file
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.metadata import parse
from manor_vim_libvirt.names import Sort, StoredName
from manor_vim_libvirt.objects_xml import volume_xml

__all__ = ["QUIET_S", "InUse", "Pool"]

QUIET_S = 3.0
"""How long nothing is added to a file until whoever sent it counts as dead."""
_CHUNK_BYTES = 1 << 18
_LETS_GO_TRIES, _LETS_GO_S = 40, 0.05


class InUse(Transient):
    """Somebody else is writing this very file."""


class Pool:
    """The files of one owner on one host."""

    def __init__(self, link: Link, owner: str) -> None:
        self._link = link
        self.directory = Directory(link, owner)

    def path_of(self, name: StoredName) -> str:
        """Path on the host of a file of the pool."""
        return f"{self.directory.path}/{name}"

    def names(self) -> list[StoredName]:
        """All of them. Raises Unreadable where that cannot be told."""
        return self.directory.names()

    def refresh(self) -> None:
        """Let libvirt see files that it did not make itself: console logs."""
        self.directory.refresh()

    def select(self, sort: Sort, key: str, names: Iterable[StoredName] | None = None) -> StoredName | None:
        """The file of this sort and key, if it is there."""
        for name in self.names() if names is None else names:
            if name.sort is sort and name.key == key:
                return name
        return None

    def volume(self, name: StoredName) -> Any | None:
        """The libvirt volume of a file, None where it is gone."""
        import libvirt

        try:
            return self.directory.using(lambda pool: pool.storageVolLookupByName(str(name)), None)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            return None

    def size_bytes(self, name: StoredName) -> tuple[int, int] | None:
        """Capacity and allocation as the file has them now, None where it is gone behind libvirt's back.

        Raises Unreadable where not it alone is gone.
        """
        import libvirt

        volume = self.volume(name)
        if volume is None:
            return None
        try:
            _, capacity, allocation = volume.info()
        except libvirt.libvirtError as error:
            if not has_no_file(error):
                raise  # a machine would be made anew for want of its disk, while only libvirtd did not answer
            self.directory.using(self.directory.must_be_itself, None)
            return None
        return capacity, allocation

    def length_bytes(self, name: StoredName) -> int:
        """How much of a raw file is there by now, 0 where it is not."""
        import libvirt

        try:
            volume = self.volume(name)
            return int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]) if volume is not None else 0
        except libvirt.libvirtError as error:
            if not has_no_file(error):
                raise
            return 0

    def promised_bytes(self) -> int:
        """What the volumes may still grow by. Raises Unreadable where that cannot be told."""
        sizes = (self.size_bytes(name) for name in self.names() if name.sort is Sort.VOLUME)
        return sum(max(0, size[0] - size[1]) for size in sizes if size is not None)

    def create(
        self, name: StoredName, size_bytes: int, format_: str, *, ctx: CallContext, backing: tuple[str, str] = ("", "")
    ) -> Any:
        """Make a volume; ``backing`` is path and format. Raises Transient where another process makes it."""
        import libvirt

        xml = volume_xml(str(name), size_bytes, format_, backing=backing[0], backing_format=backing[1])
        for _ in range(3):
            ctx.check(f"making {name.sort} {name.key}")
            try:
                return self.directory.ensure(ctx).createXML(xml, 0)
            except libvirt.libvirtError as error:
                if self.directory.is_lost(error):
                    continue  # another call found the pool empty and removed it just now
                if error.get_error_code() == libvirt.VIR_ERR_STORAGE_VOL_EXIST:
                    raise self._in_use(name) from error
                raise
        raise Indeterminate(f"the storage pool of host {self._link.name} comes and goes", hint="retry")

    def _in_use(self, name: StoredName) -> InUse:
        return InUse(f"{name.sort} {name.key} is being made by another process on host {self._link.name}")

    def copy(self, name: StoredName, source: StoredName, size_bytes: int, *, ctx: CallContext) -> None:
        """Make a volume with the whole content of another, which nothing may write to meanwhile."""
        origin = self.volume(source)
        if origin is None:
            raise Indeterminate(f"{source.sort} {source.key} vanished on host {self._link.name}", hint="retry")
        ctx.check(f"copying {source.sort} {source.key}")
        self.directory.ensure(ctx).createXMLFrom(volume_xml(str(name), size_bytes, "qcow2"), origin, 0)

    def upload(
        self, name: StoredName, chunks: Iterator[bytes], size_bytes: int, *, ctx: CallContext, replaces: bool = True
    ) -> None:
        """Make a raw volume with this content. ``replaces``: what an earlier call left half done may be there.

        libvirt lets a file be deleted, and made anew, while it is sent. So it is empty at first, and its length says
        how much is there. Raises InUse where that is not all of it in the end: another call took this one for dead.
        """
        import libvirt

        if replaces:
            self.delete([name])
        self.create(name, 0, "raw", ctx=ctx)
        # Another call may take it for what somebody left half done, until it is written to, and make its own.
        volume = self.volume(name)
        if volume is None:
            raise self._in_use(name)
        stream = self._link.connection().newStream(0)
        try:
            volume.upload(stream, 0, size_bytes, 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_STORAGE_VOL):
                raise self._in_use(name) from error
            raise
        moved_s = time.monotonic()
        try:
            for chunk in chunks:
                ctx.check(f"sending {name.sort} {name.key}")
                for start in range(0, len(chunk), _CHUNK_BYTES):
                    _send(stream, chunk[start : start + _CHUNK_BYTES])
                    moved_s = time.monotonic()
        except BaseException as error:
            with contextlib.suppress(libvirt.libvirtError):  # it may have ended by itself
                stream.abort()
            is_ours = time.monotonic() - moved_s < QUIET_S / 2  # later another call may have made its own of this name
            if is_ours and isinstance(error, libvirt.libvirtError | DriverError):
                self._forget(volume)
            raise
        try:
            stream.finish()
        except libvirt.libvirtError:
            self._forget(volume)
            raise
        if self.length_bytes(name) != size_bytes:
            raise self._in_use(name)

    @staticmethod
    def _forget(volume: Any) -> Any:
        """Delete what was sent in part: where the disk is full, it is what fills it. If it cannot be, it shows."""
        import libvirt

        for _ in range(_LETS_GO_TRIES):
            try:
                return volume.delete(0)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
                    return None
                time.sleep(_LETS_GO_S)  # the other end has not let go of it yet

    def delete(self, names: Iterable[StoredName]) -> None:
        """Delete files; absent ones are no error. Raises Unreadable where libvirt would not find one that is there."""
        import libvirt

        self.directory.using(self.directory.must_be_itself, None)
        for name in names:
            volume = self.volume(name)
            if volume is None:
                continue
            try:
                volume.delete(0)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and self.volume(name) is not None:
                    raise self._in_use(name) from error
                if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                    raise

    def built_on(self, path: str, names: Iterable[StoredName]) -> list[str]:
        """Keys of the volumes whose disk is an overlay on the file ``path``."""
        import libvirt

        keys = []
        for name in names:
            volume = self.volume(name) if name.sort is Sort.VOLUME else None
            if volume is None:
                continue
            try:
                backing = parse(volume.XMLDesc(0)).findtext("backingStore/path")
            except libvirt.libvirtError:
                continue  # deleted since it was listed
            if backing == path:
                keys.append(name.key)
        return keys


def _send(stream: Any, data: bytes) -> None:
    while data:
        sent = stream.send(data)
        data = data[sent:]
