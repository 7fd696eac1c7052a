"""Two services never have a frame in common, so that neither can shadow, repeat or lead astray the other's."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    Distribution,
    ElementMode,
    FailMode,
    FlowProgram,
    FlowRule,
    ResourceKind,
    SdnPort,
    SegmentSpec,
    SwitchLink,
    Topology,
)
from manor_sdn_ryu.compile import compile_spec
from manor_sdn_ryu.facts import facts
from manor_sdn_ryu.fields import intersects, parse_match
from manor_sdn_ryu.hops import arrivals
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


HOSTS = ("h1", "h2", "h3")
FIELD = Topology(
    switches=(),
    links=tuple(SwitchLink(host=a, peer=b, device=f"vx-{b}") for a, b in itertools.permutations(HOSTS, 2)),
)
CLASSIFIERS = (
    Classifier(),
    Classifier(protocol="tcp"),
    Classifier(ether_type="ipv4", source_ip_address_prefix="10.0.0.1/32"),
)


def end(number: int, host: str) -> SdnPort:
    return SdnPort(
        key=f"end{number}", host=host, device=f"end{number}", mac=f"02:00:00:00:00:0{number}",
        addresses=(f"10.0.0.{number}",),
    )  # fmt: skip


def element(name: str, host: str, mode: ElementMode) -> ChainElement:
    mac = "02:00:00:00:01:01" if mode is ElementMode.ROUTED else ""
    two = [SdnPort(key=name + s, host=host, device=name + s, mac=mac, transparent=not mac) for s in "io"]
    return ChainElement(ingress=two[0], egress=two[mode is not ElementMode.ONE_ARMED], mode=mode)


POSITIONS = st.lists(
    st.tuples(
        st.sampled_from(list(FailMode)),
        st.sampled_from(list(Distribution)),
        st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from(list(ElementMode))), min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=3,
)


def path(
    positions: list[tuple[FailMode, Distribution, list[tuple[str, ElementMode]]]], far: str, **more: object
) -> ChainSpec:
    made = tuple(
        ChainPosition(
            name=f"p{n}", fail_mode=fail, distribution=how,
            elements=tuple(element(f"f{n}{m}", host, mode) for m, (host, mode) in enumerate(where)),
        ) for n, (fail, how, where) in enumerate(positions)
    )  # fmt: skip
    fields: dict[str, object] = {
        "key": "s/chain/web", "owner": OWNER, "name": "web", "segment": "s/vl/lan", "classifiers": (Classifier(),),
        "sources": (end(1, "h1"),), "destinations": (end(2, far),), "positions": made,
    }  # fmt: skip
    return ChainSpec(**{**fields, **more})  # type: ignore[arg-type]


def elements_of(spec: ChainSpec) -> list[ChainElement]:
    return [one for position in spec.positions for one in position.elements]


@settings(max_examples=25)
@given(POSITIONS, st.sampled_from(HOSTS), st.sampled_from(CLASSIFIERS), st.booleans(), st.integers(0, 7), st.data())
def test_what_a_chain_may_receive_without_some_of_its_functions_is_known_before(
    positions: list[tuple[FailMode, Distribution, list[tuple[str, ElementMode]]]],
    far: str, classifier: Classifier, symmetric: bool, salt: int, data: st.DataObject,
) -> None:  # fmt: skip
    spec = path(positions, far, classifiers=(classifier,), symmetric=symmetric)
    gone = data.draw(st.sets(st.sampled_from([one.ingress.device for one in elements_of(spec)])))
    straight, bent = (compile_spec(spec, FIELD, dead=dead, salt=salt) for dead in (set(), gone))
    kept = {(rule.host, rule.match) for rule in arrivals(spec, FIELD, salt)}
    for program in (straight, bent):
        comes = {(rule.host, rule.match) for rule in program.rules if "tunnel_id" in dict(rule.match)}
        assert comes <= (kept or {(rule.host, rule.match) for rule in straight.rules})


def test_a_chain_bent_around_a_dead_function_takes_no_others_tunnel_id(tmp_path: Path) -> None:
    """Without ``f1`` frames go from h1 to ``f2`` over a link, under an id that the whole chain has no use for."""
    both = [(FailMode.OPEN, Distribution.SOURCE_IP_HASH, [("h2", ElementMode.TRANSPARENT)])] * 2
    seen: dict[int, str] = {}
    for number in itertools.count():
        key = f"{number}/chain/web"
        other = seen.setdefault(tunnel_id(ResourceKind.CHAIN, tag(OWNER, ResourceKind.CHAIN, key, "f10i")), key)
        if other != key:
            break
    one, two = (
        compile_spec(path(both, "h2", key=name, classifiers=(Classifier(protocol=protocol),)), FIELD)
        for name, protocol in ((other, "udp"), (key, "tcp"))
    )
    assert received(one).isdisjoint(received(two)), "while all functions live they do not meet"
    programs = Programs(Store(tmp_path))
    held = [programs.put(program, FIELD) for program in (one, two)]
    as_compiled, bent = (
        [received(programs_.effective(program, FIELD, ["f00i"])) for program in which]
        for programs_, which in ((Programs(Store(tmp_path / "fresh")), (one, two)), (programs, held))
    )
    assert as_compiled[0] & as_compiled[1], "bent as compiled they would"
    assert bent[0].isdisjoint(bent[1])
    assert programs.put(two, FIELD) == held[1], "twice is once"
    later = Programs(Store(tmp_path / "later"))
    later.put(one, Topology(switches=()))
    later.relink(FIELD)
    assert later.put(two, FIELD) == held[1], "of links that it is told of later as well"
    programs.drop(facts(held[0]).cookie)
    assert programs.put(two, FIELD) == two, "what was kept free went with the chain"
