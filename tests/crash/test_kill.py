"""Real processes, really killed: whatever the moment, the next worker finishes or undoes, and nothing is left over."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lcm_world import OWNER, FakeExecutor, keys_of, nothing, service
from processes import WorkerProcess
from told import Told

from manor.api import CallContext, OperationKind, Query, ResourceKind, Verb
from manor.errors import StoreError
from manor.fakes import Action, Fault, World
from manor.lcm.diff import diff
from manor.lcm.target import Target
from manor.lcm.worker import Worker
from manor.model.instance import NsInstance, NsLcmOpOcc, NsState, OnFailure, OperationState, StepState, VnfInstance
from manor.store import instances, notifications, operations
from manor.store.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.real]

WHOLE = service(nodes=3, chain=True)
VNFS = tuple(
    VnfInstance(
        id=check.key,
        name=check.key.rpartition("/")[2],
        ns_id=WHOLE.service_id,
        profile_id="v",
        index=number,
        vnfd_id="v",
        flavour_id="f",
        vnfm="generic",
    )
    for number, check in enumerate(check for check in WHOLE.checks if check.kind == "vnf")
)


class Site:
    """A database and a world that outlive processes; this process only submits and looks."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.file = folder / "world.json"
        self.world = World(state_file=self.file)
        self.world.inject(Fault(action=Action.DELAY, verb="*", seconds=0.02, times=0))
        self.database = Database.open(url)
        self.submitter = Worker(self.database, FakeExecutor(self.world))
        self.workers: list[WorkerProcess] = []

    def worker(self, **how: Any) -> WorkerProcess:
        """One more worker process."""
        self.workers.append(WorkerProcess(self.url, self.file, **how))
        return self.workers[-1]

    def submit(self, kind: OperationKind) -> NsLcmOpOcc:
        """Instantiate or terminate the service."""
        if kind is OperationKind.INSTANTIATE:
            with self.database.begin() as tx:
                instances.add(
                    tx,
                    NsInstance(
                        id=WHOLE.service_id, name=WHOLE.service_name, nsd_id="n", nsd_package="p", flavour_id="f"
                    ),
                )
            plan = diff(WHOLE, {}, None, kind)
            target = Target(ns_state=NsState.INSTANTIATED, desired=WHOLE, vnfs=VNFS)
        else:
            executor, ctx = FakeExecutor(self.world), CallContext.within(30)
            seen = {
                found.ref.key: found
                for driver in (executor.vim, executor.sdn)
                for found in driver.observe(Query(owner=OWNER), ctx)
            }
            plan = diff(nothing(), seen, WHOLE, kind)
            target = Target(ns_state=NsState.NOT_INSTANTIATED, desired=None)
        return self.submitter.operations.submit(plan, target, on_failure=OnFailure.ROLLBACK)

    def state(self, operation: NsLcmOpOcc) -> OperationState:
        """Where the operation is now."""
        with self.database.read() as tx:
            return operations.get(tx, operation.id).state

    def there(self) -> set[str]:
        """What exists and is not shared; nothing of it twice."""
        keys = [n.spec.key for n in self.world.natives(OWNER) if n.spec.kind is not ResourceKind.IMAGE]
        assert len(keys) == len(set(keys))
        return set(keys)

    def must_be_told_once(self) -> None:
        """What subscribers were told can have happened so, and nothing was told twice."""
        with self.database.read() as tx:
            told = Told(notifications.after(tx, 0, limit=10_000))
            assert told.there == set(instances.vnf_ids(tx, WHOLE.service_id))
        assert {id.partition("/")[2] for id in told.states} >= {vnf.name for vnf in VNFS}

    def close(self) -> None:
        """End every process of ours and let go."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
            elif worker.process.stdout is not None:
                worker.process.stdout.close()
        self.submitter.close()
        self.database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    url = str(tmp_path / "manor.db") if request.param == "sqlite" else request.getfixturevalue("new_postgresql")
    site = Site(url, tmp_path)
    yield site
    site.close()


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_the_service_is_whole_or_gone(site: Site, seed: int, fails: bool) -> None:
    dice = random.Random(f"{seed}-{fails}")
    if fails:
        site.world.inject(Fault(verb="apply", kind="chain", error="Permanent", times=0))
    operation = site.submit(OperationKind.INSTANTIATE)
    for _ in range(3):
        worker = site.worker()
        worker.wait_for("working")
        time.sleep(dice.uniform(0.0, 1.2))
        worker.kill()
    site.worker(once=True).wait_for("idle")
    assert site.state(operation) is (OperationState.ROLLED_BACK if fails else OperationState.COMPLETED)
    assert site.there() == (set() if fails else keys_of(WHOLE))
    site.must_be_told_once()


def test_terminate_killed_at_random_moments_leaves_nothing(site: Site) -> None:
    site.submit(OperationKind.INSTANTIATE)
    worker = site.worker()
    worker.wait_for("idle")
    assert site.there() == keys_of(WHOLE)
    operation = site.submit(OperationKind.TERMINATE)
    time.sleep(0.4)
    worker.kill()
    worker = site.worker()
    worker.wait_for("working")
    time.sleep(0.3)
    worker.kill()
    site.worker(once=True).wait_for("idle")
    assert site.state(operation) is OperationState.COMPLETED
    assert site.there() == set()


def test_a_frozen_node_that_wakes_starts_nothing_more(new_postgresql: str, tmp_path: Path) -> None:
    site = Site(new_postgresql, tmp_path)
    try:
        operation = site.submit(OperationKind.INSTANTIATE)
        calls = [tmp_path / "first.calls", tmp_path / "second.calls"]
        first = site.worker(calls=calls[0], sits_in="ensure volume")
        for _ in range(3):
            first.wait_for("sits")
        until_s = time.monotonic() + 120.0
        while not all(  # else it may be in the fake world's lock
            record.state is StepState.DONE
            for record in site.submitter.operations.get(operation.id)[1]
            if record.step.kind in ("image", "network", "segment") and record.step.verb is Verb.ENSURE
        ):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        first.send(signal.SIGSTOP)
        second = site.worker(calls=calls[1])
        second.wait_for("idle")
        assert site.state(operation) is OperationState.COMPLETED
        before = calls[0].read_text()
        first.send(signal.SIGCONT)
        first.wait_for("idle")
        time.sleep(2.0)
        assert calls[0].read_text() == before
        assert site.there() == keys_of(WHOLE)
        assert len({line for path in calls for line in path.read_text().splitlines()}) == len(
            site.submitter.operations.get(operation.id)[1]
        )
    finally:
        site.close()


def test_a_node_frozen_in_a_transaction_does_not_hold_its_locks_for_ever(new_postgresql: str, tmp_path: Path) -> None:
    site = Site(new_postgresql, tmp_path)
    try:
        operation = site.submit(OperationKind.INSTANTIATE)
        frozen = Database.open(new_postgresql)

        def freeze() -> None:
            with frozen.begin() as tx:
                operations.locked(tx, operation.id)
                with site.database.begin() as other:
                    operations.locked(other, operation.id)

        with pytest.raises(StoreError):
            freeze()
        frozen.close()
    finally:
        site.close()


def test_two_workers_share_services_but_never_one(new_postgresql: str, tmp_path: Path) -> None:
    site = Site(new_postgresql, tmp_path)
    try:
        calls = [tmp_path / "first.calls", tmp_path / "second.calls"]
        for path in calls:
            # A lease that no busy machine outlasts: who is only slow keeps its work.
            site.worker(calls=path, lease_s=120.0).wait_for("working")
        submitted = []
        for number in range(6):
            wanted = service(f"{number:08x}")
            with site.database.begin() as tx:
                instances.add(
                    tx,
                    NsInstance(
                        id=wanted.service_id, name=wanted.service_name, nsd_id="n", nsd_package="p", flavour_id="f"
                    ),
                )
            target = Target(ns_state=NsState.INSTANTIATED, desired=wanted)
            plan = diff(wanted, {}, None, OperationKind.INSTANTIATE)
            submitted.append(site.submitter.operations.submit(plan, target))
        ends = [site.submitter.operations.wait(operation.id).state for operation in submitted]
        assert set(ends) == {OperationState.COMPLETED}
        ran = [
            {line.split()[0] for line in path.read_text().splitlines()} if path.exists() else set() for path in calls
        ]
        assert not ran[0] & ran[1]
        assert ran[0] | ran[1] == {operation.id for operation in submitted}
    finally:
        site.close()


def test_terminated_by_signal_a_worker_leaves_a_resumable_operation(site: Site) -> None:
    operation = site.submit(OperationKind.INSTANTIATE)
    worker = site.worker()
    worker.wait_for("working")
    time.sleep(0.3)
    worker.send(signal.SIGTERM)
    assert worker.process.wait(120) == 0
    site.worker(once=True).wait_for("idle")
    assert site.state(operation) is OperationState.COMPLETED
    assert site.there() == keys_of(WHOLE)
