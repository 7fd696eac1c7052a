"""One step, carried out to a certain end: done, or failed with the reason. No journal, no scheduling.

What an error calls for is in its class: *Transient* is tried again for a while, *Indeterminate* (and anything unknown)
is observed before anything else, for as long; all others end the step. What was observed not to be done is tried a few
times: its host is there. A step that the journal found begun is observed first, so that what a dead process did is not
done twice. A daemon that is restarted in the middle is waited for: its step neither fails nor is done twice. Nothing is
tried again after a cancel. The retries are tenacity's; the rules here only say when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from manor.api.context import CallContext
from manor.api.plan import Step, Verb
from manor.api.resources import Observed, Phase, ResourceKind
from manor.api.specs import spec_from_json
from manor.errors import DeadlineExceeded, DriverError, Indeterminate, ManorError, StoreError, Transient
from manor.lcm.drifting import is_as_wanted
from manor.lcm.executor import Executor

__all__ = ["ATTEMPTS", "PATIENCE_S", "Frame", "Result", "carry_out", "settle"]

ATTEMPTS = 4
"""How often a step is tried at least while its driver says that nothing happened, and at most where it was seen."""

PATIENCE_S = 60.0
"""How long after its first failure: what a hypervisor, a switch or an agent takes to start again, and time to spare."""

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
    patience_s: float = PATIENCE_S
    """How long who does not answer is waited for; a step has its few tries also without."""
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
        return _Tries(step, executor, frame, in_doubt=look_first).to_end()
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


class _Tries:
    """A step's tries, and whether the last one may have had its effect."""

    def __init__(self, step: Step, executor: Executor, frame: Frame, *, in_doubt: bool) -> None:
        self._step, self._executor, self._frame = step, executor, frame
        self._in_doubt = in_doubt
        self._not_done = 0
        """How often it was seen not to be done after a call."""
        self._error: DriverError | None = None
        self._failed_s = self._waited_s = 0.0

    def to_end(self) -> Result:
        try:
            return self._once()
        except DriverError as error:
            if not self._goes_on(error):
                raise
            self._failed_s, first = self._frame.clock(), error
        # Most steps succeed at once; only now is the retry library worth its import.
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._goes_on),
            stop=lambda state: self._is_over(state.attempt_number + 1),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        self._sleep(_pause_s(first))
        return retrying(self._once)

    def _goes_on(self, error: BaseException) -> bool:
        """Whether nothing happened, or nobody can tell yet, and it is still wanted."""
        if self._frame.is_cancelled():
            return False
        if isinstance(error, Transient):
            return True
        return self._in_doubt and isinstance(error, Indeterminate) and _may_pass(error.__cause__)

    def _is_over(self, tries: int) -> bool:
        if self._frame.is_cancelled() or self._not_done >= ATTEMPTS:
            return True
        spent_s = max(self._waited_s, self._frame.clock() - self._failed_s)
        return tries >= ATTEMPTS and spent_s >= self._frame.patience_s

    def _sleep(self, seconds: float) -> None:
        self._waited_s += seconds
        self._frame.sleep(seconds)
        self._end_if_cancelled()

    def _end_if_cancelled(self) -> None:
        """Who cancels wakes the sleepers: they end with what failed last."""
        if self._error is not None and self._frame.is_cancelled():
            raise self._error

    def _once(self) -> Result:
        try:
            return self._tried()
        except DriverError as error:
            self._error = error
            raise

    def _tried(self) -> Result:
        """One call; what cannot be known from its error is observed, and so is what was not known before it."""
        if self._in_doubt:
            if (seen := self._looked()) is not None:
                return seen
            self._end_if_cancelled()
        step, frame = self._step, self._frame
        frame.make_sure()
        frame.moment("before call", step.id)
        try:
            made = self._executor.perform(step, frame.context(step.deadline_s, step.patience_s))
        except Indeterminate as error:
            doubt: Indeterminate = error
        except ManorError:
            raise
        except Exception as error:  # whatever a driver raises that is not ours may have had its effect
            doubt = Indeterminate(f"{step.id}: {type(error).__name__}: {error}".splitlines()[0])
            doubt.__cause__ = error
        else:
            frame.moment("after call", step.id)
            return Result(native_id=made.native_id if made else "")
        frame.moment("after call", step.id)
        if step.verb is Verb.VERIFY or (step.verb is Verb.CONFIGURE and isinstance(doubt, DeadlineExceeded)):
            raise doubt
        self._in_doubt = True
        if (seen := self._looked()) is not None:
            return seen
        self._not_done += 1
        raise Transient(doubt.message, retry_after_s=_FIRST_WAIT_S, hint=doubt.hint) from doubt

    def _looked(self) -> Result | None:
        seen = _already(self._step, self._executor, self._frame)
        self._in_doubt = False
        return seen


def _wait(state: object) -> float:
    import tenacity

    assert isinstance(state, tenacity.RetryCallState)
    backoff: float = tenacity.wait_exponential(multiplier=2 * _FIRST_WAIT_S, max=_LONGEST_WAIT_S)(state)
    error = state.outcome.exception() if state.outcome else None
    return max(backoff, _pause_s(error))


def _pause_s(error: BaseException | None) -> float:
    """As long as the driver says, within reason: it may be a stranger's."""
    return min(max(_FIRST_WAIT_S, error.retry_after_s if isinstance(error, Transient) else 0.0), PATIENCE_S)


def _already(step: Step, executor: Executor, frame: Frame) -> Result | None:
    """A result where the world is as the step wants it, None where it is known not to be.

    Raises Indeterminate, and StoreError.
    """
    if step.verb not in (Verb.ENSURE, Verb.REMOVE):
        return None
    try:
        seen = executor.observe(step, frame.context(OBSERVE_S))
    except StoreError:
        raise
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


def _may_pass(cause: BaseException | None) -> bool:
    """Whether looking again may tell: a refusal stays one, and what is not ours is as good as Indeterminate."""
    return not isinstance(cause, ManorError) or isinstance(cause, Transient | Indeterminate)


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
        from manor.api.specs import spec_hash

        return seen.spec_hash == spec_hash(spec)
    return is_as_wanted(spec, seen)
