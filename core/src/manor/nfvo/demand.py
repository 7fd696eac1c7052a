"""What the VNFCs of a service need of hosts, and which of them must be together or apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from manor.api.placement import Demand, LinkNeed, PlacementRule
from manor.api.vim import VimCapability
from manor.model.vnfd import AffinityRule
from manor.nfvo.request import ServiceRequest
from manor.nfvo.storage import plan_storage
from manor.vnfm.members import Vnf, Vnfc, VnfcPort, slug

__all__ = ["AT_SITE", "demands", "rules", "vnic_type"]

AT_SITE = "site:"

_PAIRS = 1000
"""Pairs of machines up to which VNFs apart are weighed pair by pair; beyond, all of their machines are apart."""

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
    """Affinity of VDUs inside each VNF, and of VNF profiles over the service.

    VNFs that are to be apart are so from each other, as IFA014 has it: the machines of one of them may share a host.
    """
    result = [
        _rule(rule, [vnfc.key for vnfc in vnf.vnfcs if vnfc.vdu.id in rule.members])
        for vnf in vnfs
        for rule in vnf.df.affinity
    ]
    for rule in request.flavour.affinity:
        keys = [[vnfc.key for vnfc in vnf.vnfcs] for vnf in vnfs if vnf.profile.id in rule.members]
        if rule.anti and any(len(of_one) > 1 for of_one in keys) and _pairs(keys) <= _PAIRS:
            result += [
                _rule(rule, pair)
                for one, other in itertools.combinations(keys, 2)
                for pair in itertools.product(one, other)
            ]
        else:
            result.append(_rule(rule, list(itertools.chain(*keys))))
    return tuple(rule for rule in result if len(rule.keys) > 1)


def _pairs(keys: Sequence[Sequence[str]]) -> int:
    return sum(len(one) * len(other) for one, other in itertools.combinations(keys, 2))


def _rule(rule: AffinityRule, keys: Iterable[str]) -> PlacementRule:
    return PlacementRule(keys=tuple(keys), anti=rule.anti, scope=rule.scope, name=rule.name)
