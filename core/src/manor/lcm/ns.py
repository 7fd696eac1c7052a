"""Network-service operations, from a wish to a plan and from a plan to a running operation.

Every one goes the same way: what is desired, what is observed, the plan between them, the reviews, the journal.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manor.api import Finding, Observed, OperationKind, Placement, Plan, ServiceView, Severity
from manor.catalog.crosscheck import crosscheck
from manor.errors import PlanRefused, UsageError
from manor.lcm.diff import diff
from manor.lcm.plans import plan_digest, require_same
from manor.lcm.runtime import Runtime
from manor.lcm.states import Trigger
from manor.lcm.target import Target
from manor.lcm.wishes import Wishes, changed, lasting, request, wishes_to_json
from manor.lcm.world import candidates, endpoints_of, observe, registered
from manor.model.desired import DesiredState
from manor.model.instance import (
    CancelMode,
    EndpointKind,
    NsInstance,
    NsLcmOpOcc,
    NsState,
    OnFailure,
    OperationState,
    PackageKind,
    VnfInstance,
)
from manor.nfvo.demand import demands, rules
from manor.nfvo.desired import desired
from manor.nfvo.request import ServiceRequest, members
from manor.vnfm.levels import scale_levels_of
from manor.vnfm.members import Vnf

__all__ = ["Proposal", "confirm", "create", "delete", "propose", "start"]

_FROM = {
    OperationKind.INSTANTIATE: NsState.NOT_INSTANTIATED,
    OperationKind.REPAIR: NsState.INSTANTIATED,
    OperationKind.HEAL: NsState.INSTANTIATED,
    OperationKind.SCALE: NsState.INSTANTIATED,
    OperationKind.OPERATE: NsState.INSTANTIATED,
    OperationKind.UPDATE: NsState.INSTANTIATED,
}
"""States that operations start from, where it matters."""


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
    """What the reviews found; none of them an error."""
    present: frozenset[str] = frozenset()
    """Keys of what is there now."""

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

    Raises UsageError for an unknown NSD or a name that is taken.
    """
    from manor.store import instances, packages

    if not name or len(name) > 64 or not all(c.isalnum() or c in "._-" for c in name) or not name.isascii():
        raise UsageError(
            f"a service cannot be called {name!r}", hint="letters, digits, dot, dash, underscore; up to 64"
        )
    with rt.store.begin() as tx:
        package = packages.get(tx, nsd, kind=PackageKind.NS)
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
) -> Proposal:
    """What ``operation`` would do to the service now. Changes nothing.

    ``tolerant`` goes on where a VIM or controller cannot be asked (for a forced terminate). Raises UsageError where the
    service's state does not allow the operation, PlanRefused where it cannot be had.
    """
    from manor.store import instances, operations

    wishes = wishes or Wishes()
    with rt.store.read() as tx:
        ns = instances.get(tx, name_or_id)
        stored = instances.desired(tx, ns.id)
        vnfs = instances.vnfs(tx, ns.id)
        busy = operations.active(tx, ns.id)
        left = _left_behind(tx, ns)
    if busy is not None:
        raise UsageError(
            f"service {ns.name} has an operation in {busy.state}: {busy.operation} {busy.id}",
            hint=f"manor op show {busy.id}",
        )
    wanted = _FROM.get(operation)
    if wanted is not None and ns.state is not wanted:
        raise UsageError(
            f"service {ns.name} is {ns.state}: it cannot {operation.lower()}", hint=f"manor ns show {ns.name}"
        )
    previous = _merged(stored, left)
    target: DesiredState | None = None
    if operation in (OperationKind.REPAIR, OperationKind.HEAL):
        target = stored
    elif operation is not OperationKind.TERMINATE:
        target, vnfs = _planned(rt, ns, wishes, stored, vnfs)
        target = dataclasses.replace(target, wishes=wishes_to_json(lasting(wishes, [vnf.name for vnf in vnfs])))
    observed, found_at = observe(rt, ns.id, previous, target, tolerant=tolerant)
    if not tolerant:
        previous = _without_absent(previous, stored, observed)
    nothing = DesiredState(service_id=ns.id, service_name=ns.name)
    plan = diff(
        target or nothing,
        observed,
        previous,
        operation,
        replace_on=_replace_on(rt, target),
        found_at=found_at,
        recreate=frozenset(wishes.recreate),
        patience_s=wishes.patience_s,
    )
    findings = _reviewed(rt, ns, plan)
    if operation is OperationKind.TERMINATE:
        vnfs = ()
    return Proposal(
        ns=ns,
        operation=operation,
        wishes=wishes,
        plan=plan,
        target=target,
        vnfs=vnfs,
        findings=findings,
        present=frozenset(observed),
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
) -> str:
    """Accept the proposal; the id of the operation, which a worker now picks up.

    ``is_automatic`` says that no operator asked for it (isAutomaticInvocation).
    ``force`` (terminate only) goes on where a step fails and lists what is left. Raises UsageError while another
    operation is active, PlanRefused where one has run since the proposal was made.
    """
    instantiated = proposal.operation is not OperationKind.TERMINATE
    target = Target(
        ns_state=NsState.INSTANTIATED if instantiated else NsState.NOT_INSTANTIATED,
        desired=proposal.target,
        vnfs=proposal.vnfs,
        parameters={**proposal.ns.parameters, **proposal.wishes.parameters},
    )
    accepted = rt.operations.submit(
        proposal.plan,
        target,
        on_failure=on_failure,
        params={"wishes": wishes_to_json(proposal.wishes)},
        is_automatic=is_automatic,
        force=force,
        planned_after=proposal.ns.last_operation,
    )
    return accepted.id


def delete(rt: Runtime, name_or_id: str, *, force: bool = False) -> tuple[str, ...]:
    """Forget a service that does not run.

    With ``force`` whatever it does is ended and whatever it has is removed first; keys of what could not be reached or
    removed are returned, and show as orphans. Raises UsageError where, without it, something is still there.
    """
    from manor.lcm.work import follow
    from manor.store import instances, operations

    left: tuple[str, ...] = ()
    with rt.store.read() as tx:
        ns = instances.get(tx, name_or_id)
        busy = operations.active(tx, ns.id)
    if force:
        if busy is not None:
            _end(rt, busy)
        removal = propose(rt, ns.id, OperationKind.TERMINATE, tolerant=True)
        if removal.plan.steps:
            left = follow(rt, start(rt, removal, force=True)).orphans
    else:
        if ns.state is not NsState.NOT_INSTANTIATED:
            raise UsageError(f"service {ns.name} is {ns.state}", hint=f"manor ns terminate {ns.name}")
        removal = propose(rt, ns.id, OperationKind.TERMINATE)
        there = [step.key for step in removal.plan.steps if step.key in removal.present]
        if there:
            raise UsageError(
                f"{len(there)} resources of {ns.name} are still there, as {there[0]}",
                hint=f"manor ns delete {ns.name} --force",
            )
    with rt.store.begin() as tx:
        instances.remove(tx, ns.id)
    return left


def _end(rt: Runtime, busy: NsLcmOpOcc) -> None:
    """Bring a running or stuck operation to FAILED, cleaning up what it can."""
    from manor.lcm.work import follow

    if busy.state is not OperationState.FAILED_TEMP:
        rt.operations.cancel(busy.id, CancelMode.FORCEFUL)
        if follow(rt, busy.id).state is not OperationState.FAILED_TEMP:
            return  # it ended by itself, faster than the cancel
    rt.operations.act(busy.id, Trigger.FAIL)
    follow(rt, busy.id)


def _replace_on(rt: Runtime, target: DesiredState | None) -> dict[str, frozenset[str]]:
    """Spec fields that cannot change in place, by VIM endpoint, as each driver's record says."""
    drivers = rt.plugins.vim_drivers()
    result = {}
    for endpoint in endpoints_of(target):
        kind, _, name = endpoint.partition(":")
        if kind == EndpointKind.VIM:
            driver = drivers.get(rt.endpoint(EndpointKind.VIM, name).driver)
            result[endpoint] = driver.record.replace_on if driver else frozenset()
    return result


def _planned(
    rt: Runtime,
    ns: NsInstance,
    wishes: Wishes,
    stored: DesiredState | None,
    stored_vnfs: tuple[VnfInstance, ...],
) -> tuple[DesiredState, tuple[VnfInstance, ...]]:
    wish = request(rt, ns, wishes, stored)
    dangling = crosscheck(wish.nsd, ns.flavour_id, wish.vnfds)
    for name, vnfd_id in wishes.vnfds.items():
        profiles = {vnf.profile_id for vnf in stored_vnfs if vnf.name == name}
        dangling += crosscheck(changed(wish.nsd, dict.fromkeys(profiles, vnfd_id)), ns.flavour_id, wish.vnfds)
    if dangling:
        raise PlanRefused(f"{ns.name}: {dangling[0].message}", findings=dangling, hint=dangling[0].hint)
    vnfs = members(wish)
    placement = _placed(rt, wish, wishes, vnfs, stored)

    def boot_data(vnfm: str, view: Any, vnfc: Any) -> Any:
        return rt.vnfm(vnfm).boot_data(view, vnfc)

    return desired(wish, vnfs, placement, boot_data), tuple(_instance(wish, vnf) for vnf in vnfs)


def _placed(
    rt: Runtime, wish: ServiceRequest, wishes: Wishes, vnfs: Sequence[Vnf], stored: DesiredState | None
) -> Placement:
    from manor.plugin.connecting import validated

    vims = registered(rt, EndpointKind.VIM)
    if not vims:
        raise PlanRefused(
            "no VIM is registered: nothing to place machines on", hint="manor vim add NAME --driver libvirt"
        )
    policy = rt.plugins.choose("manor_placement_policies", wishes.placement)
    held = stored.placement if stored else {}
    fixed = {key: (place.partition("/")[0], place.partition("/")[2]) for key, place in held.items()}
    wanted = demands(wish, vnfs)
    keys = {demand.key for demand in wanted}
    placement: Placement = policy.record.create(validated(policy, {})).place(
        wanted,
        rules(wish, vnfs),
        candidates(rt, vims),
        {key: place for key, place in fixed.items() if key in keys},
    )
    if placement.refused:
        raise PlanRefused(
            f"{len(placement.refused)} of {len(wanted)} machines of {wish.ns.name} find no host",
            findings=tuple(
                Finding(severity=Severity.ERROR, code="no-host", message=f"{key.split('/', 2)[-1]}: {why}")
                for key, why in placement.refused.items()
            ),
            hint="free something, add a host, or place less: manor vim show NAME",
        )
    return placement


def _instance(wish: ServiceRequest, vnf: Vnf) -> VnfInstance:
    counts: dict[str, int] = {}
    for vnfc in vnf.vnfcs:
        counts[vnfc.vdu.id] = counts.get(vnfc.vdu.id, 0) + 1
    level = wish.vnf_levels.get(vnf.name, vnf.profile.instantiation_level)
    levels = scale_levels_of(vnf.df, level) | dict(wish.scale_levels.get(vnf.name, {}))
    return VnfInstance(
        id=vnf.key,
        name=vnf.name,
        ns_id=wish.ns.id,
        profile_id=vnf.profile.id,
        index=vnf.index,
        vnfd_id=vnf.vnfd.id,
        flavour_id=vnf.df.id,
        vnfm=wish.vnfms.get(vnf.vnfd.id, "generic"),
        instantiation_state=NsState.INSTANTIATED,
        vnf_state="STOPPED" if vnf.is_stopped else "STARTED",
        scale_levels=levels,
        vdu_counts=counts,
    )


def _reviewed(rt: Runtime, ns: NsInstance, plan: Plan) -> tuple[Finding, ...]:
    """The grant. Raises PlanRefused where a review says no."""
    view = ServiceView(
        id=ns.id,
        name=ns.name,
        nsd_id=ns.nsd_id,
        state=ns.state,
        resources=tuple(dict.fromkeys(step.key for step in plan.steps)),
    )
    findings = rt.plugins.review_plan(plan, view)
    refusals = [finding for finding in findings if finding.severity is Severity.ERROR]
    if refusals:
        raise PlanRefused(
            f"the plan for {ns.name} was refused: {refusals[0].message}", findings=findings, hint=refusals[0].hint
        )
    return findings


def _left_behind(tx: Any, ns: NsInstance) -> DesiredState | None:
    """What the last operation meant to make, where it did not complete: it may have left some of it."""
    from manor.model.desired import desired_from_json
    from manor.store import operations

    if not ns.last_operation:
        return None
    last = operations.get(tx, ns.last_operation)
    if last.state is OperationState.COMPLETED:
        return None
    wanted = operations.target(tx, last.id).get("desired")
    return desired_from_json(wanted) if wanted else None


def _merged(*states: DesiredState | None) -> DesiredState | None:
    """One state with everything that any of them has; the first that knows a key wins."""
    known = [state for state in states if state is not None]
    if not known:
        return None
    resources = {resource.spec.key: resource for state in reversed(known) for resource in state.resources}
    return dataclasses.replace(known[0], resources=tuple(resources.values()))


def _without_absent(
    state: DesiredState | None, stored: DesiredState | None, observed: Mapping[str, Observed]
) -> DesiredState | None:
    """Without what only an operation that did not complete knows of, and what it took back itself."""
    if state is None:
        return None
    kept = {resource.spec.key for resource in stored.resources} if stored else set()
    return dataclasses.replace(
        state, resources=tuple(r for r in state.resources if r.spec.key in kept or r.spec.key in observed)
    )
