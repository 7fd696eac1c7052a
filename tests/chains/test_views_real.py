"""What an operator sees of switches and chains on a real switch: in the words of services, functions and chains."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.real


def test_a_packet_is_followed_from_any_machine_to_any_other(stage: Any) -> None:
    manor = stage.manor
    there = manor.good("sdn", "trace", "net", "web/client", "web/web", "--packet", "tcp,dst_port=80").out
    wanted = ["client to firewall", "firewall to monitor", "monitor to web"]
    places = [there.find(f"path: there, {words}") for words in wanted]
    assert -1 not in places, there
    assert places == sorted(places)
    assert there.rstrip().splitlines()[-1].startswith("it arrives at web/")
    back = manor.good("--json", "sdn", "trace", "net", "web/web", "web/client").json
    assert [hop["port"].partition("/")[0] for hop in back["hops"] if hop["table"] is None] == [
        "monitor", "firewall", "client",
    ]  # fmt: skip
    assert manor.good("sdn", "trace", "net", stage.devices["client"][0], stage.addresses["web"]).code == 0
    astray = manor("sdn", "trace", "net", "web/client", "02:00:00:00:00:99", "-p", "arp")
    assert astray.code == 1
    assert "stops here" in astray.out
    unknown = manor("sdn", "trace", "net", "web/nobody", "web/web")
    assert (unknown.code, "no machine has a port web/nobody" in unknown.err) == (2, True), unknown.err
    two = manor("sdn", "trace", "net", "web/firewall", "web/web")
    assert "may mean web/firewall/in, web/firewall/out" in two.err


def test_a_chain_is_drawn_with_the_state_of_its_rules(stage: Any, tmp_path: Path) -> None:
    manor = stage.manor
    stage.eventually(lambda: stage.machines["client"].pings(stage.addresses["web"]), "it carries")
    text = manor.good("chain", "show", "web", "path", "--format", "ascii").out
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("1 rule live") == 6
    assert [word in text for word in ("@ host-1", "in > out", "at_firewall", "at_monitor")] == [True] * 4
    drawn = lambda: manor.good("chain", "show", "web", "--format", "json").json  # noqa: E731
    stage.eventually(lambda: all(leg["packets"] for leg in drawn()["legs"]), "each part is counted")
    told = drawn()
    assert [stop["name"] for stop in told["stops"]] == ["from", "at_firewall", "at_monitor", "to"]
    assert all(leg["rules"] == 1 and leg["wrong"] == 0 for leg in told["legs"])
    picture = tmp_path / "chain.svg"
    manor.good("chain", "show", "web", "--format", "svg", "--output", str(picture))
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")
    assert manor.good("chain", "show", "web", "--format", "mermaid").out.startswith("flowchart LR\n")

    stage.ovs.del_veth(stage.bridge, stage.devices["firewall"][1])
    stage.eventually(lambda: "degraded" in manor.good("chain", "show", "web", "-f", "ascii").out, "the loss is seen")
