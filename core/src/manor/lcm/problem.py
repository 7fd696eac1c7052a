"""What went wrong in an operation, in the terms of ETSI's ProblemDetails and with what an operator asks next: which
step, of which resource, on which host, by which driver, why, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manor.api.plan import Step, Verb
from manor.errors import Conflict, ManorError, NotFound, Permanent, QuotaExceeded, Transient, Unauthorized, Unsupported
from manor.lcm.states import CANCELLABLE, Trigger, allowed_in
from manor.lcm.wave import lost
from manor.model.failing import worst
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState

__all__ = ["Problem", "problem_of", "remedy", "ways"]

_REMEDIES: tuple[tuple[type[ManorError], str], ...] = (
    (Transient, "see what keeps {endpoint} busy, then retry"),
    (Unsupported, "ask for less, or place it elsewhere: manor vim list"),
    (Conflict, "see what is there now with manor ns drift, then roll back and plan again"),
    (NotFound, "see what is missing with manor ns drift, then roll back and plan again"),
    (QuotaExceeded, "free something, or place it elsewhere: manor vim list"),
    (Unauthorized, "correct the credentials of {endpoint}, then retry"),
    (Permanent, "mend the cause, then retry, or roll back"),
)
"""What to do where the driver itself does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """``error`` of an operation occurrence."""

    title: str
    """What the operation was at, as ``ensure node``."""
    detail: str
    """The cause in the driver's words."""
    step: str
    resource: str
    """Its key; that of the VNF, where a script or an action in it went wrong."""
    kind: str
    host: str
    """Of what it was about; several where it was about several machines, and empty where none is known."""
    endpoint: str
    driver: str
    """Name of the endpoint's driver."""
    cause: str
    """The class of the error, which says what it means (:mod:`manor.errors`)."""
    hint: str
    attempt: int
    undoing: bool
    """Whether it went wrong while the step was taken back."""


def problem_of(
    records: Iterable[StepRecord], driver_of: Callable[[str], str], placement: Mapping[str, str] | None = None
) -> Problem | None:
    """The failure that stands in the way: that of an undo before all; None where no step failed.

    ``placement`` is ``<vim>/<host>`` by node key, for steps that are about a VNF.
    """
    found = worst(records)
    if found is None:
        return None
    step = found.step
    return Problem(
        title=f"{step.verb} {step.kind}",
        detail=found.error,
        step=step.id,
        resource=_resource(step),
        kind=step.kind,
        host=step.host or ", ".join(sorted(set(_hosts(step, placement or {})))),
        endpoint=step.endpoint,
        driver=driver_of(step.endpoint),
        cause=found.error_class,
        hint=found.hint,
        attempt=found.attempt,
        undoing=found.state is StepState.UNDO_FAILED,
    )


def _resource(step: Step) -> str:
    view = (step.spec or {}).get("view", {})
    return str(view.get("id") or step.key) if step.verb is Verb.CONFIGURE else step.key


def _hosts(step: Step, placement: Mapping[str, str]) -> Iterator[str]:
    """Hosts of the ports of a link or chain, or of the machines of a VNF."""
    for content in (step.spec, step.before):
        yield from _named(content or {})
        for key in (content or {}).get("nodes", {}):
            yield from filter(None, [placement.get(key, "").rpartition("/")[2]])


def _named(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        if isinstance(host := content.get("host"), str) and host:
            yield host
        for part in content.values():
            yield from _named(part)
    elif isinstance(content, list | tuple):
        for part in content:
            yield from _named(part)


def remedy(error: ManorError, step: Step) -> str:
    """What to do about an error that does not say so itself."""
    known = (text for cls, text in _REMEDIES if isinstance(error, cls))
    return next(known, "check {endpoint}, then retry or roll back").format(endpoint=step.endpoint)


def ways(operation: NsLcmOpOcc, records: Iterable[StepRecord] = ()) -> tuple[str, ...]:
    """What can be done with the operation now: the legal triggers, and ``watch`` and ``cancel`` of one that runs.

    One that is failed for good can be watched only, until what it leaves is cleaned up.
    """
    if operation.state is OperationState.FAILED_TEMP and operation.is_at_work:
        return ("watch",)
    handled = (Trigger.RETRY, Trigger.ROLLBACK, Trigger.CONTINUE, Trigger.FAIL)
    legal = [str(trigger) for trigger in handled if operation.state in allowed_in(trigger)]
    if operation.state is OperationState.FAILED_TEMP and lost(records):
        legal.remove(Trigger.ROLLBACK)
    return (*legal, *(("watch", "cancel") if operation.state in CANCELLABLE else ()))
