"""Segments and chains as OpenFlow rules: small, but real enough that packets walk them.

Tables: 0 port → segment, 2 what a port may send, 5 chains, 10 other hosts, 12 this host, 15 what a port may get.
Chains take a frame out of its segment at 5 and give it back at 10. A segment crosses hosts by its number as tunnel id;
a chain by the number of the next function's port.

A port to the outside has no MAC, or a VLAN. What nobody on the segment has goes to those without a MAC: at 10 to the
hosts that have one, at 12 out of it. At 5 what somebody has passes by the rules of chains that end there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    ElementMode,
    FailMode,
    FlowProgram,
    FlowRule,
    GroupBucket,
    GroupRule,
    SdnPort,
    SegmentSpec,
    Topology,
    spec_hash,
    spec_to_json,
)
from manor.errors import Permanent, Unsupported
from manor.fakes.matching import Match, classifier_matches, mirrored, security_matches
from manor.fakes.openflow import agrees

__all__ = ["compile_chain", "compile_segment", "number"]

_ENTRY, _EGRESS, _CHAIN, _REMOTE, _LOCAL, _INGRESS = 0, 2, 5, 10, 12, 15
_OUTWARD, _KNOWN, _INWARD = 1000, 27_000, 30_000
"""Priorities of chains that end outside, of what therefore stays inside, and of chains that end at a machine."""
_MULTICAST = "01:00:00:00:00:00/01:00:00:00:00:00"

Actions = tuple[tuple[str, str | int], ...]


def number(name: str) -> int:
    """A number for a key: tunnel id, metadata or group id."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF or 1


def compile_segment(spec: SegmentSpec, topology: Topology) -> FlowProgram:
    """Proactive rules: known addresses to their ports, the rest of a unicast nowhere, multicast to all."""
    links = _links(topology)
    segment = number(spec.key)
    with_ports = sorted({port.host for port in spec.ports})
    _refuse_unreachable(spec.key, with_ports, links)
    rules: list[FlowRule] = []
    # A chain may hand a frame back to the segment on any host, also where the segment has no port.
    for host in sorted({switch.host for switch in topology.switches} | set(with_ports)):
        local = [port for port in spec.ports if port.host == host]
        peers = [peer for peer in with_ports if (host, peer) in links]
        rules += _enter(host, segment, local, [links[host, peer] for peer in peers])
        rules += _send_filter(host, segment, local)
        rules += _from_outside(host, segment, local, spec.ports)
        rules.append(_rule(host, _CHAIN, 1, {"metadata": segment}, (("goto", _REMOTE),), "no chain: stay on the link"))
        rules += _to_peers(host, segment, spec, links, peers)
        rules += _to_outside(host, segment, spec.ports, links)
        rules += _deliver(host, segment, [port for port in local if not port.transparent])
    return _program(spec, rules, [])


def _enter(host: str, segment: int, ports: list[SdnPort], tunnels: list[str]) -> Iterator[FlowRule]:
    for port in ports:
        held: Actions = (("meter", port.rate_bps),) if port.rate_bps else ()
        untag: Actions = (("pop_vlan", ""),) if port.vlan else ()
        into: Actions = (*held, *untag, ("set_field", f"metadata={segment}"), ("goto", _EGRESS))
        # Of a bump in the wire only what a chain claims is taken.
        actions: Actions = (("goto", _CHAIN),) if port.transparent else into
        match: Match = {"in_port": port.device}
        if _is_outside(port):  # its other VLANs are none of this segment's business
            match["vlan_vid"] = _tag(port)
        yield _rule(host, _ENTRY, 100, match, actions, f"{port.key} enters")
    for tunnel in tunnels:
        actions = (("set_field", f"metadata={segment}"), ("goto", _LOCAL))
        yield _rule(host, _ENTRY, 100, {"in_port": tunnel, "tunnel_id": segment}, actions, "from another host")


def _send_filter(host: str, segment: int, ports: list[SdnPort]) -> Iterator[FlowRule]:
    yield _rule(host, _EGRESS, 1, {"metadata": segment}, (("goto", _CHAIN),), "no filter")
    for port in ports:
        mine: Match = {"metadata": segment, "in_port": port.device}
        yield from _filter(host, _EGRESS, port, "egress", mine, (("goto", _CHAIN),))


def _from_outside(host: str, segment: int, ports: list[SdnPort], everyone: tuple[SdnPort, ...]) -> Iterator[FlowRule]:
    """Anybody may be there but the segment's own machines."""
    theirs: list[Match] = [{"eth_src": one.mac} for one in everyone if one.mac]
    for address in (address for one in everyone for address in one.addresses):
        ether_type, family = (0x86DD, "ipv6") if ":" in address else (0x0800, "ipv4")
        theirs.append({"eth_type": ether_type, f"{family}_src": address})
    for port in filter(_is_anybody, ports):
        for match in theirs:
            mine: Match = {"metadata": segment, "in_port": port.device, **match}
            yield _rule(host, _EGRESS, 500, mine, (("drop", ""),), f"{port.key}: not from outside")


def _to_outside(
    host: str, segment: int, ports: tuple[SdnPort, ...], links: dict[tuple[str, str], str]
) -> Iterator[FlowRule]:
    """Where there is an outside: what somebody on the segment has stays inside, the rest goes there."""
    outside = [port for port in ports if _is_anybody(port)]
    if not outside:
        return
    tunnels = [links[host, at] for at in sorted({port.host for port in outside}) if (host, at) in links]
    there: Actions = (("set_field", f"tunnel_id={segment}"), *(("output", tunnel) for tunnel in tunnels))
    known = {"eth_dst": _MULTICAST}, *({"eth_dst": port.mac} for port in ports if port.mac and not port.transparent)
    for match in known:
        mine: Match = {"metadata": segment, **match}
        yield _rule(host, _CHAIN, _KNOWN, mine, (("goto", _REMOTE),), "not to the outside")
    for port in ports:
        if port.host == host and port.mac and not port.transparent:
            mine = {"metadata": segment, "eth_dst": port.mac}
            yield _rule(host, _REMOTE, 100, mine, (("goto", _LOCAL),), f"{port.key} is here")
    yield _rule(host, _REMOTE, 2, {"metadata": segment}, (*there, ("goto", _LOCAL)), "nobody's: to the outside")
    out = _spread([port for port in outside if port.host == host])
    yield _rule(host, _LOCAL, 1, {"metadata": segment}, out or (("drop", ""),), "nobody's: to the outside")


def _to_peers(
    host: str, segment: int, spec: SegmentSpec, links: dict[tuple[str, str], str], peers: list[str]
) -> Iterator[FlowRule]:
    here: Actions = (("goto", _LOCAL),)
    yield _rule(host, _REMOTE, 1, {"metadata": segment}, here, "this host")
    tunnel: Actions = (("set_field", f"tunnel_id={segment}"),)
    for port in spec.ports:
        if port.host in peers and port.mac and not port.transparent:
            yield _rule(
                host,
                _REMOTE,
                100,
                {"metadata": segment, "eth_dst": port.mac},
                (*tunnel, ("output", links[host, port.host])),
                f"{port.key} on {port.host}",
            )
    outputs = tuple(("output", links[host, peer]) for peer in peers)
    yield _rule(
        host, _REMOTE, 50, {"metadata": segment, "eth_dst": _MULTICAST}, (*tunnel, *outputs, *here), "to all hosts"
    )


def _deliver(host: str, segment: int, ports: list[SdnPort]) -> Iterator[FlowRule]:
    for port in ports:
        if _is_anybody(port):
            continue
        mine: Match = {"metadata": segment, "eth_dst": port.mac}
        out = _spread([port])
        filtered = any(rule.direction == "ingress" for rule in port.security)
        actions: Actions = (("goto", _INGRESS),) if filtered else out
        yield _rule(host, _LOCAL, 100, mine, actions, f"to {port.key}")
        yield from _filter(host, _INGRESS, port, "ingress", mine, out)
    flood = {"metadata": segment, "eth_dst": _MULTICAST}
    yield _rule(host, _LOCAL, 50, flood, _spread(ports), "to all ports here")


def _spread(ports: list[SdnPort]) -> Actions:
    """Out of all of these, with the tag of the VLAN that one is."""
    actions: list[tuple[str, str | int]] = []
    for port in ports:
        out = ("output", port.device)
        tag = ("set_field", f"vlan_vid={_tag(port):#x}")
        actions += [("push_vlan", ""), tag, out, ("pop_vlan", "")] if port.vlan else [out]
    return tuple(actions)


def _filter(host: str, table: int, port: SdnPort, direction: str, mine: Match, passed: Actions) -> Iterator[FlowRule]:
    """What a port with security rules may send or get; ARP always, the rest not."""
    rules = [rule for rule in port.security if rule.direction == direction]
    if not rules:
        return
    yield _rule(host, table, 10, mine, (("drop", ""),), f"{port.key}: not allowed")
    yield _rule(host, table, 20, {**mine, "eth_type": 0x0806}, passed, f"{port.key}: ARP")
    priority = 20
    for rule in rules:
        for match in security_matches(rule):
            priority += 1
            yield _rule(host, table, priority, {**mine, **match}, passed, f"{port.key}: {direction}")


def compile_chain(spec: ChainSpec, topology: Topology) -> FlowProgram:
    """Each direction of each classifier, hop by hop, towards each end."""
    links = _links(topology)
    positions = [p for p in spec.positions if p.elements or p.fail_mode is FailMode.CLOSED]
    _refuse_unreachable(spec.key, sorted({port.host for port in _all_ports(spec)}), links)
    _refuse_astray(spec)
    _refuse_twice(spec)
    if any(e.mode is ElementMode.NSH for p in positions for e in p.elements):
        raise Unsupported(f"{spec.key}: the fake controller has no NSH", capability="nsh")
    work = _Chain(spec, links)
    work.enter(positions)
    for index, classifier in enumerate(spec.classifiers):
        work.steer(classifier, index, spec.sources, spec.destinations, positions, back=False)
        if spec.symmetric:
            work.steer(mirrored(classifier), index, spec.destinations, spec.sources, positions[::-1], back=True)
    return _program(spec, work.rules, list(work.groups.values()))


class _Chain:
    """Collects the rules and groups of one chain."""

    def __init__(self, spec: ChainSpec, links: dict[tuple[str, str], str]) -> None:
        self.spec = spec
        self.links = links
        self.rules: list[FlowRule] = []
        self.groups: dict[tuple[str, int], GroupRule] = {}

    def enter(self, positions: list[ChainPosition]) -> None:
        """Frames of functions, and of tunnels to functions, reach the chain's table whatever their own link."""
        entries: dict[tuple[str, str], FlowRule] = {}
        for element in [element for position in positions for element in position.elements]:
            for port in (element.ingress, element.egress):
                entries[port.host, port.device] = _rule(
                    port.host, _ENTRY, 50, {"in_port": port.device}, (("goto", _CHAIN),), f"{port.key} enters"
                )
                for host, peer in self.links:
                    if host == port.host and peer != host:
                        tunnel = self.links[host, peer]
                        match: Match = {"in_port": tunnel, "tunnel_id": self._door(port)}
                        out: Actions = (("output", port.device),)
                        entries[host, f"{tunnel}>{port.device}"] = _rule(host, _ENTRY, 100, match, out, "a hop's end")
        self.rules += entries.values()

    def steer(
        self,
        classifier: Classifier,
        index: int,
        sources: tuple[SdnPort, ...],
        targets: tuple[SdnPort, ...],
        positions: list[ChainPosition],
        *,
        back: bool,
    ) -> None:
        """One direction of one classifier: from every source, through every position, to every target."""
        precedence = min(max(self.spec.precedence, 0), 400)
        rank = precedence * 64 + max(0, 63 - index)
        way = "back" if back else "forth"
        for match in classifier_matches(classifier):
            for target in targets:
                priority = rank + (_OUTWARD if _is_anybody(target) else _INWARD)
                froms = [source for source in sources if source.device != target.device]
                routed = False
                for step in range(len(positions) + 1):
                    aim = _both(match, _aim(self.spec, target, routed=routed))
                    if aim is None:
                        break
                    note = f"{self.spec.name} {way}, hop {step + 1} to {target.key}"
                    for port in froms:
                        mine = {"in_port": port.device, **aim}
                        if _is_outside(port):  # several segments may have VLANs of this port
                            mine["metadata"] = number(self.spec.segment)
                        if step < len(positions):
                            actions = self._towards(port.host, positions[step], back=back)
                        else:
                            actions = (
                                *((("set_field", f"eth_dst={target.mac}"),) if routed else ()),
                                ("set_field", f"metadata={number(self.spec.segment)}"),
                                ("goto", _REMOTE),
                            )
                        self.rules.append(_rule(port.host, _CHAIN, priority, mine, actions, note))
                    if step < len(positions):
                        elements = positions[step].elements
                        routed = routed or any(e.mode is ElementMode.ROUTED for e in elements)
                        froms = [_door_out(element, back=back) for element in elements]

    def _towards(self, host: str, position: ChainPosition, *, back: bool) -> Actions:
        choices = [self._into(host, element, back=back) for element in position.elements]
        if not choices:
            return (("drop", ""),)
        if len(choices) == 1:
            return choices[0]
        group_id = number(f"{self.spec.key} {position.name} {back}")
        self.groups[host, group_id] = GroupRule(
            host=host,
            group_id=group_id,
            buckets=tuple(
                GroupBucket(weight=element.weight, actions=actions)
                for element, actions in zip(position.elements, choices, strict=True)
            ),
        )
        return (("group", group_id),)

    def _into(self, host: str, element: ChainElement, *, back: bool) -> Actions:
        port = element.egress if back else element.ingress
        routed: Actions = (("set_field", f"eth_dst={port.mac}"),) if element.mode is ElementMode.ROUTED else ()
        if port.host == host:
            return (*routed, ("output", port.device))
        return (*routed, ("set_field", f"tunnel_id={self._door(port)}"), ("output", self.links[host, port.host]))

    def _door(self, port: SdnPort) -> int:
        return number(f"{self.spec.key} {port.device}")


def _door_out(element: ChainElement, *, back: bool) -> SdnPort:
    return element.ingress if back else element.egress


def _aim(spec: ChainSpec, target: SdnPort, *, routed: bool) -> Match:
    """What tells that a frame is for ``target``: its MAC, or behind a router its IP address; nothing if anybody's."""
    if not routed:
        return {} if _is_anybody(target) else {"eth_dst": target.mac}
    if not target.addresses:
        raise Permanent(f"{spec.key}: {target.key} has no address to find it by behind a routed function")
    address = target.addresses[0]
    family, ether_type = ("ipv6", 0x86DD) if ":" in address else ("ipv4", 0x0800)
    return {"eth_type": ether_type, f"{family}_dst": address}


def _both(match: Match, aim: Match) -> Match | None:
    """What meets both; None where nothing can."""
    for name, value in aim.items():
        if name in match and not agrees(name, match[name], value):
            return None
    return {**match, **aim}


def _all_ports(spec: ChainSpec) -> tuple[SdnPort, ...]:
    functions = (p for position in spec.positions for e in position.elements for p in (e.ingress, e.egress))
    return (*spec.sources, *spec.destinations, *functions)


def _links(topology: Topology) -> dict[tuple[str, str], str]:
    return {(link.host, link.peer): link.device for link in topology.links}


def _refuse_unreachable(key: str, hosts: list[str], links: dict[tuple[str, str], str]) -> None:
    for host in hosts:
        for peer in hosts:
            if host != peer and (host, peer) not in links:
                raise Permanent(f"{key}: there is no link from {host} to {peer}")


def _refuse_twice(spec: ChainSpec) -> None:
    seen: set[str] = set()
    for element in (element for position in spec.positions for element in position.elements):
        for device in {element.ingress.device, element.egress.device}:
            if device in seen:
                raise Permanent(f"{spec.key}: the port {device} stands twice in the chain")
            seen.add(device)


def _refuse_astray(spec: ChainSpec) -> None:
    for ends in (spec.sources, spec.destinations):
        if sum(map(_is_anybody, ends)) > 1:
            raise Permanent(f"{spec.key}: several ends to the outside cannot be told apart")


def _is_anybody(port: SdnPort) -> bool:
    """Whether any machines may be behind it."""
    return not port.mac and not port.transparent


def _is_outside(port: SdnPort) -> bool:
    return _is_anybody(port) or bool(port.vlan)


def _tag(port: SdnPort) -> int:
    return 0x1000 | port.vlan if port.vlan else 0


def _rule(host: str, table: int, priority: int, match: Match, actions: Actions, note: str) -> FlowRule:
    return FlowRule(host=host, table=table, priority=priority, match=tuple(match.items()), actions=actions, note=note)


def _program(spec: SegmentSpec | ChainSpec, rules: list[FlowRule], groups: list[GroupRule]) -> FlowProgram:
    return FlowProgram(
        kind=spec.kind,
        key=spec.key,
        owner=spec.owner,
        name=spec.name,
        spec_hash=spec_hash(spec),
        rules=tuple(rules),
        groups=tuple(groups),
        spec=spec_to_json(spec),
    )
