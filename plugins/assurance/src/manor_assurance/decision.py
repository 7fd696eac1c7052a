"""From a score to an alarm: the layer that does most of the work.

What is normal drifts, so a fixed threshold either floods or sleeps. The threshold here comes from the score's own
half-hour maxima over the last weeks: the level that they pass as often as the budget allows, times a margin, because
quiet weeks promise less than they seem to. A half-hour that passed the threshold counts as little more than the level
behind it: one bad day must not deafen the detector, while true noise, which passes it again and again, still lifts it.

A history too short to hold one false alarm does not show what the wildest single rows are like: a counter that stirs
once in an hour is as odd as anything the first time. So a young detector wants a score that lasts, in its past and
in its present, and a good deal of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from manor_assurance.ring import Ring

__all__ = ["BLOCK_S", "Decision", "level_of", "stretch_of"]

BLOCK_S = 1800.0
"""Length of a block whose maximum counts once; also how long two raises are taken for one."""
TAIL = 0.1
"""Shape of the Pareto tail by which a short history is extrapolated to a rare event."""
DAY_S = 86400.0
CEILING = 1.2
"""A block counts as no more than the threshold over this, and in the first day as no more than the level behind it."""
OFTEN, OFTEN_DAYS = 0.7, 7
"""More raises in so many days than this part of the budget call for more margin."""
RAISES = 64
"""Raises remembered."""
AVERAGE, LASTING = 0, 1
"""What is kept of a block: the highest average of rows, and the highest that half of the rows reached too."""


def level_of(maxima: np.ndarray, *, budget_per_day: float) -> float:
    """The level that block ``maxima`` pass ``budget_per_day`` times a day; infinite where there are none."""
    if not len(maxima):
        return math.inf
    return float(np.quantile(maxima, 1.0 - min(1.0, budget_per_day * BLOCK_S / DAY_S)))


def stretch_of(*, covered_s: float, budget_per_day: float) -> float:
    """By how much the highest of so much time is drawn out, where it is too short to hold one false alarm."""
    expected = budget_per_day * covered_s / DAY_S
    return expected**-TAIL if 0.0 < expected < 1.0 else 1.0


@dataclass
class Decision:
    """Smoothing, threshold, raising and clearing for one score; all of its state is numbers."""

    budget_per_day: float
    margin: float
    floor: float
    young_floor: float
    """Least threshold while the history is too short to hold one false alarm."""
    smooth: int
    """Rows whose scores are averaged; at most as many as at first."""
    clear_ratio: float
    clear_s: float
    days: int
    censor: bool = True
    """Whether a block that passed the threshold is remembered as :attr:`ceiling`."""

    def __post_init__(self) -> None:
        self.window = Ring(self.smooth, (), np.float64)
        self.maxima = Ring(int(self.days * DAY_S / BLOCK_S), (2,), np.float32)
        self.starts = Ring(len(self.maxima.rows), (), np.float64)
        self.raises = Ring(RAISES, (), np.float64)
        self.block_s = math.nan
        """When the present block began."""
        self.block_max = self.block_lasting = 0.0
        self.young = True
        """Whether the history that counts is too short to hold one false alarm."""
        self.threshold = self.ceiling = self.ceiling_lasting = math.inf
        self.raised = False
        self.since_s = math.nan
        """When the score first left its usual band in the present excursion; NaN while it is inside."""
        self.calm_s = math.nan

    def retune(self, time_s: float, learned_s: float) -> None:
        """Estimate the threshold anew from the blocks since ``learned_s``, at most the days that count."""
        since_s = max(learned_s, time_s - self.days * DAY_S)
        starts, maxima = self.starts.view(), self.maxima.view()
        use = starts >= since_s
        ends = np.append(starts[1:], self.block_s)
        covered_s = float((ends - starts)[use].sum())
        kept = maxima[use]
        if covered_s < DAY_S and self.block_s >= since_s and time_s > self.block_s:
            kept, covered_s = np.vstack([kept, self._remembered()]), covered_s + time_s - self.block_s
        stretch = stretch_of(covered_s=covered_s, budget_per_day=self.budget_per_day)
        self.young = covered_s * self.budget_per_day < DAY_S
        levels = [level_of(kept[:, column], budget_per_day=self.budget_per_day) for column in (AVERAGE, LASTING)]
        level = levels[LASTING if self.young else AVERAGE]
        margin = self.margin * self._restraint(time_s)
        self.threshold = max(level * margin * stretch, max(self.floor, self.young_floor) if self.young else self.floor)
        # A short history has too few blocks to tell steady noise from a bad hour: what passes lifts nothing yet.
        lift = 1.0 if self.young else max(margin / CEILING, 1.0)
        self.ceiling, self.ceiling_lasting = (max(each * lift, self.floor / CEILING) for each in levels)

    def _restraint(self, time_s: float) -> float:
        """More margin for a detector that has raised often of late: most of so many raises are false.

        Not while it is young: of a few hours it cannot be said how often is too often.
        """
        if self.young:
            return 1.0
        often = int((self.raises.view() > time_s - OFTEN_DAYS * DAY_S).sum())
        return math.sqrt(max(1.0, often / (OFTEN * OFTEN_DAYS * self.budget_per_day)))

    def close_block(self, time_s: float) -> None:
        """End the present block early: what scores from here on is a better model."""
        if not math.isnan(self.block_s):
            self.starts.push(self.block_s)
            self.maxima.push(self._remembered())
        self.block_s, self.block_max, self.block_lasting = time_s, 0.0, 0.0

    def take(self, time_s: float, score: float, *, due: bool = True) -> float:
        """Take one row's score; :attr:`raised` and :attr:`since_s` tell what follows. Returns the smoothed score.

        Nothing is raised before a verdict is ``due``.
        """
        self.window.push(score)
        value = lasting = 0.0
        if len(self.window) >= self.smooth:
            rows = np.sort(self.window.newest(self.smooth))
            value = float(rows.mean())
            lasting = min(value, float(rows[len(rows) // 2]))
        if not time_s < self.block_s + BLOCK_S:
            self.close_block(time_s)
        self.block_max, self.block_lasting = max(self.block_max, value), max(self.block_lasting, lasting)
        if self.young:
            value = lasting
        low = self.threshold * self.clear_ratio
        if value > low:
            self.calm_s = math.nan
            if math.isnan(self.since_s):
                self.since_s = time_s
        elif math.isnan(self.calm_s):
            self.calm_s = time_s
        if value > self.threshold and due:
            if not self.raised and not (len(self.raises) and time_s < self.raises.newest(1)[0] + BLOCK_S):
                self.raises.push(time_s)
            self.raised = True
        elif not math.isnan(self.calm_s) and time_s - self.calm_s >= self.clear_s:
            self.raised, self.since_s = False, math.nan
        elif not self.raised and value <= low:
            self.since_s = math.nan
        return value

    def _remembered(self) -> tuple[float, float]:
        """The present block as :attr:`maxima` keep it."""
        if self.censor:
            return min(self.block_max, self.ceiling), min(self.block_lasting, self.ceiling_lasting)
        return self.block_max, self.block_lasting

    def forget_window(self) -> None:
        """Start smoothing anew, after a gap."""
        self.window.total = 0
