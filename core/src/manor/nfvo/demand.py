"""What the VNFCs of a service need of hosts, and which of them must be together or apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manor.api.placement import Demand, LinkNeed, PlacementRule
from manor.api.vim import VimCapability
from manor.nfvo.request import ServiceRequest
from manor.nfvo.storage import plan_storage
from manor.vnfm.members import Vnf, Vnfc, VnfcPort, slug

__all__ = ["AT_SITE", "demands", "rules", "vnic_type"]

AT_SITE = "site:"


_NEED = {"direct": VimCapability.SRIOV}
_ORDINARY = frozenset({"", "normal", "virtio"})


def vnic_type(request: ServiceRequest, port: VnfcPort) -> str:
    """What a connection point asks of its interface; empty for an ordinary virtual one, and for one that stays so."""
    asked = port.cpd.vnic_type
    return "" if asked in _ORDINARY or port.identity in request.held_ordinary else asked


def demands(request: ServiceRequest, vnfs: Sequence[Vnf]) -> tuple[Demand, ...]:
    """One demand for each VNFC."""
    needs = {
        f"{request.ns.id}/vl/{slug(link.id)}": LinkNeed(
            name=link.id, latency_s=link.max_latency_s, bitrate_bps=link.min_bitrate_bps
        )
        for link in request.nsd.virtual_links
        if link.max_latency_s or link.min_bitrate_bps
    }
    return tuple(_demand(request, vnf, vnfc, needs) for vnf in vnfs for vnfc in vnf.vnfcs)


def _demand(request: ServiceRequest, vnf: Vnf, vnfc: Vnfc, links: Mapping[str, LinkNeed]) -> Demand:
    compute = vnfc.vdu.compute
    storage = plan_storage(request, vnf, vnfc)
    needs = {
        VimCapability.NODE: True,
        VimCapability.DIRECT_BOOT: storage.kernel is not None,
        VimCapability.VOLUME: bool(storage.disks),
        VimCapability.GUEST_ACCESS: vnfc.vdu.guest_agent,
        VimCapability.UEFI: vnfc.vdu.firmware == "uefi",
        VimCapability.CPU_PINNING: compute.pinning_policy == "static",
        VimCapability.HUGEPAGES: compute.hugepage_bytes > 0,
        VimCapability.NUMA: compute.numa_nodes > 0,
        VimCapability.WATCHDOG: vnfc.vdu.watchdog,
        **dict.fromkeys(compute.capabilities, True),
        **{_NEED.get(kind, f"vnic-{kind}"): True for port in vnfc.ports if (kind := vnic_type(request, port))},
    }
    said = request.locations.get(vnf.profile.id, request.locations.get("*", ""))
    said = request.vnf_locations.get(vnf.name, said)
    site = said.removeprefix(AT_SITE) if said.startswith(AT_SITE) else ""
    vim, _, host = ("" if site else said).partition("/")
    return Demand(
        key=vnfc.key,
        vcpus=compute.num_virtual_cpu,
        memory_bytes=compute.virtual_mem_size_bytes,
        storage_bytes=storage.size_bytes,
        needs=tuple(str(need) for need, wanted in needs.items() if wanted),
        wanted_vim=vim,
        wanted_host=host,
        wanted_site=site,
        hugepage_bytes=compute.hugepage_bytes,
        links=tuple(dict.fromkeys(links[port.link] for port in vnfc.ports if port.link in links)),
    )


def rules(request: ServiceRequest, vnfs: Sequence[Vnf]) -> tuple[PlacementRule, ...]:
    """Affinity of VDUs inside each VNF, and of VNF profiles over the service."""
    result = [
        PlacementRule(
            keys=tuple(vnfc.key for vnfc in vnf.vnfcs if vnfc.vdu.id in rule.members),
            anti=rule.anti,
            scope=rule.scope,
            name=rule.name,
        )
        for vnf in vnfs
        for rule in vnf.df.affinity
    ]
    result += [
        PlacementRule(
            keys=tuple(vnfc.key for vnf in vnfs if vnf.profile.id in rule.members for vnfc in vnf.vnfcs),
            anti=rule.anti,
            scope=rule.scope,
            name=rule.name,
        )
        for rule in request.flavour.affinity
    ]
    return tuple(rule for rule in result if len(rule.keys) > 1)
