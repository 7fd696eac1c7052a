"""Plain pip is enough: wheels of all four distributions in a fresh environment, no uv, no workspace."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ("core", "plugins/vim_libvirt", "plugins/sdn_ryu", "plugins/assurance")


def run(*argv: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
def test_wheels_install_with_pip_and_the_plugins_are_found(tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    # Ryu's sdist builds only with an old setuptools: older pips read the first name, newer ones the second.
    constraints = str(ROOT / "plugins/sdn_ryu/build-constraints.txt")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_ENV", "PYTHON", "UV_"))}
    env |= {"PIP_CONSTRAINT": constraints, "PIP_BUILD_CONSTRAINT": constraints, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    wheels = tmp_path / "wheels"
    # The wheels are built as a release would: by the build back end, outside of the workspace.
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, *(ROOT / d for d in DISTRIBUTIONS), env=env)
    run(python, "-m", "pip", "install", "-q", *sorted(wheels.glob("manor*.whl")), env=env)
    assert "manor" in run(home / "bin" / "manor", "--help", env=env)
    env |= {"MANOR_HOME": str(tmp_path / "home")}
    listed = json.loads(run(home / "bin" / "manor", "--json", "plugin", "list", env=env))
    state = {plugin["name"]: plugin["state"] for plugin in listed}
    assert {state.get(name) for name in ("vim-libvirt", "sdn-ryu", "assurance")} == {"ready"}
    assert sys.version_info >= (3, 11)
