"""Whose turn it is when machines are healed: the dead come back together and at once, then the living go one by one.

A machine that is sick still does something, and so no more than one of those that stand in for each other goes at a
time: of a VNF, and of all VNFs at one position of a chain. Chains do without those that share their positions until
they are proven; a port is there long before the guest behind it is. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from manor.api.plan import Step, Verb
from manor.api.resources import ChainSpec, NodeSpec, Phase, PowerState
from manor.lcm.draft import Draft, machines
from manor.lcm.draining import nodes_of, shared
from manor.lcm.turns import left_out, made_whole, proof, put_back
from manor.model.desired import DesiredResource

__all__ = ["mended_in_turn"]


def mended_in_turn(draft: Draft) -> frozenset[tuple[str, str]]:
    """Put the machines that the plan brings back in their turns; keys of chain and machine, where the one does without
    the other meanwhile."""
    wanted, steps, ensured = draft.wanted, draft.steps, draft.ensured
    proofs = {vnfc["key"]: (check, vnfc) for check, vnfc in machines(draft.checks.values())}
    goes = {
        key: steps[draft.removed.get(key, ensured[key][0])]
        for key in ensured
        if key in proofs and _is_started(steps[ensured[key][0]], wanted[key])
    }
    works = {key for key, seen in draft.observed.items() if seen.phase is Phase.ACTIVE}
    down = {key for key, one in wanted.items() if isinstance(one.spec, NodeSpec)} - works - goes.keys()
    turns = _turns(goes, wanted)
    others = [step.key for step in steps.values() if step.verb is Verb.ENSURE and step.change != "repair"]
    drains = shared(wanted, others, turns)  # a chain that is only repaired is to be what it was

    def proven(key: str) -> str:
        check, vnfc = proofs[key]
        step_id = proof(draft, check, vnfc)
        draft.wait_softly(step_id, ensured.get(f"{check.key}/day1", ()))
        return step_id

    for turn in turns:
        dead, living = ([key for key in turn if (key in works) is at_work] for at_work in (False, True))
        pairs = list(drains.around(dead, down))
        for out, _ in pairs:
            draft.add(out)
        for key in dead:
            draft.wait_softly(goes[key].id, [out.id for out, _ in pairs])
        waits = put_back(draft, pairs, [proven(key) for key in dead]) if pairs or living else []
        for key in living:
            pairs = list(drains.around([key], down))
            left_out(draft, pairs, goes[key], waits)
            if pairs or key != living[-1]:  # else the VNF's own check proves it
                waits = put_back(draft, pairs, [proven(key)])
    made_whole(draft, drains)
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
