"""What the detector kit shows a detector: a quiet VNF, a VNF in trouble, and numbers as telemetry really sends them.

Each row depends on its place and the seed alone, so a test can show the same rows to two detectors.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from manor.api import SampleBatch

__all__ = ["DetectorSpecs"]


@dataclass(kw_only=True)
class DetectorSpecs:
    """Override a field for the detector's pace, :meth:`row` or :meth:`trouble` for what it is about."""

    names: tuple[str, ...] = ("cpu", "memory", "rx_packets", "sessions")
    period_s: float = 60.0
    start_s: float = 1_700_000_000.0
    """Time of row 0, in seconds since the epoch."""
    warmup_rows: int = 200
    """After so many normal rows a verdict is due. 0 means a detector of fixed rules, which learns nothing."""
    quiet_rows: int = 300
    """How long the detector has to keep silent on a quiet VNF."""
    false_rows: int = 0
    """Of these, rows that may be called abnormal all the same."""
    step_sigma: float = 12.0
    """Height of the trouble, in standard deviations of each KPI."""
    detect_rows: int = 30
    """Within so many rows of it the detector has to speak."""
    memory_rows: int = 0
    """Stress: the state after twice so many rows may not be larger than after once. 0 leaves that test out."""

    def row(self, at: int) -> tuple[float, ...]:
        """KPIs of a quiet VNF at row ``at``: a level each, with noise of 2 %."""
        chance = random.Random(at)  # noqa: S311 - a series for tests, no secret
        return tuple(level + self.sigma(level) * chance.gauss(0.0, 1.0) for level in self.levels())

    def levels(self) -> tuple[float, ...]:
        """What each KPI is about."""
        return tuple(100.0 * (place + 1) for place in range(len(self.names)))

    def sigma(self, level: float) -> float:
        """Standard deviation of a KPI at this level."""
        return 0.02 * level

    def trouble(self, at: int) -> tuple[float, ...]:
        """The same with every KPI ``step_sigma`` higher, for as long as it lasts."""
        pairs = zip(self.row(at), self.levels(), strict=True)
        return tuple(value + self.step_sigma * self.sigma(level) for value, level in pairs)

    def normal(self, count: int, *, start: int = 0) -> SampleBatch:
        """``count`` quiet rows from row ``start`` on."""
        return self.batch([self.row(start + at) for at in range(count)], start=start)

    def troubled(self, count: int, *, start: int) -> SampleBatch:
        """``count`` rows of trouble from row ``start`` on."""
        return self.batch([self.trouble(start + at) for at in range(count)], start=start)

    def flat(self, count: int, *, start: int = 0) -> SampleBatch:
        """KPIs that never move."""
        return self.batch([self.levels()] * count, start=start)

    def batch(self, rows: Sequence[Sequence[float]], *, start: int, names: tuple[str, ...] = ()) -> SampleBatch:
        """These rows as the batch that begins at row ``start``."""
        times = tuple(self.start_s + (start + at) * self.period_s for at in range(len(rows)))
        return SampleBatch(names=names or self.names, times_s=times, values=[list(row) for row in rows])

    def misfortunes(self, start: int) -> dict[str, SampleBatch]:
        """What telemetry sends on a bad day, by its name; each is a batch to be scored after ``start`` normal rows."""
        nothing = [math.nan] * len(self.names)
        rows = [list(self.row(start + at)) for at in range(8)]
        holes = [
            [math.nan if (at + place) % 3 == 0 else v for place, v in enumerate(row)] for at, row in enumerate(rows)
        ]
        late = self.batch(rows, start=start)
        backwards = tuple(reversed(late.times_s))
        return {
            "nothing measured": self.batch([nothing] * 8, start=start),
            "holes": self.batch(holes, start=start),
            "a KPI that vanished": self.batch([[math.nan, *row[1:]] for row in rows], start=start),
            "a gap of a day": self.batch(rows, start=start + int(86_400 / self.period_s)),
            "the same time again": SampleBatch(
                names=self.names, times_s=(late.times_s[0],) * len(rows), values=late.values
            ),
            "out of order": SampleBatch(names=self.names, times_s=backwards, values=late.values),
            "rows of the past": self.batch(rows, start=0),
            "counters reset": self.batch([[0.0] * len(self.names)] * 2 + rows, start=start),
            "infinite": self.batch([[math.inf, *row[1:]] for row in rows], start=start),
            "a new KPI": self.batch([[*row, 5.0] for row in rows], start=start, names=(*self.names, "new")),
            "a KPI less": self.batch([row[1:] for row in rows], start=start, names=self.names[1:]),
            "no rows": self.batch([], start=start),
        }
