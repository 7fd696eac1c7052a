"""IPv6 neighbour discovery on a real Open vSwitch: who asks gets an answer, and nobody else hears the question."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from manor.api import Phase, SdnPort
from manor.testing.ovs import Netns, OvsHost, PrivateOvs, missing_for_ovs
from manor_sdn_ryu.keeper import Address

from .conftest import BRIDGE, Rig, Tap, eventually, segment
from .frames import ipv6

pytestmark = pytest.mark.real
ANSWERED, NOBODY = "solicitation answered for fd00::2", "solicitation for an address that nobody has"


def question(address: str) -> bytes:
    """What is in a solicitation for an address and in no advertisement of it: no flags, then the address."""
    return bytes(4) + ipaddress.IPv6Address(address).packed


def machines(rig: Rig) -> tuple[tuple[OvsHost, SdnPort], tuple[OvsHost, SdnPort]]:
    return rig.machine(1), rig.machine(2)


def neighbour(netns: Netns, address: str) -> str:
    found = re.search(r"lladdr (\S+)", netns.run("ip", "-6", "neigh", "show", address))
    return found[1] if found else ""


def test_the_switch_answers_and_the_target_never_hears_a_solicitation(rig: Rig) -> None:
    (one, p1), (two, p2) = machines(rig)
    tap = Tap(two.netns, "eth0")
    lan = segment(p1, p2)
    assert rig.apply(lan).phase is Phase.ACTIVE
    eventually(lambda: one.netns.pings("fd00::2"), "fd00::2 answers")
    assert neighbour(one.netns, "fd00::2") == p2.mac
    eventually(lambda: rig.packets(lan.key, ANSWERED) > 0, "by the switch")
    assert not one.netns.pings("fd00::77", within_s=0.3)
    eventually(lambda: rig.packets(lan.key, NOBODY) > 0, "counted, and dropped")
    assert not tap.sees(question("fd00::2"), within_s=1.0)
    assert not tap.sees(question("fd00::77"), within_s=0.1)
    tap.close()
    assert rig.observe(lan.key).phase is Phase.ACTIVE, "the rules read back as they were sent"
    rig.remove(lan)
    assert rig.flows() == []


def test_duplicate_addresses_are_found_and_ones_own_is_none(one_rig: Rig) -> None:
    (one, p1), (_, p2) = machines(one_rig)
    one_rig.apply(segment(p1, p2))
    state = lambda address: one.netns.run("ip", "-6", "addr", "show", "dev", "eth0", "to", address)  # noqa: E731
    one.netns.run("ip", "addr", "del", "fd00::1/64", "dev", "eth0")
    one.netns.run("ip", "addr", "add", "fd00::1/64", "dev", "eth0")
    eventually(lambda: "tentative" not in state("fd00::1"), "its own address is nobody else's")
    assert "dadfailed" not in state("fd00::1")
    one.netns.run("sysctl", "-qw", "net.ipv6.conf.eth0.dad_transmits=60")  # asked each second, until one says so
    one.netns.run("ip", "addr", "add", "fd00::2/64", "dev", "eth0")
    eventually(lambda: "dadfailed" in state("fd00::2"), "the other's address is the other's")


def test_a_solicitation_without_its_senders_mac_is_passed_on_whole(one_rig: Rig) -> None:
    (one, p1), (two, p2) = machines(one_rig)
    one_rig.apply(segment(p1, p2))
    tap, asker = Tap(two.netns, "eth0"), Tap(one.netns, "eth0")
    eth = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
    asker.send(ipv6("fd00::1", "fd00::2", b"\x87\0\0\0" + question("fd00::2"), protocol=58, eth=eth))
    assert tap.sees(question("fd00::2"))
    tap.close()
    asker.close()


def test_the_kind_of_datapath_is_read_from_the_database(tmp_path: Path) -> None:
    if reason := missing_for_ovs():
        pytest.skip(reason)
    with PrivateOvs() as ovs:
        ovs.add_bridge(BRIDGE)
        # Whether this machine's kernel has the module does not matter: the row says what was asked for.
        ovs.vsctl("--no-wait", "add-br", "br-k", "--", "set", "Bridge", "br-k", "datapath_type=system")
        found = {
            bridge: Address(host="h1", openflow="unix:/x", ovsdb=ovs.ovsdb, bridge=bridge).is_userspace(10.0)
            for bridge in (BRIDGE, "br-k", "br-none")
        }
    assert found == {BRIDGE: True, "br-k": False, "br-none": False}
    assert not Address(host="h1", openflow="unix:/x").is_userspace(1.0), "not known"
