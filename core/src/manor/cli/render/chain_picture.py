"""One chain as all its pictures show it: ends and positions, who stands there, the rules on the way between. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manor.cli.render.hops import goes_on
from manor.cli.render.topology import machine_name
from manor.model.topology import ServiceTopology, TopologyChain, TopologyElement

__all__ = ["ChainPicture", "Leg", "Stand", "Stop", "chain_picture", "leg_words"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """A machine at a stop."""

    name: str
    host: str
    state: str
    ports: str
    """The connection points that traffic enters and leaves by, as ``in > out``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """The ends, and each position between them."""

    name: str
    """``from``, ``to``, or the position's name."""
    number: int
    """Of the position, from 1; 0 for an end."""
    stands: tuple[Stand, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """The rules that carry traffic from one stop to the next, one way."""

    way: str
    """``there`` or ``back``."""
    hop: int
    """The stop that it begins at on the way there, from 0; on the way back the one that it ends at."""
    rules: int
    wrong: int
    """Of them missing or altered."""
    packets: int
    tunnels: tuple[str, ...]
    """Hosts that it comes in from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainPicture:
    """All of it."""

    service: str
    name: str
    match: tuple[str, ...]
    symmetric: bool
    precedence: int
    state: str
    stops: tuple[Stop, ...]
    legs: tuple[Leg, ...]
    foreign: int
    """Rules under the chain's cookie that are not its own."""

    def leg(self, way: str, hop: int) -> Leg | None:
        """The leg between stop ``hop`` and the next; None where nothing is known of its rules."""
        return next((leg for leg in self.legs if (leg.way, leg.hop) == (way, hop)), None)


def leg_words(leg: Leg) -> str:
    """The leg's rules in a few words."""
    live = f"{leg.rules} rule{'' if leg.rules == 1 else 's'} live"
    state = f"{leg.wrong} of {leg.rules} rules WRONG" if leg.wrong else live
    tunnels = f", tunnel from {' and '.join(leg.tunnels)}" if leg.tunnels else ""
    return f"{state}, {leg.packets:,} packet{'' if leg.packets == 1 else 's'}{tunnels}"


def chain_picture(
    service: ServiceTopology, chain: TopologyChain, detail: Mapping[str, Any] | None = None
) -> ChainPicture:
    """The picture; ``detail`` is what the controller observed of the chain, None where it was not asked."""
    ports = service.ports()

    def stand(into: str, out: str) -> Stand:
        if into in chain.outside:
            host, _, device = chain.outside[into].partition("/")
            return Stand(name=into.rpartition("/")[2], host=host, state="", ports=device)
        if into not in ports:
            return _OUTSIDE
        vnf, vnfc, port = ports[into]
        name = vnf.name if len(vnf.vnfcs) == 1 else f"{vnf.name}/{machine_name(vnf, vnfc)}"
        words = port.name if into == out or out not in ports else f"{port.name} > {ports[out][2].name}"
        return Stand(name=name, host=vnfc.host, state=vnfc.state, ports=words)

    def devices(keys: Collection[str]) -> frozenset[str]:
        found = {ports[key][2].device for key in keys if key in ports}
        return frozenset(found | {chain.outside[key].partition("/")[2] for key in keys if key in chain.outside})

    ends = [
        tuple(TopologyElement(ingress=key, egress=key) for key in end) for end in (chain.sources, chain.destinations)
    ]
    elements = [ends[0], *(hop.elements for hop in chain.hops), ends[1]]
    names = ["from", *(hop.name for hop in chain.hops), "to"]
    stops = tuple(
        Stop(
            name=name,
            number=number if 0 < number <= len(chain.hops) else 0,
            stands=tuple(stand(e.ingress, e.egress) for e in there) or (_OUTSIDE,),
        )
        for number, (name, there) in enumerate(zip(names, elements, strict=True))
    )
    legs: list[Leg] = []
    rules = list((detail or {}).get("rules", ()))
    for hop, (one, other) in enumerate(itertools.pairwise(elements)):
        for way, left in (("there", [e.egress for e in one]), ("back", [e.ingress for e in other])):
            if rules and (way == "there" or chain.symmetric):
                legs.append(_leg(way, hop, _of_leg(way, devices(left), rules)))
    return ChainPicture(
        service=service.name,
        name=chain.name,
        match=chain.match,
        symmetric=chain.symmetric,
        precedence=chain.precedence,
        state=chain.state,
        stops=stops,
        legs=tuple(legs),
        foreign=len((detail or {}).get("extra", ())),
    )


_OUTSIDE = Stand(name="outside", host="", state="", ports="")


def _end(keys: Iterable[str]) -> tuple[TopologyElement, ...]:
    return tuple(TopologyElement(ingress=key, egress=key) for key in keys)


def _of_leg(way: str, left: frozenset[str], rules: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rules out of these devices, and those behind a tunnel that lead to where they lead."""
    own = [rule for rule in rules if _in_port(rule) in left and f" {way}" in f" {rule.get('note')}"]
    targets = {str(rule["note"]).rpartition(" to ")[2] for rule in own}
    behind = tuple(f"{way}, to {target}, from host " for target in targets)
    return own + [rule for rule in rules if any(words in str(rule.get("note")) for words in behind)]


def _leg(way: str, hop: int, rules: Sequence[Mapping[str, Any]]) -> Leg:
    tunnels = [str(rule["note"]).rpartition(", from host ") for rule in rules]
    first = [rule for rule, (_, found, _) in zip(rules, tunnels, strict=True) if not found]
    return Leg(
        way=way,
        hop=hop,
        rules=len(rules),
        wrong=sum(rule.get("state", "active") != "active" for rule in rules),
        packets=sum(int(rule.get("packets", 0)) for rule in first if not goes_on(rule)),
        tunnels=tuple(dict.fromkeys(host for _, found, host in tunnels if found)),
    )


def _in_port(rule: Mapping[str, Any]) -> str:
    pairs = dict(part.partition("=")[::2] for part in str(rule.get("match", "")).split(","))
    return pairs.get("in_port", "")
