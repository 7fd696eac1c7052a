"""Whose turn it is when machines go: what is drained first, what is proven before the next one, what goes last. Pure.

Each function adds dependencies, and steps of its own, to a plan that :mod:`manor.lcm.diff` is making.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from manor.api.plan import Step, Undo, Verb
from manor.api.resources import (
    ChainSpec,
    FailMode,
    NodeSpec,
    Observed,
    Phase,
    PowerState,
    ResourceKind,
    SegmentSpec,
)
from manor.lcm.draining import Drains, shared
from manor.lcm.rollout import Rollout
from manor.model.desired import DesiredCheck, DesiredResource

__all__ = [
    "QUIESCE_S",
    "STANDS_ON",
    "beside",
    "disks_last",
    "drained_first",
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

_Soft = dict[str, list[str]]


def disks_last(steps: Mapping[str, Step], soft: _Soft, wanted: Mapping[str, DesiredResource]) -> None:
    """Disks that do not come again go last of all: whatever fails before that is taken back with nothing lost."""
    disks = [
        step.id
        for step in steps.values()
        if step.verb is Verb.REMOVE and step.kind == ResourceKind.VOLUME and step.key not in wanted
    ]
    rest = [step for step in steps.values() if step.id not in disks]
    waited_for = {name for step in rest for name in (*step.depends_on, *soft.get(step.id, ()))}
    last = [step.id for step in rest if step.id not in waited_for]
    for step_id in disks:
        soft[step_id] = [*soft.get(step_id, ()), *last]


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


def found_in_order(steps: dict[str, Step], removed: Mapping[str, str], known: Mapping[str, DesiredResource]) -> None:
    """What was found, and of which nobody knows who uses it, goes after all there that could."""
    goes = [steps[step_id] for step_id in removed.values()]
    for step in goes:
        if step.key in known:
            continue
        above = STANDS_ON[STANDS_ON.index(ResourceKind(step.kind)) + 1 :]
        # A chain or segment is on no host in particular, so it may stand on anything.
        users = [one.id for one in goes if one.kind in above and len({one.host, step.host} - {""}) < 2]
        steps[step.id] = dataclasses.replace(step, depends_on=tuple(dict.fromkeys((*step.depends_on, *users))))


def stopped_after(
    wanted: Mapping[str, DesiredResource],
    before: Mapping[str, DesiredResource],
    ensured: Mapping[str, tuple[str, ...]],
    soft: _Soft,
) -> None:
    """A machine is turned off after what sent traffic through it has turned to others."""
    for key, resource in wanted.items():
        spec = resource.spec
        if isinstance(spec, NodeSpec) and spec.power is PowerState.STOPPED and key in ensured:
            soft[ensured[key][0]] = [
                ensured[user][0]
                for user, old in before.items()
                if key in old.depends_on and user in ensured and key not in wanted[user].depends_on
            ]


def ports_let_go(
    wanted: Mapping[str, DesiredResource],
    before: Mapping[str, DesiredResource],
    ensured: Mapping[str, tuple[str, ...]],
    removed: Mapping[str, str],
    soft: _Soft,
) -> None:
    """A port is taken into a link after the link that it was on has let go of it: no frame may be claimed by two."""
    was = {port.key: key for key, old in before.items() if isinstance(old.spec, SegmentSpec) for port in old.spec.ports}
    for key, resource in wanted.items():
        if not isinstance(resource.spec, SegmentSpec) or key not in ensured:
            continue
        left = dict.fromkeys(was[port.key] for port in resource.spec.ports if was.get(port.key, key) != key)
        lets_go = [removed.get(old) or ensured[old][0] for old in left if old in removed or old in ensured]
        if lets_go:
            soft[ensured[key][0]] = [*soft.get(ensured[key][0], ()), *lets_go]


def one_by_one(
    checks: Iterable[DesiredCheck],
    steps: dict[str, Step],
    ensured: Mapping[str, tuple[str, ...]],
    removed: Mapping[str, str],
    soft: _Soft,
    rollout: Rollout | None,
    wanted: Mapping[str, DesiredResource],
    changed: Collection[str],
) -> frozenset[tuple[str, str]]:
    """An update replaces a VNF's machines in turn: each is proven before the next one goes.

    A ``rollout`` goes on from VNF to VNF, and holds the first machines, or each one, to its gate. Chains that are not
    ``changed`` themselves do without a machine meanwhile where others are at its position: which, is returned as keys
    of chain and machine.
    """
    by_vnf = {check.key: check for check in checks if check.verb is Verb.VERIFY and check.kind == "vnf"}
    in_turn = [[by_vnf[key] for key in rollout.vnfs if key in by_vnf]] if rollout else [[c] for c in by_vnf.values()]
    turns = [
        [
            (check, vnfc)
            for check in one_after_the_other
            for vnfc in check.view.get("vnfcs", ())
            if vnfc["key"] in ensured and vnfc["key"] in removed
        ]
        for one_after_the_other in in_turn
    ]
    drains = shared(wanted, changed, [[vnfc["key"] for _, vnfc in turn] for turn in turns])
    for replaced in turns:
        gates = rollout.gates(len(replaced)) if rollout else frozenset()
        waits: list[str] = []
        tried: list[tuple[DesiredCheck, Mapping[str, Any]]] = []
        for number, (check, vnfc) in enumerate(replaced):
            key = vnfc["key"]
            pairs = list(drains.around([key]))
            left_out(pairs, steps[removed[key]], waits, steps, soft)
            if number == len(replaced) - 1 and number not in gates and not pairs:
                break  # the VNF's own check proves it
            waits = put_back(pairs, [proof(check, vnfc, steps, ensured)], steps)
            tried.append((check, vnfc))
            if rollout and number in gates:
                waits = [_gate(rollout, tried, waits, steps)]
    made_whole(drains, steps, soft)
    return frozenset(drains.pairs)


def left_out(
    pairs: Sequence[tuple[Step, Step]], goes: Step, waits: Sequence[str], steps: dict[str, Step], soft: _Soft
) -> None:
    """A machine goes after what it waits for, and after chains have turned to others."""
    after = [*goes.depends_on, *waits]
    for out, _ in pairs:
        steps[out.id] = dataclasses.replace(out, depends_on=tuple(dict.fromkeys(after)))
    soft[goes.id] = [*soft.get(goes.id, ()), *waits, *(out.id for out, _ in pairs)]


def put_back(pairs: Sequence[tuple[Step, Step]], proofs: Sequence[str], steps: dict[str, Step]) -> list[str]:
    """Chains turn to the machines again once they are proven; what the next one waits for."""
    for _, back in pairs:
        steps[back.id] = dataclasses.replace(back, depends_on=tuple(proofs))
    return [back.id for _, back in pairs] or list(proofs)


def made_whole(drains: Drains, steps: Mapping[str, Step], soft: _Soft) -> None:
    """Chains are proven, and ensured where the plan does that too, after they turned to all of their machines again."""
    for key, last in drains.put_back.items():
        for step in steps.values():
            if step.key == key and (step.verb is Verb.VERIFY or step.id == f"ensure chain {key}"):
                soft[step.id] = [*soft.get(step.id, ()), last]


def beside(
    rollout: Rollout | None,
    wanted: Mapping[str, DesiredResource],
    checks: Iterable[DesiredCheck],
    steps: dict[str, Step],
    removed: Mapping[str, str],
    soft: _Soft,
) -> None:
    """Machines that others replace beside them go last: after traffic has turned to those, and they stood the gate."""
    if rollout is None or not rollout.is_beside:
        return
    turned = [
        step.id
        for step in steps.values()
        if (step.kind in (ResourceKind.SEGMENT, ResourceKind.CHAIN) and step.verb is not Verb.REMOVE)
        or (step.verb is Verb.VERIFY and step.key in rollout.vnfs)
    ]
    new = [
        (check, vnfc)
        for check in checks
        if check.verb is Verb.VERIFY and check.key in rollout.vnfs
        for vnfc in check.view.get("vnfcs", ())
        if vnfc["key"] in check.nodes
    ]
    waits = [_gate(rollout, new, turned, steps)] if rollout.conditions and new else turned
    for key, step_id in removed.items():
        if key not in wanted and any(key.startswith(f"{vnf}/") for vnf in rollout.vnfs):
            soft[step_id] = [*soft.get(step_id, ()), *waits]


def standstills(
    wanted: Mapping[str, DesiredResource], replaced: Collection[str], drained: Collection[tuple[str, str]] = ()
) -> tuple[str, ...]:
    """What traffic is to expect while machines under these keys are made anew: none takes over what is another's, but
    where the chain is ``drained`` of it first (keys of chain and machine)."""
    notes = []
    for spec in (resource.spec for resource in wanted.values()):
        for position in spec.positions if isinstance(spec, ChainSpec) else ():
            nodes = {port.key.rpartition("/")[0] for one in position.elements for port in (one.ingress, one.egress)}
            if not (gone := sorted(node for node in nodes & set(replaced) if (spec.key, node) not in drained)):
                continue
            names = ", ".join(node.partition("/vnf/")[2] for node in gone)
            if len(nodes) > 1:
                passes = f"what falls to {names} at {position.name} does not pass"
            elif position.fail_mode is FailMode.CLOSED:
                passes = f"nothing passes {position.name}"
            else:
                passes = f"traffic goes past {position.name}"
            notes.append(f"chain {spec.name}: {passes} while {names} {'is' if len(gone) == 1 else 'are'} made anew")
    return tuple(notes)


def _gate(
    rollout: Rollout,
    machines: Sequence[tuple[DesiredCheck, Mapping[str, Any]]],
    after: Sequence[str],
    steps: dict[str, Step],
) -> str:
    """Id of the step that holds these machines to the rollout's conditions for a while."""
    check, last = machines[-1]
    step_id = f"verify kpi {last['key']}"
    told = " and ".join(str(condition) for condition in rollout.conditions)
    steps[step_id] = Step(
        id=step_id,
        verb=Verb.VERIFY,
        kind="kpi",
        key=last["key"],
        endpoint=check.endpoint,
        summary=f"prove: {told or 'it stays healthy'} for {rollout.soak_s:g} s on {_named(machines)}",
        change="check",
        depends_on=tuple(after),
        spec={
            "nodes": {vnfc["key"]: check.nodes[vnfc["key"]] for check, vnfc in machines if vnfc["key"] in check.nodes},
            "conditions": [str(condition) for condition in rollout.conditions],
            "soak_s": rollout.soak_s,
        },
        deadline_s=rollout.soak_s + 120.0,
    )
    return step_id


def _named(machines: Sequence[tuple[DesiredCheck, Mapping[str, Any]]]) -> str:
    names = [vnfc["name"] for _, vnfc in machines]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def proof(
    check: DesiredCheck, vnfc: Mapping[str, Any], steps: dict[str, Step], ensured: Mapping[str, tuple[str, ...]]
) -> str:
    """Id of the step that proves one machine of a VNF."""
    key = vnfc["key"]
    if key not in check.nodes:
        return ensured[key][-1]
    step_id = f"verify vnf {key}"
    steps[step_id] = Step(
        id=step_id,
        verb=Verb.VERIFY,
        kind=check.kind,
        key=key,
        endpoint=check.endpoint,
        summary=f"prove: {vnfc['name']} is healthy, before the next machine goes",
        change="check",
        depends_on=ensured[key][-1:],
        spec=_of_one(check, vnfc),
        deadline_s=PROOF_S,
    )
    return step_id


def drained_first(
    checks_before: Iterable[DesiredCheck],
    observed: Mapping[str, Observed],
    steps: dict[str, Step],
    soft: _Soft,
    patience_s: float | None,
) -> None:
    """A machine that runs is drained by its VNF's manager before it is removed, replaced or turned off.

    Where that is taken back, the manager configures the machine anew: it was drained, or made anew from its image.
    """
    off = {step.key: step for step in steps.values() if step.kind == ResourceKind.NODE and _turns_off(step)}
    for check in checks_before:
        if check.verb is not Verb.VERIFY or check.kind != "vnf" or not _has_inside(check):
            continue
        for vnfc in check.view.get("vnfcs", ()):
            key = vnfc["key"]
            seen = observed.get(key)
            if key not in off or key not in check.nodes or seen is None or seen.phase is not Phase.ACTIVE:
                continue
            goes = off[key]
            step_id = f"quiesce vnf {key}"
            steps[step_id] = Step(
                id=step_id,
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
            soft[step_id] = list(soft.get(goes.id, ()))
            steps[goes.id] = dataclasses.replace(goes, depends_on=(*goes.depends_on, step_id))


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
