"""From a spec to a flow program. Pure: what is sent, and when, is decided elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from manor.api import ChainSpec, FlowProgram, FlowRule, SegmentSpec, Topology, spec_hash, spec_to_json
from manor.errors import Permanent
from manor_sdn_ryu.chain import compile_chain
from manor_sdn_ryu.hops import passages
from manor_sdn_ryu.segment import compile_segment

__all__ = ["compile_spec", "function_devices"]


def compile_spec(
    spec: SegmentSpec | ChainSpec, topology: Topology, *, dead: Collection[str] = frozenset(), salt: int = 0
) -> FlowProgram:
    """The rules that make ``spec`` true. Ports stay symbolic: ``topology`` is asked for links only.

    ``dead`` are devices of functions known to be gone; ``salt`` makes other tunnel ids, where another has one of these
    already. Raises Unsupported or Permanent, naming what cannot be had.
    """
    if isinstance(spec, SegmentSpec):
        rules = compile_segment(spec, topology, salt)
    else:
        rules = compile_chain(spec, topology, dead, salt)
    return FlowProgram(
        kind=spec.kind,
        key=spec.key,
        owner=spec.owner,
        name=spec.name,
        spec_hash=spec_hash(spec),
        rules=_distinct(spec.name, rules),
        spec=spec_to_json(spec),
    )


def function_devices(spec: SegmentSpec | ChainSpec) -> frozenset[str]:
    """The devices whose loss changes what :func:`compile_spec` makes of the spec."""
    if isinstance(spec, SegmentSpec):
        return frozenset()
    return frozenset(into.device for _, into, _ in passages(spec))


def _distinct(name: str, rules: Iterable[FlowRule]) -> tuple[FlowRule, ...]:
    """The rules, each once. Raises Permanent when one match would have to do two things."""
    seen: dict[tuple[object, ...], FlowRule] = {}
    for rule in rules:
        other = seen.setdefault((rule.host, rule.table, rule.priority, rule.match), rule)
        if other.actions != rule.actions:
            raise Permanent(
                f"{name}: two ports share an address or a MAC ({other.note}; {rule.note})",
                hint="give every port of the link its own",
            )
    return tuple(seen.values())
