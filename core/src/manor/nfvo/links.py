"""The virtual links of a service and what is on each, from its descriptors, its VNFs and what they had before. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from manor.api.resources import SdnPort, Subnet
from manor.errors import PlanRefused
from manor.nfvo.addresses import default_subnet
from manor.nfvo.request import ServiceRequest
from manor.nfvo.saps import attached
from manor.vnfm.members import Vnf, Vnfc, VnfcPort, slug

__all__ = ["Link", "is_frames_only", "is_in_any", "links_of", "turning_links"]

_MTU = 1500
_MTU_STEERED = 1450
"""Of a link that a controller forwards: leaves room for a tunnel, since a machine may come to another host later and
cannot be told a smaller MTU while it runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A virtual link, of the service or inside a VNF."""

    key: str
    name: str
    subnets: tuple[Subnet, ...]
    mtu: int
    ports: tuple[tuple[Vnfc, VnfcPort], ...]
    outside: tuple[SdnPort, ...] = ()
    """Ports of the SAPs that are attached to it."""
    rate_bps: int = 0


def links_of(request: ServiceRequest, vnfs: Sequence[Vnf]) -> list[Link]:
    on_link: dict[str, list[tuple[Vnfc, VnfcPort]]] = {}
    for vnf in vnfs:
        for vnfc in vnf.vnfcs:
            for port in vnfc.ports:
                on_link.setdefault(port.link, []).append((vnfc, port))
    described: dict[str, tuple[str, tuple[Subnet, ...], int, int]] = {
        f"{request.ns.id}/vl/{slug(link.id)}": (link.id, link.subnets, link.mtu, link.max_bitrate_bps)
        for link in request.nsd.virtual_links
    }
    for vnf in vnfs:
        for link in vnf.vnfd.virtual_links:
            if link.id in vnf.internal_links:
                described[vnf.internal_links[link.id]] = (
                    f"{vnf.name}/{link.id}",
                    link.subnets,
                    link.mtu,
                    link.max_bitrate_bps,
                )
    usual = _MTU_STEERED if request.sdn else _MTU
    outside: dict[str, list[SdnPort]] = {}
    for sap_id, sap in attached(request).items():
        link_id = next(sapd.virtual_link for sapd in request.nsd.sapds if sapd.id == sap_id)
        outside.setdefault(f"{request.ns.id}/vl/{slug(link_id)}", []).append(sap)
    used = {subnet.cidr for subnets in request.held_subnets.values() for subnet in subnets}
    links = []
    for ordinal, (key, ports) in enumerate(on_link.items()):
        if key not in described:
            raise PlanRefused(f"NSD {request.nsd.id} connects VNFs to a virtual link it does not describe: {key}")
        name, subnets, mtu, rate_bps = described[key]
        if not subnets and not all(is_frames_only(port) for _, port in ports):
            subnets = request.held_subnets.get(key) or (_spare(ordinal, used),)
            used.update(subnet.cidr for subnet in subnets)
        links.append(
            Link(
                key=key,
                name=name,
                subnets=subnets,
                mtu=mtu or usual,
                ports=tuple(ports),
                outside=tuple(outside.get(key, ())),
                rate_bps=rate_bps,
            )
        )
    return links


def _spare(ordinal: int, used: set[str]) -> Subnet:
    """A range for a link that gives none: its ordinal's, or the next that no other link has."""
    return next(subnet for n in count(ordinal) if (subnet := default_subnet(n)).cidr not in used)


def is_frames_only(port: VnfcPort) -> bool:
    """A CP that speaks Ethernet and nothing above it: a bump in the wire, with no address."""
    return port.cpd.layer_protocols == ("ethernet",)


def turning_links(request: ServiceRequest, vnfs: Sequence[Vnf]) -> dict[str, tuple[str, ...]]:
    """Links that turn to new machines, with the keys of the VNFs whose health comes first."""
    turning: dict[str, tuple[str, ...]] = {}
    for vnf in vnfs:
        if vnf.name in request.switched and not vnf.is_stopped:
            for link in dict.fromkeys(port.link for vnfc in vnf.vnfcs for port in vnfc.ports):
                turning[link] = (*turning.get(link, ()), vnf.key)
    return turning


def is_in_any(address: str, subnets: Sequence[Subnet]) -> bool:
    networks = (ipaddress.ip_network(subnet.cidr, strict=False) for subnet in subnets)
    return any(ipaddress.ip_address(address) in network for network in networks)
