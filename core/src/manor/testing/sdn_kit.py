"""The SDN contract, as tests: first what compiled rules do to frames, then what the controller does with programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from manor.api import (
    CallContext,
    ChainSpec,
    FlowProgram,
    Observed,
    Phase,
    Probed,
    ProbeVerdict,
    ResourceKind,
    ResourceRef,
    Sdn,
    SdnCapability,
    SdnPort,
    SegmentSpec,
    Support,
    Traced,
    spec_hash,
)
from manor.errors import DeadlineExceeded, NotFound, Transient, Unsupported
from manor.testing.conformance import Conformance, require
from manor.testing.sdn_changes import SdnChangeTests
from manor.testing.sdn_flows import SdnFlowTests, service
from manor.testing.sdn_specs import SdnSpecs, frame
from manor.testing.vim_checks import at_once, eventually

__all__ = ["SdnConformance"]


class SdnConformance(SdnFlowTests, SdnChangeTests, Conformance):
    """Subclass it, and give the fixtures ``driver`` and ``specs``, and where there are others ``stranger``."""

    @pytest.fixture
    def driver(self) -> Sdn:
        """A connected controller, its owner tag ``specs.owner``."""
        raise NotImplementedError("give a fixture 'driver' that returns a connected Sdn")

    @pytest.fixture
    def specs(self) -> SdnSpecs:
        """What to ask it for."""
        raise NotImplementedError("give a fixture 'specs' that returns SdnSpecs")

    @pytest.fixture
    def stranger(self) -> Sdn | None:
        """A connection to the same switches under the owner tag ``manor/stranger``, where there can be one."""
        return None

    @pytest.fixture
    def ctx(self, specs: SdnSpecs) -> CallContext:
        """A context for a few calls."""
        return CallContext.within(specs.deadline_s * 4)

    @pytest.fixture
    def sdn(self, driver: Sdn, specs: SdnSpecs) -> Iterator[Sdn]:
        """The controller, with all that the test applied removed afterwards, which has to work."""
        yield driver
        ctx = CallContext.within(specs.deadline_s * 4)
        for observed in sorted(driver.observe(specs.everything(), ctx), key=lambda o: o.ref.kind):
            driver.remove(observed.ref, ctx)
        assert not driver.observe(specs.everything(), ctx), "removed programs are still observed"
        driver.close()

    @pytest.mark.parametrize("kind", [ResourceKind.SEGMENT, ResourceKind.CHAIN], ids=str)
    def test_apply_twice_is_once(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext, kind: ResourceKind) -> None:
        program = put(sdn, specs, ctx, kind)
        first = only(sdn, specs, ctx, program)
        sdn.apply(program, ctx)
        again = only(sdn, specs, ctx, program)
        assert (again.native_id, again.spec_hash, again.phase) == (first.native_id, first.spec_hash, first.phase)
        assert notes(again) == notes(first)

    @pytest.mark.parametrize("kind", [ResourceKind.SEGMENT, ResourceKind.CHAIN], ids=str)
    def test_observe_sees_what_was_applied(
        self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext, kind: ResourceKind
    ) -> None:
        program = put(sdn, specs, ctx, kind)
        eventually(specs.settle_s, "ACTIVE", lambda: only(sdn, specs, ctx, program).phase is Phase.ACTIVE)
        seen = only(sdn, specs, ctx, program)
        assert seen.ref == ResourceRef(kind=program.kind, key=program.key)
        assert (seen.owner, seen.spec_hash) == (specs.owner, program.spec_hash)
        assert len(notes(seen)) == len(program.rules), "detail['rules'] has one entry a rule"

    def test_query_narrows(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        program = put(sdn, specs, ctx, ResourceKind.SEGMENT)
        for query in (
            specs.everything(keys=frozenset({program.key})),
            specs.everything(kinds=frozenset({ResourceKind.SEGMENT})),
            specs.everything(prefix=program.key),
        ):
            assert [o.ref.key for o in sdn.observe(query, ctx)] == [program.key]
        assert not sdn.observe(specs.everything(kinds=frozenset({ResourceKind.CHAIN})), ctx)
        assert not sdn.observe(specs.everything(keys=frozenset({f"{program.key}x"})), ctx)

    def test_changed_program_replaces_the_old_one(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        ports = [specs.port(name) for name in "abc"]
        specs.plug(ports)
        topology = sdn.topology(ctx)
        sdn.apply(sdn.compile(specs.segment(ports[:2]), topology), ctx)
        grown = sdn.compile(specs.segment(ports), topology)
        sdn.apply(grown, ctx)
        seen = only(sdn, specs, ctx, grown)
        assert seen.spec_hash == spec_hash(specs.segment(ports))
        assert len(notes(seen)) == len(grown.rules)

    def test_removed_is_gone_and_twice_succeeds(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        program = put(sdn, specs, ctx, ResourceKind.CHAIN)
        before = {o.ref.key: (o.spec_hash, notes(o)) for o in sdn.observe(specs.everything(), ctx)}
        del before[program.key]
        for _ in range(2):
            sdn.remove(ResourceRef(kind=program.kind, key=program.key), ctx)
        after = {o.ref.key: (o.spec_hash, notes(o)) for o in sdn.observe(specs.everything(), ctx)}
        assert after == before, "everything else is as it was"

    def test_remove_of_the_unknown_succeeds(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        for kind in (ResourceKind.SEGMENT, ResourceKind.CHAIN):
            sdn.remove(ResourceRef(kind=kind, key=f"{specs.run}/never/made"), ctx)

    def test_looking_changes_nothing(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        put(sdn, specs, ctx, ResourceKind.CHAIN)
        before = [(o.ref, o.spec_hash, notes(o)) for o in sdn.observe(specs.everything(), ctx)]
        for _ in range(3):
            sdn.capabilities(ctx)
            sdn.topology(ctx)
            assert [(o.ref, o.spec_hash, notes(o)) for o in sdn.observe(specs.everything(), ctx)] == before

    def test_topology_shows_switches_and_ports(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        ports = [specs.port("a"), specs.port("b")]
        specs.plug(ports)
        sdn.apply(sdn.compile(specs.segment(ports), sdn.topology(ctx)), ctx)
        switches = {switch.host: switch for switch in sdn.topology(ctx).switches}
        for host in specs.hosts:
            assert switches[host].connected
            assert len(switches[host].datapath_id) == 16
        for port in ports:
            assert port.device in switches[port.host].ports

    def test_foreign_is_neither_seen_nor_touched(
        self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext, stranger: Sdn | None
    ) -> None:
        if stranger is None:
            pytest.skip("no fixture 'stranger': nobody else is on these switches")
        theirs = type(specs)(owner="manor/stranger", hosts=specs.hosts, run=specs.run)
        ports = [specs.port("a"), specs.port("b")]
        specs.plug(ports)
        program = stranger.compile(theirs.segment(ports), stranger.topology(ctx))
        try:
            stranger.apply(program, ctx)
            assert not sdn.observe(specs.everything(), ctx)
            sdn.remove(ResourceRef(kind=program.kind, key=program.key), ctx)
            seen = stranger.observe(theirs.everything(), ctx)
            assert [(o.ref.key, len(notes(o))) for o in seen] == [(program.key, len(program.rules))]
        finally:
            stranger.remove(ResourceRef(kind=program.kind, key=program.key), ctx)

    def test_no_time_left_means_no_effect(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        program = put(sdn, specs, ctx, ResourceKind.SEGMENT)
        late = CallContext.within(-1.0)
        other = sdn.compile(specs.segment([specs.port("x"), specs.port("y")], "late"), sdn.topology(ctx))
        ref = ResourceRef(kind=program.kind, key=program.key)
        for verb, call in (
            ("apply", lambda: sdn.apply(other, late)),
            ("remove", lambda: sdn.remove(ref, late)),
            ("observe", lambda: sdn.observe(specs.everything(), late)),
            ("topology", lambda: sdn.topology(late)),
            ("capabilities", lambda: sdn.capabilities(late)),
        ):
            try:
                call()
            except DeadlineExceeded:
                continue
            pytest.fail(f"{verb} ignores its deadline")
        assert [o.ref.key for o in sdn.observe(specs.everything(), ctx)] == [program.key]

    def test_many_programs_from_many_threads(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        topology = sdn.topology(ctx)
        programs = []
        for number in range(specs.parallel):
            ports = [specs.port(f"{number}-a"), specs.port(f"{number}-b")]
            specs.plug(ports)
            programs.append(sdn.compile(specs.segment(ports, f"lan-{number}"), topology))
        results = at_once([partial(sdn.apply, program, ctx) for program in [*programs, programs[0], programs[0]]])
        errors = [result for result in results if isinstance(result, Exception)]
        assert all(isinstance(error, Transient) for error in errors), errors
        for program in programs:
            sdn.apply(program, ctx)
        seen = {o.ref.key: len(notes(o)) for o in sdn.observe(specs.everything(), ctx)}
        assert seen == {program.key: len(program.rules) for program in programs}

    def test_trace_follows_the_chain(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        claim = sdn.capabilities(ctx).has(SdnCapability.TRACE)
        if claim is Support.UNSUPPORTED and isinstance(sdn, Traced):
            with pytest.raises(Unsupported):
                sdn.trace(f"{specs.run}/chain/none", {}, ctx)
        require(sdn, SdnCapability.TRACE, ctx)
        assert isinstance(sdn, Traced)
        with pytest.raises(NotFound):
            sdn.trace(f"{specs.run}/chain/none", {}, ctx)
        (client, server), segment, chain = applied_service(sdn, specs, ctx)
        hops = sdn.trace(chain.key, frame(client, server), ctx)
        devices = [hop.device for hop in hops]
        for position in chain.positions:
            assert {position.elements[0].ingress.device, position.elements[0].egress.device} & set(devices), devices
        assert server.device in devices
        assert segment.key != chain.key

    def test_probes_are_seen_and_leave_nothing(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        claim = sdn.capabilities(ctx).has(SdnCapability.PROBE)
        if claim is Support.UNSUPPORTED and isinstance(sdn, Probed):
            with pytest.raises((Unsupported, NotFound)):
                sdn.probe(f"{specs.run}/chain/none", [], ctx)
        require(sdn, SdnCapability.PROBE, ctx)
        assert isinstance(sdn, Probed)
        with pytest.raises(NotFound):
            sdn.probe(f"{specs.run}/chain/none", [], ctx)
        (client, server), _, chain = applied_service(sdn, specs, ctx)
        before = [(o.ref, o.spec_hash, notes(o)) for o in sdn.observe(specs.everything(), ctx)]
        sent = {**frame(client, server), "in_port": client.device}
        into = [position.elements[0].ingress for position in chain.positions]
        (probe,) = sdn.probe(chain.key, [sent], ctx)
        keys = [hop.key for hop in probe.hops if hop.key]
        assert keys == [client.key, *(port.key for port in into), server.key][: len(keys)], "every stop, in order"
        assert probe.hops[0].verdict is ProbeVerdict.PASSED, "the chain takes what its classifier names"
        # Whether a function lets a probe out again is its own affair, and here there may be none behind the ports.
        assert all(hop.verdict is not ProbeVerdict.LOST for hop in probe.hops)
        assert probe.arrived == all(hop.verdict is ProbeVerdict.PASSED for hop in probe.hops)
        first, second = chain.positions[0].elements[0], chain.positions[1].elements[0]
        onwards, alone = sdn.probe(
            chain.key,
            [{**sent, "in_port": first.egress.device}, {**frame(client, server), "into": into[0].device}],
            ctx,
        )
        assert [hop.key for hop in onwards.hops][1] == second.ingress.key, "it goes on behind a function"
        assert [hop.key for hop in alone.hops] == [first.ingress.key], "one function alone"
        assert [(o.ref, o.spec_hash, notes(o)) for o in sdn.observe(specs.everything(), ctx)] == before


def applied_service(
    sdn: Sdn, specs: SdnSpecs, ctx: CallContext
) -> tuple[tuple[SdnPort, SdnPort], SegmentSpec, ChainSpec]:
    """A segment and a chain over it, applied."""
    ends, segment, chain = service(specs)
    specs.plug(segment.ports)
    topology = sdn.topology(ctx)
    sdn.apply(sdn.compile(segment, topology), ctx)
    sdn.apply(sdn.compile(chain, topology), ctx)
    return ends, segment, chain


def put(sdn: Sdn, specs: SdnSpecs, ctx: CallContext, kind: ResourceKind) -> FlowProgram:
    """Apply a segment, or a segment and a chain over it; the program of the one asked for."""
    require(sdn, SdnCapability(str(kind)), ctx)
    if kind is ResourceKind.CHAIN:
        _, _, chain = applied_service(sdn, specs, ctx)
        return sdn.compile(chain, sdn.topology(ctx))
    ports = [specs.port("a"), specs.port("b")]
    specs.plug(ports)
    program = sdn.compile(specs.segment(ports), sdn.topology(ctx))
    sdn.apply(program, ctx)
    return program


def only(sdn: Sdn, specs: SdnSpecs, ctx: CallContext, program: FlowProgram) -> Observed:
    """The one resource of this program's key."""
    found = sdn.observe(specs.everything(keys=frozenset({program.key}), kinds=frozenset({program.kind})), ctx)
    assert len(found) == 1, f"{program.key} is observed {len(found)} times"
    return found[0]


def notes(observed: Observed) -> Sequence[str]:
    """The rules of an observed program, by their notes; counters left out."""
    return sorted(str(rule.get("note", "")) for rule in observed.detail.get("rules", ()))
