"""Rulings into operations and operations back into rulings: the acting half, and what an operator approves."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from manor.api import HealAction, Observed, OperationKind, Phase, Plan, Step, Verb, VolumeSpec
from manor.assure.deciding import Verdict, recreate_keys
from manor.assure.drift import flows_of, unplugged
from manor.assure.rules import aspect_of
from manor.assure.settings import read_settings
from manor.assure.sight import Service
from manor.errors import ManorError, PlanRefused, UsageError
from manor.lcm import ns
from manor.lcm.away import LEAVE
from manor.lcm.draining import nodes_of
from manor.lcm.leftovers import told_of
from manor.lcm.runtime import Runtime
from manor.lcm.scaling import scale_ns, scale_vnf
from manor.lcm.updating import update
from manor.lcm.wishes import Wishes, standing
from manor.model.alarm import AlarmRecord, Outcome, Ruling
from manor.model.instance import OperationState

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "Said",
    "approve",
    "followed_up",
    "held",
    "operation_state",
    "refused",
    "ruling_of",
    "start_heal",
    "still_read",
    "unconfigured",
]


def ruling_of(alarm: AlarmRecord, verdict: Verdict, now_s: float, operation_id: str = "") -> Ruling:
    """The record of a verdict."""
    return Ruling(
        id=uuid.uuid4().hex[:12],
        alarm_id=alarm.id,
        ns_id=alarm.ns_id,
        resource_key=alarm.resource_key,
        time_s=now_s,
        action=verdict.action,
        outcome=verdict.outcome,
        reason=verdict.reason,
        probable_cause=alarm.probable_cause,
        operation_id=operation_id,
    )


class Said:
    """What is said of alarms by one operation, once it is accepted.

    ``hold`` says why it may not be after all, for what an operator has said while it was planned; empty where it may.
    """

    def __init__(
        self, wanted: Sequence[tuple[AlarmRecord, Verdict]], now_s: float, hold: Callable[[], str] = lambda: ""
    ) -> None:
        self._wanted = wanted
        self._now_s = now_s
        self._hold = hold
        self.held = ""
        """Why it was not accepted, where an operator does not want it any more."""
        self.told: list[tuple[Ruling, AlarmRecord | None]] = []
        """Each with its alarm, where that has changed with it."""

    def beside(self, tx: Connection, operation_id: str) -> None:
        """Write it with the operation. Raises PlanRefused where it is held."""
        from manor.store import alarms

        self.held = self._hold()
        if self.held:
            raise PlanRefused(self.held)
        alarms.held(tx, [alarm.id for alarm, _ in self._wanted])
        rulings = [ruling_of(alarm, verdict, self._now_s, operation_id) for alarm, verdict in self._wanted]
        self.told = [(ruling, alarms.add_ruling(tx, ruling)) for ruling in rulings]


def start_heal(
    rt: Runtime,
    service: Service,
    seen: Mapping[str, Observed],
    wanted: Sequence[Verdict],
    beside: Callable[[Connection, str], None],
    *,
    is_automatic: bool = True,
) -> bool:
    """Begin one operation that does all of these verdicts on one service; whether anything was left to do.

    Repairs are done together; anything else comes alone. ``beside`` writes what is said of the operation, whose id it
    is given, in the transaction that accepts it: no heal is begun of which nobody knows why.

    Goes the way of every operation: planned from what is observed, reviewed, journalled. Raises ManorError where the
    plan is refused or the service has another operation by now.
    """
    gone: dict[str, None] = {}
    for verdict in wanted:
        gone.update(dict.fromkeys(recreate_keys(service, seen, verdict.action, verdict.targets)))
    cause = "; ".join(dict.fromkeys(verdict.reason for verdict in wanted))
    if wanted[0].action is HealAction.SCALE_OUT:
        proposal = _scaled_out(rt, service, wanted[0])
    elif wanted[0].action is HealAction.REROUTE:
        proposal = update(rt, service.id, chains_off=_through(service, wanted[0].targets))
    else:
        wishes = Wishes(recreate=tuple(gone), cause=cause[:500])
        drifts = all(verdict.action is HealAction.REPAIR for verdict in wanted)
        kind = OperationKind.REPAIR if drifts else OperationKind.HEAL
        proposal = ns.propose(rt, service.id, kind, wishes)
        targets = {key for verdict in wanted for key in verdict.targets}
        if is_automatic and (kept := still_read(proposal.plan, service, seen, targets)):
            proposal = ns.propose(rt, service.id, kind, wishes, overlook=kept)
    if is_automatic and proposal.ns.last_operation != service.last_operation:
        raise PlanRefused(f"operation {proposal.ns.last_operation} ran on {service.name} since it was looked at")
    if all(verdict.is_of_links for verdict in wanted):
        _refuse_others(proposal.plan, service, unplugged(proposal.observed))
        proposal = replace(proposal, plan=unconfigured(proposal.plan))
    if proposal.is_idle and proposal.twice:
        raise PlanRefused(told_of(proposal.twice[0], proposal.observed))
    if not proposal.is_idle:
        ns.start(rt, proposal, is_automatic=is_automatic, beside=beside)
    return not proposal.is_idle


def still_read(
    plan: Plan, service: Service, seen: Mapping[str, Observed], targets: Collection[str] = ()
) -> frozenset[str]:
    """Pure: disks that the plan would make anew under a machine that runs, and that it had better leave.

    A heal is of its targets alone, and no other machine goes for it. A repair leaves what would be empty: while the
    machine runs, what was on its disk can be had, and so nobody but a person has that made anew.
    """
    is_heal = plan.operation is OperationKind.HEAL
    disks = {r.spec.key: r.spec for r in service.desired.resources if isinstance(r.spec, VolumeSpec)}
    made = {step.key for step in plan.steps if step.verb is Verb.ENSURE and step.key in disks}
    runs = [node for _, node in service.nodes() if (one := seen.get(node.key)) and one.phase is Phase.ACTIVE]
    return frozenset(
        disk.volume
        for node in runs
        for disk in node.disks
        if disk.volume in made and (node.key not in targets if is_heal else not disks[disk.volume].image)
    )


def _refuse_others(plan: Plan, service: Service, plugs: Collection[str]) -> None:
    """Raises PlanRefused where more than links and chains would change, and the machines ``plugs`` in place."""
    flows = flows_of(service)
    changes = [step for step in plan.steps if step.verb in (Verb.ENSURE, Verb.REMOVE) and step.change != LEAVE]
    allowed = flows | {step.key for step in changes if step.change == "repair" and step.key in plugs}
    if other := next((step.key for step in changes if step.key not in allowed), None):
        raise PlanRefused(f"a repair would change {other} too", hint=f"manor ns drift {service.name} --repair")


def unconfigured(plan: Plan) -> Plan:
    """Pure: the plan without what would be run inside machines again: they ran on, and are configured."""
    left: dict[str, tuple[str, ...]] = {}
    kept: list[Step] = []
    for step in plan.steps:  # each comes after what it depends on
        waits = tuple(dict.fromkeys(one for name in step.depends_on for one in left.get(name, (name,))))
        if step.verb is Verb.CONFIGURE:
            left[step.id] = waits
        else:
            kept.append(replace(step, depends_on=waits))
    return replace(plan, steps=tuple(kept))


def _scaled_out(rt: Runtime, service: Service, verdict: Verdict) -> ns.Proposal:
    """One more of what the target is: a level of an aspect of its VNF, or a VNF of its kind."""
    labels = next(dict(node.labels) for _, node in service.nodes() if node.key in verdict.targets)
    vnf = standing(rt, service.id).vnf(labels["vnf"])
    if verdict.aspect:
        return scale_vnf(rt, service.id, vnf.name, aspect=verdict.aspect, steps=1)
    return scale_ns(rt, service.id, vnfs={vnf.profile_id: "+1"})


def _through(service: Service, machines: Sequence[str]) -> tuple[str, ...]:
    """Chains that lead through one of these machines as a function."""
    return tuple(
        chain.name
        for _, chain in service.chains()
        if any(nodes_of(element) & set(machines) for hop in chain.positions for element in hop.elements)
    )


def followed_up(
    ruling: Ruling, state: OperationState, *, cleared: bool, again: bool, now_s: float, helped_within_s: float
) -> Ruling:
    """The ruling with what is known of its operation now, and of whether it helped.

    ``again``: the same fault is plainly seen though the operation has ended, so it did not help.
    """
    if state in (OperationState.PROCESSING, OperationState.ROLLING_BACK):
        return ruling
    succeeded = state in (OperationState.COMPLETED, OperationState.PARTIALLY_COMPLETED)
    after = replace(ruling, ended_s=ruling.ended_s or now_s, succeeded=succeeded)
    if cleared:
        return replace(after, helped=succeeded)
    if again or now_s - after.ended_s >= helped_within_s:
        return replace(after, helped=False)
    return after


def approve(rt: Runtime, alarm_id: str, action: HealAction | None = None, *, is_one_of_many: bool = False) -> Ruling:
    """Do what was proposed for an alarm, as an operator: neither the budget nor a confirmation is asked for.

    A word that is for several services at once (``is_one_of_many``) does not undo what was said of one: its lock, its
    window. Raises UsageError there, and where nothing was proposed and no action is given.
    """
    from manor.assure.looking import Services, look
    from manor.store import alarms

    with rt.store.read() as tx:
        alarm = alarms.get(tx, alarm_id)
        before = alarms.rulings(tx, alarm.id)
    if not alarm.is_active:
        raise UsageError(f"alarm {alarm.id} is cleared", hint="manor alarm list")
    offered = frozenset(HealAction) - {HealAction.NONE, HealAction.ESCALATE}
    proposed = action or next((r.action for r in reversed(before) if r.action in offered), None)
    if proposed not in offered:
        all_of_them = alarm.correlated_alarm_ids[0] if is_one_of_many else alarm.id
        raise UsageError(
            f"nothing was proposed for alarm {alarm.id}",
            hint=f"name it: manor heal approve {all_of_them} --action restart",
        )
    service = next((one for one in Services(rt).read() if one.id == alarm.ns_id), None)
    targets = service.machines(alarm.resource_key) if service is not None else ()
    machines = {node.key for _, node in service.nodes()} if service is not None else frozenset()
    if service is None or not (proposed is HealAction.REPAIR or machines >= set(targets)):
        raise UsageError(
            f"{alarm.resource_key} is no machine of a running service", hint=f"manor alarm show {alarm.id}"
        )
    settings = read_settings(rt.home)
    if is_one_of_many and (held := settings.hold(service.name, time.time())):
        raise UsageError(held, hint=f"all the same: manor heal approve {alarm.id}")
    at = {endpoint for endpoint, node in service.nodes() if node.key in targets}
    found = look(rt, at, {service.id: service})
    seen = {key: one for endpoint in found.observed.values() for key, one in endpoint.items()}
    reason = f"approved by an operator: {alarm.probable_cause} on {alarm.resource_key}"
    verdict = Verdict(
        action=proposed,
        outcome=Outcome.STARTED,
        reason=reason,
        targets=targets,
        aspect=aspect_of(alarm, service, settings.rules),
    )
    said = Said([(alarm, verdict)], time.time())
    if not start_heal(rt, service, seen, [verdict], said.beside, is_automatic=False):
        raise UsageError(f"{service.name} is whole: there is nothing to heal", hint=f"manor ns show {service.name}")
    ((ruling, _),) = said.told
    return ruling


def operation_state(tx: Any, operation_id: str) -> OperationState | None:
    """State of an operation; None where it is not known any more."""
    from manor.store import operations

    try:
        return operations.get(tx, operation_id).state
    except UsageError:
        return None


def refused(error: ManorError, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts as they are when their operation could not be begun."""
    return [
        replace(verdict, outcome=Outcome.FAILED, reason=f"{verdict.reason}; it could not be begun: {error.with_hint}")
        for verdict in verdicts
    ]


def held(why: str, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts as they are when a person does not want what they call for."""
    return [
        replace(verdict, outcome=Outcome.HELD, reason=f"{verdict.reason}; held: {why}", is_locked=True)
        for verdict in verdicts
    ]
