"""PostgreSQL goes away in the midst of an operation and comes back: who waits is told so in a line, and it goes on."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Cli, Done

from manor.api import ResourceKind
from manor.fakes import Action, Fault, World
from manor.testing.postgresql import PrivatePostgresql, new_database, stoppable_postgresql

pytestmark = [pytest.mark.slow, pytest.mark.real]

_PATIENCE_S = 240.0


@pytest.fixture
def server() -> Iterator[PrivatePostgresql]:
    with stoppable_postgresql() as server:
        yield server


@pytest.fixture
def world(manor: Cli, packages: Path, server: PrivatePostgresql, monkeypatch: pytest.MonkeyPatch) -> World:
    """Where the machines of a service do not come up until it is healed."""
    monkeypatch.setenv("MANOR_DB", new_database(server.url))
    manor.good("vim", "add", "lab", "--driver", "fake")
    manor.good("sdn", "add", "net", "--driver", "fake")
    manor.good("package", "onboard", str(packages))
    manor.good("ns", "create", "secure-web", "--name", "web")
    world = World(state_file=manor.home / "endpoints/vim-lab/world.json")
    world.inject(Fault(action=Action.HANG, verb="ensure", kind="node", times=0))
    return world


def operation_that_makes_machines(manor: Cli, attempt: int) -> str:
    """Its id, once all of them are begun for this time."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        for operation in manor.good("--json", "op", "list").json:
            steps = manor.good("--json", "op", "show", operation["id"]).json["steps"]
            nodes = [s for s in steps if s["step"]["kind"] == "node" and s["step"]["verb"] == "ensure"]
            if all(s["state"] == "intended" and s["attempt"] >= attempt for s in nodes):
                return str(operation["id"])
        time.sleep(0.2)
    raise AssertionError("no machine was begun")


def ended(process: subprocess.Popen[str]) -> Done:
    try:
        out, err = process.communicate(timeout=_PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return Done(process.returncode, out, err)


def read_until(process: subprocess.Popen[str], *words: str) -> None:
    """Read its log until all of these were said."""
    assert process.stderr is not None
    left = set(words)
    overdue = threading.Timer(_PATIENCE_S, process.kill)
    overdue.start()
    try:
        while left:
            line = process.stderr.readline()
            assert line, f"it ended before it said {left}"
            assert "Traceback" not in line
            left -= {word for word in left if word in line}
    finally:
        overdue.cancel()


def test_who_waits_is_told_and_the_operation_goes_on(manor: Cli, world: World, server: PrivatePostgresql) -> None:
    command = manor.process("ns", "instantiate", "web", "--yes")
    operation = operation_that_makes_machines(manor, attempt=1)
    server.stop()
    told = ended(command)
    listed = manor("ns", "list")
    server.start()
    assert told.code == listed.code == 8
    said = [line for line in told.err.splitlines() if not line[:2].isdigit()]  # without the steps that went well
    assert [line.partition(":")[0] for line in said] == ["error", "hint"], told.err
    assert "the database cannot be used" in said[0]
    assert f"manor op watch {operation}" in said[1]
    assert listed.err.startswith("error: the database cannot be used: ")

    node = manor.process("serve")
    try:
        assert operation_that_makes_machines(manor, attempt=2) == operation
        server.stop()
        read_until(node, "waiting for the database", f"operation {operation} stops here")
        world.heal()
        server.start()
        read_until(node, "the database is back", "is back in")
        assert "INSTANTIATE web COMPLETED" in manor.good("op", "watch", operation).out
    finally:
        node.terminate()
        said_at_last = ended(node)
    assert said_at_last.code == 0, said_at_last.err
    assert manor.good("--json", "ns", "drift", "web").json["drift"] is False
    made = [native.spec.key for native in world.natives() if native.spec.kind is ResourceKind.NODE]
    assert len(made) == len(set(made)) == 4
