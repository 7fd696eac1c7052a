"""How well alarms and heals did over a period, from what operators said and what became of each. Pure.

An alarm was right where it was seen plainly, where an operator acknowledged it as true, where a heal of it helped, or
where an independent sign agreed. It was wrong where an operator said so. Of the rest nothing is known: it is counted
as neither. What was missed is what operators healed by hand with no alarm up.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from manor.model.alarm import AckState, AlarmRecord, Outcome, Ruling
from manor.model.instance import NsLcmOpOcc, OperationState

__all__ = ["Balance", "balance_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """Counts and times of one period; None where nothing is known to divide by."""

    alarms: int
    learned: int
    right: int
    wrong: int
    unknown: int
    missed: int
    """Heals by hand of services that had no alarm."""
    precision: float | None
    """Right among the right and wrong."""
    recall: float | None
    """Right among the right and missed."""
    heals: int
    """Heals that Manor began by itself."""
    helped: int
    useless: int
    """Heals that did not complete, or did not help."""
    held: int
    """Alarms for which something held a heal back, or that would have been healed in another mode."""
    escalated: int
    repair_s: float | None
    """Median time from a fault to the end of the heal that helped."""
    by_hand_s: float | None
    """Median time from a fault to the end of a heal that an operator asked for."""
    saved_s: float | None
    """What the heals that helped saved, against the same by hand (or against ``assumed_by_hand_s``)."""


def balance_of(
    alarms: Sequence[AlarmRecord],
    rulings: Sequence[Ruling],
    operations: Sequence[NsLcmOpOcc],
    *,
    assumed_by_hand_s: float,
) -> Balance:
    """The balance of these; ``operations`` are the HEAL operations of the period."""
    by_alarm: dict[str, list[Ruling]] = {}
    for ruling in rulings:
        by_alarm.setdefault(ruling.alarm_id, []).append(ruling)
    right = sum(_is_right(alarm, by_alarm.get(alarm.id, ())) is True for alarm in alarms)
    wrong = sum(_is_right(alarm, by_alarm.get(alarm.id, ())) is False for alarm in alarms)
    automatic = {operation.id for operation in operations if operation.is_automatic}
    approved = {ruling.operation_id for ruling in rulings if ruling.operation_id} - automatic
    missed = sum(
        not operation.is_automatic and operation.id not in approved and not _had_alarm(operation, alarms)
        for operation in operations
        if operation.state is OperationState.COMPLETED
    )
    began = {alarm.id: alarm.event_time_s for alarm in alarms}
    mine = [ruling for ruling in rulings if ruling.operation_id in automatic]
    repairs = {
        r.operation_id: r.ended_s - began[r.alarm_id] for r in mine if r.helped and r.alarm_id in began
    }  # several alarms may share an operation
    by_hand = [r.ended_s - began[r.alarm_id] for r in rulings if r.operation_id in approved and r.ended_s]
    hand_s = statistics.median(by_hand) if by_hand else None
    usual_s = hand_s if hand_s is not None else assumed_by_hand_s
    outcomes = {alarm_id: {ruling.outcome for ruling in these} for alarm_id, these in by_alarm.items()}
    waiting = {Outcome.HELD, Outcome.SHADOW, Outcome.ASK}
    return Balance(
        alarms=len(alarms),
        learned=sum(alarm.learned for alarm in alarms),
        right=right,
        wrong=wrong,
        unknown=len(alarms) - right - wrong,
        missed=missed,
        precision=_part(right, right + wrong),
        recall=_part(right, right + missed),
        heals=len({ruling.operation_id for ruling in mine}),
        helped=len({ruling.operation_id for ruling in mine if ruling.helped}),
        useless=len({r.operation_id for r in mine if r.helped is False or r.succeeded is False}),
        held=sum(bool(said & waiting) and Outcome.STARTED not in said for said in outcomes.values()),
        escalated=sum(Outcome.ESCALATED in said for said in outcomes.values()),
        repair_s=statistics.median(repairs.values()) if repairs else None,
        by_hand_s=hand_s,
        saved_s=sum(max(0.0, usual_s - took_s) for took_s in repairs.values()) if repairs else None,
    )


def _is_right(alarm: AlarmRecord, rulings: Sequence[Ruling]) -> bool | None:
    if alarm.judged_true is not None:
        return alarm.judged_true
    if not alarm.learned or any(ruling.helped for ruling in rulings):
        return True
    return True if alarm.confirmations and alarm.ack_state is AckState.ACKNOWLEDGED else None


def _had_alarm(operation: NsLcmOpOcc, alarms: Sequence[AlarmRecord]) -> bool:
    """Whether the service had an alarm while somebody decided to heal it."""
    return any(
        alarm.ns_id == operation.ns_id
        and alarm.alarm_raised_time_s <= operation.start_s
        and (alarm.is_active or alarm.alarm_cleared_time_s >= operation.start_s)
        for alarm in alarms
    )


def _part(some: int, of: int) -> float | None:
    return some / of if of else None
