"""From wishes to what should exist: descriptors read, sizes worked out, hosts chosen by the placement policy."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from manor.api import (
    BootData,
    Candidate,
    Demand,
    Finding,
    Placement,
    PlacementPolicy,
    Severity,
    VnfcView,
    VnfView,
)
from manor.catalog.crosscheck import crosscheck
from manor.errors import PlanRefused, PluginError, UsageError
from manor.lcm.bootdata import boot_data
from manor.lcm.choosing import must_be_known
from manor.lcm.claims import Seen, set_aside
from manor.lcm.claims import held as held_by_others
from manor.lcm.runtime import Runtime
from manor.lcm.sites import Sites, placement_settings, read_sites, spans, spent
from manor.lcm.steering import refuse_unsteerable
from manor.lcm.wishes import Wishes, changed, must_be_enabled, request
from manor.lcm.world import candidates, ordinary, registered
from manor.model.desired import DesiredState
from manor.model.instance import EndpointKind, NsInstance, NsState, PackageKind, VnfInstance
from manor.nfvo.answer import unsound
from manor.nfvo.bounds import refuse_beyond
from manor.nfvo.demand import AT_SITE, demands, rules
from manor.nfvo.desired import desired
from manor.nfvo.elements import elements
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
) -> tuple[DesiredState, tuple[VnfInstance, ...], Seen]:
    """The service's state and VNFs as wished, from what is stored of it now, and the room that there was.

    Raises PlanRefused, UsageError, DescriptorError.
    """
    wish = request(rt, ns, wishes, stored)
    dangling = crosscheck(wish.nsd, ns.flavour_id, wish.vnfds)
    for name, vnfd_id in wishes.vnfds.items():
        profiles = {vnf.profile_id for vnf in stored_vnfs if vnf.name == name}
        dangling += crosscheck(changed(wish.nsd, dict.fromkeys(profiles, vnfd_id)), ns.flavour_id, wish.vnfds)
    if dangling:
        raise PlanRefused(f"{ns.name}: {dangling[0].message}", findings=dangling, hint=dangling[0].hint)
    if stored is None and wish.locations:
        _must_be_places(rt, wish)
    vnfs = members(wish)
    _must_be_known(wish, {vnf.name for vnf in stored_vnfs}, [vnf.name for vnf in vnfs])
    _must_be_enabled(rt, vnfs, stored_vnfs)
    refuse_beyond(wish, vnfs, stored_vnfs, anew=bool(wishes.nsd_package))
    own = _own_managers(vnfs, stored_vnfs)
    here = {*registered(rt, EndpointKind.VNFM), *rt.plugins.vnfm_drivers()}
    acting = {vnf.name: _manager(vnf, own.get(vnf.name, ""), here) for vnf in vnfs}
    wish = replace(wish, held_ordinary=_as_they_are(vnfs, stored, stored_vnfs), vnfms=acting)
    sites = read_sites(rt.home)
    wanted = demands(wish, vnfs)
    placement, seen = _placed(rt, wish, wishes, vnfs, wanted, stored, sites)

    def day_0(vnfm: str, view: VnfView, vnfc: VnfcView) -> BootData:
        return boot_data(rt.vnfm(vnfm), view, vnfc)

    said = wishes.information
    state = desired(wish, vnfs, placement, day_0)
    state = replace(
        state,
        site_spans=spans(wanted, placement.hosts, sites),
        elements=elements(wish),
        notes=(*state.notes, *_stood_in_for(wish, vnfs, own)),
    )
    refuse_unsteerable(rt, wish, state, stored)
    vnf_instances = tuple(_instance(wish, v, said.get(v.name, {}), own.get(v.name, "")) for v in vnfs)
    return state, vnf_instances, seen


def _own_managers(vnfs: Sequence[Vnf], there: Sequence[VnfInstance]) -> dict[str, str]:
    """By name, to whom each VNF that is there belongs; one that gets another VNFD is given away anew."""
    was = {vnf.name: vnf for vnf in there}
    kept = [(vnf, was[vnf.name]) for vnf in vnfs if vnf.name in was]
    return {vnf.name: before.vnfm for vnf, before in kept if before.vnfd_id == vnf.vnfd.id}


def _manager(vnf: Vnf, own: str, here: Collection[str]) -> str:
    """Its own, else the one that ``vnfm_info`` asks for, where we have it; else the generic one."""
    return next((name for name in (own, *vnf.vnfd.vnfm_info) if name in here), "generic")


def _stood_in_for(wish: ServiceRequest, vnfs: Sequence[Vnf], own: Mapping[str, str]) -> Iterator[str]:
    """That a VNF's own manager is not here; or of a new one that none is which its package asks for."""
    for vnf in vnfs:
        asked, manager, mine = vnf.vnfd.vnfm_info, wish.vnfms[vnf.name], own.get(vnf.name, "")
        if mine and mine != manager:
            yield f"{vnf.name}: its VNF manager {mine} is not here, {manager} stands in"
        elif not mine and asked and manager not in asked:
            yield f"{vnf.name}: no VNF manager {' or '.join(asked)} is here, {manager} stands in"


def _must_be_places(rt: Runtime, wish: ServiceRequest) -> None:
    """Raises UsageError where a place is said of a VNF, or is a VIM, that there is not."""
    profiles = [profile.id for profile in wish.flavour.vnf_profiles]
    vims = registered(rt, EndpointKind.VIM)
    for profile, said in wish.locations.items():
        if profile not in ("*", *profiles):
            raise UsageError(f"{wish.ns.name} has no VNF {profile} to place", hint=f"it has: {', '.join(profiles)}")
        vim = said.partition("/")[0]
        if vims and not said.startswith(AT_SITE) and vim not in vims:
            raise UsageError(f"there is no vim named {vim} (registered: {', '.join(vims)})", hint="manor vim list")


def _must_be_known(wish: ServiceRequest, there: Collection[str], coming: Collection[str]) -> None:
    """Raises UsageError for the scale of a VNF that neither is there nor comes."""
    for name in set(wish.scale_levels) - set(there):
        must_be_known(name, coming, whose=wish.ns.name, what="VNF")


def _must_be_enabled(rt: Runtime, vnfs: Sequence[Vnf], there: Sequence[VnfInstance]) -> None:
    """Raises DescriptorError where a VNF is to be made of a package that is disabled; those that are there go on."""
    from manor.store import packages

    was = {vnf.name: vnf.vnfd_id for vnf in there}
    new = dict.fromkeys(vnf.vnfd.id for vnf in vnfs if was.get(vnf.name) != vnf.vnfd.id)
    with rt.store.read() as tx:
        for vnfd_id in new:
            if (info := packages.by_descriptor(tx, PackageKind.VNF, vnfd_id)) is not None:
                must_be_enabled(info)


def _as_they_are(
    vnfs: Sequence[Vnf], stored: DesiredState | None, stored_vnfs: Sequence[VnfInstance]
) -> frozenset[str]:
    """Identities of the ports that stay ordinary ones: those that are, of VNFs that are described as before."""
    before = {vnf.id: (vnf.vnfd_id, vnf.flavour_id) for vnf in stored_vnfs}
    same = [vnf for vnf in vnfs if before.get(vnf.key) == (vnf.vnfd.id, vnf.df.id)]
    there = ordinary(stored)
    return frozenset(port.identity for vnf in same for vnfc in vnf.vnfcs for port in vnfc.ports) & there


def _placed(
    rt: Runtime,
    wish: ServiceRequest,
    wishes: Wishes,
    vnfs: Sequence[Vnf],
    wanted: tuple[Demand, ...],
    stored: DesiredState | None,
    sites: Sites,
) -> tuple[Placement, Seen]:
    from manor.plugin.connecting import made

    vims = registered(rt, EndpointKind.VIM)
    if not vims:
        raise PlanRefused(
            "no VIM is registered: nothing to place machines on", hint="manor vim add NAME --driver libvirt"
        )
    chosen = rt.plugins.choose("manor_placement_policies", wishes.placement)
    policy: PlacementPolicy = made(chosen, placement_settings(rt.home, wishes.placement), rt.plugins.counters)
    held = stored.placement if stored else {}
    fixed = {key: (place.partition("/")[0], place.partition("/")[2]) for key, place in held.items()}
    keys = {demand.key for demand in wanted}
    moved = {
        vnfc.key
        for vnf in vnfs
        for vnfc in vnf.vnfcs
        if vnf.name in wishes.vnf_locations
        and wishes.vnf_locations[vnf.name] not in (held.get(vnfc.key), fixed.get(vnfc.key, ("", ""))[0])
    }
    time_s = time.time()
    with rt.store.read() as tx:
        others = held_by_others(tx, but_ns=wish.ns.id)
        taken = spent(tx, but_ns=wish.ns.id) if sites.links else {}
    hosts = [sites.located(host, taken) for host in set_aside(candidates(rt, vims), others.demands)]
    asked = (
        wanted,
        rules(wish, vnfs),
        hosts,
        {key: place for key, place in fixed.items() if key in keys and key not in moved},
    )
    _refuse_unknown([demand for demand in wanted if demand.key not in asked[-1]], hosts)
    placement = policy.place(*asked)
    cpu_overcommit = _overcommit(policy)
    if wrong := unsound(placement, *asked, cpu_overcommit=cpu_overcommit):
        raise PluginError(
            f"placement policy {wishes.placement}: {wrong}",
            hint=f"report it to {chosen.plugin}; nothing was done",
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
    there = {(host.vim, host.host.name): host for host in hosts}
    needs = {demand.key: demand.needs for demand in wanted}
    return placement, Seen(
        time_s=time_s,
        hosts=there,
        cpu_overcommit=cpu_overcommit,
        needs=needs,
        counted=others.operations,
        ways=sites.links,
        spent=taken,
    )


def _refuse_unknown(demands: Iterable[Demand], hosts: Sequence[Candidate]) -> None:
    """Raise UsageError where a machine is to be put on a host that its VIM has never heard of."""
    for demand in demands:
        known = [each.host.name for each in hosts if each.vim == demand.wanted_vim]
        if demand.wanted_host and known:
            must_be_known(demand.wanted_host, known, whose=f"VIM {demand.wanted_vim}", what="host")


def _overcommit(policy: PlacementPolicy) -> float | None:
    """Virtual CPUs per physical one, where the policy says so."""
    from manor.plugin import unguarded

    try:
        said = getattr(unguarded(policy), "cpu_overcommit", None)
    except Exception:  # a stranger's property may raise anything, and to say nothing is allowed
        return None
    return float(said) if isinstance(said, int | float) and math.isfinite(said) and said > 0 else None


def _instance(wish: ServiceRequest, vnf: Vnf, information: Mapping[str, Any], vnfm: str) -> VnfInstance:
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
        vnfm=vnfm or wish.vnfms[vnf.name],
        instantiation_state=NsState.INSTANTIATED,
        vnf_state="STOPPED" if vnf.is_stopped else "STARTED",
        scale_levels=levels,
        vdu_counts=counts,
        information=dict(information),
    )
