"""When each step of an operation ran, what it waited for, and which steps made the operation as long as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manor.cli.render.steps import step_name
from manor.model.instance import NsLcmOpOcc, StepRecord

__all__ = ["Bar", "Timeline", "timeline"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One step. Times are seconds from the start of the operation."""

    id: str
    name: str
    state: str
    start_s: float
    end_s: float
    attempt: int
    after: str
    """Id of the dependency that ended last; empty where the step waited for none."""
    waited_s: float
    """From when it could have started until it did: the wait for a worker."""
    critical: bool
    """On the path that made the operation as long as it was."""
    error: str = ""

    @property
    def duration_s(self) -> float:
        """How long it ran."""
        return self.end_s - self.start_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """An operation in time."""

    title: str
    operation_id: str
    state: str
    duration_s: float
    bars: tuple[Bar, ...]
    """By start; steps that never started are not among them."""
    waiting: tuple[str, ...] = ()
    """Names of steps that have not started."""


def timeline(operation: NsLcmOpOcc, steps: Sequence[StepRecord], now_s: float) -> Timeline:
    """Reckon the timeline from the journal. A step without an end runs until ``now_s`` (seconds since the epoch)."""
    started = [record for record in steps if record.started_s]
    zero_s = min((record.started_s for record in started), default=operation.start_s)
    zero_s = min(zero_s, operation.start_s or zero_s)
    ends = {record.step.id: (record.ended_s or now_s) - zero_s for record in started}
    after = {
        record.step.id: max((d for d in record.step.depends_on if d in ends), key=lambda d: ends[d], default="")
        for record in started
    }
    critical: set[str] = set()
    walk = max(ends, key=lambda step_id: ends[step_id], default="")
    while walk and walk not in critical:
        critical.add(walk)
        walk = after[walk]
    bars = [
        Bar(
            id=record.step.id,
            name=step_name(record.step, operation.ns_id),
            state=str(record.state),
            start_s=record.started_s - zero_s,
            end_s=max(ends[record.step.id], record.started_s - zero_s),
            attempt=record.attempt,
            after=after[record.step.id],
            waited_s=max(0.0, record.started_s - zero_s - ends.get(after[record.step.id], 0.0)),
            critical=record.step.id in critical,
            error=record.error,
        )
        for record in started
    ]
    return Timeline(
        title=f"{operation.operation} {operation.ns_name}",
        operation_id=operation.id,
        state=str(operation.state),
        duration_s=max((bar.end_s for bar in bars), default=0.0),
        bars=tuple(sorted(bars, key=lambda bar: (bar.start_s, bar.end_s, bar.name))),
        waiting=tuple(step_name(record.step, operation.ns_id) for record in steps if not record.started_s),
    )
