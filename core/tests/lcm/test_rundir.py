"""The directory of an installation's sockets is there while it is used, and is not left behind."""

import shutil
import tempfile
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


def test_in_a_home_it_goes_too(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mr-", dir="/tmp") as short, open_runtime(Path(short)) as rt:
        assert used(rt) == Path(short) / "run/sdn-net"
        rt.close()
        assert not (Path(short) / "run").exists()
