"""A chain as rules: classified traffic visits each position once, in order, and then goes where it was going.

How far a frame has come is told by the port it comes out of, since a transparent function gets it unchanged and may
be shared by several chains: each rule matches ``in_port``, both ends and the classifier. So the first rule is in
CLASSIFY (after port security), the ones between are in ADMIT, and the last hands the frame to the segment, which
delivers it as any other. Behind a routed function the ends are known by IP address, as their MACs are gone. An end to
the outside is known by neither: it is where a frame goes, or comes from, that is nobody's on the segment. What comes
out of an NSH-aware function loses its header in ADMIT, and is then known in INNER as any other. Pure.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    ElementMode,
    FailMode,
    FlowRule,
    SdnPort,
    Topology,
)
from manor.errors import Permanent, Unsupported
from manor_sdn_ryu.balance import shares
from manor_sdn_ryu.classifier import clauses, reverse
from manor_sdn_ryu.fields import IP_FAMILIES, Field, exact, intersects, merge, render_match
from manor_sdn_ryu.hops import arrival, hop_id
from manor_sdn_ryu.names import word
from manor_sdn_ryu.nsh import POSITIONS_MAX, returned, unwrapped, way_of, wrapped
from manor_sdn_ryu.pipeline import LOCAL, SEGMENT_MASK, Priority, Table, metadata_of
from manor_sdn_ryu.segment import DROP, Actions, goto, limited, link_device, way_out

__all__ = ["compile_chain"]

_PRECEDENCE_MAX = 999
_RANKS = 8
_SLOTS = 32
"""Priorities of one precedence: four degrees of exactness, in each of them the ranks."""
_Clause = dict[str, Field]


def compile_chain(
    spec: ChainSpec, topology: Topology, dead: Collection[str] = (), salt: int = 0
) -> tuple[FlowRule, ...]:
    """Every rule of the chain; functions with a port in ``dead`` (device names) are treated as their position says.

    Raises Unsupported or Permanent where the chain cannot be had, naming what is wrong.
    """
    _refuse_unsound(spec)
    ranked = _ranked(spec)
    _refuse_unaddressed(spec, [clause for _, clause in ranked])
    ahead = _RANKS // 2 if _both_ways(spec) else 0
    rules: dict[tuple[object, ...], FlowRule] = {}
    for way in (True, False) if spec.symmetric else (True,):
        for rank, clause in ranked:
            for source in spec.sources:
                for target in spec.destinations:
                    if source.device == target.device and source.host == target.host:
                        continue
                    own = rank + ahead if way else rank
                    for rule in _Way(spec, topology, dead, salt, way, own, clause, source, target).rules():
                        rules.setdefault((rule.host, rule.table, rule.priority, rule.match), rule)
    if not any(rule.table == Table.CLASSIFY for rule in rules.values()):
        raise Permanent(
            f"chain {spec.name}: its classifiers match nothing that its sources can send to its destinations",
            hint="compare the rule's MAC and IP addresses with those of the chain's ends",
        )
    return tuple(rules.values())


def _refuse_unsound(spec: ChainSpec) -> None:
    if not spec.sources or not spec.destinations:
        raise Permanent(f"chain {spec.name}: it has no {'sources' if not spec.sources else 'destinations'}")
    if not spec.positions:
        raise Permanent(f"chain {spec.name}: it has no positions, so it steers nothing")
    if not 0 <= spec.precedence <= _PRECEDENCE_MAX:
        raise Permanent(f"chain {spec.name}: precedence {spec.precedence} is outside 0 to {_PRECEDENCE_MAX}")
    if len(spec.positions) > POSITIONS_MAX:
        raise Unsupported(f"chain {spec.name}: more than {POSITIONS_MAX} positions", capability="chain")
    anonymous = all(any(not port.mac for port in end) for end in (spec.sources, spec.destinations))
    seen: dict[tuple[str, str], str] = {}
    ends = {(port.host, port.device) for port in (*spec.sources, *spec.destinations)}
    for position in spec.positions:
        if not position.elements:
            raise Permanent(f"chain {spec.name}: position {position.name} names no function")
        if sum(max(element.weight, 0) for element in position.elements) <= 0:
            raise Permanent(f"chain {spec.name}: position {position.name} has no element of positive weight")
        for element in position.elements:
            one_port = element.ingress.device == element.egress.device
            if anonymous and spec.symmetric and one_port and element.mode is not ElementMode.NSH:
                raise Unsupported(
                    f"chain {spec.name}: at {position.name}, which has one port, frames there and back between two"
                    " ends to the outside cannot be told apart",
                    hint="give the function two ports, an end a MAC, or let the path go one way (symmetric: false)",
                )
            for port in {element.ingress, element.egress}:
                where = (port.host, port.device)
                if where in seen:
                    raise Permanent(
                        f"chain {spec.name}: {port.device} on {port.host} stands at {seen[where]} and at"
                        f" {position.name}: traffic would circle"
                    )
                if where in ends:
                    raise Permanent(f"chain {spec.name}: {port.device} is an end and a function of the chain")
                seen[where] = position.name


def _refuse_unaddressed(spec: ChainSpec, clauses: list[_Clause]) -> None:
    """Behind a routed function frames are known by address. Of a family that the ends have not, none come out."""
    if not any(element.mode is ElementMode.ROUTED for position in spec.positions for element in position.elements):
        return
    families = [{name: field for name, field in clause.items() if name == "eth_type"} for clause in clauses]
    for source, target in itertools.product(spec.sources, spec.destinations):
        if not any(_by_address(source, target, family) for family in families):
            raise Permanent(f"chain {spec.name}: a routed function needs the addresses of both ends")


def _ranked(spec: ChainSpec) -> list[tuple[int, _Clause]]:
    """The chain's clauses, each with a rank by which overlapping ones are told apart (higher first)."""
    wanted: list[_Clause] = []
    ranks = _RANKS // 2 if _both_ways(spec) else _RANKS
    balanced = any(len(position.elements) > 1 for position in spec.positions)
    for classifier in spec.classifiers or (Classifier(),):
        for clause in clauses(classifier):
            if balanced and "eth_type" not in clause:
                wanted += [{**clause, "eth_type": exact("eth_type", kind)} for kind in IP_FAMILIES.values()]
            wanted.append(clause)
    ranked: list[tuple[int, _Clause]] = []
    for clause in wanted:
        if any(clause == earlier for _, earlier in ranked):
            continue
        rank = min((r - 1 for r, earlier in ranked if intersects(earlier, clause)), default=ranks - 1)
        if rank < 0:
            raise Unsupported(
                f"chain {spec.name}: more than {ranks} of its classifiers overlap each other",
                hint="leave out those that another one contains",
            )
        ranked.append((rank, clause))
    return ranked


def _both_ways(spec: ChainSpec) -> bool:
    """Whether a frame's ends do not tell if it goes there or back: a port is a source and a destination."""
    return spec.symmetric and not {port.key for port in spec.sources}.isdisjoint(p.key for p in spec.destinations)


def _addressed(port: SdnPort, side: str, clause: _Clause) -> list[_Clause]:
    """The port as an end by IP address; of one to the outside only the kinds of frames are known."""
    if not port.mac and not port.addresses:
        return [{"eth_type": exact("eth_type", kind)} for kind in IP_FAMILIES.values()]
    kinds = {exact("eth_type", kind): name for name, kind in IP_FAMILIES.items()}
    family = kinds.get(clause.get("eth_type", (0, 0)), "")
    found: list[_Clause] = []
    for address in port.addresses:
        name = f"ipv{ipaddress.ip_address(address).version}"
        if family in ("", name):
            found.append(
                {"eth_type": exact("eth_type", IP_FAMILIES[name]), f"{name}_{side}": exact(f"{name}_{side}", address)}
            )
    return found


def _by_address(source: SdnPort, target: SdnPort, clause: _Clause) -> list[_Clause]:
    """Frames from one to the other that the clause admits, whatever their MACs are by now."""
    clause = {name: field for name, field in clause.items() if name not in ("eth_src", "eth_dst")}
    pairs = itertools.product(_addressed(source, "src", clause), _addressed(target, "dst", clause))
    ends = [both for pair in pairs if (both := merge(*pair)) is not None]
    return [both for end in ends if (both := merge(end, clause)) is not None]


@dataclass(frozen=True)
class _Way:
    """One clause between one source and one destination, there (``forth``) or back."""

    spec: ChainSpec
    topology: Topology
    dead: Collection[str]
    salt: int
    forth: bool
    rank: int
    clause: _Clause
    source: SdnPort
    target: SdnPort

    def rules(self) -> Iterator[FlowRule]:
        positions = self.spec.positions if self.forth else self.spec.positions[::-1]
        start = self.source if self.forth else self.target
        came_from = [(start, Table.CLASSIFY)]
        routed = False
        for number, position in enumerate(positions):
            for port, table in came_from:
                yield from self.step(port, positions[number:], table, routed)
            came_from = []
            for element in filter(self.alive, position.elements):
                came_from.append((self.leaves(element), _admits(element)))
                if element.mode is ElementMode.NSH:
                    yield self.unwrap(self.leaves(element), position, number)
            routed = routed or any(element.mode is ElementMode.ROUTED for element in position.elements)
        for port, table in came_from:
            yield from self.step(port, (), table, routed)

    # --- which frames

    def matches(self, routed: bool) -> list[_Clause]:
        """What frames of this way look like; by address once a routed function has had them."""
        if routed:
            found = _by_address(self.source, self.target, self.clause)
        else:
            ends = merge({**_mac("eth_src", self.source.mac), **_mac("eth_dst", self.target.mac)}, self.clause)
            found = [] if ends is None else [ends]
        return found if self.forth else [reverse(match) for match in found]

    # --- where to

    @property
    def way(self) -> str:
        return "there" if self.forth else "back"

    def alive(self, element: ChainElement) -> bool:
        return element.ingress.device not in self.dead and element.egress.device not in self.dead

    def enters(self, element: ChainElement) -> SdnPort:
        return element.ingress if self.forth else element.egress

    def leaves(self, element: ChainElement) -> SdnPort:
        return element.egress if self.forth else element.ingress

    def step(self, port: SdnPort, ahead: tuple[ChainPosition, ...], table: Table, routed: bool) -> Iterator[FlowRule]:
        """The rules for frames out of ``port`` with the positions ``ahead`` still to come."""
        while ahead and not any(map(self.alive, ahead[0].elements)):
            mode = ahead[0].fail_mode
            if mode is FailMode.CLOSED:
                why = f"{self.way}, no live function at {ahead[0].name}: fail-closed"
                for match in self.matches(routed):
                    yield self.rule(port, table, match, DROP, why)
                return
            ahead = ahead[1:] if mode is FailMode.OPEN else ()
        for match in self.matches(routed):
            if not ahead:
                yield from self.leave(port, table, match, routed)
                continue
            yield from self.share(port, ahead, table, match)

    def share(
        self, port: SdnPort, ahead: tuple[ChainPosition, ...], table: Table, match: _Clause
    ) -> Iterator[FlowRule]:
        position, number = ahead[0], len(self.spec.positions) - len(ahead)
        live = [element for element in position.elements if self.alive(element)]
        there = match if self.forth else reverse(match)
        for extra, element in shares(position, live, there):
            sent = merge(match, extra if self.forth else reverse(extra))
            if sent is not None:
                into = self.enters(element)
                note = f"{self.way}, {word(port)} to {word(into, position.name)}"
                yield from self.hand_over(port, into, table, sent, self.dressed(element, number), note)

    def dressed(self, element: ChainElement, number: int) -> Actions:
        """What the function at position ``number`` wants done to a frame before it gets it."""
        into = self.enters(element)
        if element.mode is ElementMode.NSH:
            return wrapped(self.spec, self.forth, number, into)
        return (("set_field", f"eth_dst={into.mac}"),) if element.mode is ElementMode.ROUTED else ()

    def hand_over(
        self, port: SdnPort, into: SdnPort, table: Table, match: _Clause, before: Actions, note: str
    ) -> Iterator[FlowRule]:
        """From ``port`` into a function, over a link where it is on another host."""
        if into.host == port.host:
            out = "in_port" if into.device == port.device else into.device
            yield self.rule(port, table, match, (*before, ("output", out)), note)
            return
        yield from self.across(port, into, table, match, (), (*before, ("output", into.device)), note)

    def unwrap(self, port: SdnPort, position: ChainPosition, number: int) -> FlowRule:
        """What comes out of an NSH-aware function, whatever is inside."""
        return FlowRule(
            host=port.host, table=Table.ADMIT, priority=Priority.STEER + _SLOTS * self.spec.precedence + _SLOTS - 1,
            match=render_match(returned(self.spec, self.forth, number), in_port=port.device),
            actions=limited(port, unwrapped(self.spec, self.forth)),
            note=f"{self.spec.name}: {self.way}, out of {word(port, position.name)}, its header taken off",
        )  # fmt: skip

    def leave(self, port: SdnPort, table: Table, match: _Clause, routed: bool) -> Iterator[FlowRule]:
        """Behind the last function: give the frame back to the segment, which knows the way to its end.

        Where the end is on another host it does so there, since the segment may have no port on this one.
        """
        end = self.target if self.forth else self.source
        restore: Actions = (("set_field", f"eth_dst={end.mac}"),) if routed and end.mac else ()
        note = f"{self.way}, {word(port)} to {word(end)}"
        if table is Table.CLASSIFY:
            yield self.rule(port, table, match, (*restore, *goto(Table.ANSWER)), note)
            return
        number = metadata_of(self.spec.owner, self.spec.segment) | LOCAL
        onwards: Actions = (("set_field", f"metadata=0x{number:x}"), *goto(Table.FORWARD))
        if not end.mac:  # the segment would spread it over all its ports to the outside, also where it came from
            onwards = way_out(end)
        if end.host == port.host:
            yield self.rule(port, table, match, (*restore, *onwards), note)
        else:
            yield from self.across(port, end, table, match, restore, onwards, note)

    def across(
        self, port: SdnPort, to: SdnPort, table: Table, match: _Clause, before: Actions, after: Actions, note: str
    ) -> Iterator[FlowRule]:
        """Over the link to ``to``'s host, and what becomes of the frame there."""
        way = self.way if ("encap", "nsh") in after else ""  # a function with one port is dressed for its way
        hop = hop_id(self.spec, to, way, self.salt)
        device = link_device(self.topology, port.host, to.host)
        away: Actions = (*before, ("set_field", f"tunnel_id={hop}"), ("output", device))
        yield self.rule(port, table, match, away, note)
        back = link_device(self.topology, to.host, port.host)
        yield arrival(to, back, hop, after, f"{self.spec.name}: {self.way}, to {word(to)}, from host {port.host}")

    def rule(self, port: SdnPort, table: Table, match: _Clause, actions: Actions, note: str) -> FlowRule:
        """A rule for frames out of ``port``."""
        start, end = (self.source, self.target) if self.forth else (self.target, self.source)
        priority = Priority.STEER + _SLOTS * self.spec.precedence + self.rank
        if table is not Table.CLASSIFY:
            priority += _RANKS * (2 * bool(start.mac) + bool(end.mac))
        elif not end.mac:
            priority = Priority.OUTSIDE + _RANKS * self.spec.precedence + self.rank
        if table is Table.CLASSIFY:  # several links may have VLANs of this port
            segment = metadata_of(self.spec.owner, self.spec.segment)
            match = {**match, "metadata": (segment, SEGMENT_MASK)}
        if table is Table.INNER:
            match = {**match, **way_of(self.spec, self.forth)}
        return FlowRule(
            host=port.host, table=table, priority=priority,
            match=render_match(match, in_port=port.device),
            actions=limited(port, actions) if table is Table.ADMIT else actions, note=f"{self.spec.name}: {note}",
        )  # fmt: skip


def _admits(element: ChainElement) -> Table:
    """Where what comes out of the function is known by what it is."""
    return Table.INNER if element.mode is ElementMode.NSH else Table.ADMIT


def _mac(name: str, mac: str) -> _Clause:
    return {name: exact(name, mac)} if mac else {}
