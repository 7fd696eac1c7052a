"""The durable queue as the product uses it: one process works, the others submit; nothing falls out; no noise."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lcm_world import FakeExecutor, InlineEngine, Stage, keys_of, nothing, service
from sqlalchemy import text

from manor.api import OperationKind
from manor.errors import StoreError, UsageError
from manor.fakes import Fault
from manor.lcm.engine import DbosEngine, QueueStatus
from manor.lcm.operations import Operations
from manor.lcm.states import Trigger
from manor.lcm.worker import Worker
from manor.model.instance import NsLcmOpOcc, OnFailure, OperationState


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "manor.db")
    stage.create()
    yield stage
    stage.close()


@pytest.fixture
def worker(stage: Stage) -> Iterator[Worker]:
    worker = Worker(stage.database, FakeExecutor(stage.world), beat_s=0.1, grace_s=1.0)
    stage.operations = worker.operations
    yield worker
    worker.close()


def until(condition: Callable[[], bool], *, within_s: float = 120.0) -> None:
    """Wait until it is so."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.02)


def rest(stage: Stage, operation: NsLcmOpOcc) -> NsLcmOpOcc:
    until(lambda: not stage.operations.get(operation.id)[0].state.startswith(("PROC", "ROLLING")))
    return stage.operations.wait(operation.id)


def test_what_is_submitted_before_and_after_the_launch_is_done(stage: Stage, worker: Worker) -> None:
    whole = service()
    first = stage.submit(whole, OperationKind.INSTANTIATE)
    assert not worker.is_working
    assert worker.start()
    assert worker.start()
    assert rest(stage, first).state is OperationState.COMPLETED
    assert stage.there() == keys_of(whole)
    assert rest(stage, stage.submit(nothing(), OperationKind.TERMINATE)).state is OperationState.COMPLETED
    assert stage.there() == set()


def test_error_handling_goes_through_the_queue_again(stage: Stage, worker: Worker) -> None:
    worker.start()
    stage.world.inject(Fault(verb="ensure", kind="node", error="Permanent"))
    held = rest(stage, stage.submit(service(), OperationKind.INSTANTIATE, on_failure=OnFailure.HOLD))
    assert held.state is OperationState.FAILED_TEMP
    again = stage.operations.act(held.id, Trigger.RETRY)
    assert again.attempt == 2
    assert rest(stage, held).state is OperationState.COMPLETED


def test_a_refused_submission_leaves_nothing_in_the_queue(stage: Stage, worker: Worker) -> None:
    stage.submit(service(), OperationKind.INSTANTIATE)
    with pytest.raises(UsageError, match="has an operation in PROCESSING"):
        stage.submit(service(), OperationKind.INSTANTIATE)
    with stage.database.read() as tx:
        assert tx.execute(text(f"SELECT count(*) FROM {of_queue(stage, 'workflow_status')}")).scalar() == 1


def of_queue(stage: Stage, table: str) -> str:
    return table if stage.database.is_sqlite else f"dbos.{table}"


def test_a_worker_that_could_not_start_may_try_again(stage: Stage, worker: Worker) -> None:
    def rename(now: str, to: str) -> None:
        with stage.database.begin() as tx:
            tx.execute(text(f"ALTER TABLE {of_queue(stage, now)} RENAME TO {to}"))

    operation = stage.submit(service(), OperationKind.INSTANTIATE)
    rename("application_versions", "elsewhere")
    with pytest.raises(StoreError, match="the queue cannot start"):
        worker.start()
    rename("elsewhere", "application_versions")
    assert worker.start()
    assert rest(stage, operation).state is OperationState.COMPLETED


@pytest.mark.sqlite
def test_on_sqlite_one_process_works(stage: Stage, worker: Worker) -> None:
    assert worker.start()
    code = (
        "import sys; from manor.store.database import Database; from manor.lcm.engine import DbosEngine\n"
        "engine = DbosEngine(Database.open(sys.argv[1])); engine.register_worker(print); print(engine.launch())"
    )
    argv = [sys.executable, "-c", code, str(stage.path)]
    beside = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert (beside.stdout, beside.stderr) == ("False\n", "")
    worker.close()
    alone = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert (alone.stdout, alone.stderr) == ("True\n", "")


def test_an_operation_that_fell_out_of_the_queue_is_put_back(stage: Stage, worker: Worker) -> None:
    lost = Operations(stage.database, InlineEngine())  # type: ignore[arg-type]
    stage.operations = lost
    operation = stage.submit(service(), OperationKind.INSTANTIATE)
    stage.operations = worker.operations
    worker.start()
    assert rest(stage, operation).state is OperationState.COMPLETED


def test_an_operation_whose_thread_died_is_resumed(stage: Stage) -> None:
    died: list[str] = []

    def die_once(moment: str, step: str) -> None:
        if moment == "after call" and not died:
            died.append(step)
            raise SystemExit

    worker = Worker(stage.database, FakeExecutor(stage.world), beat_s=0.1, grace_s=1.0, moment=die_once)
    try:
        stage.operations = worker.operations
        operation = stage.submit(service(), OperationKind.INSTANTIATE)
        worker.start()
        assert rest(stage, operation).state is OperationState.COMPLETED
        assert died
    finally:
        worker.close()


def test_a_database_that_goes_away_for_a_moment_does_not_end_an_operation(stage: Stage) -> None:
    lost: list[str] = []

    def lose_it_once(moment: str, step: str) -> None:
        if moment == "before record" and step.startswith("ensure node") and not lost:
            lost.append(step)
            raise StoreError("the database cannot be used: it was restarted")

    worker = Worker(stage.database, FakeExecutor(stage.world), beat_s=0.1, grace_s=1.0, moment=lose_it_once)
    try:
        stage.operations = worker.operations
        operation = stage.submit(service(), OperationKind.INSTANTIATE)
        worker.start()
        assert rest(stage, operation).state is OperationState.COMPLETED
        assert lost
        ensured = [moment.key for moment in stage.world.calls if moment.verb == "ensure"]
        assert len(ensured) == len(set(ensured))
    finally:
        worker.close()


def test_the_queue_tells_what_became_of_an_attempt(stage: Stage, worker: Worker) -> None:
    operation = stage.submit(service(), OperationKind.INSTANTIATE)
    engine = DbosEngine(stage.database)
    attempts = [(operation.id, 1), ("never", 1)]
    entries = engine.status(attempts)
    assert (entries[operation.id].status, entries["never"].status) == (QueueStatus.WAITING, QueueStatus.OVER)
    worker.start()
    rest(stage, operation)
    until(lambda: engine.status(attempts)[operation.id].status is QueueStatus.OVER)
    engine.close()
