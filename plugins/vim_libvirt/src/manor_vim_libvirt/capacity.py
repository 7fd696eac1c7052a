"""What the hosts offer and what of it can still be promised, as observed now."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manor.api import CallContext, Capabilities, Host, Support, VimCapability
from manor.errors import DriverError
from manor_vim_libvirt.directory import Unreadable
from manor_vim_libvirt.facts import Facts
from manor_vim_libvirt.host import HostView
from manor_vim_libvirt.promised import memory_left, pages_left, promises
from manor_vim_libvirt.room import NOT_NESTED, TAPS_ALONE, free_pages
from manor_vim_libvirt.virtlogd import REMEDY, is_dead, socket_beside

__all__ = ["combine", "report", "silent"]

_ALWAYS = (VimCapability.NODE, VimCapability.NETWORK, VimCapability.VOLUME)
_WITH_QEMU = (
    VimCapability.IMAGE,
    VimCapability.DIRECT_BOOT,
    VimCapability.CLOUD_INIT,
    VimCapability.CONSOLE,
    VimCapability.METERING,
    VimCapability.GUEST_ACCESS,
    VimCapability.CPU_PINNING,
    VimCapability.WATCHDOG,
    VimCapability.EVENTS,
)


def report(view: HostView, ctx: CallContext) -> Host:
    """Look at one host. One that does not answer is reported as not reachable, not raised."""
    try:
        return view.link.run(lambda: _report(view, ctx), key="", doing="looking at the host", effect=False)
    except DriverError as error:
        return silent(view, error.message)


def silent(view: HostView, reason: str) -> Host:
    """A host that does not answer. Pure."""
    config = view.config
    return Host(name=view.name, zone=config.zone, labels=dict(config.labels), reachable=False, reason=reason)


def _report(view: HostView, ctx: CallContext) -> Host:
    facts = view.facts(fresh=True)
    connection = view.link.connection()
    truth = view.truth(ctx)
    reason = truth.reason if truth.accelerator == "tcg" else ""
    try:
        storage, storage_free = _storage(view)
    except Unreadable as error:  # its machines may be well, and it takes no more
        storage, storage_free, reason = 0, 0, error.message
    logger = socket_beside(view.config.uri)
    if logger is not None and is_dead(logger):
        reason = f"virtlogd does not answer, so no machine can start: {REMEDY}"
    promised = promises(view.link, view.owner)
    # After it, so that what is touched meanwhile is taken off twice, not never.
    total, free = _memory(connection)
    total -= sum(size * count for size, count in facts.huge_pages.items())
    ordinary = [one for one in promised if not one.page_bytes]
    return Host(
        name=view.name,
        accelerator=truth.accelerator,
        vcpus=len(facts.cpus) or connection.getInfo()[2],
        vcpus_used=sum(one.vcpus for one in promised),
        vcpus_dedicated=len(frozenset[int]().union(*(one.cpus for one in promised))),
        memory_bytes=total,
        memory_free_bytes=memory_left(total, free, ordinary),
        storage_bytes=storage,
        storage_free_bytes=storage_free,
        zone=view.config.zone,
        labels=dict(view.config.labels),
        reason=reason,
        lacks=_lacks(facts, accelerator=truth.accelerator),
        hugepages_free_bytes=pages_left(facts.huge_pages, free_pages(connection, facts), promised),
    )


def _lacks(facts: Facts, *, accelerator: str) -> dict[str, str]:
    """Capabilities that a host is without, and why. Pure."""
    lacks = dict.fromkeys(_ALWAYS, "")
    lacks |= dict.fromkeys(_WITH_QEMU, "" if facts.is_qemu else f"not with {facts.driver}")
    lacks[VimCapability.UEFI] = "" if facts.uefi else "QEMU has no UEFI firmware; apt-get install ovmf"
    lacks[VimCapability.HUGEPAGES] = "" if facts.huge_pages and facts.is_qemu else "the host set no huge pages aside"
    lacks[VimCapability.NUMA] = "" if facts.numa and facts.is_qemu else "the host shows no NUMA nodes"
    lacks[VimCapability.SRIOV] = TAPS_ALONE
    lacks[VimCapability.NESTED] = "" if facts.nested and accelerator == "kvm" else NOT_NESTED
    lacks[VimCapability.SNAPSHOT] = "" if facts.is_qemu else f"not with {facts.driver}"
    return {str(capability): why for capability in VimCapability if (why := lacks.get(capability, "unknown"))}


def _memory(connection: Any) -> tuple[int, int]:
    """Total and free memory in bytes. virNodeGetInfo can report far less than there is; this does not."""
    import libvirt

    try:
        stats = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        free = sum(stats.get(name, 0) for name in ("free", "buffers", "cached"))
        return stats["total"] * 1024, free * 1024
    except (libvirt.libvirtError, KeyError):
        total = connection.getInfo()[1] * 1024 * 1024
        return total, total  # what it promised is all that is known


def _storage(view: HostView) -> tuple[int, int]:
    """Size of where the pool is, or would be, and the bytes that our disks will not take of it."""
    pool = view.pool(view.owner)
    room = pool.directory.room_bytes()
    promised = pool.promised_bytes() if room is not None else 0
    if view.config.is_local and view.facts().is_qemu:
        path = Path(pool.directory.path)
        there = next(item for item in (path, *path.parents) if os.path.exists(item))  # one that is closed to us is not
        usage = shutil.disk_usage(there)
        room = usage.total, usage.free  # libvirt counts in what is kept for the administrator, and QEMU cannot have
    if room is None:  # the best guess for a remote host on which nothing of ours is yet
        active = (other.info() for other in view.link.connection().listAllStoragePools(0) if other.isActive())
        room = next(((capacity, available) for _, capacity, _, available in active), (0, 0))
    return room[0], max(0, room[1] - promised)


def combine(hosts: Sequence[Host]) -> Capabilities:
    """A capability is there if one host has it; placement minds which hosts lack it. Pure."""
    support: dict[str, Support] = {}
    detail: dict[str, str] = {}
    reachable = [host for host in hosts if host.reachable]
    for capability in map(str, VimCapability):
        without = {host.name: host.lacks[capability] for host in reachable if capability in host.lacks}
        if not reachable:
            support[capability] = Support.UNKNOWN
        elif len(without) < len(reachable):
            support[capability] = Support.FULL
            if without:
                detail[capability] = "; ".join(f"not on {name}: {why}" for name, why in without.items())
        else:
            support[capability] = Support.UNSUPPORTED
            detail[capability] = next(iter(without.values()))
    return Capabilities(support=support, detail=detail, hosts=tuple(hosts))
