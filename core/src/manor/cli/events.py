"""``manor events``: what happened, as ETSI's notifications, one JSON document a line."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from manor.cli.session import new_app, session
from manor.cli.subscription import wanted_types
from manor.model.notification import Notification, Subscription, iso

__all__ = ["app"]

app = new_app("What happened: operations, services, VNFs, packages, alarms.")

_POLL_S = 0.2


@app.command()
def events(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    since: Annotated[int, typer.Option(metavar="SEQ", min=0, help="Only after this one; 0 for all of a week.")] = 0,
    type: Annotated[
        list[str] | None, typer.Option("--type", help="Only of this type; may be given several times.")
    ] = None,
    ns: Annotated[str, typer.Option(help="Only about this service.")] = "",
) -> None:
    """Show what happened, the oldest first; with `--json` one notification a line, as subscribers get it."""
    from manor.store import instances, notifications

    s = session(ctx)
    store = s.runtime.store
    with store.read() as tx:
        mine = Subscription(
            id="",
            callback_uri="",
            types=wanted_types(type or []),
            ns_id=instances.get(tx, ns).id if ns else "",
        )
    while True:
        with store.read() as tx:
            found = notifications.after(tx, since)
        for one in found:
            since = one.seq
            if mine.wants(one):
                s.out.event({"seq": one.seq, **one.document(store.installation_id)}, _line(one))
        if not found:
            if not follow:
                return
            time.sleep(_POLL_S)


def _line(one: Notification) -> str:
    body = one.body
    about = {
        "NsLcmOperationOccurrenceNotification": ("nsInstanceName", "operation", "operationState", "nsLcmOpOccId"),
        "VnfLcmOperationOccurrenceNotification": ("vnfInstanceId", "operation", "operationState", "vnfLcmOpOccId"),
        "AlarmClearedNotification": ("alarmId",),
    }.get(str(one.type))
    if about is None:
        alarm = body.get("alarm", {})
        words = [alarm.get(k, "") for k in ("id", "perceivedSeverity", "probableCause")] if alarm else body.values()
    else:
        words = [body.get(name, "") for name in about]
    kind = str(one.type).removesuffix("Notification")
    return f"{one.seq:>6}  {iso(one.time_s)}  {kind}  {' '.join(str(word) for word in words if word)}"
