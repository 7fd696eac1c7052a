"""Which way a probe has to take, and the rules that make it be seen on it. Pure.

The way is walked over the rules of the chain and of its segment, as a switch would take them. At each rule of the
chain that it meets, and where the segment delivers it, a sibling one priority higher matches the probe alone: it does
what the rule does and shows a copy to the controller; the last one shows it only, so no machine at the end gets it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from manor.api import ChainSpec, ElementMode, FlowProgram, FlowRule, ResourceKind, SdnPort, Topology
from manor.errors import NotFound, Permanent
from manor_sdn_ryu.fields import BITS, Field, exact, merge, parse, parse_match, render_match, whole
from manor_sdn_ryu.hops import passages
from manor_sdn_ryu.names import word
from manor_sdn_ryu.nsh import ETHER_TYPE, way_of, wrapped
from manor_sdn_ryu.pipeline import LOCAL, Table, cookie, metadata_of
from manor_sdn_ryu.probeframe import MARK_DSCP, Packet
from manor_sdn_ryu.segment import DROP, Actions, is_outside

__all__ = ["CONTROLLER", "Leg", "Route", "Stage", "probe_cookie", "route", "siblings"]

CONTROLLER = "controller"
"""The output that shows a frame to us."""
_PASSAGES_MAX = 64
_OF_THE_PROBE = ("eth_type", "ip_proto", "ip_dscp", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst",
                 "tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst")  # fmt: skip
_PROBE_KEY = "probe of "
"""No resource's key has a space, so a probe's cookie is nobody else's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A rule where the probe is seen."""

    host: str
    device: str
    """The port by which it came into this switch."""
    rule: FlowRule
    final: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """A part of the way, between one stage and the next (or what should be one)."""

    key: str
    host: str
    device: str
    function: bool
    """Whether a function has the probe meanwhile; else switches and links alone do."""
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The way of one probe: leg ``n`` ends with stage ``n``; a way cut short has a leg more than stages."""

    packet: Mapping[str, str | int]
    """With the mark, as the frame is to be built."""
    stages: tuple[Stage, ...]
    legs: tuple[Leg, ...]
    host: str
    """Where it is put in."""
    device: str
    """The port that it seems to come from, or (``into``) that it is put out of."""
    into: bool
    behind: tuple[int, int] | None
    """Put in at this table with this metadata, behind connection tracking or the loss of a header."""
    dress: Actions
    """What is done to it before it is put out of a port."""
    answers: bool


def probe_cookie(owner: str, key: str) -> int:
    """The cookie of the siblings for this chain."""
    return cookie(owner, ResourceKind.CHAIN, _PROBE_KEY + key)


def siblings(owner: str, key: str, routes: Collection[Route]) -> FlowProgram:
    """The rules that show the probes, as a program of their own cookie."""
    found: dict[tuple[object, ...], FlowRule] = {}
    for way in routes:
        mark = {name: exact(name, value) for name, value in way.packet.items() if name in _OF_THE_PROBE}
        for stage in way.stages:
            match = merge(parse_match(stage.rule.match), mark)
            if match is None:
                continue
            # Held to no rate: a link's meter is found by its program's ports, which this one does not have.
            rest = tuple(a for a in stage.rule.actions if a[0] != "meter" and not stage.final)
            rule = replace(
                stage.rule,
                priority=stage.rule.priority + 1,
                match=render_match(match, in_port=stage.device),
                actions=(("output", CONTROLLER), *rest),
            )
            found[rule.host, rule.table, rule.priority, rule.match] = rule
    return FlowProgram(
        kind=ResourceKind.CHAIN, key=_PROBE_KEY + key, owner=owner, name=key, spec_hash="", rules=tuple(found.values())
    )


def route(
    spec: ChainSpec, chain: FlowProgram, segment: FlowProgram | None, packet: Packet, topology: Topology
) -> Route:
    """The way of ``packet`` (see :class:`manor.api.Probed`) over what is compiled just now.

    Raises Permanent for a packet that is none, NotFound where the chain has no such port.
    """
    return _Walk(spec, chain, segment, topology).take(packet)


class _Walk:
    def __init__(self, spec: ChainSpec, chain: FlowProgram, segment: FlowProgram | None, topology: Topology) -> None:
        self.spec = spec
        self.tables: dict[tuple[str, int], list[tuple[FlowRule, bool]]] = {}
        for program in filter(None, (chain, segment)):
            for rule in program.rules:
                self.tables.setdefault((rule.host, rule.table), []).append((rule, program is chain))
        self.out = {(one[1].host, one[1].device): one for one in passages(spec)}
        """By the port into a function."""
        self.links = {(link.host, link.device): link.peer for link in topology.links}
        self.devices = {(link.host, link.peer): link.device for link in topology.links}
        self.stages: list[Stage] = []
        self.legs: list[Leg] = []
        self.inside: dict[str, Field] = {}
        """What a network service header is around."""

    def take(self, packet: Packet) -> Route:
        fields = self._fields(packet)
        into = str(packet.get("into", ""))
        port = self._port(into or str(packet.get("in_port", self.spec.sources[0].device)))
        marked = {name: value for name, value in packet.items() if name not in ("in_port", "into")}
        if not any(classifier.dscp is not None for classifier in self.spec.classifiers):
            marked["ip_dscp"] = MARK_DSCP
            fields["ip_dscp"] = exact("ip_dscp", MARK_DSCP)
        is_end = port in (*self.spec.sources, *self.spec.destinations)
        behind = self._behind(port, is_end, packet)
        dress = self._dress(port, packet) if into else ()
        host, device, table = port.host, port.device, int(Table.ADMIT)
        if into:
            self._act(dress, fields)
            host, device, fields = self._through(port.host, into, fields)
            if self.out[port.host, into][0].mode is ElementMode.ROUTED:
                marked["eth_dst"] = port.mac
        else:
            if behind is not None:
                table, fields["metadata"] = behind[0], exact("metadata", behind[1])
            where = "where it starts" if is_end else "out of the function"
            self.legs.append(Leg(key=port.key, host=host, device=device, function=False, note=f"{word(port)}, {where}"))
        for _ in range(_PASSAGES_MAX):
            following = self._passage(host, device, table, fields)
            if following is None:
                break
            host, device, fields = following
            table = int(Table.ADMIT)
        if into:
            self.stages = [replace(stage, final=True) for stage in self.stages[:1]]
            self.legs = self.legs[:1]
        return Route(
            packet=marked, stages=tuple(self.stages), legs=tuple(self.legs), host=port.host, device=port.device,
            into=bool(into), behind=behind, dress=dress, answers=self._answers(port, packet),
        )  # fmt: skip

    def _fields(self, packet: Packet) -> dict[str, Field]:
        try:
            return {name: exact(name, value) for name, value in packet.items() if name not in ("in_port", "into")}
        except (KeyError, ValueError) as error:
            raise Permanent(f"not a packet: {error}", hint=f"known fields: {', '.join(sorted(BITS))}") from error

    def _port(self, device: str) -> SdnPort:
        through = (port for _, port, _ in self.out.values())
        for port in (*self.spec.sources, *self.spec.destinations, *through):
            if port.device == device:
                return port
        raise NotFound(f"chain {self.spec.name} has no port {device}")

    def _behind(self, port: SdnPort, is_end: bool, packet: Packet) -> tuple[int, int] | None:
        """Where it is put in other than by a port: with no connection, no tag, no header."""
        if is_end:
            number = metadata_of(self.spec.owner, self.spec.segment) | LOCAL
            return (int(Table.CLASSIFY), number) if port.security or is_outside(port) else None
        if self.out[port.host, port.device][0].mode is not ElementMode.NSH:
            return None
        return int(Table.INNER), way_of(self.spec, not self._answers(port, packet))["metadata"][0] | LOCAL

    def _dress(self, port: SdnPort, packet: Packet) -> Actions:
        """What the chain does to a frame before the function at this port gets it, were it led there."""
        element, _, _ = self.out[port.host, port.device]
        forth = not self._answers(port, packet)
        positions = self.spec.positions if forth else self.spec.positions[::-1]
        number = next(number for number, position in enumerate(positions) if element in position.elements)
        return wrapped(self.spec, forth, number, port) if element.mode is ElementMode.NSH else ()

    def _answers(self, port: SdnPort, packet: Packet) -> bool:
        """Whether it is on the way back."""
        if port in self.spec.destinations and port not in self.spec.sources:
            return True
        towards = {source.mac for source in self.spec.sources} - {end.mac for end in self.spec.destinations}
        return port not in self.spec.sources and str(packet.get("eth_dst")) in towards

    # --- one switch

    def _passage(
        self, host: str, device: str, table: int, fields: dict[str, Field]
    ) -> tuple[str, str, dict[str, Field]] | None:
        """What one switch does with it: where it comes in next, None where that was the end."""
        fields = {"metadata": exact("metadata", 0), "tunnel_id": exact("tunnel_id", 0), **fields}
        following: int | None = table
        rule = None
        steered = False
        while following is not None:
            found = self._rule(host, following, device, fields)
            if found is None:
                self._cut(host, device, "no rule takes it")
                return None
            rule, of_chain = found
            if of_chain and not steered and ("decap", "") not in rule.actions:
                steered = True
                self.stages.append(Stage(host=host, device=device, rule=rule))
            elif rule.table == Table.FORWARD and rule.actions != DROP:
                self.legs.append(self._end(host, fields, rule))
                self.stages.append(Stage(host=host, device=device, rule=rule, final=True))
                return None
            following = self._act(rule.actions, fields)
        outputs = [str(value) for name, value in rule.actions if name == "output"] if rule else []
        if rule is None or not outputs:
            self._cut(host, device, f"dropped by {rule.note!r}" if rule else "")
            return None
        out = device if outputs[0] == "in_port" else outputs[0]
        if (host, out) in self.links:
            peer = self.links[host, out]
            self.legs.append(Leg(key="", host=peer, device=out, function=False, note=f"from host {host} to {peer}"))
            return peer, self.devices.get((peer, host), ""), {k: v for k, v in fields.items() if k != "metadata"}
        if (host, out) in self.out:
            return self._through(host, out, fields)
        if steered:  # an end that no segment delivers to
            self.stages[-1] = replace(self.stages[-1], final=True)
        return None

    def _act(self, actions: Actions, fields: dict[str, Field]) -> int | None:
        """What a rule changes; the table to go on in."""
        following = None
        for name, argument in actions:
            if name == "set_field":
                target, _, text = str(argument).partition("=")
                if not text.startswith("@"):
                    value, mask = parse(target, text)
                    fields[target] = (fields.get(target, (0, 0))[0] & ~mask) | value, whole(target)
            elif name == "goto":
                following = int(argument)
            elif (name, argument) == ("encap", "nsh"):
                self.inside = {name: field for name, field in fields.items() if name not in _OF_THE_SWITCH}
                fields["eth_type"] = exact("eth_type", ETHER_TYPE)
            elif name == "decap":
                fields |= self.inside
                fields.pop("nsh_si", None)
        return following

    def _through(self, host: str, device: str, fields: dict[str, Field]) -> tuple[str, str, dict[str, Field]]:
        """Into a function by ``device``, and out of it."""
        element, into, out = self.out[host, device]
        self.legs.append(Leg(key=into.key, host=host, device=device, function=True, note=word(into)))
        gone = _OF_THE_SWITCH | ({"eth_src", "eth_dst"} if element.mode is ElementMode.ROUTED else set())
        if (index := fields.get("nsh_si")) is not None:
            fields = {**fields, "nsh_si": exact("nsh_si", index[0] - 1)}
        return out.host, out.device, {name: field for name, field in fields.items() if name not in gone}

    def _rule(self, host: str, table: int, device: str, fields: Mapping[str, Field]) -> tuple[FlowRule, bool] | None:
        best: tuple[FlowRule, bool] | None = None
        for rule, of_chain in self.tables.get((host, table), ()):
            if best is not None and rule.priority <= best[0].priority:
                continue
            if all(
                value == device if name == "in_port" else _agrees(fields.get(name), parse(name, value))
                for name, value in rule.match
            ):
                best = rule, of_chain
        return best

    def _end(self, host: str, fields: Mapping[str, Field], rule: FlowRule) -> Leg:
        ends = (*self.spec.sources, *self.spec.destinations)
        mac = fields.get("eth_dst")
        port = next((end for end in ends if end.mac and exact("eth_dst", end.mac) == mac), None)
        if port is None:
            return Leg(key="", host=host, device="", function=False, note=rule.note)
        return Leg(key=port.key, host=port.host, device=port.device, function=False, note=f"to {word(port)}")

    def _cut(self, host: str, device: str, note: str) -> None:
        """By the rules themselves it ends here."""
        if len(self.legs) > len(self.stages):
            last = self.legs[-1]
            self.legs[-1] = replace(last, function=False, note=f"{last.note}: {note}")
        else:
            self.legs.append(Leg(key="", host=host, device=device, function=False, note=note))


_OF_THE_SWITCH = frozenset({"metadata", "tunnel_id"})


def _agrees(have: Field | None, wanted: Field) -> bool:
    value, mask = wanted
    return have is not None and not (have[0] ^ value) & mask
