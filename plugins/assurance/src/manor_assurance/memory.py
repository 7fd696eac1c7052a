"""What a detector keeps of the past: thinned, bounded, and enough to fit from anew every few hours."""

from __future__ import annotations

import math

import numpy as np

from manor_assurance.model import BINS, CHANNELS
from manor_assurance.ring import Ring

__all__ = ["Memory"]

DAY_S = 86400.0
RECENT_ROWS = 4096
LONG_ROWS, LONG_DAYS = 2016, 14
RESIDUAL_ROWS, RESIDUAL_DAYS = 2016, 7
PEAK_S, PEAK_DAYS = 21600.0, 28
ENOUGH_PEAKS = 20
"""With fewer, the highest alone would say what is rare."""
SEASON_DAYS = 14


class Memory:
    """Raw rows (all of the newest, a few of the last weeks), means by time of day, and residuals.

    Thinning follows the age, so that a young memory keeps every row and an old one keeps weeks in the same room.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.recent = Ring(RECENT_ROWS, (width,))
        self.usable = Ring(RECENT_ROWS, (), np.bool_)
        self.clock = Ring(RECENT_ROWS, (), np.float64)
        self.long = Ring(LONG_ROWS, (width,))
        self.long_clock = Ring(LONG_ROWS, (), np.float64)
        self.residuals = Ring(RESIDUAL_ROWS, (len(CHANNELS), width), np.float16)
        self.peaks = Ring(int(PEAK_DAYS * DAY_S / PEAK_S), (len(CHANNELS), width), np.float16)
        self.peak = np.zeros((len(CHANNELS), width), np.float32)
        self.days = Ring(SEASON_DAYS, (BINS, width))
        self.sums = np.zeros((BINS, width))
        self.counts = np.zeros((BINS, width))
        self.day = -1
        self.next_long_s = -math.inf
        self.next_residual_s = -math.inf
        self.next_peak_s = math.nan

    def keep_row(self, time_s: float, row: np.ndarray, *, usable: bool, age_s: float) -> None:
        """Keep a raw row; one that may not be learned from only as the past of later rows."""
        self.recent.push(row)
        self.usable.push(usable)
        self.clock.push(time_s)
        if not usable:
            return
        if time_s >= self.next_long_s:
            self.long.push(row)
            self.long_clock.push(time_s)
            self.next_long_s = time_s + min(age_s, LONG_DAYS * DAY_S) / LONG_ROWS
        day = int(time_s // DAY_S)
        if day != self.day:
            if self.day >= 0:
                self._close_day()
            self.day = day
        place = int(time_s % DAY_S // (DAY_S / BINS))
        seen = np.isfinite(row)
        self.sums[place, seen] += row[seen]
        self.counts[place, seen] += 1

    def _close_day(self) -> None:
        if (self.counts.max(axis=1) > 0).sum() >= BINS * 0.75:
            with np.errstate(invalid="ignore", divide="ignore"):
                self.days.push(self.sums / self.counts)
        self.sums[:] = 0.0
        self.counts[:] = 0.0

    def keep_residuals(self, time_s: float, residuals: np.ndarray, seen: np.ndarray, age_s: float) -> None:
        """Keep the residuals of a row: ``residuals`` to learn what is usual, ``seen`` to learn what is rare.

        Nothing is held back from the peaks once there are enough of them: one bad day is then too little to move what
        is rare, while what comes again every few days, abnormal or not, is rare no more.
        """
        np.maximum(self.peak, seen if len(self.peaks) >= ENOUGH_PEAKS else residuals, out=self.peak)
        if time_s >= self.next_residual_s:
            self.residuals.push(residuals)
            self.next_residual_s = time_s + min(age_s, RESIDUAL_DAYS * DAY_S) / RESIDUAL_ROWS
        if math.isnan(self.next_peak_s):
            self.next_peak_s = time_s + PEAK_S
        elif time_s >= self.next_peak_s:
            self.peaks.push(self.peak)
            self.peak[:] = 0.0
            self.next_peak_s = time_s + PEAK_S

    def past(self) -> np.ndarray:
        """Rows that stand for the longest past known: the thinned ones once they reach further back."""
        recent = self.recent.view()[self.usable.view()]
        if len(self.long) >= 256 and len(recent):
            clock, near = self.long_clock.view(), self.clock.view()
            if clock[-1] - clock[0] > near[-1] - near[0]:
                return self.long.view()
        return recent if len(recent) >= 16 else self.recent.view()

    def levels(self, usual: float, rare: float) -> tuple[np.ndarray, np.ndarray]:
        """Residual levels: the quantile ``usual`` of the kept rows, and ``rare`` of the kept peaks."""
        rows = self.residuals.view()
        place = min(len(rows) - 1, int(usual * len(rows)))
        common = np.maximum(np.partition(rows, place, axis=0)[place].astype(float), 1.0)
        peaks = np.concatenate([self.peaks.view(), self.peak[None].astype(np.float16)])
        place = min(len(peaks) - 1, int(rare * len(peaks)))
        seldom = np.partition(peaks, place, axis=0)[place].astype(float)
        return common, np.maximum(common, seldom)

    def widen(self, width: int) -> None:
        """Make room for KPIs that appeared: unknown in the past."""
        for ring, fill in ((self.recent, np.nan), (self.long, np.nan), (self.days, np.nan)):
            ring.widen(width, fill)
        for ring in (self.residuals, self.peaks):
            ring.widen(width, 0.0)
        more = width - self.width
        self.peak = np.pad(self.peak, ((0, 0), (0, more)))
        self.sums = np.pad(self.sums, ((0, 0), (0, more)))
        self.counts = np.pad(self.counts, ((0, 0), (0, more)))
        self.width = width
