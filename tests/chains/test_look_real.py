"""What an operator sees of the demo's chain on a real switch: proven, traced and counted, also when it is broken."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytestmark = pytest.mark.real


def test_a_chain_is_verified_traced_and_counted_in_the_operators_words(stage: Any) -> None:
    manor, client = stage.manor, stage.machines["client"]
    stage.eventually(lambda: client.pings(stage.addresses["web"]), "it carries")

    verified = stage.proven()
    assert "client > firewall > monitor > web" in verified.out
    assert "web > monitor > firewall > client" in verified.out
    proven = stage.proven("--json").json
    assert proven["ok"] is True
    assert [(way["way"], [hop["verdict"] for hop in way["hops"]]) for way in proven["probes"]] == [
        ("there", ["passed"] * 4), ("back", ["passed"] * 4),
    ]  # fmt: skip

    traced = manor.good("chain", "trace", "web", "--packet", "tcp,dst_port=80").out
    wanted = ["path: there, client to firewall", "path: there, firewall to monitor", "path: there, monitor to web"]
    assert [text in traced for text in wanted] == [True] * 3, traced
    assert traced.rstrip().splitlines()[-1].startswith("it arrives at web/")
    assert not any(device in traced for devices in stage.devices.values() for device in devices), "no raw names"
    back = manor.good("--json", "chain", "trace", "web", "--back").json
    assert back["arrives"] is True
    assert [h["port"].partition("/")[0] for h in back["hops"] if h["table"] is None] == [
        "monitor",
        "firewall",
        "client",
    ]
    astray = manor.good("chain", "trace", "web", "-p", "udp,dst_mac=02:00:00:00:00:99")
    assert "it stops here" in astray.out
    assert "to an address that nobody has" in astray.out

    counted = stage.eventually(
        lambda: _counted(manor.good("--json", "chain", "counters", "web").json, 1), "the pings are counted"
    )
    assert [(h["way"], h["path"]) for h in counted["hops"]][:3] == [
        ("there", "client > firewall"), ("there", "firewall > monitor"), ("there", "monitor > web"),
    ]  # fmt: skip
    stage.eventually(lambda: _measured(stage), "the functions' latencies are as the probes of verify found")
    watched = manor.good("chain", "counters", "web", "--watch", "--times", "2", "--interval", "0.2").out
    assert "packets/s=" in watched

    assert "yes" in manor.good("sdn", "switches", "net").out
    owned = manor.good("sdn", "ports", "net").out
    assert "firewall-0/in" in owned
    flows = manor.good("sdn", "flows", "net", "--service", "web").out
    assert "chain path" in flows
    assert "path: there, client to firewall" in flows
    assert manor.good("--json", "sdn", "links", "net").json == []
    shown = manor.good("sdn", "show", "net").out
    assert "vcpus" not in shown


def _measured(stage: Any) -> bool:
    """A probe that had to be sent twice measures nothing; then another verify does."""
    stage.proven()
    hops = stage.manor.good("--json", "chain", "counters", "web").json["hops"]
    return all(hop["latency_s"] for hop in hops if hop["hop"] > 1)


def test_a_function_that_lets_nothing_out_is_named(stage: Any) -> None:
    manor, monitor = stage.manor, stage.machines["monitor"]
    monitor.run("ip", "link", "set", "eth1", "down")

    def named() -> bool:
        done = manor("chain", "verify", "web")
        assert done.code == 1
        return "went in, did not come out" in done.out

    stage.eventually(named, "it is named", within_s=180)
    assert manor("chain", "verify", "web", "--no-probe").code == 0, "the switches are as they should be"
    monitor.run("ip", "link", "set", "eth1", "up")
    stage.proven()


def _counted(answer: Any, least: int) -> Any:
    """The counters once they tell of all: a switch adds up what each rule met now and then, not all rules at once. A
    probe that came late, after its own rules, is counted by the chain's, so a hop may have seen more than the last."""
    return answer if all(hop["packets"] >= least and (hop["lost"] or 0) <= 0 for hop in answer["hops"]) else None


def test_what_was_altered_by_hand_is_named(stage: Any) -> None:
    manor, ovs = stage.manor, stage.ovs
    number = ovs.vsctl("get", "Interface", stage.devices["firewall"][1], "ofport")
    flow = next(f for f in ovs.flows(stage.bridge) if f"in_port={number}," in f and "priority=3" in f)
    match = re.search(r"priority=(\d+),(.*) actions=", flow)
    assert match is not None
    ovs.ofctl("--strict", "del-flows", stage.bridge, f"table=0,priority={match[1]},{match[2]}")
    seen = manor("chain", "verify", "web")
    assert seen.code == 1
    assert "missing: path: " in seen.out
    assert "firewall to" in seen.out
    assert "manor ns drift web" in seen.out

    ovs.del_veth(stage.bridge, stage.devices["monitor"][0])
    stage.eventually(lambda: "fail-closed" in manor.good("chain", "trace", "web").out, "the loss is seen")
    stopped = manor.good("chain", "trace", "web").out
    assert "it stops here" in stopped
    assert "no live function at" in stopped
