"""A home with the fakes as VIM and controller, and the demo's own packages around images of a few bytes."""

import sys
from pathlib import Path

import pytest

# shell.py is shared by these tests, trial_packages.py with others; importlib mode keeps their folders off the path.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from shell import Cli

from trial_packages import packed


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("packages") / "archives")


@pytest.fixture
def manor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("MANOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MANOR_DB", raising=False)
    if (elsewhere := sys.modules.get("on_postgresql")) is not None:  # for processes of their own too
        monkeypatch.setenv("MANOR_DB", elsewhere.another())
    return Cli(tmp_path / "home", capsys.readouterr)


@pytest.fixture
def site(manor: Cli, packages: Path) -> Cli:
    """With a VIM, a controller and the packages on board."""
    manor.good("vim", "add", "lab", "--driver", "fake")
    manor.good("sdn", "add", "net", "--driver", "fake")
    manor.good("package", "onboard", str(packages))
    return manor
