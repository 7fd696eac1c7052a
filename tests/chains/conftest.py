"""The demo service on a fake VIM and real switches: namespaces stand for its machines, named as the plan says."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from manor.lcm.runtime import Runtime
from manor.testing.ovs import Netns, PrivateOvs, missing_for_ovs

_ROOT = Path(__file__).parents[2]
_CLI = _ROOT / "tests" / "cli"
sys.path.insert(0, str(_CLI))


def _loaded(name: str, path: Path) -> ModuleType:
    """What stands beside other tests."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_fixtures = _loaded("manor_cli_fixtures", _CLI / "conftest.py")
_frames = _loaded("manor_sdn_frames", _ROOT / "plugins" / "sdn_ryu" / "tests" / "frames.py")
packages, manor, site = _fixtures.packages, _fixtures.manor, _fixtures.site

from shell import Cli  # noqa: E402 - after its folder is on the path

BRIDGE = "br-chain"


def _eventually(what: Callable[[], Any], why: str, within_s: float = 60.0) -> Any:
    """Wait for something to become true; returns it."""
    until = time.monotonic() + within_s
    while not (value := what()):
        assert time.monotonic() < until, f"not within {within_s} s: {why}"
        time.sleep(0.05)
    return value


class Stage:
    """A service whose machines are namespaces on a private switch, run by the command line."""

    def __init__(self, manor: Cli, ovs: PrivateOvs, directory: Path) -> None:
        self.manor, self.ovs, self._directory = manor, ovs, directory
        self.running = ExitStack()
        self.machines: dict[str, Netns] = {}
        """Namespaces by VNF."""
        self.devices: dict[str, tuple[str, ...]] = {}
        self.addresses: dict[str, str] = {}

    bridge = BRIDGE
    eventually = staticmethod(_eventually)

    def instantiate(self, name: str, *, aware: Collection[str] = ()) -> None:
        """Plan, give the planned machines their ports, and carry the plan out. ``aware`` are VNFs that know of NSH."""
        plan = self._directory / "plan.json"
        self.manor.good("ns", "plan", name, "--save", str(plan))
        for spec in {node["key"]: node for node in _nodes(json.loads(plan.read_text()))}.values():
            self._machine(spec, aware)
        self.manor.good("ns", "instantiate", name, "--plan", str(plan))

    def proven(self, *words: str) -> Any:
        """``chain verify`` once it finds nothing wrong: a probe may come too late on a busy machine."""

        def verified() -> Any:
            done = self.manor(*words, "chain", "verify", "web")
            return done if done.code == 0 else None

        return _eventually(verified, "the chain is proven", within_s=180)

    def lose_agent(self) -> None:
        """Kill the controller's agent, and take away all that it has on disk."""
        state = self.manor.home / "endpoints" / "sdn-net"

        pid = int((Runtime(home=self.manor.home).runtime_dir / "sdn-net" / "agent.pid").read_text())

        def runs() -> bool:
            try:
                return os.fsencode(state) in Path(f"/proc/{pid}/cmdline").read_bytes()  # a zombie's is empty
            except OSError:
                return False

        assert runs(), "the number of a dead one may be another's by now"
        os.kill(pid, signal.SIGKILL)
        _eventually(lambda: not runs(), "the agent is dead")
        shutil.rmtree(state)

    def _machine(self, spec: Mapping[str, Any], aware: Collection[str]) -> None:
        vnf = dict(map(tuple, spec["labels"]))["vnf"]
        ports = spec["ports"]
        self.devices[vnf] = tuple(port["device"] for port in ports)
        if vnf in aware:
            inside = self.machines[vnf] = self.ovs.add_netns(vnf[:6])
            for number, device in enumerate(self.devices[vnf]):
                self.ovs.add_veth(BRIDGE, device, inside, name=f"eth{number}")
            self.running.enter_context(_frames.Aware(inside, "eth0", "eth1"))
            return
        if len(ports) == 2:
            self.machines[vnf] = self.ovs.add_bump(BRIDGE, vnf[:6], devices=self.devices[vnf]).netns
            return
        (port,) = ports
        self.addresses[vnf] = port["addresses"][0].split("/")[0]
        self.machines[vnf] = self.ovs.add_host(
            BRIDGE, vnf[:6], mac=port["mac"], cidrs=port["addresses"], device=port["device"]
        ).netns


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("kind") == "node" and "ports" in value:
            yield value
        else:
            for inner in value.values():
                yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


@contextmanager
def _bare(manor: Cli, directory: Path, packages: Path, settings: Collection[str]) -> Iterator[Stage]:
    """A fake VIM, a switch, its controller and the demo's packages; what is put up is taken down in the end."""
    if reason := missing_for_ovs():
        pytest.skip(reason)
    with PrivateOvs() as ovs:
        made = Stage(manor, ovs, directory)
        try:
            manor.good("vim", "add", "lab", "--driver", "fake")
            settings = [f"host={_HOST}", f"ovsdb={ovs.ovsdb}", f"bridge={BRIDGE}", "runtime=os-ken", "settle_s=0.05",
                        *settings]  # fmt: skip
            manor.good("sdn", "add", "net", "--driver", "ryu", *(word for o in settings for word in ("-o", o)))
            absent = f"no bridge {BRIDGE} yet"
            _eventually(lambda: absent in manor.good("sdn", "show", "net").out, "it is told what is not there yet")
            ovs.add_bridge(BRIDGE)
            manor.good("package", "onboard", str(packages))
            yield made
        finally:
            # While the switch is there: the agent ends by itself once it holds no program any more.
            for service in json.loads(manor("--json", "ns", "list").out or "[]"):
                manor("ns", "delete", service["name"], "--force", "--yes")
            manor("sdn", "remove", "net", "--force")
            made.running.close()


@pytest.fixture
def bare(manor: Cli, packages: Path, tmp_path: Path) -> Iterator[Stage]:
    """A stage without a service."""
    with _bare(manor, tmp_path, packages, []) as made:
        yield made


@pytest.fixture
def stage(request: pytest.FixtureRequest, manor: Cli, packages: Path, tmp_path: Path) -> Iterator[Stage]:
    """The service ``web``, up, with real traffic possible. What is altered by hand stays so, unless the parameter (more
    settings of the controller) says otherwise."""
    with _bare(manor, tmp_path, packages, getattr(request, "param", ["audit_s=0"])) as made:
        manor.good("ns", "create", "secure-web", "--name", "web")
        made.instantiate("web")
        yield made


_HOST = "host-1"
