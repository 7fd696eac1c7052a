"""docs/writing-a-plugin.md, done as it says: its commands, in order, in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import venv
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/writing-a-plugin.md"


@pytest.mark.slow
def test_the_commands_work_in_order(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    tools = tmp_path / "venv/bin"
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    ours = Path(pytest.__file__).parents[1]
    (site / "workspace.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    for name, module, entry in (("manor", "manor.cli", "main"), ("pytest", "pytest", "console_main")):
        (tools / name).write_text(f"#!{tools}/python\nimport sys\nfrom {module} import {entry}\nsys.exit({entry}())\n")
        (tools / name).chmod(0o755)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "MANOR", "PYTHON", "VIRTUAL_ENV"))}
    env |= {
        "PATH": f"{tools}:{env['PATH']}",
        "MANOR_HOME": str(tmp_path / "home"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    blocks = re.findall(r"^```sh run\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    done = subprocess.run(
        ["bash", "-eu"], input="".join(blocks), capture_output=True, text=True, cwd=tmp_path, env=env, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert list(tmp_path.glob("manor-vim-acme/dist/manor_vim_acme-0.1.0-*.whl"))
    assert (tmp_path / "manor-vim-acme/report.json").exists()
