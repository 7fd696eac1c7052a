"""A database copied in the midst of an operation and restored elsewhere: the operation goes on, on what is there."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from lcm_world import OWNER, FakeExecutor, service
from processes import WorkerProcess

from manor.api import OperationKind, ResourceKind
from manor.errors import StoreError
from manor.fakes import Action, Fault, World
from manor.lcm.diff import diff
from manor.lcm.target import Target
from manor.lcm.worker import Worker
from manor.model.instance import NsInstance, NsState, OperationState
from manor.store import instances, notifications
from manor.store.backup import backup, restore
from manor.store.database import Database
from manor.testing.postgresql import new_database

_PATIENCE_S = 120.0


@pytest.fixture(
    params=[pytest.param("sqlite", marks=pytest.mark.sqlite), pytest.param("postgresql", marks=pytest.mark.real)]
)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Two databases, neither made yet."""
    if request.param == "sqlite":
        return str(tmp_path / "old" / "manor.db"), str(tmp_path / "new" / "manor.db")
    if shutil.which("pg_dump") is None:
        pytest.skip("needs pg_dump")
    server = request.getfixturevalue("postgresql")
    return new_database(server), new_database(server)


@pytest.mark.slow
def test_what_ran_when_it_was_copied_goes_on_where_it_is_restored(urls: tuple[str, str], tmp_path: Path) -> None:
    old_url, new_url = urls
    world = World(state_file=tmp_path / "world.json")
    world.inject(Fault(action=Action.DELAY, verb="ensure", kind="node", seconds=60.0, times=0))
    wanted = service()
    with Database.open(old_url) as old:
        submitter = Worker(old, FakeExecutor(world))
        ns = NsInstance(id=wanted.service_id, name=wanted.service_name, nsd_id="n", nsd_package="p", flavour_id="f")
        with old.begin() as tx:
            instances.add(tx, ns)
        node = WorkerProcess(old_url, tmp_path / "world.json")
        try:
            node.wait_for("working")
            plan = diff(wanted, {}, None, OperationKind.INSTANTIATE)
            target = Target(ns_state=NsState.INSTANTIATED, desired=wanted)
            operation = submitter.operations.submit(plan, target)
            until = time.monotonic() + _PATIENCE_S
            while not any(r.step.kind == "node" and r.started_s for r in submitter.operations.get(operation.id)[1]):
                assert time.monotonic() < until
                time.sleep(0.05)
            assert backup(old_url, tmp_path / "copy") > 0
            assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
            with pytest.raises(StoreError, match=r"a process works on|is not empty"):
                restore(old_url, tmp_path / "copy")
        finally:
            node.kill()
        submitter.close()
        with pytest.raises(StoreError, match=r"is there already|is not empty"):
            restore(old_url, tmp_path / "copy")
        installation = old.installation_id

    restore(new_url, tmp_path / "copy")
    world.heal()
    node = WorkerProcess(new_url, tmp_path / "world.json")
    try:
        node.wait_for("working")
        with Database.open(new_url, create=False) as new:
            assert new.installation_id == installation
            submitter = Worker(new, FakeExecutor(world))
            assert submitter.operations.wait(operation.id).state is OperationState.COMPLETED
            submitter.close()
            with new.read() as tx:
                assert instances.get(tx, ns.name).state is NsState.INSTANTIATED
                told = notifications.after(tx, 0)
        assert [one.seq for one in told] == sorted({one.seq for one in told})
    finally:
        node.kill()
    keys = [n.spec.key for n in world.natives(OWNER) if n.spec.kind is not ResourceKind.IMAGE]
    assert len(keys) == len(set(keys)) == 4
