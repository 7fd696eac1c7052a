"""What the compiled rules do to packets, by walking them through the tables."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

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
    PortRange,
    SdnPort,
    SecurityRule,
    SegmentSpec,
    Subnet,
    SwitchLink,
    Topology,
)
from manor.errors import Permanent, Unsupported
from manor.fakes.openflow import Fabric, Walk, overlap
from manor_sdn_ryu.balance import slots
from manor_sdn_ryu.compile import compile_spec
from manor_sdn_ryu.security import link_local, port_masks

OWNER = "manor/test"
NOWHERE = Topology(switches=())
LINKS = tuple(SwitchLink(host=a, peer=b, device=f"vx-{b}") for a, b in itertools.permutations(("h1", "h2", "h3"), 2))
LINKED = Topology(switches=(), links=LINKS)


def port(number: int, *, host: str = "h1", prefix: str = "p", **more: object) -> SdnPort:
    more = {"addresses": (f"10.0.0.{number}", f"fd00::{number:x}"), **more}
    return SdnPort(key=f"{prefix}{number}", host=host, device=f"{prefix}{number}", mac=f"02:00:00:00:00:{number:02x}",
                   **more)  # type: ignore[arg-type]  # fmt: skip


def segment(*ports: SdnPort, key: str = "s/vl/lan") -> SegmentSpec:
    return SegmentSpec(key=key, owner=OWNER, name=key, ports=ports, subnets=(Subnet(cidr="10.0.0.0/24"),))


def bump(name: str, *, host: str = "h1", **more: object) -> ChainElement:
    ends = [SdnPort(key=f"{name}{side}", host=host, device=f"{name}{side}", mac="", transparent=True) for side in "io"]
    return ChainElement(ingress=ends[0], egress=ends[1], **more)  # type: ignore[arg-type]


def chain(
    *positions: ChainPosition,
    sources: Iterable[SdnPort],
    destinations: Iterable[SdnPort],
    classifiers: tuple[Classifier, ...] = (Classifier(protocol="tcp"),),
    **more: object,
) -> ChainSpec:
    return ChainSpec(
        key="s/chain/web", owner=OWNER, name="web", segment="s/vl/lan", classifiers=classifiers,
        sources=tuple(sources), destinations=tuple(destinations), positions=positions, **more,
    )  # type: ignore[arg-type]  # fmt: skip


def at(name: str, *elements: ChainElement, **more: object) -> ChainPosition:
    return ChainPosition(name=name, elements=elements, **more)  # type: ignore[arg-type]


def ip(source: SdnPort, target: SdnPort, **more: str | int) -> dict[str, str | int]:
    return {
        "eth_src": source.mac, "eth_dst": target.mac, "eth_type": 0x0800, "ipv4_src": source.addresses[0],
        "ipv4_dst": target.addresses[0], **more,
    }  # fmt: skip


def tcp(source: SdnPort, target: SdnPort, *, sport: int = 40000, dport: int = 80) -> dict[str, str | int]:
    return ip(source, target, ip_proto=6, tcp_src=sport, tcp_dst=dport)


def arp(source: SdnPort, tpa: str, *, op: int = 1, **more: str | int) -> dict[str, str | int]:
    return {
        "eth_src": source.mac, "eth_dst": "ff:ff:ff:ff:ff:ff", "eth_type": 0x0806, "arp_op": op, "arp_sha": source.mac,
        "arp_tha": "00:00:00:00:00:00", "arp_spa": source.addresses[0], "arp_tpa": tpa, **more,
    }  # fmt: skip


def fabric(*specs: SegmentSpec | ChainSpec, topology: Topology = NOWHERE, dead: frozenset[str] = frozenset()) -> Fabric:
    functions: dict[str, tuple[str, str]] = {}
    for spec in specs:
        if isinstance(spec, ChainSpec):
            for position in spec.positions:
                for element in position.elements:
                    functions[element.ingress.device] = (element.egress.host, element.egress.device)
                    functions[element.egress.device] = (element.ingress.host, element.ingress.device)
    programs = [compile_spec(spec, topology, dead=dead) for spec in specs]
    for one, other in itertools.combinations([rule for program in programs for rule in program.rules], 2):
        assert not overlap(one, other), f"{one} overlaps {other}"
    return Fabric(programs, links=topology.links, functions=functions)


A, B, C = port(1), port(2), port(3)


def walk(there: Fabric, source: SdnPort, packet: dict[str, str | int]) -> Walk:
    return there.send(source.host, source.device, packet)


def test_unicast_goes_to_the_one_port_and_unknown_addresses_nowhere() -> None:
    net = fabric(segment(A, B, C))
    assert walk(net, A, tcp(A, B)).devices == {"p2"}
    assert walk(net, A, tcp(A, port(9))).devices == set()
    assert walk(net, A, {**tcp(A, B), "eth_dst": "ff:ff:ff:ff:ff:ff"}).devices == {"p2", "p3"}


@pytest.mark.parametrize(
    "forged",
    [
        {**tcp(A, B), "eth_src": C.mac},
        {**tcp(A, B), "ipv4_src": "10.0.0.3"},
        {**tcp(A, B), "ipv4_src": "10.0.0.3", "vlan_vid": 0x1005},
        arp(A, "10.0.0.2", arp_spa="10.0.0.3"),
        arp(A, "10.0.0.2", arp_sha=C.mac),
        arp(A, "10.0.0.2", op=2, arp_spa="10.0.0.3"),
        {"eth_src": A.mac, "eth_dst": B.mac, "eth_type": 0x86DD, "ipv6_src": "fd00::3", "ipv6_dst": "fd00::2"},
        {"eth_src": A.mac, "eth_dst": B.mac, "eth_type": 0x86DD, "ipv6_src": "fd00::1", "ipv6_dst": "fd00::2",
         "ip_proto": 58, "icmpv6_type": 136, "ipv6_nd_target": "fd00::3"},
        {"eth_src": A.mac, "eth_dst": "33:33:00:00:00:01", "eth_type": 0x86DD, "ipv6_src": link_local(A.mac),
         "ipv6_dst": "ff02::1", "ip_proto": 58, "icmpv6_type": 134},
    ],
)  # fmt: skip
def test_a_port_cannot_speak_for_another(forged: dict[str, str | int]) -> None:
    walked = walk(fabric(segment(A, B, C)), A, forged)
    assert not walked.devices
    assert [visit.table for visit in walked.visits] == [0], "dropped, and counted by a rule, where it came in"


def test_arp_is_answered_by_the_switch_and_never_floods() -> None:
    net = fabric(segment(A, B, C))
    (answer,) = walk(net, A, arp(A, "10.0.0.2")).arrivals
    assert answer.device == "p1"
    assert answer.packet["arp_sha"] == answer.packet["eth_src"] == B.mac
    assert (answer.packet["arp_spa"], answer.packet["arp_tpa"], answer.packet["arp_tha"]) == (
        "10.0.0.2", "10.0.0.1", A.mac,
    )  # fmt: skip
    assert not walk(net, A, arp(A, "10.0.0.77")).devices
    assert not walk(net, A, arp(A, "10.0.0.1", arp_spa="0.0.0.0")).devices, "its own duplicate address probe"


def test_neighbour_solicitation_reaches_its_one_target() -> None:
    solicit = {"eth_src": A.mac, "eth_dst": "33:33:ff:00:00:02", "eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135,
               "ipv6_src": "fd00::1", "ipv6_dst": "ff02::1:ff00:2", "ipv6_nd_target": "fd00::2"}  # fmt: skip
    net = fabric(segment(A, B, C))
    assert walk(net, A, solicit).devices == {"p2"}
    assert not walk(net, A, {**solicit, "ipv6_nd_target": "fd00::99"}).devices
    advertise = {**solicit, "eth_dst": A.mac, "icmpv6_type": 136, "eth_src": B.mac, "ipv6_src": "fd00::2"}
    assert walk(net, B, advertise).devices == {"p1"}


def test_equal_addresses_in_two_segments_never_meet() -> None:
    twins = [dataclasses.replace(p, device=f"t{p.device}", key=f"t{p.key}") for p in (A, B)]
    net = fabric(segment(A, B), segment(*twins, key="other/vl/lan"))
    assert walk(net, A, tcp(A, B)).devices == {"p2"}
    assert walk(net, twins[0], tcp(A, B)).devices == {"tp2"}
    assert walk(net, twins[0], {**tcp(A, B), "eth_dst": "ff:ff:ff:ff:ff:ff"}).devices == {"tp2"}


def test_a_transparent_port_gets_no_segment_traffic_and_its_own_is_dropped() -> None:
    tap = bump("fw").ingress
    net = fabric(segment(A, B, tap))
    assert walk(net, A, {**tcp(A, B), "eth_dst": "ff:ff:ff:ff:ff:ff"}).devices == {"p2"}
    assert not walk(net, tap, tcp(A, B)).devices


def test_security_rules_bound_what_reaches_a_port_and_what_leaves_it() -> None:
    web = port(4, security=(SecurityRule(direction="ingress", protocol="tcp", ports=PortRange(lower=80, upper=443)),
                            SecurityRule(direction="egress", protocol="tcp")))  # fmt: skip
    net = fabric(segment(A, B, web))
    assert walk(net, A, tcp(A, web)).devices == {"p4"}
    assert walk(net, A, tcp(A, web, dport=443)).devices == {"p4"}
    assert not walk(net, A, tcp(A, web, dport=444)).devices
    assert not walk(net, A, ip(A, web, ip_proto=17, udp_src=1, udp_dst=80)).devices
    assert walk(net, web, tcp(web, A)).devices == {"p1"}
    assert not walk(net, web, ip(web, A, ip_proto=17, udp_src=1, udp_dst=80)).devices
    assert walk(net, web, arp(web, "10.0.0.1")).devices == {"p4"}
    assert walk(net, A, {**tcp(A, web, dport=22), "eth_dst": "ff:ff:ff:ff:ff:ff"}).devices == {"p2"}
    assert walk(net, A, {**tcp(A, web, dport=80), "eth_dst": "ff:ff:ff:ff:ff:ff"}).devices == {"p2", "p4"}


def test_a_segment_over_hosts_needs_links_and_crosses_them_once() -> None:
    far, farther = port(2, host="h2"), port(3, host="h3")
    with pytest.raises(Unsupported, match="no link from host h1 to h2"):
        compile_spec(segment(A, far), NOWHERE)
    net = fabric(segment(A, far, farther), topology=LINKED)
    assert walk(net, A, tcp(A, far)).devices == {"p2"}
    everyone = walk(net, A, {**tcp(A, far), "eth_dst": "ff:ff:ff:ff:ff:ff"})
    assert sorted(arrival.device for arrival in everyone.arrivals) == ["p2", "p3"]
    assert walk(net, A, arp(A, "10.0.0.3")).devices == {"p1"}


@pytest.mark.parametrize("hosts", [*itertools.product(("h1", "h2"), repeat=2), ("h3", "h2"), ("h2", "h3")])
def test_a_chain_is_walked_in_order_both_ways_wherever_its_functions_are(hosts: tuple[str, str]) -> None:
    far = port(2, host="h2")
    there = chain(at("fw", bump("fw", host=hosts[0])), at("mon", bump("mn", host=hosts[1])),
                  sources=[A], destinations=[far])  # fmt: skip
    functions = [p for position in there.positions for e in position.elements for p in (e.ingress, e.egress)]
    net = fabric(segment(A, far, *functions), there, topology=LINKED)
    forth = walk(net, A, tcp(A, far))
    assert (forth.through, forth.devices) == (("fwi", "mni"), {"p2"})
    back = walk(net, far, tcp(far, A, sport=80, dport=40000))
    assert (back.through, back.devices) == (("mno", "fwo"), {"p1"})
    (arrival,) = forth.arrivals
    assert {k: arrival.packet[k] for k in tcp(A, far)} == tcp(A, far), "frames arrive as they were sent"


def test_traffic_outside_the_classifier_takes_the_direct_way() -> None:
    rule = Classifier(protocol="tcp", destination_port_range=PortRange(lower=80, upper=81))
    web = chain(at("fw", bump("fw")), sources=[A], destinations=[B], classifiers=(rule,))
    net = fabric(segment(A, B, C), web)
    assert walk(net, A, tcp(A, B, dport=81)).through == ("fwi",)
    assert walk(net, B, tcp(B, A, sport=81, dport=1)).through == ("fwo",)
    for packet in (tcp(A, B, dport=82), ip(A, B, ip_proto=1, icmpv4_type=8), tcp(A, C), tcp(A, B, sport=81, dport=9)):
        walked = walk(net, A, packet)
        assert (walked.through, len(walked.arrivals)) == ((), 1)
    assert walk(net, A, arp(A, "10.0.0.2")).devices == {"p1"}
    assert not walk(net, B, tcp(A, B)).devices, "the way there cannot be entered from the other end"


def test_a_one_way_chain_leaves_the_way_back_alone() -> None:
    net = fabric(segment(A, B), chain(at("fw", bump("fw")), sources=[A], destinations=[B], symmetric=False))
    assert walk(net, A, tcp(A, B)).through == ("fwi",)
    back = walk(net, B, tcp(B, A))
    assert (back.through, back.devices) == ((), {"p1"})


@pytest.mark.parametrize(
    ("classifier", "yes", "no"),
    [
        (Classifier(), {"eth_type": 0x88CC}, None),
        (Classifier(ether_type="ipv4"), {"eth_type": 0x0800}, {"eth_type": 0x86DD}),
        (Classifier(ether_source_address=A.mac), {}, None),
        (Classifier(vlan_tag=(7, 9)), {"vlan_vid": 0x1009}, {"vlan_vid": 0x1008}),
        (Classifier(dscp=46), {"ip_dscp": 46}, {"ip_dscp": 0}),
        (Classifier(protocol="udp", source_port_range=PortRange(lower=5000, upper=5010)),
         {"ip_proto": 17, "udp_src": 5010, "udp_dst": 9}, {"ip_proto": 17, "udp_src": 5011, "udp_dst": 9}),
        (Classifier(source_ip_address_prefix="10.0.0.0/28"), {}, {"ipv4_src": "10.0.0.17"}),
        (Classifier(destination_ip_address_prefix="10.0.0.2/32"), {}, {"ipv4_dst": "10.0.0.3"}),
        (Classifier(protocol="icmp"), {"ip_proto": 1}, {"ip_proto": 6}),
        (Classifier(protocol="132"), {"ip_proto": 132}, {"ip_proto": 6}),
    ],
)  # fmt: skip
def test_every_field_of_an_nfp_rule(
    classifier: Classifier, yes: dict[str, str | int], no: dict[str, str | int] | None
) -> None:
    source = dataclasses.replace(A, addresses=())
    net = fabric(
        segment(source, B), chain(at("fw", bump("fw")), sources=[source], destinations=[B], classifiers=(classifier,))
    )
    base = {**ip(A, B), "ip_proto": 6, "ip_dscp": 0}
    assert walk(net, A, {**base, **yes}).through == ("fwi",)
    if no is not None:
        walked = walk(net, A, {**base, **no})
        assert (walked.through, walked.devices) == ((), {"p2"})


def test_load_balanced_elements_share_flows_and_each_flow_keeps_to_one_both_ways() -> None:
    clients = [port(n) for n in range(10, 26)]
    lb = chain(at("fw", bump("f1"), bump("f2"), bump("f3", weight=2)), at("mon", bump("mn")),
               sources=clients, destinations=[B])  # fmt: skip
    net = fabric(segment(*clients, B), lb)
    counts: dict[str, int] = {}
    for client in clients:
        forth, back = walk(net, client, tcp(client, B)), walk(net, B, tcp(B, client, sport=80, dport=40000))
        first, second = forth.through
        assert second == "mni"
        assert back.through == ("mno", first.replace("i", "o"))
        counts[first] = counts.get(first, 0) + 1
    assert counts == {"f1i": 4, "f2i": 4, "f3i": 8}


def test_round_robin_takes_turns_over_a_clients_connections() -> None:
    lb = chain(at("fw", bump("f1"), bump("f2"), distribution=Distribution.ROUND_ROBIN), sources=[A], destinations=[B])
    net = fabric(segment(A, B), lb)
    turns = [walk(net, A, tcp(A, B, sport=40000 + n)).through[0] for n in range(4)]
    assert turns == ["f1i", "f2i", "f1i", "f2i"]
    assert walk(net, B, tcp(B, A, sport=80, dport=40001)).through == ("f2o",)


@pytest.mark.parametrize(
    ("mode", "through", "arrives"),
    [(FailMode.CLOSED, ("fwi",), set()), (FailMode.OPEN, ("fwi", "mni"), {"p2"}), (FailMode.BYPASS, ("fwi",), {"p2"})],
)
def test_a_dead_function_is_treated_as_its_position_says(
    mode: FailMode, through: tuple[str, ...], arrives: set[str]
) -> None:
    there = chain(at("fw", bump("fw")), at("ids", bump("id"), fail_mode=mode), at("mon", bump("mn")),
                  sources=[A], destinations=[B])  # fmt: skip
    net = fabric(segment(A, B), there, dead=frozenset({"idi", "ido"}))
    walked = walk(net, A, tcp(A, B))
    assert (walked.through, walked.devices) == (through, arrives)


def test_a_dead_element_leaves_its_share_to_the_others() -> None:
    there = chain(at("fw", bump("f1"), bump("f2")), sources=[A, C], destinations=[B])
    net = fabric(segment(A, B, C), there, dead=frozenset({"f1o"}))
    assert {walk(net, p, tcp(p, B)).through for p in (A, C)} == {("f2i",)}


def test_a_routed_function_gets_frames_addressed_to_it_and_the_chain_goes_on_by_address() -> None:
    router = [port(50, prefix="r"), port(51, prefix="r")]
    element = ChainElement(ingress=router[0], egress=router[1], mode=ElementMode.ROUTED)
    there = chain(at("nat", element), at("mon", bump("mn")), sources=[A], destinations=[B])
    net = fabric(segment(A, B, *router), there)
    first = Fabric([compile_spec(s, NOWHERE) for s in (segment(A, B, *router), there)])
    (handed,) = walk(first, A, tcp(A, B)).arrivals
    assert (handed.device, handed.packet["eth_dst"]) == ("r50", router[0].mac)
    out = {**tcp(A, B), "eth_src": router[1].mac, "eth_dst": B.mac}
    walked = net.send("h1", "r51", out)
    assert (walked.through, walked.devices) == (("mni",), {"p2"})


def test_a_one_armed_function_takes_frames_and_gives_them_back_by_one_port() -> None:
    arm = SdnPort(key="x", host="h1", device="arm", mac="", transparent=True)
    there = chain(at("tap", ChainElement(ingress=arm, egress=arm, mode=ElementMode.ONE_ARMED)),
                  sources=[A], destinations=[B])  # fmt: skip
    net = fabric(segment(A, B), there)
    assert walk(net, A, tcp(A, B)).through == ("arm",)
    assert walk(net, B, tcp(B, A)).devices == {"p1"}


def test_overlapping_classifiers_of_one_chain_rank_in_their_order() -> None:
    rules = (Classifier(protocol="tcp"), Classifier(ether_type="ipv4"), Classifier(dscp=3))
    net = fabric(segment(A, B), chain(at("fw", bump("fw")), sources=[A, B], destinations=[A, B], classifiers=rules))
    assert walk(net, A, {**tcp(A, B), "ip_dscp": 3}).through == ("fwi",)
    assert walk(net, B, tcp(B, A)).through == ("fwi",)


FW = bump("fw")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (chain(sources=[A], destinations=[B]), "no positions"),
        (chain(at("fw"), sources=[A], destinations=[B]), "position fw names no function"),
        (chain(at("fw", FW), sources=[], destinations=[B]), "no sources"),
        (chain(at("fw", FW), at("again", FW), sources=[A], destinations=[B]), "would circle"),
        (chain(at("fw", FW), sources=[A], destinations=[FW.ingress]), "an end and a function"),
        (chain(at("fw", FW), sources=[A], destinations=[B], classifiers=(Classifier(ether_source_address=C.mac),)),
         "match nothing"),
        (chain(at("fw", FW), sources=[A], destinations=[B], classifiers=(Classifier(protocol="tpc"),)), "'tpc'"),
        (chain(at("fw", FW), sources=[A], destinations=[B],
               classifiers=(Classifier(destination_port_range=PortRange(lower=1, upper=2)),)), "needs a protocol"),
        (chain(at("fw", FW), sources=[A], destinations=[B],
               classifiers=(Classifier(source_ip_address_prefix="10.0.0.1/8", destination_ip_address_prefix="::/0"),)),
         "two IP versions"),
        (chain(at("fw", FW), sources=[A], destinations=[B],
               classifiers=(Classifier(extended_criteria=((0, 8, "ff"),)),)), "extended_criteria"),
        (chain(at("fw", dataclasses.replace(FW, mode=ElementMode.NSH)), sources=[A], destinations=[B]), "NSH"),
        (segment(A, dataclasses.replace(B, mac=A.mac)), "share an address or a MAC"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_in_words(spec: SegmentSpec | ChainSpec, words: str) -> None:
    with pytest.raises((Permanent, Unsupported), match=words):
        compile_spec(spec, NOWHERE)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12))
def test_slots_are_all_given_and_no_positive_weight_is_left_out(weights: list[int]) -> None:
    given_ = slots(weights)
    assert min(given_) >= 1
    assert sum(given_) & (sum(given_) - 1) == 0


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_port_masks_are_exactly_the_range(low: int, high: int, probe: int) -> None:
    low, high = sorted((low, high))
    hits = [mask for value, mask in port_masks(PortRange(lower=low, upper=high)) if probe & mask == value]
    assert len(hits) == (low <= probe <= high)


NAMES = st.sampled_from(["a", "b", "c", "d"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(NAMES, min_size=1, max_size=3, unique=True), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from(list(Distribution)),
    st.lists(st.sampled_from([Classifier(), Classifier(protocol="tcp"), Classifier(ether_type="ipv4")]), max_size=2),
    st.integers(1, 65535),
)
def test_any_chain_visits_each_position_once_in_order(
    shape: list[list[str]], symmetric: bool, how: Distribution, classifiers: list[Classifier], sport: int
) -> None:
    positions = [
        at(f"n{i}", *(bump(f"n{i}{name}") for name in names), distribution=how) for i, names in enumerate(shape)
    ]
    spec = chain(*positions, sources=[A, C], destinations=[B], symmetric=symmetric, classifiers=tuple(classifiers))
    net = fabric(segment(A, B, C), spec)
    for source in (A, C):
        forth = walk(net, source, tcp(source, B, sport=sport))
        assert [device[:2] for device in forth.through] == [position.name for position in positions]
        assert forth.devices == {"p2"}
        back = walk(net, B, tcp(B, source, sport=80, dport=sport))
        expected = [device[:-1] for device in reversed(forth.through)] if symmetric else []
        assert [device[:-1] for device in back.through] == expected
        assert back.devices == {source.device}


def test_compiling_is_pure() -> None:
    spec = chain(at("fw", bump("f1"), bump("f2")), sources=[A], destinations=[B])
    assert compile_spec(spec, NOWHERE) == compile_spec(spec, NOWHERE)
