"""What changes do to frames that are on their way: whole the old way or whole the new, and nothing twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from manor.api import CallContext, ChainElement, ChainSpec, FlowProgram, FlowRule, ResourceRef, Sdn, SdnCapability
from manor.fakes.openflow import Fabric
from manor.testing.conformance import require
from manor.testing.sdn_specs import SdnSpecs, both_ways, frame
from manor.testing.vim_checks import eventually

__all__ = ["SdnChangeTests"]

_CHANGES: Mapping[str, tuple[str, str]] = {
    "first": ("", "fw"),
    "added": ("fw", "fw mon"),
    "before": ("fw", "mon fw"),
    "replaced": ("fw", "other"),
    "removed": ("fw mon", "mon"),
    "last": ("fw", ""),
}


class SdnChangeTests:
    """Hold for every controller that claims chains."""

    @pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES.keys())
    def test_every_step_of_a_change_is_the_old_way_or_the_new(
        self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext, change: tuple[str, str]
    ) -> None:
        require(sdn, SdnCapability.CHAIN, ctx)
        symmetric = sdn.capabilities(ctx).has(SdnCapability.CHAIN_SYMMETRIC) == "full"
        client, server = specs.port("client"), specs.port("server")
        functions = {name: specs.element(name) for name in ("fw", "mon", "other")}
        everything = [port for element in functions.values() for port in (element.ingress, element.egress)]
        segment = specs.segment((client, server, *everything))
        topology = specs.topology()
        base = sdn.compile(segment, topology)

        def chain(names: str) -> ChainSpec | None:
            positions = [[functions[name]] for name in names.split()]
            return specs.chain(segment, (client, server), positions, symmetric=symmetric) if positions else None

        def program(spec: ChainSpec | None) -> FlowProgram | None:
            return sdn.compile(spec, topology) if spec else None

        old, new = (chain(names) for names in change)
        steps = specs.steps(program(old), program(new))
        if steps is None:
            pytest.skip("specs.steps gives nothing: this controller changes a program in one go")
        plugged = {device: out for spec in (old, new) if spec for device, out in both_ways(spec).items()}
        allowed = [_way(functions, names) for names in change]
        for number, rules in enumerate(steps):
            net = Fabric([base], rules=list(rules), links=topology.links, functions=plugged)
            forth = net.send(client.host, client.device, frame(client, server))
            assert forth.devices == {server.device}, f"lost after step {number} of {len(steps)}: {forth.lost}"
            assert forth.through in allowed, f"after step {number} of {len(steps)}"
            if not symmetric:
                continue
            back = net.send(server.host, server.device, frame(server, client, reply=True))
            assert back.devices == {client.device}, f"lost on the way back after step {number}: {back.lost}"
            assert back.through in [_way(functions, names, forth=False) for names in change], f"after step {number}"
        last = steps[-1] if steps else ()
        assert _content(last) == _content(found.rules if (found := program(new)) else ()), "it ends as it should"

    def test_late_and_repeated_messages_converge(self, sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> None:
        ports = [specs.port(name) for name in "abc"]
        specs.plug(ports)
        topology = sdn.topology(ctx)
        old, new = (sdn.compile(specs.segment(some), topology) for some in (ports[:2], ports))
        ref = ResourceRef(kind=new.kind, key=new.key)
        for replay in ([old, new, old, new], [old, new, new, old, old, new], [new, None, new], [None, new, None, new]):
            for program in replay:
                if program is None:
                    sdn.remove(ref, ctx)
                else:
                    sdn.apply(program, ctx)
            eventually(specs.settle_s, "the last word counts", lambda: _held(sdn, specs, ctx) == [_hashed(new)])


def _way(functions: Mapping[str, ChainElement], names: str, *, forth: bool = True) -> tuple[str, ...]:
    met = [functions[name] for name in names.split()]
    return tuple(e.ingress.device for e in met) if forth else tuple(e.egress.device for e in reversed(met))


def _content(rules: Sequence[FlowRule]) -> set[tuple[object, ...]]:
    return {(rule.host, rule.table, rule.priority, frozenset(rule.match), rule.actions) for rule in rules}


def _hashed(program: FlowProgram) -> tuple[str, str, int]:
    return program.key, program.spec_hash, len(program.rules)


def _held(sdn: Sdn, specs: SdnSpecs, ctx: CallContext) -> list[tuple[str, str, int]]:
    seen = sdn.observe(specs.everything(), ctx)
    return [(one.ref.key, one.spec_hash, len(one.detail.get("rules", ()))) for one in seen]
