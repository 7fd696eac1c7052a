"""A chain from the outside: a port of the host's bridge, one VLAN of it, is where the service's path begins.

Another port comes and goes while the service runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import BRIDGE, Stage
from .test_refused import written

pytestmark = [pytest.mark.real, pytest.mark.slow]

HOST, VLAN = "host-1", 100
SAP = """    door:
      type: tosca.nodes.nfv.Sap
      requirements: [{internal_virtual_link: lan}]
    at_door:
      type: tosca.nodes.nfv.NfpPosition
      requirements: [{element: door_element}]
    door_element:
      type: tosca.nodes.nfv.NfpPositionElement
      requirements: [{profile_element: door}]
"""
BEFORE = "    client:\n      type: manor.demo.Client"


@pytest.fixture
def outer(bare: Stage, tmp_path: Path) -> Stage:
    """With a path that begins at a SAP."""
    ends = ("        - nfp_position: at_client", "        - nfp_position: at_door")
    bare.manor.good("package", "onboard", str(written(tmp_path, (BEFORE, SAP + BEFORE), ends)))
    return bare


def test_a_path_begins_at_a_vlan_of_a_port_of_the_host(outer: Stage) -> None:
    manor, ovs = outer.manor, outer.ovs
    at = [f"host={HOST}", "device=card", f"vlan={VLAN}"]
    params = [word for text in at for word in ("--param", f"sap.door.{text}")]
    manor.good("ns", "create", "changed-nsd", "--name", "web", *params)

    # Of a switch that has not connected yet nothing is known, so nothing is refused.
    outer.eventually(lambda: manor("ns", "plan", "web").code == 4, "the switch is seen, without the port")
    refused = manor("ns", "plan", "web")
    assert refused.code == 4
    assert f"SAP door: the switch of {HOST} has no port card" in refused.err
    assert "ovs-vsctl add-port" in refused.err

    outside = ovs.add_netns("out")
    ovs.add_bridge("br-out")
    ovs.vsctl("set-fail-mode", "br-out", "standalone")
    ovs.add_veth("br-out", "access", outside, cidrs=["10.10.0.200/24"])
    ovs.vsctl("set", "port", "access", f"tag={VLAN}")
    for bridge, device, peer in ((BRIDGE, "card", "trunk"), ("br-out", "trunk", "card")):
        ovs.vsctl("add-port", bridge, device, "--", "set", "interface", device, "type=patch", f"options:peer={peer}")
    outer.eventually(lambda: manor("ns", "plan", "web").code == 0, "the port is seen")
    outer.instantiate("web")

    assert outer.eventually(lambda: outside.pings(outer.addresses["web"]), "the web server answers the outside")
    shown = manor.good("chain", "show", "web", "path").out
    assert "door" in shown
    hops = lambda: manor.good("--json", "chain", "counters", "web").json["hops"]  # noqa: E731
    outer.eventually(lambda: {h["way"] for h in hops() if h["packets"]} == {"there", "back"}, "by way of the chain")
    outer.proven()

    traced = manor.good("chain", "trace", "web", "--packet", "tcp,dst_port=80,src_mac=02:00:00:00:00:99").out
    assert [f"there, {hop}" in traced for hop in ("card to firewall", "firewall to monitor", "monitor to web")] == [
        True,
        True,
        True,
    ], traced
    assert traced.rstrip().splitlines()[-1].startswith("it arrives at web/")

    # One more access point while the service runs, and away with it again. What the web server sends outside is the
    # path's, so that the client is asked.
    guest, client = ovs.add_netns("guest"), outer.addresses["client"]
    ovs.add_veth(BRIDGE, "slot", guest, cidrs=["10.10.0.201/24"])
    assert not guest.pings(client)
    port = [word for text in (f"port.host={HOST}", "port.device=slot") for word in ("--set", text)]
    added = ("--type", "ADD_SAP", "--set", "sapdId=wan", "--set", "virtualLinkId=lan", *port)
    manor.good("ns", "update", "web", *added, "--yes")
    assert outer.eventually(lambda: guest.pings(client), "the client answers by the new port")
    assert outer.eventually(lambda: outside.pings(outer.addresses["web"]), "the path is as it was")
    manor.good("ns", "update", "web", "--type", "REMOVE_SAP", "--set", "removeSapId=wan", "--yes")
    assert not guest.pings(client), "nobody comes in by a port that was taken away"
    assert outer.eventually(lambda: outside.pings(outer.addresses["web"]), "the other one stays")

    manor.good("ns", "create", "changed-nsd", "--name", "other", *params)
    refused = manor("ns", "plan", "other")
    assert refused.code == 4
    assert f"SAP door: card on {HOST} (VLAN {VLAN}) is service web's already" in refused.err

    whole = [word for text in (*at[:2], "mac=02:00:00:00:00:77") for word in ("--param", f"sap.door.{text}")]
    manor.good("ns", "create", "changed-nsd", "--name", "whole", *whole)
    refused = manor("ns", "plan", "whole")
    assert refused.code == 4
    assert f"SAP door: card on {HOST} is service web's already" in refused.err, "with no VLAN it has all of them"
