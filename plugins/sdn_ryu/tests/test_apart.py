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
    FlowRule,
    ResourceKind,
    SdnPort,
    SegmentSpec,
    SwitchLink,
    Topology,
)
from manor.errors import Conflict
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


def test_a_tunnel_id_that_two_have_by_chance_is_refused_whoever_comes_first(tmp_path: Path) -> None:
    lan, chain = service("aa", {"vlan": 10})
    chains = {n: dataclasses.replace(chain, key=f"{n}/chain/web") for n in range(3000)}
    hops = {tunnel_id(tag(OWNER, ResourceKind.CHAIN, spec.key, "aa3")): spec for spec in chains.values()}
    keys = (f"{n}/vl/x" for n in itertools.count())
    key = next(key for key in keys if tunnel_id(tag(OWNER, ResourceKind.SEGMENT, key)) in hops)
    pair = [dataclasses.replace(lan, key=key), hops[tunnel_id(tag(OWNER, ResourceKind.SEGMENT, key))]]
    for order in (pair, pair[::-1]):
        programs = Programs(Store(tmp_path / str(order[0].kind)))
        programs.put(compile_spec(order[0], TOPOLOGY))
        with pytest.raises(Conflict, match="the same tunnel id"):
            programs.put(compile_spec(order[1], TOPOLOGY))
