"""Tracing through the switch's own tables."""

from __future__ import annotations

import pytest

from manor.api import Phase
from manor.errors import NotFound, Permanent

from .conftest import BRIDGE, Rig, chain, eventually, segment

pytestmark = pytest.mark.real


def test_a_trace_names_each_hop_in_the_operators_words_and_says_where_a_packet_stops(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    (_, fw), (_, mon) = rig.bump("fw"), rig.bump("mon")
    rig.apply(segment(p1, p2))
    web = chain(p1, p2, fw, mon)
    rig.apply(web)
    hops = rig.driver.trace(web.key, {"ip_proto": 17, "udp_dst": 5000}, rig.ctx())
    notes = " | ".join(hop.note for hop in hops)
    assert [hop.device for hop in hops if hop.table is None] == ["vfwi", "vmoni", "p2"]
    assert "web: there, p1 to fw (vfwi)" in notes
    assert "delivered to p2" in notes
    back = rig.driver.trace(web.key, {"eth_src": p2.mac, "eth_dst": p1.mac, "ip_proto": 17}, rig.ctx())
    assert [hop.device for hop in back if hop.table is None] == ["vmono", "vfwo", "p1"]
    stray = rig.driver.trace(web.key, {"eth_dst": "02:00:00:00:00:77", "ip_proto": 6}, rig.ctx())
    assert "to an address that nobody has" in stray[-1].note
    across = rig.driver.trace("s/vl/lan", {"in_port": "p1", "eth_dst": p2.mac, "ip_proto": 6}, rig.ctx())
    assert across[-1].note == "delivered to p2", "what no chain wants goes straight"
    steered = rig.driver.trace("s/vl/lan", {"in_port": "p2", "eth_dst": p1.mac, "ip_proto": 17}, rig.ctx())
    assert "web: back, p2 to mon" in " | ".join(hop.note for hop in steered), "what one does is taken there"
    rig.ovs.del_veth(BRIDGE, "vmoni")
    eventually(lambda: rig.observe(web.key).phase is Phase.DEGRADED, "the lost port is seen")
    shut = "no live function at mon: fail-closed"
    eventually(lambda: shut in rig.driver.trace(web.key, {"ip_proto": 17}, rig.ctx())[-1].note, "the switch is told")
    with pytest.raises(NotFound):
        rig.driver.trace("no/such/chain", {}, rig.ctx())
    with pytest.raises(NotFound, match="no port"):
        rig.driver.trace("s/vl/lan", {"in_port": "p9"}, rig.ctx())
    with pytest.raises(Permanent, match="not a packet"):
        rig.driver.trace(web.key, {"colour": 3}, rig.ctx())
