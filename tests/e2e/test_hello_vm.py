"""The smallest service on a real hypervisor, as the tutorial has it, and with PostgreSQL for its database."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from manor.lcm.engine import DbosEngine
from manor.model.instance import OperationState, StepState
from manor.store import operations
from manor.store.database import Database
from manor.testing.postgresql import new_database, private_postgresql

from .conftest import MANOR

pytestmark = [pytest.mark.real, pytest.mark.slow]

PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def db() -> Iterator[str]:
    with private_postgresql() as server:
        yield new_database(server)


def assert_emptied(site: Any) -> None:
    """Nothing is left once the packages are gone too."""
    for package in sorted(site.ask("package", "list"), key=lambda p: p["kind"] != "ns"):
        site.manor("package", "delete", package["id"])
    assert site.leftovers() == {}


def test_from_package_to_machine_through_drift_and_back_to_nothing(site: Any, packages: Path, tmp_path: Path) -> None:
    site.manor("package", "onboard", *map(str, sorted((packages / "hello-vm").glob("*.csar"))))
    greeting = tmp_path / "greeting"
    greeting.write_text("Psst")
    greeting.chmod(0o600)
    site.manor("ns", "create", "hello-vm", "--name", "hello", "--secret", f"greeting={greeting}")
    plan = tmp_path / "plan.json"
    site.manor("ns", "plan", "hello", "--save", str(plan))
    site.manor("ns", "instantiate", "hello", "--plan", str(plan))
    (vnf,) = site.ask("ns", "topology", "hello")["vnfs"]
    (machine,) = vnf["vnfcs"]
    assert machine["state"] == "active"
    said = site.inside(f"hello/{vnf['name']}", "hostname")
    assert said.stdout.strip() == f"hello-{machine['name']}"
    assert "READY" in site.manor("vnf", "console", f"hello/{vnf['name']}", "--log")

    picture = site.manor("ns", "topology", "hello", "--format", "svg")
    assert picture.lstrip().startswith(("<?xml", "<svg"))

    # A secret is in the machine, and nowhere in what Manor keeps.
    assert site.inside(f"hello/{vnf['name']}", "cat", "/www/index.html").stdout.startswith("Psst from hello")
    assert not [path for path in site.home.rglob("*") if path.is_file() and b"Psst" in path.read_bytes()]
    kept = subprocess.run(["pg_dump", "--data-only", "--dbname", site.db], check=True, capture_output=True).stdout
    assert b"@secret:" in kept
    assert b"Psst" not in kept

    # The database is copied while it is in use, and nothing is put over it.
    site.manor("db", "backup", str(tmp_path / "copy.db"))
    site.manor("db", "restore", str(tmp_path / "copy.db"), expect=8)

    # Day 2: what the package offers is done inside, and proven inside.
    assert "greet" in site.manor("vnf", "action", f"hello/{vnf['name']}")
    site.manor("vnf", "action", f"hello/{vnf['name']}", "greet", "--param", "text=it's; me", "--yes")
    assert site.inside(f"hello/{vnf['name']}", "cat", "/www/index.html").stdout == "it's; me\n"

    # A lifecycle script runs at its event, though no step touches the machine.
    site.manor("vnf", "modify", f"hello/{vnf['name']}", "--name", "front", "--yes")
    changed = "What is said of me has changed.\n"
    assert site.inside(f"hello/{vnf['name']}", "cat", "/www/index.html").stdout == changed

    # Killed behind our back, it shows as drift and comes back under the same name and address.
    (domain,) = site.domains()
    site.lab.run("virsh", "destroy", domain)
    assert "hello" in site.manor("ns", "drift", "hello", expect=1)
    site.manor("ns", "drift", "hello", "--repair", "--yes")
    site.manor("ns", "drift", "hello")
    assert site.domains() == [domain]

    # What was approved for one world is not done in another.
    site.manor("ns", "instantiate", "hello", "--plan", str(plan), expect=2)

    site.manor("ns", "terminate", "hello", "--yes")
    site.manor("ns", "delete", "hello")
    assert_emptied(site)


def until(what: str, so: Callable[[], Any]) -> Any:
    """Wait until it is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not (found := so()):
        assert time.monotonic() < end_s, what
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def serving(site: Any, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many servers on the one home, each ready; those that still run at the end are stopped."""
    log = site.home / "serve.log"
    log.write_bytes(b"")
    with log.open("ab") as file:
        argv = [MANOR, "serve"]
        served = [
            subprocess.Popen(argv, env=site.env, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
            for _ in range(number)
        ]
    try:
        until(log.name, lambda: log.read_text().count("serving") == number)
        yield served
    finally:
        for server in served:
            server.terminate()
        for server in served:
            server.wait(PATIENCE_S)


def agents(site: Any) -> list[int]:
    """Processes of the controller's agent that belong to the site's home."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            argv = (process / "cmdline").read_bytes().split(b"\0")
            if b"manor_sdn_ryu.agent" in argv and any(os.fsencode(site.home) in word for word in argv):
                found.append(int(process.name))
    return found


def test_of_two_servers_on_one_home_one_finishes_what_the_other_had_begun(site: Any, packages: Path) -> None:
    site.manor("package", "onboard", *map(str, sorted((packages / "hello-vm").glob("*.csar"))))
    site.manor("ns", "create", "hello-vm", "--name", "twice")
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(contextlib.closing(Database.open(site.db)))
        engine = stack.enter_context(contextlib.closing(DbosEngine(database)))
        servers = stack.enter_context(serving(site, 2))

        def at_work() -> Any:
            with database.read() as tx:
                found = operations.at_work(tx)
            return found[0] if found else None

        def makes_machine() -> bool:
            with database.read() as tx:
                records = operations.steps(tx, operation.id)
            return any(r.step.kind == "node" and r.state is not StepState.PLANNED for r in records)

        def is_taken_over() -> bool:
            with database.read() as tx:
                return operations.get(tx, operation.id).epoch > killed.epoch

        argv = [MANOR, "ns", "instantiate", "twice", "--yes", "--no-wait"]
        begun = subprocess.Popen(argv, env=site.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        operation = until("it is accepted", at_work)
        for agent in agents(site):
            with contextlib.suppress(ProcessLookupError):
                os.kill(agent, signal.SIGKILL)  # so that a server has to start it
        until("a machine is being made", makes_machine)
        worker = engine.status([(operation.id, operation.attempt)])[operation.id].worker
        (victim,) = [server for server in servers if f"-{server.pid}-" in worker]
        victim.kill()
        killed_s = time.monotonic()
        victim.wait()
        with database.read() as tx:
            killed = operations.get(tx, operation.id)
        assert killed.state is OperationState.PROCESSING, "it was killed in the middle"
        said, _ = begun.communicate(timeout=PATIENCE_S)
        assert begun.returncode == 0, said
        until("the other takes it over", is_taken_over)
        print(f"taken over in {time.monotonic() - killed_s:.1f} s")
        until("the other is through", lambda: not at_work())
        (ended,) = site.ask("op", "list")[:1]
        assert (ended["id"], ended["state"]) == (operation.id, "COMPLETED")
        assert len(site.domains()) == 1
        site.manor("ns", "drift", "twice")  # links' rules among it
        site.manor("vim", "orphans")
        until("one agent lives", lambda: len(agents(site)) == 1)  # the servers may both have begun to start one
        assert site.inside("twice/hello", "hostname").stdout == "twice-hello-hello-0\n"
        site.manor("ns", "terminate", "twice", "--yes")
    site.manor("ns", "delete", "twice")
    assert_emptied(site)
