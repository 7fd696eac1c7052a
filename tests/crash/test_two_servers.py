"""Three ``manor serve`` on one PostgreSQL, two on one home and one on another: they share the work; one is killed."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from heartbeats import assert_taken_over
from servers import Node, at_once, until
from sqlalchemy import text

from manor.api import ResourceKind
from manor.fakes import Action, Fault, World
from manor.lcm.engine import DbosEngine, QueueStatus
from manor.model.instance import OperationState, StepState
from manor.serve import alive
from manor.store import operations
from manor.store.database import Database
from trial_packages import packed

pytestmark = [pytest.mark.slow, pytest.mark.real]

SERVICES = 4


def is_under_way(database: Database, names: list[str]) -> bool:
    """Whether a machine is being made for one of these operations, which takes long."""
    with database.read() as tx:
        steps = [record for name in names for record in operations.steps(tx, name)]
    return any(r.state is StepState.INTENDED and r.step.kind == "node" for r in steps)


def leader(database: Database) -> str:
    """Who holds the lease of those that raise alarms and heal; empty where nobody does yet."""
    with database.read() as tx:
        value = tx.execute(text("SELECT value FROM manor_meta WHERE key = 'assurance_leader'")).scalar()
    return str(json.loads(value)["who"]) if value else ""


def test_servers_complete_what_another_had_begun_when_it_was_killed(new_postgresql: str, tmp_path: Path) -> None:
    one, twin = (Node(tmp_path / "one", new_postgresql, name) for name in ("one", "twin"))
    other = Node(tmp_path / "other", new_postgresql, "other")
    nodes = (one, twin, other)
    shared = tmp_path / "world.json"
    world = World(state_file=shared)
    one.manor("vim", "add", "lab", "--driver", "fake", "-o", f"state_file={shared}")
    one.manor("sdn", "add", "net", "--driver", "fake", "-o", f"state_file={shared}")
    one.manor("package", "onboard", str(packed(tmp_path / "packages")))
    other.home.mkdir(mode=0o700)
    (other.home / "packages").symlink_to(one.home / "packages")
    names = [f"demo{number}" for number in range(SERVICES)]
    for name in names:
        one.manor("ns", "create", "secure-web", "--name", name)
    database = Database.open(new_postgresql)
    engine = DbosEngine(database)
    try:
        one.serve()
        home = until("it leads", lambda: leader(database))
        twin.serve()
        other.serve()
        assert alive(one.home) == one.pid
        world.inject(Fault(action=Action.DELAY, verb="ensure", kind="node", seconds=20.0, times=0))
        commands = [one.start("ns", "instantiate", name, "--yes", "--no-wait") for name in names]

        def busiest() -> tuple[Node, list[str]] | None:
            """Who works off most of what has begun; None while nobody does."""
            with database.read() as tx:
                begun = [(operation.id, operation.attempt) for operation in operations.at_work(tx)]
            running = {n: e.worker for n, e in engine.status(begun).items() if e.status is QueueStatus.RUNNING}
            work = {node: [n for n, worker in running.items() if f"-{node.pid}-" in worker] for node in nodes}
            node, names = max(work.items(), key=lambda item: len(item[1]))
            return (node, names) if names and is_under_way(database, names) else None

        victim, work = until("work is given out", busiest)
        victim.stop(signal.SIGKILL)
        killed_s = time.monotonic()
        assert is_under_way(database, work), "it was killed in the middle"
        with database.read() as tx:
            begun = {name: operations.get(tx, name) for name in work}

        def is_left() -> bool:
            """Whether something is still as it was when its server died."""
            with database.read() as tx:
                now = [operations.get(tx, name) for name in work]
            return any(op.state is OperationState.PROCESSING and op.epoch == begun[op.id].epoch for op in now)

        assert_taken_over(f"{len(work)} of {SERVICES} operations of a killed server", database, is_left, killed_s)
        at_once(*commands)
        world.heal()
        survivor = other if victim is twin else twin
        until(
            "the others have completed all of it",
            lambda: all(op["state"] == "COMPLETED" for op in survivor.manor("op", "list")),
        )
        for name in names:
            assert survivor.manor("ns", "drift", name)["drift"] is False
        assert len(survivor.manor("op", "list")) == SERVICES, "each operation once"
        # From the victim's home: who uses it next takes away what it left below /run.
        assert victim.manor("vim", "orphans") == {"orphans": [], "silent": {}}
        if victim is not other:
            other.stop(signal.SIGTERM)  # who watches the home now is to do so, and nobody else could
        until("the home leads", lambda: leader(database) == home)
        heir = one
        if victim is not twin:
            one.stop(signal.SIGKILL)  # where it was not the victim
            heir = twin
        until("the home's server that lives watches", lambda: alive(one.home) == heir.pid)
        world.destroy(next(n.spec.key for n in world.natives(database.owner) if n.spec.kind is ResourceKind.NODE))
        healed = {"operation": "HEAL", "state": "COMPLETED"}
        until(
            f"{heir.log.name}: it heals", lambda: any(healed.items() <= op.items() for op in heir.manor("op", "list"))
        )
        assert leader(database) == home, "the lease is the home's: nobody waits for it to run out"
    finally:
        for node in nodes:
            node.stop(signal.SIGTERM)
        engine.close()
        database.close()
