"""Functions that are NSH-aware, by walks over the compiled rules."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    ElementMode,
    FailMode,
    SdnPort,
    SegmentSpec,
    SwitchLink,
    Topology,
)
from manor.fakes.openflow import Fabric, Value, overlap
from manor_sdn_ryu.compile import compile_spec

OWNER = "manor/test"
HOSTS = ("h1", "h2")
TOPOLOGY = Topology(
    switches=(), links=tuple(SwitchLink(host=a, peer=b, device=f"vx-{b}") for a, b in itertools.permutations(HOSTS, 2))
)
TYPE = 0x894F


def port(number: int, host: str = "h1") -> SdnPort:
    return SdnPort(
        key=f"p{number}", host=host, device=f"p{number}", mac=f"02:00:00:00:00:{number:02x}",
        addresses=(f"10.0.0.{number}",),
    )  # fmt: skip


def aware(name: str, host: str = "h1", *, mac: str = "", arms: int = 2) -> ChainElement:
    sides = [SdnPort(key=d, host=host, device=d, mac=mac, transparent=not mac) for d in (f"{name}i", f"{name}o")]
    return ChainElement(ingress=sides[0], egress=sides[arms - 1], mode=ElementMode.NSH)


def bump(name: str, host: str = "h1") -> ChainElement:
    return dataclasses.replace(aware(name, host), mode=ElementMode.TRANSPARENT)


A, B = port(1), port(2, "h2")
LAN = SegmentSpec(key="s/vl/lan", owner=OWNER, name="lan", ports=(A, B))


def chain(*positions: ChainElement | tuple[ChainElement, ...], **more: object) -> ChainSpec:
    made = [p if isinstance(p, tuple) else (p,) for p in positions]
    fields: dict[str, object] = {
        "key": "s/chain/web", "owner": OWNER, "name": "web", "segment": LAN.key, "sources": (A,), "destinations": (B,),
        "classifiers": (Classifier(protocol="tcp"),),
        "positions": tuple(ChainPosition(name=f"at{n}", elements=elements) for n, elements in enumerate(made)),
    }  # fmt: skip
    return ChainSpec(**{**fields, **more})  # type: ignore[arg-type]


def fabric(*chains: ChainSpec, through: bool = True, lan: SegmentSpec = LAN) -> Fabric:
    programs = [compile_spec(spec, TOPOLOGY) for spec in (lan, *chains)]
    for one, other in itertools.combinations([rule for program in programs for rule in program.rules], 2):
        assert not overlap(one, other), f"{one} overlaps {other}"
    functions = {
        into.device: (out.host, out.device)
        for spec in chains
        for position in spec.positions
        for element in position.elements
        for into, out in ((element.ingress, element.egress), (element.egress, element.ingress))
    }
    return Fabric(programs, links=TOPOLOGY.links, functions=functions if through else {})


def tcp(source: SdnPort, target: SdnPort, *, sport: int = 40000, dport: int = 80) -> dict[str, Value]:
    return {
        "eth_src": source.mac, "eth_dst": target.mac, "eth_type": 0x0800, "ip_proto": 6, "tcp_src": sport,
        "tcp_dst": dport, "ipv4_src": source.addresses[0], "ipv4_dst": target.addresses[0],
    }  # fmt: skip


def test_a_frame_passes_all_in_order_both_ways_and_arrives_as_it_was() -> None:
    spec = chain(aware("f1"), bump("f2", "h2"), aware("f3", "h2", arms=1), aware("f4", mac="02:00:00:00:00:44"))
    there = fabric(spec)
    for sent, source, names in (
        (tcp(A, B), A, ("f1i", "f2i", "f3i", "f4i")),
        (tcp(B, A, sport=80, dport=40000), B, ("f4o", "f3i", "f2o", "f1o")),
    ):
        walk = there.send(source.host, source.device, sent)
        assert walk.through == names
        (arrival,) = walk.arrivals
        assert {name: arrival.packet.get(name) for name in sent} == sent
        assert not any(name.startswith(("nsh", "inside")) for name in arrival.packet)
    other = {**tcp(A, B), "ip_proto": 17}
    assert there.send(A.host, A.device, other).through == (), "what no classifier names passes none"


def test_each_way_has_its_service_path_and_the_index_counts_down_over_all_positions() -> None:
    functions = [aware("f1", mac="02:00:00:00:00:41"), bump("f2"), aware("f3")]
    alone = fabric(chain(*functions), through=False)

    def given(device: str, packet: dict[str, Value]) -> dict[str, Value]:
        """What the next function gets of what comes out of this port."""
        (arrival,) = alone.send("h1", device, packet).arrivals
        return dict(arrival.packet)

    first = given("p1", tcp(A, B))
    assert (first["eth_type"], first["nsh_si"], first["eth_dst"]) == (TYPE, 255, "02:00:00:00:00:41")
    assert first["inside tcp_dst"] == 80
    plain = given("f1o", {**first, "nsh_si": 254})
    assert plain == tcp(A, B), "the function that knows nothing of it gets the frame alone"
    third = given("f2o", plain)
    assert (third["nsh_si"], third["eth_dst"]) == (253, "ff:ff:ff:ff:ff:ff")
    assert third["nsh_spi"] == first["nsh_spi"]
    (arrival,) = fabric(chain(*functions, sources=(B,), destinations=(A,), symmetric=False), through=False).send(
        "h2", "p2", tcp(B, A)
    ).arrivals  # fmt: skip
    assert arrival.device == "f1i"
    back = fabric(chain(*functions), through=False).send("h2", "p2", tcp(B, A, sport=80, dport=4)).arrivals[0].packet
    assert back["nsh_spi"] != first["nsh_spi"]
    assert 0 < int(back["nsh_spi"]) < 1 << 24


@pytest.mark.parametrize(
    "wrong",
    [{"nsh_si": 255}, {"nsh_si": 0}, {"nsh_spi": 7}, {"eth_type": 0x0800}],
    ids=["kept", "zero", "path", "bare"],
)
def test_what_comes_back_with_another_path_or_index_or_bare_is_dropped(wrong: dict[str, Value]) -> None:
    lan = dataclasses.replace(LAN, ports=(A, B, aware("f1").ingress, aware("f1").egress))
    spec = chain(aware("f1"))
    there = Fabric([compile_spec(one, TOPOLOGY) for one in (lan, spec)], links=TOPOLOGY.links)
    (given,) = there.send("h1", "p1", tcp(A, B)).arrivals
    good = {**given.packet, "nsh_si": 254}
    assert there.send("h1", "f1o", good).devices == {"p2"}
    packet = tcp(A, B) if "eth_type" in wrong else {**good, **wrong}
    walk = there.send("h1", "f1o", packet)
    assert not walk.arrivals
    assert "a function sent what no chain expects" in walk.lost[0]


def test_elements_share_a_position_and_the_one_behind_is_chosen_by_what_is_inside() -> None:
    both = (aware("f1"), aware("f2", "h2")), (aware("g1", arms=1), aware("g2", "h2", arms=1))
    many = dataclasses.replace(A, addresses=tuple(f"10.0.0.{n}" for n in range(100, 108)))
    there = fabric(chain(*both, sources=(many,)), lan=dataclasses.replace(LAN, ports=(many, B)))
    met = set()
    for address in many.addresses:
        forth = there.send("h1", "p1", {**tcp(A, B), "ipv4_src": address})
        back = there.send("h2", "p2", {**tcp(B, A, sport=80, dport=40000), "ipv4_dst": address})
        assert forth.devices == {"p2"}
        assert back.devices == {"p1"}
        assert [name[:2] for name in forth.through] == [name[:2] for name in back.through][::-1]
        met.add(forth.through)
    assert met == {("f1i", "g1i"), ("f2i", "g2i")}


def test_one_function_serves_two_chains_also_in_different_places() -> None:
    shared = aware("f1")
    web = chain(shared, aware("f2"))
    dns = chain(aware("f3"), shared, key="s/chain/dns", name="dns", classifiers=(Classifier(protocol="udp"),))
    there = fabric(web, dns)
    assert there.send("h1", "p1", tcp(A, B)).through == ("f1i", "f2i")
    udp = {name.replace("tcp", "udp"): value for name, value in tcp(A, B).items()} | {"ip_proto": 17}
    assert there.send("h1", "p1", udp).through == ("f3i", "f1i")


def test_ends_outside_may_pass_a_function_with_one_port_since_the_path_tells_the_way() -> None:
    doors = tuple(SdnPort(key=f"d{n}", host="h1", device=f"d{n}", mac="") for n in (1, 2))
    lan = dataclasses.replace(LAN, ports=doors)
    spec = chain(aware("f1", arms=1), sources=doors[:1], destinations=doors[1:])
    there = Fabric([compile_spec(one, TOPOLOGY) for one in (lan, spec)], functions={"f1i": ("h1", "f1i")})
    for start, end in (("d1", "d2"), ("d2", "d1")):
        frame = tcp(A, B) if start == "d1" else tcp(B, A, sport=80, dport=40000)
        walk = there.send("h1", start, frame)
        assert (walk.through, walk.devices) == (("f1i",), {end})


def test_a_position_that_is_left_out_leaves_its_index_out() -> None:
    spec = chain(aware("f1"), aware("f2"))
    positions = (dataclasses.replace(spec.positions[0], fail_mode=FailMode.OPEN), spec.positions[1])
    spec = dataclasses.replace(spec, positions=positions)
    programs = [compile_spec(LAN, TOPOLOGY), compile_spec(spec, TOPOLOGY, dead={"f1o"})]
    (arrival,) = Fabric(programs, links=TOPOLOGY.links).send("h1", "p1", tcp(A, B)).arrivals
    assert (arrival.device, arrival.packet["nsh_si"]) == ("f2i", 254)
    assert Fabric(programs, links=TOPOLOGY.links).send("h1", "f2o", {**arrival.packet, "nsh_si": 253}).devices == {"p2"}
