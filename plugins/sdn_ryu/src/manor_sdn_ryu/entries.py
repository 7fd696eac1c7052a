"""Rules as a switch holds them: port numbers instead of names, numbers instead of text, comparable.

A :class:`FlowRule` names ports, because ports come and go; an :class:`Entry` is what it means on a switch with these
ports now. Two entries are equal exactly when the switch would do the same. Pure, so that what is sent can be decided
(and tested) without a switch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manor.api import FlowProgram, FlowRule
from manor.errors import Permanent
from manor_sdn_ryu.facts import facts
from manor_sdn_ryu.fields import BITS, exact, is_known, parse_match, whole
from manor_sdn_ryu.pipeline import Table

__all__ = [
    "IN_PORT",
    "METERS",
    "TO_US",
    "Action",
    "actions_of",
    "Entry",
    "Identity",
    "Resolved",
    "Limits",
    "check_rule",
    "limits",
    "resolve",
]

Action = tuple[str | int, ...]

_NO_TABLE = 255
IN_PORT = 0xFFFFFFF8
"""OFPP_IN_PORT: back out of the port it came from."""
TO_US: Action = ("output", 0xFFFFFFFD)
"""To OFPP_CONTROLLER: what a probe's rule shows (no program has it)."""

METERS = range(0x10000, 0x30000)
"""Our meters' numbers: from its begin on those of ports, by the port's number; from :data:`_LINKS` on those of links,
by the number of a port that is on no other link."""
_LINKS = 0x20000

Identity = tuple[int, int, tuple[tuple[str, int, int], ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One flow entry."""

    table: int
    priority: int
    cookie: int
    match: tuple[tuple[str, int, int], ...]
    """(field, value, mask), sorted; ``in_port`` by number."""
    actions: tuple[Action, ...]

    @property
    def identity(self) -> Identity:
        """What a switch tells entries apart by."""
        return self.table, self.priority, self.match

    @property
    def is_sendable(self) -> bool:
        """Whether its match can be sent, as a strict delete has to; somebody's under our cookie may say more."""
        return all(is_known(name) for name, _, _ in self.match)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """A program on one host's switch with the ports of the moment."""

    entries: Mapping[Identity, tuple[Entry, FlowRule]]
    """In the program's order."""
    missing: tuple[str, ...]
    """Devices that rules name and the switch does not have."""
    meters: Mapping[int, int] = field(default_factory=dict)
    """kbit/s by meter."""
    unmetered: tuple[str, ...] = ()
    """Devices whose rate limit this switch cannot enforce."""


def resolve(
    program: FlowProgram, host: str, ports: Mapping[str, int], *, metering: bool = True, writes_nd: bool = True
) -> Resolved:
    """What ``host``'s switch must hold. A rule out of a missing port waits for it; one into a missing port drops.

    (If it were left out, a chain's traffic would fall to the segment and pass its functions by.)

    Where the switch cannot write neighbour discovery, the rules that answer it are left out, and those below them
    pass the question on.
    """
    number = facts(program).cookie
    entries: dict[Identity, tuple[Entry, FlowRule]] = {}
    missing: dict[str, None] = {}
    meters: dict[int, int] = {}
    unmetered: dict[str, None] = {}
    link: int | None = None
    for told in facts(program).rules.get(host, ()):
        rule, in_port = told.rule, told.in_port
        gone = [name for name in told.devices if name not in ports]
        missing.update(dict.fromkeys(gone))
        if (in_port and in_port in gone) or (told.writes_nd and not writes_nd):
            continue
        match = _match(rule.match)
        if in_port:
            match = tuple(sorted((*match, ("in_port", ports[in_port], whole("in_port")))))
        actions = actions_of(rule.actions) if told.is_fixed else _actions(rule.actions, ports)
        rate_bps = told.rate_bps
        if rate_bps and not in_port and link is None:
            link = _link_meter(_link_devices(program, host), ports)
        meter = METERS.start + ports[in_port] if in_port else link
        if rate_bps and metering and meter:
            meters[meter] = max(1, rate_bps // 1000)
            actions = (("meter", meter), *actions)
        elif rate_bps and not metering:
            unmetered[in_port or program.name] = None
        entry = Entry(
            table=int(rule.table),
            priority=int(rule.priority),
            cookie=number,
            match=match,
            actions=actions,
        )
        entries[entry.identity] = (entry, rule)
    return Resolved(entries=entries, missing=tuple(missing), meters=meters, unmetered=tuple(unmetered))


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a program holds to a rate on one host."""

    devices: frozenset[str]
    """Ports with a limit of their own."""
    link: frozenset[str]
    """Ports that the link's meter may be named after; empty where the link has no limit."""

    def meters(self, ports: Mapping[str, int]) -> set[int]:
        """The meters that are in use with these ports."""
        found = {METERS.start + ports[name] for name in self.devices if name in ports}
        return found | {_link_meter(self.link, ports)} - {0}


def limits(program: FlowProgram) -> dict[str, Limits]:
    """What the program limits, by host; a host where it limits nothing is left out."""
    limited = {host: {one.in_port for one in told if one.rate_bps} for host, told in facts(program).rules.items()}
    return {
        host: Limits(devices=frozenset(names - {""}), link=_link_devices(program, host) if "" in names else frozenset())
        for host, names in limited.items()
        if names
    }


def _link_devices(program: FlowProgram, host: str) -> frozenset[str]:
    """The ports that are on this link and on no other."""
    shared = {"vlan_vid", "tunnel_id"}
    return frozenset(
        one.in_port
        for one in facts(program).rules.get(host, ())
        if one.rule.table == Table.ADMIT and not shared & {name for name, _ in one.rule.match}
    )


def _link_meter(devices: Iterable[str], ports: Mapping[str, int]) -> int:
    """The number of a link's meter; 0 while it has no port."""
    return min((_LINKS + ports[name] for name in devices if name in ports), default=0)


@functools.lru_cache(1 << 18)
def _match(match: tuple[tuple[str, str | int], ...]) -> tuple[tuple[str, int, int], ...]:
    """All that a match says besides its port, which programs are asked for again and again."""
    return tuple(sorted((name, value, mask) for name, (value, mask) in parse_match(match).items() if mask))


@functools.lru_cache(1 << 16)
def actions_of(actions: tuple[tuple[str, str | int], ...]) -> tuple[Action, ...]:
    """Actions that no port's number is in."""
    return _actions(actions, {})


def _actions(actions: tuple[tuple[str, str | int], ...], ports: Mapping[str, int]) -> tuple[Action, ...]:
    return tuple([action for name, argument in actions for action in _action(name, argument, ports)])


def _action(name: str, argument: str | int, ports: Mapping[str, int]) -> Iterable[Action]:
    match name:
        case "output" if argument == "in_port":
            yield "output", IN_PORT
        case "output" if argument == "controller":
            yield TO_US
        case "output":
            if str(argument) in ports:
                yield "output", ports[str(argument)]
        case "set_field":
            field, _, value = str(argument).partition("=")
            if not value.startswith("@"):
                yield "set_field", field, exact(field, value)[0]
            elif value[1:] in ports:
                yield "set_field", field, ports[value[1:]]
        case "ct":
            yield ("ct", 1, _NO_TABLE) if argument == "commit" else ("ct", 0, int(argument))
        case "move":
            source, _, target = str(argument).partition("->")
            yield "move", source, target
        case "goto" | "resubmit":
            yield name, int(argument)
        case "push_vlan" | "pop_vlan" | "decap":
            yield (name,)
        case "encap" if argument in ("nsh", "ethernet"):
            yield name, str(argument)
        case "drop" | "meter":  # a meter's number is the port's, see above
            pass
        case _:
            raise ValueError(f"unknown action {name!r}")


def check_rule(rule: FlowRule) -> None:
    """Raise Permanent when the rule is none that a switch could hold."""
    try:
        if not 0 <= rule.table < 254 or not 0 <= rule.priority <= 0xFFFF:
            raise ValueError(f"table {rule.table} or priority {rule.priority} is out of range")
        parse_match(rule.match)
        for name, argument in rule.actions:
            if name == "meter" and int(argument) <= 0:
                raise ValueError("a meter needs a rate")
            for action in _action(name, argument, {str(argument): 1}):
                _check_action(rule, action)
    except (ValueError, KeyError) as error:
        raise Permanent(f"flow rule {rule.note!r} is not valid: {error}") from error


def _check_action(rule: FlowRule, action: Action) -> None:
    match action:
        case ("goto", int(table)) if not rule.table < table < 254:
            raise ValueError(f"goto {table} from table {rule.table}")
        case ("move", str(source), str(target)) if BITS[source] != BITS[target]:
            raise ValueError(f"move between {source} and {target}")
