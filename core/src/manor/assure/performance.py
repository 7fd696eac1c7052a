"""PM jobs and thresholds in the loop: what telemetry finds is written down, told to subscribers, raised as alarms."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from manor.api import PerceivedSeverity
from manor.assure.sight import vnf_of
from manor.assure.symptoms import Rank, Symptom
from manor.lcm.runtime import Runtime
from manor.model.alarm import EventType, FaultyResourceType
from manor.model.notification import Notification, NotificationType
from manor.model.pm import PmJob, PmReport, Threshold, object_type
from manor.telemetry.kpis import KpiRow, Subject, split
from manor.telemetry.performance import Crossing, Jobs, cross

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Performance"]

CAUSE = "threshold-crossed"
FULL = "disk-full"
_FULL = Threshold(
    id=FULL, object_instance_id="", performance_metric="v_guest_disk_fullest_usage", value=92.5, hysteresis=2.5,
    severity=PerceivedSeverity.MAJOR,
)  # fmt: skip
"""Everybody's: full from 95 % on, and until it is 90 %."""
_DISK, _FROM = "v_guest_disk_usage", _FULL.value + _FULL.hysteresis


class Performance:
    """One thread at a time calls :meth:`take`; any may read :meth:`symptoms`."""

    def __init__(self, rt: Runtime, *, clock: Callable[[], float]) -> None:
        self._rt = rt
        self._clock = clock
        self._jobs = Jobs()
        self._full: Threshold | None = None
        """None until it is known from the alarms which were full before this process."""
        self._symptoms: tuple[Symptom, ...] | None = None

    def symptoms(self) -> tuple[Symptom, ...]:
        """One for each object that is above a threshold; before anything was measured, those that were."""
        from manor.store import pm

        if self._symptoms is None:
            with self._rt.store.read() as tx:
                self._symptoms = _all(self._known_full(tx), pm.thresholds(tx))
        return self._symptoms

    def _known_full(self, tx: Connection) -> Threshold:
        from manor.store import alarms

        if self._full is None:
            full = (alarm.resource_key for alarm in alarms.active(tx) if alarm.probable_cause == FULL)
            self._full = replace(_FULL, crossed=tuple((key, "") for key in full))
        return self._full

    def take(self, subjects: Sequence[Subject], rows: Sequence[KpiRow]) -> None:
        """Judge and collect one round's rows."""
        from manor.store import notifications, pm

        with self._rt.store.read() as tx:
            jobs, thresholds = pm.jobs(tx), pm.thresholds(tx)
            full = self._known_full(tx)
        now_s = self._clock()
        alive = {subject.key for subject in subjects}
        after = [cross(threshold, rows, alive) for threshold in thresholds]
        changed = [one for (one, _), before in zip(after, thresholds, strict=True) if one != before]
        crossings = [crossing for _, found in after for crossing in found]
        reports = [replace(report, id=uuid.uuid4().hex[:12]) for report in self._jobs.take(jobs, rows, now_s)]
        if changed or reports:
            by_id = {job.id: job for job in jobs}
            with self._rt.store.begin() as tx:
                there = {one.id for one in changed if pm.save_threshold(tx, one)}
                pm.add_reports(tx, reports)
                notifications.add(tx, (_crossed(one, now_s) for one in crossings if one.threshold.id in there))
                notifications.add(tx, (_available(report, by_id[report.job_id]) for report in reports))
        self._full, _ = cross(full, rows, alive)
        self._symptoms = _all(self._full, [one for one, _ in after], rows)


def _all(full: Threshold, thresholds: Iterable[Threshold], rows: Iterable[KpiRow] = ()) -> tuple[Symptom, ...]:
    return (*_filled(full, rows), *(symptom for one in thresholds for symptom in _symptoms(one)))


def _fullest(row: KpiRow) -> list[str]:
    named = ((*split(kpi), value) for kpi, value in row.values.items())
    return [part for metric, part, value in named if metric == _DISK and value >= _FROM]


def _symptoms(threshold: Threshold) -> Iterator[Symptom]:
    for key, part in threshold.crossed:
        metric = f"{threshold.performance_metric}{':' if part else ''}{part}"
        yield Symptom(
            ns_id=key.partition("/")[0],
            managed_object_id=threshold.object_instance_id,
            resource_key=key,
            cause=f"{CAUSE} {metric}",
            rank=Rank.THRESHOLD,
            severity=threshold.severity,
            event_type=EventType.QOS_ALARM,
            resource_type=FaultyResourceType.COMPUTE if "/vnf/" in key else FaultyResourceType.NETWORK,
            detail=(f"{metric} went over {threshold.value:g} (threshold {threshold.id})",),
        )


def _filled(threshold: Threshold, rows: Iterable[KpiRow]) -> Iterator[Symptom]:
    full = {key for key, _ in threshold.crossed}
    names = {row.subject.key: _fullest(row) for row in rows if row.subject.key in full}
    for symptom in _symptoms(threshold):
        what = ", ".join(names.get(symptom.resource_key, ())) or "a file system"
        yield replace(
            symptom,
            managed_object_id=vnf_of(symptom.resource_key),
            cause=FULL,
            resource_type=FaultyResourceType.STORAGE,
            detail=(f"{what} in it is full to 95 % and more; it counts as full until it is down to 90 %",),
        )


def _crossed(crossing: Crossing, now_s: float) -> Notification:
    """ThresholdCrossedNotification (SOL005 §7.5.2.5)."""
    threshold = crossing.threshold
    body = {
        "thresholdId": threshold.id,
        "crossingDirection": str(crossing.direction),
        "objectType": object_type(crossing.key),
        "objectInstanceId": crossing.key,
        "performanceMetric": threshold.performance_metric,
        "performanceValue": crossing.value,
        **({"subObjectInstanceId": crossing.part} if crossing.part else {}),
    }
    ns_id = crossing.key.partition("/")[0]
    return Notification(type=NotificationType.THRESHOLD_CROSSED, time_s=now_s, ns_id=ns_id, body=body)


def _available(report: PmReport, job: PmJob) -> Notification:
    """PerformanceInformationAvailableNotification (SOL005 §7.5.2.6)."""
    body = {
        "pmJobId": job.id,
        "objectType": object_type(job.object_instance_id),
        "objectInstanceId": job.object_instance_id,
        "reportId": report.id,
    }
    ns_id = job.object_instance_id.partition("/")[0]
    return Notification(type=NotificationType.PM_AVAILABLE, time_s=report.time_s, ns_id=ns_id, body=body)
