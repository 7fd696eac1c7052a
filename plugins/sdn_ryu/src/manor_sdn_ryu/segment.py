"""A segment as rules: its ports reach each other, and nothing else does.

Nothing is learned and nothing floods, since the plan knows every MAC and address. Only what is behind a port to the
outside is not known, so what nobody else has goes there. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from manor.api import FlowRule, ResourceKind, SdnPort, SegmentSpec, Topology
from manor.errors import Unsupported
from manor_sdn_ryu.fields import Field, exact, parse, render_match
from manor_sdn_ryu.pipeline import LOCAL, REMOTE, SEGMENT_MASK, Priority, Table, metadata_of, tag, tunnel_id
from manor_sdn_ryu.security import Verdict, addresses, delivers, link_local, outside_sends, sends, tracked

__all__ = ["DROP", "Actions", "compile_segment", "goto", "is_outside", "limited", "link_device", "way_out"]

Actions = tuple[tuple[str, str | int], ...]
_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_ROUTER, _SOLICITED, _OVERRIDE = 0x80000000, 0x40000000, 0x20000000
"""Flags of a neighbour advertisement (RFC 4861)."""
_GROUP: Field = (0x010000000000, 0x010000000000)


def compile_segment(spec: SegmentSpec, topology: Topology, salt: int = 0) -> tuple[FlowRule, ...]:
    """Every rule of the segment on every host that has a port of it. Raises Unsupported without a link between two."""
    hosts = sorted({port.host for port in spec.ports})
    rules: list[FlowRule] = []
    for host in hosts:
        links = {peer: link_device(topology, host, peer) for peer in hosts if peer != host}
        rules.extend(_Host(spec, host, links, salt).rules())
    return tuple(rules)


def link_device(topology: Topology, host: str, peer: str) -> str:
    """The device on ``host`` that leads to ``peer``. Raises Unsupported when there is none."""
    for link in topology.links:
        if (link.host, link.peer) == (host, peer):
            return link.device
    raise Unsupported(
        f"no link from host {host} to {peer}: a segment or chain over both cannot be had",
        capability="overlay",
        hint="place the service on one host, or connect the hosts' switches",
    )


def is_outside(port: SdnPort) -> bool:
    """Whether this is a port to the outside: anybody may be behind it, or a VLAN is."""
    return not port.transparent and (not port.mac or bool(port.vlan))


class _Host:
    """The segment's rules on one host."""

    def __init__(self, spec: SegmentSpec, host: str, links: Mapping[str, str], salt: int) -> None:
        self.spec, self.host, self.links = spec, host, links
        self.number = metadata_of(spec.owner, spec.key)
        self.here = {"metadata": (self.number, SEGMENT_MASK)}
        self.vni = tunnel_id(ResourceKind.SEGMENT, tag(spec.owner, ResourceKind.SEGMENT, spec.key), salt)
        self.ends = [port for port in spec.ports if not port.transparent]
        self.local = [port for port in self.ends if port.host == host]
        self.known = [port for port in self.ends if port.mac]
        self.outside = [port for port in self.ends if not port.mac]

    def rules(self) -> Iterator[FlowRule]:
        for port in self.spec.ports:
            if port.host == self.host:
                yield from self.admit(port)
        yield from self.links_in()
        yield self.rule(Table.CLASSIFY, Priority.PASS, self.here, goto(Table.ANSWER), "no chain's")
        if self.outside:
            own = [exact("eth_dst", port.mac) for port in self.known]
            for address in [*own, _GROUP]:
                match = {**self.here, "eth_dst": address}
                yield self.rule(Table.CLASSIFY, Priority.KNOWN, match, goto(Table.ANSWER), "not to the outside")
        yield from self.answer()
        yield from self.forward()

    def rule(
        self, table: Table, priority: int, match: Mapping[str, Field], actions: Actions, note: str, *, in_port: str = ""
    ) -> FlowRule:
        return FlowRule(
            host=self.host, table=table, priority=priority, match=render_match(match, in_port=in_port),
            actions=actions, note=f"{self.spec.name}: {note}",
        )  # fmt: skip

    # --- ADMIT: who may send what

    def admit(self, port: SdnPort) -> Iterator[FlowRule]:
        onwards: Actions = (("set_field", f"metadata=0x{self.number | LOCAL:x}"), *goto(Table.CLASSIFY))
        if is_outside(port):
            yield from self.admit_outside(port, onwards)
            return
        if not port.transparent:
            for match, priority, verdict, note in sends(port, gateway=self.is_router(port)):
                actions = limited(port, self.act(port, verdict, onwards, Table.TRACK))
                yield self.rule(Table.ADMIT, priority, match, actions, note, in_port=port.device)
            for match, priority, verdict, note in tracked(port, "egress") if port.security else ():
                actions = self.act(port, verdict, onwards, Table.TRACK)
                yield self.rule(Table.TRACK, priority, match, actions, note, in_port=port.device)
        why = "a function sent what no chain expects" if port.transparent else "spoofed or not allowed"
        yield self.rule(Table.ADMIT, Priority.REFUSE, {}, DROP, f"{why}, from {port.device}", in_port=port.device)

    def is_router(self, port: SdnPort) -> bool:
        """Whether the segment's machines may use it as their router: its gateway, or a machine outside."""
        return is_outside(port) or any(s.gateway and s.gateway in port.addresses for s in self.spec.subnets)

    def admit_outside(self, port: SdnPort, onwards: Actions) -> Iterator[FlowRule]:
        """One VLAN of a port (or what has no tag) is the segment's; its other frames are none of its business."""
        tag_ = {"vlan_vid": exact("vlan_vid", 0x1000 | port.vlan if port.vlan else 0)}
        untag: Actions = (("pop_vlan", ""),) if port.vlan else ()
        verdicts = sends(port, gateway=True) if port.mac else outside_sends(port, self.known)
        for match, priority, verdict, note in verdicts:
            passed = limited(port, (*untag, *onwards)) if verdict is not Verdict.DROP else DROP
            yield self.rule(Table.ADMIT, priority, {**match, **tag_}, passed, note, in_port=port.device)
        note = f"not allowed, from {port.device}"
        yield self.rule(Table.ADMIT, Priority.REFUSE, tag_, DROP, note, in_port=port.device)

    def act(self, port: SdnPort, verdict: Verdict, onwards: Actions, then: Table) -> Actions:
        """The actions of a verdict; a port's connections are tracked in the zone of its port number."""
        zone = ("set_field", f"reg1=@{port.device}")
        match verdict:
            case Verdict.PASS:
                return onwards
            case Verdict.TRACK:
                return zone, ("ct", int(then))
            case Verdict.COMMIT:
                return zone, ("ct", "commit"), *onwards
            case Verdict.DROP:
                return DROP

    def links_in(self) -> Iterator[FlowRule]:
        for peer, device in sorted(self.links.items()):
            actions = (("set_field", f"metadata=0x{self.number | REMOTE:x}"), *goto(Table.FORWARD))
            match = {"tunnel_id": exact("tunnel_id", self.vni)}
            yield self.rule(Table.ADMIT, Priority.LINK, match, actions, f"from host {peer}", in_port=device)

    # --- ANSWER: ARP and neighbour discovery

    def answer(self) -> Iterator[FlowRule]:
        asks_arp = {**self.here, "eth_type": exact("eth_type", _ARP), "arp_op": exact("arp_op", 1)}
        asks_nd = self.discovery(135)
        for port in self.ends:
            for address in addresses(port, 4):
                yield from self.arp(port, address, {**asks_arp, "arp_tpa": exact("arp_tpa", address)})
            own = [link_local(port.mac)] if port.mac else []
            for address in dict.fromkeys([*addresses(port, 6), *own]):
                yield from self.nd(port, address, {**asks_nd, "ipv6_nd_target": exact("ipv6_nd_target", address)})
        yield from self.advertise()
        open_ended = [port for port in self.ends if not port.addresses]
        nobody = self.flood(open_ended) if open_ended else DROP
        note = "to the ports whose addresses are not known" if open_ended else "for an address that nobody has"
        yield self.rule(Table.ANSWER, Priority.ANSWER_NONE, asks_arp, nobody, f"ARP request {note}")
        if not open_ended:
            yield self.rule(Table.ANSWER, Priority.ANSWER_NONE, asks_nd, DROP, f"neighbour solicitation {note}")
        yield self.rule(Table.ANSWER, Priority.PASS, self.here, goto(Table.FORWARD), "not a question")

    def arp(self, port: SdnPort, address: str, match: Mapping[str, Field]) -> Iterator[FlowRule]:
        if port.host == self.host:
            note = f"{address} asked about by itself"
            yield self.rule(Table.ANSWER, Priority.ANSWER_OWN, match, DROP, note, in_port=port.device)
        reply = (
            ("move", "eth_src->eth_dst"), ("set_field", f"eth_src={port.mac}"), ("set_field", "arp_op=2"),
            ("move", "arp_sha->arp_tha"), ("move", "arp_spa->arp_tpa"),
            ("set_field", f"arp_sha={port.mac}"), ("set_field", f"arp_spa={address}"),
        )  # fmt: skip
        back: Actions = (("output", "in_port"),)
        yield self.rule(Table.ANSWER, Priority.ANSWER, match, (*reply, *back), f"ARP answered for {address}")
        for asker in self.local:
            if asker.vlan and asker is not port:
                actions = (*reply, *tagged(asker), *back)
                note = f"ARP answered for {address}, to VLAN {asker.vlan}"
                yield self.rule(Table.ANSWER, Priority.ANSWER_OWN, match, actions, note, in_port=asker.device)

    def discovery(self, kind: int) -> dict[str, Field]:
        """Matches neighbour discovery of one type in the segment."""
        ip = {"eth_type": exact("eth_type", _IPV6), "ip_proto": exact("ip_proto", 58)}
        return {**self.here, **ip, "icmpv6_type": exact("icmpv6_type", kind)}

    def nd(self, port: SdnPort, address: str, match: Mapping[str, Field]) -> Iterator[FlowRule]:
        """The switch answers who brings its MAC; the option that held it will hold the answer."""
        if port.host == self.host:
            note = f"{address} asked about by itself"
            yield self.rule(Table.ANSWER, Priority.ANSWER_OWN, match, DROP, note, in_port=port.device)
        if port.mac:
            flags = _SOLICITED | _OVERRIDE | (_ROUTER if self.is_router(port) else 0)
            reply: Actions = (
                ("move", "eth_src->eth_dst"), ("set_field", f"eth_src={port.mac}"),
                ("move", "ipv6_src->ipv6_dst"), ("set_field", f"ipv6_src={address}"),
                ("set_field", "icmpv6_type=136"), ("set_field", f"nd_reserved=0x{flags:x}"),
                ("set_field", "nd_options_type=2"),
            )  # fmt: skip
            asks = {**match, "nd_options_type": exact("nd_options_type", 1)}
            note = f"neighbour solicitation answered for {address}"
            yield self.rule(Table.ANSWER, Priority.ANSWER, asks, (*reply, *goto(Table.ADVERTISE)), note)
        note = f"neighbour solicitation passed on to {address}"
        yield self.rule(Table.ANSWER, Priority.ASKED, match, self.towards(port), note)

    def advertise(self) -> Iterator[FlowRule]:
        match, told = self.discovery(136), (("move", "eth_src->ipv6_nd_tll"),)
        back: Actions = (("output", "in_port"),)
        yield self.rule(Table.ADVERTISE, Priority.ANSWER, match, (*told, *back), "neighbour advertised")
        for asker in self.local:
            if asker.vlan:
                note = f"neighbour advertised to VLAN {asker.vlan}"
                actions = (*told, *tagged(asker), *back)
                yield self.rule(Table.ADVERTISE, Priority.ANSWER_OWN, match, actions, note, in_port=asker.device)

    # --- FORWARD: to the one port, or to the segment's ports

    def forward(self) -> Iterator[FlowRule]:
        for port in self.known:
            match = {**self.here, "eth_dst": exact("eth_dst", port.mac)}
            actions = self.held(self.towards(port)) if port.host == self.host else self.towards(port)
            yield self.rule(Table.FORWARD, Priority.UNICAST, match, actions, f"to {port.key}")
            if port.host == self.host and port.security:
                yield from self.deliver(port)
        yield from self.spread(Priority.GROUP, {"eth_dst": _GROUP}, self.ends, "broadcast")
        note = "to an address that nobody has"
        if self.outside:
            yield from self.spread(Priority.REFUSE, {}, self.outside, f"{note}: to the outside")
        else:
            yield self.rule(Table.FORWARD, Priority.REFUSE, self.here, DROP, note)

    def spread(
        self, priority: int, match: Mapping[str, Field], ports: Sequence[SdnPort], note: str
    ) -> Iterator[FlowRule]:
        """To all of these ports; what came from another host is not sent to other hosts again."""
        from_here = {"metadata": parse("metadata", f"0x{self.number | LOCAL:x}/0x{SEGMENT_MASK | 1:x}"), **match}
        yield self.rule(Table.FORWARD, priority, from_here, self.held(self.flood(ports)), note)
        if self.links:
            from_there = {"metadata": parse("metadata", f"0x{self.number | REMOTE:x}/0x{SEGMENT_MASK | 1:x}"), **match}
            here = [port for port in ports if port.host == self.host]
            yield self.rule(
                Table.FORWARD, priority, from_there, self.held(self.flood(here)), f"{note}, from another host"
            )

    def held(self, actions: Actions) -> Actions:
        """What is delivered on this host, held to the link's rate."""
        rate_bps = self.spec.rate_bps
        return (("meter", rate_bps), *actions) if rate_bps and actions != DROP else actions

    def deliver(self, port: SdnPort) -> Iterator[FlowRule]:
        marked = {**self.here, "reg0": exact("reg0", self.mark(port))}
        out: Actions = (("output", port.device),)
        for table, ruled in ((Table.DELIVER, delivers(port)), (Table.TRACKED, tracked(port, "ingress"))):
            for match, priority, verdict, note in ruled:
                actions = self.act(port, verdict, out, Table.TRACKED)
                yield self.rule(table, priority, {**marked, **match}, actions, note)

    def mark(self, port: SdnPort) -> int:
        return self.ends.index(port) + 1

    def towards(self, port: SdnPort) -> Actions:
        if port.host != self.host:
            return (("set_field", f"tunnel_id=0x{self.vni:x}"), ("output", self.links[port.host]))
        if port.security:
            return (("set_field", f"reg0={self.mark(port)}"), *goto(Table.DELIVER))
        return way_out(port)

    def flood(self, ports: Sequence[SdnPort]) -> Actions:
        actions: list[tuple[str, str | int]] = []
        peers = sorted({port.host for port in ports} - {self.host})
        for port in sorted(ports, key=lambda port: port.vlan):
            if port.host != self.host:
                continue
            if port.security:
                actions += [("set_field", f"reg0={self.mark(port)}"), ("resubmit", int(Table.DELIVER))]
            else:
                actions += [*way_out(port), ("pop_vlan", "")] if port.vlan else way_out(port)
        if peers:
            actions.append(("set_field", f"tunnel_id=0x{self.vni:x}"))
            actions += [("output", self.links[peer]) for peer in peers]
        return tuple(actions) or DROP


DROP: Actions = (("drop", ""),)


def way_out(port: SdnPort) -> Actions:
    """Out of a port, with the tag of the VLAN that it is."""
    return (*tagged(port), ("output", port.device))


def tagged(port: SdnPort) -> Actions:
    """The tag of the VLAN that a port to the outside is."""
    return (("push_vlan", ""), ("set_field", f"vlan_vid=0x{0x1000 | port.vlan:x}")) if port.vlan else ()


def limited(port: SdnPort, actions: Actions) -> Actions:
    """What a frame that enters by ``port`` meets, held to the port's rate. ADMIT meets every frame just once."""
    return (("meter", port.rate_bps), *actions) if port.rate_bps and actions != DROP else actions


def goto(table: Table) -> Actions:
    """The action list that goes on in another table."""
    return (("goto", int(table)),)
