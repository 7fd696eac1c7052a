"""Everything that a chain can say, on a real Open vSwitch: frames go in at one end, and are looked for on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Iterator

import pytest

from manor.api import (
    ChainElement,
    ChainPosition,
    Classifier,
    Distribution,
    ElementMode,
    FailMode,
    Phase,
    PortRange,
    SdnPort,
)
from manor.errors import Conflict
from manor.testing.ovs import Netns

from .conftest import BRIDGE, Rig, Tap, chain, eventually, forwards_first, segment
from .frames import Echo, arp_reply, ipv4, ipv6, mac_of, udp
from .rates import RATE_BPS, is_held, passes

pytestmark = pytest.mark.real

NOT_SEEN_S = 0.25


@contextlib.contextmanager
def taps(*where: tuple[Netns, str]) -> Iterator[list[Tap]]:
    opened = [Tap(netns, interface) for netns, interface in where]
    try:
        yield opened
    finally:
        for tap in opened:
            tap.close()


def token() -> bytes:
    return secrets.token_bytes(16)


def datagram(source: int, target: int, payload: bytes, *, sport: int = 9, dport: int = 9, tos: int = 0) -> bytes:
    eth = mac_of(source), mac_of(target)
    return ipv4(
        f"10.0.0.{source}", f"10.0.0.{target}", udp(payload, sport=sport, dport=dport), protocol=17, eth=eth, tos=tos
    )


@pytest.mark.slow
def test_a_position_without_a_live_function_fails_as_it_says(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    (fw, fw_e), (_, ids_e), (mon, mon_e) = rig.bump("fw"), rig.bump("ids"), rig.bump("mon")
    rig.steer(segment(p1, p2))
    web = chain(p1, p2, fw_e, ids_e, mon_e)
    assert rig.steer(web).phase is Phase.ACTIVE
    rig.ovs.del_veth(BRIDGE, "vidsi")
    eventually(lambda: rig.observe(web.key).phase is Phase.DEGRADED, "the lost port is seen")
    with taps((one.netns, "eth0"), (fw.netns, "eth0"), (mon.netns, "eth0"), (two.netns, "eth0")) as (
        a,
        at_fw,
        at_mon,
        b,
    ):
        for mode, past, arrives in (
            (FailMode.CLOSED, False, False),
            (FailMode.OPEN, True, True),
            (FailMode.BYPASS, False, True),
        ):
            first, second, third = web.positions
            there = dataclasses.replace(web, positions=(first, dataclasses.replace(second, fail_mode=mode), third))
            assert rig.steer(there).phase is Phase.DEGRADED, "a function is missing"
            mark = token()
            a.send(datagram(1, 2, mark))
            assert at_fw.sees(mark), mode
            assert bool(b.sees(mark, 60.0 if arrives else NOT_SEEN_S)) is arrives, mode
            assert bool(at_mon.sees(mark, NOT_SEEN_S)) is past, mode


@pytest.mark.slow
def test_load_is_shared_by_weight_and_a_connection_sticks_both_ways(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    p1 = dataclasses.replace(p1, addresses=tuple(f"10.0.0.{n}" for n in (1, *range(100, 108))))
    functions = [rig.bump(name) for name in ("f1", "f2")]
    rig.steer(segment(p1, p2))
    elements = tuple(dataclasses.replace(e, weight=w) for (_, e), w in zip(functions, (1, 3), strict=True))
    for how in Distribution:
        shared = dataclasses.replace(
            chain(p1, p2, functions[0][1], classifiers=(Classifier(protocol="udp"),)),
            positions=(ChainPosition(name="fw", elements=elements, distribution=how),),
        )
        assert rig.steer(shared).phase is Phase.ACTIVE
        met: list[int] = []
        where = [(host.netns, end) for host, _ in functions for end in ("eth0", "eth1")]
        with taps((one.netns, "eth0"), (two.netns, "eth0"), *where) as (a, b, *inside):
            for number in range(8):
                address = f"10.0.0.{100 + number}" if how is Distribution.SOURCE_IP_HASH else "10.0.0.1"
                sport = 9 if how is Distribution.SOURCE_IP_HASH else 40000 + number
                there, back = token(), token()
                body = udp(there, sport=sport, dport=53)
                a.send(ipv4(address, "10.0.0.2", body, protocol=17, eth=(mac_of(1), mac_of(2))))
                assert b.sees(there), (how, number)
                body = udp(back, sport=53, dport=sport)
                b.send(ipv4("10.0.0.2", address, body, protocol=17, eth=(mac_of(2), mac_of(1))))
                assert a.sees(back), (how, number)
                seen = [[bool(tap.sees(mark, 0.05)) for tap in inside[0::2]] for mark in (there,)]
                (forth,) = seen
                assert sum(forth) == 1, "one of the elements, and only one"
                backwards = [bool(tap.sees(back, 0.05)) for tap in inside[1::2]]
                assert backwards == forth, "the way back meets the same one"
                met.append(forth.index(True))
        assert (met.count(0), met.count(1)) == (2, 6), (how, met)


@pytest.mark.slow
def test_one_armed_routed_and_transparent_functions_in_one_chain_and_one_way(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    arm_ns = rig.ovs.add_netns("arm")
    rig.ovs.add_veth(BRIDGE, "arm", arm_ns)
    arm_ns.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
    arm = SdnPort(key="arm", host="h1", device="arm", mac="", transparent=True)
    router, r_in = rig.machine(51, device="rti")
    rig.ovs.add_veth(BRIDGE, "rto", router.netns, name="eth1", mac="02:00:00:00:00:34", cidrs=["10.0.0.52/24"])
    r_out = SdnPort(key="rto", host="h1", device="rto", mac="02:00:00:00:00:34", addresses=("10.0.0.52",))
    for setting in ("rp_filter=0", "send_redirects=0", "forwarding=1", "arp_ignore=1"):
        for interface in ("all", "eth0", "eth1"):
            router.netns.run("sysctl", "-qw", f"net.ipv4.conf.{interface}.{setting}")
    router.netns.run("ip", "route", "add", "10.0.0.2/32", "dev", "eth1")
    router.netns.run("ip", "route", "add", "10.0.0.1/32", "dev", "eth0")
    mon, mon_e = rig.bump("mon")
    rig.steer(segment(p1, p2, r_in, r_out))
    one_armed = ChainElement(ingress=arm, egress=arm, mode=ElementMode.ONE_ARMED)
    routed = ChainElement(ingress=r_in, egress=r_out, mode=ElementMode.ROUTED)
    web = chain(p1, p2, one_armed, routed, mon_e)
    assert rig.steer(web).phase is Phase.ACTIVE
    with Echo(arm_ns) as echo:
        eventually(lambda: one.netns.pings("10.0.0.2"), "through all three kinds, both ways")
        for part in ("there, p1 to", "there, arm to", "there, rto to", "back, p2 to", "back, rti to", "back, arm to"):
            eventually(lambda part=part: rig.packets(web.key, part), f"counted: {part}")
        assert rig.steer(dataclasses.replace(web, symmetric=False)).phase is Phase.ACTIVE
        mark, back = token(), token()
        with taps((one.netns, "eth0"), (two.netns, "eth0"), (mon.netns, "eth0"), (mon.netns, "eth1")) as (
            a,
            b,
            m_in,
            m_out,
        ):
            a.send(datagram(1, 2, mark))
            assert b.sees(mark)
            assert m_in.sees(mark)
            b.send(datagram(2, 1, back))
            assert a.sees(back)
            assert not m_out.sees(back, NOT_SEEN_S), "the way back is straight"
        met = [sum(m in frame and frame[23] == 17 for frame in echo.frames) for m in (mark, back)]
        assert met == [1, 0], "once, and one way"
        assert rig.remove(web) is None


@pytest.mark.slow
def test_chains_share_functions_and_rank_by_precedence(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2), (three, p3) = rig.machine(1), rig.machine(2), rig.machine(3)
    (fw, fw_e), (mon, mon_e) = rig.bump("fw"), rig.bump("mon")
    rig.steer(segment(p1, p2, p3))
    everything = chain(p1, p2, fw_e, classifiers=(Classifier(ether_type="ipv4"),), key="s/chain/all")
    dns = chain(p1, p2, mon_e, fw_e, key="s/chain/dns", precedence=999, classifiers=(
        Classifier(destination_port_range=PortRange(lower=53, upper=54)),))  # fmt: skip
    third = chain(p3, p2, fw_e, mon_e, key="s/chain/third", classifiers=(Classifier(protocol="udp"),))
    for spec in (everything, dns, third):
        assert rig.steer(spec).phase is Phase.ACTIVE
    with pytest.raises(Conflict, match=r"s/chain/rival.*s/chain/all"):
        rig.steer(dataclasses.replace(everything, key="s/chain/rival", name="rival"))
    where = (one.netns, "eth0"), (two.netns, "eth0"), (three.netns, "eth0"), (fw.netns, "eth0"), (mon.netns, "eth0")
    with taps(*where) as (a, b, c, at_fw, at_mon):
        for sender, frame, through in (
            (a, datagram(1, 2, mark := token(), dport=80), [at_fw]),
            (a, datagram(1, 2, mark2 := token(), dport=54), [at_mon, at_fw]),
            (c, datagram(3, 2, mark3 := token(), dport=53), [at_fw, at_mon]),
        ):
            payload = next(m for m in (mark, mark2, mark3) if m in frame)
            sender.send(frame)
            arrived = b.sees(payload)
            times = [tap.sees(payload) for tap in through]
            assert all((arrived, *times)), through
            assert [*times, arrived] == sorted([*times, arrived])
            others = [tap for tap in (at_fw, at_mon) if tap not in through]
            assert not any(tap.sees(payload, NOT_SEEN_S) for tap in others)


RULES: list[tuple[Classifier, dict[str, int], dict[str, int] | None]] = [
    (Classifier(destination_port_range=PortRange(lower=50, upper=59)), {"dport": 59}, {"dport": 60}),
    (Classifier(protocol="udp", source_port_range=PortRange(lower=1, upper=1023)), {"sport": 1000}, {"sport": 2000}),
    (Classifier(dscp=46), {"tos": 46 << 2}, {"tos": 8 << 2}),
    (Classifier(ether_type="ipv4", extended_criteria=((30, 2, "0b11"), (88, 8, "11"))), {"tos": 3}, {"tos": 2}),
    (Classifier(protocol="udp", extended_criteria=((192, 16, "003b"),)), {"dport": 59}, {"dport": 60}),
    (
        Classifier(
            ether_source_address="02:00:00:00:00:01",
            ether_destination_address="02:00:00:00:00:02",
            source_ip_address_prefix="10.0.0.0/31",
            destination_ip_address_prefix="10.0.0.2/32",
            protocol="17",
        ),
        {},
        None,
    ),
]


@pytest.mark.slow
def test_rules_of_every_kind_steer_on_the_switch(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    fw, fw_e = rig.bump("fw")
    rig.steer(segment(p1, p2))
    with taps((one.netns, "eth0"), (two.netns, "eth0"), (fw.netns, "eth0")) as (a, b, at_fw):
        for rule, yes, no in RULES:
            applied = rig.steer(chain(p1, p2, fw_e, classifiers=(rule,)))
            assert applied.phase is Phase.ACTIVE, "the switch holds it as compiled"
            for fields, steered in ((yes, True), (no, False)):
                if fields is None:
                    continue
                mark = token()
                a.send(datagram(1, 2, mark, **fields))
                assert b.sees(mark), rule
                assert bool(at_fw.sees(mark, 60.0 if steered else NOT_SEEN_S)) is steered, rule


def _behind_the_card(rig: Rig, vlan: int) -> Netns:
    """A machine that the switch's port ``card`` leads to, at once or as one VLAN of another switch's trunk."""
    out = rig.ovs.add_netns("out")
    if vlan:
        rig.ovs.add_bridge("br-out")
        rig.ovs.vsctl("set-fail-mode", "br-out", "standalone")
        rig.ovs.add_veth("br-out", "access", out)
        rig.ovs.vsctl("set", "port", "access", f"tag={vlan}")
        for bridge, device, peer in ((BRIDGE, "card", "trunk"), ("br-out", "trunk", "card")):
            rig.ovs.vsctl(
                "add-port", bridge, device, "--", "set", "interface", device, "type=patch", f"options:peer={peer}"
            )
    else:
        rig.ovs.add_veth(BRIDGE, "card", out)
    for cidr in ("10.0.0.200/24", "fd00::c8/64"):
        out.run("ip", "addr", "add", cidr, "dev", "eth0", *(["nodad"] if ":" in cidr else []))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("vlan", [0, 100], ids=["card", "vlan"])
def test_a_service_reaches_the_outside_and_is_reached_by_way_of_its_chain(rig: Rig, vlan: int) -> None:
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    fw, fw_e = rig.bump("fw")
    out = _behind_the_card(rig, vlan)
    door = SdnPort(key="s/sap/door", host="h1", device="card", mac="", vlan=vlan)
    lan = segment(p1, p2, door)
    assert rig.steer(lan).phase is Phase.ACTIVE
    for address in ("10.0.0.200", "fd00::c8"):
        eventually(lambda address=address: one.netns.pings(address), f"{address} is found outside")
    eventually(lambda: out.pings("10.0.0.2"), "and finds the inside")
    web = chain(p1, door, fw_e, classifiers=(Classifier(protocol="icmp"), Classifier(protocol="udp")))
    assert rig.steer(web).phase is Phase.ACTIVE
    with taps((one.netns, "eth0"), (fw.netns, "eth0"), (fw.netns, "eth1"), (two.netns, "eth0")) as (
        a,
        fw_in,
        fw_out,
        b,
    ):
        eventually(lambda: one.netns.pings("10.0.0.200"), "by way of the function")
        outside_mac = bytes.fromhex(out.run("cat", "/sys/class/net/eth0/address").strip().replace(":", ""))
        mark, back, straight = token(), token(), token()
        a.send(ipv4("10.0.0.1", "10.0.0.200", udp(mark), protocol=17, eth=(mac_of(1), outside_mac)))
        assert fw_in.sees(mark)
        with taps((out, "eth0")) as (card,):
            answer = ipv4("10.0.0.200", "10.0.0.1", udp(back), protocol=17, eth=(outside_mac, mac_of(1)))
            card.send(answer)
            assert fw_out.sees(back)
            assert a.sees(back)
            b.send(ipv4("10.0.0.2", "10.0.0.200", udp(straight), protocol=17, eth=(mac_of(2), outside_mac)))
            assert card.sees(straight)
            assert not fw_in.sees(straight, NOT_SEEN_S), "only the chain's end takes it"
            for forged in (
                ipv4("10.0.0.2", "10.0.0.1", udp(b"forged"), protocol=17, eth=(outside_mac, mac_of(1))),
                ipv4("10.0.0.200", "10.0.0.1", udp(b"forged"), protocol=17, eth=(mac_of(2), mac_of(1))),
            ):
                card.send(forged)
            assert not a.sees(b"forged", NOT_SEEN_S)
    eventually(lambda: rig.packets(lan.key, "from outside by card") >= 2, "and counted")
    rig.remove(web, lan)
    assert rig.flows() == []


@pytest.mark.slow
def test_multicast_dhcp_and_discovery_stay_in_the_segment_and_spoofing_is_dropped_and_counted(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2), (three, p3) = rig.machine(1), rig.machine(2), rig.machine(3)
    alien, q1 = rig.machine(1, device="q1")
    lan = segment(p1, p2, p3)
    rig.steer(lan)
    rig.steer(segment(q1, key="t/vl/lan"))
    everybody, all_nodes = b"\xff" * 6, bytes.fromhex("333300000001")
    where = (one.netns, "eth0"), (two.netns, "eth0"), (three.netns, "eth0"), (alien.netns, "eth0")
    with taps(*where) as (a, b, c, other):
        group = ipv4("10.0.0.1", "224.0.0.251", udp(m1 := token()), protocol=17,
                     eth=(mac_of(1), bytes.fromhex("01005e0000fb")))  # fmt: skip
        six = ipv6("fd00::1", "ff02::1", udp(m2 := token()), protocol=17, eth=(mac_of(1), all_nodes))
        dhcp = ipv4("0.0.0.0", "255.255.255.255", udp(m3 := token(), sport=68, dport=67), protocol=17,
                    eth=(mac_of(1), everybody))  # fmt: skip
        for frame, mark in ((group, m1), (six, m2), (dhcp, m3)):
            a.send(frame)
            assert b.sees(mark)
            assert c.sees(mark)
            assert not other.sees(mark, NOT_SEEN_S)
        na = b"\x88\0\0\0\x60\0\0\0" + bytes.fromhex("fd00" + "00" * 13 + "03") + b"\x02\x01" + mac_of(1)
        ra = b"\x86\0\0\0\x40\0\x07\x08" + bytes(8) + b"\x01\x01" + mac_of(1)
        spoofed = {
            "ARP under another's address": arp_reply(eth=(mac_of(1), mac_of(2)), says="10.0.0.3", mac=mac_of(1)),
            "neighbour advertisement for another's address": ipv6(
                "fd00::1", "fd00::2", na, protocol=58, eth=(mac_of(1), mac_of(2))),
            "router advertisement": ipv6("fe80::ff:fe00:1", "ff02::1", ra, protocol=58, eth=(mac_of(1), all_nodes)),
            "IPv4 under another's address": ipv4(
                "10.0.0.3", "10.0.0.2", udp(b"forged"), protocol=17, eth=(mac_of(1), mac_of(2))),
            "IPv6 under another's address": ipv6(
                "fd00::3", "fd00::2", udp(b"forged"), protocol=17, eth=(mac_of(1), mac_of(2))),
            "spoofed or not allowed, from p1": mac_of(2) + mac_of(9) + b"\x88\xb5forged" + bytes(46),
        }  # fmt: skip
        before = {note: rig.packets(lan.key, note) for note in spoofed}
        for note, frame in spoofed.items():
            a.send(frame)
            eventually(lambda note=note: rig.packets(lan.key, note) > before[note], f"counted: {note}")
        assert not b.sees(b"forged", NOT_SEEN_S)
        assert "02:00:00:00:00:01" not in two.netns.run("ip", "neigh", "show", "10.0.0.3")


def test_two_tenants_with_equal_addresses_each_keep_to_their_chain(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    (twin, q1), (twin_two, q2) = rig.machine(1, device="q1"), rig.machine(2, device="q2")
    (fw, fw_e), (theirs, theirs_e) = rig.bump("fw"), rig.bump("tf")
    rig.steer(segment(p1, p2))
    rig.steer(segment(q1, q2, key="t/vl/lan"))
    assert rig.steer(chain(p1, p2, fw_e)).phase is Phase.ACTIVE
    assert (
        rig.steer(dataclasses.replace(chain(q1, q2, theirs_e, key="t/chain/web"), segment="t/vl/lan")).phase
        is Phase.ACTIVE
    )
    where = [(host.netns, "eth0") for host in (one, two, twin, twin_two, fw, theirs)]
    with taps(*where) as (a, b, x, y, at_fw, at_theirs):
        for sender, receiver, function, others in ((a, b, at_fw, (x, y, at_theirs)), (x, y, at_theirs, (a, b, at_fw))):
            mark = token()
            sender.send(datagram(1, 2, mark))
            assert function.sees(mark)
            assert receiver.sees(mark)
            assert not any(tap.sees(mark, 0.15) for tap in others), "the twins see nothing"


@pytest.mark.slow
def test_all_that_a_link_delivers_is_held_to_its_rate(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    lan = dataclasses.replace(segment(p1, p2), rate_bps=RATE_BPS)
    assert rig.steer(lan).phase is Phase.ACTIVE
    eventually(lambda: one.netns.pings("10.0.0.2"), "it carries")
    forwards_first(rig.ovs)
    assert is_held(one.netns, two.netns, "10.0.0.2")
    assert is_held(two.netns, one.netns, "10.0.0.1")
    assert rig.steer(dataclasses.replace(lan, rate_bps=0)).phase is Phase.ACTIVE
    assert passes(one.netns, two.netns, "10.0.0.2"), "without a limit there is none"
    assert "rate=" not in rig.ovs.ofctl("dump-meters", BRIDGE), "the meter went"
