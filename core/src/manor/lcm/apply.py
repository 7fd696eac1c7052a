"""Apply: carry a claimed operation's plan through, wave by wave, in whatever state a crash left it.

Each wave is one commit: outcomes of the steps that finished, and the intent of those that start next. Only then are
those begun, each on a thread of its own, at most ``parallelism`` at a time. Core cannot interrupt a thread: a call that
is not back in its time is given up: it is not tried again when it does come back, what became of it is found out by
observing, and nothing else is done to its resource while it hangs.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from manor.api.plan import Step, Verb
from manor.errors import DeadlineExceeded, Fenced, ManorError, Permanent
from manor.lcm.ending import turn
from manor.lcm.executor import Executor, inverse
from manor.lcm.journal import Claim, Journal
from manor.lcm.lanes import Lane, Lanes, Threads
from manor.lcm.problem import remedy
from manor.lcm.stepping import PATIENCE_S, Frame, Result, carry_out, settle
from manor.lcm.wave import Mode, decide
from manor.model.instance import CancelMode, NsLcmOpOcc, OperationState, StepRecord, StepState

__all__ = ["Apply", "Hung", "Progress", "Stopped"]

_FRESH_S = 1.0
"""How long the last look at the claim is good for: a process that was frozen looks again before it calls anything."""


class Stopped(BaseException):
    """This process ends: the operation stays as the journal has it and is resumed later.

    Not an Exception, so that the durable queue does not take it for the operation's result.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Something worth showing, after it was committed: a step changed, or (no step) the operation did."""

    operation: NsLcmOpOcc
    step: StepRecord | None = None


def _ignore(_progress: Progress) -> None: ...


def _no_moment(_moment: str, _step: str) -> None: ...


@dataclass(kw_only=True, slots=True)
class _Lane:
    """A thread that carries out one step, or looks what became of it."""

    step_id: str
    busy_until: float
    step: Step | None = None
    """What is done, which is the step's inverse where that is taken back; None where that is nothing, or a look."""
    thread: Lane | None = None
    given_up: bool = False
    """It hangs: whatever comes of its call, it may begin no other."""


_Place = tuple[str, str, str, str]
Hung = dict[_Place, dict[Lane, float]]
"""Calls that were left alone, by endpoint, host, kind and key, and until when each should have come back."""


def _place(step: Step) -> _Place:
    return step.endpoint, step.host, step.kind, step.key


@dataclass(frozen=True, kw_only=True)
class Apply:
    """How operations are applied; one serves many at once."""

    journal: Journal
    executor: Executor
    parallelism: int = 8
    grace_s: float = 5.0
    """How much later than its deadline a call may come back before it is given up."""
    poll_s: float = 0.5
    """How often a running operation looks for a cancel and for the loss of its claim."""
    on_progress: Callable[[Progress], None] = _ignore
    moment: Callable[[str, str], None] = _no_moment
    """Told of each boundary; crash tests raise from it."""
    stopping: threading.Event = field(default_factory=threading.Event)
    pause: Callable[[threading.Event, float], object] = threading.Event.wait
    """How to wait between tries of a step: so many seconds, or until the event."""
    clock: Callable[[], float] = time.monotonic
    lanes: Lanes = field(default_factory=Threads)
    hung: Hung = field(default_factory=dict)
    """They outlive the run that began them: a later one, as when the operator rolls back or terminates, may not
    overtake them either."""

    def run(self, operation_id: str) -> OperationState | None:
        """Claim the operation and carry it to where it rests; its state there, None where nothing was left to do.

        Raises Fenced where another worker took it over, Stopped where this process ends, StoreError where the journal
        cannot be written; in each case nothing more is started.
        """
        claim = self.journal.claim(operation_id)
        return _Run(self, claim).to_rest() if claim is not None else None


class _Run:
    """One claim on one operation."""

    def __init__(self, apply: Apply, claim: Claim) -> None:
        self.apply = apply
        self.claim = claim
        self.mode: Mode | None = claim.mode
        self.operation = claim.operation
        self.rows = {record.step.id: record for record in claim.steps}
        self.positions = {record.step.id: position for position, record in enumerate(claim.steps)}
        self.lanes: dict[str, _Lane] = {}
        self.results = apply.lanes.outbox()
        self.forced = threading.Event()
        """A forceful cancel, or the end of this run: running calls are to give up."""
        self.stop_by = float("inf")
        self.fresh_until = apply.clock() + _FRESH_S

    def to_rest(self) -> OperationState:
        finished: list[StepRecord] = []
        try:
            while True:
                begun = self._commit(finished)
                if self.mode is None:
                    return self.operation.state
                for step_id, look_first in begun:
                    self._begin(step_id, look_first=look_first)
                finished = self._wait()
        except ManorError:
            # Another run may follow at once, in this process or another: leave it no calls of ours to meet.
            self.forced.set()
            for lane in self.lanes.values():
                if lane.thread is not None:
                    lane.thread.join(self.apply.grace_s)
            raise
        finally:
            self.forced.set()
            for lane in self.lanes.values():
                self._leave(lane)

    # the commit

    def _commit(self, finished: Sequence[StepRecord]) -> list[tuple[str, bool]]:
        """Write outcomes and intents; the steps to begin, each with whether to look before calling."""
        moment, stopping = self.apply.moment, self.apply.stopping.is_set()
        for record in finished:
            moment("before record", record.step.id)
        changed = {record.step.id: record for record in finished}
        begin: list[tuple[str, bool]] = []
        events: list[OperationState] = []
        with self.apply.journal.wave(self.claim) as wave:
            self.rows.update(changed)
            while self.mode is not None and not stopping:
                decision = decide(self.rows, self.lanes, self.mode, is_cancelled=wave.is_cancelled)
                for step_id in decision.skip:
                    changed[step_id] = self.rows[step_id] = replace(self.rows[step_id], state=StepState.SKIPPED)
                room = self.apply.parallelism - len(self.lanes)
                for step_id in decision.start[: max(room, 0)]:
                    moment("before intent", step_id)
                    begin.append((step_id, self._must_look(self.rows[step_id])))
                    changed[step_id] = self.rows[step_id] = self._intended(self.rows[step_id], wave.now_s)
                if decision.end is None:
                    break
                state = self.operation.state
                bend = turn(state, self.mode, decision.end, self.rows, self.operation.on_failure)
                wave.turn(bend, self.rows.values())
                self.mode = bend.mode
                self.operation = replace(
                    wave.operation,
                    state=bend.states[-1],
                    state_entered_s=wave.now_s,
                    is_at_work=bend.mode is not None,
                    is_cancel_pending=False,
                    error=bend.error,
                    hint=bend.hint,
                    orphans=bend.orphans,
                )
                events.extend(bend.states)
            if changed:
                wave.write([(self.positions[step_id], record) for step_id, record in changed.items()])
        self.fresh_until = self.apply.clock() + _FRESH_S
        if stopping and not self.lanes:
            raise Stopped
        self._tell(changed, events)
        for record in finished:
            moment("after record", record.step.id)
        return begin

    def _must_look(self, record: StepRecord) -> bool:
        """The first try of a step goes straight to the verb, which is idempotent by key; any later one looks first."""
        return record.attempt > 0

    def _intended(self, record: StepRecord, now_s: float) -> StepRecord:
        back = self.mode in (Mode.BACKWARD, Mode.SWEEP)
        return replace(
            record,
            state=StepState.UNDOING if back else StepState.INTENDED,
            attempt=record.attempt if back else record.attempt + 1,
            started_s=record.started_s if back and record.started_s else now_s,
            ended_s=record.ended_s if back else 0.0,
            error=record.error if back else "",
            hint=record.hint if back else "",
            error_class=record.error_class if back else "",
        )

    def _tell(self, changed: dict[str, StepRecord], states: Sequence[OperationState]) -> None:
        for record in changed.values():
            self.apply.on_progress(Progress(operation=self.operation, step=record))
        for state in states:
            self.apply.on_progress(Progress(operation=replace(self.operation, state=state)))

    # the lanes

    def _begin(self, step_id: str, *, look_first: bool) -> None:
        record = self.rows[step_id]
        self.apply.moment("after intent", step_id)
        forward: Step | None = record.step
        if record.state is StepState.UNDOING:
            forward = inverse(record.step)
        lane = self._lane(step_id, forward)
        frame = self._frame(lane, record)

        def work() -> None:
            try:
                result: Result | BaseException
                if forward is None:
                    result = Result(native_id=record.native_id)
                else:
                    late = self._still_hung(lane, forward)
                    result = late or carry_out(forward, self.apply.executor, frame, look_first=look_first)
            except BaseException as error:  # a crash of this thread is one of the whole run
                result = error
            self.results.put((lane, result))

        self._start(lane, work)

    def _lane(self, step_id: str, step: Step | None) -> _Lane:
        return _Lane(step_id=step_id, busy_until=self.apply.clock() + 60.0, step=step)

    def _start(self, lane: _Lane, work: Callable[[], None]) -> None:
        self.lanes[lane.step_id] = lane
        lane.thread = self.apply.lanes.begin(f"manor {lane.step_id}", work)

    def _frame(self, lane: _Lane, record: StepRecord) -> Frame:
        def busy_until(deadline: float) -> None:
            lane.busy_until = deadline

        def sleep(seconds: float) -> None:
            lane.busy_until = self.apply.clock() + seconds + 1.0
            if not lane.given_up:
                self.apply.pause(self.forced, seconds)

        def make_sure() -> None:
            self._make_sure()
            if lane.given_up:
                raise Fenced(f"{lane.step_id} was given up")

        return Frame(
            operation=self.claim.operation.id,
            attempt=record.attempt,
            is_cancelled=lambda: lane.given_up or self.forced.is_set() or self.apply.stopping.is_set(),
            sleep=sleep,
            clock=self.apply.clock,
            # What is best effort has many steps and one dead host: not each waits for it.
            patience_s=PATIENCE_S if self.mode in (Mode.FORWARD, Mode.BACKWARD) else 0.0,
            busy_until=busy_until,
            make_sure=make_sure,
            moment=self.apply.moment,
        )

    def _make_sure(self) -> None:
        """Raise Fenced where the claim was lost since it was last looked at."""
        if self.apply.clock() > self.fresh_until:
            self.apply.journal.cancel_mode(self.claim)
            self.fresh_until = self.apply.clock() + _FRESH_S

    def _still_hung(self, lane: _Lane, step: Step) -> Result | None:
        """Nothing may overtake an earlier call on the same resource: wait for as long as that has time, else fail."""
        if step.verb is Verb.VERIFY:
            return None
        hung = self.apply.hung.get(_place(step), {})
        for thread, until in tuple(hung.items()):
            left_s = max(until - self.apply.clock(), 0.0) + self.apply.grace_s
            lane.busy_until = self.apply.clock() + left_s
            thread.join(left_s)
            if thread.is_alive():
                return Result(
                    error=Permanent(
                        f"{lane.step_id}: an earlier call to {step.endpoint} has not come back",
                        hint="restart Manor once the endpoint answers, then retry or roll back",
                    )
                )
            hung.pop(thread, None)
        return None

    def _wait(self) -> list[StepRecord]:
        """Outcomes, at least one unless it is time to look around; gives up calls that hang."""
        finished = []
        lane: _Lane
        result: Result | BaseException
        try:
            timeout = self.apply.poll_s if self.lanes else 0.0
            while True:
                lane, result = self.results.get(timeout > 0.0, timeout)
                timeout = 0.0
                if self.lanes.get(lane.step_id) is not lane:
                    continue  # given up before
                del self.lanes[lane.step_id]
                if isinstance(result, BaseException):
                    raise result
                if result.error is not None and self.apply.stopping.is_set():
                    continue  # it gave up because we stop: the journal keeps it intended, to be looked at
                finished.append(self._outcome(self.rows[lane.step_id], result))
        except queue.Empty:
            pass
        if not finished:
            self._look_around()
        return finished

    def _look_around(self) -> None:
        now = self.apply.clock()
        if self.apply.stopping.is_set():
            self.stop_by = min(self.stop_by, now + self.apply.grace_s)
            if now >= self.stop_by:
                raise Stopped
        cancel = self.apply.journal.cancel_mode(self.claim)
        self.fresh_until = now + _FRESH_S
        if cancel is CancelMode.FORCEFUL and not self.forced.is_set():
            self.forced.set()
            for lane in self.lanes.values():
                lane.busy_until = min(lane.busy_until, now)
        for lane in list(self.lanes.values()):
            if now > lane.busy_until + self.apply.grace_s:
                self._give_up(lane)

    def _give_up(self, lane: _Lane) -> None:
        """The call hangs: leave its thread, and find out by observing what became of it, once."""
        self._leave(lane)
        record, look = self.rows[lane.step_id], lane.step
        error = DeadlineExceeded(
            f"{lane.step_id}: {record.step.endpoint} has not answered in time", hint=f"check {record.step.endpoint}"
        )
        fresh = self._lane(lane.step_id, None)
        frame = self._frame(fresh, record)

        def work() -> None:
            result: Result | BaseException
            try:
                result = settle(look, self.apply.executor, frame, error) if look else Result(error=error)
            except BaseException as crash:  # as in _begin
                result = crash
            self.results.put((fresh, result))

        self._start(fresh, work)

    def _leave(self, lane: _Lane) -> None:
        """Whatever comes of it, it begins no other call, and nobody overtakes the one that it is at."""
        lane.given_up = True
        step = lane.step
        if step is not None and step.verb is not Verb.VERIFY and lane.thread is not None and lane.thread.is_alive():
            self.apply.hung.setdefault(_place(step), {})[lane.thread] = lane.busy_until

    def _outcome(self, record: StepRecord, result: Result) -> StepRecord:
        undoing = record.state is StepState.UNDOING
        now_s = time.time()
        if result.error is None:
            state = StepState.UNDONE if undoing else StepState.DONE
            return replace(record, state=state, ended_s=now_s, native_id=result.native_id or record.native_id)
        error: ManorError = result.error
        return replace(
            record,
            state=StepState.UNDO_FAILED if undoing else StepState.FAILED,
            ended_s=now_s,
            error=error.message,
            hint=error.hint or remedy(error, record.step),
            error_class=type(error).__name__,
        )
