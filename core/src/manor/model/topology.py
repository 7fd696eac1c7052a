"""A network service as a picture wants it: machines on hosts, ports on links, chains in order. Values only, for
renderers and ``--json``; where each value comes from (desired, observed) is the business of who makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from manor.api.resources import Subnet

__all__ = [
    "ServiceTopology",
    "TopologyChain",
    "TopologyElement",
    "TopologyHop",
    "TopologyLink",
    "TopologyPort",
    "TopologyVnf",
    "TopologyVnfc",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TopologyPort:
    """A port of a machine."""

    key: str
    name: str
    """The connection point's name in the descriptor."""
    link: str = ""
    """Key of the TopologyLink it is on."""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """IP addresses with prefix length."""
    device: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TopologyVnfc:
    """A machine: where it runs and how it is."""

    key: str
    name: str
    vdu_id: str = ""
    vim: str = ""
    host: str = ""
    state: str = ""
    """A Phase as observed; empty where nothing was observed, ``absent`` where it should exist and does not."""
    ports: tuple[TopologyPort, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TopologyVnf:
    """A VNF instance with its machines."""

    id: str
    name: str
    vnfd_id: str = ""
    vnfm: str = ""
    state: str = ""
    """instantiationState."""
    vnfcs: tuple[TopologyVnfc, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TopologyLink:
    """A virtual link."""

    key: str
    name: str
    sdn: str = ""
    """Name of the controller that forwards it."""
    subnets: tuple[Subnet, ...] = ()
    mtu: int = 0
    state: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TopologyElement:
    """One function at a hop: keys of the TopologyPorts that traffic enters and leaves by."""

    ingress: str
    egress: str
    weight: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TopologyHop:
    """One position of a chain; several elements share its load."""

    name: str
    elements: tuple[TopologyElement, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TopologyChain:
    """A forwarding path: from its sources by the hops, in order, to its destinations."""

    key: str
    name: str
    link: str = ""
    """Key of the link that the ends are on."""
    match: tuple[str, ...] = ()
    """What traffic takes it, one clause a classifier, as ``tcp to 10.0.0.2/32 port 80``."""
    sources: tuple[str, ...] = ()
    """Keys of TopologyPorts."""
    hops: tuple[TopologyHop, ...] = ()
    destinations: tuple[str, ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    """Host-side interface by key of those ends that are ports of no machine (SAPs), the host before a slash."""
    symmetric: bool = True
    """The way back takes the hops in reverse."""
    precedence: int = 0
    state: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Packets by a rule's or hop's name, where the controller gave them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceTopology:
    """One network service."""

    id: str
    name: str
    nsd_id: str = ""
    state: str = ""
    """nsState."""
    vnfs: tuple[TopologyVnf, ...] = ()
    links: tuple[TopologyLink, ...] = ()
    chains: tuple[TopologyChain, ...] = ()

    def ports(self) -> dict[str, tuple[TopologyVnf, TopologyVnfc, TopologyPort]]:
        """Every port by key, with the machine and VNF it belongs to."""
        return {port.key: (vnf, vnfc, port) for vnf in self.vnfs for vnfc in vnf.vnfcs for port in vnfc.ports}
