"""Samples of nodes from libvirt's bulk statistics: one call a host, whatever the number of domains.

Counters are raw (seconds, bytes, packets) and grow from the node's start; means and rates are the collector's. Names
follow ETSI's ``v_*`` family for a VIM's measurements. Network directions are the node's: incoming is what it receives.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from manor.api import Sample, SampleKind

__all__ = ["read_samples", "stats_flags"]

_C, _G = SampleKind.COUNTER, SampleKind.GAUGE
# libvirt's field → metric, unit, factor, kind
_NODE = {
    "cpu.time": ("v_cpu_time", "s", 1e-9, _C),
    "cpu.user": ("v_cpu_user_time", "s", 1e-9, _C),
    "cpu.system": ("v_cpu_system_time", "s", 1e-9, _C),
    "vcpu.current": ("v_cpu_count", "1", 1.0, _G),
    "balloon.current": ("v_memory_size", "By", 1024.0, _G),
    "balloon.rss": ("v_memory_resident", "By", 1024.0, _G),
    "balloon.unused": ("v_memory_unused", "By", 1024.0, _G),
    "balloon.usable": ("v_memory_usable", "By", 1024.0, _G),
}
_NET = {
    "rx.bytes": ("v_net_byte_incoming", "By", 1.0, _C),
    "tx.bytes": ("v_net_byte_outgoing", "By", 1.0, _C),
    "rx.pkts": ("v_net_packet_incoming", "{packet}", 1.0, _C),
    "tx.pkts": ("v_net_packet_outgoing", "{packet}", 1.0, _C),
    "rx.drop": ("v_net_packet_incoming_dropped", "{packet}", 1.0, _C),
    "tx.drop": ("v_net_packet_outgoing_dropped", "{packet}", 1.0, _C),
}
_BLOCK = {
    "rd.bytes": ("v_disk_byte_read", "By", 1.0, _C),
    "wr.bytes": ("v_disk_byte_written", "By", 1.0, _C),
    "rd.reqs": ("v_disk_request_read", "{request}", 1.0, _C),
    "wr.reqs": ("v_disk_request_written", "{request}", 1.0, _C),
}


def stats_flags() -> int:
    """Which groups to ask libvirt for."""
    import libvirt

    groups = ("STATE", "CPU_TOTAL", "BALLOON", "VCPU", "INTERFACE", "BLOCK")
    flags = 0
    for group in groups:
        flags |= getattr(libvirt, f"VIR_DOMAIN_STATS_{group}")
    return flags


def read_samples(
    key: str, stats: Mapping[str, Any], labels: Mapping[str, str], *, now_s: float = 0.0
) -> Iterator[Sample]:
    """Samples of one domain; those of a port carry its device name as a label. Missing is left out."""
    time_s = now_s or time.time()
    state = stats.get("state.state")
    if state is not None:
        yield Sample(metric="v_up", value=float(state in (1, 2)), unit="1", key=key, time_s=time_s, labels=labels)
    yield from _group(key, stats, "", _NODE, labels, time_s)
    for prefix, device in _members(stats, "net"):
        yield from _group(key, stats, prefix, _NET, {**labels, "device": device}, time_s)
    for prefix, device in _members(stats, "block"):
        yield from _group(key, stats, prefix, _BLOCK, {**labels, "device": device}, time_s)


def _members(stats: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    for index in range(int(stats.get(f"{kind}.count", 0))):
        name = stats.get(f"{kind}.{index}.name")
        if name is not None:
            yield f"{kind}.{index}.", str(name)


def _group(
    key: str,
    stats: Mapping[str, Any],
    prefix: str,
    table: Mapping[str, tuple[str, str, float, SampleKind]],
    labels: Mapping[str, str],
    time_s: float,
) -> Iterator[Sample]:
    for field, (metric, unit, factor, kind) in table.items():
        value = stats.get(prefix + field)
        if isinstance(value, int | float):
            yield Sample(
                metric=metric, value=value * factor, unit=unit, key=key, time_s=time_s, kind=kind, labels=labels
            )
