"""Alarms and the decisions about them.

That a fault has one active alarm at a time is held by a unique index, so it is true over all processes. Alarms that
were cleared long ago are dropped, with what was decided about them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from manor.model.alarm import AlarmRecord, Ruling
from manor.model.notification import alarm_changed
from manor.store import notifications, rows
from manor.store.asking import only
from manor.store.tables import AlarmRow, RulingRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "active",
    "add",
    "add_ruling",
    "find",
    "get",
    "heals",
    "held",
    "listing",
    "prune",
    "roots",
    "rulings",
    "rulings_since",
    "save",
    "save_ruling",
    "since",
]

_ALARM = AlarmRow.__table__  # type: ignore[attr-defined]
_RULING = RulingRow.__table__  # type: ignore[attr-defined]


def add(tx: Connection, alarm: AlarmRecord) -> bool:
    """Keep a new alarm; False where another process has raised the same fault already."""
    try:
        with tx.begin_nested():
            tx.execute(insert(_ALARM).values(_alarm_values(alarm)))
    except IntegrityError:
        return False
    notifications.add(tx, [alarm_changed(alarm)])
    return True


def save(tx: Connection, alarm: AlarmRecord) -> None:
    """Write an alarm back; subscribers are told where more than its words changed."""
    before = find(tx, alarm.id)
    if before is None or _told(before) != _told(alarm):
        notifications.add(tx, [alarm_changed(alarm, clears=before is None or before.is_active)])
    tx.execute(update(_ALARM).where(_ALARM.c.id == alarm.id).values(_alarm_values(alarm)))


def _told(alarm: AlarmRecord) -> tuple[object, ...]:
    return (
        alarm.perceived_severity,
        alarm.ack_state,
        alarm.is_active,
        alarm.is_root_cause,
        alarm.correlated_alarm_ids,
        alarm.escalated,
    )


def active(tx: Connection) -> tuple[AlarmRecord, ...]:
    """Alarms that are not cleared, the oldest first."""
    query = select(_ALARM.c.record).where(_ALARM.c.cleared_s == 0).order_by(_ALARM.c.raised_s, _ALARM.c.id)
    return tuple(_alarm(record) for record in tx.execute(query).scalars())


def find(tx: Connection, alarm_id: str) -> AlarmRecord | None:
    """The alarm of this whole id, or None."""
    record = tx.execute(select(_ALARM.c.record).where(_ALARM.c.id == alarm_id)).scalar()
    return _alarm(record) if record is not None else None


def held(tx: Connection, alarm_ids: Iterable[str]) -> dict[str, AlarmRecord]:
    """These alarms as they are now, by id; nobody else writes them before this transaction ends.

    A record is written whole: who changes a part of it has to hold it since it was read.
    """
    # All in one order, or two who want several would wait for each other.
    query = select(_ALARM.c.record).where(_ALARM.c.id.in_(set(alarm_ids))).order_by(_ALARM.c.id).with_for_update()
    return {alarm.id: alarm for alarm in map(_alarm, tx.execute(query).scalars())}


def get(tx: Connection, alarm_id: str) -> AlarmRecord:
    """The alarm of this id or unique start of one. Raises UsageError where none or several fit."""
    query = select(_ALARM.c.id, _ALARM.c.record)
    return _alarm(only(tx, query, _ALARM.c.id, alarm_id, what="alarm", listing="manor alarm list --all")["record"])


def listing(tx: Connection, *, ns_id: str = "", cleared: bool = False, limit: int = 100) -> tuple[AlarmRecord, ...]:
    """Alarms, the newest first: the active ones, or with ``cleared`` all of them."""
    query = select(_ALARM.c.record).order_by(_ALARM.c.raised_s.desc(), _ALARM.c.id).limit(limit)
    if ns_id:
        query = query.where(_ALARM.c.ns_id == ns_id)
    if not cleared:
        query = query.where(_ALARM.c.cleared_s == 0)
    return tuple(_alarm(record) for record in tx.execute(query).scalars())


def add_ruling(tx: Connection, ruling: Ruling) -> AlarmRecord | None:
    """Keep a decision. The alarm, where the decision leaves it to a person, or takes it back from one."""
    tx.execute(insert(_RULING).values(_ruling_values(ruling)))
    alarm, escalated = held(tx, [ruling.alarm_id]).get(ruling.alarm_id), ruling.reason if ruling.is_a_persons else ""
    if alarm is None or alarm.escalated == escalated:
        return None
    alarm = replace(alarm, escalated=escalated, alarm_changed_time_s=ruling.time_s)
    save(tx, alarm)
    return alarm


def save_ruling(tx: Connection, ruling: Ruling) -> None:
    """Write a decision back, once its outcome is known."""
    tx.execute(update(_RULING).where(_RULING.c.id == ruling.id).values(_ruling_values(ruling)))


def rulings(tx: Connection, alarm_id: str) -> tuple[Ruling, ...]:
    """What was decided about an alarm, in order."""
    query = select(_RULING.c.record).where(_RULING.c.alarm_id == alarm_id).order_by(_RULING.c.time_s, _RULING.c.id)
    return tuple(_ruling(record) for record in tx.execute(query).scalars())


def heals(tx: Connection, *, since_s: float) -> tuple[Ruling, ...]:
    """Decisions that became operations since then, in order."""
    query = (
        select(_RULING.c.record)
        .where(_RULING.c.time_s >= since_s, _RULING.c.operation_id != "")
        .order_by(_RULING.c.time_s, _RULING.c.id)
    )
    return tuple(_ruling(record) for record in tx.execute(query).scalars())


def roots(tx: Connection, *, cause: str, since_s: float) -> dict[str, str]:
    """Ids of alarms of which a heal was begun since then and which follow from one of this cause and of no service,
    with that one's."""
    healed = select(_RULING.c.alarm_id).where(_RULING.c.time_s >= since_s, _RULING.c.operation_id != "")
    found = (_alarm(one) for one in tx.execute(select(_ALARM.c.record).where(_ALARM.c.id.in_(healed))).scalars())
    follows = {alarm.id: alarm.correlated_alarm_ids[0] for alarm in found if alarm.correlated_alarm_ids}
    query = select(_ALARM.c.record).where(_ALARM.c.id.in_(set(follows.values())), _ALARM.c.ns_id == "")
    known = {root.id for root in map(_alarm, tx.execute(query).scalars()) if root.probable_cause == cause}
    return {alarm_id: root_id for alarm_id, root_id in follows.items() if root_id in known}


def since(tx: Connection, since_s: float) -> tuple[AlarmRecord, ...]:
    """Alarms raised since then, in order."""
    query = select(_ALARM.c.record).where(_ALARM.c.raised_s >= since_s).order_by(_ALARM.c.raised_s, _ALARM.c.id)
    return tuple(_alarm(record) for record in tx.execute(query).scalars())


def rulings_since(tx: Connection, since_s: float) -> tuple[Ruling, ...]:
    """Decisions since then, in order."""
    query = select(_RULING.c.record).where(_RULING.c.time_s >= since_s).order_by(_RULING.c.time_s, _RULING.c.id)
    return tuple(_ruling(record) for record in tx.execute(query).scalars())


def prune(tx: Connection, before_s: float) -> int:
    """Drop alarms cleared before this time and decisions older than it; how many alarms went."""
    tx.execute(delete(_RULING).where(_RULING.c.time_s < before_s))
    gone = tx.execute(delete(_ALARM).where(_ALARM.c.cleared_s > 0, _ALARM.c.cleared_s < before_s))
    return int(gone.rowcount)


def _alarm_values(alarm: AlarmRecord) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "fault": json.dumps(alarm.fault),
        "ns_id": alarm.ns_id,
        "raised_s": alarm.alarm_raised_time_s,
        "cleared_s": alarm.alarm_cleared_time_s,
        "record": _plain(dataclasses.asdict(alarm)),
    }


def _ruling_values(ruling: Ruling) -> dict[str, Any]:
    return {
        "id": ruling.id,
        "alarm_id": ruling.alarm_id,
        "time_s": ruling.time_s,
        "operation_id": ruling.operation_id,
        "record": _plain(dataclasses.asdict(ruling)),
    }


def _plain(value: Any) -> Any:
    """JSON values that PostgreSQL takes too: NaN and NUL are none."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, str):
        return str(value).replace("\x00", "")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return value


def _alarm(record: Mapping[str, Any]) -> AlarmRecord:
    alarm: AlarmRecord = rows.record(AlarmRecord, record)
    return alarm


def _ruling(record: Mapping[str, Any]) -> Ruling:
    ruling: Ruling = rows.record(Ruling, record)
    return ruling
