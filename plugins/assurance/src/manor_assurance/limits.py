"""Static limits beside what is learned: a disk that is full needs no statistics."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from manor.api import Evidence, SampleBatch, Score, Verdict
from manor.errors import PluginError
from manor_assurance.config import LimitsConfig

__all__ = ["LimitsDetector"]

KIND = "limits"


class LimitsDetector:
    """Compares KPIs with limits; clears with hysteresis. Learns nothing."""

    def __init__(self, config: LimitsConfig) -> None:
        self.config = config
        self._beyond: dict[str, int] = {}
        self._raised: dict[str, float] = {}
        """Since when each KPI's alarm stands."""

    def fit(self, window: SampleBatch) -> None:
        """There is nothing to learn."""

    def score(self, batch: SampleBatch) -> Sequence[Score]:
        """ANOMALY while any KPI is beyond its limit; UNKNOWN where none of the limited KPIs was measured."""
        return [self._row(time_s, dict(zip(batch.names, row, strict=True))) for time_s, row in
                zip(batch.times_s, batch.values, strict=True)]  # fmt: skip

    def _row(self, time_s: float, row: dict[str, float]) -> Score:
        measured = False
        over: list[tuple[float, Evidence]] = []
        for sign, limits in ((1.0, self.config.above), (-1.0, self.config.below)):
            for name, limit in limits.items():
                value = float(row.get(name, math.nan))
                if math.isnan(value):
                    continue
                measured = True
                excess = sign * (value - limit) / (abs(limit) or 1.0)
                rule = f"{'above' if sign > 0 else 'below'}:{name}"
                if self._stands(rule, excess, time_s):
                    one = Evidence(metric=name, share=0.0, seen=value, expected=limit, detector=rule)
                    over.append((max(excess, 0.0) + 1e-9, one))
        if not measured:
            return Score(time_s=time_s, verdict=Verdict.UNKNOWN)
        if not over:
            return Score(time_s=time_s, verdict=Verdict.OK)
        over.sort(key=lambda item: (-item[0], item[1].metric))
        total = sum(weight for weight, _ in over)
        evidence = tuple(
            Evidence(metric=e.metric, share=w / total, seen=e.seen, expected=e.expected, detector=e.detector)
            for w, e in over
        )
        return Score(
            time_s=time_s,
            verdict=Verdict.ANOMALY,
            value=over[0][0],
            blame=tuple((e.metric, e.share) for e in evidence),
            evidence=evidence,
            since_s=min(self._raised[e.detector] for e in evidence),
        )

    def _stands(self, rule: str, excess: float, time_s: float) -> bool:
        if excess > 0:
            self._beyond[rule] = self._beyond.get(rule, 0) + 1
            if self._beyond[rule] >= self.config.rows:
                self._raised.setdefault(rule, time_s)
        else:
            self._beyond[rule] = 0
            if excess <= -self.config.hysteresis:
                self._raised.pop(rule, None)
        return rule in self._raised

    def dump(self) -> bytes:
        """What stands now, as JSON."""
        state = {"kind": KIND, "version": 1, "beyond": self._beyond, "raised": self._raised}
        return json.dumps(state, sort_keys=True).encode()

    def load(self, data: bytes) -> None:
        """Take a state that :meth:`dump` wrote. Raises PluginError on a foreign or broken one."""
        try:
            state = json.loads(data)
            if state["kind"] != KIND or state["version"] != 1:
                raise ValueError(f"kind {state['kind']!r}, version {state['version']!r}")
            beyond = {str(name): int(count) for name, count in state["beyond"].items()}
            raised = {str(name): float(since) for name, since in state["raised"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PluginError(f"this is no state of a limits detector: {error}", hint="start it without one") from error
        self._beyond, self._raised = beyond, raised
