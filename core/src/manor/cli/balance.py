"""``manor assurance report`` (and ``manor alarm report``): how well alarms and heals did over a period."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from manor.cli.find import complete_ns, find_ns
from manor.cli.session import new_app, session

__all__ = ["app", "report"]

app = new_app("How well alarms and heals did.")


@app.command()
def report(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="NS", help="Of this service only.", autocompletion=complete_ns)
    ] = "",
    days: Annotated[float, typer.Option(min=0.01, help="Length of the period, up to now.")] = 7.0,
    by_hand_s: Annotated[
        float, typer.Option(min=0, help="What a repair by hand takes, where none was timed in the period.")
    ] = 900.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Report precision, recall and the time that healing saved, from acknowledgements and outcomes.

    An alarm was right where it was plainly seen, where its heal helped, or where you said so (alarm ack --true); it was
    wrong where you said so (alarm ack --false). Missed is what was healed by hand while no alarm was up.
    """
    from manor.assure.balance import balance_of
    from manor.store import alarms, reading

    s = session(ctx)
    s.out.json = s.out.json or json
    since_s = time.time() - days * 86400.0
    ns_id = find_ns(s, service).id if service else ""
    with s.runtime.store.read() as tx:
        found = [a for a in alarms.since(tx, since_s) if ns_id in ("", a.ns_id)]
        rulings = [r for r in alarms.rulings_since(tx, since_s) if ns_id in ("", r.ns_id)]
    page = reading.operations(s.url, limit=100_000, ns_id=ns_id)
    heals = [op for op in page.items if str(op.operation) == "HEAL" and op.start_s >= since_s]
    balance = balance_of(found, rulings, heals, assumed_by_hand_s=by_hand_s)

    taken = f"not known, taken as {_seconds(by_hand_s)}"

    def human() -> None:
        rows = [
            ("alarms", f"{balance.alarms}, of which {balance.learned} inferred by a detector"),
            ("right, wrong", f"{balance.right}, {balance.wrong}; of {balance.unknown} nothing is known"),
            ("missed", f"{balance.missed} healed by hand while no alarm was up"),
            ("precision", _percent(balance.precision)),
            ("recall", _percent(balance.recall)),
            ("heals by Manor", f"{balance.heals}: {balance.helped} helped, {balance.useless} did not"),
            ("held back", f"{balance.held} by a budget, a lock, a window or a mode"),
            ("handed to a person", str(balance.escalated)),
            ("median repair", _seconds(balance.repair_s)),
            ("median repair by hand", _seconds(balance.by_hand_s) if balance.by_hand_s is not None else taken),
            ("time saved", _seconds(balance.saved_s)),
        ]
        s.out.fields(rows)

    s.out.result(balance, human)


def _percent(part: float | None) -> str:
    return "not known" if part is None else f"{100 * part:.0f} %"


def _seconds(value: float | None) -> str:
    if value is None:
        return "not known"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"
