"""The process dies at every boundary there is, and the next one makes it good: all there, or nothing, nothing twice."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from lcm_world import Stage, join_lanes, keys_of, nothing, service

from manor.api import OperationKind
from manor.fakes import Crash, Fault, Moment, World
from manor.lcm.states import Trigger
from manor.model.instance import NsLcmOpOcc, OnFailure, OperationState
from manor.store import operations


class Doom:
    """Dies at the ``at``-th boundary, journal's or driver's, and from then on in every thread."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed: list[str] = []

    def pass_by(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) > self.at:
            raise Crash(name)

    def moment(self, moment: str, step: str) -> None:
        self.pass_by(f"{moment} {step}")

    def boundary(self, moment: Moment) -> None:
        self.pass_by(f"{moment.when} {moment.verb} {moment.key}")


def _live_and_die(stage: Stage, at: int) -> Doom:
    """Work until the crash; then be a new process and work to the end."""
    doom = Doom(at)
    stage.world.boundary = doom.boundary
    try:
        stage.work(moment=doom.moment)
    except Crash:
        pass
    join_lanes()
    stage.world.boundary = None
    stage.reopen()
    stage.work()
    return doom


def _rests(stage: Stage, operation_id: str) -> NsLcmOpOcc:
    with stage.database.read() as tx:
        assert operations.at_work(tx) == ()
        return operations.get(tx, operation_id)


def _assert_nothing_twice(world: World) -> None:
    """Of every key at most one creation had its effect between two removals."""
    made = Counter(moment.key for moment in world.calls if moment.verb in ("ensure", "apply"))
    gone = Counter(moment.key for moment in world.calls if moment.verb == "remove")
    assert all(made[key] <= gone[key] + 1 for key in made), made


def _enumerate(fast_path: Path, prepare: Callable[[Stage], str], check: Callable[[Stage, str], None]) -> int:
    """Run the case once for each boundary it has; how many those are."""
    for at in itertools.count():
        stage = Stage(fast_path / f"{at}" / "manor.db")
        stage.create()
        operation_id = prepare(stage)
        doom = _live_and_die(stage, at)
        check(stage, operation_id)
        _assert_nothing_twice(stage.world)
        stage.close()
        if len(doom.passed) <= at:
            return at
    raise AssertionError


WHOLE = service(nodes=1)


@pytest.mark.slow
def test_instantiate(fast_path: Path) -> None:
    def check(stage: Stage, operation_id: str) -> None:
        assert _rests(stage, operation_id).state is OperationState.COMPLETED
        assert stage.there() == keys_of(WHOLE)
        assert stage.plan(WHOLE, OperationKind.REPAIR).steps == ()

    boundaries = _enumerate(fast_path, lambda stage: stage.submit(WHOLE, OperationKind.INSTANTIATE).id, check)
    assert boundaries > 50


@pytest.mark.slow
@pytest.mark.parametrize(
    "failing", ["node", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("volume", "segment"))]
)
def test_instantiate_that_fails_and_rolls_back(fast_path: Path, failing: str) -> None:
    def prepare(stage: Stage) -> str:
        stage.world.inject(Fault(kind=failing, verb="[ea][np][sp]*", error="Permanent", times=0))
        return stage.submit(WHOLE, OperationKind.INSTANTIATE).id

    def check(stage: Stage, operation_id: str) -> None:
        assert _rests(stage, operation_id).state is OperationState.ROLLED_BACK
        assert stage.there() == set()

    assert _enumerate(fast_path, prepare, check) > 20


@pytest.mark.slow
def test_terminate(fast_path: Path) -> None:
    def prepare(stage: Stage) -> str:
        stage.run(WHOLE, OperationKind.INSTANTIATE)
        stage.world.calls.clear()
        return stage.submit(nothing(), OperationKind.TERMINATE).id

    def check(stage: Stage, operation_id: str) -> None:
        assert _rests(stage, operation_id).state is OperationState.COMPLETED
        assert stage.there() == set()
        assert stage.desired() is None

    assert _enumerate(fast_path, prepare, check) > 20


@pytest.mark.slow
def test_terminate_that_is_rolled_back(fast_path: Path) -> None:
    def prepare(stage: Stage) -> str:
        stage.run(WHOLE, OperationKind.INSTANTIATE)
        stage.world.inject(Fault(verb="remove", kind="network", error="Permanent", times=0))
        held = stage.run(nothing(), OperationKind.TERMINATE, on_failure=OnFailure.HOLD)
        stage.operations.act(held.id, Trigger.ROLLBACK)
        stage.world.calls.clear()
        return held.id

    def check(stage: Stage, operation_id: str) -> None:
        assert _rests(stage, operation_id).state is OperationState.ROLLED_BACK
        assert stage.there() == keys_of(WHOLE)
        assert stage.plan(WHOLE, OperationKind.REPAIR).steps == ()

    assert _enumerate(fast_path, prepare, check) > 15


@pytest.mark.slow
def test_fail_that_sweeps_up(fast_path: Path) -> None:
    def prepare(stage: Stage) -> str:
        stage.world.inject(Fault(verb="ensure", kind="node", error="Permanent", times=0))
        held = stage.run(WHOLE, OperationKind.INSTANTIATE, on_failure=OnFailure.HOLD)
        stage.operations.act(held.id, Trigger.FAIL)
        return held.id

    def check(stage: Stage, operation_id: str) -> None:
        operation = _rests(stage, operation_id)
        assert (operation.state, operation.orphans) == (OperationState.FAILED, ())
        assert stage.there() == set()

    assert _enumerate(fast_path, prepare, check) > 15


@pytest.mark.slow
def test_instantiate_of_a_chain_of_three_twice_killed(fast_path: Path) -> None:
    whole = service(nodes=3, chain=True)
    for first, second in itertools.product(range(0, 140, 7), (3, 11, 29)):
        stage = Stage(fast_path / f"{first}-{second}" / "manor.db")
        stage.create()
        operation = stage.submit(whole, OperationKind.INSTANTIATE)
        doom = Doom(first)
        stage.world.boundary = doom.boundary
        try:
            stage.work(moment=doom.moment)
        except Crash:
            pass
        join_lanes()
        stage.reopen()
        _live_and_die(stage, second)
        assert _rests(stage, operation.id).state is OperationState.COMPLETED
        assert stage.there() == keys_of(whole)
        _assert_nothing_twice(stage.world)
        stage.close()
