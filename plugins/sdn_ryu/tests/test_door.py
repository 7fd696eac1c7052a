"""The agent's door: who may open it, and what an agent of another release is answered and told."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from manor.api import CallContext, DriverEnvironment
from manor.errors import Permanent, Transient
from manor_sdn_ryu.config import RyuConfig
from manor_sdn_ryu.link import AgentLink, _alive
from manor_sdn_ryu.protocol import VERSION

from .conftest import Rig, eventually


@pytest.fixture
def link(tmp_path: Path) -> AgentLink:
    """A driver's side, whose agent is whatever a test puts at its socket."""
    environment = DriverEnvironment(name="t", owner="manor/t", state_dir=tmp_path, runtime_dir=tmp_path)
    return AgentLink(RyuConfig(), environment, lambda _: None)


def agent(link: AgentLink, answer: bytes) -> threading.Thread:
    """Something that answers one request with this line, and is gone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(link.socket))
    listener.listen(1)

    def serve() -> None:
        with listener, listener.accept()[0] as connected:
            connected.recv(4096)
            connected.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("theirs", "hint"),
    [(VERSION - 1, "kill 4242: switches go on as they are"), (VERSION + 1, "use the Manor that started it")],
)
def test_an_agent_of_another_release_is_named_with_the_remedy(link: AgentLink, theirs: int, hint: str) -> None:
    link.socket.with_suffix(".pid").write_text("4242\n")
    other = agent(link, json.dumps({"v": theirs, "ok": True, "result": {"pid": 4242}}).encode() + b"\n")
    with pytest.raises(Permanent, match=f"speaks protocol {theirs}, this Manor {VERSION}") as caught:
        link.ask("switches", CallContext.within(60))
    other.join()
    assert hint in caught.value.hint


def test_an_agent_that_dies_over_the_greeting_is_one_that_is_not_there(link: AgentLink) -> None:
    dying = agent(link, b"")
    with pytest.raises(Transient, match="broke off at hello"):
        link._call("hello", 60.0, {})
    dying.join()


def started_as(program: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are started by this script from now on."""
    program.write_text(script)
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


def test_an_agent_that_starts_behind_another_is_not_left_to_take_its_place(
    link: AgentLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"#!/bin/sh\nsleep 600 > /dev/null 2>&1 &\necho $! | tee {tmp_path}/slow.pid\n"
    started_as(tmp_path / "slow", script, monkeypatch)
    first = agent(link, json.dumps({"v": VERSION, "ok": True, "result": {"pid": 1}}).encode() + b"\n")
    assert link._start(CallContext.within(60))["pid"] == 1
    first.join()
    late = int((tmp_path / "slow.pid").read_text())
    eventually(lambda: not _alive(late), "it has ended")


def test_one_that_was_first_and_ends_is_no_fault_of_who_came_second(
    link: AgentLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_as(tmp_path / "second", "#!/bin/sh\ntrue &\necho $!\nwait\n", monkeypatch)
    first = (tmp_path / "agent.lock").open("w")
    fcntl.flock(first, fcntl.LOCK_EX)
    looks = link._another_starts

    def ends_then() -> bool:
        found = looks()
        first.close()
        return found

    monkeypatch.setattr(link, "_another_starts", ends_then)
    with pytest.raises(Transient, match="was first has ended"):
        link._start(CallContext.within(60))


def test_a_machine_that_is_too_busy_to_start_an_agent_costs_no_more_than_the_deadline(
    link: AgentLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_as(tmp_path / "stuck", "#!/bin/sh\nexec sleep 600\n", monkeypatch)
    with pytest.raises(Transient, match="did not start"):
        link._start(CallContext.within(0.1))


@pytest.mark.slow
def test_an_agent_whose_starter_gave_up_and_took_the_directory_away_makes_it_again(tmp_path: Path) -> None:
    state, run = tmp_path / "state", tmp_path / "run/sdn-t"
    state.mkdir()
    run.mkdir(parents=True)
    environment = DriverEnvironment(name="t", owner="manor/t", state_dir=state, runtime_dir=run)
    link = AgentLink(RyuConfig(), environment, lambda _: None)
    argv = [sys.executable, "-W", "ignore", "-m", "manor_sdn_ryu.agent"]
    log = tmp_path / "log"
    with log.open("w") as said:
        process = subprocess.Popen([*argv, "--state-dir", str(state), "--socket", str(link.socket)], stderr=said)
    try:
        eventually(link._another_starts, "it has begun")
        with contextlib.suppress(OSError):  # it may have been quick
            run.rmdir()
            run.parent.rmdir()

        def answers() -> bool:
            with contextlib.suppress(Transient):
                return bool(link._call("hello", 60.0, {})["pid"] == process.pid)
            return process.poll() is not None

        eventually(answers, "it is up, or has failed")
        assert process.poll() is None
        assert [path.stat().st_mode & 0o777 for path in (run.parent, run)] == [0o700, 0o700]

        def is_in_the_way() -> bool:
            shutil.rmtree(run.parent, ignore_errors=True)  # it may just be making it again
            with contextlib.suppress(OSError):
                run.parent.touch()
            return run.parent.is_file()

        eventually(is_in_the_way, "its directory cannot be made again")
        eventually(lambda: "no socket can be opened" in log.read_text(), "it has tried")
        run.parent.unlink()
        eventually(link.socket.exists, "it has opened another door, for no other agent could take its place")
        eventually(answers, "and answers there")
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.real
def test_nobody_else_gets_in_and_a_request_of_another_release_is_refused_by_name(one_rig: Rig) -> None:
    one_rig.driver.topology(one_rig.ctx())
    path = one_rig.environment.runtime_dir / "agent.sock"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o077) == (0o600, 0)
    code = (
        "import os, socket, sys; os.chdir(sys.argv[1]);"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "socket.socket(socket.AF_UNIX).connect('agent.sock')"
    )
    # Already inside the directory, so that the socket's own permission is what refuses.
    done = subprocess.run([sys.executable, "-c", code, str(path.parent)], capture_output=True, text=True)
    assert "PermissionError" in done.stderr
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(os.fspath(path))
        client.sendall(json.dumps({"v": VERSION + 1, "verb": "shutdown", "args": {"force": True}}).encode() + b"\n")
        answer = json.loads(client.makefile("rb").readline())
    assert (answer["ok"], answer["v"]) == (False, VERSION)
    assert f"protocol version {VERSION + 1}, not {VERSION}" in answer["message"]
    assert one_rig.driver.topology(one_rig.ctx()).switches, "it still serves"
