"""Which raises found an event and which were false: the one rule that every method is measured by.

An event counts once. A raise from five minutes before its start to two samples after its end is inside it; any other
is false, unless another raise lies less than half an hour before it. That time hides no second event: where faults
come every ten minutes, who finds them all has found them all. No point-adjustment: with it a random score shines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Event", "Match", "match", "raises_of"]

BEFORE_S = 300.0
AFTER_SAMPLES = 2
REFRACTORY_S = 1800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A labelled stretch of trouble; sample numbers, both inside it."""

    start: int
    end: int
    kpis: tuple[int, ...] = ()
    """Columns to blame; empty where the label does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What one series' raises are worth."""

    found: dict[int, int]
    """The raise that found it, by event number."""
    false: tuple[int, ...]
    """Raises outside any event."""


def raises_of(abnormal: Sequence[bool]) -> list[int]:
    """Samples at which an alarm is raised: it was not standing before."""
    return [at for at, now in enumerate(abnormal) if now and not (at and abnormal[at - 1])]


def match(raises: Sequence[int], events: Sequence[Event], period_s: float) -> Match:
    """Sort raises into those inside an event and false ones."""
    early = BEFORE_S / period_s
    found: dict[int, int] = {}
    false: list[int] = []
    last = -math.inf
    for at in raises:
        inside = [n for n, event in enumerate(events) if event.start - early <= at <= event.end + AFTER_SAMPLES]
        for number in inside:
            found.setdefault(number, at)
        if (at - last) * period_s >= REFRACTORY_S:
            last = at
            if not inside:
                false.append(at)
    return Match(found=found, false=tuple(false))
