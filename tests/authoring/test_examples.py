"""The plugins under examples/, as strangers would have shipped them: from wheels, by the public API alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from manor.testing.ovs import PrivateOvs, missing_for_ovs

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))
NETNS = ROOT / "examples/manor-vim-netns"

pytestmark = [pytest.mark.slow]


def run(
    *argv: str | Path,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    timeout_s: float = 600,
    fails: bool = False,
) -> str:
    done = subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True, cwd=cwd, env=env, check=False, timeout=timeout_s
    )
    assert (done.returncode != 0) is fails, f"{argv}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with this one's distributions, and the examples from their wheels."""
    place = tmp_path_factory.mktemp("examples")
    venv.create(place / "venv", with_pip=True)
    python = place / "venv/bin/python"
    (site,) = (place / "venv/lib").glob("python*/site-packages")
    ours = Path(pytest.__file__).parents[1]
    (site / "workspace.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    wheels = place / "wheels"
    pip = (python, "-m", "pip")
    # One back end for all, not one environment a wheel.
    run(*pip, "install", "-q", "hatchling")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, *EXAMPLES)
    run(*pip, "install", "-q", *sorted(wheels.glob("*.whl")))
    return python


@pytest.mark.real  # one of them makes namespaces
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_passes_its_tests(example: Path, python: Path) -> None:
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=example)
    assert "passed" in said


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_is_found_and_sound(example: Path, manor: Callable[..., Any]) -> None:
    name = example.name.removeprefix("manor-")
    assert {info["name"]: info["state"] for info in manor("plugin", "list")}[name] == "ready"
    assert [answer for answer in manor("plugin", "check", name) if not answer["ok"]] == []


def test_core_makes_the_detector_on_river_and_its_report_is_clean(manor: Callable[..., Any]) -> None:
    report = manor("plugin", "conform", "detector", "river", "--spec", "warmup_rows=220")
    assert report["ok"]
    assert report["provenance"] == "manor-detector-river 0.1.0"


@pytest.fixture
def manor(python: Path, tmp_path: Path) -> Callable[..., Any]:
    """The command, with a home of its own; its answer."""
    env = {**os.environ, "MANOR_HOME": str(tmp_path / "home")}

    def manor(*argv: str, plain: bool = False, fails: bool = False) -> Any:
        script = "import sys; from manor.cli import main; sys.exit(main())"
        said = run(python, "-c", script, *([] if plain else ["--json"]), *argv, env=env, fails=fails)
        return said if plain else json.loads(said)

    return manor


@pytest.fixture
def switch() -> Iterator[tuple[PrivateOvs, str]]:
    if missing_for_ovs():
        pytest.skip(missing_for_ovs())
    bridge = f"mx{os.getpid()}"
    with PrivateOvs(netns=False) as ovs:
        ovs.add_bridge(bridge)
        yield ovs, bridge


@pytest.mark.real
def test_the_demo_runs_without_a_hypervisor(
    manor: Callable[..., Any], switch: tuple[PrivateOvs, str], tmp_path: Path
) -> None:
    """secure-web, unchanged: four nodes and a chain of two functions, seen by their own counters."""
    ovs, bridge = switch
    run(sys.executable, ROOT / "descriptors/build.py", "secure-web", timeout_s=600)
    where = ["-o", f"ovsdb={ovs.ovsdb}", "-o", f"bridge={bridge}", "-o", "host=laptop"]
    manor("vim", "add", "here", "--driver", "netns", *where)
    manor("sdn", "add", "ryu", "--driver", "ryu", *where)
    try:
        manor("package", "onboard", *map(str, sorted((ROOT / "build/secure-web").glob("*.csar"))))
        manor("ns", "create", "secure-web", "--name", "shop")
        manor("ns", "instantiate", "shop", "--yes", plain=True)
        (operation,) = manor("op", "list")
        assert operation["state"] == "COMPLETED"
        took_s = operation["state_entered_s"] - operation["start_s"]
        print(f"instantiated in {took_s:.2f} s")
        assert took_s < 60, "two seconds on a quiet machine"
        shown = manor("vnf", "exec", "shop/web", "--", "ip", "-4", "-o", "addr", "show", "eth0", plain=True)
        address = shown.split("inet ")[1].split("/")[0]
        page = manor("vnf", "exec", "shop/client", "--", "wget", "-q", "-O", "-", f"http://{address}/", plain=True)
        assert "through the chain" in page
        spaces = {path.stem for path in tmp_path.glob("home/endpoints/vim-here/notes/mn-node-*.json")}
        firewall = json.loads(manor("vnf", "exec", "shop/firewall", "--", "vnf-counters", plain=True))
        monitor = json.loads(manor("vnf", "exec", "shop/monitor", "--", "vnf-counters", plain=True))
        assert firewall["web_forward"] == monitor["forward"] > 0
        assert firewall["web_backward"] == monitor["backward"] > 0
        # The denied port: the server listens there, the firewall stops it, and the monitor behind it sees nothing.
        get = ("timeout", "4", "wget", "-q", "-O", "-")
        manor("vnf", "exec", "shop/web", "--", *get, "http://127.0.0.1:2323/", plain=True)
        denied = manor("vnf", "exec", "shop/client", "--", *get, f"http://{address}:2323/", plain=True, fails=True)
        assert not denied
        after = json.loads(manor("vnf", "exec", "shop/firewall", "--", "vnf-counters", plain=True))
        behind = json.loads(manor("vnf", "exec", "shop/monitor", "--", "vnf-counters", plain=True))
        assert after["denied_forward"] > firewall["denied_forward"]
        assert behind["connections_forward"] == monitor["connections_forward"]
    finally:
        manor("ns", "terminate", "shop", "--yes", plain=True)
        manor("ns", "delete", "shop", plain=True)
        manor("sdn", "remove", "ryu", plain=True)
        manor("vim", "remove", "here", plain=True)
    assert len(spaces) == 4
    assert not spaces & set(os.listdir("/run/netns"))
    assert not ovs.vsctl("list-ports", bridge)
