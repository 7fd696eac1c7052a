"""What the SDN kit asks a controller for, and the frames that it sends through the answer."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    FlowProgram,
    FlowRule,
    PortRange,
    Query,
    SdnPort,
    SegmentSpec,
    Switch,
    SwitchLink,
    Topology,
)
from manor.fakes.openflow import Fabric, Packet

__all__ = ["SdnSpecs", "both_ways", "frame", "group_frame"]

WEB = Classifier(protocol="tcp", ether_type="ipv4", destination_port_range=PortRange(lower=80, upper=89))
"""The classifier of the kit's chains: a range, so that it needs masks."""


@dataclass(kw_only=True)
class SdnSpecs:
    """Makes specs for one test. Override a field for the site, :meth:`plug` where ports must really exist."""

    owner: str
    """Must be the owner tag that ``driver`` was connected with."""
    hosts: tuple[str, ...] = ("host-1",)
    """Hosts as the driver's topology names them."""
    deadline_s: float = 30.0
    settle_s: float = 10.0
    """How soon ``observe`` must tell what changed."""
    parallel: int = 16
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    """Start of every key of this test."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def plug(self, ports: Iterable[SdnPort]) -> None:
        """Make these ports exist on their switches; for controllers of real switches."""

    def steps(self, before: FlowProgram | None, after: FlowProgram | None) -> Sequence[Sequence[FlowRule]] | None:
        """All rules of a program that the switches hold after each message of its change, in the controller's order;
        None for no program. For controllers whose ``apply`` is many messages; None says that it takes effect in one go.
        """
        del before, after
        return None

    def everything(self, **narrower: Any) -> Query:
        """A query for all that this test made."""
        return Query(owner=self.owner, **{"prefix": f"{self.run}/", **narrower})

    def topology(self, hosts: Sequence[str] = ()) -> Topology:
        """An imagined topology, every host linked to every other, for compiling without a switch."""
        names = tuple(hosts) or self.hosts
        return Topology(
            switches=tuple(
                Switch(host=h, datapath_id=f"{i:016x}", connected=True) for i, h in enumerate(names, start=1)
            ),
            links=tuple(
                SwitchLink(host=a, peer=b, device=f"x-{i}-{j}")
                for i, a in enumerate(names)
                for j, b in enumerate(names)
                if a != b
            ),
        )

    def port(self, name: str, host: str = "", **changes: Any) -> SdnPort:
        """A port with device, MAC and address of its own."""
        number = next(self._numbers)
        return SdnPort(
            key=f"{self.run}/port/{name}-{number}",
            host=host or self.hosts[0],
            device=f"k{self.run[:6]}{number}",
            mac=f"52:54:{self.run[0:2]}:{self.run[2:4]}:{number >> 8:02x}:{number & 255:02x}",
            addresses=(f"192.0.2.{number % 250 + 1}",),
            **changes,
        )

    def element(self, name: str, host: str = "", **changes: Any) -> ChainElement:
        """A bump in the wire with two ports."""
        ingress, egress = (
            SdnPort(key=p.key, host=p.host, device=p.device, mac=p.mac, transparent=True)
            for p in (self.port(f"{name}-in", host), self.port(f"{name}-out", host))
        )
        return ChainElement(ingress=ingress, egress=egress, **changes)

    def segment(self, ports: Sequence[SdnPort], name: str = "lan") -> SegmentSpec:
        """A segment of these ports."""
        return SegmentSpec(key=f"{self.run}/vl/{name}", owner=self.owner, name=name, ports=tuple(ports))

    def chain(
        self,
        segment: SegmentSpec,
        ends: tuple[SdnPort, SdnPort],
        positions: Sequence[Sequence[ChainElement]],
        *,
        name: str = "web",
        classifiers: Sequence[Classifier] = (WEB,),
        **changes: Any,
    ) -> ChainSpec:
        """A chain for web traffic from the first end to the second, by way of the positions."""
        return ChainSpec(
            key=f"{self.run}/chain/{name}",
            owner=self.owner,
            name=name,
            segment=segment.key,
            classifiers=tuple(classifiers),
            sources=(ends[0],),
            destinations=(ends[1],),
            positions=tuple(
                ChainPosition(name=f"p{number}", elements=tuple(elements))
                for number, elements in enumerate(positions, start=1)
            ),
            **changes,
        )


def frame(source: SdnPort, target: SdnPort, *, port: int = 80, reply: bool = False) -> Packet:
    """A TCP segment to ``port`` of ``target``; with ``reply`` one from that port."""
    client = 40_000
    return {
        "eth_src": source.mac,
        "eth_dst": target.mac,
        "eth_type": 0x0800,
        "ip_proto": 6,
        "ip_dscp": 0,
        "ipv4_src": source.addresses[0],
        "ipv4_dst": target.addresses[0],
        "tcp_src": port if reply else client,
        "tcp_dst": client if reply else port,
    }


def group_frame(source: SdnPort) -> Packet:
    """A UDP datagram to everybody."""
    return {
        "eth_src": source.mac,
        "eth_dst": "ff:ff:ff:ff:ff:ff",
        "eth_type": 0x0800,
        "ip_proto": 17,
        "ip_dscp": 0,
        "ipv4_src": source.addresses[0],
        "ipv4_dst": "255.255.255.255",
        "udp_src": 5000,
        "udp_dst": 5000,
    }


def both_ways(chain: ChainSpec) -> dict[str, tuple[str, str]]:
    """Where a frame comes out of a chain's functions, (host, device), by the device that it went into."""
    out = {}
    for element in (element for position in chain.positions for element in position.elements):
        out[element.ingress.device] = (element.egress.host, element.egress.device)
        out[element.egress.device] = (element.ingress.host, element.ingress.device)
    return out


def fabric(topology: Topology, programs: Sequence[FlowProgram], chain: ChainSpec | None = None) -> Fabric:
    """Switches that hold these programs, with the chain's functions plugged in."""
    return Fabric(programs, links=topology.links, functions=both_ways(chain) if chain else {})
