"""How an operation that did not end well is told: which step, of what, where, by which driver, why, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manor.errors import ManorError, OperationFailed
from manor.model.instance import EndpointKind, NsLcmOpOcc, OperationState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manor.lcm.problem import Problem
    from manor.lcm.runtime import Runtime
    from manor.model.instance import StepRecord

__all__ = ["failure", "hint_of", "problem_in"]


def problem_in(rt: Runtime, operation: NsLcmOpOcc, steps: Sequence[StepRecord]) -> Problem | None:
    """What stands in the operation's way; None where no step failed."""
    from manor.lcm.problem import problem_of
    from manor.store import instances, operations

    with rt.store.read() as tx:
        meant = operations.target(tx, operation.id).get("desired") or {}
        try:
            had = instances.desired(tx, operation.ns_id)
        except ManorError:
            had = None  # the service is deleted since
    placement = {**(had.placement if had else {}), **meant.get("placement", {})}
    return problem_of(steps, lambda endpoint: _driver(rt, endpoint), placement)


def _driver(rt: Runtime, endpoint: str) -> str:
    """Name of the driver behind an endpoint; that of the endpoint where it is not registered any more."""
    kind, _, name = endpoint.partition(":")
    try:
        return rt.endpoint(EndpointKind(kind), name).driver
    except (ManorError, ValueError):
        return name


def hint_of(operation: NsLcmOpOcc, problem: Problem | None) -> str:
    """What to do about what went wrong, and what the operation's state adds to that."""
    said = problem.hint if problem else ""
    return "; ".join(dict.fromkeys(filter(None, (said, operation.hint))))


def failure(operation: NsLcmOpOcc, problem: Problem | None) -> OperationFailed:
    """The error that a command ends with."""
    what = f"{operation.operation} {operation.ns_name}"
    why = f": {operation.error}" if operation.error else ""
    if problem is not None and problem.detail in operation.error:
        place = f" on {problem.host}" if problem.host and problem.host not in operation.error else ""
        why += f" ({problem.cause} of driver {problem.driver}{place})"
    hint = hint_of(operation, problem)
    if operation.state is OperationState.ROLLED_BACK:
        message = f"{what} failed and was rolled back{why}"
    elif operation.state is OperationState.FAILED_TEMP:
        message = f"{what} stopped{why}"
        ways = f"manor op retry {operation.id}, or manor op rollback {operation.id}"
        hint = f"{hint}; then {ways}" if hint else ways
    else:
        message = f"{what} ended {operation.state}{why}"
    return OperationFailed(message, operation_id=operation.id, hint=hint or f"manor op timeline {operation.id}")
