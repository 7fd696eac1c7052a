"""Our storage pool on a host: a directory that is there when needed, gone when empty, and never taken for another.

A pool that was made whole starts by itself with its host, and has a file of no content that marks its directory. Where
that file is not to be found, a file system is not mounted, or another directory is in its place: then nobody knows what
is there, and nothing of it is missing.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from manor.api import CallContext
from manor.errors import Transient
from manor_vim_libvirt.faults import has_no_file
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.names import Sort, StoredName, owner_tag, pool_name
from manor_vim_libvirt.objects_xml import pool_xml, volume_xml

__all__ = ["Directory", "Unreadable"]

T = TypeVar("T")
_NAMESPACE = uuid.UUID("1d5a2f4c-37f8-5b7e-8f5c-9d7c1b0a6e42")


class Unreadable(Transient):
    """What is in the pool cannot be told."""


class Directory:
    """The directory pool of one owner on one host."""

    def __init__(self, link: Link, owner: str) -> None:
        self._link = link
        self._tag = owner_tag(owner)
        self._mark = f"pool+{self._tag}"
        self.name = pool_name(owner)
        self.uuid = uuid.uuid5(_NAMESPACE, owner)
        self.path = link.config.pool_dir or f"/var/lib/libvirt/{self.name}"

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

    def must_be_itself(self, pool: Any) -> None:
        """Raise Unreadable where its directory is not the one that it was made in."""
        import libvirt

        is_whole = pool.autostart()  # asked first: a pool gets its mark before it is whole
        if self._mark not in _listed(pool):
            if not is_whole:
                return  # it is being made, or removed
            with contextlib.suppress(libvirt.libvirtError):  # not while another call makes a file in it
                pool.refresh(0)  # it was started without its directory, which may have come back
            # Made before directories were marked. A console log proves nothing: it is opened anew wherever its path is.
            if any(name.sort is not Sort.CONSOLE for name in self._ours(_listed(pool))):
                self._commit(pool)
        try:
            pool.storageVolLookupByName(self._mark).info()
        except libvirt.libvirtError as error:
            if not has_no_file(error):
                raise
            if not pool.autostart():
                return  # its mark was listed, and another call is removing it
            raise self._unreadable(f"{self.path} is not the directory that it was made in") from error

    def is_lost(self, error: Any) -> bool:
        """Whether a call failed because the pool is not there any more; its handle is dropped then."""
        if not _is_stale(error):
            return False
        self._forget()
        return self.find() is None

    def _forget(self) -> None:
        self._link.pools.pop(str(self.uuid), None)

    def ensure(self, ctx: CallContext) -> Any:
        """The active pool, made or started where need be. Raises Unreadable where it is not in its directory."""
        import libvirt

        def whole(pool: Any) -> Any | None:
            if not pool.autostart():
                return None
            self.must_be_itself(pool)
            return pool

        found = self.using(whole, None)
        if found is not None:
            return found
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

    def using(self, call: Callable[[Any], T], absent: T) -> T:
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
        import libvirt

        def room(pool: Any) -> tuple[int, int]:
            self.must_be_itself(pool)
            with contextlib.suppress(libvirt.libvirtError):  # an upload is running; else what is free is a memory
                pool.refresh(0)
            _, capacity, _, available = pool.info()
            return capacity, available

        return self.using(room, None)

    def names(self) -> list[StoredName]:
        """Our files in the pool. Raises Unreadable where that cannot be told."""

        def listed(pool: Any) -> set[str]:
            found = _listed(pool)
            if self._mark in found:
                return found
            self.must_be_itself(pool)
            return _listed(pool)

        return self._ours(self.using(listed, set()))

    def _ours(self, files: Iterable[str]) -> list[StoredName]:
        names = map(StoredName.read, files)
        return [name for name in names if name is not None and name.tag == self._tag]

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
            if pool is None:
                return
            try:
                self._collect(pool)
            except libvirt.libvirtError as error:
                if not _is_stale(error):
                    raise  # else another process has removed it just now
                self._forget()

    def _collect(self, pool: Any) -> None:
        import libvirt

        if _listed(pool) - {self._mark}:
            return
        self.must_be_itself(pool)
        pool.refresh(0)
        if _listed(pool) - {self._mark}:
            return
        pool.setAutostart(False)
        try:
            if self._mark in _listed(pool):  # nothing else: another call may have made a file by now
                pool.storageVolLookupByName(self._mark).delete(0)
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
