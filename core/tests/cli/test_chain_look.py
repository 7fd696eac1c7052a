"""Proof, counters and packets of chains, as values: no switch and no service is needed."""

import dataclasses
from typing import Any

import pytest
from samples import at, secure_web

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    ElementMode,
    FlowProgram,
    FlowRule,
    PortRange,
    SdnPort,
    SecurityRule,
    SegmentSpec,
    Switch,
    SwitchLink,
    Topology,
)
from manor.cli.packet import packet_fields
from manor.cli.render.hops import hop_counts
from manor.errors import UsageError
from manor.fakes.compiler import compile_chain, compile_segment
from manor.lcm.chainproof import prove, sample

WEB = Classifier(protocol="tcp", destination_port_range=PortRange(lower=80, upper=89))
HOSTS = ("h1", "h2")
SITE = Topology(
    switches=tuple(Switch(host=h, datapath_id="0" * 16, connected=True) for h in HOSTS),
    links=(SwitchLink(host="h1", peer="h2", device="t12"), SwitchLink(host="h2", peer="h1", device="t21")),
)


def port(vnf: str, number: int, host: str = "h1", **more: Any) -> SdnPort:
    more = {"addresses": (f"10.0.0.{number}",), **more}
    key = f"5ec0de01/vnf/{vnf}/main-0/cp{number}"
    return SdnPort(key=key, host=host, device=f"d{number}", mac=f"02:00:00:00:00:{number:02x}", **more)


def element(vnf: str, number: int, host: str) -> ChainElement:
    ends = [port(vnf, n, host, addresses=(), transparent=True) for n in (number, number + 1)]
    return ChainElement(ingress=ends[0], egress=ends[1], mode=ElementMode.TRANSPARENT)


CLIENT, SERVER = port("client", 1), port("web", 2, "h2")
FIREWALL, MONITOR = element("firewall", 10, "h2"), element("monitor", 20, "h1")
LAN = SegmentSpec(
    key="s/vl/lan", owner="o", name="lan",
    ports=(CLIENT, SERVER, *(p for e in (FIREWALL, MONITOR) for p in (e.ingress, e.egress))),
)  # fmt: skip
CHAIN = ChainSpec(
    key="s/chain/web", owner="o", name="web", segment="s/vl/lan", classifiers=(WEB,),
    sources=(CLIENT,), destinations=(SERVER,),
    positions=(
        ChainPosition(name="filter", elements=(FIREWALL,)), ChainPosition(name="watch", elements=(MONITOR,)),
    ),
)  # fmt: skip


def compiled(spec: ChainSpec | SegmentSpec, topology: Topology) -> FlowProgram:
    return compile_chain(spec, topology) if isinstance(spec, ChainSpec) else compile_segment(spec, topology)


def test_a_sound_chain_is_proven_both_ways_over_hosts_and_leaves_other_traffic_alone() -> None:
    checks = prove(CHAIN, [LAN], compiled, SITE)
    assert [(check.ok, check.why) for check in checks] == [(True, "")] * 3
    assert "client > firewall > monitor > web" in checks[0].what
    assert "web > monitor > firewall > client" in checks[1].what
    assert "other traffic" in checks[2].what


def test_security_rules_of_the_ends_are_not_the_chains_business() -> None:
    closed = dataclasses.replace(CLIENT, security=(SecurityRule(direction="egress", protocol="udp"),))
    lan = dataclasses.replace(LAN, ports=(closed, *LAN.ports[1:]))
    assert all(check.ok for check in prove(dataclasses.replace(CHAIN, sources=(closed,)), [lan], compiled, SITE))


@pytest.mark.parametrize("planted", ["a function passed by", "nobody delivers", "everything steered"])
def test_what_is_wrong_in_a_program_is_found_and_said(planted: str) -> None:
    def spoiled(spec: ChainSpec | SegmentSpec, topology: Topology) -> FlowProgram:
        program = compiled(spec, topology)
        if isinstance(spec, SegmentSpec):
            return program
        return dataclasses.replace(program, rules=tuple(_spoil(rule, planted) for rule in program.rules))

    bad = [check for check in prove(CHAIN, [LAN], spoiled, SITE) if not check.ok]
    assert bad
    assert {
        "a function passed by": "it passes monitor and arrives web",
        "nobody delivers": "arrives nowhere",
        "everything steered": "it passes firewall > monitor",
    }[planted] in bad[0].why


def _spoil(rule: FlowRule, planted: str) -> FlowRule:
    match = dict(rule.match)
    if planted == "a function passed by" and match.get("in_port") == "d1":
        return dataclasses.replace(rule, actions=(("output", "d20"),))
    if planted == "nobody delivers" and match.get("in_port") == "d21" and rule.table:
        return dataclasses.replace(rule, actions=(("drop", ""),))
    if planted == "everything steered":
        return dataclasses.replace(rule, match=tuple((k, v) for k, v in rule.match if k not in ("ip_proto", "tcp_dst")))
    return rule


def test_a_classifier_that_the_ends_cannot_meet_is_named() -> None:
    nobody = Classifier(protocol="tcp", source_ip_address_prefix="172.16.0.0/12")
    (check,) = [
        c for c in prove(dataclasses.replace(CHAIN, classifiers=(nobody, WEB)), [LAN], compiled, SITE) if not c.ok
    ]
    assert "matches nothing that the chain's ends could send" in check.why
    assert sample(nobody, CLIENT, SERVER) is None


def rules(*packets: int) -> list[dict[str, Any]]:
    ends = [("client", "eth0"), ("firewall", "out"), ("monitor", "out")]
    ends += [("web", "eth0"), ("monitor", "in"), ("firewall", "in")]
    devices = [secure_web().ports()[at(*end)][2].device for end in ends]
    return [
        {"match": f"in_port={device},tcp_dst=80", "note": "n", "packets": n, "bytes": n * 100}
        for device, n in zip(devices, packets, strict=True)
    ]


def test_counters_tell_what_each_function_kept_and_how_fast_it_goes() -> None:
    picture = secure_web()
    first = hop_counts(picture, picture.chains[0], rules(10, 10, 8, 5, 5, 5))
    there = [count for count in first if count.way == "there"]
    assert [(c.path, c.packets, c.lost) for c in there] == [
        ("client > firewall", 10, None), ("firewall > monitor", 10, 0), ("monitor > web", 8, 2),
    ]  # fmt: skip
    assert all(count.packets_per_s is None for count in first)
    later = hop_counts(picture, picture.chains[0], rules(30, 30, 8, 5, 5, 5), first, 2.0)
    assert [(c.packets_per_s, c.bits_per_s) for c in later[:3]] == [(10, 8000), (10, 8000), (0, 0)]
    reset = hop_counts(picture, picture.chains[0], rules(0, 0, 0, 0, 0, 0), later, 2.0)
    assert reset[0].packets_per_s is None, "a counter that began anew has no rate"


def test_a_packet_is_written_as_people_write_it() -> None:
    assert packet_fields("tcp,dst_port=80") == {"eth_type": 0x800, "ip_proto": 6, "tcp_dst": 80}
    assert packet_fields("dst_port=53, udp6 ,src=fd00::1") == {
        "eth_type": 0x86DD, "ip_proto": 17, "udp_dst": 53, "ipv6_src": "fd00::1",
    }  # fmt: skip
    assert packet_fields("src_mac=02:00:00:00:00:01,vlan=5,ip_dscp=10") == {
        "eth_src": "02:00:00:00:00:01", "vlan_vid": 0x1005, "ip_dscp": 10,
    }  # fmt: skip
    for wrong in ("tcpp", "dst_port=80", "src=", "vlan=x"):
        with pytest.raises(UsageError):
            packet_fields(wrong)
