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
from manor_sdn_ryu.entries import limits, resolve
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


def solicit(source: SdnPort, target: str, **more: str | int) -> dict[str, str | int]:
    """With the sender's MAC in an option, as RFC 4861 has it wherever the sender has an address."""
    return {
        "eth_src": source.mac, "eth_dst": "33:33:ff:00:00:02", "eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135,
        "ipv6_src": source.addresses[1], "ipv6_dst": "ff02::1:ff00:2", "ipv6_nd_target": target, "nd_reserved": 0,
        "nd_options_type": 1, "ipv6_nd_sll": source.mac, **more,
    }  # fmt: skip


FAR = port(5, host="h2")


@pytest.mark.parametrize("target", [B, FAR, dataclasses.replace(B, security=(SecurityRule(direction="egress"),))])
def test_neighbour_solicitation_is_answered_by_the_switch(target: SdnPort) -> None:
    net = fabric(segment(A, target, C), topology=LINKED)
    for address in (target.addresses[1], link_local(target.mac)):
        (answer,) = walk(net, A, solicit(A, address)).arrivals
        assert (answer.host, answer.device) == ("h1", "p1")
        wanted = {"eth_src": target.mac, "eth_dst": A.mac, "ipv6_src": address, "ipv6_dst": "fd00::1",
                  "icmpv6_type": 136, "ipv6_nd_target": address, "nd_reserved": 0x60000000, "nd_options_type": 2,
                  "ipv6_nd_tll": target.mac}  # fmt: skip
        assert {name: answer.packet[name] for name in wanted} == wanted


def test_a_router_is_advertised_as_one_and_a_vlan_is_answered_with_its_tag() -> None:
    lan = dataclasses.replace(segment(A, B), subnets=(Subnet(cidr="fd00::/64", gateway="fd00::2"),))
    (answer,) = walk(fabric(lan), A, solicit(A, "fd00::2")).arrivals
    assert answer.packet["nd_reserved"] == 0xE0000000
    tagged = port(7, vlan=30)
    net = fabric(segment(A, tagged))
    (answer,) = walk(net, tagged, solicit(tagged, "fd00::1", vlan_vid=0x101E)).arrivals
    assert (answer.device, answer.packet["vlan_vid"], answer.packet["ipv6_nd_tll"]) == ("p7", 0x101E, A.mac)
    (answer,) = walk(net, A, solicit(A, "fd00::7")).arrivals
    assert (answer.device, answer.packet.get("vlan_vid")) == ("p1", None)


def test_what_cannot_be_answered_reaches_its_one_target_or_nobody() -> None:
    net = fabric(segment(A, B, C))
    detects = solicit(A, "fd00::1", ipv6_src="::", nd_options_type=0)
    assert not walk(net, A, detects).devices, "its own address"
    assert walk(net, A, {**detects, "ipv6_nd_target": "fd00::2"}).devices == {"p2"}, "an address that another has"
    nobody = walk(net, A, solicit(A, "fd00::99"))
    assert not nobody.devices
    assert "for an address that nobody has" in nobody.visits[-1].rule.note
    advertise = {**solicit(B, "fd00::2"), "eth_dst": A.mac, "icmpv6_type": 136}
    assert walk(net, B, advertise).devices == {"p1"}


def test_a_switch_that_cannot_write_neighbour_discovery_passes_solicitations_on() -> None:
    program = compile_spec(segment(A, B, C), NOWHERE)
    ports = {"p1": 1, "p2": 2, "p3": 3}
    every, some = (resolve(program, "h1", ports, writes_nd=able).entries for able in (True, False))
    left_out = [rule for identity, (_, rule) in every.items() if identity not in some]
    assert {rule.note.partition(": ")[2].partition(" for ")[0] for rule in left_out} == {
        "neighbour solicitation answered", "neighbour advertised"
    }  # fmt: skip
    net = Fabric(rules=[rule for _, rule in some.values()])
    assert walk(net, A, solicit(A, "fd00::2")).devices == {"p2"}
    assert not walk(net, A, solicit(A, "fd00::99")).devices


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
        (Classifier(vlan_tag=(9,)), {"vlan_vid": 0x1009}, {"vlan_vid": 0x1008}),
        (Classifier(destination_port_range=PortRange(lower=80, upper=89)),
         {"ip_proto": 132, "sctp_src": 9, "sctp_dst": 89}, {"ip_proto": 17, "udp_src": 9, "udp_dst": 90}),
        (Classifier(dscp=46), {"ip_dscp": 46}, {"ip_dscp": 0}),
        (Classifier(protocol="udp", source_port_range=PortRange(lower=5000, upper=5010)),
         {"ip_proto": 17, "udp_src": 5010, "udp_dst": 9}, {"ip_proto": 17, "udp_src": 5011, "udp_dst": 9}),
        (Classifier(source_ip_address_prefix="10.0.0.0/28"), {}, {"ipv4_src": "10.0.0.17"}),
        (Classifier(destination_ip_address_prefix="10.0.0.2/32"), {}, {"ipv4_dst": "10.0.0.3"}),
        (Classifier(protocol="icmp"), {"ip_proto": 1}, {"ip_proto": 6}),
        (Classifier(protocol="132"), {"ip_proto": 132}, {"ip_proto": 6}),
        (Classifier(protocol="ipv6"), {"ip_proto": 41}, {"ip_proto": 6}),
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


def test_a_routed_function_needs_one_family_of_addresses_that_both_ends_have() -> None:
    router = [port(50, prefix="r"), port(51, prefix="r")]
    element = ChainElement(ingress=router[0], egress=router[1], mode=ElementMode.ROUTED)
    one, two = (dataclasses.replace(end, addresses=end.addresses[:1]) for end in (A, B))
    positions = at("nat", element), at("mon", bump("m1"), bump("m2"))
    for open_ in (Classifier(protocol="tcp"), Classifier()):
        there = chain(*positions, sources=[one], destinations=[two], classifiers=(open_,))
        net = fabric(segment(one, two, *router), there)
        walked = net.send("h1", "r51", {**tcp(one, two), "eth_src": router[1].mac})
        assert (len(walked.through), walked.devices) == (1, {"p2"})
    for classifier, ends in ((Classifier(ether_type="ipv6"), (one, B)), (Classifier(), (one, port(2, addresses=())))):
        with pytest.raises(Permanent, match="a routed function needs the addresses of both ends"):
            compile_spec(chain(*positions, sources=ends[:1], destinations=ends[1:], classifiers=(classifier,)), NOWHERE)


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
               classifiers=(Classifier(protocol="icmp", destination_port_range=PortRange(lower=1, upper=2)),)),
         "has no ports"),
        (chain(at("fw", FW), sources=[A], destinations=[B], classifiers=(Classifier(vlan_tag=(5, 6)),)),
         "VLAN tags 5, 6: switches match the outer one only"),
        (chain(at("fw", FW), sources=[A], destinations=[B], precedence=1000), "outside 0 to 999"),
        (chain(at("fw", FW), sources=[A], destinations=[B], precedence=-1), "outside 0 to 999"),
        (chain(at("fw", FW), sources=[A], destinations=[A, B], classifiers=tuple(Classifier(dscp=n) for n in (1, 1)) +
               tuple(Classifier(protocol=p) for p in ("tcp", "udp", "sctp"))
               + tuple(Classifier(source_ip_address_prefix=f"10.0.0.0/{n}") for n in (8, 9, 10, 11))),
         "more than 4 of its classifiers overlap"),
        (chain(at("fw", FW), sources=[A], destinations=[B],
               classifiers=(Classifier(source_ip_address_prefix="10.0.0.1/8", destination_ip_address_prefix="::/0"),)),
         "two IP versions"),
        (chain(at("fw", FW), sources=[A], destinations=[B],
               classifiers=(Classifier(ether_type="ipv4", extended_criteria=((80, 8, "40"),)),)),
         "bit 80: the time to live is no field"),
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("rule", "criteria", "yes", "no"),
    [
        ({}, ((0, 16, "0x88cc"),), {"eth_type": 0x88CC}, {"eth_type": 0x0800}),
        ({"ether_type": "ipv4"}, ((88, 8, "06"),), {"ip_proto": 6}, {"ip_proto": 17}),
        ({"ether_type": "ipv4"}, ((24, 6, "0b101110"),), {"ip_dscp": 46}, {"ip_dscp": 0}),
        ({"ether_type": "ipv4"}, ((168, 8, "02"),), {"ipv4_dst": "192.168.7.2"}, {"ipv4_dst": "10.0.0.3"}),
        ({"ether_type": "ipv4"}, ((16, 4, "4"), (144, 1, "0")), {"ipv4_dst": "10.0.0.2"}, {"ipv4_dst": "192.0.0.1"}),
        ({"protocol": "udp"}, ((203, 5, "0b10101"),),
         {"ip_proto": 17, "udp_src": 1, "udp_dst": 0x0135}, {"ip_proto": 17, "udp_src": 1, "udp_dst": 0x0136}),
        ({"vlan_tag": (5,)}, ((16, 3, "0b011"),),
         {"vlan_vid": 0x1005, "vlan_pcp": 3}, {"vlan_vid": 0x1005, "vlan_pcp": 0}),
        ({"ether_type": "ipv4", "protocol": "icmp"}, ((176, 8, "08"),),
         {"ip_proto": 1, "icmpv4_type": 8}, {"ip_proto": 1, "icmpv4_type": 0}),
    ],
)  # fmt: skip
def test_extended_criteria_are_the_header_fields_at_their_offsets(
    rule: dict[str, object], criteria: tuple[tuple[int, int, str], ...],
    yes: dict[str, str | int], no: dict[str, str | int],
) -> None:  # fmt: skip
    classifier = Classifier(**rule, extended_criteria=criteria)  # type: ignore[arg-type]
    source = dataclasses.replace(A, addresses=())
    net = fabric(
        segment(source, B), chain(at("fw", bump("fw")), sources=[source], destinations=[B], classifiers=(classifier,))
    )
    base = {**ip(A, B), "ip_proto": 6, "ip_dscp": 0}
    assert walk(net, A, {**base, **yes}).through == ("fwi",)
    walked = walk(net, A, {**base, **no})
    assert (walked.through, walked.devices) == ((), {"p2"})


@pytest.mark.parametrize(
    ("rule", "criteria", "words"),
    [
        ({}, ((16, 8, "45"),), "bit 16: without an ether_type"),
        ({"ether_type": "ipv4"}, ((176, 16, "0050"),), "bit 176: without a protocol"),
        ({"protocol": "tcp"}, ((208, 32, "0"),), "bit 208: what lies behind the headers"),
        ({"ether_type": "ipv6"}, ((72, 8, "40"),), "bit 72: the hop limit is no field"),
        ({"ether_type": "ipv4"}, ((88, 4, "0"),), "bit 88: OpenFlow 1.3 matches all 8 bits of ip_proto or none"),
        ({"ether_type": "ipv4"}, ((0, 16, "86dd"),), "contradict each other"),
        ({"ether_type": "ipv4"}, ((16, 4, "6"),), "contradict each other"),
        ({}, ((0, 8, "1ff"),), "not a value of 8 bits"),
        ({}, ((0, 16, "wxyz"),), "not a value of 16 bits"),
    ],
)
def test_bits_that_no_field_has_are_refused_by_what_they_are(
    rule: dict[str, object], criteria: tuple[tuple[int, int, str], ...], words: str
) -> None:
    classifier = Classifier(**rule, extended_criteria=criteria)  # type: ignore[arg-type]
    with pytest.raises((Permanent, Unsupported), match=words):
        compile_spec(chain(at("fw", FW), sources=[A], destinations=[B], classifiers=(classifier,)), NOWHERE)


# --- ports to the outside


def outside(name: str, *, vlan: int = 0, device: str = "eth1", **more: object) -> SdnPort:
    return SdnPort(key=f"s/sap/{name}", host="h1", device=device, mac="", vlan=vlan, **more)  # type: ignore[arg-type]


STRANGER = port(77)


@pytest.mark.parametrize("vlan", [0, 100])
def test_what_nobody_on_the_segment_is_goes_outside_and_comes_from_there(vlan: int) -> None:
    net = fabric(segment(A, B, outside("door", vlan=vlan)))
    tag = {"vlan_vid": 0x1000 | vlan} if vlan else {}
    walked = walk(net, A, tcp(A, STRANGER))
    assert walked.devices == {"eth1"}
    assert walked.arrivals[0].packet.get("vlan_vid", 0) == (0x1000 | vlan if vlan else 0)
    assert walk(net, A, tcp(A, B)).devices == {"p2"}, "the segment's own stay inside"
    assert walk(net, A, arp(A, "10.0.0.77")).devices == {"eth1"}, "a question about a stranger"
    assert walk(net, A, arp(A, "10.0.0.2")).devices == {"p1"}, "answered here"
    broadcast = walk(net, A, {**tcp(A, B), "eth_dst": "ff:ff:ff:ff:ff:ff"})
    assert broadcast.devices == {"p2", "eth1"}
    inner = next(one.packet for one in broadcast.arrivals if one.device == "p2")
    assert "vlan_vid" not in inner
    (answer,) = net.send("h1", "eth1", {**arp(STRANGER, "10.0.0.2"), **tag}).arrivals
    assert (answer.device, answer.packet["arp_op"], answer.packet["arp_sha"]) == ("eth1", 2, B.mac)
    assert answer.packet.get("vlan_vid", 0) == (0x1000 | vlan if vlan else 0), "answered where it came from"
    came = net.send("h1", "eth1", {**tcp(STRANGER, B), **tag})
    assert came.devices == {"p2"}
    assert not came.arrivals[0].packet.get("vlan_vid", 0)
    assert net.send("h1", "eth1", {**tcp(STRANGER, port(78)), **tag}).devices == set(), "nothing goes back out"
    assert net.send("h1", "eth1", {**tcp(STRANGER, B), "vlan_vid": 0x1009}).devices == set(), "another VLAN"
    for forged in ({"eth_src": A.mac}, {"ipv4_src": A.addresses[0]}):
        assert net.send("h1", "eth1", {**tcp(STRANGER, B), **forged, **tag}).devices == set(), forged
    fake = {**arp(STRANGER, "10.0.0.2", op=2, arp_spa="10.0.0.1"), "eth_dst": B.mac, **tag}
    assert net.send("h1", "eth1", fake).devices == set(), "nobody outside is an address of ours"


def test_one_port_serves_several_links_by_vlan() -> None:
    one, other = outside("one", vlan=100), outside("other", vlan=200)
    twin = port(1, prefix="q")
    net = fabric(segment(A, one), segment(twin, other, key="t/vl/lan"))
    assert net.send("h1", "eth1", {**tcp(STRANGER, A), "vlan_vid": 0x1064}).devices == {"p1"}
    assert net.send("h1", "eth1", {**tcp(STRANGER, A), "vlan_vid": 0x10C8}).devices == {"q1"}
    assert walk(net, twin, tcp(twin, STRANGER)).arrivals[0].packet["vlan_vid"] == 0x10C8


def test_a_chain_starts_or_ends_outside_and_other_traffic_is_not_touched() -> None:
    door = outside("door", vlan=100)
    tag = {"vlan_vid": 0x1064}
    lan = segment(A, B, door)
    out = chain(at("fw", bump("fw")), at("mon", bump("mn")), sources=[A], destinations=[door])
    inside = dataclasses.replace(
        chain(at("fw", bump("fw")), sources=[A], destinations=[B]), key="s/chain/in", name="in", precedence=3
    )
    for others in ((), (inside,)):
        net = fabric(lan, out, *others)
        walked = walk(net, A, tcp(A, STRANGER))
        assert (walked.through, walked.devices) == (("fwi", "mni"), {"eth1"})
        back = net.send("h1", "eth1", {**tcp(STRANGER, A, sport=80, dport=40000), **tag})
        assert (back.through, back.devices) == (("mno", "fwo"), {"p1"})
        walked = walk(net, A, tcp(A, B))
        assert (walked.through, walked.devices) == (("fwi",) if others else (), {"p2"})
        walked = walk(net, B, tcp(B, STRANGER))
        assert (walked.through, walked.devices) == ((), {"eth1"}), "only the chain's ends take it"


def test_a_chain_from_one_outside_to_another() -> None:
    left, right = outside("left", device="eth1"), outside("right", device="eth2")
    between = chain(at("fw", bump("fw")), sources=[left], destinations=[right])
    net = fabric(segment(left, right), between)
    walked = net.send("h1", "eth1", tcp(STRANGER, port(78)))
    assert (walked.through, walked.devices) == (("fwi",), {"eth2"})
    back = net.send("h1", "eth2", tcp(port(78), STRANGER))
    assert (back.through, back.devices) == (("fwo",), {"eth1"})
    arm = SdnPort(key="x", host="h1", device="arm", mac="", transparent=True)
    tap = at("tap", ChainElement(ingress=arm, egress=arm, mode=ElementMode.ONE_ARMED))
    with pytest.raises(Unsupported, match="cannot be told apart"):
        compile_spec(chain(tap, sources=[left], destinations=[right]), NOWHERE)


def test_a_chain_to_the_outside_crosses_hosts_and_routers() -> None:
    door = outside("door")
    lan = segment(A, port(5, host="h2"), door)
    spec = chain(at("fw", bump("fw", host="h2")), sources=[A], destinations=[door])
    net = fabric(lan, spec, topology=LINKED)
    assert (walk(net, A, tcp(A, STRANGER)).through, walk(net, A, tcp(A, STRANGER)).devices) == (("fwi",), {"eth1"})
    back = net.send("h1", "eth1", tcp(STRANGER, A, sport=80, dport=40000))
    assert (back.through, back.devices) == (("fwo",), {"p1"})
    router = [port(50, prefix="r"), port(51, prefix="r")]
    routed = chain(at("nat", ChainElement(ingress=router[0], egress=router[1], mode=ElementMode.ROUTED)),
                   at("mon", bump("mn")), sources=[A], destinations=[door])  # fmt: skip
    net = fabric(segment(A, *router, door), routed)
    walked = net.send("h1", "r51", {**tcp(A, STRANGER), "eth_src": router[1].mac})
    assert (walked.through, walked.devices) == (("mni",), {"eth1"})


def test_a_links_rate_meters_what_is_delivered_and_nothing_twice() -> None:
    lan = dataclasses.replace(segment(A, B, port(5, host="h2")), rate_bps=1_000_000)
    program = compile_spec(lan, LINKED)
    metered = {(rule.host, rule.note) for rule in program.rules if ("meter", 1_000_000) in rule.actions}
    assert {note.partition(": ")[2] for host, note in metered if host == "h1"} == {
        "to p1", "to p2", "broadcast", "broadcast, from another host"
    }  # fmt: skip
    held = resolve(program, "h1", {"p1": 7, "p2": 4, "vx-h2": 1})
    assert held.meters == {0x20004: 1000}
    assert limits(program)["h1"].meters({"p1": 7, "p2": 4}) == {0x20004}
    assert resolve(program, "h1", {}).meters == {}
