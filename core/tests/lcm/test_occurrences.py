"""Every way out of every state of an operation occurrence, asked of the operations themselves; and what they say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.api import OperationKind, Plan, Step, Undo, Verb
from manor.errors import UsageError
from manor.lcm.operations import Operations
from manor.lcm.problem import problem_of, ways
from manor.lcm.states import Trigger
from manor.lcm.target import Target
from manor.model.instance import CancelMode, NsInstance, NsLcmOpOcc, NsState, OperationState, StepRecord, StepState
from manor.store import instances, operations
from manor.store.database import Database

S, T = OperationState, Trigger
LEADS_TO = {T.RETRY: S.PROCESSING, T.CONTINUE: S.PROCESSING, T.ROLLBACK: S.ROLLING_BACK, T.FAIL: S.FAILED_TEMP}
"""From FAILED_TEMP; `fail` is FAILED once what is left was cleaned up."""


class Queue:
    """An engine that only remembers."""

    def __init__(self) -> None:
        self.dispatched: list[str] = []

    def prepare(self) -> None: ...

    def dispatch(self, _tx: object, operation_id: str, attempt: int, _partition: str) -> None:
        self.dispatched.append(f"{operation_id}:{attempt}")


@pytest.fixture
def database(fast_path: Path) -> Iterator[Database]:
    opened = Database.open(fast_path / "m.db")
    yield opened
    opened.close()


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def ops(database: Database, queue: Queue) -> Operations:
    with database.begin() as tx:
        instances.add(tx, NsInstance(id="0a0b0c0d", name="demo", nsd_id="n", nsd_package="p", flavour_id=""))
    return Operations(database, queue)  # type: ignore[arg-type]


def step(number: int, **changes: object) -> Step:
    fields = {"id": f"ensure node n{number}", "verb": Verb.ENSURE, "kind": "node", "key": f"n{number}"}
    return Step(**{**fields, "endpoint": "vim:lab", "host": "kvm1", "undo": Undo.REMOVE, **changes})  # type: ignore[arg-type]


def submitted(ops: Operations, database: Database, state: S, *, mode: str = "") -> NsLcmOpOcc:
    plan = Plan(operation=OperationKind.UPDATE, service_id="0a0b0c0d", service_name="demo", steps=(step(0), step(1)))
    operation = ops.submit(plan, Target(ns_state=NsState.INSTANTIATED, desired=None))
    with database.begin() as tx:
        operations.set_columns(tx, operation.id, state=str(state), mode=mode)
    return ops.get(operation.id)[0]


@pytest.mark.parametrize("trigger", [T.RETRY, T.ROLLBACK, T.CONTINUE, T.FAIL])
@pytest.mark.parametrize("state", list(S))
def test_error_handling(ops: Operations, database: Database, queue: Queue, state: S, trigger: T) -> None:
    operation = submitted(ops, database, state)
    offered = str(trigger) in ways(operation)
    assert offered is (state is S.FAILED_TEMP)
    if not offered:
        with pytest.raises(UsageError, match=f"{trigger} is not possible in {state}: it takes an operation in FAILED_"):
            ops.act(operation.id, trigger)
        assert ops.get(operation.id)[0] == operation
        return
    after = ops.act(operation.id, trigger)
    assert (after.state, after.attempt) == (LEADS_TO[trigger], 2)
    assert queue.dispatched[-1] == f"{operation.id}:2"
    with pytest.raises(UsageError, match="is being cleaned up already" if trigger is T.FAIL else "is not possible in"):
        ops.act(operation.id, trigger)


@pytest.mark.parametrize("mode", list(CancelMode))
@pytest.mark.parametrize("state", list(S))
def test_cancel(ops: Operations, database: Database, state: S, mode: CancelMode) -> None:
    operation = submitted(ops, database, state, mode="forward")
    offered = "cancel" in ways(operation)
    assert offered is (state in (S.PROCESSING, S.ROLLING_BACK))
    if offered:
        asked = ops.cancel(operation.id, mode)
        assert (asked.is_cancel_pending, asked.cancel_mode, asked.state) == (True, mode, state)
        assert ops.get(operation.id)[0].is_cancel_pending
    else:
        with pytest.raises(UsageError, match=f"cancel is not possible in {state}"):
            ops.cancel(operation.id, mode)
        assert not ops.get(operation.id)[0].is_cancel_pending


@pytest.mark.parametrize("state", [S.PROCESSING, S.FAILED_TEMP, S.ROLLING_BACK])
def test_one_at_a_time(ops: Operations, database: Database, state: S) -> None:
    submitted(ops, database, state)
    with pytest.raises(UsageError, match=f"has an operation in {state}"):
        submitted(ops, database, state)


def test_the_problem_names_step_resource_host_driver_cause_and_hint() -> None:
    failed = {"state": StepState.FAILED, "attempt": 2, "error": "no room", "error_class": "QuotaExceeded"}
    late = StepRecord(step=step(0), ended_s=9.0, hint="later", **failed)  # type: ignore[arg-type]
    first = StepRecord(step=step(1), ended_s=5.0, hint="free something", **failed)  # type: ignore[arg-type]
    problem = problem_of([late, first], lambda endpoint: {"vim:lab": "libvirt"}[endpoint])
    assert problem is not None
    assert (problem.title, problem.step, problem.resource) == ("ensure node", "ensure node n1", "n1")
    assert (problem.host, problem.endpoint, problem.driver) == ("kvm1", "vim:lab", "libvirt")
    assert (problem.cause, problem.detail, problem.hint) == ("QuotaExceeded", "no room", "free something")
    assert (problem.attempt, problem.undoing) == (2, False)
    stuck = StepRecord(step=step(2), state=StepState.UNDO_FAILED, error="in use", ended_s=20.0)
    blocking = problem_of([late, first, stuck], lambda _: "libvirt")
    assert blocking is not None
    assert (blocking.step, blocking.undoing) == ("ensure node n2", True)
    assert problem_of([StepRecord(step=step(0), state=StepState.DONE, error="once")], lambda _: "") is None


def test_past_the_point_of_no_return_a_rollback_is_not_offered() -> None:
    gone = StepRecord(step=step(0, verb=Verb.REMOVE, kind="volume", undo=Undo.IMPOSSIBLE), state=StepState.DONE)
    operation = NsLcmOpOcc(
        id="o", ns_id="s", ns_name="demo", operation=OperationKind.TERMINATE, state=OperationState.FAILED_TEMP
    )
    assert ways(operation, [gone]) == ("retry", "continue", "fail")
    assert ways(operation) == ("retry", "rollback", "continue", "fail")
