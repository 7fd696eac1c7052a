"""Whose turn it is when machines go: what is drained, what is proven before the next one, what goes last. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from manor.api.plan import Step, Undo, Verb
from manor.api.resources import (
    ChainSpec,
    FailMode,
    NodeSpec,
    Phase,
    PowerState,
    ResourceKind,
    SegmentSpec,
)
from manor.lcm.draft import Draft, Machine, machines
from manor.lcm.draining import Drains, nodes_of, shared
from manor.lcm.rollout import Rollout
from manor.model.desired import DesiredCheck

__all__ = [
    "QUIESCE_S",
    "STANDS_ON",
    "above",
    "beside",
    "disks_last",
    "drained_first",
    "in_start_order",
    "left_out",
    "made_whole",
    "one_by_one",
    "patient",
    "ports_let_go",
    "proof",
    "put_back",
    "standstills",
    "stopped_after",
]

QUIESCE_S = 30.0
"""Time to drain a machine where the operator says nothing."""
PROOF_S = 300.0
"""How long a machine that was replaced has until it is healthy, before the next one is touched."""


def disks_last(draft: Draft) -> None:
    """Disks that do not come again go last of all: whatever fails before that is taken back with nothing lost."""
    disks = [
        step.id
        for step in draft.steps.values()
        if step.verb is Verb.REMOVE and step.kind == ResourceKind.VOLUME and step.key not in draft.wanted
    ]
    rest = [step for step in draft.steps.values() if step.id not in disks]
    waited_for = {name for step in rest for name in (*step.depends_on, *draft.soft.get(step.id, ()))}
    last = [step.id for step in rest if step.id not in waited_for]
    for step_id in disks:
        draft.wait_softly(step_id, last)


STANDS_ON = (
    ResourceKind.IMAGE,
    ResourceKind.NETWORK,
    ResourceKind.VOLUME,
    ResourceKind.SEGMENT,
    ResourceKind.NODE,
    ResourceKind.CHAIN,
    ResourceKind.SNAPSHOT,
)
"""All kinds, each of which may stand on what comes before it."""


def above(kind: str) -> tuple[ResourceKind, ...]:
    """Kinds that may stand on one of this kind."""
    return STANDS_ON[STANDS_ON.index(ResourceKind(kind)) + 1 :]


def found_in_order(draft: Draft) -> None:
    """What was found, and of which nobody knows who uses it, goes after all there that could."""
    goes = [draft.steps[step_id] for step_id in draft.removed.values()]
    for step in goes:
        if step.key in draft.before:
            continue
        users = [one for one in goes if one.kind in above(step.kind)]
        # A chain or segment is on no host in particular, so it may stand on anything.
        draft.wait(step.id, (one.id for one in users if len({one.host, step.host} - {""}) < 2))


def stopped_after(draft: Draft) -> None:
    """A machine is turned off after what sent traffic through it has turned to others."""
    for key, resource in draft.wanted.items():
        spec = resource.spec
        if isinstance(spec, NodeSpec) and spec.power is PowerState.STOPPED and key in draft.ensured:
            turned = (
                draft.ensured[user][0]
                for user, old in draft.before.items()
                if key in old.depends_on and user in draft.ensured and key not in draft.wanted[user].depends_on
            )
            draft.wait_softly(draft.ensured[key][0], turned)


def ports_let_go(draft: Draft) -> None:
    """A port is taken into a link after the link that it was on has let go of it: no frame may be claimed by two."""
    links = [(key, one.spec) for key, one in draft.before.items() if isinstance(one.spec, SegmentSpec)]
    was = {port.key: key for key, spec in links for port in spec.ports}
    for key, resource in draft.wanted.items():
        if not isinstance(resource.spec, SegmentSpec) or key not in draft.ensured:
            continue
        left = dict.fromkeys(was[port.key] for port in resource.spec.ports if was.get(port.key, key) != key)
        lets_go = (draft.removed.get(old) or draft.ensured.get(old, ("",))[0] for old in left)
        draft.wait_softly(draft.ensured[key][0], filter(None, lets_go))


def in_start_order(draft: Draft) -> None:
    """A machine that is made anew goes once those that it starts after are proven: it would only be away for longer."""
    for key, step_id in draft.removed.items():
        if key in draft.ensured:
            names = [name for name in draft.wanted[key].depends_on if name in draft.checks and name in draft.ensured]
            draft.wait_softly(step_id, [draft.ensured[name][-1] for name in names])


def one_by_one(draft: Draft, rollout: Rollout | None, changed: Collection[str]) -> frozenset[tuple[str, str]]:
    """An update replaces a VNF's machines in turn: each is proven before the next one goes.

    A ``rollout`` goes on from VNF to VNF, and holds the first machines, or each one, to its gate. Chains that are not
    ``changed`` themselves do without a machine meanwhile where others are at its position: which, is returned as keys
    of chain and machine.
    """
    by_vnf: dict[str, list[Machine]] = {}
    found = {vnfc["key"]: (check, vnfc) for check, vnfc in machines(draft.checks.values())}
    for key in draft.ensured:  # in the order in which they start
        if key in found and key in draft.removed:
            by_vnf.setdefault(found[key][0].key, []).append(found[key])
    turns = [[one for key in rollout.vnfs for one in by_vnf.get(key, ())]] if rollout else list(by_vnf.values())
    drains = shared(draft.wanted, changed, [[vnfc["key"] for _, vnfc in turn] for turn in turns])
    for replaced in turns:
        gates = rollout.gates(len(replaced)) if rollout else frozenset()
        waits: list[str] = []
        for number, (check, vnfc) in enumerate(replaced):
            pairs = list(drains.around([vnfc["key"]]))
            left_out(draft, pairs, draft.steps[draft.removed[vnfc["key"]]], waits)
            if number == len(replaced) - 1 and number not in gates and not pairs:
                break  # the VNF's own check proves it
            waits = put_back(draft, pairs, [proof(draft, check, vnfc)])
            if rollout and number in gates:
                waits = [_gate(draft, rollout, replaced[: number + 1], waits)]
    made_whole(draft, drains)
    return frozenset(drains.pairs)


def left_out(draft: Draft, pairs: Sequence[tuple[Step, Step]], goes: Step, waits: Sequence[str]) -> None:
    """A machine goes after what it waits for, and after chains have turned to others."""
    for out, _ in pairs:
        draft.add(dataclasses.replace(out, depends_on=tuple(dict.fromkeys((*goes.depends_on, *waits)))))
        draft.wait_softly(out.id, draft.soft.get(goes.id, ()))
    draft.wait_softly(goes.id, [*waits, *(out.id for out, _ in pairs)])


def put_back(draft: Draft, pairs: Sequence[tuple[Step, Step]], proofs: Sequence[str]) -> list[str]:
    """Chains turn to the machines again once they are proven; what the next one waits for."""
    for out, back in pairs:
        draft.add(dataclasses.replace(back, depends_on=(*proofs, out.id)))
    return [back.id for _, back in pairs] or list(proofs)


def made_whole(draft: Draft, drains: Drains) -> None:
    """Chains are proven, and ensured where the plan does that too, after they turned to all of their machines again."""
    for key, last in drains.put_back.items():
        for step in draft.steps.values():
            if step.key == key and (step.verb is Verb.VERIFY or step.id == f"ensure chain {key}"):
                draft.wait_softly(step.id, [last])


def beside(draft: Draft, rollout: Rollout | None) -> None:
    """Machines that others replace beside them go last: after traffic has turned to those, and they stood the gate."""
    if rollout is None or not rollout.is_beside:
        return
    waits = [
        step.id
        for step in draft.steps.values()
        if (step.kind in (ResourceKind.SEGMENT, ResourceKind.CHAIN) and step.verb is not Verb.REMOVE)
        or (step.verb is Verb.VERIFY and step.key in rollout.vnfs)
    ]
    new = [
        (check, vnfc)
        for check, vnfc in machines(draft.checks.values())
        if check.key in rollout.vnfs and vnfc["key"] in check.nodes
    ]
    if rollout.conditions and new:
        waits = [_gate(draft, rollout, new, waits)]
    for key, step_id in draft.removed.items():
        if key not in draft.wanted and any(key.startswith(f"{vnf}/") for vnf in rollout.vnfs):
            draft.wait_softly(step_id, waits)


def standstills(draft: Draft, drained: Collection[tuple[str, str]]) -> Iterator[str]:
    """What traffic is to expect while machines are made anew: none takes over what is another's, but where the chain
    is ``drained`` of it first (keys of chain and machine)."""
    replaced = draft.removed.keys() & draft.ensured
    for spec in (resource.spec for resource in draft.wanted.values()):
        for position in spec.positions if isinstance(spec, ChainSpec) else ():
            nodes = frozenset[str]().union(*map(nodes_of, position.elements))
            if not (gone := sorted(node for node in nodes & replaced if (spec.key, node) not in drained)):
                continue
            names = ", ".join(node.partition("/vnf/")[2] for node in gone)
            if len(nodes) > 1:
                passes = f"what falls to {names} at {position.name} does not pass"
            elif position.fail_mode is FailMode.CLOSED:
                passes = f"nothing passes {position.name}"
            else:
                passes = f"traffic goes past {position.name}"
            yield f"chain {spec.name}: {passes} while {names} {'is' if len(gone) == 1 else 'are'} made anew"


def _gate(draft: Draft, rollout: Rollout, held: Sequence[Machine], after: Sequence[str]) -> str:
    """Id of the step that holds these machines to the rollout's conditions for a while."""
    check, last = held[-1]
    told = " and ".join(str(condition) for condition in rollout.conditions)
    return draft.add(
        Step(
            id=f"verify kpi {last['key']}",
            verb=Verb.VERIFY,
            kind="kpi",
            key=last["key"],
            endpoint=check.endpoint,
            summary=f"prove: {told or 'it stays healthy'} for {rollout.soak_s:g} s on {_named(held)}",
            change="check",
            depends_on=tuple(after),
            spec={
                "nodes": {vnfc["key"]: check.nodes[vnfc["key"]] for check, vnfc in held if vnfc["key"] in check.nodes},
                "conditions": [str(condition) for condition in rollout.conditions],
                "soak_s": rollout.soak_s,
            },
            deadline_s=rollout.soak_s + 120.0,
        )
    )


def _named(held: Sequence[Machine]) -> str:
    names = [vnfc["name"] for _, vnfc in held]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def proof(draft: Draft, check: DesiredCheck, vnfc: Mapping[str, Any]) -> str:
    """Id of the step that proves one machine of a VNF."""
    key = vnfc["key"]
    if key not in check.nodes:
        return draft.ensured[key][-1]
    return draft.add(
        Step(
            id=f"verify vnf {key}",
            verb=Verb.VERIFY,
            kind=check.kind,
            key=key,
            endpoint=check.endpoint,
            summary=f"prove: {vnfc['name']} is healthy, before the next machine goes",
            change="check",
            depends_on=draft.ensured[key][-1:],
            spec=_of_one(check, vnfc),
            deadline_s=PROOF_S,
        )
    )


def drained_first(draft: Draft, patience_s: float | None) -> None:
    """A machine that runs is drained by its VNF's manager before it is removed, replaced or turned off.

    Where that is taken back, the manager configures the machine anew: it was drained, or made anew from its image.
    """
    off = {step.key: step for step in draft.steps.values() if step.kind == ResourceKind.NODE and _turns_off(step)}
    for check, vnfc in machines(draft.checks_before.values()):
        key = vnfc["key"]
        seen = draft.observed.get(key)
        if not _has_inside(check) or key not in off or key not in check.nodes:
            continue
        if seen is None or seen.phase is not Phase.ACTIVE:
            continue
        goes = off[key]
        step_id = draft.add(
            Step(
                id=f"quiesce vnf {key}",
                verb=Verb.QUIESCE,
                kind=check.kind,
                key=key,
                endpoint=check.endpoint,
                summary=f"quiesce: {vnfc['name']}, before it goes",
                change="check",
                depends_on=goes.depends_on,
                spec=_of_one(check, vnfc),
                undo=Undo.RESTORE,
                deadline_s=QUIESCE_S if patience_s is None else patience_s + 5.0,
                patience_s=patience_s,
            )
        )
        draft.wait_softly(step_id, draft.soft.get(goes.id, ()))
        draft.wait(goes.id, [step_id])


def _turns_off(step: Step) -> bool:
    return step.verb is Verb.REMOVE or (
        step.verb is Verb.ENSURE and (step.spec or {}).get("power") == PowerState.STOPPED
    )


def patient(step: Step, patience_s: float | None) -> Step:
    """The step with as much patience, and the time for it, where it turns a machine off."""
    if patience_s is None or step.kind != ResourceKind.NODE or not _turns_off(step):
        return step
    return dataclasses.replace(step, patience_s=patience_s, deadline_s=max(step.deadline_s, 2 * patience_s + 60.0))


def _has_inside(check: DesiredCheck) -> bool:
    """Whether the manager does anything inside the VNF; the generic one does where the package says what."""
    return check.endpoint != "vnfm:generic" or any(check.view.get(name) for name in ("day1", "scripts"))


def _of_one(check: DesiredCheck, vnfc: Mapping[str, Any]) -> dict[str, Any]:
    """What the check carries, of one machine alone."""
    key = vnfc["key"]
    return {"view": {**check.view, "vnfcs": [vnfc]}, "nodes": {key: check.nodes[key]}}
