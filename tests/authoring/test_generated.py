"""Every kind of new plugin installs from its wheel with plain pip, passes its own tests, and is linted and clean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from manor.authoring import KINDS, new_plugin
from manor.errors import UsageError

ROOT = Path(__file__).parents[2]
RULES = "E,F,W,I,B,UP,SIM,RUF,C4,PIE,TID252"


def run(*argv: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, cwd=cwd, env=env, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["acme", "my-site-2"])
def test_generated_code_is_clean(kind: str, name: str, tmp_path: Path) -> None:
    root, *files = new_plugin(kind, name, tmp_path)
    assert root == tmp_path / f"manor-{kind}-{name}"
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", ".gitignore"} <= {p.name for p in files}
    assert {p.name for p in files if p.suffix == ".yml"} == {"test.yml", "publish.yml"}
    assert not [path for path in files if "PACKAGE" in str(path) or path.suffix == ".j2"]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    package = f"manor_{kind}_{name}".replace("-", "_")
    assert project["entry-points"] == {"manor.plugins.v1": {f"{kind}-{name}": package}}
    ruff = Path(sys.executable).with_name("ruff")
    run(ruff, "check", "--no-cache", "--select", RULES, "--ignore", "E501,I001" if name != "acme" else "W605", root)
    if name == "acme":
        run(ruff, "format", "--no-cache", "--check", root)


@pytest.mark.parametrize("name", ["", "Acme", "a" * 39, "x", "../../etc", "a--b", "a-", "import os"])
def test_bad_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        new_plugin("vim", name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    root, *_ = new_plugin("vim", "acme", tmp_path)
    (root / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        new_plugin("vim", "acme", tmp_path)
    assert (root / "README.md").read_text() == "mine"
    with pytest.raises(UsageError, match="kind"):
        new_plugin("toaster", "acme", tmp_path)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with core, its test tools and one plugin of each kind, all from wheels, by plain pip."""
    place = tmp_path_factory.mktemp("authoring")
    venv.create(place / "venv", with_pip=True)
    python = place / "venv/bin/python"
    for kind in KINDS:
        new_plugin(kind, "acme", place / "new")
    sources = [ROOT / "core", *sorted((place / "new").iterdir())]
    # One back end for all, not one environment a wheel.
    run(python, "-m", "pip", "install", "-q", "hatchling", env=plain())
    wheel = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", place / "wheels")
    run(python, *wheel, *sources, env=plain())
    wheels = sorted((place / "wheels").glob("*.whl"))
    core = next(path for path in wheels if path.name.startswith("manor-"))
    run(python, "-m", "pip", "install", "-q", f"{core}[testing]", *wheels, env=plain())
    return python


def plain() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_ENV", "PYTHON", "UV_", "MANOR", "COV"))}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_generated_plugin_passes_its_tests(kind: str, python: Path) -> None:
    root = python.parents[2] / "new" / f"manor-{kind}-acme"
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=root, env=plain())
    assert " passed" in said
    assert "failed" not in said


@pytest.mark.slow
def test_they_are_found_and_sound(python: Path, tmp_path: Path) -> None:
    env = plain() | {"MANOR_HOME": str(tmp_path)}
    manor = python.with_name("manor")
    listed = json.loads(run(manor, "--json", "plugin", "list", env=env))
    assert {f"{kind}-acme" for kind in KINDS} <= {each["name"] for each in listed if each["state"] == "ready"}
    for kind in KINDS:
        answers = json.loads(run(manor, "--json", "plugin", "check", f"{kind}-acme", env=env))
        assert [answer for answer in answers if not answer["ok"]] == []


@pytest.mark.slow
def test_kit_runs_against_an_endpoint(python: Path, tmp_path: Path) -> None:
    env = plain() | {"MANOR_HOME": str(tmp_path)}
    (tmp_path / "node").write_text("cpu 20.5 %\n")
    (tmp_path / "web.yaml").write_text("acme: 1\nid: 2f4ea1c4-91b5-5a4c-8d3e-4b1c3b6f2a10\nname: web\n")
    asked = {
        "detector": ["--spec", "warmup_rows=120"],
        "telemetry": ["-o", f"directory={tmp_path}", "--spec", "targets=node"],
        "format": ["--spec", f"documents={tmp_path / 'web.yaml'}"],
    }
    for kind in KINDS:
        more = asked.get(kind, [])
        run(python.with_name("manor"), "plugin", "conform", kind, "acme", *more, env=env)
        report = json.loads((tmp_path / f"reports/{kind}-acme.json").read_text())
        assert report["ok"], report["counts"]
        assert report["owner"].startswith("manor/conform-")
        assert report["provenance"] == f"manor-{kind}-acme 0.1.0"
