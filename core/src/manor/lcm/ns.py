"""Network-service operations, from a wish to a plan and from a plan to a running operation.

Every one goes the same way: what is desired, what is observed, the plan between them, the reviews, the journal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manor.api import Finding, Observed, OperationKind, Plan, ResourceKind, ServiceView, Severity
from manor.errors import PlanRefused, UsageError
from manor.lcm.away import Silent, parted, with_left
from manor.lcm.chainplan import refuse_astray
from manor.lcm.choosing import must_be_known
from manor.lcm.claims import Seen, refuse_lost_host, refuse_outgrown
from manor.lcm.diff import diff
from manor.lcm.drifting import lost_snapshots
from manor.lcm.leftovers import (
    for_good,
    gone_for,
    left_behind,
    left_over,
    merged,
    second_ones,
    still_left,
    told_of,
    where_left,
    with_these,
    without_absent,
)
from manor.lcm.plans import plan_digest, require_same
from manor.lcm.rollout import rollout_of
from manor.lcm.runtime import Runtime
from manor.lcm.scripts import scripted, side
from manor.lcm.states import ACTIVE, CANCELLABLE, Trigger
from manor.lcm.target import Target
from manor.lcm.vanished import overlooked
from manor.lcm.wanted import planned
from manor.lcm.wishes import Wishes, are_same, lasting, must_be_enabled, wishes_to_json
from manor.lcm.world import candidates, cut_off, endpoints_of, every_vim, observe, replace_on
from manor.model.desired import DesiredState
from manor.model.instance import (
    CancelMode,
    NsInstance,
    NsLcmOpOcc,
    NsState,
    OnFailure,
    PackageKind,
    VnfInstance,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Proposal", "confirm", "create", "delete", "propose", "start"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FROM = {
    OperationKind.INSTANTIATE: NsState.NOT_INSTANTIATED,
    OperationKind.REPAIR: NsState.INSTANTIATED,
    OperationKind.HEAL: NsState.INSTANTIATED,
    OperationKind.SCALE: NsState.INSTANTIATED,
    OperationKind.OPERATE: NsState.INSTANTIATED,
    OperationKind.UPDATE: NsState.INSTANTIATED,
}
"""States that operations start from, where it matters."""
_ROOMY = (ResourceKind.NODE, ResourceKind.VOLUME)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """An operation that could be started: what it would do, and what the service is when it has."""

    ns: NsInstance
    operation: OperationKind
    wishes: Wishes
    plan: Plan
    target: DesiredState | None
    """What should exist afterwards; None for nothing."""
    vnfs: tuple[VnfInstance, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What the reviews found; none of them an error, but where it is forced."""
    observed: Mapping[str, Observed] = field(default_factory=dict)
    """What is there, by key, as it was when this was planned."""
    lost: tuple[str, ...] = ()
    """Keys of snapshots that should be there and are not: nothing brings them back."""
    silent: Silent = field(default_factory=dict)
    """Hosts on which it has something and nobody could look."""
    twice: tuple[tuple[str, Observed], ...] = ()
    """What is there a second time, at a place where the service does not want it, with its endpoint; it stays."""
    is_idle: bool = False
    """Nothing would be done, nor anything be wanted otherwise than it is."""
    seen: Seen | None = None
    """The room that machines were placed with; None where none was."""

    @property
    def digest(self) -> str:
        """Equal for plans that do the same."""
        return plan_digest(self.plan)


def create(
    rt: Runtime,
    nsd: str,
    *,
    name: str,
    flavour_id: str = "",
    description: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> NsInstance:
    """A service that does not run yet, of the NSD with this id, name or package id.

    Raises UsageError for an unknown NSD or flavour or a name that is taken, DescriptorError for a disabled package.
    """
    from manor.store import instances, packages

    if not _NAME.fullmatch(name):
        hint = "letters, digits, dot, dash, underscore, a letter or digit first; up to 64"
        raise UsageError(f"a service cannot be called {name!r}", hint=hint)
    with rt.store.begin() as tx:
        package = packages.get(tx, nsd, kind=PackageKind.NS, hold=True)
        must_be_enabled(package)
        if flavour_id:
            flavours = [df["id"] for df in packages.descriptor(tx, package.id)["flavours"]]
            must_be_known(flavour_id, flavours, whose=f"NSD {package.name}", what="flavour")
        ns = NsInstance(
            id=uuid.uuid4().hex[:8],
            name=name,
            nsd_id=package.descriptor_id,
            nsd_package=package.id,
            flavour_id=flavour_id,
            description=description,
            parameters=dict(parameters or {}),
            created_s=time.time(),
        )
        instances.add(tx, ns)
    return ns


def propose(
    rt: Runtime,
    name_or_id: str,
    operation: OperationKind,
    wishes: Wishes | None = None,
    *,
    tolerant: bool = False,
    overlook: frozenset[str] = frozenset(),
) -> Proposal:
    """What ``operation`` would do to the service now. Changes nothing.

    ``tolerant`` goes on where a VIM or controller cannot be asked, and where a review refuses (for a forced terminate).
    ``overlook`` are keys of disks that are gone and that nothing is to be done about. Raises UsageError where the
    service's state does not allow the operation, PlanRefused where it cannot be had.
    """
    from manor.store import instances, operations, packages

    wishes = wishes or Wishes()
    with rt.store.read() as tx:
        ns = instances.get(tx, name_or_id)
        stored = instances.desired(tx, ns.id)
        vnfs = instances.vnfs(tx, ns.id)
        busy = operations.active(tx, ns.id)
        last = operations.get(tx, ns.last_operation) if ns.last_operation else None
        left, told = left_behind(tx, last), still_left(tx, last, stored)
        also = where_left(tx, last) if operation is OperationKind.TERMINATE else frozenset()
        if wishes.nsd_package:
            package = packages.get(tx, wishes.nsd_package, kind=PackageKind.NS)
            ns = dataclasses.replace(ns, nsd_id=package.descriptor_id, nsd_package=package.id)
    if busy is not None:
        raise UsageError(
            f"service {ns.name} has an operation in {busy.state}: {busy.operation} {busy.id}",
            hint=f"manor op show {busy.id}",
        )
    wanted = _FROM.get(operation)
    if wanted is not None and ns.state is not wanted:
        why = (
            "it runs already" if operation is OperationKind.INSTANTIATE else f"there is nothing to {operation.lower()}"
        )
        raise UsageError(f"service {ns.name} is {ns.state}: {why}", hint=f"manor ns show {ns.name}")
    previous = merged(stored, left)
    were = vnfs
    target: DesiredState | None = None
    seen: Seen | None = None
    if operation is OperationKind.TERMINATE:
        vnfs = ()
    elif operation in (OperationKind.REPAIR, OperationKind.HEAL):
        target = stored
    else:
        target, vnfs, seen = planned(rt, ns, wishes, stored, vnfs)
        refuse_astray(rt.driver, stored, target)
        target = dataclasses.replace(target, wishes=wishes_to_json(lasting(wishes, [vnf.name for vnf in vnfs])))
    everywhere = every_vim(rt) if operation is OperationKind.REPAIR else frozenset()  # who compares looks everywhere
    at_best = frozenset(step.endpoint for step in told)
    view = observe(rt, ns.id, previous, target, also=also, at_best=at_best, beside=everywhere, tolerant=tolerant)
    observed, found_at = overlooked(stored, view.observed, overlook), view.found_at
    if not tolerant:
        previous = without_absent(previous, stored, observed)
    parts = parted(
        target,
        previous,
        observed,
        silent=view.silent,
        cut=cut_off(rt, endpoints_of(previous, target), {host for _, host in view.silent}),
        recreate=wishes.recreate,
    )
    nothing = DesiredState(service_id=ns.id, service_name=ns.name)
    plan = diff(
        parts.target or nothing,
        parts.observed,
        parts.previous,
        operation,
        replace_on=replace_on(rt, target),
        found_at=found_at,
        recreate=frozenset(wishes.recreate),
        left_over=left_over(target, stored, parts.observed),
        patience_s=wishes.patience_s,
        rollout=rollout_of(wishes.rollout, ns.id),
    )
    if seen is not None:
        refuse_outgrown(plan, seen)
    elif operation is OperationKind.HEAL:
        vims = {step.endpoint.partition(":")[2] for step in plan.steps if step.kind in _ROOMY}
        refuse_lost_host(plan, candidates(rt, sorted(vims)))
    plan = for_good(plan, stored)
    back = gone_for(told, view.twice)
    is_other = wishes.parameters or wishes.nsd_package or not are_same(target, stored)
    is_idle = not (plan.steps or back or is_other)
    if wishes.action or not is_idle:
        plan = scripted(rt, plan, wishes, before=side(parts.previous, were), after=side(parts.target, vnfs))
    out_of_reach = [step for step in told if not view.answers(step.endpoint, step.host)]
    plan = with_left(with_these(plan, back), parts, out_of_reach, stored)
    second = second_ones(back, view.twice)
    plan = dataclasses.replace(plan, notes=(*plan.notes, *(told_of(one, parts.observed) for one in second)))
    findings = _reviewed(rt, ns, plan, tolerant=tolerant)
    return Proposal(
        ns=ns,
        operation=operation,
        wishes=wishes,
        plan=plan,
        target=target,
        vnfs=vnfs,
        findings=findings,
        observed=parts.observed,
        lost=lost_snapshots(stored, observed),
        seen=seen,
        twice=second,
        is_idle=is_idle and not wishes.action and not parts.left,
        silent=parts.silent,
    )


def confirm(rt: Runtime, approved: Proposal | Plan, wishes: Wishes | None = None) -> Proposal:
    """The same proposal made anew, now. Raises PlanRefused where the world changed what was approved."""
    plan = approved if isinstance(approved, Plan) else approved.plan
    if not isinstance(approved, Plan):
        wishes = approved.wishes
    now = propose(rt, plan.service_id, plan.operation, wishes)
    require_same(plan, now.plan)
    return now


def start(
    rt: Runtime,
    proposal: Proposal,
    *,
    on_failure: OnFailure = OnFailure.ROLLBACK,
    force: bool = False,
    is_automatic: bool = False,
    beside: Callable[[Connection, str], None] | None = None,
) -> str:
    """Accept the proposal; the id of the operation, which a worker now picks up.

    ``is_automatic`` says that no operator asked for it (isAutomaticInvocation). ``beside`` writes what belongs to the
    operation, whose id it is given, in the transaction that accepts it.
    ``force`` (terminate only) goes on where a step fails and lists what is left. Raises UsageError while another
    operation is active, PlanRefused where one has run since the proposal was made.
    """
    instantiated = proposal.operation is not OperationKind.TERMINATE
    target = Target(
        ns_state=NsState.INSTANTIATED if instantiated else NsState.NOT_INSTANTIATED,
        desired=proposal.target,
        vnfs=proposal.vnfs,
        parameters={**proposal.ns.parameters, **proposal.wishes.parameters},
        nsd=(proposal.ns.nsd_id, proposal.ns.nsd_package) if proposal.wishes.nsd_package else None,
    )
    accepted = rt.operations.submit(
        proposal.plan,
        target,
        on_failure=on_failure,
        params={"wishes": wishes_to_json(proposal.wishes), **_update_type(proposal)},
        is_automatic=is_automatic,
        force=force,
        planned_after=proposal.ns.last_operation,
        seen=proposal.seen,
        beside=beside,
    )
    return accepted.id


def delete(
    rt: Runtime,
    name_or_id: str,
    *,
    force: bool = False,
    tell: Callable[[Sequence[Finding]], None] = lambda _findings: None,
) -> tuple[str, ...]:
    """Forget a service that does not run.

    With ``force`` whatever it does is ended and whatever it has is removed first; keys of what could not be reached or
    removed are returned, and show as orphans. ``tell`` is told what reviews found, which hold up nothing then. Raises
    UsageError where, without it, something is still there.
    """
    from manor.store import instances

    left: tuple[str, ...] = ()
    with rt.store.read() as tx:
        ns = instances.get(tx, name_or_id)
    if force:
        left = _taken_down(rt, ns.id, tell)
    else:
        if ns.state is not NsState.NOT_INSTANTIATED:
            raise UsageError(f"service {ns.name} is {ns.state}", hint=f"manor ns terminate {ns.name}")
        removal = propose(rt, ns.id, OperationKind.TERMINATE)
        there = [step.key for step in removal.plan.steps if step.key in removal.observed]
        if there:
            raise UsageError(
                f"{len(there)} resources of {ns.name} are still there, as {there[0]}",
                hint=f"manor ns delete {ns.name} --force",
            )
    with rt.store.begin() as tx:
        instances.remove(tx, ns.id)
    return left


def _taken_down(rt: Runtime, ns_id: str, tell: Callable[[Sequence[Finding]], None]) -> tuple[str, ...]:
    """What is left of a service when whatever it did is ended and whatever it has is removed."""
    from manor.lcm.work import follow
    from manor.store import instances, operations

    tried: set[str | None] = set()
    while True:
        with rt.store.read() as tx:
            last = instances.get(tx, ns_id).last_operation
            busy = operations.active(tx, ns_id)
        if busy is not None:
            _end(rt, busy)
        try:
            removal = propose(rt, ns_id, OperationKind.TERMINATE, tolerant=True)
            tell(removal.findings)
            return follow(rt, start(rt, removal, force=True)).orphans if removal.plan.steps else ()
        except (UsageError, PlanRefused):
            if last in tried:
                raise
            tried.add(last)  # somebody may have begun something else in between, as a heal: that is ended then


def _end(rt: Runtime, busy: NsLcmOpOcc) -> None:
    """Bring a running or stuck operation to its end, cleaning up what it can."""
    from manor.lcm.work import follow

    while busy.state in ACTIVE:
        # Where it has gone on meanwhile there is nothing to ask of it any more: see where it rests.
        with contextlib.suppress(UsageError):
            if busy.state in CANCELLABLE:
                rt.operations.cancel(busy.id, CancelMode.FORCEFUL)
            elif not busy.is_at_work:
                rt.operations.act(busy.id, Trigger.FAIL)
        busy = follow(rt, busy.id)


def _reviewed(rt: Runtime, ns: NsInstance, plan: Plan, *, tolerant: bool) -> tuple[Finding, ...]:
    """The grant. Raises PlanRefused where a review says no; ``tolerant`` hears it and goes on."""
    view = ServiceView(
        id=ns.id,
        name=ns.name,
        nsd_id=ns.nsd_id,
        state=ns.state,
        resources=tuple(dict.fromkeys(step.key for step in plan.steps)),
        labels=ns.labels,
    )
    findings = rt.plugins.review_plan(plan, view)
    refusals = [finding for finding in findings if finding.severity is Severity.ERROR]
    if refusals and not tolerant:
        raise PlanRefused(
            f"the plan for {ns.name} was refused: {refusals[0].message}", findings=findings, hint=refusals[0].hint
        )
    return findings


def _update_type(proposal: Proposal) -> dict[str, str]:
    """operationParams.updateType, where the operation is one."""
    wanted = proposal.wishes.update_type
    return {"updateType": wanted} if wanted and proposal.operation is OperationKind.UPDATE else {}
