"""From wishes to what should exist: descriptors read, sizes worked out, hosts chosen by the placement policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manor.api import Finding, Placement, Severity
from manor.catalog.crosscheck import crosscheck
from manor.errors import PlanRefused
from manor.lcm.runtime import Runtime
from manor.lcm.steering import refuse_unsteerable
from manor.lcm.wishes import Wishes, changed, request
from manor.lcm.world import candidates, registered
from manor.model.desired import DesiredState
from manor.model.instance import EndpointKind, NsInstance, NsState, VnfInstance
from manor.nfvo.demand import demands, rules
from manor.nfvo.desired import desired
from manor.nfvo.request import ServiceRequest, members
from manor.vnfm.levels import scale_levels_of
from manor.vnfm.members import Vnf

__all__ = ["planned"]


def planned(
    rt: Runtime,
    ns: NsInstance,
    wishes: Wishes,
    stored: DesiredState | None,
    stored_vnfs: tuple[VnfInstance, ...],
) -> tuple[DesiredState, tuple[VnfInstance, ...]]:
    """The service's state and VNFs as wished, from what is stored of it now. Raises PlanRefused, UsageError,
    DescriptorError."""
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

    said = wishes.information
    state = desired(wish, vnfs, placement, boot_data)
    refuse_unsteerable(rt, wish, state, stored)
    return state, tuple(_instance(wish, v, said.get(v.name, {})) for v in vnfs)


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


def _instance(wish: ServiceRequest, vnf: Vnf, information: Mapping[str, Any]) -> VnfInstance:
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
        information=dict(information),
    )
