"""Which program claims which frames, so that two never claim the same at equal priority.

Rules of one table, priority, port and segment are kept by the shape of their match (which bits of which fields). Two
rules of one shape overlap only if they are equal, so a thousand chains of one kind cost a look-up each; only
rules of other shapes are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from manor.api import FlowRule
from manor_sdn_ryu.fields import Match, intersects, parse_match

__all__ = ["Claims"]

_Place = tuple[str, int, str, object]
_Shape = tuple[tuple[str, int], ...]
_Values = tuple[int, ...]


@dataclass(slots=True)
class _Shaped:
    rules: dict[_Values, dict[int, tuple[Match, FlowRule]]] = field(default_factory=dict)


class Claims:
    """The rules of all programs, found by what they match."""

    def __init__(self) -> None:
        self._places: dict[_Place, dict[int, dict[_Shape, _Shaped]]] = {}
        """By place and priority."""

    def add(self, owner: int, rule: FlowRule) -> None:
        """``owner`` (a cookie) claims what the rule matches."""
        match = parse_match(rule.match)
        shape, values = _split(match)
        bucket = self._places.setdefault(_place(rule), {}).setdefault(int(rule.priority), {})
        bucket.setdefault(shape, _Shaped()).rules.setdefault(values, {})[owner] = (match, rule)

    def drop(self, owner: int, rule: FlowRule) -> None:
        """``owner`` claims it no more."""
        shape, values = _split(parse_match(rule.match))
        place = self._places.get(_place(rule), {})
        bucket = place.get(int(rule.priority), {})
        shaped = bucket.get(shape)
        if shaped is None or values not in shaped.rules:
            return
        shaped.rules[values].pop(owner, None)
        if not shaped.rules[values]:
            del shaped.rules[values]
        if not shaped.rules:
            del bucket[shape]
        if not bucket:
            del place[int(rule.priority)]
        if not place:
            self._places.pop(_place(rule), None)

    def rivals(self, owner: int, rule: FlowRule) -> Iterator[tuple[int, FlowRule]]:
        """Others' rules that some frame matches as well as this one, at its priority."""
        match = parse_match(rule.match)
        own_shape, values = _split(match)
        for shape, shaped in self._places.get(_place(rule), {}).get(int(rule.priority), {}).items():
            if shape == own_shape:
                found = [shaped.rules[values]] if values in shaped.rules else []
            else:
                found = list(shaped.rules.values())
            for claims in found:
                for other, (theirs, their_rule) in claims.items():
                    if other != owner and intersects(match, theirs):
                        yield other, their_rule

    def shadows(self, owner: int, rule: FlowRule) -> Iterator[tuple[int, FlowRule]]:
        """Others' rules that leave this one nothing to match, or that it leaves nothing: the higher of the two takes
        all that the lower one is for, and does something else with it."""
        match = parse_match(rule.match)
        for priority, shapes in self._places.get(_place(rule), {}).items():
            if priority == rule.priority:
                continue
            for claims in (claims for shaped in shapes.values() for claims in shaped.rules.values()):
                for other, (theirs, their_rule) in claims.items():
                    high, low = (theirs, match) if priority > rule.priority else (match, theirs)
                    if other != owner and their_rule.actions != rule.actions and covers(high, low):
                        yield other, their_rule


def covers(one: Match, other: Match) -> bool:
    """Whether every frame that matches ``other`` matches ``one`` too."""
    for name, (value, mask) in one.items():
        their_value, their_mask = other.get(name, (0, 0))
        if mask & ~their_mask or (value ^ their_value) & mask:
            return False
    return True


def _place(rule: FlowRule) -> _Place:
    """Rules of different places cannot meet: another switch, table, port or segment."""
    match = dict(rule.match)
    return rule.host, int(rule.table), str(match.get("in_port", "")), match.get("metadata")


def _split(match: Match) -> tuple[_Shape, _Values]:
    names = sorted(match)
    return tuple((name, match[name][1]) for name in names), tuple(match[name][0] for name in names)
