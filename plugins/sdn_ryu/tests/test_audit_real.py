"""What is done to a switch by hand is put right by itself: the difference, and nothing that is not ours."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.api import Phase, ResourceKind
from manor.testing.ovs import PrivateOvs, missing_for_ovs
from manor_sdn_ryu.pipeline import cookie

from .conftest import BRIDGE, OWNER, Rig, Stream, chain, eventually, forwards_first, segment

pytestmark = pytest.mark.real
AUDIT_S = 0.2
_SLOW_S = 2.5


@pytest.fixture(params=["ryu", "os-ken"])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """A switch that is looked at five times a second."""
    if reason := missing_for_ovs():
        pytest.skip(reason)
    with PrivateOvs() as ovs:
        ovs.add_bridge(BRIDGE)
        made = Rig(tmp_path, ovs, request.param, audit_s=AUDIT_S)
        try:
            yield made
        finally:
            made.end()


def test_rules_deleted_altered_and_added_by_hand_are_put_right_and_a_strangers_stay(watched: Rig) -> None:
    rig = watched
    (one, p1), (_, p2) = rig.machine(1, rate_bps=50_000_000), rig.machine(2)
    _, fw = rig.bump("fw")
    lan, web = segment(p1, p2), chain(p1, p2, fw)
    rig.apply(lan)
    rig.apply(web)
    held = sorted(rig.flows())
    eventually(lambda: one.netns.pings("10.0.0.2"), "the chain carries")
    number = cookie(OWNER, ResourceKind.SEGMENT, lan.key)
    gone, brief = (cookie(OWNER, ResourceKind.SEGMENT, f"a service of {ago} ago") for ago in ("long", "a moment"))
    rig.ovs.ofctl("add-flow", BRIDGE, "table=30,priority=7,cookie=0x5,actions=drop")
    rig.ovs.ofctl("add-flow", BRIDGE, f"table=60,priority=7,cookie=0x{brief:x},hard_timeout=3600,actions=drop")
    strangers = sorted({*rig.flows()} - {*held})
    assert len(strangers) == 2

    rig.ovs.ofctl("del-flows", BRIDGE, f"cookie=0x{number:x}/-1,table=30,dl_dst={p2.mac}")
    rig.ovs.ofctl("mod-flows", BRIDGE, f"cookie=0x{number:x}/-1,table=30,dl_dst={p1.mac},actions=drop")
    rig.ovs.ofctl("add-flow", BRIDGE, f"cookie=0x{number:x},table=50,priority=9,actions=drop")
    rig.ovs.ofctl("add-flow", BRIDGE, f"cookie=0x{gone:x},table=51,priority=9,actions=drop")
    eventually(lambda: sorted(rig.flows()) == sorted([*held, *strangers]), "all is as it was")
    eventually(lambda: one.netns.pings("10.0.0.2"), "it carries again")
    assert rig.observe(lan.key).phase is Phase.ACTIVE

    def repaired() -> list[str]:
        """Told once it is done."""
        found = [what for repair in rig.observe(lan.key).detail["repairs"] for what in repair["what"]]
        return found if {what.partition(":")[0] for what in found} == {"missing", "altered", "foreign"} else []

    assert any("to p2" in what for what in eventually(repaired, "each kind is told"))
    assert rig.packets(web.key, "p1 to fw") > 0, "the counters of what was right went on"
    assert rig.observe(web.key).detail["repairs"] == []

    rig.ovs.ofctl("del-meters", BRIDGE)  # and with a meter goes every rule that names it
    eventually(lambda: sorted(rig.flows()) == sorted([*held, *strangers]), "rules and meter are there again")
    assert "rate=50000" in rig.ovs.ofctl("dump-meters", BRIDGE)


def test_changes_under_traffic_and_the_audit_do_not_disturb_each_other(watched: Rig) -> None:
    rig = watched
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    functions = [rig.bump(name)[1] for name in ("f1", "f2")]
    rig.apply(segment(p1, p2))
    forwards_first(rig.ovs)
    with Stream(one.netns, two.netns, "10.0.0.2") as stream:
        for number in range(12):
            rig.apply(chain(p1, p2, *functions[: number % 2 + 1]))
        rig.remove(chain(p1, p2, functions[0]))
    assert stream.lost == 0
    assert rig.observe("s/vl/lan").detail["repairs"] == []


def test_a_switch_that_was_slow_to_answer_once_is_not_left_alone_for_long(watched: Rig) -> None:
    """How often it is looked at follows from the work that takes, not from how long others kept it waiting."""
    rig = watched
    _, p1 = rig.machine(1)
    lan = segment(p1)
    rig.apply(lan)
    held = sorted(rig.flows())
    slow = rig.ovs.pid("ovs-vswitchd")
    os.kill(slow, signal.SIGSTOP)
    try:
        time.sleep(_SLOW_S)  # were it taken for work, the pause behind it would be twenty times as long
    finally:
        os.kill(slow, signal.SIGCONT)
    number = cookie(OWNER, ResourceKind.SEGMENT, lan.key)
    rig.ovs.ofctl("del-flows", BRIDGE, f"cookie=0x{number:x}/-1,table=30")
    eventually(lambda: sorted(rig.flows()) == held, "it is put right", within_s=15 * _SLOW_S)
