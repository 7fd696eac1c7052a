"""Counters to rates, as pure arithmetic: what cannot be known is missing, never zero.

A counter that went back was reset (the machine restarted): what it counted in between is not known. After a long gap
the mean over the gap would hide what happened in it. In both cases there is no rate, and the next pair has one again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["LONGEST_GAP_S", "Rates", "Reading", "per_second"]

LONGEST_GAP_S = 60.0
"""Readings further apart than this give no rate, unless they are meant to be seldom."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A counter's value at a time (seconds since the epoch)."""

    value: float
    time_s: float


def per_second(before: Reading | None, now: Reading, *, longest_gap_s: float = LONGEST_GAP_S) -> float | None:
    """The mean rate between two readings; None where there is none that is true."""
    if before is None or not (math.isfinite(now.value) and math.isfinite(before.value)):
        return None
    elapsed_s = now.time_s - before.time_s
    if elapsed_s <= 0 or elapsed_s > longest_gap_s or now.value < before.value:
        return None
    rate = (now.value - before.value) / elapsed_s
    return rate if math.isfinite(rate) else None


class Rates:
    """Remembers the last reading of each counter; those not read any more are forgotten. One caller at a time."""

    def __init__(self) -> None:
        self._longest_gap_s = LONGEST_GAP_S
        self._last: dict[tuple[str, ...], Reading] = {}

    def expect(self, period_s: float) -> None:
        """Counters are read once in so long from now on; what is three periods long is no gap yet."""
        self._longest_gap_s = max(LONGEST_GAP_S, 3 * period_s)

    def rate(self, counter: tuple[str, ...], value: float, time_s: float) -> float | None:
        """The counter's rate since its last reading, which this one replaces unless it is older."""
        now = Reading(value=value, time_s=time_s)
        before = self._last.get(counter)
        if before is not None and time_s <= before.time_s:
            return None
        self._last[counter] = now
        return per_second(before, now, longest_gap_s=self._longest_gap_s)

    def forget(self, before_s: float) -> None:
        """Drop counters that were last read before this time, so that memory follows what exists."""
        self._last = {counter: reading for counter, reading in self._last.items() if reading.time_s >= before_s}
