"""What an operator does from a first look to nothing left, by the command line alone."""

import json
import os
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from shell import COMMAND, Cli

from manor.store import operations
from manor.store.database import Database
from manor.store.migrations import SCHEMA_VERSION


def test_the_whole_life(site: Cli, tmp_path: Path) -> None:
    assert {p["kind"] for p in site.good("--json", "package", "list").json} == {"vnf", "ns"}
    site.good("ns", "create", "secure-web", "--name", "web")

    planned = site.good("ns", "plan", "web", "--save", str(tmp_path / "plan.json"))
    assert "+ node" in planned.out
    assert "to create" in planned.out
    assert (tmp_path / "plan.json").stat().st_mode & 0o077 == 0

    done = site.good("ns", "instantiate", "web", "--plan", str(tmp_path / "plan.json"))
    assert "INSTANTIATE web COMPLETED in" in done.out
    assert "node client" in done.err

    (listed,) = site.good("--json", "ns", "list").json
    assert (listed["name"], listed["state"]) == ("web", "INSTANTIATED")
    assert "secure-web-1.0" in site.good("ns", "list").out
    assert "Demo web server-1.0" in site.good("vnf", "list", "web").out
    shown = site.good("ns", "show", listed["id"][:4]).out
    assert "lab/host-1" in shown
    assert "active" in shown

    assert "[1] firewall" in site.good("ns", "topology", "web").out
    site.good("ns", "topology", "web", "-f", "svg", "-o", str(tmp_path / "web.svg"))
    assert ET.parse(tmp_path / "web.svg").getroot().tag.endswith("svg")
    picture = site.good("ns", "topology", "web", "--format", "json").json
    assert [hop["name"] for chain in picture["chains"] for hop in chain["hops"]]

    (chain,) = site.good("--json", "chain", "list", "web").json
    assert chain["path"] == "client > firewall > monitor > web"
    site.good("chain", "show", "web")
    assert site.good("--json", "chain", "counters", "web").json["packets"]

    assert "critical path" in site.good("op", "timeline", "web").out
    site.good("op", "timeline", "web", "-f", "svg", "-o", str(tmp_path / "op.svg"))
    assert site.good("--json", "op", "show", "web").json["operation"]["state"] == "COMPLETED"

    ran = site("vnf", "exec", "web/client", "--", "echo", "--json", "-v")
    assert (ran.code, ran.out.strip()) == (0, "echo --json -v")
    assert site.good("--json", "ns", "drift", "web").json["drift"] is False

    site.good("--json", "ns", "terminate", "web", "--yes")
    site.good("ns", "delete", "web")
    assert site.good("--json", "vim", "orphans").json == {"orphans": [], "silent": {}}
    for package in site.good("--json", "package", "list").json[::-1]:
        site.good("package", "delete", package["id"])
    site.good("vim", "remove", "lab")
    site.good("sdn", "remove", "net")


SHOWING = """
vim list
vim show lab
vim check
sdn list
sdn show net
package list
package show secure-web
ns list
ns show web
ns plan web --operation terminate
ns drift web
ns topology web
vnf list
vnf show web/client
vnf console web/client
chain list
chain show web
chain counters web
op list
op show web
op timeline web
plugin list
plugin show fake
db show
vim orphans
"""


def test_a_plugin_shows_the_settings_within_its_settings(site: Cli) -> None:
    shown = site.good("--json", "plugin", "show", "libvirt").json["records"]
    settings = {each["name"]: each for record in shown for each in record["settings"]}
    assert settings["hosts[].uri"]["default"] == "(required)"
    assert "SSH private key" in settings["hosts[].key_file"]["description"]
    assert settings["accel"]["type"] == "auto|kvm|tcg"


@pytest.mark.slow
def test_json_is_clean_and_one_document_on_everything_that_lists_or_shows(site: Cli) -> None:
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
    for line in SHOWING.strip().splitlines():
        assert site.good("--json", *line.split()).json is not None, line


def test_nothing_is_changed_without_a_yes(site: Cli) -> None:
    site.good("ns", "create", "secure-web", "--name", "web")
    done = site("ns", "instantiate", "web")
    assert done.code == 2
    assert "+ node" in done.out
    assert "add --yes" in done.err
    assert site.good("--json", "op", "list").json == []


@pytest.mark.slow
def test_a_plan_that_the_world_outran_is_refused(site: Cli, tmp_path: Path) -> None:
    site.good("ns", "create", "secure-web", "--name", "web")
    file = str(tmp_path / "plan.json")
    site.good("ns", "plan", "web", "--save", file)
    site.good("ns", "instantiate", "web", "--yes")
    site.good("ns", "terminate", "web", "--yes")  # leaves the images, which the plan meant to make
    done = site("ns", "instantiate", "web", "--plan", file)
    assert done.code == 4
    assert "changed since" in done.err
    document = json.loads(Path(file).read_text())
    document["steps"][0]["host"] = "elsewhere"
    Path(file).write_text(json.dumps(document))
    assert site("ns", "instantiate", "web", "--plan", file).code == 2


def test_a_package_that_is_refused_says_where(manor: Cli, tmp_path: Path, packages: Path) -> None:
    broken = tmp_path / "vnfd.yaml"
    broken.write_text("tosca_definitions_version: tosca_simple_yaml_1_3\nnode_types: [\n")
    done = manor("--json", "package", "validate", str(broken), str(packages))
    assert done.code == 3
    by_path = {Path(item["path"]).name: item for item in done.json}
    assert by_path["vnfd.yaml"]["accepted"] is False
    assert by_path["vnfd.yaml"]["findings"][0]["line"] > 0
    assert by_path["client.csar"]["accepted"] is True
    done = manor("package", "onboard", str(broken))
    assert done.code == 3
    assert "vnfd.yaml:" in done.err


@pytest.mark.slow
def test_a_step_that_fails_is_rolled_back_or_held_and_then_retried(site: Cli) -> None:
    from manor.fakes import Action, Fault

    site.good("ns", "create", "secure-web", "--name", "web")
    world_of(site).inject(
        Fault(verb="ensure", kind="node", key="*/monitor/*", action=Action.FAIL, error="Permanent", times=2)
    )
    done = site("--json", "ns", "instantiate", "web", "--yes")
    assert done.code == 5
    assert done.json["error"]["class"] == "OperationFailed"
    assert "rolled back" in done.json["error"]["message"]
    done = site("ns", "instantiate", "web", "--yes", "--on-failure", "hold")
    assert done.code == 5
    assert "manor op retry" in done.err
    assert "failed" in site.good("op", "show", "web").out
    (held, _) = site.good("--json", "op", "list").json
    with Database.open(os.environ.get("MANOR_DB") or site.home / "manor.db") as database, database.begin() as tx:
        operations.set_columns(tx, held["id"], start_s=held["start_s"] - 86400)
    done = site.good("op", "retry", held["id"])
    assert "COMPLETED in " in done.out
    assert " h " not in done.out, "how long it was held is not how long it took"
    assert site("op", "retry", held["id"]).code == 2


def world_of(site: Cli) -> Any:
    """What the VIM ``lab`` stands on, to bring misfortune upon it."""
    from manor.fakes.world import FakeHost, World

    return World(hosts=[FakeHost(name="host-1")], state_file=site.home / "endpoints" / "vim-lab" / "world.json")


def until(process: subprocess.Popen[str], words: str, seconds: float = 120.0) -> str:
    """What the process said on stderr up to the line with these words; one that never says them is ended."""
    assert process.stderr is not None
    said = ""
    # Not by select: lines that are read ahead into the stream's buffer make no file readable.
    watchdog = threading.Timer(seconds, process.kill)
    watchdog.start()
    try:
        while words not in said:
            line = process.stderr.readline()
            assert line, f"ended without saying {words!r}: {said}"
            said += line
    finally:
        watchdog.cancel()
    return said


@pytest.fixture
def endless_site(manor: Cli, packages: Path) -> Cli:
    """As ``slow_site``, with machines that never answer: only a cancel ends the wait for them."""
    return _site(manor, packages, boot_s=3600)


@pytest.fixture
def slow_site(manor: Cli, packages: Path) -> Cli:
    return _site(manor, packages, boot_s=3)


def _site(manor: Cli, packages: Path, *, boot_s: int) -> Cli:
    manor.good("vim", "add", "lab", "--driver", "fake", "-o", f"boot_s={boot_s}")
    manor.good("sdn", "add", "net", "--driver", "fake")
    manor.good("package", "onboard", str(packages))
    manor.good("ns", "create", "secure-web", "--name", "web")
    return manor


@pytest.mark.slow
def test_ctrl_c_leaves_an_operation_that_goes_on(site: Cli) -> None:
    from manor.fakes import Fault

    site.good("ns", "create", "secure-web", "--name", "web")
    world = world_of(site)
    world.inject(Fault(verb="guest_ping", error="Transient", times=0))  # no machine answers, for as long as it takes
    process = site.process("ns", "instantiate", "web", "--yes")
    until(process, "verify vnf")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Go on with: manor op watch" in said
    assert "Traceback" not in said
    world.heal()
    events = site.good("--json", "op", "watch", "web").out.splitlines()
    assert json.loads(events[-1])["state"] == "COMPLETED"
    assert len(site.good("--json", "op", "list").json) == 1


@pytest.mark.slow
def test_serve_works_off_what_commands_submit_and_stops_cleanly(slow_site: Cli) -> None:
    server = slow_site.process("serve")
    try:
        until(server, "serving")
        if "MANOR_DB" not in os.environ:  # on PostgreSQL a second one shares the work, and does not end
            refused = slow_site("serve")
            assert refused.code == 2
            assert f"is served already, by process {server.pid}\n" in refused.err
        serving = slow_site.good("doctor", "--only", "serve").out
        assert f"process {server.pid} works off operations" in serving
        submitted = slow_site.good("--json", "ns", "instantiate", "web", "--yes", "--no-wait").json
        assert os.path.exists(slow_site.home / "serve.lock")
        done = slow_site.good("op", "watch", submitted["operation_id"])
        assert "COMPLETED" in done.out
    finally:
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=120)
    assert server.returncode == 0, said
    assert "Traceback" not in said


def test_paging_goes_through_all(site: Cli) -> None:
    for number in range(5):
        site.good("ns", "create", "secure-web", "--name", f"s{number}")
    seen, marker = [], ""
    while True:
        done = site.good("--json", "ns", "list", "--limit", "2", *(["--after", marker] if marker else []))
        seen += [ns["name"] for ns in done.json]
        if "next:" not in done.err:
            break
        marker = done.err.split("--after ")[1].strip()
    assert seen == [f"s{number}" for number in range(5)]


def test_names_complete_from_the_shell(site: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("web", "wide", "mail"):
        site.good("ns", "create", "secure-web", "--name", name)
    monkeypatch.setenv("_MANOR_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "manor ns show w")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert site().out.split() == ["web", "wide"]


@pytest.mark.sqlite
def test_the_database_can_be_shown_and_backed_up(site: Cli, tmp_path: Path) -> None:
    assert site.good("--json", "db", "show").json["schema_version"] == SCHEMA_VERSION
    site.good("db", "backup", str(tmp_path / "copy.db"))
    assert (tmp_path / "copy.db").stat().st_mode & 0o077 == 0
    assert site("db", "backup", str(tmp_path / "copy.db")).code == 2
    listed = site.good("--db", str(tmp_path / "copy.db"), "--json", "package", "list").json
    assert len(listed) == 5


@pytest.mark.slow
def test_a_terminal_shows_bars_and_what_is_under_way(slow_site: Cli) -> None:
    import pty

    main_end, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "ns", "instantiate", "web", "--yes"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(terminal)
        said = b""
        while True:
            try:
                said += os.read(main_end, 65536)
            except OSError:  # the last one has closed the terminal
                break
        os.close(main_end)
        assert process.wait(timeout=120) == 0
    text = said.decode()
    assert "✓ " in text
    assert "━" in text
    assert "/19" in text
    assert "verify vnf client" in text
    assert "INSTANTIATE web COMPLETED in" in text


@pytest.mark.slow
def test_a_cancelled_operation_stops_and_can_be_rolled_back(endless_site: Cli) -> None:
    site = endless_site
    process = site.process("ns", "instantiate", "web", "--yes")
    until(process, "verify vnf")
    site.good("op", "cancel", "web", "--mode", "FORCEFUL")
    process.communicate(timeout=120)
    assert process.returncode == 5
    assert site.good("--json", "op", "show", "web").json["possible"] == ["retry", "rollback", "continue", "fail"]
    assert "ROLLED_BACK" in site.good("op", "rollback", "web").out
    assert site.good("--json", "vim", "orphans").json["orphans"] == []
