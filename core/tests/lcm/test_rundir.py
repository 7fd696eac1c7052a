"""The directory of an installation's sockets is there while it is used, and is not left behind."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.lcm import endpoints, rundir
from manor.lcm.runtime import Runtime, open_runtime
from manor.model.instance import EndpointKind


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What stands for /run/manor."""
    with tempfile.TemporaryDirectory(prefix="mr-", dir="/tmp") as made:
        monkeypatch.setattr(rundir, "_AWAY", Path(made))
        yield Path(made)


@pytest.fixture
def home(tmp_path: Path, away: Path) -> Path:
    """One whose path is too long for a socket's."""
    return tmp_path / ("a-long-name" * 10)


def used(rt: Runtime) -> Path:
    return rt.environment(EndpointKind.SDN, "net").runtime_dir


def test_what_is_empty_goes_with_the_last_one_who_uses_it(home: Path, away: Path) -> None:
    with open_runtime(home) as rt:
        with open_runtime(home) as other:
            assert used(other) == used(rt)
            endpoints.add(other, EndpointKind.VIM, "lab", driver="fake", config={})
            assert other.vim("lab")
        assert used(rt).is_relative_to(away)
        assert used(rt).is_dir(), "it is still in use"
        assert used(rt).stat().st_mode & 0o777 == 0o700
    assert list(away.iterdir()) == []
    with open_runtime(home) as rt:
        assert used(rt).is_dir(), "and comes back"
    assert list(away.iterdir()) == []


def test_where_an_agent_listens_it_stays_until_that_is_gone(home: Path, away: Path) -> None:
    with open_runtime(home) as rt:
        socket = used(rt) / "agent.sock"
        socket.touch()
    assert socket.exists()
    socket.unlink()
    with open_runtime(home) as rt:
        assert used(rt) == socket.parent
    assert list(away.iterdir()) == []


def test_where_somebody_removed_it_it_is_made_anew_and_held(home: Path, away: Path) -> None:
    with open_runtime(home) as rt:
        shutil.rmtree(used(rt).parent)
        assert used(rt).is_dir()
        shutil.rmtree(used(rt).parent)
        with open_runtime(home) as other:
            assert used(other) == used(rt)
        assert used(rt).parent.is_dir(), "it is still in use"
    assert list(away.iterdir()) == []


def test_what_a_killed_process_leaves_goes_with_the_next_one_of_any_home(home: Path, away: Path) -> None:
    holds = "import sys; from pathlib import Path; from manor.lcm import rundir; rundir._AWAY = Path(sys.argv[1])"
    holds += "; rundir.RunDir(Path(sys.argv[2])).make('vim-lab'); print('there', flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", holds, str(away), str(home.with_name("its-home-is-never-used-again" * 4))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        with open_runtime(home) as rt:
            assert used(rt)
        assert [len(list(one.iterdir())) for one in away.iterdir()] == [1], "a living one's stays"
        process.kill()
    with open_runtime(home) as rt:
        here = used(rt).parent
        assert list(away.iterdir()) == [here]
    assert list(away.iterdir()) == []


@pytest.mark.parametrize(("listens", "age_s", "stays"), [(True, 3600, True), (False, 0, True), (False, 3600, False)])
def test_of_an_agent_that_was_killed_the_socket_goes_too(
    home: Path, away: Path, listens: bool, age_s: float, stays: bool
) -> None:
    part = away / "0123456789ab" / "sdn-net"
    part.mkdir(parents=True)
    (part / "agent.pid").write_text("1")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(part / "agent.sock"))
        if listens:
            agent.listen()
        os.utime(part, (time.time() - age_s,) * 2)
        with open_runtime(home) as rt:
            assert used(rt)
        assert part.exists() == part.parent.exists() == stays


def test_in_a_home_it_goes_too(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mr-", dir="/tmp") as short, open_runtime(Path(short)) as rt:
        assert used(rt) == Path(short) / "run/sdn-net"
        rt.close()
        assert not (Path(short) / "run").exists()
