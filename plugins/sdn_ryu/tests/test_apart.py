"""Two services never have a frame in common, so that neither can shadow, repeat or lead astray the other's."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    ElementMode,
    FlowProgram,
    FlowRule,
    ResourceKind,
    SdnPort,
    SegmentSpec,
    SwitchLink,
    Topology,
)
from manor_sdn_ryu.compile import compile_spec
from manor_sdn_ryu.fields import intersects, parse_match
from manor_sdn_ryu.pipeline import tag, tunnel_id
from manor_sdn_ryu.programs import Programs
from manor_sdn_ryu.store import Store

OWNER = "manor/test"
TOPOLOGY = Topology(
    switches=(),
    links=tuple(SwitchLink(host=a, peer=b, device=f"vx-{b}") for a, b in itertools.permutations(("h1", "h2"), 2)),
)


def service(name: str, sap: dict[str, object]) -> list[SegmentSpec | ChainSpec]:
    """With the same MACs, addresses and rules as any other: a descriptor may say them all. Only devices differ, which
    core makes from keys, and what of the card is the service's, which a plan sees to."""

    def port(number: int, host: str, *, transparent: bool = False) -> SdnPort:
        key = f"{name}/vnf/v{number}/main-0/cp"
        here = {"key": key, "host": host, "device": f"{name}{number}", "transparent": transparent}
        if transparent:
            return SdnPort(mac="", **here)  # type: ignore[arg-type]
        return SdnPort(mac=f"02:00:00:00:00:0{number}", addresses=(f"10.0.0.{number}", f"fd00::{number}"), **here)  # type: ignore[arg-type]

    door = SdnPort(key=f"{name}/sap/door", host="h1", device="card", **{"mac": "", **sap})  # type: ignore[arg-type]
    near, far = port(1, "h1"), port(2, "h2")
    lan = SegmentSpec(key=f"{name}/vl/lan", owner=OWNER, name="lan", ports=(door, near, far))
    bump = ChainElement(ingress=port(3, "h2", transparent=True), egress=port(4, "h2", transparent=True))
    aware = ChainElement(ingress=port(5, "h1"), egress=port(5, "h1"), mode=ElementMode.NSH)
    chain = ChainSpec(
        key=f"{name}/chain/web", owner=OWNER, name="web", segment=lan.key, classifiers=(Classifier(),),
        sources=(door, near), destinations=(far,),
        positions=tuple(ChainPosition(name=f"p{n}", elements=(e,)) for n, e in enumerate((bump, aware))),
    )  # fmt: skip
    return [lan, chain]


def rules(name: str, sap: dict[str, object]) -> list[FlowRule]:
    return [rule for spec in service(name, sap) for rule in compile_spec(spec, TOPOLOGY).rules]


@pytest.mark.parametrize(
    "theirs", [{"vlan": 20}, {"vlan": 0}, {"vlan": 20, "mac": "02:00:00:00:00:99"}], ids=["vlan", "untagged", "machine"]
)
def test_no_rule_of_one_service_matches_a_frame_of_another_whatever_they_have_alike(theirs: dict[str, object]) -> None:
    ours = rules("aa", {"vlan": 10, "mac": "02:00:00:00:00:99"})
    others = rules("bb", theirs)
    assert len(ours) == len(rules("bb", {"vlan": 10, "mac": "02:00:00:00:00:99"}))
    for one, other in itertools.product(ours, others):
        if (one.host, one.table) != (other.host, other.table):
            continue
        ports = [dict(rule.match).get("in_port") for rule in (one, other)]
        same_port = None in ports or ports[0] == ports[1]
        met = same_port and intersects(parse_match(one.match), parse_match(other.match))
        assert not met, f"{one.note} {one.match} meets {other.note} {other.match}"


def test_chains_and_links_have_tunnel_ids_apart() -> None:
    tags = [tag(OWNER, ResourceKind.CHAIN, f"{n}") for n in range(1000)]
    ids = [{tunnel_id(kind, one) for one in tags} for kind in (ResourceKind.CHAIN, ResourceKind.SEGMENT)]
    assert ids[0].isdisjoint(ids[1])
    assert 0 < min(map(min, ids)) < max(map(max, ids)) < 1 << 24


def test_of_two_chains_that_have_one_tunnel_id_by_chance_the_later_gets_another_and_keeps_it(tmp_path: Path) -> None:
    _, chain = service("aa", {"vlan": 10})
    assert isinstance(chain, ChainSpec)
    seen: dict[int, str] = {}
    for number in itertools.count():
        key = f"{number}/chain/web"
        other = seen.setdefault(tunnel_id(ResourceKind.CHAIN, tag(OWNER, ResourceKind.CHAIN, key, "aa3")), key)
        if other != key:
            break
    one, two = (
        compile_spec(dataclasses.replace(chain, key=name, classifiers=(Classifier(protocol=protocol),)), TOPOLOGY)
        for name, protocol in ((other, "udp"), (key, "tcp"))
    )
    programs = Programs(Store(tmp_path))
    assert programs.put(one, TOPOLOGY) == one
    taken = programs.put(two, TOPOLOGY)
    assert (taken.spec_hash, taken.spec, len(taken.rules)) == (two.spec_hash, two.spec, len(two.rules))
    assert received(one) & received(two), "as compiled they would meet"
    assert received(one).isdisjoint(received(taken))
    sent = {argument for rule in taken.rules for _, argument in rule.actions if str(argument).startswith("tunnel_id=")}
    assert {str(argument).partition("=")[2] for argument in sent} >= {number for _, number in received(taken)}
    assert programs.put(two, TOPOLOGY) == taken, "twice is once"
    again = Programs(Store(tmp_path))
    again.load(TOPOLOGY)
    stored = again.find(OWNER, ResourceKind.CHAIN, key)
    assert stored is not None
    assert stored.rules == taken.rules
    bent = again.effective(stored, TOPOLOGY, ["aa3"])
    assert bent.rules != stored.rules, "what to do without a function is still known"
    assert received(bent) <= received(taken)


def received(program: FlowProgram) -> set[tuple[str, str]]:
    """What comes over tunnels: by where, and the id."""
    matches = [dict(rule.match) for rule in program.rules]
    return {(f"{m['in_port']}", str(m["tunnel_id"])) for m in matches if "tunnel_id" in m}
