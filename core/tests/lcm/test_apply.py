"""Plans carried through on the fakes: to the end, back, and past every kind of misfortune."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lcm_world import OWNER, SID, FakeExecutor, Stage, join_lanes, keys_of, nothing, service

from manor.api import CallContext, Observed, OperationKind, Phase, Step, Verb
from manor.errors import Fenced, PlanRefused, StoreError, Transient, UsageError
from manor.fakes import Action, Crash, Fault, When
from manor.lcm.apply import Progress, Stopped
from manor.lcm.journal import Claim, Journal
from manor.lcm.states import Trigger
from manor.model.instance import CancelMode, NsState, OnFailure, OperationState, StepState

INSTANTIATE, TERMINATE = OperationKind.INSTANTIATE, OperationKind.TERMINATE


@pytest.fixture
def stage(fast_path: Path) -> Iterator[Stage]:
    stage = Stage(fast_path / "manor.db")
    stage.create()
    yield stage
    stage.close()


def states(stage: Stage, operation_id: str) -> dict[str, StepState]:
    return {record.step.id: record.state for record in stage.operations.get(operation_id)[1]}


def test_instantiate_then_terminate_leaves_nothing_but_the_shared_image(stage: Stage) -> None:
    wanted = service(nodes=3, chain=True)
    done = stage.run(wanted, INSTANTIATE)
    assert (done.state, done.error) == (OperationState.COMPLETED, "")
    assert stage.there() == keys_of(wanted)
    assert stage.ns().state is NsState.INSTANTIATED
    assert stage.desired() == wanted
    assert stage.plan(wanted, OperationKind.REPAIR).steps == ()

    gone = stage.run(nothing(), TERMINATE)
    assert gone.state is OperationState.COMPLETED
    assert stage.there() == set()
    assert stage.desired() is None
    assert stage.ns().state is NsState.NOT_INSTANTIATED


def test_every_step_is_called_once_and_after_what_it_depends_on(stage: Stage) -> None:
    stage.run(service(nodes=2), INSTANTIATE)
    effects = [moment.key for moment in stage.world.calls if moment.verb in ("ensure", "apply")]
    assert len(effects) == len(set(effects))
    node, volume, network = f"{SID}/vnf/v0/main-0", f"{SID}/vnf/v0/main-0/disk", f"{SID}/vl/lan@host-1"
    assert effects.index(node) > max(effects.index(volume), effects.index(network))


def test_a_step_that_fails_for_good_rolls_the_service_back(stage: Stage) -> None:
    stage.world.inject(Fault(verb="ensure", kind="node", key="*v1*", error="QuotaExceeded", times=0))
    operation = stage.run(service(nodes=2), INSTANTIATE)
    assert operation.state is OperationState.ROLLED_BACK
    assert "v1" in operation.error
    assert "vim:lab on host-1" in operation.error
    assert stage.there() == set()
    assert stage.ns().state is NsState.NOT_INSTANTIATED


def test_hold_stops_in_failed_temp_and_retry_finishes(stage: Stage) -> None:
    wanted = service()
    stage.world.inject(Fault(verb="ensure", kind="node", error="Permanent"))
    held = stage.run(wanted, INSTANTIATE, on_failure=OnFailure.HOLD)
    assert held.state is OperationState.FAILED_TEMP
    with pytest.raises(UsageError, match="has an operation in FAILED_TEMP"):
        stage.submit(wanted, INSTANTIATE)
    stage.operations.act(held.id, Trigger.RETRY)
    stage.work()
    assert stage.operations.get(held.id)[0].state is OperationState.COMPLETED
    assert stage.there() == keys_of(wanted)


def test_rollback_and_fail_from_failed_temp(stage: Stage) -> None:
    for trigger, end in ((Trigger.ROLLBACK, OperationState.ROLLED_BACK), (Trigger.FAIL, OperationState.FAILED)):
        stage.world.inject(Fault(verb="ensure", kind="node", error="Permanent"))
        held = stage.run(service(), INSTANTIATE, on_failure=OnFailure.HOLD)
        stage.operations.act(held.id, trigger)
        with pytest.raises(UsageError):
            stage.operations.act(held.id, Trigger.RETRY)
        stage.work()
        after = stage.operations.get(held.id)[0]
        assert (after.state, after.orphans) == (end, ())
        assert stage.there() == set()
        assert stage.ns().state is NsState.NOT_INSTANTIATED


def test_continue_passes_over_what_failed(stage: Stage) -> None:
    stage.world.inject(Fault(verb="ensure", kind="node", key="*v1*", error="Permanent", times=0))
    held = stage.run(service(nodes=2), INSTANTIATE, on_failure=OnFailure.HOLD)
    stage.operations.act(held.id, Trigger.CONTINUE)
    stage.work()
    after = stage.operations.get(held.id)[0]
    assert after.state is OperationState.PARTIALLY_COMPLETED
    assert f"{SID}/vnf/v0/main-0" in stage.there()
    assert f"{SID}/vnf/v1/main-0" not in stage.there()
    assert states(stage, held.id)[f"verify vnf {SID}/vnf/v1"] is StepState.SKIPPED


def test_a_failing_compensation_ends_in_failed_temp_and_fail_lists_the_orphans(stage: Stage) -> None:
    stage.world.inject(
        Fault(verb="ensure", kind="node", error="Permanent"),
        Fault(verb="remove", kind="volume", error="Permanent", times=0),
    )
    stuck = stage.run(service(), INSTANTIATE)
    assert stuck.state is OperationState.FAILED_TEMP
    assert stuck.error.startswith("undoing ensure volume")
    stage.operations.act(stuck.id, Trigger.FAIL)
    stage.work()
    failed = stage.operations.get(stuck.id)[0]
    volume = f"{SID}/vnf/v0/main-0/disk"
    assert (failed.state, failed.orphans) == (OperationState.FAILED, (volume,))
    assert stage.there() == {volume}


def test_a_forced_terminate_goes_on_and_lists_what_it_could_not_remove(stage: Stage) -> None:
    stage.run(service(nodes=2), INSTANTIATE)
    stage.world.inject(Fault(verb="remove", kind="volume", key="*v0*", error="Permanent", times=0))
    done = stage.run(nothing(), TERMINATE, force=True)
    volume = f"{SID}/vnf/v0/main-0/disk"
    assert (done.state, done.orphans) == (OperationState.PARTIALLY_COMPLETED, (volume,))
    assert stage.there() == {volume}
    assert stage.ns().state is NsState.NOT_INSTANTIATED


def test_a_terminate_can_be_rolled_back(stage: Stage) -> None:
    wanted = service()
    stage.run(wanted, INSTANTIATE)
    stage.world.inject(Fault(verb="remove", kind="network", error="Permanent"))
    held = stage.run(nothing(), TERMINATE, on_failure=OnFailure.HOLD)
    assert held.state is OperationState.FAILED_TEMP
    stage.operations.act(held.id, Trigger.ROLLBACK)
    stage.work()
    assert stage.operations.get(held.id)[0].state is OperationState.ROLLED_BACK
    assert stage.there() == keys_of(wanted)
    assert stage.plan(wanted, OperationKind.REPAIR).steps == ()


CALLS = [
    *(("ensure", kind) for kind in ("image", "network", "volume", "node")),
    ("apply", "segment"),
    ("apply", "chain"),
]
LIES = [
    Fault(error="Transient"),
    Fault(error="Indeterminate"),
    Fault(error="unknown"),
    Fault(error="Permanent"),
    Fault(error="Indeterminate", when=When.AFTER),
    Fault(error="unknown", when=When.AFTER),
    Fault(error="DeadlineExceeded", when=When.AFTER),
    Fault(error="Permanent", when=When.AFTER),
    Fault(error="Transient", when=When.AFTER),
]


@pytest.mark.parametrize("times", [1, 0], ids=["once", "always"])
@pytest.mark.parametrize("lie", LIES, ids=lambda fault: f"{fault.error}-{fault.when}")
@pytest.mark.parametrize("call", CALLS, ids=lambda call: "-".join(call))
def test_whatever_call_fails_the_service_is_whole_or_gone(
    stage: Stage, call: tuple[str, str], lie: Fault, times: int
) -> None:
    verb, kind = call
    wanted = service(nodes=3, chain=True)
    fault = Fault(verb=verb, kind=kind, when=lie.when, error=lie.error, times=times, action=lie.action)
    stage.options["parallelism"] = 4
    stage.world.inject(fault)
    operation = stage.run(wanted, INSTANTIATE)
    if operation.state is OperationState.COMPLETED:
        assert stage.there() == keys_of(wanted)
    else:
        assert operation.state is OperationState.ROLLED_BACK
        assert stage.there() == set()
    if times == 1 and lie.error in ("Transient", "Indeterminate", "unknown", "DeadlineExceeded"):
        assert operation.state is OperationState.COMPLETED


@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("error", ["Transient", "Indeterminate", "unknown", "Permanent"])
@pytest.mark.parametrize("kind", ["node", "volume", "network", "segment"])
def test_whatever_removal_fails_once_terminate_can_be_finished(stage: Stage, kind: str, error: str, when: When) -> None:
    stage.run(service(nodes=2), INSTANTIATE)
    stage.world.inject(Fault(verb="remove", kind=kind, error=error, when=when))
    operation = stage.run(nothing(), TERMINATE, on_failure=OnFailure.HOLD)
    if operation.state is OperationState.FAILED_TEMP:
        stage.operations.act(operation.id, Trigger.RETRY)
        stage.work()
    assert stage.operations.get(operation.id)[0].state is OperationState.COMPLETED
    assert stage.there() == set()


class Hanging(FakeExecutor):
    """The call that makes the node, or what is named, never comes back in time; it has its effect when let go."""

    def __init__(self, stage: Stage, kind: str = "node") -> None:
        super().__init__(stage.world)
        plan = stage.plan(service(), INSTANTIATE)
        self.step = next(step for step in plan.steps if step.id.startswith(f"ensure {kind}"))
        self.let_go = threading.Event()

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        if step.id != self.step.id:
            return super().perform(step, ctx)
        self.let_go.wait(120)
        return super().perform(step, CallContext.within(60))

    def have_effect(self, moment: str, step_id: str) -> None:
        """A moment at which it has its effect, before the call's time begins to run."""
        if (moment, step_id) == ("before call", self.step.id):
            super().perform(self.step, CallContext.within(60))


def test_a_call_that_hangs_past_its_deadline_but_had_its_effect_counts_as_done(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manor.lcm.diff.DEADLINES_S", {"node": 0.1, "verify": 60.0, "configure": 60.0})
    executor = Hanging(stage)
    operation = stage.submit(service(), INSTANTIATE)
    apply = stage.apply(executor=executor, moment=executor.have_effect)
    assert apply.run(operation.id) is OperationState.COMPLETED
    executor.let_go.set()
    join_lanes()
    assert stage.there() == keys_of(service())


def test_a_call_that_still_hangs_is_not_undone_under_its_feet(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.lcm.diff.DEADLINES_S", {"node": 0.1, "verify": 60.0, "configure": 60.0})
    executor = Hanging(stage)
    operation = stage.submit(service(), INSTANTIATE)
    assert stage.apply(executor=executor).run(operation.id) is OperationState.FAILED_TEMP
    stuck = stage.operations.get(operation.id)[0]
    assert "has not come back" in stuck.error
    executor.let_go.set()
    join_lanes()  # now the late call makes its node
    stage.operations.act(operation.id, Trigger.ROLLBACK)
    stage.work()
    assert stage.operations.get(operation.id)[0].state is OperationState.ROLLED_BACK
    assert stage.there() == set()


@pytest.mark.parametrize("way", [Trigger.ROLLBACK, Trigger.RETRY])
def test_a_call_that_still_hangs_is_not_overtaken_by_a_later_run_either(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, way: Trigger
) -> None:
    monkeypatch.setattr("manor.lcm.diff.DEADLINES_S", {"node": 0.1, "verify": 60.0, "configure": 60.0})
    executor = Hanging(stage)
    apply = stage.apply(executor=executor)
    operation = stage.submit(service(), INSTANTIATE)
    assert apply.run(operation.id) is OperationState.FAILED_TEMP
    stage.operations.act(operation.id, way)
    assert apply.run(operation.id) is OperationState.FAILED_TEMP
    assert "has not come back" in stage.operations.get(operation.id)[0].error
    executor.let_go.set()
    join_lanes()
    stage.operations.act(operation.id, Trigger.ROLLBACK)
    assert apply.run(operation.id) is OperationState.ROLLED_BACK
    assert stage.there() == set()


class Late(FakeExecutor):
    """Its first call that makes the node comes back when it was given up, and says that nothing happened."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.world)
        self.calls = 0
        self.given_up, self.said = threading.Event(), threading.Event()

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        if step.verb is not Verb.ENSURE or step.kind != "node":
            return super().perform(step, ctx)
        self.calls += 1
        if self.calls > 1:
            return super().perform(step, CallContext.within(60))
        self.given_up.wait(60)
        self.said.set()
        raise Transient("the connection was closed", retry_after_s=0.01)

    def observe(self, step: Step, ctx: CallContext) -> Observed | None:
        if step.verb is Verb.ENSURE and step.kind == "node":
            self.given_up.set()  # who gives a call up looks what became of it
            self.said.wait(60)
        return super().observe(step, ctx)


def test_a_call_that_was_given_up_is_not_tried_again_when_it_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manor.lcm.diff.DEADLINES_S", {"node": 0.1, "verify": 60.0, "configure": 60.0})
    executor = Late(stage)
    operation = stage.submit(service(), INSTANTIATE)
    assert stage.apply(executor=executor).run(operation.id) is OperationState.ROLLED_BACK
    join_lanes()
    assert executor.calls == 1
    assert stage.there() == set()


def test_a_call_that_still_hangs_is_not_overtaken_by_a_later_operation_either(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counted as done, for the network was there; that is removed while the call may still make it anew."""
    monkeypatch.setattr("manor.lcm.diff.DEADLINES_S", {"network": 0.1, "verify": 60.0, "configure": 60.0})
    executor = Hanging(stage, "network")
    apply = stage.apply(executor=executor, moment=executor.have_effect)
    assert apply.run(stage.submit(service(), INSTANTIATE).id) is OperationState.COMPLETED
    terminate = stage.submit(nothing(), TERMINATE)
    ended = apply.run(terminate.id)
    executor.let_go.set()
    join_lanes()
    if ended is not OperationState.COMPLETED:
        assert "has not come back" in stage.operations.get(terminate.id)[0].error
        stage.operations.act(terminate.id, Trigger.RETRY)
        assert apply.run(terminate.id) is OperationState.COMPLETED
    assert stage.there() == set()


class Blinking(Journal):
    """The database goes away while the call hangs, and comes back."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.database)
        self.is_away = threading.Event()

    def cancel_mode(self, claim: Claim) -> CancelMode | None:
        if self.is_away.is_set():
            raise StoreError("the database cannot be used: it went away")
        return super().cancel_mode(claim)


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_call_that_lasts_when_the_database_goes_away_is_not_overtaken_once_it_is_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    """It has its time; only then is it taken for one that hangs."""
    deadline_s = 60.0 if comes_back else 0.1
    monkeypatch.setattr("manor.lcm.diff.DEADLINES_S", {"node": deadline_s, "verify": 60.0, "configure": 60.0})
    executor, journal = Hanging(stage), Blinking(stage)
    begun: list[str] = []

    def gone_at_the_call(moment: str, step: str) -> None:
        if (moment, step) == ("before call", executor.step.id):
            begun.append(step)
            journal.is_away.set()

    apply = replace(stage.apply(executor=executor, moment=gone_at_the_call), journal=journal)
    operation = stage.submit(service(), INSTANTIATE)
    with pytest.raises(StoreError):
        apply.run(operation.id)
    journal.is_away.clear()
    if comes_back:
        threading.Timer(1.0, executor.let_go.set).start()  # later than the run before has waited for it
        assert apply.run(operation.id) is OperationState.COMPLETED
        assert (len(begun), stage.there()) == (1, keys_of(service()))
        return
    assert apply.run(operation.id) is OperationState.FAILED_TEMP
    assert "has not come back" in stage.operations.get(operation.id)[0].error
    executor.let_go.set()
    join_lanes()
    assert len(begun) == 1
    stage.operations.act(operation.id, Trigger.ROLLBACK)
    assert apply.run(operation.id) is OperationState.ROLLED_BACK
    assert stage.there() == set()


class Looking(FakeExecutor):
    """Its look at the node lasts until it is let go."""

    def __init__(self, stage: Stage, begins: Callable[[], None]) -> None:
        super().__init__(stage.world)
        self.begins = begins
        self.let_go = threading.Event()
        self.calls: list[str] = []

    def observe(self, step: Step, ctx: CallContext) -> Observed | None:
        if step.id.startswith("ensure node"):
            self.begins()
            self.let_go.wait(60)
        return super().observe(step, ctx)

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        self.calls.append(step.id)
        return super().perform(step, ctx)


def test_who_was_looking_when_the_database_went_away_calls_nothing_afterwards(stage: Stage) -> None:
    stage.world.inject(Fault(verb="ensure", kind="node", error="Permanent"))
    operation = stage.run(service(), INSTANTIATE, on_failure=OnFailure.HOLD)
    stage.operations.act(operation.id, Trigger.RETRY)
    journal = Blinking(stage)
    executor = Looking(stage, journal.is_away.set)
    with pytest.raises(StoreError):
        replace(stage.apply(executor=executor), journal=journal).run(operation.id)
    executor.let_go.set()
    join_lanes()
    assert executor.calls == []


def test_a_driver_that_keeps_its_deadline_and_says_so_is_tried_again(stage: Stage) -> None:
    stage.world.inject(Fault(action=Action.FAIL, verb="ensure", kind="node", error="DeadlineExceeded"))
    assert stage.run(service(), INSTANTIATE).state is OperationState.COMPLETED


def test_cancel_gracefully_lets_running_steps_end(stage: Stage) -> None:
    operation = stage.submit(service(), INSTANTIATE)

    def cancel_at_the_volume(moment: str, step: str) -> None:
        if moment == "before call" and step.startswith("ensure volume"):
            stage.operations.cancel(operation.id)

    assert stage.apply(moment=cancel_at_the_volume).run(operation.id) is OperationState.FAILED_TEMP
    after = stage.operations.get(operation.id)[0]
    assert (after.error, after.is_cancel_pending) == ("cancelled", False)
    now = states(stage, operation.id)
    assert now[f"ensure volume {SID}/vnf/v0/main-0/disk"] is StepState.DONE
    assert now[f"ensure node {SID}/vnf/v0/main-0"] is StepState.PLANNED
    stage.operations.act(operation.id, Trigger.ROLLBACK)
    stage.work()
    assert stage.there() == set()


def test_cancel_forcefully_gives_up_on_running_steps(stage: Stage) -> None:
    executor = Hanging(stage)
    operation = stage.submit(service(), INSTANTIATE)

    def cancel_at_the_node(moment: str, step: str) -> None:
        if moment == "before call" and step.startswith("ensure node"):
            stage.operations.cancel(operation.id, CancelMode.FORCEFUL)

    apply = stage.apply(executor=executor, moment=cancel_at_the_node)
    assert apply.run(operation.id) is OperationState.FAILED_TEMP
    executor.let_go.set()
    join_lanes()


def test_a_graceful_cancel_does_not_soften_a_forceful_one(stage: Stage) -> None:
    operation = stage.submit(service(), INSTANTIATE)
    stage.operations.cancel(operation.id, CancelMode.FORCEFUL)
    assert stage.operations.cancel(operation.id).cancel_mode is CancelMode.FORCEFUL
    assert stage.operations.get(operation.id)[0].cancel_mode is CancelMode.FORCEFUL


def test_cancel_is_refused_for_what_does_not_run(stage: Stage) -> None:
    operation = stage.run(service(), INSTANTIATE)
    with pytest.raises(UsageError, match="cancel is not possible in COMPLETED"):
        stage.operations.cancel(operation.id)


def test_a_worker_that_lost_its_claim_starts_nothing_more(stage: Stage) -> None:
    operation = stage.submit(service(), INSTANTIATE)
    woken: list[str] = []

    def lose_the_claim(moment: str, step: str) -> None:
        if moment == "after call" and step.startswith("ensure volume") and not woken:
            woken.append(step)
            stage.apply().run(operation.id)  # the other worker takes it and finishes

    first = stage.apply(moment=lose_the_claim, parallelism=1)  # what is under way meanwhile, the other may call again
    with pytest.raises(Fenced):
        first.run(operation.id)
    assert stage.operations.wait(operation.id).state is OperationState.COMPLETED, "in a thread of the first's"
    ensured = [moment.key for moment in stage.world.calls if moment.verb == "ensure"]
    assert len(ensured) == len(set(ensured))


def test_a_step_that_cannot_ask_the_database_is_no_step_that_failed(stage: Stage) -> None:
    operation = stage.submit(service(), INSTANTIATE)

    class Blinded(FakeExecutor):
        def perform(self, step: Step, ctx: CallContext) -> Observed | None:
            raise StoreError("the database cannot be used: it went away")

    with pytest.raises(StoreError):
        stage.apply(executor=Blinded(stage.world)).run(operation.id)
    assert stage.apply().run(operation.id) is OperationState.COMPLETED


def test_stopping_leaves_a_resumable_operation(stage: Stage) -> None:
    operation = stage.submit(service(), INSTANTIATE)
    stopping = threading.Event()

    def stop(moment: str, step: str) -> None:
        if moment == "after call" and step.startswith("ensure network"):
            stopping.set()

    with pytest.raises(Stopped):
        stage.apply(moment=stop, stopping=stopping).run(operation.id)
    assert stage.operations.get(operation.id)[0].state is OperationState.PROCESSING
    stage.reopen()
    stage.work()
    assert stage.operations.get(operation.id)[0].state is OperationState.COMPLETED


def test_progress_is_told_after_commit_and_watch_shows_the_same(stage: Stage) -> None:
    told: list[Progress] = []
    operation = stage.submit(service(), INSTANTIATE)
    stage.apply(on_progress=told.append).run(operation.id)
    assert told[-1].step is None
    assert told[-1].operation.state is OperationState.COMPLETED
    done = {progress.step.step.id for progress in told if progress.step and progress.step.state is StepState.DONE}
    watched = list(stage.operations.watch(operation.id[:6]))
    assert watched[0].operation.state is OperationState.COMPLETED
    assert done == {progress.step.step.id for progress in watched if progress.step}


def test_an_empty_plan_completes(stage: Stage) -> None:
    wanted = service()
    stage.run(wanted, INSTANTIATE)
    assert stage.run(wanted, OperationKind.REPAIR).state is OperationState.COMPLETED


def test_a_scale_out_that_fails_gives_back_what_was(stage: Stage) -> None:
    one, two = service(nodes=1), service(nodes=2)
    stage.run(one, INSTANTIATE)
    stage.world.inject(Fault(verb="ensure", kind="node", key="*v1*", error="Permanent", times=0))
    operation = stage.run(two, OperationKind.SCALE)
    assert operation.state is OperationState.ROLLED_BACK
    assert stage.there() == keys_of(one)
    assert stage.plan(one, OperationKind.REPAIR).steps == ()
    stage.world.heal()
    assert stage.run(two, OperationKind.SCALE).state is OperationState.COMPLETED
    assert stage.run(one, OperationKind.SCALE).state is OperationState.COMPLETED
    assert stage.there() == keys_of(one)
    assert stage.plan(one, OperationKind.REPAIR).steps == ()


def test_a_plan_made_before_another_operation_is_refused(stage: Stage) -> None:
    stage.run(service(), INSTANTIATE)
    with pytest.raises(PlanRefused, match="since the plan was made"):
        stage.submit(service(nodes=2), OperationKind.SCALE, planned_after="")
    assert stage.operations.get(stage.ns().last_operation)[0].operation is INSTANTIATE


def test_drift_is_repaired(stage: Stage) -> None:
    wanted = service(nodes=2)
    stage.run(wanted, INSTANTIATE)
    stage.world.stop(f"{SID}/vnf/v0/main-0")
    stage.world.destroy(f"{SID}/vl/lan")
    plan = stage.plan(wanted, OperationKind.REPAIR)
    assert {step.key for step in plan.steps if step.verb is Verb.ENSURE} == {f"{SID}/vnf/v0/main-0", f"{SID}/vl/lan"}
    assert stage.run(wanted, OperationKind.REPAIR).state is OperationState.COMPLETED
    assert stage.plan(wanted, OperationKind.REPAIR).steps == ()
    assert all(native.spec.owner == OWNER for native in stage.world.natives())


def test_what_a_crash_left_half_made_is_made_whole(stage: Stage) -> None:
    """A machine that was defined and never started is not taken for one that was made."""
    died: list[str] = []

    def die(moment: str, step: str) -> None:
        if moment == "after call" and step.startswith("ensure node") and not died:
            died.append(step)
            raise Crash(step)

    stage.submit(service(), OperationKind.INSTANTIATE)
    with pytest.raises(Crash):
        stage.work(moment=die)
    join_lanes()

    class Unstarted(FakeExecutor):
        started: bool = False

        def perform(self, step: Step, ctx: CallContext) -> Observed | None:
            self.started = self.started or step.id == died[0]
            return super().perform(step, ctx)

        def observe(self, step: Step, ctx: CallContext) -> Observed | None:
            seen = super().observe(step, ctx)
            return seen if self.started or seen is None else replace(seen, phase=Phase.PENDING)

    executor = Unstarted(stage.world)
    stage.work(executor=executor)
    assert executor.started
    assert stage.ns().state is NsState.INSTANTIATED
