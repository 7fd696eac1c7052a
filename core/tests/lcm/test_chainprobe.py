"""What is sent along a chain and what its outcome means; and that no operation ends well before its chain carried."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import service_world

from manor.api import CallContext, ChainSpec, Classifier, OperationKind, PortRange, Probe, ProbeVerdict
from manor.fakes import FakeHost, FakeSdn, World
from manor.lcm import ns
from manor.lcm.chainprobe import ProbedWay, fault, probe_chain, probes
from manor.model.instance import OperationState
from manor.plugin import unguarded
from manor.testing import SdnSpecs

SPECS = SdnSpecs(owner="manor/test", hosts=("host-1", "host-2"))
CTX = CallContext.within(86_400)  # the run that it was made at the start of may be long


class Net:
    """A fake controller with a chain over two hosts."""

    def __init__(self, *, shared: bool = False, **changes: Any) -> None:
        self.sdn = FakeSdn(World(hosts=[FakeHost(name="host-1"), FakeHost(name="host-2")]))
        ends = [SPECS.port("client", "host-1"), SPECS.port("server", "host-2")]
        positions = [[SPECS.element("firewall", "host-2")], [SPECS.element("monitor", "host-1")]]
        if shared:
            positions[0].append(SPECS.element("second", "host-1"))
        ports = [port for p in positions for e in p for port in (e.ingress, e.egress)]
        segment = SPECS.segment((*ends, *ports))
        self.chain: ChainSpec = dataclasses.replace(SPECS.chain(segment, (ends[0], ends[1]), positions), **changes)
        self.asked: list[Mapping[str, str | int]] = []
        for spec in (segment, self.chain):
            self.sdn.apply(self.sdn.compile(spec, self.sdn.topology(CTX)), CTX)

    def probe(self, key: str, packets: Sequence[Mapping[str, str | int]], ctx: CallContext) -> Sequence[Probe]:
        """Between core and the controller, to see what is asked."""
        self.asked += packets
        return self.sdn.probe(key, packets, ctx)

    def run(self) -> tuple[ProbedWay, ...]:
        return probe_chain(self, self.chain, CTX)


def seen(way: ProbedWay) -> list[str]:
    return [str(hop.verdict) for hop in way.hops]


def test_a_sound_chain_is_proven_there_and_back_with_one_probe_each() -> None:
    net = Net()
    there, back = net.run()
    assert (there.way, back.way) == ("there", "back")
    assert seen(there) == seen(back) == ["passed"] * 4
    assert fault(net.chain, (there, back)) == ""
    one, other = net.asked
    assert (one["tcp_src"], one["tcp_dst"]) == (other["tcp_dst"], other["tcp_src"]), "the way back answers"
    assert int(one["tcp_src"]) >= 49152 or int(one["tcp_dst"]) in range(80, 90)
    assert [net.sdn.probe(net.chain.key, [one], CTX)[0].arrived] == [True]


def test_what_a_function_keeps_is_a_fault_that_names_it_and_the_rest_is_looked_at_all_the_same() -> None:
    net = Net()
    net.sdn.keepers = {net.chain.positions[0].elements[0].ingress.device}
    there, back = net.run()
    assert seen(there) == ["passed", "kept", "passed", "passed"]
    assert back.ok
    told = fault(net.chain, (there, back))
    assert "went in and did not come out" in told
    assert "host-2" in told
    assert "firewall" in told


def test_a_position_that_may_keep_is_told_and_no_fault() -> None:
    net = Net()
    first, second = net.chain.positions
    net.chain = dataclasses.replace(net.chain, positions=(dataclasses.replace(first, may_keep=True), second))
    net.sdn.keepers = {first.elements[0].ingress.device}
    there, back = net.run()
    assert seen(there)[1] == "kept"
    assert there.ok
    assert fault(net.chain, (there, back)) == ""


def test_an_open_classifier_is_tried_with_other_traffic_until_some_comes_through() -> None:
    net = Net(classifiers=(Classifier(ether_type="ipv4"),))

    class Choosy(Net):
        """A firewall that lets echo requests by, and nothing else."""

        def __init__(self) -> None:
            vars(self).update(vars(net))

        def probe(self, key: str, packets: Sequence[Mapping[str, str | int]], ctx: CallContext) -> Sequence[Probe]:
            self.sdn.keepers = {self.chain.positions[0].elements[0].ingress.device}
            kept = super().probe(key, packets, ctx)
            self.sdn.keepers = set()
            free = self.sdn.probe(key, packets, ctx)
            return [b if p["ip_proto"] == 1 else a for p, a, b in zip(packets, kept, free, strict=True)]

    there, _ = Choosy().run()
    assert there.what == "icmp"
    assert there.ok


@pytest.mark.parametrize(
    ("classifier", "wanted"),
    [
        (Classifier(protocol="tcp", destination_port_range=PortRange(lower=8000, upper=8999)), {"tcp_dst": 8000}),
        (Classifier(protocol="tcp", destination_port_range=PortRange(lower=1, upper=1023)), {"tcp_dst": 80}),
        (Classifier(protocol="udp"), {"udp_dst": 53}),
        (Classifier(protocol="udp", source_port_range=PortRange(lower=7, upper=7)), {"udp_src": 7}),
        (Classifier(protocol="icmp"), {"ip_proto": 1}),
        (Classifier(dscp=46), {"ip_dscp": 46, "tcp_dst": 80}),
        (Classifier(ether_type="ipv4"), {"eth_type": 0x800, "tcp_dst": 80}),
    ],
)
def test_probes_are_of_the_classifiers_traffic(classifier: Classifier, wanted: Mapping[str, int]) -> None:
    net = Net(classifiers=(classifier,), symmetric=False)
    (way,) = net.run()
    assert way.ok, way
    assert {name: net.asked[0][name] for name in wanted} == wanted


def test_each_element_of_a_shared_position_is_met_also_where_no_address_leads_to_it() -> None:
    net = Net(shared=True)
    ways = net.run()
    met = {hop.name for way in ways for hop in way.hops if hop.verdict is ProbeVerdict.PASSED}
    into = [way for way in ways if way.way == "into"]
    assert len(into) == 1
    assert all(any(name in hop for hop in met) for name in ("firewall", "second")), met
    net.sdn.keepers = {net.asked[-1]["into"]}
    assert "went in and did not come out" in fault(net.chain, net.run())


def test_a_wide_classifier_is_proven_by_what_no_narrower_chain_takes() -> None:
    net = Net(classifiers=(Classifier(protocol="tcp", destination_port_range=PortRange(lower=80, upper=89)),))
    other = [SPECS.element("proxy", "host-1")]
    narrow = dataclasses.replace(
        SPECS.chain(SPECS.segment(()), (net.chain.sources[0], net.chain.destinations[0]), [other], name="narrow"),
        segment=net.chain.segment, precedence=10,
        classifiers=(Classifier(protocol="tcp", destination_port_range=PortRange(lower=80, upper=80)),),
    )  # fmt: skip
    net.sdn.apply(net.sdn.compile(narrow, net.sdn.topology(CTX)), CTX)
    ways = net.run()
    assert fault(net.chain, ways) == ""
    assert ways[0].what != "tcp/80"


def test_a_controller_without_probes_is_asked_for_none() -> None:
    assert probes(FakeSdn(), CTX)
    assert not probes(FakeSdn(unsupported=["probe"]), CTX)
    assert not probes(object(), CTX)


# --- operations


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[service_world.Site]:
    monkeypatch.setattr("manor.lcm.driving._PROBE_S", 0.3)
    with service_world.opened(fast_path, monkeypatch, instantiate=False) as made:
        yield made


def test_an_instantiate_whose_function_does_not_forward_is_taken_back_naming_the_hop(site: service_world.Site) -> None:
    sdn = unguarded(site.rt.sdn("net"))
    assert isinstance(sdn, FakeSdn)
    sdn.keepers = {"monitor"}
    operation = site.run(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE))
    assert operation.state is OperationState.ROLLED_BACK
    assert "stops at monitor" in operation.error
    assert "went in and did not come out" in operation.error
    assert site.nodes() == set()
    sdn.keepers = set()
    site.done(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE))
