"""The demo service on a fake VIM and real switches: namespaces stand for its machines, named as the plan says."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from manor.testing.ovs import Netns, PrivateOvs, missing_for_ovs

_CLI = Path(__file__).parents[1] / "cli"
sys.path.insert(0, str(_CLI))
_spec = importlib.util.spec_from_file_location("manor_cli_fixtures", _CLI / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
packages, manor, site = _fixtures.packages, _fixtures.manor, _fixtures.site

from shell import Cli  # noqa: E402 - after its folder is on the path

BRIDGE = "br-chain"


def _eventually(what: Callable[[], Any], why: str, within_s: float = 20.0) -> Any:
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
        self.machines: dict[str, Netns] = {}
        """Namespaces by VNF."""
        self.devices: dict[str, tuple[str, ...]] = {}
        self.addresses: dict[str, str] = {}

    bridge = BRIDGE
    eventually = staticmethod(_eventually)

    def instantiate(self, name: str) -> None:
        """Plan, give the planned machines their ports, and carry the plan out."""
        plan = self._directory / "plan.json"
        self.manor.good("ns", "plan", name, "--save", str(plan))
        for spec in {node["key"]: node for node in _nodes(json.loads(plan.read_text()))}.values():
            self._machine(spec)
        self.manor.good("ns", "instantiate", name, "--plan", str(plan))

    def _machine(self, spec: Mapping[str, Any]) -> None:
        vnf = dict(map(tuple, spec["labels"]))["vnf"]
        ports = spec["ports"]
        self.devices[vnf] = tuple(port["device"] for port in ports)
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


@pytest.fixture
def stage(request: pytest.FixtureRequest, manor: Cli, packages: Path, tmp_path: Path) -> Iterator[Stage]:
    """The service ``web``, up, with real traffic possible. What is altered by hand stays so, unless the parameter (more
    settings of the controller) says otherwise."""
    if reason := missing_for_ovs():
        pytest.skip(reason)
    with PrivateOvs() as ovs:
        try:
            manor.good("vim", "add", "lab", "--driver", "fake")
            settings = [f"host={_HOST}", f"ovsdb={ovs.ovsdb}", f"bridge={BRIDGE}", "runtime=os-ken", "settle_s=0.05"]
            settings += getattr(request, "param", ["audit_s=0"])
            added = manor("sdn", "add", "net", "--driver", "ryu", *(word for o in settings for word in ("-o", o)))
            assert added.code == 0, added.err
            assert f"no bridge {BRIDGE} yet" in added.out
            ovs.add_bridge(BRIDGE)
            manor.good("package", "onboard", str(packages))
            manor.good("ns", "create", "secure-web", "--name", "web")
            made = Stage(manor, ovs, tmp_path)
            made.instantiate("web")
            yield made
        finally:
            # While the switch is there: the agent ends by itself once it holds no program any more.
            manor("ns", "delete", "web", "--force", "--yes")
            manor("sdn", "remove", "net", "--force")


_HOST = "host-1"
