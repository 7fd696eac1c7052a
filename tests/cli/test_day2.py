"""What an operator does to a running service, by the command line alone."""

from dataclasses import replace
from typing import Any

import pytest
from shell import Cli

from manor.fakes import FakeHost, World
from manor.fakes.world import name_of


@pytest.fixture
def web(site: Cli) -> Cli:
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
    return site


def test_heal(web: Cli) -> None:
    assert "nothing to do" in web.good("ns", "heal", "web").out
    done = web.good("vnf", "heal", "web/web", "--cause", "slow", "--yes")
    assert "± node" in done.out
    assert "HEAL web COMPLETED" in done.out
    web.good("ns", "heal", "web", "--vnfc", "firewall/firewall-0", "--yes")
    shown = web.good("--json", "op", "show", "web").json
    assert shown["operation"]["operation"] == "HEAL"
    assert web("ns", "heal", "web", "--vnf", "nobody", "--yes").code == 2
    assert web.good("--json", "ns", "drift", "web").json["drift"] is False


def test_stop_and_start(web: Cli) -> None:
    web.good("vnf", "stop", "web/client", "web/web", "--timeout", "5", "--yes")
    states = {v["name"]: v["vnf_state"] for v in web.good("--json", "vnf", "list", "web").json}
    assert states == {"client": "STOPPED", "firewall": "STARTED", "monitor": "STARTED", "web": "STOPPED"}
    assert web.good("--json", "ns", "drift", "web").json["drift"] is False
    assert "nothing to do" in web.good("vnf", "stop", "web/web", "--yes").out
    assert web("vnf", "stop", "web/web", "--forceful", "--timeout", "3").code == 2
    done = web.good("vnf", "start", "web/client", "web/web", "--yes")
    assert "OPERATE web COMPLETED" in done.out


def test_scale_says_what_it_takes_and_what_is_allowed(web: Cli) -> None:
    assert web("ns", "scale", "web").code == 2
    assert web("ns", "scale", "web", "--aspect", "a", "--out", "1", "--to", "2").code == 2
    assert web("vnf", "scale", "web/web", "--aspect", "a").code == 2
    refused = web("ns", "scale", "web", "--vnf", "client=+99", "--yes")
    assert refused.code == 4
    assert "the NSD allows" in refused.err


def test_drift_tells_what_is_there_twice(web: Cli) -> None:
    world = World(state_file=web.home / "endpoints/vim-lab/world.json")
    with world.change() as state:
        native = next(one for one in state.natives.values() if one.spec.key.endswith("/vnf/web/web-0"))
        spec: Any = replace(native.spec, host="host-2")  # type: ignore[call-arg]
        state.natives[name_of(spec)] = replace(native, spec=spec)
        state.hosts = (*state.hosts, FakeHost(name="host-2"))
    drift = web("ns", "drift", "web")
    assert drift.code == 1
    assert "node vnf/web/web-0 is there a second time, at lab/host-2" in drift.out
    assert "as it should be" not in drift.out
    assert web("--json", "ns", "drift", "web").json["drift"] is True
    assert web("vim", "orphans").code == 1
    web.good("vim", "orphans", "--remove", "--yes")
    assert "as it should be" in web.good("ns", "drift", "web").out


@pytest.mark.slow
def test_update_chains_and_packages(web: Cli) -> None:
    (chain,) = web.good("--json", "chain", "list", "web").json
    web.good("chain", "disable", f"web/{chain['name']}", "--yes")
    assert web.good("--json", "chain", "list", "web").json == []
    web.good("chain", "enable", f"web/{chain['name']}", "--yes")
    assert "UPDATE web COMPLETED" in web.good("ns", "update", "web", "--param", "greeting=hello", "--yes").out
    assert "UPDATE MODIFY_VNF_INFORMATION" in web.good("op", "list", "web").out
    assert web.good("--json", "ns", "show", "web").json["ns"]["parameters"] == {"greeting": "hello"}
    assert web("ns", "update", "web").code == 2
    (other,) = [p["id"] for p in web.good("--json", "package", "list").json if "firewall" in p["name"].lower()]
    wrong = web("vnf", "upgrade", "web/web", "--package", other, "--yes")
    assert wrong.code == 2
    assert "same product" in wrong.err


def test_a_dry_run_shows_the_plan_and_does_nothing(web: Cli) -> None:
    before = web.good("--json", "op", "list").json
    told = web.good("vnf", "move", "web/firewall", "lab", "--dry-run").out
    assert "nothing to do" in told
    told = web.good("ns", "update", "web", "--type", "CREATE_NS_VIRTUAL_LINK", "--set", "virtualLinkId=x", "--dry-run")
    assert told.out.startswith("UPDATE web (")
    assert "): CREATE_NS_VIRTUAL_LINK" in told.out
    plan = web.good("--json", "vnf", "heal", "web/web", "--dry-run").json
    assert {step["verb"] for step in plan["steps"]} >= {"remove", "ensure"}
    assert web.good("--json", "op", "list").json == before
