"""One step, carried out to a certain end: done, or failed with the reason. No journal, no scheduling.

What an error calls for is in its class: *Transient* is tried again a few times, *Indeterminate* (and anything unknown)
is observed before anything else, all others end the step. A step that the journal found begun is observed first, so
that what a dead process did is not done twice. The retries are tenacity's; the rules here only say when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from manor.api.context import CallContext
from manor.api.plan import Step, Verb
from manor.api.resources import Observed, Phase, ResourceKind, spec_from_json
from manor.errors import DeadlineExceeded, DriverError, Indeterminate, ManorError, StoreError, Transient
from manor.lcm.drifting import is_as_wanted
from manor.lcm.executor import Executor

__all__ = ["ATTEMPTS", "Frame", "Result", "carry_out", "settle"]

ATTEMPTS = 4
"""How often a step is tried while its driver says that nothing happened."""

OBSERVE_S = 30.0
"""Time to find out what became of a call, beyond the step's own deadline."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0


def _nothing(_moment: str, _step: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What a step runs in."""

    operation: str
    attempt: int
    is_cancelled: Callable[[], bool]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    busy_until: Callable[[float], None] = lambda _deadline: None
    """Told the monotonic time by which each call has to be back, so that a hung one is noticed."""
    make_sure: Callable[[], None] = lambda: None
    """Called before each call; raises Fenced where this worker may not make it any more."""
    moment: Callable[[str, str], None] = _nothing
    """Told ``before call`` and ``after call`` with the step's id; crash tests raise from it."""

    def context(self, seconds: float, patience_s: float | None = None) -> CallContext:
        """A context for one call."""
        deadline = self.clock() + seconds
        self.busy_until(deadline)
        return CallContext(
            deadline=deadline,
            clock=self.clock,
            operation=self.operation,
            attempt=self.attempt,
            patience_s=patience_s,
            is_cancelled=self.is_cancelled,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How a step ended; no error means that it is true now."""

    error: ManorError | None = None
    native_id: str = ""


def carry_out(step: Step, executor: Executor, frame: Frame, *, look_first: bool) -> Result:
    """Carry the step out. ``look_first`` where an earlier try may have had its effect.

    Raises StoreError alone, as Fenced: nothing can be written of what became of the step, so nothing is concluded.
    """
    try:
        if look_first and (seen := _already(step, executor, frame)) is not None:
            return seen
        return _tried(step, executor, frame)
    except StoreError:
        raise
    except ManorError as error:
        return Result(error=error)


def settle(step: Step, executor: Executor, frame: Frame, error: ManorError) -> Result:
    """What became of a call that never came back: true by now, or failed with ``error``. Never calls it again."""
    if step.verb is Verb.QUIESCE:
        return Result()  # it had its time
    try:
        return _already(step, executor, frame) or Result(error=error)
    except ManorError:
        return Result(error=error)


def _tried(step: Step, executor: Executor, frame: Frame) -> Result:
    try:
        return _once(step, executor, frame)
    except Transient as error:
        first = error
    # Most steps succeed at once; only now is the retry library worth its import.
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        stop=lambda state: state.attempt_number >= ATTEMPTS - 1 or frame.is_cancelled(),
        wait=_wait,
        sleep=frame.sleep,
        reraise=True,
    )
    frame.sleep(max(first.retry_after_s, _FIRST_WAIT_S))
    if frame.is_cancelled():
        raise first
    return retrying(_once, step, executor, frame)


def _wait(state: object) -> float:
    import tenacity

    assert isinstance(state, tenacity.RetryCallState)
    backoff = tenacity.wait_exponential(multiplier=2 * _FIRST_WAIT_S, max=_LONGEST_WAIT_S)(state)
    error = state.outcome.exception() if state.outcome else None
    return max(backoff, error.retry_after_s if isinstance(error, Transient) else 0.0)


def _once(step: Step, executor: Executor, frame: Frame) -> Result:
    """One call; what cannot be known from its error is observed."""
    frame.make_sure()
    frame.moment("before call", step.id)
    try:
        seen = executor.perform(step, frame.context(step.deadline_s, step.patience_s))
    except Indeterminate as error:
        doubt: Indeterminate = error
    except ManorError:
        raise
    except Exception as error:  # whatever a driver raises that is not ours may have had its effect
        doubt = Indeterminate(f"{step.id}: {type(error).__name__}: {error}".splitlines()[0])
        doubt.__cause__ = error
    else:
        frame.moment("after call", step.id)
        return Result(native_id=seen.native_id if seen else "")
    frame.moment("after call", step.id)
    if step.verb is Verb.VERIFY or (step.verb is Verb.CONFIGURE and isinstance(doubt, DeadlineExceeded)):
        raise doubt
    if (already := _already(step, executor, frame)) is not None:
        return already
    raise Transient(doubt.message, retry_after_s=_FIRST_WAIT_S, hint=doubt.hint) from doubt


def _already(step: Step, executor: Executor, frame: Frame) -> Result | None:
    """A result where the world is as the step wants it, None where it is known not to be. Raises Indeterminate."""
    if step.verb not in (Verb.ENSURE, Verb.REMOVE):
        return None
    try:
        seen = executor.observe(step, frame.context(OBSERVE_S))
    except ManorError as error:
        raise _unknown(step, error.message, error) from error
    except Exception as error:  # a driver that cannot even look leaves us not knowing
        raise _unknown(step, f"{type(error).__name__}: {error}".splitlines()[0], error) from error
    if seen is not None and seen.phase is Phase.UNKNOWN:
        raise _unknown(step, str(seen.detail.get("reason", "its host does not answer")), None)
    if step.verb is Verb.REMOVE:
        return Result() if seen is None else None
    if seen is None or not _is_made(step, seen):
        return None
    return Result(native_id=seen.native_id)


def _unknown(step: Step, reason: str, cause: BaseException | None) -> Indeterminate:
    hint = cause.hint if isinstance(cause, DriverError) else ""
    return Indeterminate(
        f"{step.kind} {step.key}: cannot tell what became of it: {reason}",
        hint=hint or f"check {step.endpoint}, then retry or roll back",
    )


def _is_made(step: Step, seen: Observed) -> bool:
    """Whether an ensure has had its effect. A segment or chain is made though its ports are still to come."""
    assert step.spec is not None
    spec = spec_from_json(step.spec)
    if seen.phase is Phase.DEGRADED and spec.kind in (ResourceKind.SEGMENT, ResourceKind.CHAIN):
        from manor.api.resources import spec_hash

        return seen.spec_hash == spec_hash(spec)
    return is_as_wanted(spec, seen)
