"""``manor heal``: what was decided about alarms, newest first, and the word that a decision waits for."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from manor.cli.alarm import approve
from manor.cli.find import complete_ns, find_ns, ns_names
from manor.cli.markers import when
from manor.cli.render.steps import short_key
from manor.cli.session import new_app, session

__all__ = ["app"]

app = new_app("Heals: list what was decided, approve what waits.")
app.command()(approve)


@app.command("list")
def list_(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="NS", help="Of this service only.", autocompletion=complete_ns)
    ] = "",
    waiting: Annotated[bool, typer.Option("--waiting", help="Only what waits for your word.")] = False,
    days: Annotated[float, typer.Option(min=0.01, help="How far back.")] = 7.0,
) -> None:
    """List decisions about alarms, the newest first, with what became of each."""
    from manor.model.alarm import Outcome
    from manor.store import alarms

    s = session(ctx)
    ns_id = find_ns(s, service).id if service else ""
    with s.runtime.store.read() as tx:
        found = [r for r in alarms.rulings_since(tx, time.time() - days * 86400.0) if ns_id in ("", r.ns_id)]
        active = {alarm.id for alarm in alarms.active(tx)}
    if waiting:
        last = {ruling.alarm_id: ruling for ruling in found if ruling.alarm_id in active}
        found = [ruling for ruling in last.values() if ruling.outcome is Outcome.ASK or ruling.is_a_persons]
    found.reverse()
    helped = {True: "yes", False: "no", None: ""}
    names = {} if s.out.json else ns_names(s)
    rows = [
        (
            when(r.time_s),
            r.alarm_id,
            names.get(r.ns_id, r.ns_id),
            short_key(r.resource_key, r.ns_id),
            r.action,
            r.outcome,
            r.operation_id,
            helped[r.helped],
            r.reason,
        )
        for r in found
    ]
    headers = ("decided", "alarm", "service", "resource", "action", "outcome", "operation", "helped", "reason")
    s.out.result(found, lambda: s.out.table(headers, rows, empty="nothing was decided"))
