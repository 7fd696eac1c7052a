"""The agent on a real Open vSwitch, with namespaces as machines; on Ryu and on os-ken."""

from __future__ import annotations

import dataclasses
import secrets
import socket
import threading

import pytest

from manor.api import (
    CallContext,
    Classifier,
    DriverEnvironment,
    FlowRule,
    Phase,
    PortRange,
    Query,
    ResourceKind,
    ResourceRef,
    SdnPort,
    SecurityRule,
)
from manor.errors import Conflict, DeadlineExceeded, Permanent, Transient
from manor.testing.ovs import Netns
from manor_sdn_ryu.driver import RyuSdn

from .conftest import (
    BRIDGE,
    OWNER,
    Rig,
    Stream,
    Tap,
    chain,
    end_agent,
    eventually,
    forwards_first,
    segment,
)
from .rates import RATE_BPS, is_held, passes

pytestmark = pytest.mark.real


def udp_frame(source: int, target: int, payload: bytes) -> bytes:
    """A UDP datagram between machines by number, as a raw frame with the right checksums left out (UDP allows it)."""
    header = bytes.fromhex("4500") + (28 + len(payload)).to_bytes(2, "big") + bytes.fromhex("0000000040110000")
    header += bytes([10, 0, 0, source, 10, 0, 0, target])
    words = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, 20, 2))
    words = (words & 0xFFFF) + (words >> 16)
    header = header[:10] + (~words & 0xFFFF).to_bytes(2, "big") + header[12:]
    udp = (9).to_bytes(2, "big") * 2 + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload
    return bytes([2, 0, 0, 0, 0, target, 2, 0, 0, 0, 0, source, 8, 0]) + header + udp


def reaches(netns: Netns, address: str) -> None:
    """An echo request is answered; on a busy machine not at once."""
    eventually(lambda: netns.pings(address), f"{address} answers")


def test_a_segment_connects_its_ports_and_nothing_else_also_with_equal_addresses(rig: Rig) -> None:
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    (alien, q1), (alien_two, q2) = rig.machine(1, device="q1"), rig.machine(2, device="q2")
    _, loner = rig.machine(3, device="q3")
    ours, theirs = segment(p1, p2), segment(q1, q2, loner, key="t/vl/lan")
    assert rig.apply(ours).phase is Phase.ACTIVE
    assert rig.apply(theirs).phase is Phase.ACTIVE
    taps = {name: Tap(host.netns, "eth0") for name, host in (("two", two), ("alien_two", alien_two))}
    try:
        for sender, receiver, other in ((one, "two", "alien_two"), (alien, "alien_two", "two")):
            for address in ("10.0.0.2", "fd00::2"):
                reaches(sender.netns, address)
            token = secrets.token_bytes(16)
            tap = Tap(sender.netns, "eth0")
            tap.send(udp_frame(1, 2, token))
            broadcast = b"\xff" * 6 + udp_frame(1, 2, token + b"all")[6:]
            tap.send(broadcast)
            tap.close()
            assert taps[receiver].sees(token)
            assert taps[receiver].sees(token + b"all")
            assert not taps[other].sees(token, within_s=0.3), "the twin with the same addresses sees nothing"
        assert not one.netns.pings("10.0.0.3", within_s=0.3)
    finally:
        for tap in taps.values():
            tap.close()
    rig.remove(ours, theirs)
    assert rig.flows() == []


def test_security_rules_are_stateful(rig: Rig) -> None:
    web_only = (SecurityRule(direction="ingress", protocol="udp", ports=PortRange(lower=53, upper=53)),)
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2, security=web_only)
    (three, p3) = rig.machine(3, security=(SecurityRule(direction="egress", protocol="udp"),))
    lan = segment(p1, p2, p3)
    assert rig.apply(lan).phase is Phase.ACTIVE

    def talk(source: Netns, target: Netns, address: str, port: int, within_s: float = 60.0) -> bool:
        with (
            source.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
            target.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        ):
            server.bind((address, port))
            server.settimeout(within_s)
            client.settimeout(within_s)
            client.sendto(b"question", (address, port))
            try:
                _, asker = server.recvfrom(64)
                server.sendto(b"answer", asker)
                return client.recv(64) == b"answer"
            except TimeoutError:
                return False

    eventually(lambda: talk(one.netns, two.netns, "10.0.0.2", 53, 1.0), "a rule admits it")
    assert not talk(one.netns, two.netns, "10.0.0.2", 54, within_s=0.5), "no rule admits it"
    assert talk(two.netns, one.netns, "10.0.0.1", 7000), "answers to its own questions come in"
    assert not one.netns.pings("10.0.0.2", within_s=0.5)
    eventually(lambda: two.netns.pings("10.0.0.1"), "it may ping, and the echo is its connection's")
    assert talk(three.netns, one.netns, "10.0.0.1", 7000)
    assert not three.netns.pings("10.0.0.1", within_s=0.5), "egress rules bound what it begins"
    eventually(lambda: one.netns.pings("10.0.0.3"), "and not what it answers")
    eventually(lambda: rig.packets(lan.key, "refused by the security rules") >= 3, "refusals are counted")
    rig.remove(lan)
    assert rig.flows() == []


def test_what_a_machine_sends_is_held_to_its_rate(rig: Rig) -> None:
    (one, p1), (two, p2) = rig.machine(1, rate_bps=RATE_BPS), rig.machine(2)
    lan = segment(p1, p2)
    assert rig.apply(lan).phase is Phase.ACTIVE
    reaches(one.netns, "10.0.0.2")
    forwards_first(rig.ovs)
    assert is_held(one.netns, two.netns, "10.0.0.2"), "2 Mbit/s, and the burst before it"
    assert passes(two.netns, one.netns, "10.0.0.1"), "only what it sends is limited"
    _, fw = rig.bump("fw")
    assert rig.apply(chain(p1, p2, fw)).phase is Phase.ACTIVE
    assert is_held(one.netns, two.netns, "10.0.0.2"), "also by way of a chain"
    faster = segment(dataclasses.replace(p1, rate_bps=50_000_000), p2)
    assert rig.apply(faster).phase is Phase.ACTIVE
    assert passes(one.netns, two.netns, "10.0.0.2"), "a new rate counts at once"
    assert "rate=50000" in rig.ovs.ofctl("dump-meters", BRIDGE)
    rig.remove(chain(p1, p2, fw), faster)
    assert "rate=" not in rig.ovs.ofctl("dump-meters", BRIDGE), "nothing is left"


def test_what_a_port_forges_is_dropped_and_counted(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (two, p2), (_, p3) = rig.machine(1), rig.machine(2), rig.machine(3)
    rig.apply(segment(p1, p2, p3))
    sender, receiver = Tap(one.netns, "eth0"), Tap(two.netns, "eth0")
    honest, forged = secrets.token_bytes(16), secrets.token_bytes(16)
    for frame in (udp_frame(3, 2, forged), udp_frame(1, 2, forged)[:29] + b"\x03" + udp_frame(1, 2, forged)[30:]):
        sender.send(frame)
    sender.send(udp_frame(1, 2, honest))
    assert receiver.sees(honest)
    sender.send(udp_frame(1, 2, honest))
    assert not receiver.sees(forged, within_s=0.3)
    eventually(lambda: rig.packets("s/vl/lan", "from p1") >= 2, "the drops are counted")
    sender.close()
    receiver.close()


def test_a_chain_is_visited_in_order_both_ways_and_other_traffic_is_not_touched(rig: Rig) -> None:
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    (fw, fw_ports), (mon, mon_ports) = rig.bump("fw"), rig.bump("mon")
    lan = segment(p1, p2, *(port for e in (fw_ports, mon_ports) for port in (e.ingress, e.egress)))
    rig.apply(lan)
    web = chain(p1, p2, fw_ports, mon_ports)
    assert rig.apply(web).phase is Phase.ACTIVE
    taps = [Tap(fw.netns, "eth0"), Tap(mon.netns, "eth0"), Tap(two.netns, "eth0"),
            Tap(mon.netns, "eth1"), Tap(fw.netns, "eth1"), Tap(one.netns, "eth0")]  # fmt: skip
    there, back, direct = (secrets.token_bytes(16) for _ in range(3))
    taps[5].send(udp_frame(1, 2, there))
    times = [tap.sees(there) for tap in taps[:3]]
    assert all(times)
    assert times == sorted(times), "firewall, then monitor, then the machine"
    taps[2].send(udp_frame(2, 1, back))
    times = [tap.sees(back) for tap in taps[3:]]
    assert all(times)
    assert times == sorted(times), "monitor, then firewall, then the machine"
    reaches(one.netns, "10.0.0.2")
    not_udp = bytearray(udp_frame(1, 2, direct))
    not_udp[23] = 253
    not_udp[24:26] = (int.from_bytes(not_udp[24:26], "big") + 17 - 253).to_bytes(2, "big")
    taps[5].send(bytes(not_udp))
    assert taps[2].sees(direct)
    assert not taps[0].sees(direct, within_s=0.2)
    eventually(lambda: rig.packets(web.key, "p1 to fw (vfwi)") >= 2, "hops are counted")
    eventually(lambda: rig.packets(web.key, "back, p2 to mon (vmono)") >= 2, "hops are counted")
    fw.netns.run("ip", "link", "set", "br0", "down")
    assert not one.netns.pings("10.0.0.2", count=2, within_s=0.3), "a function that denies is not passed by"
    for tap in taps:
        tap.close()
    rig.remove(web, lan)
    assert rig.flows() == []


def test_flows_follow_a_port_that_comes_back_with_another_number(rig: Rig) -> None:
    (one, p1), (_, p2) = rig.machine(1), rig.machine(2)
    fw, element = rig.bump("fw")
    rig.apply(segment(p1, p2, element.ingress, element.egress))
    web = chain(p1, p2, element)
    rig.apply(web)
    reaches(one.netns, "10.0.0.2")
    before = rig.driver.topology(rig.ctx()).switches[0].ports["vfwi"]
    rig.ovs.del_veth(BRIDGE, "vfwi")
    eventually(lambda: rig.observe(web.key).phase is Phase.DEGRADED, "a missing port is seen")
    assert any("port vfwi on h1" in line for line in rig.observe(web.key).detail["missing"])
    assert not one.netns.pings("10.0.0.2", count=2, within_s=0.3), "fail-closed: nothing passes the function by"
    rig.ovs.add_veth("", "spare", rig.ovs.add_netns("x"))
    rig.ovs.vsctl("add-port", BRIDGE, "spare")
    rig.ovs.add_veth(BRIDGE, "vfwi", fw.netns)
    fw.netns.run("ip", "link", "set", "eth0", "master", "br0")
    fw.netns.run("bridge", "link", "set", "dev", "eth0", "learning", "off")
    eventually(lambda: rig.observe(web.key).phase is Phase.ACTIVE, "the flows follow")
    assert rig.driver.topology(rig.ctx()).switches[0].ports["vfwi"] != before
    reaches(one.netns, "10.0.0.2")


def test_a_port_that_was_set_down_is_told_and_set_up_when_asked_for_again(rig: Rig) -> None:
    (one, p1), (_, p2) = rig.machine(1), rig.machine(2)
    lan = segment(p1, p2)
    assert rig.apply(lan).phase is Phase.ACTIVE
    rig.ovs.netns.run("ip", "link", "set", p2.device, "down")
    eventually(lambda: rig.observe(lan.key).phase is Phase.DEGRADED, "a port that is down is seen")
    assert rig.observe(lan.key).detail["missing"] == [f"port {p2.device} on h1 (set down)"]
    for _ in range(2):  # twice is once
        assert rig.apply(lan).phase is Phase.ACTIVE
    reaches(one.netns, "10.0.0.2")
    rig.ovs.netns.run("ip", "link", "set", p2.device, "down")
    eventually(lambda: rig.observe(lan.key).phase is Phase.DEGRADED, "it is seen again")
    rig.ovs.netns.run("ip", "link", "set", p2.device, "up")
    eventually(lambda: rig.observe(lan.key).phase is Phase.ACTIVE, "up by hand is as good")


def test_a_port_to_the_outside_that_was_set_down_stays_so(rig: Rig) -> None:
    """It is the host's own: who set it down is asked by nobody else."""
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    uplink = SdnPort(key="uplink", host="h1", device=p2.device, mac="")
    lan = segment(p1, uplink)
    rig.apply(lan)
    for device in (p1.device, uplink.device):
        rig.ovs.netns.run("ip", "link", "set", device, "down")
    eventually(lambda: rig.observe(lan.key).phase is Phase.DEGRADED, "the machine's port is missed")
    assert rig.observe(lan.key).detail["missing"] == [f"port {p1.device} on h1 (set down)"]
    assert rig.apply(lan).phase is Phase.ACTIVE
    up, down = (rig.ovs.netns.run("ip", "-o", "link", "show", device) for device in (p1.device, uplink.device))
    assert (",UP" in str(up), ",UP" in str(down)) == (True, False)


def test_a_killed_agent_is_not_missed_and_its_successor_converges(rig: Rig) -> None:
    (one, p1), (two, p2) = rig.machine(1), rig.machine(2)
    _, element = rig.bump("fw")
    lan, web = segment(p1, p2, element.ingress, element.egress), chain(p1, p2, element)
    rig.apply(lan)
    rig.apply(web)
    held = sorted(rig.flows())
    forwards_first(rig.ovs)
    with Stream(one.netns, two.netns, "10.0.0.2") as stream:
        rig.kill_agent()
        rig.ovs.ofctl("--strict", "del-flows", BRIDGE, f"table=30,cookie={rig_cookie(rig, lan.key)}/-1,priority=1000")
        rig.ovs.ofctl("add-flow", BRIDGE, f"table=77,cookie={rig_cookie(rig, lan.key)},actions=drop")
        rig.ovs.ofctl("add-flow", BRIDGE, "table=78,cookie=0x5,actions=drop")
        rig.driver.topology(rig.ctx())
        eventually(lambda: sorted(rig.flows()) == sorted([*held, *foreign(rig)]), "the successor repairs what is ours")
        assert rig.observe(web.key).phase is Phase.ACTIVE
    assert stream.lost == 0
    rig.remove(web, lan)
    assert rig.flows() == foreign(rig) != []


def rig_cookie(rig: Rig, key: str) -> str:
    from manor_sdn_ryu.pipeline import cookie

    kind = ResourceKind.CHAIN if "/chain/" in key else ResourceKind.SEGMENT
    return f"0x{cookie(OWNER, kind, key):x}"


def foreign(rig: Rig) -> list[str]:
    return [flow for flow in rig.flows() if "cookie=0x5," in flow]


def test_a_switch_that_lost_everything_gets_it_back(rig: Rig) -> None:
    (one, p1), (_, p2) = rig.machine(1), rig.machine(2)
    lan = segment(p1, p2)
    rig.apply(lan)
    rig.ovs.stop_vswitchd(kill=True)
    eventually(lambda: rig.observe(lan.key).phase is Phase.UNKNOWN, "it is not claimed to be there")
    with pytest.raises(Transient, match="not connected"):
        rig.driver.remove(ResourceRef(kind=ResourceKind.SEGMENT, key="other"), rig.ctx(4))
    rig.ovs.start_vswitchd()
    eventually(lambda: rig.observe(lan.key).phase is Phase.ACTIVE, "it is put back")
    reaches(one.netns, "10.0.0.2")


def test_a_lost_switch_is_noticed_and_redialled_with_nobody_asking(rig: Rig) -> None:
    log = rig.environment.state_dir / "agent.log"
    _, p1 = rig.machine(1)
    rig.apply(segment(p1))
    held = sorted(rig.flows())
    rig.ovs.stop_vswitchd(kill=True)
    eventually(lambda: "disconnected" in log.read_text(), "the loss is logged")
    rig.ovs.start_vswitchd()
    eventually(lambda: sorted(rig.flows()) == held, "the flows are back")


def test_drift_is_named_and_repair_touches_only_the_difference(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (_, p2) = rig.machine(1), rig.machine(2)
    lan = segment(p1, p2)
    rig.apply(lan)
    held = sorted(rig.flows())
    reaches(one.netns, "10.0.0.2")
    eventually(lambda: rig.packets(lan.key, "10.0.0.1 at p1") > 0, "a counter that a rewrite would reset")
    number = rig_cookie(rig, lan.key)
    rig.ovs.ofctl("add-flow", BRIDGE, "table=30,priority=7,cookie=0x5,actions=drop")
    rig.ovs.ofctl("del-flows", BRIDGE, f"cookie={number}/-1,table=30,dl_dst={p2.mac}")
    rig.ovs.ofctl("mod-flows", BRIDGE, f"cookie={number}/-1,table=30,dl_dst={p1.mac},actions=drop")
    rig.ovs.ofctl("add-flow", BRIDGE, f"cookie={number},table=50,priority=9,actions=drop")
    seen = rig.observe(lan.key)
    assert seen.phase is Phase.DEGRADED
    assert [line for line in seen.detail["missing"] if "to p2 on h1 (missing)" in line]
    assert [line for line in seen.detail["missing"] if "to p1 on h1 (altered)" in line]
    assert [entry["table"] for entry in seen.detail["extra"]] == [50]
    assert rig.apply(lan).phase is Phase.ACTIVE
    assert sorted(rig.flows()) == sorted([*held, *foreign(rig)])
    assert rig.packets(lan.key, "10.0.0.1 at p1") > 0, "rules that were right were left alone"
    assert len(foreign(rig)) == 1


def test_apply_and_remove_are_idempotent_and_bounded(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    lan = segment(p1, p2)
    first, held = rig.apply(lan), sorted(rig.flows())
    again = rig.apply(lan)
    assert (again.native_id, again.spec_hash, sorted(rig.flows())) == (first.native_id, first.spec_hash, held)
    program = rig.driver.compile(lan, rig.driver.topology(rig.ctx()))
    for call in (
        lambda ctx: rig.driver.apply(program, ctx),
        lambda ctx: rig.driver.remove(ResourceRef(kind=lan.kind, key=lan.key), ctx),
        lambda ctx: rig.driver.observe(Query(owner=OWNER), ctx),
        lambda ctx: rig.driver.topology(ctx),
    ):
        with pytest.raises(DeadlineExceeded):
            call(CallContext.within(-1))
    assert sorted(rig.flows()) == held
    smaller = dataclasses.replace(lan, ports=(p1,))
    rig.apply(smaller)
    assert len(rig.flows()) < len(held)
    rig.remove(lan, lan)
    assert rig.flows() == []
    assert rig.driver.observe(Query(owner=OWNER), rig.ctx()) == []


def test_what_the_switch_refuses_is_undone_and_does_not_stand_in_the_way(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    lan = segment(p1, p2)
    rig.apply(lan)
    held = sorted(rig.flows())
    program = rig.driver.compile(lan, rig.driver.topology(rig.ctx()))
    no_ip = FlowRule(host="h1", table=50, priority=1, match=(("tcp_dst", 80),), actions=(("drop", ""),))
    with pytest.raises(Permanent, match="refused"):
        rig.driver.apply(dataclasses.replace(program, rules=(no_ip, *program.rules[1:])), rig.ctx())
    with pytest.raises(Permanent, match="refused"):
        rig.driver.apply(dataclasses.replace(program, key="s/vl/bad", rules=(no_ip,)), rig.ctx())
    assert sorted(rig.flows()) == held
    rig.kill_agent()
    assert [o.ref.key for o in rig.driver.observe(Query(owner=OWNER), rig.ctx())] == [lan.key]


def test_owners_do_not_see_or_touch_each_other(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    ours = segment(p1)
    theirs = dataclasses.replace(segment(p2), owner="manor/other")
    rig.apply(ours)
    rig.apply(theirs)
    assert {o.owner for o in rig.driver.observe(Query(owner=OWNER), rig.ctx())} == {OWNER}
    rig.remove(ours)
    assert [o.key for o in (x.ref for x in rig.driver.observe(Query(owner="manor/other"), rig.ctx()))] == [theirs.key]
    assert rig.flows() != []


def test_two_chains_that_claim_the_same_frames_are_refused_and_ranked_ones_are_not(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    (_, fw), (_, mon) = rig.bump("fw"), rig.bump("mon")
    rig.apply(segment(p1, p2))
    rig.apply(chain(p1, p2, fw))
    held = rig.flows()
    rival = chain(p1, p2, mon, key="s/chain/rival")
    with pytest.raises(Conflict, match="s/chain/rival and chain s/chain/web claim the same frames"):
        rig.apply(rival)
    assert rig.flows() == held
    with pytest.raises(
        Conflict, match="chain s/chain/web would get nothing: chain s/chain/rival takes all"
    ) as shadowed:
        rig.apply(dataclasses.replace(rival, precedence=1))
    assert "to fw" in shadowed.value.message
    assert "to mon" in shadowed.value.message
    assert rig.flows() == held
    narrower = dataclasses.replace(rival, precedence=1, classifiers=(Classifier(protocol="icmp"),))
    with pytest.raises(Conflict, match="would get nothing"):
        rig.apply(narrower)  # the other chain has a rule for just that
    to_one = PortRange(lower=53, upper=53)
    narrower = dataclasses.replace(narrower, classifiers=(Classifier(protocol="udp", destination_port_range=to_one),))
    assert rig.apply(narrower).phase is Phase.ACTIVE


def test_several_drivers_share_one_agent_and_it_ends_only_when_empty(one_rig: Rig) -> None:
    rig = one_rig
    _, p1 = rig.machine(1)
    drivers = [RyuSdn(rig.config, rig.environment) for _ in range(4)]
    threads = [threading.Thread(target=driver.topology, args=(rig.ctx(),)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {switch.connected for driver in drivers for switch in driver.topology(rig.ctx()).switches} <= {True, False}
    pid = rig.agent_pid
    lan = segment(p1)
    rig.apply(lan)
    assert rig.agent_pid == pid
    assert drivers[0].shutdown(rig.ctx()) is False
    rig.remove(lan)
    assert drivers[0].shutdown(rig.ctx()) is True
    assert not (rig.environment.runtime_dir / "agent.sock").exists()
    assert drivers[1].shutdown(rig.ctx()) is True, "absent is success"


def test_the_agents_socket_is_closed_to_others_and_nonsense_does_no_harm(one_rig: Rig) -> None:
    rig = one_rig
    rig.driver.topology(rig.ctx())
    path = rig.environment.runtime_dir / "agent.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    for nonsense in (b"hello\n", b"[]\n", b'{"v": 99}\n', b'{"v": 2, "verb": "rm -rf"}\n', b"\xff\xfe\n",
                     b'{"v": 2, "verb": "apply", "args": {"program": {"rules": 7}}}\n'):  # fmt: skip
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            client.sendall(nonsense)
            assert b'"ok":false' in client.makefile("rb").readline()
    _, p1 = rig.machine(1)
    program = rig.driver.compile(segment(p1), rig.driver.topology(rig.ctx()))
    bad = dataclasses.replace(program.rules[0], match=(("nonsense", 1),))
    with pytest.raises(Permanent, match="unknown match field"):
        rig.driver.apply(dataclasses.replace(program, rules=(bad,)), rig.ctx())
    assert rig.flows() == []
    log = (rig.environment.state_dir / "agent.log").stat()
    assert log.st_mode & 0o077 == 0


def test_a_second_controller_of_ours_may_not_take_the_bridge_and_our_rules_with_it(one_rig: Rig) -> None:
    rig = one_rig
    (one, p1), (_, p2) = rig.machine(1), rig.machine(2)
    rig.apply(segment(p1, p2))
    held = rig.flows()
    other = DriverEnvironment(
        name="other", owner=OWNER, state_dir=rig.directory / "state2", runtime_dir=rig.directory / "run2"
    )
    for directory in (other.state_dir, other.runtime_dir):
        directory.mkdir(mode=0o700)
    second = RyuSdn(rig.config, other)
    try:
        with pytest.raises(Permanent, match="is the controller t's"):
            second.capabilities(rig.ctx())
        assert rig.flows() == held
        reaches(one.netns, "10.0.0.2")
        rig.remove(segment(p1, p2))
        assert rig.driver.shutdown(rig.ctx()) is True
        second.capabilities(rig.ctx())  # given up, the bridge may be another's
    finally:
        end_agent(other)


def test_a_bridge_that_is_gone_keeps_nobody_waiting_for_its_rules(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    lan = segment(p1, p2)
    rig.apply(lan)
    rig.ovs.vsctl("del-br", BRIDGE)
    eventually(lambda: not rig.driver.topology(rig.ctx()).switches[0].connected, "its switch has hung up")
    rig.driver.remove(ResourceRef(kind=lan.kind, key=lan.key), rig.ctx(60))
    assert rig.driver.observe(Query(owner=OWNER, keys=frozenset({lan.key})), rig.ctx()) == []


def test_what_a_switch_that_is_down_still_holds_is_not_called_removed(one_rig: Rig) -> None:
    rig = one_rig
    (_, p1), (_, p2) = rig.machine(1), rig.machine(2)
    lan = segment(p1, p2)
    rig.apply(lan)
    rig.ovs.stop_vswitchd()
    with pytest.raises(Transient):
        rig.driver.remove(ResourceRef(kind=lan.kind, key=lan.key), rig.ctx(4))
    assert rig.observe(lan.key).phase is Phase.UNKNOWN
    assert rig.driver.shutdown(rig.ctx()) is False
    rig.ovs.start_vswitchd()
    # Back again it lets go by itself, and what is gone is no longer known.
    query = Query(owner=OWNER, keys=frozenset({lan.key}))
    eventually(lambda: not rig.driver.observe(query, rig.ctx()), "it is forgotten")
    assert rig.flows() == []
    rig.remove(lan)
