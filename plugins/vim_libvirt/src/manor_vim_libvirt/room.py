"""Which physical CPUs and NUMA nodes a demanding node gets; refused before any effect where the host has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manor.api import Firmware, NodeSpec, VimCapability
from manor.errors import QuotaExceeded, Unsupported
from manor_vim_libvirt.domain_xml import Pinning, numa_cells, pinned_cpus
from manor_vim_libvirt.facts import Facts
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.metadata import parse
from manor_vim_libvirt.names import domain_uuid

__all__ = ["choose_cpus", "choose_pinning", "free_pages", "refuse_impossible"]

TAPS_ALONE = "ports are taps on Open vSwitch alone; vnic_type: normal"
NOT_NESTED = "guests run without KVM there, or it passes on neither vmx nor svm; modprobe kvm_intel (kvm_amd) nested=1"


def refuse_impossible(spec: NodeSpec, facts: Facts, host: str) -> None:
    """Raise Unsupported for what the host can never do. Pure."""

    def no(what: VimCapability, why: str) -> Unsupported:
        message = f"node {spec.key} cannot have {what} on host {host}: {why}"
        return Unsupported(message, capability=str(what), hint="place it on another host: manor vim show")

    cpu = spec.cpu
    if cpu.architecture and cpu.architecture != facts.arch:
        raise no(VimCapability.NODE, f"it is {facts.arch}, not {cpu.architecture}")
    if not facts.is_qemu:
        for what, wanted in _wishes(spec).items():
            if wanted:
                raise no(what, f"its hypervisor is {facts.driver}")
        return
    if any(port.vnic_type for port in spec.ports):
        raise no(VimCapability.SRIOV, TAPS_ALONE)
    if cpu.nested and not facts.nested:
        raise no(VimCapability.NESTED, NOT_NESTED)
    if spec.firmware is Firmware.UEFI and not facts.uefi:
        raise no(VimCapability.UEFI, "QEMU has no UEFI firmware there; apt-get install ovmf")
    if cpu.dedicated and spec.vcpus > len(facts.cpus):
        raise no(VimCapability.CPU_PINNING, f"it has {len(facts.cpus)} CPUs")
    if cpu.hugepage_bytes and cpu.hugepage_bytes not in facts.huge_pages:
        raise no(VimCapability.HUGEPAGES, f"it has set aside no pages of {cpu.hugepage_bytes} bytes")
    if cpu.numa_nodes and (cpu.numa_nodes > len(facts.numa) or cpu.numa_nodes > spec.vcpus):
        raise no(VimCapability.NUMA, f"it has {len(facts.numa)} NUMA nodes, the node {spec.vcpus} virtual CPUs")


def _wishes(spec: NodeSpec) -> dict[VimCapability, bool]:
    return {
        VimCapability.DIRECT_BOOT: bool(spec.boot.kernel),
        VimCapability.CLOUD_INIT: bool(spec.user_data),
        VimCapability.UEFI: spec.firmware is Firmware.UEFI,
        VimCapability.CPU_PINNING: spec.cpu.dedicated,
        VimCapability.HUGEPAGES: bool(spec.cpu.hugepage_bytes),
        VimCapability.NUMA: bool(spec.cpu.numa_nodes),
        VimCapability.WATCHDOG: spec.watchdog,
        VimCapability.SRIOV: any(port.vnic_type for port in spec.ports),
        VimCapability.NESTED: spec.cpu.nested,
    }


def choose_cpus(count: int, numa: Mapping[int, tuple[int, ...]], taken: set[int]) -> tuple[int, ...]:
    """``count`` free CPUs, on one NUMA node if it has so many, else in order; empty where there are too few. Pure."""
    free = {node: [cpu for cpu in cpus if cpu not in taken] for node, cpus in sorted(numa.items())}
    fitting = [cpus for cpus in free.values() if len(cpus) >= count]
    if fitting:
        return tuple(min(fitting, key=len)[:count])
    everything = [cpu for cpus in free.values() for cpu in cpus]
    return tuple(everything[:count]) if len(everything) >= count else ()


def choose_pinning(link: Link, spec: NodeSpec, facts: Facts) -> Pinning:
    """The placement inside the host. Raises Unsupported, and QuotaExceeded where others have taken what there is."""
    refuse_impossible(spec, facts, link.name)
    cpu = spec.cpu
    if not facts.is_qemu or not (cpu.dedicated or cpu.hugepage_bytes or cpu.numa_nodes):
        return Pinning()
    nodes = tuple(sorted(facts.numa))[: cpu.numa_nodes]
    if cpu.hugepage_bytes:
        _need_pages(link, spec, facts)
    if not cpu.dedicated:
        return Pinning(numa_nodes=nodes)
    taken = _taken_cpus(link, spec)
    cpus: tuple[int, ...]
    if nodes:
        chosen: dict[int, int] = {}
        for node, (vcpus, _) in zip(nodes, numa_cells(spec), strict=True):
            some = choose_cpus(len(vcpus), {node: facts.numa[node]}, taken)
            chosen |= dict(zip(vcpus, some, strict=False))
        cpus = tuple(chosen[vcpu] for vcpu in range(spec.vcpus)) if len(chosen) == spec.vcpus else ()
    else:
        cpus = choose_cpus(spec.vcpus, facts.numa, taken)
    if not cpus:
        raise QuotaExceeded(
            f"node {spec.key}: host {link.name} has not {spec.vcpus} CPUs left to dedicate",
            hint="place it on another host",
        )
    return Pinning(cpus=cpus, numa_nodes=nodes)


def _taken_cpus(link: Link, spec: NodeSpec) -> set[int]:
    own = str(domain_uuid(spec.owner, spec.key))
    taken: set[int] = set()
    for domain in link.connection().listAllDomains(0):
        if domain.UUIDString() != own:
            taken |= pinned_cpus(parse(domain.XMLDesc(0)))
    return taken


def _need_pages(link: Link, spec: NodeSpec, facts: Facts) -> None:
    size = spec.cpu.hugepage_bytes
    free = free_pages(link.connection(), facts).get(size, 0)
    if free * size < spec.memory_bytes:
        raise QuotaExceeded(
            f"node {spec.key}: host {link.name} has {free} free pages of {size >> 10} KiB, too few",
            hint="raise vm.nr_hugepages on the host, or place it elsewhere",
        )


def free_pages(connection: Any, facts: Facts) -> dict[int, int]:
    """How many huge pages nobody uses, by their size in bytes. Raises libvirtError."""
    if not facts.huge_pages:
        return {}
    sizes = [size >> 10 for size in facts.huge_pages]
    cells: Mapping[int, Mapping[int, int]] = connection.getFreePages(sizes, min(facts.numa), len(facts.numa), 0)
    return {size << 10: sum(pages.get(size, 0) for pages in cells.values()) for size in sizes}
