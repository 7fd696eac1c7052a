"""What the hosts offer and what of it is free, as observed now."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manor.api import CallContext, Capabilities, Host, Support, VimCapability
from manor.errors import DriverError
from manor_vim_libvirt.directory import Unreadable
from manor_vim_libvirt.host import HostView

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

Report = tuple[Host, dict[VimCapability, str]]
"""A host, and for each capability why it lacks it; empty for one that it has."""


def report(view: HostView, ctx: CallContext) -> Report:
    """Look at one host. One that does not answer is reported as not reachable, not raised."""
    try:
        return view.link.run(lambda: _report(view, ctx), key="", doing="looking at the host", effect=False)
    except DriverError as error:
        return silent(view, error.message)


def silent(view: HostView, reason: str) -> Report:
    """A host that does not answer. Pure."""
    config = view.config
    host = Host(name=view.name, zone=config.zone, labels=dict(config.labels), reachable=False, reason=reason)
    return host, dict.fromkeys(VimCapability, reason)


def _report(view: HostView, ctx: CallContext) -> Report:
    import libvirt

    facts = view.facts(fresh=True)
    connection = view.link.connection()
    truth = view.truth(ctx)
    total, free = _memory(connection)
    reason = truth.reason if truth.accelerator == "tcg" else ""
    try:
        storage, storage_free = _storage(view)
    except Unreadable as error:  # its machines may be well, and it takes no more
        storage, storage_free, reason = 0, 0, error.message
    stats = connection.getAllDomainStats(
        libvirt.VIR_DOMAIN_STATS_VCPU, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
    )
    host = Host(
        name=view.name,
        accelerator=truth.accelerator,
        vcpus=len(facts.cpus) or connection.getInfo()[2],
        vcpus_used=sum(int(item.get("vcpu.current", 0)) for _, item in stats),
        memory_bytes=total,
        memory_free_bytes=free,
        storage_bytes=storage,
        storage_free_bytes=storage_free,
        zone=view.config.zone,
        labels=dict(view.config.labels),
        reason=reason,
    )
    lacks = dict.fromkeys(_ALWAYS, "")
    lacks |= dict.fromkeys(_WITH_QEMU, "" if facts.is_qemu else f"not with {facts.driver}")
    lacks[VimCapability.UEFI] = "" if facts.uefi else "QEMU has no UEFI firmware; apt-get install ovmf"
    lacks[VimCapability.HUGEPAGES] = "" if facts.huge_pages and facts.is_qemu else "the host set no huge pages aside"
    lacks[VimCapability.NUMA] = "" if facts.numa and facts.is_qemu else "the host shows no NUMA nodes"
    lacks[VimCapability.SNAPSHOT] = "" if facts.is_qemu else f"not with {facts.driver}"
    return host, lacks


def _memory(connection: Any) -> tuple[int, int]:
    """Total and free memory in bytes. virNodeGetInfo can report far less than there is; this does not."""
    import libvirt

    try:
        stats = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        free = sum(stats.get(name, 0) for name in ("free", "buffers", "cached"))
        return stats["total"] * 1024, free * 1024
    except (libvirt.libvirtError, KeyError):
        total = connection.getInfo()[1] * 1024 * 1024
        try:
            return total, connection.getFreeMemory()
        except libvirt.libvirtError:
            return total, total


def _storage(view: HostView) -> tuple[int, int]:
    """Size and free bytes of where the pool is, or would be."""
    pool = view.pool(view.owner).directory
    room = pool.room_bytes()
    if room is not None:
        return room
    if view.config.is_local and view.facts().is_qemu:
        path = Path(pool.path)
        usage = shutil.disk_usage(next(item for item in (path, *path.parents) if item.exists()))
        return usage.total, usage.free
    for other in view.link.connection().listAllStoragePools(0):
        if other.isActive():  # the best guess for a remote host on which nothing of ours is yet
            _, capacity, _, available = other.info()
            return capacity, available
    return 0, 0


def combine(reports: Sequence[Report]) -> Capabilities:
    """A capability is there if one host has it; placement asks the host itself. Pure."""
    support: dict[str, Support] = {}
    detail: dict[str, str] = {}
    reachable = [lacks for host, lacks in reports if host.reachable]
    for capability in VimCapability:
        reasons = [lacks.get(capability, "unknown") for lacks in reachable]
        if not reachable:
            support[capability] = Support.UNKNOWN
        elif "" in reasons:
            support[capability] = Support.FULL
        else:
            support[capability] = Support.UNSUPPORTED
            detail[capability] = reasons[0]
    return Capabilities(support=support, detail=detail, hosts=tuple(host for host, _ in reports))
