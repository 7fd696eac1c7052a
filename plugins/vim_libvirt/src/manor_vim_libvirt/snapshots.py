"""Snapshots: whole copies of a node's disks at one moment, as files beside them.

A running machine goes on: QEMU copies all its disks as they are when the backup job begins, whatever the guest writes
meanwhile, and the guest agent, where there is one, brings its file systems to rest for that moment. A machine that is
off has its files copied. A last file of no content commits a snapshot: without it, it is PENDING and is taken anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lxml import etree

from manor.api import CallContext, Observed, Phase, ResourceKind, ResourceRef, SnapshotSpec, VolumeSpec, spec_hash
from manor.errors import Conflict, DeadlineExceeded, NotFound, Permanent, Transient
from manor_vim_libvirt import nodes
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.metadata import parse
from manor_vim_libvirt.names import Sort, StoredName
from manor_vim_libvirt.pool import Pool

__all__ = ["copy_for", "ensure", "observed", "parents", "remove"]

_POLL_S = 0.2


def ensure(link: Link, pool: Pool, spec: SnapshotSpec, ctx: CallContext) -> Observed:
    """Take the snapshot, unless it is there. Raises NotFound where node or volume is not on the host."""
    digest = spec_hash(spec)
    ready = StoredName.of(Sort.SNAPSHOT_READY, spec.owner, spec.key, digest)
    names = pool.names()
    there = pool.select(Sort.SNAPSHOT_READY, spec.key, names)
    if there is not None and there != ready:
        raise Conflict(f"snapshot {spec.key} on host {link.name} is of something else", replace=False)
    if there is not None:
        return observed(link, pool, spec.key, names)
    domain = nodes.lookup(link, spec.owner, spec.node)
    if domain is None:
        raise NotFound(f"node {spec.node} of snapshot {spec.key} is not on host {link.name}", hint="heal it first")
    disks = [(_volume(link, pool, key, names), _copy(spec.owner, spec.key, key, digest)) for key in spec.volumes]
    pool.refresh()
    pool.delete(_copies(spec.key, pool.names()))  # what an earlier call did not finish
    ctx.check(f"taking snapshot {spec.key}")
    if domain.isActive():
        _back_up(pool, domain, spec.key, disks, ctx)
        pool.refresh()
    else:
        for volume, copy in disks:
            size = pool.size_bytes(volume)
            pool.copy(copy, volume, size[0] if size else 0, ctx=ctx)
    pool.create(ready, 0, "raw", ctx=ctx)
    return observed(link, pool, spec.key, pool.names())


def _volume(link: Link, pool: Pool, key: str, names: Sequence[StoredName]) -> StoredName:
    found = pool.select(Sort.VOLUME, key, names)
    if found is None:
        raise NotFound(f"volume {key} is not on host {link.name}", hint="heal the machine first")
    return found


def _copy(owner: str, snapshot: str, volume: str, digest: str) -> StoredName:
    return StoredName.of(Sort.SNAPSHOT, owner, f"{snapshot}/{volume.rpartition('/')[2]}", digest)


def _copies(snapshot: str, names: Sequence[StoredName]) -> Iterator[StoredName]:
    return (name for name in names if name.sort is Sort.SNAPSHOT and name.key.rpartition("/")[0] == snapshot)


def backup_xml(targets: dict[str, str]) -> str:
    """A push backup of these disks (target file by device name, as ``vda``); all others are left out. Pure."""
    root = etree.Element("domainbackup", mode="push")
    disks = etree.SubElement(root, "disks")
    for device, path in targets.items():
        disk = etree.SubElement(disks, "disk", name=device, backup="yes", type="file")
        etree.SubElement(disk, "driver", type="qcow2")
        etree.SubElement(disk, "target", file=path)
    text: str = etree.tostring(root, encoding="unicode")
    return text


def _back_up(
    pool: Pool, domain: Any, key: str, disks: Sequence[tuple[StoredName, StoredName]], ctx: CallContext
) -> None:
    """Have QEMU copy the disks as they are now. Raises DeadlineExceeded where that takes too long, and stops it."""
    import libvirt

    devices = {
        disk.find("source").get("file"): disk.find("target").get("dev")
        for disk in parse(domain.XMLDesc(0)).iterfind("devices/disk")
        if disk.find("source") is not None and disk.find("target") is not None
    }
    targets = {}
    for volume, copy in disks:
        device = devices.get(pool.path_of(volume))
        if device is None:
            raise NotFound(f"volume {volume.key} is not attached to the machine of snapshot {key}", hint="plan again")
        targets[device] = pool.path_of(copy)
    left_out = {device: None for device in devices.values() if device not in targets}
    xml = _with_left_out(backup_xml(targets), left_out)
    with _at_rest(domain):
        try:
            domain.backupBegin(xml, None, 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                raise Transient(f"snapshot {key}: the machine is busy with another job", retry_after_s=2.0) from error
            raise
    _await_job(domain, key, ctx)


def _with_left_out(xml: str, devices: dict[str, None]) -> str:
    root = etree.fromstring(xml)
    disks = root.find("disks")
    assert disks is not None
    for device in devices:
        etree.SubElement(disks, "disk", name=device, backup="no")
    text: str = etree.tostring(root, encoding="unicode")
    return text


def _await_job(domain: Any, key: str, ctx: CallContext) -> None:
    import libvirt

    while domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
        if ctx.remaining_s() <= 0 or ctx.is_cancelled():
            domain.abortJob()
            raise DeadlineExceeded(f"snapshot {key}: its disks are not copied in time", hint="retry when it is calmer")
        time.sleep(_POLL_S)
    done = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if done.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED:
        reason = done.get("errmsg") or "the hypervisor gives no reason"
        raise Permanent(f"snapshot {key}: its disks could not be copied: {reason}", hint="is there room in the pool?")


@contextmanager
def _at_rest(domain: Any) -> Iterator[None]:
    """File systems at rest, where an agent inside can do that."""
    import libvirt

    frozen = False
    try:
        frozen = domain.fsFreeze() >= 0
    except libvirt.libvirtError:
        pass  # no agent, or one that cannot: the copy is as after a power cut
    try:
        yield
    finally:
        if frozen:
            try:
                domain.fsThaw()
            except libvirt.libvirtError:
                pass  # the guest thaws by itself after a while


def parents(names: Sequence[StoredName]) -> dict[str, StoredName]:
    """By snapshot key, a file of it: the one that commits it where it is there."""
    found = {name.key.rpartition("/")[0]: name for name in names if name.sort is Sort.SNAPSHOT}
    return found | {name.key: name for name in names if name.sort is Sort.SNAPSHOT_READY}


def observed(link: Link, pool: Pool, key: str, names: Sequence[StoredName]) -> Observed:
    """A snapshot as it is."""
    file = parents(names)[key]
    sizes = [pool.size_bytes(copy) for copy in _copies(key, names)]
    phase, reason = Phase.ACTIVE, ""
    if file.sort is not Sort.SNAPSHOT_READY:
        phase, reason = Phase.PENDING, "it was not finished"
    elif not sizes or None in sizes:
        phase, reason = Phase.ERROR, "its files are gone"
    return Observed(
        ref=ResourceRef(kind=ResourceKind.SNAPSHOT, key=key, host=link.name),
        owner="",
        native_id=pool.path_of(file),
        phase=phase,
        spec_hash=file.spec_hash,
        detail={"allocation_bytes": sum(size[1] for size in sizes if size), **({"reason": reason} if reason else {})},
    )


def remove(pool: Pool, key: str, ctx: CallContext) -> None:
    """Delete the snapshot's files; what commits it goes first."""
    ctx.check(f"removing snapshot {key}")
    pool.refresh()
    names = pool.names()
    pool.delete(name for name in names if name.sort is Sort.SNAPSHOT_READY and name.key == key)
    pool.delete(_copies(key, names))


def copy_for(link: Link, pool: Pool, spec: VolumeSpec, names: Sequence[StoredName]) -> StoredName:
    """The copy that a volume is made from. Raises NotFound where the snapshot is not here, or is not whole."""
    if pool.select(Sort.SNAPSHOT_READY, spec.snapshot, names) is not None:
        wanted = f"{spec.snapshot}/{spec.key.rpartition('/')[2]}"
        found = pool.select(Sort.SNAPSHOT, wanted, names)
        if found is not None:
            return found
    raise NotFound(f"snapshot {spec.snapshot} of volume {spec.key} is not on host {link.name}", hint="plan again")
