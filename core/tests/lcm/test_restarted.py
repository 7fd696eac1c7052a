"""A hypervisor that goes away in the middle of a step and comes back: the step waits for it, and neither fails nor is
done twice."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from lcm_world import SID, FakeExecutor, Stage, keys_of, nothing, service

from manor.api import CallContext, Observed, OperationKind, Step, Verb
from manor.errors import Indeterminate
from manor.lcm.stepping import PATIENCE_S
from manor.model.desired import DesiredState
from manor.model.instance import NsLcmOpOcc, OperationState

INSTANTIATE, TERMINATE = OperationKind.INSTANTIATE, OperationKind.TERMINATE
NODE = f"{SID}/vnf/v0/main-0"


class Restarting(FakeExecutor):
    """Its host goes away at the first call for a node, after the call's effect where ``is_done``, for so long."""

    def __init__(self, stage: Stage, verb: Verb, *, away_s: float, is_done: bool = False) -> None:
        super().__init__(stage.world)
        self.verb, self.away_s, self.is_done = verb, away_s, is_done
        self.has_gone = False

    def answers(self, *, reachable: bool) -> None:
        with self.world.look() as state:
            hosts = [dataclasses.replace(host, reachable=reachable) for host in state.hosts]
        self.world.set_hosts(*hosts)

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        if self.has_gone or step.verb is not self.verb or step.key != NODE:
            return super().perform(step, ctx)
        self.has_gone = True
        seen = super().perform(step, ctx) if self.is_done else None
        self.answers(reachable=False)
        if self.is_done:
            raise Indeterminate("the connection was lost")
        return seen or super().perform(step, ctx)

    def pause(self, event: threading.Event, seconds: float) -> None:
        """Time goes by."""
        if self.has_gone:
            self.away_s -= seconds
            if self.away_s <= 0:
                self.answers(reachable=True)


@pytest.fixture
def stage(fast_path: Path) -> Iterator[Stage]:
    stage = Stage(fast_path / "manor.db")
    stage.create()
    yield stage
    stage.close()


def ran(stage: Stage, wanted: DesiredState, kind: OperationKind, executor: Restarting) -> NsLcmOpOcc:
    operation = stage.submit(wanted, kind)
    stage.work(executor=executor, pause=executor.pause)
    assert executor.has_gone
    return stage.operations.get(operation.id)[0]


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("away_s", [0.5, 6.0, 0.9 * PATIENCE_S])
def test_what_is_being_made_is_made_once_it_is_back(stage: Stage, away_s: float, is_done: bool) -> None:
    executor = Restarting(stage, Verb.ENSURE, away_s=away_s, is_done=is_done)
    done = ran(stage, service(nodes=3, chain=True), INSTANTIATE, executor)
    assert (done.state, done.error) == (OperationState.COMPLETED, "")
    assert stage.there() == keys_of(service(nodes=3, chain=True))
    ensured = [call for call in stage.world.calls if (call.verb, call.key) == ("ensure", NODE)]
    assert len(ensured) == 1


@pytest.mark.parametrize("is_done", [False, True])
def test_what_is_being_removed_is_gone_once_it_is_back(stage: Stage, is_done: bool) -> None:
    stage.run(service(nodes=2), INSTANTIATE)
    done = ran(stage, nothing(), TERMINATE, Restarting(stage, Verb.REMOVE, away_s=6.0, is_done=is_done))
    assert (done.state, done.error) == (OperationState.COMPLETED, "")
    assert stage.there() == set()


def test_one_that_stays_away_longer_is_rolled_back_from_by_itself(stage: Stage) -> None:
    """The step gave it up; taking it back waits for the host once more."""
    executor = Restarting(stage, Verb.ENSURE, away_s=1.5 * PATIENCE_S)
    done = ran(stage, service(), INSTANTIATE, executor)
    assert done.state is OperationState.ROLLED_BACK
    assert stage.there() == set()


def test_one_that_never_comes_back_is_not_waited_for_for_ever(stage: Stage) -> None:
    executor = Restarting(stage, Verb.ENSURE, away_s=float("inf"))
    done = ran(stage, service(), INSTANTIATE, executor)
    assert done.state is OperationState.FAILED_TEMP
    assert "cannot tell what became of it" in done.error
