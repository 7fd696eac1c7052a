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

_Bucket = tuple[str, int, int, str, object]
_Shape = tuple[tuple[str, int], ...]
_Values = tuple[int, ...]


@dataclass(slots=True)
class _Shaped:
    rules: dict[_Values, dict[int, tuple[Match, FlowRule]]] = field(default_factory=dict)


class Claims:
    """The rules of all programs, found by what they match."""

    def __init__(self) -> None:
        self._buckets: dict[_Bucket, dict[_Shape, _Shaped]] = {}

    def add(self, owner: int, rule: FlowRule) -> None:
        """``owner`` (a cookie) claims what the rule matches."""
        match = parse_match(rule.match)
        shape, values = _split(match)
        shaped = self._buckets.setdefault(_bucket(rule), {}).setdefault(shape, _Shaped())
        shaped.rules.setdefault(values, {})[owner] = (match, rule)

    def drop(self, owner: int, rule: FlowRule) -> None:
        """``owner`` claims it no more."""
        shape, values = _split(parse_match(rule.match))
        bucket = self._buckets.get(_bucket(rule), {})
        shaped = bucket.get(shape)
        if shaped is None or values not in shaped.rules:
            return
        shaped.rules[values].pop(owner, None)
        if not shaped.rules[values]:
            del shaped.rules[values]
        if not shaped.rules:
            del bucket[shape]
        if not bucket:
            self._buckets.pop(_bucket(rule), None)

    def rivals(self, owner: int, rule: FlowRule) -> Iterator[tuple[int, FlowRule]]:
        """Others' rules that some frame matches as well as this one."""
        match = parse_match(rule.match)
        own_shape, values = _split(match)
        for shape, shaped in self._buckets.get(_bucket(rule), {}).items():
            if shape == own_shape:
                found = [shaped.rules[values]] if values in shaped.rules else []
            else:
                found = list(shaped.rules.values())
            for claims in found:
                for other, (theirs, their_rule) in claims.items():
                    if other != owner and intersects(match, theirs):
                        yield other, their_rule


def _bucket(rule: FlowRule) -> _Bucket:
    """Rules in different buckets cannot meet: another switch, table, priority, port or segment."""
    match = dict(rule.match)
    return rule.host, int(rule.table), int(rule.priority), str(match.get("in_port", "")), match.get("metadata")


def _split(match: Match) -> tuple[_Shape, _Values]:
    names = sorted(match)
    return tuple((name, match[name][1]) for name in names), tuple(match[name][0] for name in names)
