"""A chain by way of a function that knows of network service headers, as an operator sees it on a real switch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .test_refused import written

pytestmark = pytest.mark.real
MONITOR = "    at_monitor:\n      type: tosca.nodes.nfv.NfpPosition\n"


def test_an_aware_function_is_proven_traced_counted_and_drawn(bare: Any, tmp_path: Path) -> None:
    manor = bare.manor
    aware = (MONITOR, f"{MONITOR}      metadata: {{encapsulation: nsh}}\n")
    manor.good("package", "onboard", str(written(tmp_path, aware)))
    manor.good("ns", "create", "changed-nsd", "--name", "web")
    bare.instantiate("web", aware={"monitor"})  # which proves the chain
    bare.eventually(lambda: bare.machines["client"].pings(bare.addresses["web"]), "it carries")

    ways = bare.proven("--json").json["probes"]
    assert [way["path"] for way in ways] == [
        "client > firewall > monitor > web", "web > monitor > firewall > client",
    ]  # fmt: skip

    traced = manor.good("chain", "trace", "web", "--packet", "tcp,dst_port=80").out
    wanted = ["there, firewall to monitor", ", index 254, out of it at ", "out of monitor", "there, monitor to web"]
    places = [traced.find(words) for words in wanted]
    assert -1 not in places, traced
    assert traced.rstrip().splitlines()[-1].startswith("it arrives at web/")

    hops = lambda: manor.good("--json", "chain", "counters", "web").json["hops"]  # noqa: E731
    whole = lambda: all(hop["packets"] and (hop["lost"] or 0) <= 0 for hop in hops())  # noqa: E731
    bare.eventually(whole, "each hop is counted, and once")
    assert [(hop["way"], hop["path"]) for hop in hops()] == [
        ("there", "client > firewall"), ("there", "firewall > monitor"), ("there", "monitor > web"),
        ("back", "web > monitor"), ("back", "monitor > firewall"), ("back", "firewall > client"),
    ]  # fmt: skip

    drawn = manor.good("chain", "show", "web", "--format", "json").json
    assert [stop["name"] for stop in drawn["stops"]] == ["from", "at_firewall", "at_monitor", "to"]
    assert not any(leg["wrong"] for leg in drawn["legs"])
    assert "monitor" in manor.good("chain", "show", "web", "--format", "ascii").out
