"""Play one labelled series to a detector as it would have come: train first, then sample by sample."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from manor.api import SampleBatch, Verdict
from manor_assurance.baselines import decide
from manor_assurance.config import CombinedConfig
from manor_assurance.detector import CombinedDetector
from manor_assurance.matching import match, raises_of
from manor_assurance.series import Series

__all__ = ["Outcome", "replay", "replay_baseline"]

BLAME_ROWS = 5


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one method did on one series."""

    machine: str
    events: int
    found: int
    false: int
    days: float
    delays_s: tuple[float, ...]
    average_precision: float | None
    blamed: int = 0
    """Found events whose KPIs are labelled."""
    top1: int = 0
    top3: int = 0
    won: tuple[str, ...] = ()
    """For each found event, the view that weighed most when it was raised."""
    unknown: int = 0
    """Samples of ``test`` without a verdict."""
    row_us: tuple[float, float] = (0.0, 0.0)
    """Median and 99th percentile of the time per sample."""
    memory_bytes: int = 0


def _average_precision(series: Series, scores: np.ndarray) -> float | None:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(series.label, scores)) if series.label.any() else None


def _outcome(series: Series, standing: list[bool], scores: np.ndarray) -> tuple[Outcome, dict[int, int]]:
    matched = match(raises_of(standing), series.events, series.period_s)
    delays = [max(0.0, (at - series.events[n].start) * series.period_s) for n, at in matched.found.items()]
    outcome = Outcome(
        machine=series.name,
        events=len(series.events),
        found=len(matched.found),
        false=len(matched.false),
        days=len(series.test) * series.period_s / 86400.0,
        delays_s=tuple(delays),
        average_precision=_average_precision(series, scores),
    )
    return outcome, matched.found


def replay(series: Series, config: CombinedConfig) -> Outcome:
    """The combined detector on one series, strictly online, one row a call."""
    detector = CombinedDetector(config)
    names = tuple(str(column) for column in range(series.train.shape[1]))
    clock = np.arange(len(series.train) + len(series.test)) * series.period_s
    detector.fit(SampleBatch(names=names, times_s=tuple(clock[: len(series.train)]), values=series.train.tolist()))
    standing, values, took = [], np.zeros(len(series.test)), np.zeros(len(series.test))
    shares: list[dict[str, float]] = []
    views: list[str] = []
    rows = series.test.tolist()
    unknown = 0
    for at, time_s in enumerate(clock[len(series.train) :]):
        batch = SampleBatch(names=names, times_s=(float(time_s),), values=rows[at : at + 1])
        before = time.perf_counter()
        score = detector.score(batch)[0]
        took[at] = time.perf_counter() - before
        standing.append(score.verdict is Verdict.ANOMALY)
        values[at] = score.value
        shares.append(dict(score.blame))
        views.append(score.evidence[0].detector if score.evidence else "")
        unknown += score.verdict is Verdict.UNKNOWN

    median, late = np.quantile(took, [0.5, 0.99]) * 1e6 if len(took) else (0.0, 0.0)
    outcome, found = _outcome(series, standing, values)
    blamed = top1 = top3 = 0
    for number, at in found.items():
        wanted = {str(kpi) for kpi in series.events[number].kpis}
        if not wanted:
            continue
        total: dict[str, float] = {}
        for row in shares[at : at + BLAME_ROWS]:
            for name, share in row.items():
                total[name] = total.get(name, 0.0) + share
        order = sorted(total, key=lambda name: (-total[name], name))
        blamed += 1
        top1 += bool(wanted & set(order[:1]))
        top3 += bool(wanted & set(order[:3]))
    outcome = replace(
        outcome,
        blamed=blamed,
        top1=top1,
        top3=top3,
        won=tuple(views[at] for at in found.values()),
        unknown=unknown,
        row_us=(float(median), float(late)),
        memory_bytes=detector.memory_bytes(),
    )
    return outcome


def replay_baseline(series: Series, scores: np.ndarray, budget_per_day: float) -> Outcome:
    """A baseline's scores of ``train`` and ``test``, decided as they would have come."""
    standing = decide(scores, series, budget_per_day)
    return _outcome(series, standing, scores[len(series.train) :])[0]
