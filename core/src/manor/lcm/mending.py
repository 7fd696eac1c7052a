"""Whose turn it is when machines are healed: the dead come back together and at once, then the living go one by one.

A machine that is sick still does something, and so no more than one of those that stand in for each other goes at a
time: of a VNF, and of all VNFs at one position of a chain. Chains do without those that share their positions until
they are proven; a port is there long before the guest behind it is. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from manor.api.plan import Step, Verb
from manor.api.resources import ChainSpec, NodeSpec, Observed, Phase, PowerState
from manor.lcm.draining import nodes_of, shared
from manor.lcm.turns import left_out, made_whole, proof, put_back
from manor.model.desired import DesiredCheck, DesiredResource

__all__ = ["mended_in_turn"]


def mended_in_turn(
    checks: Iterable[DesiredCheck],
    wanted: Mapping[str, DesiredResource],
    observed: Mapping[str, Observed],
    steps: dict[str, Step],
    ensured: Mapping[str, tuple[str, ...]],
    removed: Mapping[str, str],
    soft: dict[str, list[str]],
) -> frozenset[tuple[str, str]]:
    """Put the machines that the plan brings back in their turns; keys of chain and machine, where the one does without
    the other meanwhile."""
    proofs = {
        vnfc["key"]: (check, vnfc)
        for check in checks
        if check.verb is Verb.VERIFY and check.kind == "vnf"
        for vnfc in check.view.get("vnfcs", ())
    }
    goes = {
        key: steps[removed.get(key, ensured[key][0])]
        for key in proofs
        if key in ensured and _is_started(steps[ensured[key][0]], wanted[key])
    }
    works = {key for key, seen in observed.items() if seen.phase is Phase.ACTIVE}
    down = {key for key, one in wanted.items() if isinstance(one.spec, NodeSpec)} - works - goes.keys()
    turns = _turns(goes, wanted)
    others = [step.key for step in steps.values() if step.verb is Verb.ENSURE and step.change != "repair"]
    drains = shared(wanted, others, turns)  # a chain that is only repaired is to be what it was

    def proven(key: str) -> str:
        check, vnfc = proofs[key]
        step_id = proof(check, vnfc, steps, ensured)
        soft.setdefault(step_id, []).extend(ensured.get(f"{check.key}/day1", ()))
        return step_id

    for turn in turns:
        dead, living = ([key for key in turn if (key in works) is at_work] for at_work in (False, True))
        pairs = list(drains.around(dead, down))
        for out, _ in pairs:
            steps[out.id] = out
        for key in dead:
            soft.setdefault(goes[key].id, []).extend(out.id for out, _ in pairs)
        waits = put_back(pairs, [proven(key) for key in dead], steps) if pairs or living else []
        for key in living:
            pairs = list(drains.around([key], down))
            left_out(pairs, goes[key], waits, steps, soft)
            if pairs or key != living[-1]:  # else the VNF's own check proves it
                waits = put_back(pairs, [proven(key)], steps)
    made_whole(drains, steps, soft)
    return frozenset(drains.pairs)


def _is_started(step: Step, node: DesiredResource) -> bool:
    return step.verb is Verb.ENSURE and isinstance(node.spec, NodeSpec) and node.spec.power is PowerState.STARTED


def _turns(keys: Iterable[str], wanted: Mapping[str, DesiredResource]) -> list[list[str]]:
    """The machines by who stands in for whom."""
    turns: dict[str, list[str]] = {}
    for key in keys:
        turns.setdefault(key.rpartition("/")[0], []).append(key)
    chains = [one.spec for one in wanted.values() if isinstance(one.spec, ChainSpec)]
    for position in (position for chain in chains for position in chain.positions):
        at = {node for element in position.elements for node in nodes_of(element)}
        first, *others = [name for name, turn in turns.items() if not at.isdisjoint(turn)] or [""]
        for name in others:
            turns[first] += turns.pop(name)
    return list(turns.values())
