"""Proof of a chain before a single packet is real: sample frames walk the compiled program, and each must visit the
chain's functions in order, once, and then arrive; a frame that the classifiers do not name must visit none. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from manor.api import (
    ChainElement,
    ChainSpec,
    Classifier,
    FlowProgram,
    SdnPort,
    SegmentSpec,
    Topology,
)
from manor.errors import DriverError
from manor.fakes.openflow import Ambiguous, Fabric, Packet, Walk
from manor.lcm.views import classifier_text

__all__ = ["Check", "port_name", "prove", "reply", "sample"]

Compile = Callable[[SegmentSpec | ChainSpec, Topology], FlowProgram]

_PROTOCOLS: Mapping[str, int] = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "icmpv6": 58,
    "ipv6-icmp": 58, "ospf": 89, "pim": 103, "vrrp": 112, "sctp": 132,
}  # fmt: skip
_WITH_PORTS = {6: "tcp", 17: "udp", 132: "sctp"}
_ETHER_TYPES = {4: 0x0800, 6: 0x86DD}
_ANYWHERE = {4: "192.0.2.77", 6: "2001:db8::77"}
_SOMEBODY = ("02:00:5e:00:53:01", "02:00:5e:00:53:02")
"""MAC addresses for ends behind which there may be any."""
_CLIENT_PORT, _SERVER_PORT = 40_000, 9
_UNNAMED_PROTOCOL = 253
"""For experiments (RFC 3692): nobody's classifier is about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    ok: bool
    why: str = ""
    """What is wrong; empty where nothing is."""


def port_name(port: SdnPort) -> str:
    """A port in people's words: its VNF, or what else its key ends with."""
    parts = port.key.split("/")
    return parts[2] if len(parts) > 2 and parts[1] == "vnf" else parts[-1]


def prove(chain: ChainSpec, segments: Sequence[SegmentSpec], compile: Compile, topology: Topology) -> list[Check]:
    """Every classifier, both ways where the chain has two, between all its ends; and one frame of no classifier."""
    # What a security rule refuses no chain has to carry, and connections do not exist in a walk.
    segments = [dataclasses.replace(segment, ports=_open(segment.ports)) for segment in segments]
    chain = dataclasses.replace(chain, sources=_open(chain.sources), destinations=_open(chain.destinations))
    try:
        programs = [*(compile(segment, topology) for segment in segments), compile(chain, topology)]
    except DriverError as error:
        return [Check(what="the chain can be compiled", ok=False, why=error.message)]
    fabric = Fabric(programs, links=topology.links, functions=_through(chain))
    return [*_steered(chain, fabric), *_untouched(chain, fabric)]


def _open(ports: tuple[SdnPort, ...]) -> tuple[SdnPort, ...]:
    return tuple(dataclasses.replace(port, security=()) for port in ports)


def _through(chain: ChainSpec) -> dict[str, tuple[str, str]]:
    found = {}
    for element in _elements(chain):
        found[element.ingress.device] = (element.egress.host, element.egress.device)
        found[element.egress.device] = (element.ingress.host, element.ingress.device)
    return found


def _elements(chain: ChainSpec) -> Iterator[ChainElement]:
    return (element for position in chain.positions for element in position.elements)


def _steered(chain: ChainSpec, fabric: Fabric) -> Iterator[Check]:
    for classifier in chain.classifiers or (Classifier(),):
        if classifier.extended_criteria:
            yield Check(what=f"{classifier_text(classifier)}: not walked, no sample frame has its bits", ok=True)
            continue
        found = False
        for source, target in _pairs(chain):
            frame = sample(classifier, source, target)
            if frame is None:
                continue
            found = True
            there = [{element.ingress.device for element in p.elements} for p in chain.positions]
            yield _walked(chain, fabric, classifier, (source, target), frame, there)
            if chain.symmetric:
                back = [{element.egress.device for element in p.elements} for p in reversed(chain.positions)]
                yield _walked(chain, fabric, classifier, (target, source), reply(frame), back)
        if not found:
            why = "it matches nothing that the chain's ends could send each other"
            yield Check(what=classifier_text(classifier), ok=False, why=why)


def _walked(
    chain: ChainSpec,
    fabric: Fabric,
    classifier: Classifier,
    ends: tuple[SdnPort, SdnPort],
    frame: Packet,
    wanted: Sequence[set[str]],
) -> Check:
    source, target = ends
    names = ["|".join(dict.fromkeys(port_name(e.ingress) for e in p.elements)) for p in chain.positions]
    if source in chain.destinations:
        names.reverse()
    way = " > ".join([port_name(source), *names, port_name(target)])
    what = f"{classifier_text(classifier)}: {way}"
    try:
        walk = fabric.send(source.host, source.device, _tagged(source, frame))
    except Ambiguous as error:
        return Check(what=what, ok=False, why=str(error))
    in_order = len(walk.through) == len(wanted) and all(d in w for d, w in zip(walk.through, wanted, strict=True))
    if in_order and [arrival.device for arrival in walk.arrivals] == [target.device]:
        return Check(what=what, ok=True)
    return Check(what=what, ok=False, why=_told(chain, walk))


def _untouched(chain: ChainSpec, fabric: Fabric) -> Iterator[Check]:
    """One frame that no classifier names, where there is such a frame."""
    source, target = next(_pairs(chain), (None, None))
    if source is None or target is None or not chain.classifiers:
        return
    frame = sample(Classifier(), source, target)
    if frame is None:
        return
    other = {k: v for k, v in frame.items() if not k.endswith(("p_src", "p_dst")) or k.startswith("ipv")}
    other["ip_proto"] = _UNNAMED_PROTOCOL
    if any(not rule.protocol for rule in chain.classifiers):
        return
    walk = fabric.send(source.host, source.device, _tagged(source, other))
    ok = walk.through == () and walk.devices == {target.device}
    what = f"other traffic: {port_name(source)} > {port_name(target)}"
    yield Check(what=what, ok=ok, why="" if ok else _told(chain, walk))


def _tagged(source: SdnPort, frame: Packet) -> Packet:
    """As it comes in by a port that is a VLAN of a cable."""
    return {**frame, "vlan_vid": 0x1000 | source.vlan} if source.vlan else frame


def _told(chain: ChainSpec, walk: Walk) -> str:
    functions = (port for element in _elements(chain) for port in (element.ingress, element.egress))
    names = {port.device: port_name(port) for port in (*functions, *chain.sources, *chain.destinations)}
    passed = " > ".join(names.get(device, device) for device in walk.through) or "no function"
    reached = ", ".join(names.get(arrival.device, arrival.device) for arrival in walk.arrivals) or "nowhere"
    return f"it passes {passed} and arrives {reached}" + (f": {'; '.join(walk.lost)}" if walk.lost else "")


def _pairs(chain: ChainSpec) -> Iterator[tuple[SdnPort, SdnPort]]:
    for source in chain.sources:
        for target in chain.destinations:
            if (source.host, source.device) != (target.host, target.device):
                yield source, target


def sample(classifier: Classifier, source: SdnPort, target: SdnPort) -> dict[str, str | int] | None:
    """A frame from ``source`` to ``target`` that the classifier names; None where these two cannot send one."""
    if not (
        _same(classifier.ether_source_address, source.mac) and _same(classifier.ether_destination_address, target.mac)
    ):
        return None
    version = _version(classifier, source, target)
    here = _address(source, version, classifier.source_ip_address_prefix)
    there = _address(target, version, classifier.destination_ip_address_prefix)
    if not here or not there:
        return None
    name = classifier.protocol.lower()
    number = _PROTOCOLS.get(name, int(name) if name.isdigit() else 6)
    number = 58 if number == 1 and version == 6 else number
    frame: dict[str, str | int] = {
        "eth_src": source.mac or _SOMEBODY[0],
        "eth_dst": target.mac or _SOMEBODY[1],
        "eth_type": _ETHER_TYPES[version],
        "ip_proto": number,
        "ip_dscp": classifier.dscp or 0,
        f"ipv{version}_src": here,
        f"ipv{version}_dst": there,
    }
    if classifier.vlan_tag:
        frame["vlan_vid"] = 0x1000 | classifier.vlan_tag[0]
    if number in _WITH_PORTS:
        spans = (classifier.source_port_range, _CLIENT_PORT), (classifier.destination_port_range, _SERVER_PORT)
        for side, (span, usual) in zip(("src", "dst"), spans, strict=True):
            frame[f"{_WITH_PORTS[number]}_{side}"] = span.upper if span else usual
    return frame


def _same(wanted: str, mac: str) -> bool:
    return not wanted or wanted.lower() == mac.lower()


def _version(classifier: Classifier, source: SdnPort, target: SdnPort) -> int:
    prefixes = classifier.source_ip_address_prefix + classifier.destination_ip_address_prefix
    if classifier.ether_type.lower() == "ipv6" or ":" in prefixes:
        return 6
    both = [*source.addresses, *target.addresses]
    return 6 if both and not classifier.ether_type and all(":" in address for address in both) else 4


def _address(port: SdnPort, version: int, prefix: str) -> str:
    """An address of the port inside the prefix; any inside it where the port's are not known. Empty for none."""
    network = ip_network(prefix, strict=False) if prefix else None
    for address in port.addresses:
        if ip_address(address).version == version and (network is None or ip_address(address) in network):
            return address
    if port.addresses:
        return ""
    return str(network[0]) if network else _ANYWHERE[version]


def reply(frame: Packet) -> dict[str, str | int]:
    """The frame that answers this one."""
    swap = {"src": "dst", "dst": "src"}
    found: dict[str, str | int] = {}
    for name, value in frame.items():
        start, _, side = name.rpartition("_")
        found[f"{start}_{swap[side]}" if side in swap else name] = value
    return found
