"""Three nodes on one PostgreSQL with fifty operations under way, one of them killed: the others go on with its work."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from heartbeats import assert_taken_over
from lcm_world import OWNER, FakeExecutor, service
from processes import WorkerProcess

from manor.api import OperationKind, ResourceKind
from manor.fakes import Action, Fault, World
from manor.lcm.diff import diff
from manor.lcm.engine import DbosEngine, QueueStatus
from manor.lcm.states import Trigger
from manor.lcm.target import Target
from manor.lcm.worker import Worker
from manor.model.instance import NsInstance, NsLcmOpOcc, NsState, OperationState
from manor.store import instances
from manor.store.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.long]  # in short: test_two_servers.py

NODES, OPERATIONS = 3, 50


def ended(worker: Worker, operation_id: str) -> NsLcmOpOcc:
    """The operation as it ends. One that rests, for the machine was too busy to answer in time, is rolled back."""
    until = time.monotonic() + 300.0
    while (operation := worker.operations.wait(operation_id)).state is OperationState.FAILED_TEMP:
        assert time.monotonic() < until, operation.error
        print(operation.state, operation.error)
        worker.operations.act(operation_id, Trigger.ROLLBACK)
    return operation


def test_a_killed_nodes_operations_are_taken_over(new_postgresql: str, tmp_path: Path) -> None:
    world = World(state_file=tmp_path / "world.json")
    world.inject(Fault(action=Action.DELAY, verb="ensure", kind="node", seconds=20.0, times=0))
    database = Database.open(new_postgresql)
    submitter = Worker(database, FakeExecutor(world))
    engine = DbosEngine(database)
    nodes = [WorkerProcess(new_postgresql, tmp_path / "world.json", lease_s=None) for _ in range(NODES)]
    try:
        for node in nodes:
            node.wait_for("working")
        attempts = []
        for number in range(OPERATIONS):
            wanted = service(f"{number:08x}")
            ns = NsInstance(id=wanted.service_id, name=wanted.service_name, nsd_id="n", nsd_package="p", flavour_id="f")
            with database.begin() as tx:
                instances.add(tx, ns)
            plan = diff(wanted, {}, None, OperationKind.INSTANTIATE)
            target = Target(ns_state=NsState.INSTANTIATED, desired=wanted)
            attempts.append((submitter.operations.submit(plan, target).id, 1))

        until = time.monotonic() + 300.0
        while any(entry.status is QueueStatus.WAITING for entry in engine.status(attempts).values()):
            assert time.monotonic() < until
            time.sleep(0.1)
        entries = engine.status(attempts).items()
        work = {node: [name for name, entry in entries if f"-{node.process.pid}-" in entry.worker] for node in nodes}
        victim, mine = max(work.items(), key=lambda one: len(one[1]))
        epochs = {name: submitter.operations.get(name)[0].epoch for name in mine}
        victim.kill()
        killed = time.monotonic()

        def left() -> bool:
            """Whether there is one that nobody has claimed since, and that has not ended."""
            now = {name: submitter.operations.get(name)[0] for name in mine}
            return any(op.epoch == epochs[n] and op.state is OperationState.PROCESSING for n, op in now.items())

        assert_taken_over(f"{len(mine)} of {OPERATIONS} operations of a killed node", database, left, killed)
        world.heal()
        ends = [ended(submitter, name) for name, _ in attempts]
        whole = [end.ns_id for end in ends if end.state is OperationState.COMPLETED]
        for end in ends:
            if end.state is not OperationState.COMPLETED:  # a machine too busy to answer in time may cost some
                print(end.state, end.error)
                assert end.state is OperationState.ROLLED_BACK
        keys = [n.spec.key for n in world.natives(OWNER) if n.spec.kind is not ResourceKind.IMAGE]
        assert len(keys) == len(set(keys)) == 4 * len(whole)
        assert {key.partition("/")[0] for key in keys} == set(whole)
    finally:
        for node in nodes:
            if node.process.poll() is None:
                node.kill()
        engine.close()
        submitter.close()
        database.close()
