"""What went wrong in an operation, in the terms of ETSI's ProblemDetails and with what an operator asks next: which
step, of which resource, on which host, by which driver, why, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from manor.lcm.ending import worst
from manor.lcm.states import CANCELLABLE, NS_OPERATIONS, Trigger, allowed_in
from manor.lcm.wave import lost
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState

__all__ = ["Problem", "problem_of", "ways"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """``error`` of an operation occurrence."""

    title: str
    """What the operation was at, as ``ensure node``."""
    detail: str
    """The cause in the driver's words."""
    step: str
    resource: str
    """Its key."""
    kind: str
    host: str
    endpoint: str
    driver: str
    """Name of the endpoint's driver."""
    cause: str
    """The class of the error, which says what it means (:mod:`manor.errors`)."""
    hint: str
    attempt: int
    undoing: bool
    """Whether it went wrong while the step was taken back."""


def problem_of(records: Iterable[StepRecord], driver_of: Callable[[str], str]) -> Problem | None:
    """The failure that stands in the way: that of an undo before all; None where no step failed."""
    found = worst(records)
    if found is None:
        return None
    step = found.step
    return Problem(
        title=f"{step.verb} {step.kind}",
        detail=found.error,
        step=step.id,
        resource=step.key,
        kind=step.kind,
        host=step.host,
        endpoint=step.endpoint,
        driver=driver_of(step.endpoint),
        cause=found.error_class,
        hint=found.hint,
        attempt=found.attempt,
        undoing=found.state is StepState.UNDO_FAILED,
    )


def ways(operation: NsLcmOpOcc, records: Iterable[StepRecord] = ()) -> tuple[str, ...]:
    """What can be done with the operation now: the legal triggers, and ``watch`` and ``cancel`` of one that runs."""
    handled = (Trigger.RETRY, Trigger.ROLLBACK, Trigger.CONTINUE, Trigger.FAIL)
    legal = [str(trigger) for trigger in handled if operation.state in allowed_in(trigger, NS_OPERATIONS)]
    if operation.state is OperationState.FAILED_TEMP and lost(records):
        legal.remove(Trigger.ROLLBACK)
    return (*legal, *(("watch", "cancel") if operation.state in CANCELLABLE else ()))
