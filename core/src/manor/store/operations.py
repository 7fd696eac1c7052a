"""Lifecycle operation occurrences with their plans: what was asked, what is to become of the service, and its steps.

That a service has one active operation at a time is held by a unique index of the database, so it is true over all
processes and nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from manor.api.plan import OperationKind, Plan, Step
from manor.errors import UsageError
from manor.model import occurrence
from manor.model.instance import NsLcmOpOcc, StepRecord
from manor.store import notifications, rows
from manor.store.asking import every, first, only
from manor.store.database import take_turns
from manor.store.tables import ACTIVE_STATES, OperationRow, StepRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "accepted_since",
    "active",
    "add",
    "at_work",
    "get",
    "locked",
    "passed",
    "plan",
    "pulse",
    "set_columns",
    "site_spans",
    "steps",
    "target",
    "unfinished",
    "write_steps",
]

_OP = OperationRow.__table__  # type: ignore[attr-defined]
_STEP = StepRow.__table__  # type: ignore[attr-defined]
_HEAVY = ("target", "plan")
_LIGHT = [column for column in _OP.c if column.name not in _HEAVY]
_STEP_COLUMNS = ("state", "attempt", "started_s", "ended_s", "error", "hint", "error_class", "native_id")

# Statements of the hot path, made once: building one costs more than SQLite takes to run it.
_THE_ID = bindparam("the_id")
_BY_ID = select(*_LIGHT).where(_OP.c.id == _THE_ID)
_LOCKED = _BY_ID.with_for_update()
_PULSE = select(_OP.c.revision, _OP.c.mode).where(_OP.c.id == _THE_ID)
_STEPS = select(_STEP).where(_STEP.c.operation_id == _THE_ID).order_by(_STEP.c.position)
_IS_ACTIVE = or_(*(_OP.c.state == state for state in ACTIVE_STATES))  # what is IN a list is spelt out at each execution
_ACTIVE = select(*_LIGHT).where(_OP.c.ns_id == bindparam("of_ns"), _IS_ACTIVE)
_AT_WORK = select(*_LIGHT).where(_IS_ACTIVE, _OP.c.mode != "").order_by(_OP.c.start_s, _OP.c.id)
_ACCEPTED_SINCE = select(*_LIGHT).where(
    or_(_OP.c.start_s >= bindparam("since_s"), _OP.c.mode == "forward"),
    _OP.c.state != "ROLLED_BACK",
    _OP.c.state != "FAILED",
    _OP.c.ns_id != bindparam("but_ns"),
)
_TARGET = select(_OP.c.target).where(_OP.c.id == _THE_ID)
_INSERT, _INSERT_STEPS = insert(_OP), insert(_STEP)
_TOUCH = update(_OP).where(_OP.c.id == _THE_ID).values(revision=_OP.c.revision + 1)
_WRITE_STEP = (
    update(_STEP)
    .where(_STEP.c.operation_id == bindparam("of"), _STEP.c.position == bindparam("at"))
    .values({name: bindparam(name) for name in _STEP_COLUMNS})
)


def add(tx: Connection, operation: NsLcmOpOcc, plan: Plan, *, target: Mapping[str, Any], mode: str) -> None:
    """Keep a new operation and its steps. Raises UsageError while another one is active on the service."""
    other = active(tx, operation.ns_id)
    if other is None:
        try:
            with tx.begin_nested():
                tx.execute(
                    _INSERT,
                    {
                        **rows.operation_values(operation),
                        "mode": mode,
                        "revision": 1,
                        "target": dict(target),
                        "plan": {
                            "unchanged": list(plan.unchanged),
                            "notes": list(plan.notes),
                            "placement": dict(plan.placement),
                        },
                    },
                )
        except IntegrityError:
            other = active(tx, operation.ns_id)
            if other is None:
                raise
    if other is not None:
        raise UsageError(
            f"service {operation.ns_name} has an operation in {other.state}: {other.operation} {other.id}",
            hint=f"manor op show {other.id}",
        )
    records = [
        {
            "operation_id": operation.id,
            "position": position,
            "step": rows.step_to_json(step),
            "state": "planned",
            "attempt": 0,
            "planned_s": operation.start_s,
            "started_s": 0.0,
            "ended_s": 0.0,
            "error": "",
            "hint": "",
            "error_class": "",
            "native_id": "",
        }
        for position, step in enumerate(plan.steps)
    ]
    if records:
        tx.execute(_INSERT_STEPS, records)
    notifications.add(tx, occurrence.accepted(operation))


def get(tx: Connection, operation_id: str) -> NsLcmOpOcc:
    """An operation by id, or by the start of one that is unique. Raises UsageError where none or several fit."""
    whole = first(tx, _BY_ID, rows.operation, the_id=operation_id)
    if whole is not None:
        return whole
    return rows.operation(only(tx, select(*_LIGHT), _OP.c.id, operation_id, what="operation", listing="manor op list"))


def active(tx: Connection, ns_id: str) -> NsLcmOpOcc | None:
    """The operation of the service that has not ended, or None."""
    return first(tx, _ACTIVE, rows.operation, of_ns=ns_id)


def at_work(tx: Connection) -> tuple[NsLcmOpOcc, ...]:
    """Every operation that a worker should be running now."""
    return every(tx, _AT_WORK, rows.operation)


def unfinished(tx: Connection) -> list[tuple[NsLcmOpOcc, tuple[Step, ...]]]:
    """Operations at work, each with its steps that are not done yet."""
    return [(one, _steps_of(tx, one.id, ("planned", "intended"))) for one in at_work(tx)]


def accepted_since(tx: Connection, time_s: float, *, but_ns: str) -> list[tuple[NsLcmOpOcc, tuple[Step, ...]]]:
    """Other services' operations accepted from then on and not taken back, and those that go forward, with all steps.

    An operation's start is read before it waits for its turn to be accepted, so one that started earlier may be new.

    Nobody else is accepted until this transaction ends.
    """
    take_turns(tx, "manor-room")
    found = every(tx, _ACCEPTED_SINCE, rows.operation, since_s=time_s, but_ns=but_ns)
    return [(one, _steps_of(tx, one.id)) for one in found]


def site_spans(tx: Connection, *, but_ns: str) -> dict[str, Mapping[str, int]]:
    """What the other services hold of the ways between sites once their operation has ended well, by service."""
    query = select(_OP.c.ns_id, _OP.c.target["desired"]["site_spans"]).where(_IS_ACTIVE, _OP.c.ns_id != but_ns)
    return {ns_id: held for ns_id, held in tx.execute(query) if held}


def _steps_of(tx: Connection, operation_id: str, states: Sequence[str] = ()) -> tuple[Step, ...]:
    query = select(_STEP.c.step).where(_STEP.c.operation_id == operation_id)
    query = query.where(_STEP.c.state.in_(states)) if states else query
    return tuple(rows.step_from_json(step) for step in tx.execute(query).scalars())


def locked(tx: Connection, operation_id: str) -> Mapping[str, Any]:
    """The operation's own row, nobody else writing it until the transaction ends. Raises UsageError where none is."""
    row = first(tx, _LOCKED, dict, the_id=operation_id)
    if row is None:
        raise UsageError(f"there is no operation {operation_id}", hint="manor op list")
    return row


def pulse(tx: Connection, operation_id: str) -> tuple[int, str]:
    """A number that grows with every change worth showing, and the way a worker goes (empty: it rests)."""
    row = tx.execute(_PULSE, {"the_id": operation_id}).first()
    return (row[0], row[1]) if row is not None else (0, "")


def steps(tx: Connection, operation_id: str) -> tuple[StepRecord, ...]:
    """The journal of an operation, in plan order."""
    return every(tx, _STEPS, rows.step_record, the_id=operation_id)


def plan(tx: Connection, operation: NsLcmOpOcc) -> Plan:
    """The plan as it was accepted."""
    rest = tx.execute(select(_OP.c.plan).where(_OP.c.id == operation.id)).scalar_one()
    return Plan(
        operation=OperationKind(operation.operation),
        service_id=operation.ns_id,
        service_name=operation.ns_name,
        steps=tuple(record.step for record in steps(tx, operation.id)),
        unchanged=tuple(rest["unchanged"]),
        notes=tuple(rest["notes"]),
        placement=rest["placement"],
    )


def target(tx: Connection, operation_id: str) -> Mapping[str, Any]:
    """What the service becomes when the operation completes, as the operation's maker wrote it."""
    return tx.execute(_TARGET, {"the_id": operation_id}).scalar_one()  # type: ignore[no-any-return]


def set_columns(tx: Connection, operation_id: str, **values: Any) -> None:
    """Write some columns of an operation and raise its revision."""
    tx.execute(_TOUCH, {**values, "the_id": operation_id})


def passed(tx: Connection, operation: NsLcmOpOcc, records: Collection[StepRecord] = ()) -> None:
    """Tell subscribers that an operation came to its state, or through it; ``records`` is its journal, for a result."""
    notifications.add(tx, occurrence.passed(operation, records))


def write_steps(tx: Connection, operation_id: str, records: Sequence[tuple[int, StepRecord]]) -> None:
    """Write what became of these steps, by position: one statement for all of them."""
    if not records:
        return
    tx.execute(
        _WRITE_STEP,
        [
            {
                "of": operation_id,
                "at": position,
                "state": str(record.state),
                "attempt": record.attempt,
                "started_s": record.started_s,
                "ended_s": record.ended_s,
                "error": record.error,
                "hint": record.hint,
                "error_class": record.error_class,
                "native_id": record.native_id,
            }
            for position, record in records
        ],
    )
