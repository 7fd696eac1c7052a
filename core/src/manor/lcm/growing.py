"""UPDATE of what a service consists of: VNFs, nested services, links, access points and paths beside those of its NSD,
and the NSD (SOL005 §6.5.4.3: INSTANTIATE_VNF, REMOVE_VNF, ADD/REMOVE_NESTED_NS, ADD/REMOVE_SAP,
ADD/REMOVE/UPDATE_VNFFG, CREATE/DELETE_NS_VIRTUAL_LINK, ASSOC_NEW_NSD_VERSION)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import islice
from typing import Any

from manor.api import OperationKind
from manor.errors import PlanRefused, UsageError
from manor.lcm.choosing import chosen, must_be_known
from manor.lcm.ns import Proposal, propose
from manor.lcm.runtime import Runtime
from manor.lcm.updating import resized
from manor.lcm.wishes import Standing, Wishes, described, must_be_enabled, request, standing
from manor.model.instance import PackageKind
from manor.model.nsd import Nsd, NsProfile, VirtualLinkConnectivity, VnfProfile
from manor.model.soundness import faults
from manor.nfvo.amend import (
    Amendment,
    amended,
    amendment_from_json,
    amendment_to_json,
    carried,
    users_of_link,
)
from manor.nfvo.request import ServiceRequest, numbers
from manor.vnfm.members import vnf_name

__all__ = [
    "add_nested",
    "add_vnf",
    "amend",
    "associate_nsd",
    "delete_link",
    "remove_nested",
    "remove_sap",
    "remove_vnf",
    "remove_vnffg",
]

_KINDS = {"virtual_links": "virtual link", "sapds": "SAP", "vnffgds": "forwarding graph"}
"""What an update adds by itself, in words."""


def add_vnf(
    rt: Runtime,
    ns: str,
    profile: str,
    *,
    vnfd: str = "",
    flavour: str = "",
    level: str = "",
    levels: Mapping[str, int] | None = None,
    links: Mapping[str, str] | None = None,
) -> Proposal:
    """The proposal to add one VNF (INSTANTIATE_VNF): one more of a profile that the service has, or, with ``vnfd`` (id,
    name or package), the first of a new profile. It is of this ``flavour``, at this instantiation level or with these
    scale ``levels`` (by aspect), its external CPs on ``links`` (link by CP); as the profile says where nothing is said.

    Raises UsageError for what there is not, PlanRefused beyond the bounds of NSD or VNFD.
    """
    from manor.store import packages

    now = standing(rt, ns)
    wish = request(rt, now.ns, now.wishes, now.state)
    if level and levels:
        raise UsageError("one of instantiationLevelId and targetScaleLevelInfo says how large it is to be, not both")
    known = [each.id for each in wish.flavour.vnf_profiles]
    number = _number_of(now, profile)
    name = vnf_name(profile, next(islice(numbers(profile, now.wishes.removed), number, None)))
    wishes = now.wishes
    if levels:
        wishes = dataclasses.replace(wishes, scale_levels={**wishes.scale_levels, name: dict(levels)})
    if not vnfd:
        if profile not in known:
            hint = f"it has: {', '.join(known)}; a new one needs its VNFD"
            raise UsageError(f"{now.ns.name} has no VNF profile {profile}", hint=hint)
        found = next(each for each in wish.flavour.vnf_profiles if each.id == profile)
        _must_connect(now, wish, found, name, links or {})
        wishes = dataclasses.replace(
            wishes,
            vnf_counts={**wishes.vnf_counts, profile: number + 1},
            vnf_flavours={**wishes.vnf_flavours, **({name: flavour} if flavour else {})},
            vnf_levels={**wishes.vnf_levels, **({name: level} if level else {})},
            connections={**wishes.connections, **({name: dict(links)} if links else {})},
        )
        return _proposed(rt, now, wishes, "INSTANTIATE_VNF")
    if profile in known:
        raise UsageError(f"{now.ns.name} has a VNF profile {profile} already", hint="choose another name for it")
    with rt.store.read() as tx:
        package = packages.get(tx, vnfd, kind=PackageKind.VNF)
    new = VnfProfile(
        id=profile,
        vnfd_id=package.descriptor_id,
        flavour_id=flavour,
        instantiation_level=level,
        max_number_of_instances=10_000,
        connectivity=_connectivity(now, wish.nsd, links or {}),
    )
    amendment = amendment_to_json(_amendment(now).adds("vnf_profiles", new))
    return _proposed(rt, now, dataclasses.replace(wishes, amendment=amendment), "INSTANTIATE_VNF")


def remove_vnf(rt: Runtime, ns: str, vnf: str, *, patience_s: float | None = None) -> Proposal:
    """The proposal to remove this very VNF (REMOVE_VNF). Its name is not used again.

    Raises UsageError where there is none, PlanRefused below the NSD's bounds or where a path needs it.
    """
    now = standing(rt, ns)
    found = now.vnf(vnf)
    wish = request(rt, now.ns, now.wishes, now.state)
    profile = next(each for each in wish.flavour.vnf_profiles if each.id == found.profile_id)
    left = _number_of(now, profile.id) - 1
    added = any(each.id == profile.id for each in _amendment(now).vnf_profiles)
    wishes = dataclasses.replace(now.wishes, patience_s=patience_s)
    if added and not left:
        wishes = dataclasses.replace(
            wishes,
            amendment=amendment_to_json(_without(rt, now, "vnf_profiles", profile.id)),
            vnf_counts={name: number for name, number in wishes.vnf_counts.items() if name != profile.id},
        )
    else:
        wishes = dataclasses.replace(
            wishes,
            vnf_counts={**wishes.vnf_counts, profile.id: left},
            removed=(*wishes.removed, found.name),
        )
    return _proposed(rt, now, wishes, "REMOVE_VNF")


def add_nested(
    rt: Runtime,
    ns: str,
    part: str,
    nsd: str,
    *,
    flavour: str = "",
    links: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Proposal:
    """The proposal to nest one more service (ADD_NESTED_NS), of the NSD with this id, name or package: all that it has
    comes in under ``part``. ``links`` joins its SAPs to links of the service (link by SAP); ``parameters`` are for all
    its VNFs.

    Raises UsageError for what there is not or is there already, PlanRefused where it cannot be nested.
    """
    from manor.store import packages

    now = standing(rt, ns)
    wish = request(rt, now.ns, now.wishes, now.state)
    if not part or not all(c.isalnum() or c in "_-" for c in part) or not part.isascii():
        raise UsageError(f"a nested service cannot be called {part!r}", hint="letters, digits, dash, underscore")
    if part in [*(each.id for each in wish.flavour.ns_profiles), *(each.id for each in wish.flavour.vnf_profiles)]:
        raise UsageError(f"{now.ns.name} has a {part} already", hint="choose another name for it")
    with rt.store.read() as tx:
        package = packages.get(tx, nsd, kind=PackageKind.NS)
    must_be_enabled(package)
    new = NsProfile(
        id=part,
        nsd_id=package.descriptor_id,
        flavour_id=flavour,
        connectivity=_connectivity(now, wish.nsd, links or {}),
        parameters=dict(parameters or {}),
    )
    return _amending(rt, now, _amendment(now).adds("ns_profiles", new), "ADD_NESTED_NS")


def remove_nested(rt: Runtime, ns: str, part: str, *, patience_s: float | None = None) -> Proposal:
    """The proposal to be without a nested service and all that it has (REMOVE_NESTED_NS); what was said of it is
    forgotten.

    Raises UsageError where there is none, PlanRefused where a path of the service needs it.
    """
    now = standing(rt, ns)
    wish = request(rt, now.ns, now.wishes, now.state)
    chosen(wish.flavour.ns_profiles, part, whose=now.ns.name, what="nested service")
    amendment = _amendment(now).without_part(part).removes("ns_profiles", part, described(rt, now.ns))
    within = f"{part}."

    def left(said: Mapping[str, Any]) -> dict[str, Any]:
        return {name: one for name, one in said.items() if not name.startswith(within)}

    wishes = dataclasses.replace(
        now.wishes,
        amendment=amendment_to_json(amendment),
        vnf_counts=left(now.wishes.vnf_counts),
        ns_scale_levels=left(now.wishes.ns_scale_levels),
        locations=left(now.wishes.locations),
        profile_vnfds=left(now.wishes.profile_vnfds),
        chains_off=tuple(left(dict.fromkeys(now.wishes.chains_off))),
        removed=tuple(left(dict.fromkeys(now.wishes.removed))),
        patience_s=patience_s,
    )
    return _proposed(rt, now, wishes, "REMOVE_NESTED_NS")


def amend(rt: Runtime, ns: str, elements: Mapping[str, Any], update_type: str) -> Proposal:
    """The proposal to add elements, ``virtual_links``, ``sapds`` or ``vnffgds``, each a list in the terms of
    :mod:`manor.model.nsd`; to have graphs in place of those with the same id, for UPDATE_VNFFG. For a SAP, ``sap`` says
    where it is attached. Raises UsageError for what cannot be read, is there already, or is not there to be updated;
    PlanRefused where it does not fit.
    """
    now = standing(rt, ns)
    given = amendment_from_json({key: value for key, value in elements.items() if key != "sap"})
    amendment = _amendment(now)
    there = amended(described(rt, now.ns, amendment), amendment)
    for kind, what in _KINDS.items():
        known = [one.id for one in getattr(there, kind)]
        for element in getattr(given, kind):
            if not element.id:
                raise UsageError(f"{kind}: an element without an id")
            for why in faults(element):
                raise UsageError(f"{what} {element.id}: {why}", hint="correct it; nothing was done")
            if update_type == "UPDATE_VNFFG":
                must_be_known(element.id, known, whose=now.ns.name, what=what)
            elif element.id in known and kind != "sapds":  # a SAP of the NSD is attached so
                raise UsageError(f"{now.ns.name} has a {what} {element.id} already", hint="choose another id for it")
            amendment = amendment.adds(kind, element)
    if amendment == _amendment(now) and not elements.get("sap"):
        raise UsageError("what to add?", hint="--data FILE, see docs/operating.md")
    parameters = {}
    if elements.get("sap"):
        parameters["sap"] = {**now.ns.parameters.get("sap", {}), **elements["sap"]}
    links = {link.id for link in amended(described(rt, now.ns, amendment), amendment).virtual_links}
    for sapd in given.sapds:
        if sapd.virtual_link and sapd.virtual_link not in links:
            raise UsageError(f"SAP {sapd.id}: there is no virtual link {sapd.virtual_link}")
    return _amending(rt, now, amendment, update_type, parameters)


def delete_link(rt: Runtime, ns: str, link: str) -> Proposal:
    """The proposal to be without a virtual link (DELETE_NS_VIRTUAL_LINK). Raises PlanRefused while it is used."""
    now = standing(rt, ns)
    wish = request(rt, now.ns, now.wishes, now.state)
    chosen(wish.nsd.virtual_links, link, whose=now.ns.name, what="virtual link")
    if users := users_of_link(wish.nsd, now.ns.flavour_id, link, now.wishes.connections):
        raise PlanRefused(
            f"virtual link {link} is used by {', '.join(users[:3])}" + (" and others" if len(users) > 3 else ""),
            hint="move them first: manor vnf change-ext-conn",
        )
    return _amending(rt, now, _without(rt, now, "virtual_links", link), "DELETE_NS_VIRTUAL_LINK")


def remove_sap(rt: Runtime, ns: str, sap: str) -> Proposal:
    """The proposal to be without a SAP (REMOVE_SAP), and without its port. Raises UsageError where there is none."""
    now = standing(rt, ns)
    wish = request(rt, now.ns, now.wishes, now.state)
    chosen(wish.nsd.sapds, sap, whose=now.ns.name, what="SAP")
    ports = {name: port for name, port in now.ns.parameters.get("sap", {}).items() if name != sap}
    parameters = {"sap": ports} if "sap" in now.ns.parameters else {}
    return _amending(rt, now, _without(rt, now, "sapds", sap), "REMOVE_SAP", parameters)


def remove_vnffg(rt: Runtime, ns: str, vnffg: str) -> Proposal:
    """The proposal to be without a forwarding graph and all its paths (REMOVE_VNFFG)."""
    now = standing(rt, ns)
    wish = request(rt, now.ns, now.wishes, now.state)
    chosen(wish.nsd.vnffgds, vnffg, whose=now.ns.name, what="forwarding graph")
    return _amending(rt, now, _without(rt, now, "vnffgds", vnffg), "REMOVE_VNFFG")


def associate_nsd(rt: Runtime, ns: str, package: str) -> Proposal:
    """The proposal to be of another version of the NSD (ASSOC_NEW_NSD_VERSION), with all that follows from it.

    What operators changed stays where the new version has what it is about. Raises UsageError for an NSD of something
    else, PlanRefused where the service cannot become that.
    """
    from manor.store import packages

    now = standing(rt, ns)
    with rt.store.read() as tx:
        info = packages.get(tx, package, kind=PackageKind.NS)
    if info.id != now.ns.nsd_package:
        must_be_enabled(info)
    new_ns = dataclasses.replace(now.ns, nsd_id=info.descriptor_id, nsd_package=info.id)
    old, new = described(rt, now.ns), described(rt, new_ns)
    same = [(nsd.invariant_id or nsd.name or nsd.id) for nsd in (old, new)]
    if same[0] != same[1] or (old.designer and new.designer and old.designer != new.designer):
        raise UsageError(
            f"NSD {new.id} is no version of {old.id}",
            hint="versions have one invariant id, or one name, and a designer",
        )
    amendment = carried(_amendment(now), old, new)
    becomes = described(rt, new_ns, amendment)
    wishes = _carried(now.wishes, amendment, becomes, now.ns.flavour_id)
    df = amended(becomes, amendment).flavour(now.ns.flavour_id)
    profiles = {profile.id: profile for profile in df.vnf_profiles} if df else {}
    for vnf in now.vnfs:
        if vnf.profile_id in profiles:
            profile = profiles[vnf.profile_id]
            wishes = resized(rt, wishes, vnf, profile, profile.vnfd_id)
    wishes = dataclasses.replace(wishes, nsd_package=info.id if info.id != now.ns.nsd_package else "")
    return _proposed(rt, now, wishes, "ASSOC_NEW_NSD_VERSION")


def _carried(wishes: Wishes, amendment: Amendment, new: Nsd, flavour_id: str) -> Wishes:
    """Pure: the wishes as far as they are about what the new NSD has. VNFDs are as that one names them."""
    df = new.flavour(flavour_id)
    if df is None:
        return wishes  # the plan is refused, and says why
    profiles = {profile.id for profile in (*df.vnf_profiles, *amendment.vnf_profiles)}
    aspects = {aspect.id for aspect in df.scaling_aspects}
    paths = {nfp.id for graph in (*new.vnffgds, *amendment.vnffgds) for nfp in graph.nfpds}
    return dataclasses.replace(
        wishes,
        amendment=amendment_to_json(amendment),
        level=wishes.level if any(level.id == wishes.level for level in df.instantiation_levels) else "",
        vnf_counts={name: number for name, number in wishes.vnf_counts.items() if name in profiles},
        ns_scale_levels={name: level for name, level in wishes.ns_scale_levels.items() if name in aspects},
        locations={name: place for name, place in wishes.locations.items() if name in profiles or name == "*"},
        chains_off=tuple(name for name in wishes.chains_off if name in paths),
        profile_vnfds={},
        vnfds={},
    )


def _connectivity(now: Standing, nsd: Nsd, links: Mapping[str, str]) -> tuple[VirtualLinkConnectivity, ...]:
    """What is on which link, of link by CP or SAP. Raises UsageError for a link that there is not."""
    by_link: dict[str, list[str]] = {}
    for cpd, link in links.items():
        chosen(nsd.virtual_links, link, whose=now.ns.name, what="virtual link")
        by_link.setdefault(link, []).append(cpd)
    return tuple(VirtualLinkConnectivity(virtual_link=link, cpds=tuple(cps)) for link, cps in by_link.items())


def _must_connect(
    now: Standing, wish: ServiceRequest, profile: VnfProfile, name: str, links: Mapping[str, str]
) -> None:
    """Raises UsageError for a CP that VNFs of the profile do not have, or a link that there is not."""
    vnfd = wish.vnfds.get(profile.vnfd_id)
    for cpd, link in links.items():
        must_be_known(cpd, [each.id for each in vnfd.ext_cpds] if vnfd else [], whose=name, what="external CP")
        chosen(wish.nsd.virtual_links, link, whose=now.ns.name, what="virtual link")


def _amendment(now: Standing) -> Amendment:
    return amendment_from_json(now.wishes.amendment)


def _without(rt: Runtime, now: Standing, kind: str, element: str) -> Amendment:
    """What operators changed, and then that there is no such element."""
    amendment = _amendment(now)
    return amendment.removes(kind, element, described(rt, now.ns, amendment))


def _number_of(now: Standing, profile: str) -> int:
    return sum(vnf.profile_id == profile for vnf in now.vnfs)


def _amending(
    rt: Runtime, now: Standing, amendment: Amendment, update_type: str, parameters: Mapping[str, Any] | None = None
) -> Proposal:
    wishes = dataclasses.replace(now.wishes, amendment=amendment_to_json(amendment), parameters=dict(parameters or {}))
    return _proposed(rt, now, wishes, update_type)


def _proposed(rt: Runtime, now: Standing, wishes: Wishes, update_type: str) -> Proposal:
    wishes = dataclasses.replace(wishes, update_type=update_type)
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)
