"""What is asked of a program again and again, found out once: its hosts, its devices, its rules by host, its spec.

An agent holds thousands of programs and compares all of them with the switches every few seconds. A program never
changes, so what was found stays true as long as the program itself is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manor.api import ChainSpec, FlowProgram, FlowRule, SdnPort, SegmentSpec, spec_from_json
from manor_sdn_ryu.pipeline import cookie
from manor_sdn_ryu.segment import is_outside

__all__ = [
    "Facts",
    "Told",
    "cookie_of",
    "devices_of",
    "facts",
    "hosts_of",
    "hosts_wrapping",
    "machine_devices",
    "spec_of",
]

_KEPT = 1 << 14
_NO_DEVICE = ("in_port", "controller")
_ND = re.compile(r"^nd_(reserved|options_type)=|->ipv6_nd_")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A rule, and what its text says about ports."""

    rule: FlowRule
    in_port: str
    """Empty where it matches none."""
    devices: tuple[str, ...]
    """All that must be there for the rule to do all it should, ``in_port`` first."""
    rate_bps: int
    """What frames that meet the rule are held to, 0 for no limit."""
    writes_nd: bool
    """Whether it writes what only Open vSwitch's userspace datapath can: flags and options of neighbour discovery."""
    wraps: bool
    """Whether it puts on or takes off a network service header, which not every datapath can."""
    is_fixed: bool
    """Whether its actions are the same whatever numbers ports have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Of one program."""

    program: FlowProgram
    cookie: int
    rules: Mapping[str, Sequence[Told]]
    """By host, in the program's order."""
    devices: Mapping[str, frozenset[str]]
    """Every device that the rules name, by host."""
    outside: frozenset[tuple[str, str]]
    """Devices of ports to the outside, with their host: the host's own, that somebody else keeps."""
    spec: SegmentSpec | ChainSpec | None
    """None where it has none that can be read."""


_known: dict[int, Facts] = {}
"""By the program's identity; an entry keeps its program alive, so that no other can have the same."""


def facts(program: FlowProgram) -> Facts:
    """What is known of the program. Only what has a spec is kept long enough to be worth remembering."""
    if not program.spec:
        return _found(program)
    found = _known.get(id(program))
    if found is None:
        if len(_known) >= _KEPT:
            _known.clear()
        found = _known[id(program)] = _found(program)
    return found


def cookie_of(program: FlowProgram) -> int:
    """The program's cookie."""
    return facts(program).cookie


def hosts_of(program: FlowProgram | None) -> set[str]:
    """The hosts whose switches hold a part of the program."""
    return set(facts(program).rules) if program else set()


def hosts_wrapping(program: FlowProgram) -> set[str]:
    """The hosts whose switches put on or take off network service headers for the program."""
    return {host for host, told in facts(program).rules.items() if any(one.wraps for one in told)}


def devices_of(program: FlowProgram) -> set[tuple[str, str]]:
    """Every device that the program's rules name, with its host."""
    return {(host, device) for host, devices in facts(program).devices.items() for device in devices}


def machine_devices(program: FlowProgram, host: str) -> set[str]:
    """Devices on a host that the program's rules name and that are up only for it: none to the outside."""
    known = facts(program)
    return {device for device in known.devices.get(host, ()) if (host, device) not in known.outside}


def spec_of(program: FlowProgram | None) -> SegmentSpec | ChainSpec | None:
    """The spec inside the program, None where it has none that can be read."""
    return facts(program).spec if program else None


def _found(program: FlowProgram) -> Facts:
    rules: dict[str, list[Told]] = {}
    for rule in program.rules:
        rules.setdefault(rule.host, []).append(_told(rule))
    spec = _spec(program)
    return Facts(
        program=program,
        cookie=cookie(program.owner, program.kind, program.key),
        rules=rules,
        devices={host: frozenset(name for one in told for name in one.devices) for host, told in rules.items()},
        outside=frozenset((port.host, port.device) for port in _ports(spec) if is_outside(port)),
        spec=spec,
    )


def _told(rule: FlowRule) -> Told:
    in_port = next((str(value) for name, value in rule.match if name == "in_port"), "")
    outputs = [str(to) for name, to in rule.actions if name == "output" and to not in _NO_DEVICE]
    by_number = any(name == "set_field" and "=@" in str(value) for name, value in rule.actions)
    return Told(
        rule=rule,
        in_port=in_port,
        devices=(in_port, *outputs) if in_port else tuple(outputs),
        rate_bps=next((int(rate) for name, rate in rule.actions if name == "meter"), 0),
        writes_nd=any(_ND.search(str(argument)) for name, argument in rule.actions if name in ("set_field", "move")),
        wraps=any(name in ("encap", "decap") for name, _ in rule.actions),
        is_fixed=not outputs and not by_number,
    )


def _ports(spec: SegmentSpec | ChainSpec | None) -> tuple[SdnPort, ...]:
    """Those at which traffic comes and goes; what a chain leads through are machines."""
    if spec is None:
        return ()
    return spec.ports if isinstance(spec, SegmentSpec) else (*spec.sources, *spec.destinations)


def _spec(program: FlowProgram) -> SegmentSpec | ChainSpec | None:
    if not program.spec:
        return None
    try:
        spec = spec_from_json(program.spec)
    except (ValueError, KeyError):
        return None
    return spec if isinstance(spec, SegmentSpec | ChainSpec) else None
