"""Small pure parts: claims, settings, the store, the protocol, the entry module."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from manor.api import FlowProgram, FlowRule, ResourceKind, SegmentSpec, Topology
from manor.errors import Indeterminate, Transient
from manor_sdn_ryu.claims import Claims
from manor_sdn_ryu.compile import compile_spec
from manor_sdn_ryu.config import RyuConfig
from manor_sdn_ryu.fields import BITS, intersects, merge, parse, parse_match, render
from manor_sdn_ryu.inherited import Inherited
from manor_sdn_ryu.passage import flow_text, read_trace
from manor_sdn_ryu.pipeline import OWNER_MASK, cookie, owner_bits
from manor_sdn_ryu.protocol import at_path, decode, failure, raise_failure, read_line
from manor_sdn_ryu.store import Store

MATCHES = st.dictionaries(
    st.sampled_from(["ip_proto", "tcp_dst", "eth_type"]),
    st.sampled_from([1, 2, "0x0/0x1", "0x1/0x1"]),
    max_size=3,
)


@given(st.lists(st.tuples(st.integers(1, 4), MATCHES), max_size=12), MATCHES)
def test_claims_find_exactly_the_rules_that_meet(held: list[tuple[int, dict[str, str | int]]], new: dict) -> None:  # type: ignore[type-arg]
    def rule(match: dict[str, str | int]) -> FlowRule:
        return FlowRule(host="h", table=0, priority=1, match=tuple(match.items()), actions=())

    claims = Claims()
    for owner, match in held:
        claims.add(owner, rule(match))
    expected = {
        owner
        for owner, match in held
        if owner != 1 and intersects(parse_match(match.items()), parse_match(new.items()))
    }
    assert {owner for owner, _ in claims.rivals(1, rule(new))} == expected
    for owner, match in held:
        claims.drop(owner, rule(match))
    assert list(claims.rivals(99, rule(new))) == []


@given(MATCHES, MATCHES, st.booleans())
def test_a_rule_that_another_leaves_nothing_is_found(
    one: dict[str, str | int], other: dict[str, str | int], higher: bool
) -> None:
    def rule(match: dict[str, str | int], priority: int, out: str) -> FlowRule:
        return FlowRule(host="h", table=0, priority=priority, match=tuple(match.items()), actions=(("output", out),))

    claims = Claims()
    claims.add(7, rule(one, 5, "a"))
    mine = rule(other, 9 if higher else 1, "b")
    low, high = (one, other) if higher else (other, one)
    fields, wider = parse_match(low.items()), parse_match(high.items())
    # What both match is all that the lower one matches.
    covered = intersects(fields, wider) and merge(fields, wider) == fields
    same_place = (one.get("in_port"), one.get("metadata")) == (other.get("in_port"), other.get("metadata"))
    assert [owner for owner, _ in claims.shadows(1, mine)] == ([7] if covered and same_place else [])
    assert list(claims.shadows(7, mine)) == []
    assert list(claims.shadows(1, rule(other, mine.priority, "a"))) == [], "equal actions do no harm"


@given(st.sampled_from(sorted(BITS)), st.data())
def test_field_values_survive_text(name: str, data: st.DataObject) -> None:
    top = (1 << BITS[name]) - 1
    mask = data.draw(st.integers(0, top))
    value = data.draw(st.integers(0, top)) & mask
    assert parse(name, render(name, (value, mask))) == (value, mask)


def test_merged_matches_are_both_or_nothing() -> None:
    one, other = {"ipv4_src": parse("ipv4_src", "10.0.0.0/8")}, {"ipv4_src": parse("ipv4_src", "0.0.0.1/0.0.0.3")}
    assert merge(one, other) == {"ipv4_src": parse("ipv4_src", "10.0.0.1/255.0.0.3")}
    assert merge(one, {"ipv4_src": parse("ipv4_src", "11.0.0.0/8")}) is None
    with pytest.raises(ValueError, match="unknown match field"):
        parse("colour", 1)


def test_cookies_tell_owners_kinds_and_keys_apart() -> None:
    parts = itertools.product(("manor/a", "manor/b"), (ResourceKind.SEGMENT, ResourceKind.CHAIN), ("x", "y"))
    cookies = [cookie(*part) for part in parts]
    assert len(set(cookies)) == 8
    assert {number & OWNER_MASK for number in cookies} == {owner_bits("manor/a"), owner_bits("manor/b")}
    assert all(cookies)


@pytest.mark.parametrize(
    ("given_", "hosts"),
    [({"host": "a", "bridge": "br"}, ["a"]), ({"switches": [{"host": "a"}, {"host": "b"}]}, ["a", "b"])],
)
def test_settings_in_short_and_in_full(given_: dict[str, object], hosts: list[str]) -> None:
    config = RyuConfig.model_validate(given_)
    assert [switch.host for switch in config.switches] == hosts
    assert config.switches[0].openflow_address.startswith("unix:/run/openvswitch/")
    assert len(RyuConfig.model_validate({}).switches) == 1


@pytest.mark.parametrize(
    "bad",
    [{"switches": [{"host": "a"}, {"host": "a"}]}, {"host": "a", "switches": [{"host": "b"}]}, {"host": "a;b"},
     {"host": "a", "ovsdb": "tcp:10.0.0.1:6640"}, {"runtime": "floodlight"}, {"colour": 1}, {"bridge": "a" * 16},
     {"ovsdb": "ssl:a:6640", "openflow": "ssl:a:6653"}, {"openflow": "ssl:a:6653"},
     {"openflow": "ssl:a:6653", "pki_dir": "pki"}, {"audit_s": -1}],
)  # fmt: skip
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RyuConfig.model_validate(bad)


def program(name: str) -> FlowProgram:
    return compile_spec(SegmentSpec(key=name, owner="manor/t", name=name, ports=()), Topology(switches=()))


def test_the_store_keeps_replaces_forgets_and_sets_the_unreadable_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(1, 7, program("a"))
    store.put(2, 7, program("b"))
    store.put(2, 8, program("c"))
    assert [(version, one.key) for version, one in store.programs()] == [(7, "a"), (8, "c")]
    store.drop(1)
    store.drop(1)
    (tmp_path / "programs" / f"{3:016x}.json").write_text('{"compiler": 1, "program": {"rules": "x"}}')
    assert [one.key for _, one in store.programs()] == ["c"]
    assert (tmp_path / "programs" / f"{3:016x}.unreadable").exists()
    assert all(
        path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "programs").glob("*.json") if "3" not in path.name
    )


def test_errors_cross_the_protocol_with_their_class() -> None:
    with pytest.raises(Transient, match="later") as caught:
        raise_failure(failure(Transient("later", retry_after_s=3.0, hint="wait")))
    assert (caught.value.retry_after_s, caught.value.hint) == (3.0, "wait")
    for unknown in ("ValueError", "UsageError", "__name__"):
        with pytest.raises(Indeterminate):
            raise_failure({"error": unknown, "message": "?"})
    for bad in (b"[]", b"{}", b'{"v": 999}', b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011
            decode(bad)
    with pytest.raises(ValueError, match="more than"):
        read_line(io.BytesIO(b"x" * (64 * 1024 * 1024 + 2)))


def test_long_socket_paths_have_a_short_name(tmp_path: Path) -> None:
    import socket

    path = tmp_path / ("d" * 60) / ("e" * 60) / "agent.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        with at_path(path) as address:
            listener.bind(address)
        assert path.exists()


def test_a_trace_is_read_from_the_tools_words() -> None:
    text = (
        'bridge("br-t")\n--------------\n 0. in_port=1,ip, priority 20000, cookie 0x12\n    set_field:0x1->metadata\n'
        "    goto_table:10\n10. priority 1\n    goto_table:30\n30. No match.\n    drop\n\n"
        "Final flow: unchanged\nDatapath actions: ct(commit,zone=1,nat(src)),vfwi,p2\n"
    )
    passed = read_trace(text)
    assert [(table, priority) for table, priority, _ in passed.rules] == [(0, 20000), (10, 1), (30, -1)]
    assert passed.outputs == ("vfwi", "p2")
    assert read_trace("Datapath actions: drop").outputs == ()
    packet = {name: parse(name, value) for name, value in (("tcp_dst", 80), ("ip_proto", 6), ("eth_type", 0x800))}
    assert flow_text(3, packet) == "in_port=3,dl_type=0x800,nw_proto=6,tcp_dst=80"


def test_a_trace_through_a_tunnel_is_read_without_the_bridge_beneath() -> None:
    text = """bridge("manor-int")
-------------------
 0. in_port=p,dl_src=02:00:00:00:00:01, priority 20000, cookie 0x1
    set_field:0x1234->tun_id
    output:mvx-1
     -> output to native tunnel
     -> tunneling to 192.0.2.2 via br-phy
    output:p2

bridge("br-phy")
----------------
 0. priority 0
    NORMAL
     -> forwarding to learned port

Datapath actions: tnl_push(tnl_port(vxlan_sys_4789),header(size=50,udp(src=0,dst=4789)),out_port(br-phy)),u0,p2
"""
    passed = read_trace(text)
    assert [rule[:2] for rule in passed.rules] == [(0, 20000)]
    assert (passed.outputs, passed.tunnels) == (("p2",), (("mvx-1", 0x1234),))


def test_nothing_heavy_at_import() -> None:
    code = (
        "import sys, manor_sdn_ryu; list(manor_sdn_ryu.manor_sdn_drivers()); list(manor_sdn_ryu.manor_doctor_checks());"
        "print([m for m in ('ryu', 'os_ken', 'eventlet', 'sqlmodel', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_host_that_is_no_longer_ours_is_forgotten_and_one_that_comes_back_is_looked_at_anew() -> None:
    inherited = Inherited()
    inherited.look("h1", {1})
    inherited.look("h2", {2})
    inherited.keep({"h2"})
    assert (inherited.hosts(1), inherited.hosts(2)) == (set(), {"h2"})
    assert inherited.keeps("h1", 3), "nothing is known of it"
    inherited.look("h1", {3})
    assert inherited.hosts(3) == {"h1"}
