"""What is asked of a program again and again, found out once: its hosts, its devices, its rules by host, its spec.

An agent holds thousands of programs and compares all of them with the switches every few seconds. A program never
changes, so what was found stays true as long as the program itself is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manor.api import ChainSpec, FlowProgram, FlowRule, SegmentSpec, spec_from_json

__all__ = ["Facts", "facts"]

_KEPT = 1 << 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Of one program."""

    program: FlowProgram
    rules: Mapping[str, Sequence[FlowRule]]
    """By host, in the program's order."""
    devices: frozenset[tuple[str, str]]
    """Every device that the rules name, with its host."""
    spec: SegmentSpec | ChainSpec | None
    """None where it has none that can be read."""


_known: dict[int, Facts] = {}
"""By the program's identity; an entry keeps its program alive, so that no other can have the same."""


def facts(program: FlowProgram) -> Facts:
    """What is known of the program."""
    found = _known.get(id(program))
    if found is None:
        if len(_known) >= _KEPT:
            _known.clear()
        found = _known[id(program)] = _found(program)
    return found


def _found(program: FlowProgram) -> Facts:
    rules: dict[str, list[FlowRule]] = {}
    for rule in program.rules:
        rules.setdefault(rule.host, []).append(rule)
    devices = frozenset(
        (rule.host, str(value))
        for rule in program.rules
        for name, value in (*rule.match, *rule.actions)
        if name in ("in_port", "output") and value != "in_port"
    )
    return Facts(program=program, rules=rules, devices=devices, spec=_spec(program))


def _spec(program: FlowProgram) -> SegmentSpec | ChainSpec | None:
    if not program.spec:
        return None
    try:
        spec = spec_from_json(program.spec)
    except (ValueError, KeyError):
        return None
    return spec if isinstance(spec, SegmentSpec | ChainSpec) else None
