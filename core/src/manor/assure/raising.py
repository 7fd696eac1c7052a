"""Symptoms to alarms: when one is raised, changes and clears, and which is the root of which. Pure.

A fault is an alarm when it has lasted long enough, and is over when it has been gone long enough. One that another
fault explains is not raised beside it: it is told in the details of its root. One that was an alarm before its root
showed is correlated to it, as is one that is a part of its root and acted on by itself.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from manor.assure.symptoms import Findings, Rank, Symptom
from manor.model.alarm import AlarmRecord

__all__ = ["Changes", "Memory", "transition", "with_present_signs"]

_MOST_DETAILS = 20

Fault = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What one round has to know of the ones before."""

    first_seen_s: Mapping[Fault, float] = field(default_factory=dict)
    gone_since_s: Mapping[Fault, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What one round makes of the alarms."""

    raised: tuple[AlarmRecord, ...] = ()
    changed: tuple[AlarmRecord, ...] = ()
    cleared: tuple[AlarmRecord, ...] = ()
    memory: Memory = field(default_factory=Memory)


def transition(
    active: Sequence[AlarmRecord], findings: Findings, memory: Memory, now_s: float, *, clear_s: float
) -> Changes:
    """The alarms after this round's findings."""
    by_fault = {symptom.fault: symptom for symptom in findings.symptoms}
    alarms = {alarm.fault: alarm for alarm in active}
    first_seen_s = {fault: at_s for fault, at_s in memory.first_seen_s.items() if fault[0] in findings.hidden}
    first_seen_s |= {
        fault: min(memory.first_seen_s.get(fault, now_s), symptom.since_s or now_s)
        for fault, symptom in by_fault.items()
    }
    roots = {
        fault: root for fault, symptom in by_fault.items() if (root := _root(symptom, by_fault, alarms)) is not None
    }
    told: dict[Fault, list[str]] = {}
    for fault, root in roots.items():
        if root != by_fault[fault].follows:
            told.setdefault(root, []).append(f"also {fault[1]} of {fault[0]}")
    raised = [
        _raised(symptom, first_seen_s[fault], now_s, told.get(fault, ()))
        for fault, symptom in by_fault.items()
        if fault not in alarms
        and (fault not in roots or roots[fault] == symptom.follows)
        and now_s - first_seen_s[fault] >= symptom.hold_s
    ]
    ids = {alarm.fault: alarm.id for alarm in (*active, *raised)}
    of = {fault: ids[root] for fault, root in roots.items() if root in ids}
    changed, cleared = [], []
    gone_since_s = {fault: at_s for fault, at_s in memory.gone_since_s.items() if fault[0] in findings.hidden}
    for fault, alarm in alarms.items():
        if fault in by_fault:
            gone_since_s.pop(fault, None)
            after = _updated(alarm, by_fault[fault], of.get(fault), told.get(fault, ()), now_s)
            if after is not None:
                changed.append(after)
        elif alarm.resource_key not in (findings.deaf if alarm.learned else findings.blind):
            gone_since_s[fault] = memory.gone_since_s.get(fault, now_s)
            if now_s - gone_since_s[fault] >= clear_s:
                cleared.append(replace(alarm, alarm_cleared_time_s=now_s, alarm_changed_time_s=now_s))
    return Changes(
        raised=tuple(_correlated(alarm, of.get(alarm.fault)) for alarm in raised),
        changed=tuple(changed),
        cleared=tuple(cleared),
        memory=Memory(first_seen_s=first_seen_s, gone_since_s=gone_since_s),
    )


def _root(symptom: Symptom, present: Mapping[Fault, Symptom], alarms: Mapping[Fault, AlarmRecord]) -> Fault | None:
    """The fault that this one follows from: what it is a part of, or the most basic of those that explain it."""
    if symptom.follows in present:
        return symptom.follows
    explaining = [
        other
        for other in present.values()
        if other.resource_key in symptom.explained_by and _order(other, alarms) < _order(symptom, alarms)
    ]
    if not explaining:
        return None
    best = min(explaining, key=lambda other: _order(other, alarms))
    return best.fault if best.follows in present else _root(best, present, alarms) or best.fault


def _order(symptom: Symptom, alarms: Mapping[Fault, AlarmRecord]) -> tuple[float | str, ...]:
    """Only what comes before can explain what comes after. Static faults of one rank never explain each other; of
    learned ones that do, the one that somebody confirms comes first, then the one that was an alarm first."""
    if symptom.rank is not Rank.LEARNED:
        return (float(symptom.rank),)
    known = alarms.get(symptom.fault)
    confirmed = bool(symptom.confirmations or (known and known.confirmations))
    raised_s = known.alarm_raised_time_s if known else math.inf
    return (float(symptom.rank), float(not confirmed), raised_s, symptom.since_s, symptom.resource_key)


def _raised(symptom: Symptom, since_s: float, now_s: float, told: Iterable[str]) -> AlarmRecord:
    return AlarmRecord(
        id=uuid.uuid4().hex[:12],
        ns_id=symptom.ns_id,
        managed_object_id=symptom.managed_object_id,
        resource_key=symptom.resource_key,
        faulty_resource_type=symptom.resource_type,
        perceived_severity=symptom.severity,
        event_type=symptom.event_type,
        probable_cause=symptom.cause,
        learned=symptom.rank is Rank.LEARNED,
        fault_details=(*symptom.detail, *sorted(told))[:_MOST_DETAILS],
        confirmations=symptom.confirmations,
        event_time_s=since_s,
        alarm_raised_time_s=now_s,
        alarm_changed_time_s=now_s,
    )


def _updated(
    alarm: AlarmRecord, symptom: Symptom, root_id: str | None, told: Iterable[str], now_s: float
) -> AlarmRecord | None:
    """The alarm with what is new about it; None where nothing is that matters."""
    signs = _with_new(alarm.confirmations, symptom.confirmations)
    after = _correlated(replace(alarm, perceived_severity=symptom.severity, confirmations=signs), root_id)
    more = [line for line in sorted(told) if line not in alarm.fault_details]
    details = tuple(line for line in alarm.fault_details if line.startswith("also "))
    # What has drifted is told anew when it is something else; the figures in other details move all the time.
    is_other = symptom.rank is Rank.DRIFT and alarm.fault_details != symptom.detail[:_MOST_DETAILS]
    if after == alarm and not more and not is_other:
        return None
    details = (*symptom.detail, *details, *more)[:_MOST_DETAILS]
    return replace(after, fault_details=details, alarm_changed_time_s=now_s)


def _correlated(alarm: AlarmRecord, root_id: str | None) -> AlarmRecord:
    return replace(alarm, is_root_cause=root_id is None, correlated_alarm_ids=(root_id,) if root_id else ())


def _with_new(told: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    """Every sign that was ever there, each in the words in which it was first told: its figures move all the time."""
    kinds = {_kind(sign) for sign in told}
    return (*told, *(sign for sign in now if _kind(sign) not in kinds))


def _kind(sign: str) -> str:
    return sign.partition(":")[0]


def with_present_signs(alarm: AlarmRecord, symptom: Symptom) -> AlarmRecord:
    """The alarm for a decision: with those signs alone that are there now."""
    kinds = {_kind(sign) for sign in symptom.confirmations}
    return replace(alarm, confirmations=tuple(sign for sign in alarm.confirmations if _kind(sign) in kinds))
