"""``manor alarm``: what is wrong, what was decided about it and why, and the operator's word on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli.balance import report
from manor.cli.find import complete_ns, find_ns, ns_names
from manor.cli.markers import when
from manor.cli.render.steps import short_key
from manor.cli.session import Session, new_app, session
from manor.errors import ManorError, OperationFailed

if TYPE_CHECKING:
    from manor.model.alarm import AlarmRecord, Ruling

__all__ = ["app"]

app = new_app("Alarms: list, show, explain, ack, approve, watch, report.")
app.command()(report)

_POLL_S = 0.5
_MOST_TOLD = 8
"""Of alarms that follow from one, by their ids."""
_BEFORE_S = 3600.0
"""An alarm may have been one for so long before its root showed."""
Alarm = Annotated[str, typer.Argument(metavar="ALARM", help="Its id, or the start of it.")]
Service = Annotated[str, typer.Argument(metavar="NS", help="Of this service only.", autocompletion=complete_ns)]


class Action(StrEnum):
    """What an operator may ask for himself."""

    RESTART = "restart"
    RECREATE = "recreate"
    SCALE_OUT = "scale-out"
    REROUTE = "reroute"
    REPAIR = "repair"


@app.command("list")
def list_(
    ctx: typer.Context,
    service: Service = "",
    all: Annotated[bool, typer.Option("--all", "-a", help="Cleared ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
) -> None:
    """List alarms that are not cleared, the newest first; what follows from another comes under that."""
    from manor.store import alarms

    s = session(ctx)
    ns_id = find_ns(s, service).id if service else ""
    with s.runtime.store.read() as tx:
        found = _as_tree([alarm.told() for alarm in alarms.listing(tx, ns_id=ns_id, cleared=all, limit=limit)])
    names = {} if s.out.json else ns_names(s)
    rows = [
        (
            alarm.id,
            alarm.perceived_severity,
            alarm.probable_cause,
            names.get(alarm.ns_id, alarm.ns_id),
            short_key(alarm.resource_key, alarm.ns_id),
            when(alarm.alarm_raised_time_s),
            when(alarm.alarm_cleared_time_s),
            alarm.ack_state.lower(),
            "root" if alarm.is_root_cause else f"of {', '.join(alarm.correlated_alarm_ids)}",
        )
        for alarm in found
    ]
    headers = ("id", "severity", "cause", "service", "resource", "raised", "cleared", "ack", "correlation")
    if not all:
        headers, rows = (*headers[:6], *headers[7:]), [(*row[:6], *row[7:]) for row in rows]
    s.out.result(found, lambda: s.out.table(headers, rows, empty="no alarm"))


def _as_tree(found: Sequence[AlarmRecord]) -> list[AlarmRecord]:
    """Each with what follows from it right after it."""
    places = {alarm.id: place for place, alarm in enumerate(found)}

    def way(alarm: AlarmRecord) -> tuple[int, ...]:
        above = (found[places[root]] for root in alarm.correlated_alarm_ids if root in places)
        return (*next((way(root) for root in above), ()), places[alarm.id])

    return sorted(found, key=way)


@app.command()
def show(ctx: typer.Context, alarm: Alarm) -> None:
    """Show an alarm with its ETSI attributes and what was decided about it."""
    s = session(ctx)
    raised, rulings = _read(s, alarm)
    found = raised.told()

    def human() -> None:
        s.out.fields(
            [
                ("alarm", found.id),
                ("severity", found.perceived_severity),
                ("probable cause", found.probable_cause),
                ("managed object", found.managed_object_id),
                ("faulty resource", f"{found.resource_key} ({found.faulty_resource_type})"),
                ("event type", found.event_type),
                ("origin", "inferred by a detector" if found.learned else "seen"),
                ("since", when(found.event_time_s)),
                ("raised", when(found.alarm_raised_time_s)),
                ("changed", when(found.alarm_changed_time_s)),
                ("cleared", when(found.alarm_cleared_time_s)),
                ("acknowledged", when(found.alarm_acknowledged_time_s)),
                ("judged", {True: "a fault", False: "no fault", None: ""}[found.judged_true]),
                ("root cause", "yes" if found.is_root_cause else f"no, of {', '.join(found.correlated_alarm_ids)}"),
            ]
        )
        for line in (*found.fault_details, *(f"confirmed by {sign}" for sign in found.confirmations)):
            s.out.line(f"  {line}")
        s.out.line()
        _table(s, rulings)

    s.out.result({"alarm": found, "rulings": rulings}, human)


@app.command()
def explain(ctx: typer.Context, alarm: Alarm) -> None:
    """Tell in words why an alarm was or was not healed, and draw what a detector blames."""
    from manor.cli.measured import alarm_drawn

    s = session(ctx)
    found, rulings = _read(s, alarm)
    parts, is_part = _event(s, found)
    lines, drawing = story(found, rulings, parts, is_part=is_part), ""
    try:
        drawing = alarm_drawn(s, found) if found.learned else ""
    except ManorError as error:
        s.out.note(f"what it blames cannot be drawn: {error.message}")

    def human() -> None:
        for line in (*lines, *drawing.splitlines()):
            s.out.line(line)

    s.out.result({"alarm": found.id, "story": lines, "drawing": drawing}, human)


def story(
    alarm: AlarmRecord, rulings: Sequence[Ruling], parts: Sequence[AlarmRecord] = (), *, is_part: bool = False
) -> list[str]:
    """What happened, in order, one sentence a line; ``parts`` are the alarms of services that it is the root of."""
    seen = "a detector suspected" if alarm.learned else "Manor saw"
    lines = [f"{when(alarm.event_time_s)}  {seen} {alarm.probable_cause} on {alarm.resource_key}."]
    lines += [f"{'':19}  {line}" for line in alarm.fault_details]
    lines += [f"{'':19}  Confirmed by {sign}." for sign in alarm.confirmations]
    if alarm.learned and not alarm.confirmations:
        lines.append(f"{'':19}  Nothing independent confirms it, and a detector alone never acts.")
    lines.append(f"{when(alarm.alarm_raised_time_s)}  The alarm was raised ({alarm.perceived_severity}).")
    if not alarm.is_root_cause:
        what = ": all that do are one event" if is_part else ", which is looked at instead"
        lines.append(f"{'':19}  It follows from alarm {', '.join(alarm.correlated_alarm_ids)}{what}.")
    for ruling in rulings:
        lines.append(f"{when(ruling.time_s)}  {_sentence(ruling)}")
        if ruling.is_heal and ruling.ended_s:
            end = "completed" if ruling.succeeded else "did not complete"
            helped = {True: "It helped.", False: "It did not help.", None: ""}[ruling.helped]
            lines.append(f"{when(ruling.ended_s)}  Operation {ruling.operation_id} {end}. {helped}".rstrip())
    if parts:
        up = [one.id for one in parts if one.is_active]
        still = ", ".join(up[:_MOST_TOLD]) + (", …" if len(up) > _MOST_TOLD else "")
        lines.append(f"{'':19}  {len(parts)} alarms follow from it, and each service is healed by itself.")
        handed = sum(bool(one.escalated) for one in parts if one.is_active)
        theirs = f", {handed} handed to a person" if handed else ""
        lines.append(f"{'':19}  {len(up)} of them are still up{theirs}{f': {still}' if up else ''}.")
    elif alarm.is_active and not rulings and alarm.is_root_cause:
        why = "`manor serve` does not run" if alarm.ns_id else "it is about no service"
        lines.append(f"{'':19}  Nothing was decided about it: {why}.")
    if alarm.alarm_cleared_time_s:
        lines.append(f"{when(alarm.alarm_cleared_time_s)}  The alarm cleared.")
    return lines


def _sentence(ruling: Ruling) -> str:
    says = {
        "started": f"To {ruling.action} it, operation {ruling.operation_id} was begun",
        "shadow": f"In another mode than shadow it would have been {ruling.action}ed",
        "ask": f"To {ruling.action} it waits for: manor heal approve {ruling.alarm_id}",
        "held": f"It was not {ruling.action}ed",
        "nothing": "Nothing was done",
        "escalated": "It was handed to a person",
        "failed": f"It could not be {ruling.action}ed",
    }.get(ruling.outcome, ruling.outcome)
    return f"{says.replace('recreateed', 'recreated')}: {ruling.reason}."


@app.command()
def ack(
    ctx: typer.Context,
    alarm: Annotated[list[str], typer.Argument(metavar="ALARM...", help="Ids, or starts of ids.")],
    undo: Annotated[bool, typer.Option("--undo", help="Take the acknowledgement back.")] = False,
    judged: Annotated[
        bool | None, typer.Option("--true/--false", help="Say that there was a fault, or none: for the report.")
    ] = None,
) -> None:
    """Acknowledge alarms: somebody has seen them. Healing does not depend on it.

    That of a host which was emptied stands for those of its services.
    """
    from dataclasses import replace

    from manor.assure.emptied import followers
    from manor.model.alarm import AckState
    from manor.store import alarms

    s = session(ctx)
    state = AckState.UNACKNOWLEDGED if undo else AckState.ACKNOWLEDGED
    done = []
    with s.runtime.store.begin() as tx:
        named = [alarms.get(tx, name) for name in alarm]
        parts = [part for root in named for part in followers(root, alarms.active(tx))]
        wanted = dict.fromkeys(one.id for one in (*named, *parts))
        now = alarms.held(tx, wanted)
        for found in (now[alarm_id] for alarm_id in wanted if alarm_id in now):
            says = None if undo else judged if judged is not None else found.judged_true
            if (found.ack_state, found.judged_true) != (state, says):
                at_s = 0.0 if undo else found.alarm_acknowledged_time_s or time.time()
                found = replace(found, ack_state=state, alarm_acknowledged_time_s=at_s, judged_true=says)
                alarms.save(tx, found)
            done.append(found.told())
    s.out.result(done, lambda: [s.out.line(f"{one.id} {one.ack_state}") for one in done] and None)


@app.command()
def approve(
    ctx: typer.Context,
    alarm: Alarm,
    action: Annotated[Action | None, typer.Option(help="Do this instead of what was proposed.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not stay with it.")] = False,
) -> None:
    """Do what was proposed for an alarm; your word replaces budget and confirmation.

    That of a host which was emptied stands for those of its services that are not locked or in maintenance.
    """
    from manor.api import HealAction
    from manor.assure.emptied import followers
    from manor.assure.healing import approve as begin
    from manor.cli.running import ended, follow
    from manor.store import alarms

    s = session(ctx)
    with s.runtime.store.read() as tx:
        found = alarms.get(tx, alarm)
        parts = followers(found, alarms.active(tx))
    begun, last = [], None
    for one in parts or (found,):
        try:
            wanted = HealAction(action) if action else None
            begun.append(begin(s.runtime, one.id, wanted, is_one_of_many=bool(parts)))
        except ManorError as error:
            last = error
            if parts:
                s.out.warn(f"alarm {one.id} is left out: {error.with_hint}")
    if last is not None and not begun:
        raise last
    if no_wait:
        queued = [f"{one.operation_id} is queued: manor op watch {one.operation_id}" for one in begun]
        s.out.result(begun if parts else begun[0], lambda: s.out.line("\n".join(queued)))
        return
    failed = []
    for one in begun:  # each of them, for nobody else might work it off
        try:
            ended(s, follow(s, one.operation_id), said=bool(parts) and s.out.json)
        except OperationFailed as error:
            failed.append(error)
    if parts and s.out.json:
        s.out.result(begun, lambda: None)
    for another in failed[1:]:
        s.out.warn(another.with_hint)
    if failed:
        raise failed[0]


@app.command()
def watch(ctx: typer.Context, service: Service = "") -> None:
    """Tell of each alarm as it is raised, changes and clears, until interrupted.

    With --json each is a JSON document on a line of its own.
    """
    from manor.store import alarms

    s = session(ctx)
    ns_id = find_ns(s, service).id if service else ""
    known: dict[str, Any] = {}
    while True:
        with s.runtime.store.read() as tx:
            active = [alarm for alarm in alarms.active(tx) if ns_id in ("", alarm.ns_id)]
            gone = [alarms.find(tx, alarm_id) for alarm_id in known.keys() - {alarm.id for alarm in active}]
        for alarm in (*active, *(alarm.told() for alarm in gone if alarm is not None)):
            before = known.get(alarm.id)
            if before == alarm:
                continue
            word = "raised" if before is None else "changed" if alarm.is_active else "cleared"
            what = f"{alarm.perceived_severity:10}{alarm.probable_cause} on {alarm.resource_key}"
            s.out.event({"event": word, "alarm": alarm}, f"{when(time.time())}  {alarm.id}  {word:8}{what}")
        known = {alarm.id: alarm for alarm in active}
        time.sleep(_POLL_S)


def _read(s: Session, typed: str) -> tuple[AlarmRecord, tuple[Ruling, ...]]:
    from manor.store import alarms

    with s.runtime.store.read() as tx:
        found = alarms.get(tx, typed)
        return found, alarms.rulings(tx, found.id)


def _event(s: Session, alarm: AlarmRecord) -> tuple[tuple[AlarmRecord, ...], bool]:
    """The alarms of services that it is the root of, cleared ones too; whether it is one of such a root itself."""
    from manor.assure.emptied import followers
    from manor.store import alarms

    with s.runtime.store.read() as tx:
        parts = followers(alarm, alarms.since(tx, alarm.event_time_s - _BEFORE_S))
        roots = (alarms.find(tx, root_id) for root_id in alarm.correlated_alarm_ids)
        return parts, any(root is not None and followers(root, [alarm]) for root in roots)


def _table(s: Session, rulings: Sequence[Ruling]) -> None:
    helped = {True: "yes", False: "no", None: ""}
    s.out.table(
        ("decided", "action", "outcome", "operation", "helped", "reason"),
        [(when(r.time_s), r.action, r.outcome, r.operation_id, helped[r.helped], r.reason) for r in rulings],
        empty="nothing was decided about it",
    )
