"""Probes on a real switch: seen at every hop, never at an end, and gone afterwards whatever dies."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Mapping

import pytest

from manor.api import Classifier, Phase, PortRange, Probe, ProbeVerdict, SdnPort, SecurityRule
from manor.errors import DriverError, NotFound, Permanent
from manor_sdn_ryu.proberoute import probe_cookie

from .conftest import BRIDGE, OWNER, Rig, Tap, chain, eventually, segment

pytestmark = pytest.mark.real
WEB = (Classifier(protocol="tcp", destination_port_range=PortRange(lower=80, upper=80)),)
TCP_MARK = bytes([0x45, 59 << 2])
"""How the IPv4 header of a probe begins."""


def packet(source: SdnPort, target: SdnPort, **more: str | int) -> dict[str, str | int]:
    return {
        "in_port": source.device, "eth_src": source.mac, "eth_dst": target.mac, "eth_type": 0x0800, "ip_proto": 6,
        "ipv4_src": source.addresses[0], "ipv4_dst": target.addresses[0], "tcp_src": 50123, "tcp_dst": 80, **more,
    }  # fmt: skip


def back(source: SdnPort, target: SdnPort) -> dict[str, str | int]:
    return {**packet(target, source), "tcp_src": 80, "tcp_dst": 50123}


def verdicts(probe: Probe) -> list[tuple[str, str]]:
    return [(hop.key or hop.note, str(hop.verdict)) for hop in probe.hops]


def send(rig: Rig, key: str, *packets: Mapping[str, str | int]) -> list[Probe]:
    return list(rig.driver.probe(key, packets, rig.ctx()))


def arrived(probes: list[Probe]) -> list[Probe]:
    return probes if all(probe.arrived for probe in probes) else []


def comes_to(rig: Rig, key: str, packet: Mapping[str, str | int], wanted: list[tuple[str, str]]) -> Probe:
    """The probe once it came to that: a machine that is too busy may lose one to the clock."""

    def sent() -> Probe | None:
        (probe,) = send(rig, key, packet)
        return probe if verdicts(probe) == wanted else None

    found = eventually(sent, f"it comes to {wanted}")
    assert isinstance(found, Probe)
    return found


def test_a_probe_is_seen_at_each_hop_both_ways_and_no_end_ever_gets_it(
    rig: Rig, request: pytest.FixtureRequest
) -> None:
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    (_, fw), (_, mon) = rig.bump("fw"), rig.bump("mon")
    rig.apply(segment(p1, p2))
    web = chain(p1, p2, fw, mon, classifiers=WEB)
    assert rig.apply(web).phase is Phase.ACTIVE
    before = rig.flows()
    taps = [Tap(host.netns, "eth0") for host in (one, two)]
    request.addfinalizer(lambda: [tap.close() for tap in taps])
    ways = {
        "there": (packet(p1, p2), [("p1", "passed"), ("vfwi", "passed"), ("vmoni", "passed"), ("p2", "passed")]),
        "back": (back(p1, p2), [("p2", "passed"), ("vmono", "passed"), ("vfwo", "passed"), ("p1", "passed")]),
    }
    for sent, wanted in ways.values():
        probe = comes_to(rig, web.key, sent, wanted)
        assert probe.arrived
        assert all(hop.latency_s is None or hop.latency_s >= 0 for hop in probe.hops)
    eventually(lambda: all(hop.latency_s for hop in send(rig, web.key, packet(p1, p2))[0].hops), "one is measured")
    for tap in taps:
        assert not tap.sees(TCP_MARK, within_s=0.3), "the machines at the ends see nothing"
    # What keeps a late copy from an end outlives the probe by its own timeout, where one may be on its way.
    eventually(lambda: rig.flows() == before, "nothing is left in the switch")
    with pytest.raises(NotFound):
        send(rig, "no/such/chain", packet(p1, p2))
    with pytest.raises(Permanent, match="not a packet"):
        send(rig, web.key, {"colour": 3})


def test_what_goes_in_and_does_not_come_out_is_told_from_what_never_got_there(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    (wall, fw), (_, mon) = rig.bump("fw"), rig.bump("mon")
    rig.apply(segment(p1, p2))
    web = chain(p1, p2, fw, mon, classifiers=WEB)
    rig.apply(web)
    wall.netns.run("ip", "link", "set", "eth1", "down")
    sent = packet(p1, p2)
    kept = [("p1", "passed"), ("vfwi", "kept"), ("vmoni", "unseen"), ("p2", "unseen")]
    comes_to(rig, web.key, sent, kept)
    rest = [("vfwo", "passed"), ("vmoni", "passed"), ("p2", "passed")]
    comes_to(rig, web.key, {**sent, "in_port": fw.egress.device}, rest)
    comes_to(rig, web.key, {**sent, "into": "vmoni"}, [("vmoni", "passed")])
    comes_to(rig, web.key, {**sent, "into": "vfwi"}, [("vfwi", "kept")])
    (spoofed,) = send(rig, web.key, {**packet(p1, p2), "eth_src": "02:00:00:00:00:99"})
    assert spoofed.hops[0].verdict is ProbeVerdict.LOST
    assert "under another's address" in spoofed.hops[0].note
    rig.ovs.del_veth(BRIDGE, "vmoni")
    eventually(lambda: rig.observe(web.key).phase is Phase.DEGRADED, "the lost port is seen")

    def closed() -> str:
        last = send(rig, web.key, {**sent, "in_port": fw.egress.device})[0].hops[-1]
        return last.note if last.verdict is ProbeVerdict.LOST else ""

    assert "no live function at mon: fail-closed" in eventually(closed, "it comes to where it is dropped")


def test_ends_with_security_rules_are_probed_behind_them_and_applications_hear_nothing(one_rig: Rig) -> None:
    rig = one_rig
    only_out = (SecurityRule(direction="egress", protocol="tcp"), SecurityRule(direction="ingress", protocol="udp"))
    (_, p1), (two, p2) = rig.machine(1, security=only_out), rig.machine(2)
    (_, fw) = rig.bump("fw")
    rig.apply(segment(p1, p2))
    web = chain(p1, p2, fw, classifiers=WEB)
    rig.apply(web)
    with two.netns.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("10.0.0.2", 80))
        server.listen()
        server.settimeout(0.3)
        for sent in (packet(p1, p2), back(p1, p2)):
            eventually(lambda sent=sent: send(rig, web.key, sent)[0].arrived, "it arrives")
        with pytest.raises(TimeoutError):
            server.accept()


def test_probes_of_an_agent_that_died_go_by_themselves_and_are_swept_at_start(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    (wall, fw) = rig.bump("fw")
    rig.apply(segment(p1, p2))
    web = chain(p1, p2, fw, classifiers=WEB)
    rig.apply(web)
    before = rig.flows()
    wall.netns.run("ip", "link", "set", "eth1", "down")

    def ask() -> None:
        with contextlib.suppress(DriverError):  # how far it comes is up to the one that kills
            send(rig, web.key, packet(p1, p2))

    asking = threading.Thread(target=ask)
    asking.start()
    shown = eventually(lambda: [flow for flow in rig.flows() if "CONTROLLER" in flow], "the probe's rules are in")
    assert all("hard_timeout=15" in flow for flow in shown)
    rig.kill_agent()
    asking.join()
    # One that does not go by itself while this test runs, so that it can only be swept.
    left = f"table=60,priority=7,cookie=0x{probe_cookie(OWNER, web.key):x},hard_timeout=3600,actions=drop"
    rig.ovs.ofctl("add-flow", BRIDGE, left)
    eventually(lambda: rig.observe(web.key).phase is Phase.ACTIVE, "a new agent is started, and has its switches")
    eventually(lambda: sorted(rig.flows()) == sorted(before), "swept")


def test_probes_of_every_kind_of_traffic(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    (_, fw) = rig.bump("fw")
    rig.apply(segment(p1, p2))
    web = chain(p1, p2, fw, classifiers=(Classifier(),))
    rig.apply(web)
    plain = {name: value for name, value in packet(p1, p2).items() if not name.startswith("tcp")}
    six = {name: value for name, value in plain.items() if not name.startswith("ipv4")}
    six |= {"eth_type": 0x86DD, "ipv6_src": p1.addresses[1], "ipv6_dst": p2.addresses[1]}
    kinds = [
        {**plain, "ip_proto": 17, "udp_src": 50000, "udp_dst": 53},
        {**plain, "ip_proto": 1},
        {**plain, "ip_proto": 132, "sctp_src": 50000, "sctp_dst": 9},
        {**plain, "ip_proto": 47},
        {**six, "ip_proto": 58},
        {**six, "ip_proto": 6, "tcp_src": 50000, "tcp_dst": 80},
    ]
    eventually(lambda: all(p.arrived for p in send(rig, web.key, *kinds)), "each kind arrives")


def test_every_source_of_a_shared_position_and_each_element_is_probed(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2), (_, p3) = rig.machine(1), rig.machine(2), rig.machine(3)
    (_, a), (_, b) = rig.bump("fa"), rig.bump("fb")
    rig.apply(segment(p1, p2, p3))
    spec = chain(p1, p3, a, classifiers=WEB)
    spec = dataclasses.replace(
        spec, sources=(p1, p2), positions=(dataclasses.replace(spec.positions[0], elements=(a, b)),)
    )
    rig.apply(spec)
    sent = packet(p1, p3), packet(p2, p3)
    probes = eventually(lambda: arrived(send(rig, spec.key, *sent)), "all arrive")
    assert {probe.hops[1].key for probe in probes} == {"vfai", "vfbi"}, "by the source's address"
