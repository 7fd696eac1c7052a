"""``manor plugin check`` finds what is wrong, and says so in one line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manor.authoring import new_plugin
from manor.authoring.check import check_plugin, find_subject
from manor.cli import main
from manor.errors import UsageError

DEFECTS = {
    "slow": (
        "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end:\n    pass\n",
        "import time",
    ),
    "heavy": ("import sqlmodel\n", "import is light"),
    "writes": (
        "import pathlib, tempfile\npathlib.Path(tempfile.mkdtemp(), 'x').write_text('')\n",
        "import does nothing",
    ),
    "thread": (
        "import threading\nthreading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()\n",
        "import does nothing",
    ),
    "exits": ("raise SystemExit(3)\n", "imports"),
    "missing": ("import no_such_module\n", "imports"),
    "coroutine": ("@hookimpl\nasync def manor_sdn_drivers():\n    return []\n", "loads"),
    "misspelt": ("@hookimpl\ndef manor_vim_driver():\n    return []\n", "loads"),
    "inside": ("def late():\n    from manor.store import tables\n    return tables\n", "imports of manor"),
}


@pytest.fixture
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A new plugin, under a name of its own for each test: modules stay imported."""
    number = abs(hash(request.node.name)) % 10**9
    return new_plugin("heal-policy", f"a{number}", tmp_path)[0]


def entry(repository: Path) -> Path:
    return next(repository.glob("src/*/__init__.py"))


def wrong(repository: Path) -> dict[str, str]:
    return {answer.name: answer.detail for answer in check_plugin(find_subject(str(repository))) if not answer.ok}


def test_a_new_plugin_is_sound(repository: Path) -> None:
    assert wrong(repository) == {}


@pytest.mark.slow
@pytest.mark.parametrize("what", DEFECTS)
def test_defect_is_found(repository: Path, what: str) -> None:
    code, check = DEFECTS[what]
    with entry(repository).open("a") as file:
        file.write(f"\n\n{code}")
    found = wrong(repository)
    assert check in found
    assert "\n" not in found[check]


def test_another_major_version_is_told_apart(repository: Path) -> None:
    project = repository / "pyproject.toml"
    project.write_text(project.read_text().replace("manor.plugins.v1", "manor.plugins.v2"))
    assert wrong(repository)["api version"] == "group manor.plugins.v2, this core has manor.plugins.v1"


def test_settings_with_a_secret_are_found(repository: Path) -> None:
    config = next(repository.glob("src/*/config.py"))
    config.write_text(config.read_text() + '    password: str = "hunter2"\n')
    (detail,) = wrong(repository).values()
    assert "password" in detail
    assert "hunter2" not in detail


@pytest.mark.parametrize("wanted", ["no-such-plugin", "."])
def test_nothing_to_check_is_said(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        find_subject(wanted)


@pytest.mark.slow
def test_command_ends_with_one_where_something_is_wrong(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "check", str(repository)]) == 0
    entry(repository).write_text("raise SystemExit(3)\n")
    capsys.readouterr()
    assert main(["--json", "plugin", "check", str(repository)]) == 1
    assert [answer["name"] for answer in json.loads(capsys.readouterr().out) if not answer["ok"]] == ["imports"]


def test_conform_refuses_what_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "conform", "toaster", "generic"]) == 2
    assert main(["plugin", "conform", "vim", "fake", "-o", "colour=red"]) == 2
    assert main(["plugin", "conform", "vim", "no-such"]) == 7
    assert "colour" in capsys.readouterr().err
