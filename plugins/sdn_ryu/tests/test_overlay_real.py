"""Three hosts, each with a switch of its own, joined by a network: segments and chains across them."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import itertools
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manor.api import (
    CallContext,
    ChainElement,
    ChainSpec,
    Classifier,
    DriverEnvironment,
    Observed,
    Phase,
    Probe,
    ProbeVerdict,
    Query,
    ResourceRef,
    Sdn,
    SdnPort,
    SegmentSpec,
)
from manor.errors import Permanent, Transient, Unsupported
from manor.testing.ovs import OvsHost, PrivateOvs, join, missing_for_ovs
from manor.testing.sdn_kit import SdnConformance
from manor.testing.sdn_specs import SdnSpecs
from manor_sdn_ryu.config import RyuConfig
from manor_sdn_ryu.driver import RyuSdn
from manor_sdn_ryu.tunnels import PREFIX

from .conftest import BRIDGE, OWNER, Stream, Tap, chain, end_agent, eventually, forwards_first

pytestmark = pytest.mark.real
HOSTS = ("h1", "h2", "h3")
MTU = 1450
UDP = Classifier(protocol="udp", ether_type="ipv4")


class Site:
    """Three hosts and a controller of them all."""

    def __init__(self, directory: Path, switches: dict[str, PrivateOvs], underlay: list[str], **more: Any) -> None:
        self.switches = switches
        self.environment = DriverEnvironment(
            name="t", owner=OWNER, state_dir=directory / "state", runtime_dir=directory / "run"
        )
        self.environment.state_dir.mkdir(parents=True)
        self.config = RyuConfig.model_validate(
            {
                "switches": [
                    {"host": host, "ovsdb": ovs.ovsdb, "bridge": BRIDGE, "underlay": address, **more}
                    for (host, ovs), address in zip(switches.items(), underlay, strict=True)
                ],
                "runtime": "os-ken", "settle_s": 0.05,
            }
        )  # fmt: skip
        self.driver = RyuSdn(self.config, self.environment)
        self._machines: dict[int, tuple[OvsHost, SdnPort]] = {}

    def machine(self, number: int, host: str) -> tuple[OvsHost, SdnPort]:
        """A machine at 10.0.0.<number> on a host, whose interface has the segment's MTU."""
        if number not in self._machines:
            device, mac = f"p{number}", f"02:00:00:00:00:{number:02x}"
            cidrs = [f"10.0.0.{number}/24", f"fd00::{number:x}/64"]
            made = self.switches[host].add_host(BRIDGE, device, mac=mac, cidrs=cidrs, device=device)
            made.netns.run("ip", "link", "set", "eth0", "mtu", str(MTU))
            addresses = (f"10.0.0.{number}", f"fd00::{number:x}")
            self._machines[number] = (
                made, SdnPort(key=device, host=host, device=device, mac=mac, addresses=addresses),
            )  # fmt: skip
        return self._machines[number]

    def bump(self, label: str, host: str) -> ChainElement:
        devices = self.switches[host].add_bump(BRIDGE, label).devices
        ports = [SdnPort(key=d, host=host, device=d, mac="", transparent=True) for d in devices]
        return ChainElement(ingress=ports[0], egress=ports[1])

    def ctx(self) -> CallContext:
        return CallContext.within(60)

    def apply(self, spec: SegmentSpec | ChainSpec) -> Observed:
        return self.driver.apply(self.driver.compile(spec, self.driver.topology(self.ctx())), self.ctx())

    def observe(self, key: str) -> Observed:
        (found,) = self.driver.observe(Query(owner=OWNER, keys=frozenset({key})), self.ctx())
        return found

    def remove(self, *specs: SegmentSpec | ChainSpec) -> None:
        for spec in specs:
            self.driver.remove(ResourceRef(kind=spec.kind, key=spec.key), self.ctx())

    def tunnels(self) -> int:
        ports = [p for ovs in self.switches.values() for p in ovs.vsctl("list-ports", BRIDGE).splitlines()]
        return sum(port.startswith(PREFIX) for port in ports)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with _site(tmp_path) as made:
        yield made


@contextlib.contextmanager
def _site(directory: Path, *, mtu: int = 1500, **more: Any) -> Iterator[Site]:
    if reason := missing_for_ovs():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        switches = {host: stack.enter_context(PrivateOvs()) for host in HOSTS}
        for ovs in switches.values():
            ovs.add_bridge(BRIDGE)
        made = Site(directory, switches, join(list(switches.values()), mtu=mtu), **more)
        stack.callback(end_agent, made.environment)
        forwards_first(*switches.values())
        yield made


def lan(*ports: SdnPort, mtu: int = MTU, key: str = "s/vl/lan") -> SegmentSpec:
    return SegmentSpec(key=key, owner=OWNER, name="lan", ports=ports, mtu=mtu)


def test_a_segment_spans_three_hosts_and_its_tunnels_go_with_it(site: Site) -> None:
    machines = [site.machine(n, host) for n, host in enumerate(HOSTS, start=1)]
    ports = [port for _, port in machines]
    everywhere = lan(*ports)
    hears = Tap(machines[1][0].netns, "eth0")
    eventually(lambda: site.apply(everywhere).phase is Phase.ACTIVE, "every rule is live")
    assert site.tunnels() == 6, "two ends between each two hosts"
    assert site.observe(everywhere.key).detail["mtu"] == MTU
    for (one, _), (_, other) in itertools.permutations(machines, 2):
        for address in other.addresses:
            eventually(lambda one=one, a=address: one.netns.pings(a), f"{address} answers")
    # A solicitation for fd00::2 has no flags before the address; an advertisement has.
    assert not hears.sees(bytes(4) + ipaddress.IPv6Address("fd00::2").packed, within_s=0.5), (
        "answered where it is asked"
    )
    hears.close()
    eventually(lambda: machines[0][0].netns.pings("10.0.0.3", packet_bytes=MTU), "the largest packet passes whole")
    taps = [Tap(host.netns, "eth0") for host, _ in machines]
    token = secrets.token_bytes(16)
    taps[0].send(b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5" + token + bytes(40))
    assert all(tap.sees(token) for tap in taps[1:]), "a broadcast reaches every host"
    for tap in taps:
        tap.close()
    end_agent(site.environment)
    shutil.rmtree(site.environment.state_dir)
    site.environment.state_dir.mkdir()
    other = lan(site.machine(4, "h1")[1], key="t/vl/lan")
    site.apply(other)
    assert site.tunnels() == 6, "an agent without its memory keeps what somebody may use"
    eventually(lambda: machines[0][0].netns.pings("10.0.0.3"), "and it carries")
    eventually(lambda: _told_of(site, "h3"), "it has seen what is in the switch of h3")
    smaller = lan(*ports[:2])
    site.apply(smaller)
    assert site.tunnels() == 2, "what nobody uses any more is gone"
    site.remove(smaller, other)
    assert site.tunnels() == 0
    for ovs in site.switches.values():
        assert ovs.flows(BRIDGE) == []


def _told_of(site: Site, host: str) -> bool:
    """Whether the agent knows of rules on this host that no program has."""
    seen = site.driver.observe(Query(owner=OWNER), site.ctx())
    return any(rule["host"] == host for one in seen for rule in one.detail["extra"])


def test_a_chain_crosses_hosts_in_any_order_both_ways_also_where_its_segment_is_not(site: Site) -> None:
    (one, p1), (two, p2) = site.machine(1, "h1"), site.machine(2, "h2")
    functions = {name: site.bump(name, host) for name, host in (("f1", "h1"), ("f2", "h2"), ("f3", "h3"))}
    site.apply(lan(p1, p2))
    for order in itertools.permutations(functions):
        web = chain(p1, p2, *(functions[name] for name in order), classifiers=(UDP,))
        assert site.apply(web).phase is Phase.ACTIVE
        for source, target, way in (((one, p1), (two, p2), order), ((two, p2), (one, p1), order[::-1])):
            eventually(lambda: not _probes(site), "no probe of the last order is under way, to be counted")
            before = _seen(site, web.key)
            with Stream(source[0].netns, target[0].netns, target[1].addresses[0], per_second=200) as stream:
                pass
            assert stream.lost == 0
            assert stream.sent >= 10
            word = "there" if way == order else "back"
            eventually(
                lambda w=word, s=stream, b=before, key=web.key: _hops(_seen(site, key), b, w) == [s.sent] * 4,
                f"{way}: each of the {stream.sent} passes each of the three functions once",
            )
        packet = {"ip_proto": 17, "udp_dst": 5000}
        hops = site.driver.trace(web.key, packet, site.ctx())
        assert [hop.device for hop in hops if hop.table is None and not hop.device.startswith(PREFIX)] == [
            *(functions[name].ingress.device for name in order), "p2",
        ]  # fmt: skip
        assert not any("somebody else" in hop.note for hop in hops), [hop.note for hop in hops]
        both = [_packet(p1, p2, 50000, 5000), _packet(p2, p1, 5000, 50000)]
        probes = eventually(lambda key=web.key, p=both: _arrived(site, key, p), "probes come through both ways")
        assert [hop.device for hop in probes[0].hops if hop.key] == [
            "p1", *(functions[name].ingress.device for name in order), "p2",
        ]  # fmt: skip
        assert any(hop.note.startswith("from host") for probe in probes for hop in probe.hops), (
            "links are parts of the way"
        )
    eventually(lambda: one.netns.pings("10.0.0.2"), "other traffic does not take the chain")
    _lost_between_hosts(site, web, _packet(p1, p2, 50000, 5000))
    site.remove(web)
    assert site.tunnels() == 2, "those to h3 were the chain's alone"


def _lost_between_hosts(site: Site, web: ChainSpec, packet: dict[str, str | int]) -> None:
    """Where the network between two hosts is at fault, no function is blamed."""
    site.switches["h3"].netns.run("ip", "link", "set", "underlay", "down")

    def between() -> bool:
        (probe,) = site.driver.probe(web.key, [packet], site.ctx())
        lost = next(hop for hop in probe.hops if hop.verdict is not ProbeVerdict.PASSED)
        return lost.verdict is ProbeVerdict.LOST and bool(re.fullmatch(r"from host h\d to h3", lost.note))

    eventually(between, "it is lost between the hosts")
    site.switches["h3"].netns.run("ip", "link", "set", "underlay", "up")


def _arrived(site: Site, key: str, packets: list[dict[str, str | int]]) -> list[Probe]:
    """The probes where all came through; none else, as on a machine that is too busy."""
    probes = list(site.driver.probe(key, packets, site.ctx()))
    return probes if all(probe.arrived for probe in probes) else []


def _probes(site: Site) -> list[str]:
    """What probes left in the switches, which is there for as long as a late one may come."""
    return [flow for ovs in site.switches.values() for flow in ovs.flows(BRIDGE) if "hard_timeout=" in flow]


def _packet(source: SdnPort, target: SdnPort, sport: int, dport: int) -> dict[str, str | int]:
    return {
        "in_port": source.device, "eth_src": source.mac, "eth_dst": target.mac, "eth_type": 0x0800, "ip_proto": 17,
        "ipv4_src": source.addresses[0], "ipv4_dst": target.addresses[0], "udp_src": sport, "udp_dst": dport,
    }  # fmt: skip


def _seen(site: Site, key: str) -> dict[str, int]:
    rules = site.observe(key).detail["rules"]
    return {f"{r['note']} {r['match']}": r["packets"] for r in rules if PREFIX not in r["match"]}


def _hops(now: dict[str, int], before: dict[str, int], way: str) -> list[int]:
    return [packets - before[note] for note, packets in now.items() if f" {way}, " in note]


def test_a_tunnel_taken_away_by_hand_is_drift_and_comes_back(site: Site) -> None:
    (one, p1), (_, p2) = site.machine(1, "h1"), site.machine(2, "h2")
    spec = lan(p1, p2)
    site.apply(spec)
    ovs = site.switches["h1"]
    (device,) = [port for port in ovs.vsctl("list-ports", BRIDGE).splitlines() if port.startswith(PREFIX)]
    ovs.vsctl("del-port", BRIDGE, device)
    eventually(lambda: site.observe(spec.key).phase is Phase.DEGRADED, "the loss is seen")
    assert any(device in what for what in site.observe(spec.key).detail["missing"])
    site.apply(spec)
    eventually(lambda: site.observe(spec.key).phase is Phase.ACTIVE, "it is back")
    eventually(lambda: one.netns.pings("10.0.0.2"), "and carries")


def test_what_would_not_fit_through_a_tunnel_is_refused_before_anything_is_done(site: Site) -> None:
    (_, p1), (_, p2) = site.machine(1, "h1"), site.machine(2, "h2")
    with pytest.raises(Unsupported, match="at most 1450 fit") as caught:
        site.apply(lan(p1, p2, mtu=1500))
    assert "mtu: 1450" in caught.value.hint
    here = dataclasses.replace(p2, host="h1")
    assert site.driver.compile(lan(p1, here, mtu=1500), site.driver.topology(site.ctx())).rules, (
        "one host has no tunnel"
    )
    assert site.tunnels() == 0


def test_an_underlay_with_smaller_frames_than_promised_is_refused(tmp_path: Path) -> None:
    with _site(tmp_path, mtu=1400) as site:
        (_, p1), (_, p2) = site.machine(1, "h1"), site.machine(2, "h2")
        with pytest.raises(Permanent, match="br-phy has an MTU of 1400"):
            site.apply(lan(p1, p2))


def test_a_tunnel_that_carries_nothing_is_told_and_nothing_is_put_into_it(site: Site) -> None:
    (_, p1), (_, p2) = site.machine(1, "h1"), site.machine(2, "h2")
    site.switches["h2"].netns.run("ip", "link", "set", "underlay", "down")
    with pytest.raises(Transient, match=r"no frame of 1464 bytes gets from host h[12] to h[12]"):
        site.apply(lan(p1, p2))
    assert site.switches["h1"].flows(BRIDGE) == []
    site.switches["h2"].netns.run("ip", "link", "set", "underlay", "up")
    eventually(lambda: _applied(site, lan(p1, p2)), "it is built once the network is back")


def _applied(site: Site, spec: SegmentSpec) -> bool:
    try:
        return site.apply(spec).phase is Phase.ACTIVE
    except Transient:
        return False


class OverlaySpecs(SdnSpecs):
    site: Site

    def plug(self, ports: Any) -> None:
        for port in ports:
            self.site.switches[port.host].vsctl(
                "--may-exist", "add-port", BRIDGE, port.device, "--", "set", "Interface", port.device, "type=internal"
            )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with _site(tmp_path_factory.mktemp("kit")) as made:
        yield made


class TestOverlayContract(SdnConformance):
    """The kit where the capability OVERLAY is claimed; everything else is in ``test_contract``. All on one site, as it
    names everything anew for each test, and takes it away."""

    @pytest.fixture
    def driver(self, shared: Site) -> Sdn:
        return shared.driver

    @pytest.fixture
    def specs(self, shared: Site) -> SdnSpecs:
        OverlaySpecs.site = shared
        return OverlaySpecs(owner=OWNER, hosts=HOSTS, settle_s=60)
