"""An agent that begins without the state of the one before it finds rules that it was never told of, and keeps them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.api import FlowRule, Observed, Phase, Query, ResourceKind, ResourceRef
from manor.errors import Permanent
from manor.testing.ovs import PrivateOvs, missing_for_ovs
from manor_sdn_ryu.pipeline import cookie

from .conftest import BRIDGE, OWNER, Rig, Stream, chain, eventually, forwards_first, segment

pytestmark = pytest.mark.real
AUDIT_S = 0.1


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Which library makes no difference; it is looked at ten times a second."""
    if reason := missing_for_ovs():
        pytest.skip(reason)
    with PrivateOvs() as ovs:
        ovs.add_bridge(BRIDGE)
        made = Rig(tmp_path, ovs, "os-ken", audit_s=AUDIT_S)
        try:
            yield made
        finally:
            made.end()


def _all(rig: Rig) -> list[Observed]:
    return sorted(rig.driver.observe(Query(owner=OWNER), rig.ctx()), key=lambda one: one.native_id)


def _loses_its_memory(rig: Rig) -> None:
    """The agent dies, and its successor begins with nothing."""
    rig.kill_agent()
    shutil.rmtree(rig.environment.state_dir)
    rig.environment.state_dir.mkdir(mode=0o700)
    eventually(lambda: _all(rig), "its successor has looked")


def _number(kind: ResourceKind, key: str) -> int:
    return cookie(OWNER, kind, key)


def test_what_it_was_never_told_of_carries_on_until_it_is_told(rig: Rig) -> None:
    (one, p1), (two, p2), (_, p3) = rig.machine(1, rate_bps=50_000_000), rig.machine(2), rig.machine(3)
    _, fw = rig.bump("fw")
    lan, web, other = segment(p1, p2), chain(p1, p2, fw), segment(p3, key="t/vl/lan")
    for spec in (lan, web, other):
        rig.apply(spec)
    held, ours = sorted(rig.flows()), _all(rig)
    strange = f"table=51,priority=9,cookie=0x{_number(ResourceKind.SEGMENT, 'of nobody'):x},actions=drop"
    forwards_first(rig.ovs)
    with Stream(one.netns, two.netns, "10.0.0.2") as stream:
        _loses_its_memory(rig)
        rig.ovs.ofctl("add-flow", BRIDGE, strange)
        eventually(lambda: sorted(rig.flows()) == held, "what came after it is taken away, what it found is there")

        unknown = _all(rig)
        assert [one.native_id for one in unknown] == [one.native_id for one in ours], "named for who asks for all"
        assert {one.phase for one in unknown} == {Phase.DEGRADED}
        assert not {one.ref.key for one in unknown} & {one.ref.key for one in ours}, "a hash does not tell a name"
        seen = rig.observe(web.key)
        assert (seen.native_id, seen.spec_hash) == (f"0x{_number(web.kind, web.key):016x}", "")
        assert len(seen.detail["extra"]) == sum(f"cookie=0x{_number(web.kind, web.key):x}," in flow for flow in held)

        refused = rig.driver.compile(lan, rig.driver.topology(rig.ctx()))
        no_ip = FlowRule(host="h1", table=50, priority=1, match=(("tcp_dst", 80),), actions=(("drop", ""),))
        with pytest.raises(Permanent, match="refused"):
            rig.driver.apply(dataclasses.replace(refused, rules=(no_ip,)), rig.ctx())
        assert sorted(rig.flows()) == held, "what is refused is so as a whole"
        assert rig.apply(lan).phase is Phase.ACTIVE
        assert sorted(rig.flows()) == held, "the meter is there as well"
        assert rig.apply(web).phase is Phase.ACTIVE
    assert stream.lost == 0
    assert sorted(rig.flows()) == held
    (left,) = [one for one in _all(rig) if one.ref.key not in (lan.key, web.key)]
    assert left.native_id == f"0x{_number(other.kind, other.key):016x}"
    rig.driver.remove(left.ref, rig.ctx())
    assert sorted(one.ref.key for one in _all(rig)) == sorted([lan.key, web.key])

    _loses_its_memory(rig)
    assert not rig.driver.shutdown(rig.ctx()), "it is not done while something is left"
    rig.remove(web)
    rig.driver.remove(ResourceRef(kind=ResourceKind.SEGMENT, key="unknown/0x05"), rig.ctx())
    rig.remove(lan)
    assert rig.flows() == []
    assert "rate=" not in rig.ovs.ofctl("dump-meters", BRIDGE)
    assert _all(rig) == []

    rig.apply(lan)
    _loses_its_memory(rig)
    rig.apply(segment(dataclasses.replace(p1, rate_bps=0), p2))
    assert "rate=" not in rig.ovs.ofctl("dump-meters", BRIDGE), "a meter goes with what is replaced, too"
    rig.remove(lan)
    assert rig.driver.shutdown(rig.ctx())
