"""The packet walk does what OpenFlow says: it judges all flow programs, so it has to be right itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.api import FlowRule, GroupBucket, GroupRule, SwitchLink
from manor.fakes import Ambiguous, Fabric, overlap
from manor.fakes.matching import masks
from manor.fakes.openflow import Packet, agrees

FRAME: Packet = {
    "eth_src": "52:54:00:00:00:01",
    "eth_dst": "52:54:00:00:00:02",
    "eth_type": 0x0800,
    "ip_proto": 6,
    "ipv4_src": "10.0.0.1",
    "ipv4_dst": "10.0.0.2",
    "tcp_dst": 80,
}


OTHER = "52:54:00:00:00:03"


def rule(priority: int, match: Packet, *actions: tuple[str, str | int], table: int = 0, host: str = "h1") -> FlowRule:
    return FlowRule(host=host, table=table, priority=priority, match=tuple(match.items()), actions=actions)


def devices(*rules: FlowRule, frame: Packet = FRAME, in_port: str = "a") -> set[str]:
    return set(Fabric(rules=rules).send("h1", in_port, frame).devices)


def test_the_highest_priority_wins() -> None:
    low, high = rule(1, {}, ("output", "low")), rule(2, {}, ("output", "high"))
    assert devices(low, high) == devices(high, low) == {"high"}


def test_no_match_drops_and_says_where() -> None:
    walk = Fabric(rules=[rule(1, {"in_port": "b"}, ("output", "x"))]).send("h1", "a", FRAME)
    assert not walk.arrivals
    assert "table 0" in walk.lost[0]


def test_equal_priorities_that_differ_are_an_error() -> None:
    rules = [rule(1, {"ip_proto": 6}, ("output", "x")), rule(1, {"in_port": "a"}, ("output", "y"))]
    assert overlap(*rules)
    with pytest.raises(Ambiguous):
        devices(*rules)


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ({"eth_dst": "52:54:00:00:00:02"}, True),
        ({"eth_dst": "01:00:00:00:00:00/01:00:00:00:00:00"}, False),
        ({"eth_type": "0x800", "ipv4_src": "10.0.0.0/24"}, True),
        ({"eth_type": 0x0800, "ipv4_src": "10.0.1.0/24"}, False),
        ({"ipv4_src": "10.0.0.0/255.255.0.0"}, True),
        ({"tcp_dst": "0x50/0xfff0"}, True),
        ({"tcp_dst": "0x40/0xfff0"}, False),
        ({"tcp_dst": "80"}, True),
        ({"udp_dst": 80}, False),
        ({"vlan_vid": 0}, True),
        ({"metadata": 0}, True),
    ],
)
def test_matches(match: Packet, matches: bool) -> None:
    assert devices(rule(1, match, ("output", "x"))) == ({"x"} if matches else set())


def test_metadata_and_registers_last_through_the_pipeline_and_no_longer() -> None:
    walk = Fabric(
        rules=[
            rule(1, {}, ("set_field", "metadata=0x10"), ("set_field", "reg0=5"), ("goto", 10)),
            rule(
                1,
                {"metadata": "0x10/0xf0", "reg0": 5},
                ("set_field", f"eth_dst={OTHER}"),
                ("output", "x"),
                table=10,
            ),
        ]
    ).send("h1", "a", FRAME)
    assert walk.devices == {"x"}
    assert walk.arrivals[0].packet == {**FRAME, "eth_dst": OTHER}


def test_goto_goes_forward_only() -> None:
    with pytest.raises(ValueError, match="forward"):
        devices(rule(1, {}, ("goto", 5)), rule(1, {}, ("goto", 5), table=5))


def test_a_frame_leaves_by_its_own_port_only_when_told() -> None:
    assert devices(rule(1, {}, ("output", "a"), ("output", "b"))) == {"b"}
    assert devices(rule(1, {}, ("output", "in_port"))) == {"a"}


def test_a_copy_is_what_it_was_when_it_was_output() -> None:
    walk = Fabric(rules=[rule(1, {}, ("output", "x"), ("set_field", "ip_dscp=7"), ("output", "y"))]).send(
        "h1", "a", FRAME
    )
    assert {a.device: a.packet.get("ip_dscp") for a in walk.arrivals} == {"x": None, "y": 7}


def test_a_link_carries_the_tunnel_id_and_nothing_else() -> None:
    links = [SwitchLink(host="h1", peer="h2", device="to-h2"), SwitchLink(host="h2", peer="h1", device="to-h1")]
    rules = [
        rule(1, {}, ("set_field", "metadata=9"), ("set_field", "tunnel_id=7"), ("output", "to-h2")),
        rule(2, {"in_port": "to-h1", "tunnel_id": 7, "metadata": 0}, ("output", "x"), host="h2"),
    ]
    walk = Fabric(rules=rules, links=links).send("h1", "a", FRAME)
    assert [(a.host, a.device) for a in walk.arrivals] == [("h2", "x")]
    assert "tunnel_id" not in walk.arrivals[0].packet


def test_functions_hand_frames_on() -> None:
    rules = [rule(1, {"in_port": "a"}, ("output", "fw-in")), rule(1, {"in_port": "fw-out"}, ("output", "b"))]
    walk = Fabric(rules=rules, functions={"fw-in": ("h1", "fw-out")}).send("h1", "a", FRAME)
    assert (walk.through, walk.devices) == (("fw-in",), {"b"})


def test_a_storm_ends() -> None:
    functions = {"x": ("h1", "y"), "y": ("h1", "x")}
    rules = [rule(1, {}, ("output", "x"), ("output", "y"), ("output", "in_port"))]
    walk = Fabric(rules=rules, functions=functions).send("h1", "a", FRAME)
    assert "circle" in walk.lost[-1]


def test_a_select_group_takes_one_bucket_and_the_same_both_ways() -> None:
    buckets = tuple(GroupBucket(weight=1, actions=(("output", f"x{number}"),)) for number in range(4))
    net = Fabric(rules=[rule(1, {}, ("group", 7))], groups=[GroupRule(host="h1", group_id=7, buckets=buckets)])
    seen = set()
    for client in range(1, 60):
        there = {**FRAME, "ipv4_src": f"10.0.1.{client}"}
        back = {**FRAME, "ipv4_src": there["ipv4_dst"], "ipv4_dst": there["ipv4_src"]}
        walk = net.send("h1", "a", there)
        assert len(walk.arrivals) == 1
        assert walk.devices == net.send("h1", "a", back).devices
        seen |= walk.devices
    assert len(seen) == 4


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_masks_are_exactly_the_range(one: int, other: int, port: int) -> None:
    lower, upper = sorted((one, other))
    found = list(masks(lower, upper))
    assert len(found) <= 30
    inside = [agrees("tcp_dst", f"{value:#x}/{mask:#x}", port) for value, mask in found]
    assert inside.count(True) == (lower <= port <= upper)
