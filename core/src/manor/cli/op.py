"""``manor op``: operations, what each did and when, and the ways out of one that stopped."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from manor.cli.find import complete_ns, complete_operation, find_ns, find_operation
from manor.cli.markers import pack_marker, unpack_marker, when
from manor.cli.session import Session, new_app, session
from manor.model.instance import CancelMode, NsLcmOpOcc, OperationState, StepRecord

__all__ = ["app"]

app = new_app("Operations: list, watch, timeline, retry, rollback, continue, fail, cancel.")

Operation = Annotated[
    str,
    typer.Argument(
        metavar="OPERATION", help="Its id, or a service for its last one.", autocompletion=complete_operation
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not stay with it.")]


class Chart(StrEnum):
    """Forms of a timeline."""

    TEXT = "text"
    SVG = "svg"
    JSON = "json"


def _journal(s: Session, operation: NsLcmOpOcc) -> tuple[StepRecord, ...]:
    from manor.store import operations

    with s.runtime.store.read() as tx:
        return operations.steps(tx, operation.id)


@app.command("list")
def list_(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="NS", help="Of this service only.", autocompletion=complete_ns)
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    after: Annotated[str, typer.Option(help="Page marker, as the page before gave it.")] = "",
) -> None:
    """List operations, the newest first."""
    from manor.store import reading

    s = session(ctx)
    ns_id = find_ns(s, service).id if service else ""
    page = reading.operations(s.url, limit=limit, after=unpack_marker(after), ns_id=ns_id)
    rows = [(op.id, _what(op), op.ns_name, op.state, when(op.start_s), op.error) for op in page.items]
    headers = ("id", "operation", "service", "state", "started", "error")
    s.out.result(page.items, lambda: s.out.table(headers, rows, empty="no operation yet"))
    if page.next:
        marker = pack_marker(page.next)
        s.out.note(f"{len(page.items)} of {page.total}; next: manor op list --limit {limit} --after {marker}")


def _what(op: NsLcmOpOcc) -> str:
    """The operation's type, and of an update what is updated, or which action ran in which VNF."""
    action = op.params.get("wishes", {}).get("action")
    ran = f"action {action['name']} of {action['vnf']}" if action else ""
    return f"{op.operation} {op.params.get('updateType', ran)}".rstrip()


@app.command()
def show(ctx: typer.Context, operation: Operation) -> None:
    """Show an operation with its steps, what failed, and what can be done now."""
    from manor.cli.failures import hint_of, problem_in
    from manor.cli.render.steps import seconds, step_name
    from manor.lcm.problem import ways
    from manor.model.occurrence import document
    from manor.model.vnfoperation import recalled

    s = session(ctx)
    op = find_operation(s, operation)
    steps = _journal(s, op)
    problem = problem_in(s.runtime, op, steps)
    possible = ways(op, steps)

    def human() -> None:
        s.out.fields(
            [
                ("operation", _what(op)),
                ("id", op.id),
                ("service", f"{op.ns_name} ({op.ns_id})"),
                ("state", op.state),
                ("started", when(op.start_s)),
                ("state since", when(op.state_entered_s)),
                ("attempt", op.attempt if op.attempt > 1 else ""),
                ("cancel asked", op.cancel_mode if op.is_cancel_pending else ""),
                ("error", op.error),
                ("cause", f"{problem.cause} of driver {problem.driver}" if problem else ""),
                ("host", problem.host if problem else ""),
                ("hint", hint_of(op, problem)),
                ("left behind", ", ".join(op.orphans)),
                ("possible now", ", ".join(possible)),
            ]
        )
        s.out.line()
        s.out.table(
            ("step", "state", "attempt", "took", "native id", "error"),
            [
                (
                    step_name(r.step, op.ns_id),
                    r.state,
                    r.attempt or "",
                    seconds(r.ended_s - r.started_s) if r.ended_s >= r.started_s > 0 else "",
                    r.native_id,
                    r.error,
                )
                for r in steps
            ],
            right=("attempt", "took"),
            empty="it has no steps",
        )

    found = {"operation": op, "problem": problem, "possible": possible, "steps": steps}
    s.out.result({**found, "occurrence": document(recalled(op, steps), steps)}, human)


@app.command()
def watch(ctx: typer.Context, operation: Operation) -> None:
    """Stay with an operation until it ends, working it off here where no `manor serve` does.

    With --json each event is a JSON document on a line of its own.
    """
    from manor.cli.running import ended, follow

    s = session(ctx)
    ended(s, follow(s, find_operation(s, operation).id, events=True), said=s.out.json)


@app.command()
def timeline(
    ctx: typer.Context,
    operation: Operation,
    format: Annotated[Chart, typer.Option("--format", "-f", help="Form of the chart.")] = Chart.TEXT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to a file.")] = None,
) -> None:
    """Show when each step ran, how long, and what it waited for."""
    from manor.cli.render import timeline as reckoning
    from manor.cli.render.timeline_svg import timeline_svg
    from manor.cli.render.timeline_text import timeline_text

    s = session(ctx)
    op = find_operation(s, operation)
    steps = _journal(s, op)
    resting = op.state not in (OperationState.PROCESSING, OperationState.ROLLING_BACK)
    now_s = max((r.ended_s for r in steps), default=op.start_s) if resting else time.time()
    times = reckoning.timeline(op, steps, now_s)
    if format is Chart.JSON or (s.out.json and output is None):
        s.out.data(times, output)
        return
    s.out.document(timeline_svg(times) if format is Chart.SVG else timeline_text(times), output)


def _act(ctx: typer.Context, typed: str, trigger: str, *, wanted: tuple[OperationState, ...], wait: bool) -> None:
    from manor.cli.running import act, ended, follow

    s, since_s = session(ctx), time.time()
    op = act(s, find_operation(s, typed).id, trigger)
    if wait:
        ended(s, follow(s, op.id), wanted=wanted, since_s=since_s)
    else:
        s.out.result(op, lambda: s.out.line(f"{op.id} {op.state}: manor op watch {op.id}"))


@app.command()
def retry(ctx: typer.Context, operation: Operation, no_wait: NoWait = False) -> None:
    """Try the steps again that failed, and go on."""
    _act(ctx, operation, "retry", wanted=(OperationState.COMPLETED,), wait=not no_wait)


@app.command()
def rollback(ctx: typer.Context, operation: Operation, no_wait: NoWait = False) -> None:
    """Take back what the operation did."""
    _act(ctx, operation, "rollback", wanted=(OperationState.ROLLED_BACK,), wait=not no_wait)


@app.command("continue")
def continue_(ctx: typer.Context, operation: Operation, no_wait: NoWait = False) -> None:
    """Go on without the steps that failed."""
    wanted = (OperationState.COMPLETED, OperationState.PARTIALLY_COMPLETED)
    _act(ctx, operation, "continue", wanted=wanted, wait=not no_wait)


@app.command()
def fail(ctx: typer.Context, operation: Operation, no_wait: NoWait = False) -> None:
    """Give the operation up for good; what it leaves is cleaned up, or listed."""
    _act(ctx, operation, "fail", wanted=(OperationState.FAILED,), wait=not no_wait)


@app.command()
def cancel(
    ctx: typer.Context,
    operation: Operation,
    mode: Annotated[
        CancelMode, typer.Option(help="Let running steps end, or give up on them too.")
    ] = CancelMode.GRACEFUL,
) -> None:
    """Stop a running operation where it is; then retry, roll back or fail it."""
    s = session(ctx)
    op = s.runtime.operations.cancel(find_operation(s, operation).id, mode)
    s.out.result(op, lambda: s.out.line(f"{op.operation} {op.ns_name} is asked to stop: manor op watch {op.id}"))
