"""Starting an operation and staying with it until it ends: the one place where commands meet the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from manor.api.plan import OperationKind
from manor.cli.exits import ExitCode
from manor.cli.failures import failure, problem_in
from manor.cli.planfile import plan_document
from manor.cli.progress import watcher
from manor.cli.render.plan import Action, plan_lines
from manor.cli.render.steps import seconds
from manor.cli.session import Session
from manor.errors import StoreError
from manor.model.instance import NsLcmOpOcc, OperationState

if TYPE_CHECKING:
    from manor.api.plan import Plan
    from manor.lcm.ns import Proposal
    from manor.model.instance import OnFailure

__all__ = [
    "act",
    "approve",
    "carry_out",
    "ended",
    "follow",
    "run",
    "show_plan",
    "show_proposal",
    "unseen",
    "warn_of_unseen",
]

_COLOURS = {
    Action.CREATE: "green",
    Action.CHANGE: "yellow",
    Action.REPAIR: "yellow",
    Action.REPLACE: "magenta",
    Action.REMOVE: "red",
    Action.LEAVE: "yellow",
    Action.CHECK: "dim",
}


def show_plan(s: Session, plan: Plan, *, to_stderr: bool = False, update_type: str = "") -> None:
    """Print a plan for a person."""
    for text, action in plan_lines(plan, update_type):
        if to_stderr:
            s.out.note(text)
        else:
            s.out.line(text, style=_COLOURS.get(action, "") if action else "")


def show_proposal(s: Session, proposal: Proposal) -> None:
    """What would be done, as a result of its own."""

    def human() -> None:
        show_plan(s, proposal.plan, update_type=proposal.wishes.update_type)
        s.out.findings(proposal.findings)

    s.out.result(plan_document(proposal), human)


def approve(s: Session, proposal: Proposal, *, yes: bool) -> None:
    """Show the plan and ask, unless ``yes``. Raises UsageError where nobody can answer; ends where the answer is no."""
    if not s.out.json:
        show_plan(s, proposal.plan, update_type=proposal.wishes.update_type)
        s.out.findings(proposal.findings)
        s.out.stdout.flush()
    if not yes and not s.out.confirm("Do this?"):
        s.out.note("nothing was done")
        raise typer.Exit(ExitCode.GENERAL)


def unseen(proposal: Proposal) -> list[str]:
    """Hosts on which the service has something and nobody could look, each with the reason."""
    return [f"{endpoint} on {host} does not answer: {why}" for (endpoint, host), why in proposal.silent.items()]


def warn_of_unseen(s: Session, proposal: Proposal) -> None:
    """Say what could not be looked at."""
    for line in unseen(proposal):
        s.out.warn(f"not all of {proposal.ns.name} could be looked at: {line}")


def carry_out(s: Session, proposal: Proposal, *, yes: bool, on_failure: OnFailure, wait: bool) -> None:
    """Ask and run, where there is anything to do. Ends where a heal cannot know whether there is."""
    if proposal.is_idle:
        missed, name = unseen(proposal), proposal.ns.name
        nothing = {"operation": proposal.operation, "service": name, "changed": False, "unseen": missed}
        told = (
            f"{name}: nothing to do where it could be looked"
            if missed
            else f"{name} is as wanted already: nothing to do"
        )
        s.out.result(nothing, lambda: s.out.line(told))
        warn_of_unseen(s, proposal)
        if missed and proposal.operation is OperationKind.HEAL:
            raise typer.Exit(ExitCode.DRIVER)
        return
    approve(s, proposal, yes=yes)
    run(s, proposal, on_failure=on_failure, wait=wait)


def act(s: Session, operation_id: str, trigger: str) -> NsLcmOpOcc:
    """``retry``, ``rollback``, ``continue`` or ``fail`` an operation that stopped; it is queued then."""
    from manor.lcm.states import Trigger

    return s.runtime.operations.act(operation_id, Trigger(trigger))


def run(s: Session, proposal: Proposal, *, on_failure: OnFailure, wait: bool = True) -> None:
    """Start the proposed operation and stay with it. Raises OperationFailed where it does not complete."""
    from manor.lcm import ns

    operation_id = ns.start(s.runtime, proposal, on_failure=on_failure)
    if wait:
        ended(s, follow(s, operation_id))
    else:
        doing = {"operation_id": operation_id}
        s.out.result(doing, lambda: s.out.line(f"{operation_id} is queued: manor op watch {operation_id}"))


def follow(s: Session, operation_id: str, *, events: bool = False) -> NsLcmOpOcc:
    """Show the operation as it goes on, working it off here where no ``manor serve`` does.

    An interrupt, or a database that goes away, leaves it resumable, and says how.
    """
    from manor.lcm import work

    try:
        total = len(s.runtime.operations.get(operation_id)[1])
        with watcher(s.out, total, events=events) as watching:
            return work.follow(s.runtime, operation_id, lambda news: watching.see(news.operation, news.step))
    except KeyboardInterrupt:
        s.out.note("")
        s.out.note(f"interrupted; operation {operation_id} is not lost. Go on with: manor op watch {operation_id}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except StoreError as error:
        again = f"operation {operation_id} is not lost; once the database answers: manor op watch {operation_id}"
        error.hint = "; ".join(filter(None, (again, error.hint)))
        raise


def ended(
    s: Session,
    operation: NsLcmOpOcc,
    *,
    wanted: tuple[OperationState, ...] = (OperationState.COMPLETED,),
    said: bool = False,
    since_s: float = 0.0,
) -> None:
    """Report how an operation ended, unless that was ``said``. Raises OperationFailed for any end not wanted.

    ``since_s`` is when one that was held was taken up anew: how long it was held is not how long it took.
    """
    what = f"{operation.operation} {operation.ns_name}"
    for key in operation.orphans:
        s.out.warn(f"left behind: {key} (manor vim orphans)")
    # What no step failed at, and is not done, was left where nobody answers: as the plan said.
    is_left = operation.state is OperationState.PARTIALLY_COMPLETED and not operation.error
    if operation.state in wanted or is_left:
        since_s = since_s or (operation.start_s if operation.attempt == 1 else 0.0)
        took = f" in {seconds(max(0.0, operation.state_entered_s - since_s))}" if since_s else ""
        if not said:
            s.out.result(operation, lambda: s.out.line(f"{what} {operation.state}{took}", style="green"))
        return
    raise failure(operation, problem_in(s.runtime, *s.runtime.operations.get(operation.id)))
