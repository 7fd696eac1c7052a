"""Two ``manor serve`` on one PostgreSQL, each with a home of its own: they share the work; one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from manor.fakes import Action, Fault, World
from manor.lcm.engine import DbosEngine, QueueStatus
from manor.model.instance import OperationState
from manor.store import operations
from manor.store.database import Database
from trial_packages import packed

pytestmark = [pytest.mark.slow, pytest.mark.real]

MANOR = str(Path(sys.executable).parent / "manor")
SERVICES = 4
PATIENCE_S = 240.0


class Node:
    """One home, and the server on it."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.env = {**os.environ, "MANOR_HOME": str(home), "MANOR_DB": url}
        self.served: subprocess.Popen[bytes] | None = None

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Begin a command."""
        pipe = subprocess.PIPE
        argv = (MANOR, "--json", *argv)
        return subprocess.Popen(argv, env=self.env, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True)

    def manor(self, *argv: str) -> Any:
        """Run a command; its answer."""
        (said,) = at_once(self.start(*argv))
        return json.loads(said) if said.strip() else None

    def serve(self) -> None:
        """Start the server, and wait until it says that it serves."""
        log = self.home / "serve.log"
        with log.open("wb") as file:
            self.served = subprocess.Popen(
                [MANOR, "serve"], env=self.env, stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )
        until(f"{self.home.name} serves", lambda: "serving" in log.read_text())

    def stop(self, number: int) -> None:
        """End it, however it takes it."""
        if self.served is not None:
            self.served.send_signal(number)
            self.served.wait(PATIENCE_S)
            self.served = None


def at_once(*commands: subprocess.Popen[str]) -> list[str]:
    """What commands that run beside each other said; each must succeed."""
    said = [command.communicate(timeout=PATIENCE_S) for command in commands]
    for command, (_, error) in zip(commands, said, strict=True):
        assert command.returncode == 0, error
    return [out for out, _ in said]


def until(what: str, so: Any) -> Any:
    """Wait until it is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not (found := so()):
        assert time.monotonic() < end_s, what
        time.sleep(0.1)
    return found


def test_one_server_completes_what_another_had_begun_when_it_was_killed(new_postgresql: str, tmp_path: Path) -> None:
    one, other = Node(tmp_path / "one", new_postgresql), Node(tmp_path / "other", new_postgresql)
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
        for node in (one, other):
            node.serve()
        world.inject(Fault(action=Action.DELAY, verb="ensure", kind="node", seconds=20.0, times=0))
        commands = [one.start("ns", "instantiate", name, "--yes", "--no-wait") for name in names]

        def busiest() -> tuple[Node, list[str]] | None:
            """Who works off most of what has begun; None while nobody does."""
            with database.read() as tx:
                begun = [(operation.id, operation.attempt) for operation in operations.at_work(tx)]
            running = {n: e.worker for n, e in engine.status(begun).items() if e.status is QueueStatus.RUNNING}
            of = {node: f"-{node.served.pid}-" for node in (one, other) if node.served is not None}
            work = {node: [name for name, worker in running.items() if mark in worker] for node, mark in of.items()}
            return max(work.items(), key=lambda item: len(item[1])) if any(work.values()) else None

        victim, work = until("work is given out", busiest)
        victim.stop(signal.SIGKILL)
        survivor = one if victim is other else other
        with database.read() as tx:
            states = [operations.get(tx, name).state for name in work]
        assert OperationState.PROCESSING in states, "it was killed in the middle"
        at_once(*commands)
        world.heal()
        until(
            "the other has completed all of it",
            lambda: all(op["state"] == "COMPLETED" for op in survivor.manor("op", "list")),
        )
        for name in names:
            assert survivor.manor("ns", "drift", name)["drift"] is False
        assert len(survivor.manor("op", "list")) == SERVICES, "each operation once"
        assert survivor.manor("vim", "orphans") == {"orphans": [], "silent": {}}
    finally:
        for node in (one, other):
            node.stop(signal.SIGTERM)
        engine.close()
        database.close()
