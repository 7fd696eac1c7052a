"""What all pictures of a service agree on: the order of the machines, and the machines that a chain passes."""

from __future__ import annotations

from dataclasses import dataclass

from manor.model.topology import ServiceTopology, TopologyChain, TopologyLink, TopologyVnf, TopologyVnfc

__all__ = ["Machine", "chain_stops", "link_label", "machine_name", "machines", "ordered_links"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A VNFC with the name it has in the picture."""

    vnfc: TopologyVnfc
    vnf: TopologyVnf
    label: str
    """The VNF's name where it has one machine, else VNF and VNFC."""


def machine_name(vnf: TopologyVnf, vnfc: TopologyVnfc) -> str:
    """The machine's name inside its VNF, which it need not repeat."""
    return vnfc.name.removeprefix(f"{vnf.name}-") or vnfc.name


def machines(service: ServiceTopology) -> list[Machine]:
    """All machines: those of the chains first, in the order in which traffic meets them."""
    all_of_them = {
        vnfc.key: Machine(
            vnfc=vnfc, vnf=vnf, label=vnf.name if len(vnf.vnfcs) == 1 else f"{vnf.name}/{machine_name(vnf, vnfc)}"
        )
        for vnf in service.vnfs
        for vnfc in vnf.vnfcs
    }
    met = [key for chain in _by_precedence(service) for stop in chain_stops(service, chain) for key in stop]
    return [all_of_them[key] for key in dict.fromkeys([*met, *all_of_them])]


def _by_precedence(service: ServiceTopology) -> list[TopologyChain]:
    return sorted(service.chains, key=lambda chain: (-chain.precedence, -len(chain.hops), chain.name))


def chain_stops(service: ServiceTopology, chain: TopologyChain) -> list[tuple[str, ...]]:
    """Keys of the machines at each stop of a chain: its sources, its hops in order, its destinations."""
    owners = {port: vnfc.key for port, (_, vnfc, _) in service.ports().items()}
    stops = [chain.sources, *(tuple(e.ingress for e in hop.elements) for hop in chain.hops), chain.destinations]
    return [tuple(dict.fromkeys(owners[port] for port in stop if port in owners)) for stop in stops]


def ordered_links(service: ServiceTopology) -> list[TopologyLink]:
    """Links with the busiest first, so that the fewest lines cross it."""
    uses: dict[str, int] = {}
    for _, _, port in service.ports().values():
        uses[port.link] = uses.get(port.link, 0) + 1
    return sorted(service.links, key=lambda link: (-uses.get(link.key, 0), link.name))


def link_label(link: TopologyLink, between: str = "  ") -> str:
    """Name, subnets and controller of a link, and its state where that is not as it should be."""
    parts = [link.name, *(subnet.cidr for subnet in link.subnets)]
    if link.mtu not in (0, 1500):
        parts.append(f"mtu {link.mtu}")
    if link.state not in ("", "active"):
        parts.append(link.state.upper())
    return between.join(parts)
