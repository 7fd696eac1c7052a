"""Half-space trees on standardised KPIs, both river's, learned row by row.

A forest of random half-space trees (Tan, Ting and Liu, *Fast anomaly detection for streaming data*, IJCAI 2011) keeps
how many of the last window's rows fell into each region; a row in an empty region scores high. What score is high for
this VNF is learned as well. Rows that are called abnormal teach nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from manor.api import Evidence, SampleBatch, Score, Verdict
from manor.errors import PluginError
from river.anomaly import HalfSpaceTrees
from river.stats import Mean

from manor_detector_river.config import RiverConfig

__all__ = ["RiverDetector"]

_KIND = "manor-detector-river 1"
_SQUASH = 4.0
"""Deviations to one unit of the logistic curve that puts a KPI between 0 and 1: three are well inside, twelve at the rim."""
_FLOOR, _CEILING = 0.8, 0.985
"""Bounds of the threshold: a thinly settled region is no surprise, an empty one is never out of reach."""
_MIDDLE = 0.5
"""Where a KPI lies that was not measured, or that never moved."""


class _Level:
    """Mean and deviation of what is normal, from two of river's running means."""

    def __init__(self, count: float = 0.0, mean: float = 0.0, square: float = 0.0) -> None:
        self._mean, self._square = Mean(), Mean()
        if count:
            self._mean.update(mean, w=count)
            self._square.update(square, w=count)

    @property
    def mean(self) -> float:
        return float(self._mean.get())

    @property
    def deviation(self) -> float:
        return math.sqrt(max(0.0, self._square.get()))

    def learn(self, value: float) -> None:
        before = self._mean.get()
        self._mean.update(value)
        self._square.update((value - before) * (value - self._mean.get()))

    def state(self) -> list[float]:
        """Count, mean and squared deviation: what the constructor takes."""
        return [self._mean.n, self._mean.get(), self._square.get()]


class RiverDetector:
    """One object belongs to one VNF and one caller at a time. It knows after two windows."""

    def __init__(self, config: RiverConfig) -> None:
        self._config = config
        self._names: tuple[str, ...] = ()
        """KPIs of the first row that had any: the trees are drawn over these. Later ones are not looked at."""
        self._rows = 0
        self._levels: dict[str, _Level] = {}
        self._usual = _Level()
        """Scores of normal rows."""
        self._recent: list[dict[str, float]] = []
        """What the forest has learned since the begin of the last whole window: all that it remembers."""
        self._forest = self._new_forest()
        self._since_s: float | None = None

    def fit(self, window: SampleBatch) -> None:
        """Learn from what is taken to be normal."""
        self.score(window)

    def score(self, batch: SampleBatch) -> Sequence[Score]:
        """One score a row, in order; UNKNOWN until two windows were seen."""
        return [
            self._score(time_s, dict(zip(batch.names, row, strict=True)))
            for time_s, row in zip(batch.times_s, batch.values, strict=True)
        ]

    def dump(self) -> bytes:
        """Counts, means and deviations, and the rows that the forest remembers: it grows again from these."""
        state = json.dumps(
            {
                "settings": self._config.model_dump(),
                "names": self._names,
                "rows": self._rows,
                "levels": {name: level.state() for name, level in self._levels.items()},
                "usual": self._usual.state(),
                "recent": [[row[name] for name in self._names] for row in self._recent],
                "since_s": self._since_s,
            }
        )
        return json.dumps({"kind": _KIND, "sha256": _sha256(state), "state": state}).encode()

    def load(self, data: bytes) -> None:
        """Take a state that ``dump`` wrote. Raises PluginError on a foreign or broken one, with nothing changed."""
        fresh = RiverDetector(self._config)
        try:
            outer = json.loads(data)
            if outer["kind"] != _KIND or outer["sha256"] != _sha256(outer["state"]):
                raise ValueError("another detector's, or broken")
            fresh._take(json.loads(outer["state"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PluginError(f"this is no state of {_KIND}: {error}", hint="start without it") from error
        self.__dict__.update(fresh.__dict__)

    def _take(self, state: Mapping[str, Any]) -> None:
        if state["settings"] != self._config.model_dump():
            raise ValueError("learned with other settings")
        self._names = tuple(map(str, state["names"]))
        self._rows = int(state["rows"])
        self._levels = {str(name): _level(level) for name, level in state["levels"].items()}
        self._usual = _level(state["usual"])
        self._since_s = None if state["since_s"] is None else float(state["since_s"])
        for values in state["recent"]:
            self._teach_forest(dict(zip(self._names, map(float, values), strict=True)))

    # one row

    def _score(self, time_s: float, row: Mapping[str, float]) -> Score:
        known = {name: value for name, value in row.items() if math.isfinite(value)}
        if not self._names:
            self._names = tuple(sorted(known))
        place = {name: self._place(name, known.get(name)) for name in self._names}
        is_due = self._rows >= 2 * self._config.window_rows
        value = float(self._forest.score_one(place))
        threshold = self._threshold()
        if is_due and known and value > threshold:
            return self._anomaly(time_s, known, place, value, threshold)
        self._since_s = None
        if set(known) & set(self._names):
            self._learn(known, place, value)
        return Score(time_s=time_s, verdict=Verdict.OK if is_due else Verdict.UNKNOWN, value=value, threshold=threshold)

    def _threshold(self) -> float:
        return min(max(self._usual.mean + self._config.sigmas * self._usual.deviation, _FLOOR), _CEILING)

    def _anomaly(
        self, time_s: float, known: Mapping[str, float], place: Mapping[str, float], value: float, threshold: float
    ) -> Score:
        """Blamed is what would make the row less odd if it were as usual."""
        self._since_s = time_s if self._since_s is None else min(self._since_s, time_s)
        relief = {
            name: max(0.0, abs(place[name] - _MIDDLE))
            * (1.0 + value - self._forest.score_one({**place, name: _MIDDLE}))
            for name in self._names
            if name in known
        }
        whole = sum(relief.values()) or 1.0
        blame = sorted(((name, part / whole) for name, part in relief.items() if part > 0), key=lambda p: -p[1])
        return Score(
            time_s=time_s,
            verdict=Verdict.ANOMALY,
            value=value,
            threshold=threshold,
            blame=tuple(blame),
            evidence=tuple(
                Evidence(
                    metric=name,
                    share=share,
                    seen=known[name],
                    expected=self._levels[name].mean,
                    detector="half-space trees",
                )
                for name, share in blame
            ),
            since_s=self._since_s,
        )

    def _learn(self, known: Mapping[str, float], place: Mapping[str, float], value: float) -> None:
        self._rows += 1
        for name in self._names:
            if name in known:
                self._levels.setdefault(name, _Level()).learn(known[name])
        # The first rows are placed by means that are hardly known: they would draw a wrong picture.
        if self._rows > self._config.window_rows // 2:
            self._teach_forest(dict(place))
        if self._rows > self._config.window_rows * 3 // 2:
            self._usual.learn(value)

    def _place(self, name: str, value: float | None) -> float:
        """A KPI between 0 and 1: how far it is from its mean in deviations, squashed."""
        level = self._levels.get(name)
        if value is None or level is None:
            return _MIDDLE
        far = value - level.mean
        if level.deviation == 0.0:
            return _MIDDLE if far == 0.0 else float(far > 0)
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, far / level.deviation / _SQUASH))))

    # the forest

    def _new_forest(self) -> HalfSpaceTrees:
        return HalfSpaceTrees(
            n_trees=self._config.trees,
            height=self._config.height,
            window_size=self._config.window_rows,
            seed=self._config.seed,
        )

    def _teach_forest(self, place: dict[str, float]) -> None:
        self._forest.learn_one(place)
        self._recent.append(place)
        if len(self._recent) >= 3 * self._config.window_rows:
            # Two windows and a bit: the first of them is forgotten by the forest too.
            del self._recent[: self._config.window_rows]


def _level(state: Any) -> _Level:
    count, mean, square = map(float, state)
    if not all(map(math.isfinite, (count, mean, square))):
        raise ValueError("a level is no number")
    return _Level(count, mean, square)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
