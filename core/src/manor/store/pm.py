"""PM jobs with their reports, and thresholds. Whole records; the columns beside them are what is searched by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from manor.errors import UsageError
from manor.model.pm import PmJob, PmReport, Threshold
from manor.store import rows
from manor.store.asking import only
from manor.store.tables import PmJobRow, PmReportRow, ThresholdRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "MOST",
    "add_job",
    "add_reports",
    "add_threshold",
    "job",
    "jobs",
    "remove_job",
    "remove_threshold",
    "reports",
    "save_threshold",
    "threshold",
    "thresholds",
]

MOST = 500
"""Jobs and thresholds, of each."""
_REPORTS = 100
"""Kept of one job."""
_JOB = PmJobRow.__table__  # type: ignore[attr-defined]
_REPORT = PmReportRow.__table__  # type: ignore[attr-defined]
_THRESHOLD = ThresholdRow.__table__  # type: ignore[attr-defined]


def add_job(tx: Connection, made: PmJob) -> None:
    """Keep a new job."""
    _room(tx, _JOB, "PM jobs", "manor pm job list")
    tx.execute(insert(_JOB).values(id=made.id, created_s=made.created_s, record=rows.record_values(made)))


def jobs(tx: Connection) -> tuple[PmJob, ...]:
    """All jobs, the oldest first."""
    return tuple(rows.record(PmJob, record) for record in _all(tx, _JOB))


def job(tx: Connection, job_id: str) -> PmJob:
    """The job of this id or unique start of one. Raises UsageError where none or several fit."""
    row = only(tx, select(_JOB), _JOB.c.id, job_id, what="PM job", listing="manor pm job list")
    found: PmJob = rows.record(PmJob, row["record"])
    return found


def remove_job(tx: Connection, job_id: str) -> None:
    """Forget a job and its reports."""
    tx.execute(delete(_REPORT).where(_REPORT.c.job_id == job_id))
    tx.execute(delete(_JOB).where(_JOB.c.id == job_id))


def add_reports(tx: Connection, made: Iterable[PmReport]) -> None:
    """Keep reports, and of each job only the newest hundred. A job that is gone has none."""
    for report in made:
        if tx.execute(select(_JOB.c.id).where(_JOB.c.id == report.job_id)).first() is None:
            continue
        values = {
            "id": report.id,
            "job_id": report.job_id,
            "time_s": report.time_s,
            "record": rows.record_values(report),
        }
        tx.execute(insert(_REPORT).values(values))
        newest = select(_REPORT.c.time_s).where(_REPORT.c.job_id == report.job_id).order_by(_REPORT.c.time_s.desc())
        last_kept = tx.execute(newest.offset(_REPORTS - 1).limit(1)).scalar()
        if last_kept is not None:
            tx.execute(delete(_REPORT).where(_REPORT.c.job_id == report.job_id, _REPORT.c.time_s < last_kept))


def reports(tx: Connection, job_id: str, *, limit: int = 10) -> tuple[PmReport, ...]:
    """A job's reports, the newest first."""
    query = select(_REPORT.c.record).where(_REPORT.c.job_id == job_id).order_by(_REPORT.c.time_s.desc()).limit(limit)
    return tuple(rows.record(PmReport, record) for record in tx.execute(query).scalars())


def add_threshold(tx: Connection, made: Threshold) -> None:
    """Keep a new threshold."""
    _room(tx, _THRESHOLD, "thresholds", "manor pm threshold list")
    tx.execute(insert(_THRESHOLD).values(id=made.id, created_s=made.created_s, record=rows.record_values(made)))


def save_threshold(tx: Connection, changed: Threshold) -> bool:
    """Write back what is crossed; False where the threshold is gone."""
    query = update(_THRESHOLD).where(_THRESHOLD.c.id == changed.id)
    return bool(tx.execute(query.values(record=rows.record_values(changed))).rowcount)


def thresholds(tx: Connection) -> tuple[Threshold, ...]:
    """All thresholds, the oldest first."""
    return tuple(rows.record(Threshold, record) for record in _all(tx, _THRESHOLD))


def threshold(tx: Connection, threshold_id: str) -> Threshold:
    """The threshold of this id or unique start of one. Raises UsageError where none or several fit."""
    column = _THRESHOLD.c.id
    row = only(tx, select(_THRESHOLD), column, threshold_id, what="threshold", listing="manor pm threshold list")
    found: Threshold = rows.record(Threshold, row["record"])
    return found


def remove_threshold(tx: Connection, threshold_id: str) -> None:
    """Forget a threshold."""
    tx.execute(delete(_THRESHOLD).where(_THRESHOLD.c.id == threshold_id))


def _all(tx: Connection, table: Any) -> Iterable[Mapping[str, Any]]:
    return tx.execute(select(table.c.record).order_by(table.c.created_s, table.c.id)).scalars()


def _room(tx: Connection, table: Any, what: str, listing: str) -> None:
    if len(tx.execute(select(table.c.id).limit(MOST)).all()) >= MOST:
        raise UsageError(f"there are {MOST} {what}, and no more may be", hint=listing)
