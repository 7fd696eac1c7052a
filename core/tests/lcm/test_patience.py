"""How long a step is tried, and when not once more: a cancel, what was seen not to be done, what cannot pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lcm_world import FakeExecutor, Stage, service

from manor.api import CallContext, Observed, OperationKind, Phase, ResourceKind, ResourceRef, Step, Verb
from manor.errors import (
    Indeterminate,
    ManorError,
    Permanent,
    PluginError,
    StoreError,
    Transient,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from manor.lcm.states import Trigger
from manor.lcm.stepping import ATTEMPTS, PATIENCE_S, Frame, carry_out
from manor.model.instance import OnFailure, OperationState, StepState

REMOVE = Step(id="remove node n", verb=Verb.REMOVE, kind="node", key="n", endpoint="vim:lab", host="h", deadline_s=60)
SCRIPT = Step(id="configure vnf v", verb=Verb.CONFIGURE, kind="vnf", key="v", endpoint="vnfm:generic", deadline_s=60)
THERE = Observed(
    ref=ResourceRef(kind=ResourceKind.NODE, key="n", host="h"),
    owner="manor/test",
    native_id="1",
    phase=Phase.ACTIVE,
    spec_hash="",
)
AWAY = Transient("the connection is refused", retry_after_s=1.0)


class Site:
    """A clock, and an endpoint that answers calls and looks as told; each call lasts so long."""

    def __init__(self, answer: ManorError | None, seen: ManorError | Observed | None = THERE, *, lasts_s: float = 0.0):
        self.answer, self.seen, self.lasts_s = answer, seen, lasts_s
        self.now_s = self.slept_s = 0.0
        self.calls = self.looks = 0
        self.is_cancelled = False
        self.meanwhile: Callable[[], None] = lambda: None
        self.while_it_looks: Callable[[], None] = lambda: None

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        self.calls += 1
        self.now_s += self.lasts_s
        if self.answer is not None:
            raise self.answer
        return None

    def observe(self, step: Step, ctx: CallContext) -> Observed | None:
        self.looks += 1
        self.while_it_looks()
        if isinstance(self.seen, ManorError):
            raise self.seen
        return self.seen

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept_s += seconds
        self.meanwhile()

    def carried(self, step: Step, *, look_first: bool = False, **frame: float) -> ManorError | None:
        told = Frame(
            operation="o",
            attempt=1,
            is_cancelled=lambda: self.is_cancelled,
            sleep=self.sleep,
            clock=lambda: self.now_s,
            **frame,  # type: ignore[arg-type]
        )
        return carry_out(step, self, told, look_first=look_first).error

    def cancel(self) -> None:
        self.is_cancelled = True


@pytest.mark.parametrize("pauses", [1, 2, 3])
def test_a_cancel_in_a_pause_begins_no_other_call(pauses: int) -> None:
    site = Site(AWAY)
    left = iter(range(pauses))

    def in_the_last() -> None:
        if next(left) == pauses - 1:
            site.answer = None  # it would be done now
            site.cancel()

    site.meanwhile = in_the_last
    assert site.carried(REMOVE) is AWAY
    assert site.calls == pauses
    assert site.looks == 0


def test_a_cancel_while_it_looks_begins_no_other_call() -> None:
    """The first look found nothing out; the cancel comes with the second, which says that it is not done."""
    site = Site(Indeterminate("the connection was lost"), Unreachable("h does not answer", hosts={"h": "gone"}))

    def back_and_cancelled() -> None:
        if site.looks == 2:
            site.seen = THERE
            site.cancel()

    site.while_it_looks = back_and_cancelled
    assert isinstance(site.carried(REMOVE), Indeterminate)
    assert (site.calls, site.looks) == (1, 2)


def test_the_minute_begins_with_the_first_failure() -> None:
    """A call of nearly a minute loses its connection: its host is waited for as long as any."""
    site = Site(AWAY, lasts_s=59.0)

    def quick_from_now_on() -> None:
        site.lasts_s = 0.0
        if site.slept_s > 0.8 * PATIENCE_S:
            site.answer = None

    site.meanwhile = quick_from_now_on
    assert site.carried(REMOVE) is None


def test_what_a_host_says_is_not_done_is_tried_a_few_times() -> None:
    site = Site(Indeterminate("the connection was lost"))
    assert isinstance(site.carried(REMOVE), Transient)
    assert (site.calls, site.looks) == (ATTEMPTS, ATTEMPTS)
    assert site.slept_s < PATIENCE_S / 10


def test_a_script_whose_end_is_not_known_is_run_a_few_times() -> None:
    site = Site(Indeterminate("no answer"))
    assert isinstance(site.carried(SCRIPT), Transient)
    assert site.calls == ATTEMPTS


def test_what_was_tried_while_its_host_was_away_does_not_count_once_it_is_back() -> None:
    site = Site(AWAY)

    def back() -> None:
        if site.slept_s > PATIENCE_S / 2:
            site.answer = Indeterminate("it stumbled") if site.answer is AWAY else None

    site.meanwhile = back
    assert site.carried(REMOVE) is None


@pytest.mark.parametrize("kind", [Unauthorized, Permanent, Unsupported, PluginError])
@pytest.mark.parametrize("look_first", [False, True])
def test_a_look_that_cannot_succeed_is_not_taken_again(kind: type[ManorError], look_first: bool) -> None:
    site = Site(Indeterminate("the connection was lost"), kind("no"))
    error = site.carried(REMOVE, look_first=look_first)
    assert isinstance(error, Indeterminate)
    assert error.message == "node n: cannot tell what became of it: no"
    assert (site.calls, site.looks, site.slept_s) == (0 if look_first else 1, 1, 0.0)


def test_a_database_that_blinks_while_it_looks_concludes_nothing() -> None:
    with pytest.raises(StoreError):
        Site(None, StoreError("locked")).carried(REMOVE, look_first=True)


@pytest.mark.parametrize("seen", [AWAY, Indeterminate("no answer"), dataclasses.replace(THERE, phase=Phase.UNKNOWN)])
def test_a_host_that_may_come_back_is_looked_at_for_a_minute(seen: ManorError | Observed) -> None:
    site = Site(Indeterminate("the connection was lost"), seen)
    assert isinstance(site.carried(REMOVE), Indeterminate)
    assert site.calls == 1
    assert site.slept_s >= PATIENCE_S


@pytest.mark.parametrize("retry_after_s", [86400.0, float("inf"), float("nan"), -1.0])
def test_a_driver_that_says_to_come_back_tomorrow_is_asked_within_the_minute(retry_after_s: float) -> None:
    site = Site(Transient("busy", retry_after_s=retry_after_s))
    assert isinstance(site.carried(REMOVE), Transient)
    assert PATIENCE_S <= site.slept_s <= ATTEMPTS * PATIENCE_S


def test_without_patience_a_few_tries_are_all() -> None:
    site = Site(AWAY)
    assert site.carried(REMOVE, patience_s=0.0) is AWAY
    assert site.calls == ATTEMPTS


@pytest.fixture
def stage(fast_path: Path) -> Iterator[Stage]:
    stage = Stage(fast_path / "manor.db")
    stage.create()
    yield stage
    stage.close()


class Dying(FakeExecutor):
    """Its host dies at the first call for a machine, and stays dead."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.world)
        self.is_dead = False

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        self.is_dead = self.is_dead or (step.verb is Verb.ENSURE and step.kind == ResourceKind.NODE)
        if self.is_dead:
            raise AWAY
        return super().perform(step, ctx)

    def observe(self, step: Step, ctx: CallContext) -> Observed | None:
        if self.is_dead:
            raise AWAY
        return super().observe(step, ctx)


def test_who_gives_an_operation_up_does_not_wait_a_minute_for_each_thing_left(stage: Stage) -> None:
    waited_s: list[float] = []
    operation = stage.submit(service(nodes=2), OperationKind.INSTANTIATE, on_failure=OnFailure.HOLD)
    options = {"executor": Dying(stage), "pause": lambda _event, seconds: waited_s.append(seconds)}
    stage.work(**options)
    assert stage.operations.get(operation.id)[0].state is OperationState.FAILED_TEMP
    assert sum(waited_s) >= PATIENCE_S

    waited_s.clear()
    stage.operations.act(operation.id, Trigger.FAIL)
    stage.work(**options)
    failed, rows = stage.operations.get(operation.id)
    assert failed.state is OperationState.FAILED
    left = [row for row in rows if row.state is StepState.UNDO_FAILED]
    assert left
    assert failed.orphans
    assert sum(waited_s) / len(left) < PATIENCE_S / 10
