"""Our storage pool on a host: a directory that is there when needed and gone when empty.

All files of an installation on a host lie in one directory pool of its own, so they reach a remote host by libvirt
alone, and nobody else's files are ever among them. Names say everything (see :mod:`manor_vim_libvirt.names`).

A pool that was made whole starts by itself with its host, and has a file of no content that marks its directory. Where
that file is not to be found, a file system is not mounted, or another directory is in its place: then nobody knows what
is there, and nothing of it is missing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from manor.api import CallContext
from manor.errors import Indeterminate, Transient
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.metadata import parse
from manor_vim_libvirt.names import Sort, StoredName, owner_tag, pool_name
from manor_vim_libvirt.objects_xml import pool_xml, volume_xml

__all__ = ["InUse", "Pool", "Unreadable"]

T = TypeVar("T")
_NAMESPACE = uuid.UUID("1d5a2f4c-37f8-5b7e-8f5c-9d7c1b0a6e42")
_CHUNK_BYTES = 1 << 18


class InUse(Transient):
    """Somebody else is writing this very file."""


class Unreadable(Transient):
    """What is in the pool cannot be told."""


class Pool:
    """The pool of one owner on one host."""

    def __init__(self, link: Link, owner: str) -> None:
        self._link = link
        self._owner = owner
        self._tag = owner_tag(owner)
        self.name = pool_name(owner)
        self.uuid = uuid.uuid5(_NAMESPACE, owner)
        self.path = link.config.pool_dir or f"/var/lib/libvirt/{self.name}"
        self._mark = f"pool+{self._tag}"

    def path_of(self, name: StoredName) -> str:
        """Path on the host of a file of the pool."""
        return f"{self.path}/{name}"

    def find(self, *, fresh: bool = False) -> Any | None:
        """The active pool, or None where there is none; ``fresh`` asks though a handle is known.

        Raises Unreadable where it does not start.
        """
        import libvirt

        connection = self._link.connection()
        known = None if fresh else self._link.pools.get(str(self.uuid))
        if known is not None:
            return known
        try:
            pool = connection.storagePoolLookupByUUIDString(str(self.uuid))
            if not pool.isActive() and not self._activate(pool):
                return None
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
                return None
            raise
        self._link.pools[str(self.uuid)] = pool
        return pool

    def _activate(self, pool: Any) -> bool:
        """Start a pool that someone stopped: its files are there, and must not look as if they were not."""
        import libvirt

        with self._link.pool_guard:
            try:
                if not pool.isActive():
                    pool.create(0)
            except libvirt.libvirtError as error:
                if not pool.isActive():  # else another process has started it just now
                    if pool.autostart():
                        raise self._unreadable(error.get_error_message()) from error
                    return False  # it was never made whole
            return True

    def _unreadable(self, why: str) -> Unreadable:
        return Unreadable(
            f"the storage pool {self.name} on host {self._link.name} cannot be read: {why}",
            hint=f"have {self.path} mounted there; if it is lost: virsh pool-destroy and pool-undefine {self.name}",
        )

    def _must_be_itself(self, pool: Any) -> None:
        """Raise Unreadable where its directory is not the one that it was made in."""
        import libvirt

        if self._mark not in _listed(pool):
            # One that is being made or removed has no mark, and may have nothing; nor has one of an older release.
            if not pool.autostart() or self._ours(pool):
                return
            pool.refresh(0)  # it was started without its directory, which may have come back
        try:
            pool.storageVolLookupByName(self._mark).info()
        except libvirt.libvirtError as error:
            if not _has_no_file(error):
                raise
            raise self._unreadable(f"{self.path} is not the directory that it was made in") from error

    def _lost(self, error: Any) -> bool:
        """Whether a call failed because the pool is not there any more; its handle is dropped then."""
        if not _is_stale(error):
            return False
        self._forget()
        return self.find() is None

    def _forget(self) -> None:
        self._link.pools.pop(str(self.uuid), None)

    def ensure(self, ctx: CallContext) -> Any:
        """The active pool, made or started where need be."""
        import libvirt

        whole = self._using(lambda pool: pool if pool.autostart() else None, None)
        if whole is not None:
            return whole
        with self._link.pool_guard:
            pool = self.find()
            if pool is None:
                ctx.check("making the storage pool")
                pool = self._link.connection().storagePoolDefineXML(pool_xml(self.name, self.uuid, self.path))
                try:
                    pool.build(0)
                    pool.create(0)
                except libvirt.libvirtError:
                    if not pool.isActive():
                        raise  # else another process has started it just now
            if not pool.autostart():
                self._commit(pool)
            return pool

    def _commit(self, pool: Any) -> None:
        """The pool is whole from now on."""
        import libvirt

        try:
            pool.createXML(volume_xml(self._mark, 0, "raw"), 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_STORAGE_VOL_EXIST:
                raise
        pool.setAutostart(True)

    def _using(self, call: Callable[[Any], T], absent: T) -> T:
        """What a call gives of the pool, or ``absent``; once more where it was removed or stopped meanwhile."""
        import libvirt

        for _ in range(2):
            pool = self.find()
            if pool is None:
                return absent
            try:
                return call(pool)
            except libvirt.libvirtError as error:
                if not _is_stale(error):
                    raise
                self._forget()
        return absent

    def room_bytes(self) -> tuple[int, int] | None:
        """Size and free bytes of the file system that the pool is on, None where there is no pool."""

        def room(pool: Any) -> tuple[int, int]:
            self._must_be_itself(pool)
            _, capacity, _, available = pool.info()
            return capacity, available

        return self._using(room, None)

    def names(self) -> list[StoredName]:
        """Our files in the pool. Raises Unreadable where that cannot be told."""

        def ours(pool: Any) -> list[StoredName]:
            found = self._ours(pool)
            if not found:
                self._must_be_itself(pool)
                found = self._ours(pool)
            return found

        return self._using(ours, [])

    def _ours(self, pool: Any) -> list[StoredName]:
        files = [StoredName.read(name) for name in _listed(pool)]
        return [name for name in files if name is not None and name.tag == self._tag]

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
            return self._using(lambda pool: pool.storageVolLookupByName(str(name)), None)
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
            if not _has_no_file(error):
                raise  # a machine would be made anew for want of its disk, while only libvirtd did not answer
            self._using(self._must_be_itself, None)
            return None
        return capacity, allocation

    def create(
        self, name: StoredName, size_bytes: int, format_: str, *, ctx: CallContext, backing: tuple[str, str] = ("", "")
    ) -> Any:
        """Make a volume; ``backing`` is path and format. Raises Transient where another process makes it."""
        import libvirt

        xml = volume_xml(str(name), size_bytes, format_, backing=backing[0], backing_format=backing[1])
        for _ in range(3):
            pool = self.ensure(ctx)
            ctx.check(f"making {name.sort} {name.key}")
            try:
                return pool.createXML(xml, 0)
            except libvirt.libvirtError as error:
                if self._lost(error):
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
        self.ensure(ctx).createXMLFrom(volume_xml(str(name), size_bytes, "qcow2"), origin, 0)

    def upload(
        self, name: StoredName, chunks: Iterator[bytes], size_bytes: int, *, ctx: CallContext, replaces: bool = True
    ) -> None:
        """Make a raw volume with this content. ``replaces``: what an earlier call left half done may be there."""
        import libvirt

        if replaces:
            self.delete([name])
        self.create(name, size_bytes, "raw", ctx=ctx)
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
        try:
            for chunk in chunks:
                ctx.check(f"sending {name.sort} {name.key}")
                for start in range(0, len(chunk), _CHUNK_BYTES):
                    _send(stream, chunk[start : start + _CHUNK_BYTES])
        except BaseException:
            stream.abort()
            raise
        stream.finish()

    def delete(self, names: Iterable[StoredName]) -> None:
        """Delete files; absent ones are no error. Raises Unreadable where libvirt would not find one that is there."""
        import libvirt

        self._using(self._must_be_itself, None)
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

    def refresh(self) -> None:
        """Let libvirt see files that it did not make itself: console logs."""
        import libvirt

        pool = self.find(fresh=True)
        if pool is not None:
            try:
                pool.refresh(0)
            except libvirt.libvirtError:
                pass  # an upload is running; what is not seen now is seen at the next removal

    def collect(self, ctx: CallContext) -> None:
        """Remove the pool with its directory if nothing is in it any more."""
        import libvirt

        ctx.check("looking whether the storage pool is empty")
        with self._link.pool_guard:
            pool = self.find(fresh=True)
            if pool is None or _listed(pool) - {self._mark}:
                return
            self._must_be_itself(pool)
            pool.refresh(0)
            if _listed(pool) - {self._mark}:
                return
            pool.setAutostart(False)
            try:
                for mark in _listed(pool):
                    pool.storageVolLookupByName(mark).delete(0)
                pool.destroy()
                pool.delete(0)  # refuses a directory that is not empty
            except libvirt.libvirtError:
                if not pool.isActive():
                    pool.create(0)
                self._commit(pool)
                return
            pool.undefine()
            self._forget()


def _listed(pool: Any) -> set[str]:
    """Names of all files that libvirt knows of in a pool."""
    # listVolumes() asks for the number first and then for so many: it misses files made in between.
    return {volume.name() for volume in pool.listAllVolumes(0)}


def _is_stale(error: Any) -> bool:
    """Whether a pool was removed or stopped under a handle."""
    import libvirt

    return error.get_error_code() in (libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_OPERATION_INVALID)


def _has_no_file(error: Any) -> bool:
    """Whether libvirt looked for a volume's file, and there was none."""
    import libvirt

    code = error.get_error_code()
    is_failed_look = code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_error_domain() == libvirt.VIR_FROM_STORAGE
    return code == libvirt.VIR_ERR_NO_STORAGE_VOL or is_failed_look


def _send(stream: Any, data: bytes) -> None:
    while data:
        sent = stream.send(data)
        data = data[sent:]
