"""PM jobs and thresholds over the KPIs as they come in: periods are averaged, crossings found. No clock, no store.

A value that was not measured is neither a zero nor a crossing: a period without one has none, and what was crossed
stays crossed until it is measured to be otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from manor.model.pm import CrossingDirection, PmEntry, PmJob, PmReport, Threshold, covers
from manor.telemetry.kpis import KpiRow, split

__all__ = ["Crossing", "Jobs", "cross", "selected"]

_MOST_ENTRIES = 5000
"""Of one report; what is over is left out of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """A threshold was crossed by one object's metric."""

    threshold: Threshold
    key: str
    part: str
    direction: CrossingDirection
    value: float
    time_s: float


def selected(
    rows: Iterable[KpiRow], object_instance_id: str, metric: str, parts: Sequence[str]
) -> Iterator[tuple[KpiRow, str, float]]:
    """(row, part, value) of a metric of everything that the object covers."""
    for row in rows:
        if covers(object_instance_id, row.subject.key):
            for kpi, value in row.values.items():
                name, part = split(kpi)
                if name == metric and (not parts or part in parts):
                    yield row, part, value


def cross(threshold: Threshold, rows: Sequence[KpiRow], alive: Iterable[str]) -> tuple[Threshold, tuple[Crossing, ...]]:
    """The threshold after these rows, and what crossed it. Objects not ``alive`` any more are forgotten silently."""
    there = set(alive)
    crossed = {(key, part) for key, part in threshold.crossed if key in there}
    found = []
    wanted = threshold.object_instance_id, threshold.performance_metric, threshold.sub_object_instance_ids
    for row, part, value in selected(rows, *wanted):
        place = row.subject.key, part
        if place not in crossed and value >= threshold.value + threshold.hysteresis:
            crossed.add(place)
            direction = CrossingDirection.UP
        elif place in crossed and value <= threshold.value - threshold.hysteresis and not _above(threshold, value):
            crossed.discard(place)
            direction = CrossingDirection.DOWN
        else:
            continue
        found.append(
            Crossing(
                threshold=threshold, key=row.subject.key, part=part, direction=direction, value=value,
                time_s=row.time_s,
            )
        )  # fmt: skip
    return replace(threshold, crossed=tuple(sorted(crossed))), tuple(found)


def _above(threshold: Threshold, value: float) -> bool:
    """Without hysteresis a value on the threshold is above it, or it would go up and down with each measurement."""
    return value >= threshold.value + threshold.hysteresis


@dataclass(kw_only=True, slots=True)
class _Collecting:
    """What a job has collected: values of the present period, and the periods since the last report."""

    period_end_s: float
    report_end_s: float
    now: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    done: dict[tuple[str, str, str], list[tuple[float, float]]] = field(default_factory=dict)


class Jobs:
    """The jobs' collections. One caller at a time; a job's first period begins when it is first seen."""

    def __init__(self) -> None:
        self._collecting: dict[str, _Collecting] = {}

    def take(self, jobs: Sequence[PmJob], rows: Sequence[KpiRow], now_s: float) -> list[PmReport]:
        """Collect these rows; the reports that became due, without an id."""
        self._collecting = {job.id: self._collecting[job.id] for job in jobs if job.id in self._collecting}
        reports = []
        for job in jobs:
            own = self._collecting.get(job.id)
            if own is None:
                own = self._collecting[job.id] = _Collecting(
                    period_end_s=now_s + job.collection_period_s, report_end_s=now_s + job.reporting_period_s
                )
            is_over = 0 < job.reporting_boundary_s <= now_s
            if not is_over:
                for metric in job.performance_metrics:
                    source = metric.replace("_peak", "_mean", 1)
                    for row, part, value in selected(rows, job.object_instance_id, source, job.sub_object_instance_ids):
                        own.now.setdefault((row.subject.key, part, metric), []).append(value)
            if now_s >= own.period_end_s or is_over:
                _close_period(own, job, now_s)
            if (now_s >= own.report_end_s or is_over) and own.done:
                reports.append(PmReport(id="", job_id=job.id, time_s=now_s, entries=_entries(own)))
            if now_s >= own.report_end_s:
                own.done.clear()
                own.report_end_s = _next(own.report_end_s, job.reporting_period_s, now_s)
            elif is_over:
                own.done.clear()
        return reports


def _close_period(own: _Collecting, job: PmJob, now_s: float) -> None:
    for place, values in own.now.items():
        value = max(values) if "_peak" in place[2] else math.fsum(values) / len(values)
        if place in own.done or len(own.done) < _MOST_ENTRIES:
            own.done.setdefault(place, []).append((min(own.period_end_s, now_s), value))
    own.now.clear()
    own.period_end_s = _next(own.period_end_s, job.collection_period_s, now_s)


def _next(end_s: float, period_s: float, now_s: float) -> float:
    """The first end after now on the grid of periods; what was slept through is skipped."""
    return end_s + (math.floor(max(0.0, now_s - end_s) / period_s) + 1) * period_s


def _entries(own: _Collecting) -> tuple[PmEntry, ...]:
    return tuple(
        PmEntry(object_instance_id=key, sub_object_instance_id=part, performance_metric=metric, values=tuple(values))
        for (key, part, metric), values in sorted(own.done.items())
    )
