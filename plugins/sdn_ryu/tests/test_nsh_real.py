"""NSH-aware functions on a real switch: they get the header, the functions between them do not, the ends never do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from manor.api import ChainElement, ElementMode, Phase, SdnCapability, SdnPort, Support

from .conftest import BRIDGE, Rig, Tap, chain, eventually, segment
from .frames import Aware, ipv4, mac_of, udp

pytestmark = pytest.mark.real

MAC = "02:00:00:00:00:77"


@contextlib.contextmanager
def aware(rig: Rig, label: str, *, arms: int, mac: str = "") -> Iterator[tuple[Aware, ChainElement]]:
    """A function in a namespace of its own, running."""
    inside = rig.ovs.add_netns(label)
    names = [f"{label}{side}" for side in "io"[:arms]]
    for number, device in enumerate(names):
        rig.ovs.add_veth(BRIDGE, device, inside, name=f"eth{number}", mac=mac)
        inside.run("sysctl", "-qw", f"net.ipv6.conf.eth{number}.disable_ipv6=1")
    ports = [SdnPort(key=d, host="h1", device=d, mac=mac, transparent=not mac) for d in names]
    with Aware(inside, *(f"eth{number}" for number in range(arms))) as function:
        yield function, ChainElement(ingress=ports[0], egress=ports[-1], mode=ElementMode.NSH)


def test_aware_functions_are_met_in_order_with_path_and_index_and_seen_by_probe_and_trace(rig: Rig) -> None:
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    (_, mon) = rig.bump("mon")
    with aware(rig, "f1", arms=2) as (first, f1), aware(rig, "f2", arms=1, mac=MAC) as (last, f2):
        rig.apply(segment(p1, p2))
        web = chain(p1, p2, f1, mon, f2)
        assert rig.driver.capabilities(rig.ctx()).has(SdnCapability.NSH) is Support.FULL
        assert rig.apply(web).phase is Phase.ACTIVE, "what the switch says it holds is what was sent"
        held = rig.flows()
        assert rig.apply(web).phase is Phase.ACTIVE
        assert rig.flows() == held, "twice is once"
        eventually(lambda: one.netns.pings("10.0.0.2"), "through all of them")
        eventually(lambda: one.netns.pings("10.0.0.2", packet_bytes=1400), "its ports have room for the header")
        there, back = ({path for path, index in first.met if index == now} for now in (255, 253))
        assert (len(there), len(back)) == (1, 1), "a path for each way"
        assert there != back
        assert {(*there, 255), (*back, 253)} == set(first.met)
        assert {(*there, 253), (*back, 255)} == set(last.met)
        _probed(rig, web.key, p1, p2)
        _traced(rig, web.key, p1, p2)
        _dropped(rig, first, one.netns, two.netns)


def _probed(rig: Rig, key: str, p1: SdnPort, p2: SdnPort) -> None:
    ends = {
        "eth_type": 0x0800, "ip_proto": 17, "eth_src": p1.mac, "eth_dst": p2.mac, "ipv4_src": "10.0.0.1",
        "ipv4_dst": "10.0.0.2", "udp_src": 50123, "udp_dst": 53,
    }  # fmt: skip
    swap = {"src": "dst", "dst": "src"}
    back = {(f"{n[:-3]}{swap[n[-3:]]}" if n[-3:] in swap else n): value for n, value in ends.items()}
    for packet, wanted in (
        ({**ends, "in_port": "p1"}, ["p1", "f1i", "vmoni", "f2i", "p2"]),
        ({**back, "in_port": "p2"}, ["p2", "f2i", "vmono", "f1o", "p1"]),
        ({**ends, "in_port": "f1o"}, ["f1o", "vmoni", "f2i", "p2"]),
        ({**ends, "into": "f1i"}, ["f1i"]),
        ({**back, "into": "f2i"}, ["f2i"]),
    ):

        def arrived(packet: dict[str, str | int] = packet, wanted: list[str] = wanted) -> bool:
            (probe,) = rig.driver.probe(key, [packet], rig.ctx())
            assert [hop.key for hop in probe.hops] == wanted
            return probe.arrived

        eventually(arrived, f"the probe is seen at {wanted}")


def _traced(rig: Rig, key: str, p1: SdnPort, p2: SdnPort) -> None:
    there = rig.driver.trace(key, {"ip_proto": 17, "udp_dst": 53}, rig.ctx())
    assert [hop.device for hop in there if hop.table is None] == ["f1i", "vmoni", "f2i", "p2"]
    notes = " | ".join(hop.note for hop in there)
    assert ", index 255, out of it at f1o" in notes
    assert "web: there, out of 2 (f2i), its header taken off | web: there, f2i to p2 | lan: to p2" in notes
    back = rig.driver.trace(key, {"eth_src": p2.mac, "eth_dst": p1.mac, "ip_proto": 17}, rig.ctx())
    assert [hop.device for hop in back if hop.table is None] == ["f2i", "vmono", "f1o", "p1"]


def _dropped(rig: Rig, function: Aware, one: object, two: object) -> None:
    """A function that does not count down, or that gives frames back bare, is let nowhere."""
    tap = Tap(two, "eth0")  # type: ignore[arg-type]
    sender = Tap(one, "eth0")  # type: ignore[arg-type]
    try:
        frame = ipv4("10.0.0.1", "10.0.0.2", udp(b"not counted down"), protocol=17, eth=(mac_of(1), mac_of(2)))
        met = len(function.met)
        function.decrements = False
        sender.send(frame)
        eventually(lambda: len(function.met) > met, "the function has it")
        assert not tap.sees(b"not counted down", within_s=0.3)
        function.decrements = True
        sender.send(frame.replace(b"not counted down", b"now counted down"))
        assert tap.sees(b"now counted down")
    finally:
        tap.close()
        sender.close()
