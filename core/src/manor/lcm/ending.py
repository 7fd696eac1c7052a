"""What the end of the way through a plan means for the operation: a pure decision, committed with the last outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manor.api.plan import Undo, Verb
from manor.lcm.away import LEAVE
from manor.lcm.states import Trigger, advance
from manor.lcm.wave import End, Mode, left_planned, lost
from manor.model.failing import told, worst
from manor.model.instance import OnFailure, OperationState, StepRecord, StepState

__all__ = ["Turn", "beyond_return", "turn"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The states an operation goes through at once, and which way it goes on; no mode means that it rests."""

    states: tuple[OperationState, ...]
    mode: Mode | None = None
    error: str = ""
    hint: str = ""
    orphans: tuple[str, ...] = ()


def turn(state: OperationState, mode: Mode, end: End, rows: Mapping[str, StepRecord], on_failure: OnFailure) -> Turn:
    """Where the operation goes from ``state`` when its way through the plan has ended."""
    first = worst(rows.values())
    error, hint = (told(first), first.hint) if first else ("", "")
    if state is OperationState.FAILED_TEMP:
        # `fail` was asked for; it is over once what was left is cleaned up or listed.
        return Turn(states=(advance(state, Trigger.FAIL),), error=error, hint=hint, orphans=_orphans(rows, mode))
    if end is End.CANCELLED:
        return Turn(
            states=(advance(state, Trigger.CANCELLED),),
            error=error or "cancelled",
            hint=hint,
        )
    if end is End.SUCCEEDED:
        if mode is Mode.BACKWARD:
            # What an operation before this one had left behind, and this one could not remove either, is told again.
            left = sorted({row.step.key for row in rows.values() if _was_left_over(row)})
            return Turn(states=(advance(state, Trigger.SUCCEEDED),), error=error, hint=hint, orphans=tuple(left))
        partly = any(row.state is not StepState.DONE and not _was_left_before(row) for row in rows.values())
        event = Trigger.PARTLY_SUCCEEDED if partly else Trigger.SUCCEEDED
        return Turn(states=(advance(state, event),), error=error, hint=hint, orphans=_orphans(rows, mode))
    failed = advance(state, Trigger.FAILED)
    if gone := lost(rows.values()):
        # To say that it was rolled back would be untrue.
        return Turn(states=(failed,), error=error, hint=beyond_return(gone))
    if mode is Mode.FORWARD and on_failure is OnFailure.ROLLBACK:
        back = advance(failed, Trigger.ROLLBACK)
        return Turn(states=(failed, back), mode=Mode.BACKWARD, error=error, hint=hint)
    return Turn(states=(failed,), error=error, hint=hint)


def beyond_return(gone: Sequence[str]) -> str:
    """Why an operation that destroyed these disks is not rolled back, and what can be done."""
    more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
    return f"disk {gone[0]}{more} is removed with its data, so there is no way back: retry, continue or fail"


def _was_left_over(row: StepRecord) -> bool:
    """Whether a removal that nothing takes back has not happened: it failed, or was never begun."""
    is_removal = row.step.verb is Verb.REMOVE and row.step.before is None
    return (is_removal and bool(row.error or not row.attempt)) or _was_not_adopted(row)


def _was_not_adopted(row: StepRecord) -> bool:
    """Whether it was there before, as nothing that the service should have, and nobody got to it."""
    step = row.step
    is_adoption = step.verb is Verb.ENSURE and step.undo is Undo.REMOVE and step.change not in ("create", "replace")
    return is_adoption and not row.attempt


def _was_left_before(row: StepRecord) -> bool:
    """Whether an operation before this one left it on a host that has not answered since: no part of this one."""
    return row.step.change == LEAVE and row.step.before is None


def _is_left_over(row: StepRecord) -> bool:
    return row.step.before is None and row.state is not StepState.DONE


def _orphans(rows: Mapping[str, StepRecord], mode: Mode) -> tuple[str, ...]:
    """Keys of what may still be there though it should not."""
    if mode is Mode.SWEEP:
        # What was to be restored and could not be is missing, not left over: drift shows it. What has nothing to be
        # restored to was left over before, and still is where it was not removed.
        left = [
            row
            for row in rows.values()
            if (left_planned(row) if row.step.verb is not Verb.REMOVE else _is_left_over(row)) or _was_not_adopted(row)
        ]
    else:
        left = [row for row in rows.values() if row.step.verb is Verb.REMOVE and row.state is not StepState.DONE]
    return tuple(sorted({row.step.key for row in left}))
