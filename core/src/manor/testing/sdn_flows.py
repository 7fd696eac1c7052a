"""What compiled rules do to frames: the packet walk is the assertion, whatever the rules look like."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from manor.api import (
    CallContext,
    ChainSpec,
    FailMode,
    FlowProgram,
    Sdn,
    SdnCapability,
    SdnPort,
    SegmentSpec,
    Support,
    Topology,
    spec_from_json,
    spec_hash,
)
from manor.errors import Permanent, Unsupported
from manor.fakes.openflow import overlap
from manor.testing.conformance import require
from manor.testing.sdn_specs import SdnSpecs, fabric, frame, group_frame

__all__ = ["SdnFlowTests", "service"]


class SdnFlowTests:
    """Hold for every controller; they need no switch, for ``compile`` is pure."""

    def test_compile_is_pure(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        topology = specs.topology()
        wanted = claimed(sdn, specs, ctx)
        before = (sdn.observe(specs.everything(), ctx), sdn.topology(ctx))
        for spec in wanted:
            assert sdn.compile(spec, topology) == sdn.compile(spec, topology)
        assert (sdn.observe(specs.everything(), ctx), sdn.topology(ctx)) == before
        assert topology == specs.topology()

    def test_program_names_its_resource(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        for spec in claimed(sdn, specs, ctx):
            program = sdn.compile(spec, specs.topology())
            assert (program.kind, program.key, program.owner) == (spec.kind, spec.key, spec.owner)
            assert program.spec_hash == spec_hash(spec)
            assert spec_from_json(program.spec) == spec, "a controller must be able to compile anew by itself"
            assert program.rules

    def test_no_rules_of_equal_priority_overlap(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        rules = [rule for spec in claimed(sdn, specs, ctx) for rule in sdn.compile(spec, specs.topology()).rules]
        for one, other in itertools.combinations(rules, 2):
            assert not (overlap(one, other) and one.actions != other.actions), (one, other)

    def test_every_port_of_a_segment_reaches_every_other(self, sdn: Sdn, specs: SdnSpecs) -> None:
        ports = [specs.port(name) for name in "abc"]
        check_segment(sdn, specs, specs.topology(), ports)

    def test_a_segment_spans_hosts(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        require(sdn, SdnCapability.OVERLAY, ctx)
        hosts = ("host-1", "host-2", "host-3")
        ports = [specs.port(f"{host}-{n}", host) for host in hosts for n in range(2)]
        check_segment(sdn, specs, specs.topology(hosts), ports)

    def test_segments_are_apart(self, sdn: Sdn, specs: SdnSpecs) -> None:
        a, b, c, d = (specs.port(name) for name in "abcd")
        topology = specs.topology()
        net = fabric(
            topology,
            [sdn.compile(specs.segment([a, b], "one"), topology), sdn.compile(specs.segment([c, d], "two"), topology)],
        )
        assert net.send(a.host, a.device, frame(a, c)).devices == set()
        assert net.send(a.host, a.device, group_frame(a)).devices == {b.device}

    def test_a_bump_in_the_wire_gets_nothing_but_a_chains(self, sdn: Sdn, specs: SdnSpecs) -> None:
        (client, server), segment, chain = service(specs)
        topology = specs.topology()
        net = fabric(topology, [sdn.compile(segment, topology)], chain)
        walk = net.send(client.host, client.device, group_frame(client))
        assert (walk.devices, walk.through) == ({server.device}, ())

    def test_chain_goes_through_each_function_once_in_order(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        require(sdn, SdnCapability.CHAIN, ctx)
        check_chain(sdn, specs.topology(), *service(specs))

    def test_chain_spans_hosts(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        require(sdn, SdnCapability.CHAIN, ctx)
        require(sdn, SdnCapability.OVERLAY, ctx)
        hosts = ("host-1", "host-2", "host-3")
        for places in itertools.product(hosts[:2], hosts, hosts, hosts[:2]):
            check_chain(sdn, specs.topology(hosts), *service(specs, places))

    def test_chain_goes_back_through_the_functions_in_reverse(
        self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext
    ) -> None:
        require(sdn, SdnCapability.CHAIN_SYMMETRIC, ctx)
        (client, server), segment, chain = service(specs)
        topology = specs.topology()
        net = fabric(topology, [sdn.compile(segment, topology), sdn.compile(chain, topology)], chain)
        walk = net.send(server.host, server.device, frame(server, client, reply=True))
        expected = tuple(position.elements[0].egress.device for position in reversed(chain.positions))
        assert (walk.through, walk.devices) == (expected, {client.device})

    def test_one_way_chain_leaves_the_way_back_alone(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        require(sdn, SdnCapability.CHAIN, ctx)
        (client, server), segment, chain = service(specs, symmetric=False)
        topology = specs.topology()
        net = fabric(topology, [sdn.compile(segment, topology), sdn.compile(chain, topology)], chain)
        walk = net.send(server.host, server.device, frame(server, client, reply=True))
        assert (walk.through, walk.devices) == ((), {client.device})

    def test_traffic_outside_the_classifier_is_untouched(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        require(sdn, SdnCapability.CHAIN, ctx)
        (client, server), segment, chain = service(specs)
        other = specs.port("other")
        segment = specs.segment((*segment.ports, other))
        topology = specs.topology()
        net = fabric(topology, [sdn.compile(segment, topology), sdn.compile(chain, topology)], chain)
        for packet, target in (
            (frame(client, server, port=79), server),
            (frame(client, server, port=90), server),
            (frame(client, other), other),
        ):
            walk = net.send(client.host, client.device, packet)
            assert (walk.through, walk.devices) == ((), {target.device}), packet
        walk = net.send(other.host, other.device, frame(other, server))
        assert (walk.through, walk.devices) == ((), {server.device}), "only the chain's sources take it"
        for port in (80, 84, 89):
            walk = net.send(client.host, client.device, frame(client, server, port=port))
            assert len(walk.through) == len(chain.positions), f"port {port} is the classifier's"

    @pytest.mark.parametrize("vlan", [0, 100])
    def test_what_nobody_on_the_segment_has_is_outside(
        self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext, vlan: int
    ) -> None:
        require(sdn, SdnCapability.EXTERNAL_PORT, ctx)
        a, b, stranger = (specs.port(name) for name in ("a", "b", "stranger"))
        door = dataclasses.replace(specs.port("door"), mac="", addresses=(), vlan=vlan)
        tag = {"vlan_vid": 0x1000 | vlan} if vlan else {}
        topology = specs.topology()
        net = fabric(topology, [sdn.compile(specs.segment([a, b, door]), topology)])
        out = net.send(a.host, a.device, frame(a, stranger))
        assert out.devices == {door.device}
        assert out.arrivals[0].packet.get("vlan_vid", 0) == tag.get("vlan_vid", 0)
        assert net.send(a.host, a.device, frame(a, b)).devices == {b.device}, "what the segment has stays inside"
        assert net.send(a.host, a.device, group_frame(a)).devices == {b.device, door.device}
        came = net.send(door.host, door.device, {**frame(stranger, b), **tag})
        assert came.devices == {b.device}
        assert not came.arrivals[0].packet.get("vlan_vid", 0)
        for forged in ({"eth_src": a.mac}, {"ipv4_src": a.addresses[0]}, {"vlan_vid": 0x1007}):
            wrong = net.send(door.host, door.device, {**frame(stranger, b), **tag, **forged})
            assert wrong.devices == set(), f"{forged} is not from outside"

    def test_a_chain_ends_outside(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        require(sdn, SdnCapability.EXTERNAL_PORT, ctx)
        require(sdn, SdnCapability.CHAIN_SYMMETRIC, ctx)
        (client, server), _, chain = service(specs)
        stranger = specs.port("stranger")
        door = dataclasses.replace(specs.port("door"), mac="", addresses=())
        segment = specs.segment((client, server, door))
        chain = dataclasses.replace(chain, segment=segment.key, destinations=(door,))
        topology = specs.topology()
        net = fabric(topology, [sdn.compile(segment, topology), sdn.compile(chain, topology)], chain)
        forth = net.send(client.host, client.device, frame(client, stranger))
        assert forth.through == tuple(position.elements[0].ingress.device for position in chain.positions)
        assert forth.devices == {door.device}
        back = net.send(door.host, door.device, frame(stranger, client, reply=True))
        assert back.through == tuple(position.elements[0].egress.device for position in reversed(chain.positions))
        assert back.devices == {client.device}
        inside = net.send(client.host, client.device, frame(client, server))
        assert (inside.through, inside.devices) == ((), {server.device}), "what the segment has is not outside"

    def test_load_is_shared_and_a_connection_keeps_its_function(
        self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext
    ) -> None:
        require(sdn, SdnCapability.LOAD_BALANCING, ctx)
        client, server = specs.port("client"), specs.port("server")
        elements = [specs.element(f"fw{number}") for number in range(3)]
        functions = [port for element in elements for port in (element.ingress, element.egress)]
        segment = specs.segment([client, server, *functions])
        chain = specs.chain(segment, (client, server), [elements])
        topology = specs.topology()
        net = fabric(topology, [sdn.compile(segment, topology), sdn.compile(chain, topology)], chain)
        forth = net.send(client.host, client.device, frame(client, server))
        assert len(forth.through) == 1, "one of the elements, and only one"
        assert forth.through[0] in {element.ingress.device for element in elements}
        assert forth.devices == {server.device}
        if chain.symmetric:
            back = net.send(server.host, server.device, frame(server, client, reply=True))
            one = next(element for element in elements if element.ingress.device == forth.through[0])
            assert back.through == (one.egress.device,), "the way back takes the same element"

    def test_closed_position_without_elements_drops_or_is_refused(
        self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext
    ) -> None:
        require(sdn, SdnCapability.CHAIN, ctx)
        (client, server), segment, chain = service(specs)
        empty = dataclasses.replace(chain.positions[0], elements=(), fail_mode=FailMode.CLOSED)
        chain = dataclasses.replace(chain, positions=(empty, *chain.positions[1:]))
        topology = specs.topology()
        try:
            program = sdn.compile(chain, topology)
        except (Permanent, Unsupported):
            return
        net = fabric(topology, [sdn.compile(segment, topology), program], chain)
        assert net.send(client.host, client.device, frame(client, server)).devices == set()
        assert net.send(client.host, client.device, frame(client, server, port=22)).devices == {server.device}

    def test_unknown_host_is_refused(self, sdn: Sdn, specs: SdnSpecs) -> None:
        ports = [specs.port("a"), specs.port("b", "no-such-host")]
        with pytest.raises((Permanent, Unsupported)) as caught:
            sdn.compile(specs.segment(ports), specs.topology())
        assert "no-such-host" in str(caught.value)

    @pytest.mark.parametrize(
        "capability",
        [SdnCapability.CHAIN, SdnCapability.CHAIN_SYMMETRIC, SdnCapability.LOAD_BALANCING],
        ids=str,
    )
    def test_unsupported_is_refused_by_compile(
        self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext, capability: SdnCapability
    ) -> None:
        if sdn.capabilities(ctx).has(capability) is not Support.UNSUPPORTED:
            pytest.skip(f"does not claim {capability} unsupported")
        _, segment, chain = service(specs)
        if capability is SdnCapability.LOAD_BALANCING:
            elements = [specs.element("x"), specs.element("y")]
            chain = specs.chain(segment, (chain.sources[0], chain.destinations[0]), [elements])
        with pytest.raises(Unsupported):
            sdn.compile(chain, specs.topology())


def claimed(sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> tuple[SegmentSpec | ChainSpec, ...]:
    """A segment, and a chain over it where the controller claims chains; both ways where it claims that."""
    support = sdn.capabilities(ctx)
    _, segment, chain = service(specs, symmetric=support.has(SdnCapability.CHAIN_SYMMETRIC) is Support.FULL)
    return (segment, chain) if support.has(SdnCapability.CHAIN) is Support.FULL else (segment,)


def service(
    specs: SdnSpecs, places: tuple[str, ...] = ("", "", "", ""), *, symmetric: bool = True
) -> tuple[tuple[SdnPort, SdnPort], SegmentSpec, ChainSpec]:
    """Client, firewall, monitor and server: the two ends, the segment, the chain."""
    client, server = specs.port("client", places[0]), specs.port("server", places[3])
    firewall, monitor = specs.element("firewall", places[1]), specs.element("monitor", places[2])
    functions = (firewall.ingress, firewall.egress, monitor.ingress, monitor.egress)
    segment = specs.segment((client, server, *functions))
    return (
        (client, server),
        segment,
        specs.chain(segment, (client, server), [[firewall], [monitor]], symmetric=symmetric),
    )


def check_segment(sdn: Sdn, specs: SdnSpecs, topology: Topology, ports: list[SdnPort]) -> None:
    """Unicast reaches its port alone, a group frame everybody else."""
    net = fabric(topology, [sdn.compile(specs.segment(ports), topology)])
    for source in ports:
        others = {port.device for port in ports if port is not source}
        for target in (port for port in ports if port is not source):
            walk = net.send(source.host, source.device, frame(source, target))
            assert [arrival.device for arrival in walk.arrivals] == [target.device], walk.lost
        walk = net.send(source.host, source.device, group_frame(source))
        assert sorted(arrival.device for arrival in walk.arrivals) == sorted(others), "each once"


def check_chain(
    sdn: Sdn,
    topology: Topology,
    ends: tuple[SdnPort, SdnPort],
    segment: SegmentSpec,
    chain: ChainSpec,
) -> None:
    """A classified frame visits the functions in order, once each, and arrives once, as it was sent."""
    programs: list[FlowProgram] = [sdn.compile(segment, topology), sdn.compile(chain, topology)]
    client, server = ends
    sent = frame(client, server)
    walk = fabric(topology, programs, chain).send(client.host, client.device, sent)
    assert walk.through == tuple(position.elements[0].ingress.device for position in chain.positions), walk.lost
    assert [arrival.device for arrival in walk.arrivals] == [server.device]
    assert {**walk.arrivals[0].packet} == {**sent}, "frames leave as they came"
