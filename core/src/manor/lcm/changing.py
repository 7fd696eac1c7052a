"""UPDATE of one VNF: another flavour, other links, and what is said of it (ChangeVnfFlavourData,
ChangeExtVnfConnectivityData, ModifyVnfInfoData)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from manor.api import OperationKind
from manor.errors import UsageError
from manor.lcm.choosing import chosen
from manor.lcm.ns import Proposal, propose
from manor.lcm.runtime import Runtime
from manor.lcm.wishes import request, standing
from manor.model.instance import VnfInstance
from manor.nfvo.request import ServiceRequest
from manor.vnfm.levels import scale_levels_of

__all__ = ["act", "change_ext_conn", "change_flavour", "modify_information"]


def change_flavour(rt: Runtime, ns: str, vnf: str, new_flavour_id: str, *, level: str = "") -> Proposal:
    """The proposal to give a VNF another deployment flavour of its VNFD, at an instantiation level of it or at its
    default (CHANGE_VNF_DF). Machines that both flavours have keep their key, MACs and addresses.

    Raises UsageError for a flavour or level that the VNFD does not have, PlanRefused.
    """
    now = standing(rt, ns)
    found = now.vnf(vnf)
    wish = request(rt, now.ns, now.wishes, now.state)
    vnfd = wish.vnfds[found.vnfd_id]
    df = chosen(vnfd.flavours, new_flavour_id, whose=f"VNFD {vnfd.id}", what="flavour")
    scale_levels_of(df, level)
    if df.id == found.flavour_id and not level:
        return propose(rt, now.ns.id, OperationKind.UPDATE, now.wishes)
    in_profile = next(p.flavour_id for p in wish.flavour.vnf_profiles if p.id == found.profile_id)
    usual = vnfd.flavour(in_profile)
    wishes = now.wishes
    wishes = dataclasses.replace(
        wishes,
        vnf_flavours=_with(wishes.vnf_flavours, found.name, "" if usual and usual.id == df.id else df.id),
        # The level and the numbers so far are the other flavour's; an empty level is the new one's default.
        vnf_levels={**wishes.vnf_levels, found.name: level},
        scale_levels=_with(wishes.scale_levels, found.name, {}),
        vnf_operations={found.name: "change_flavour"},
        update_type="CHANGE_VNF_DF",
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def change_ext_conn(rt: Runtime, ns: str, vnf: str, links: Mapping[str, str]) -> Proposal:
    """The proposal to put external connection points of a VNF on other virtual links of the service: link by CP, an
    empty one for none (CHANGE_EXTERNAL_VNF_CONNECTIVITY). On another link a port gets another address.

    Raises UsageError for a CP or link that there is not, PlanRefused where a forwarding path needs the CP as it is.
    """
    if not links:
        raise UsageError("which connection point to which link?", hint="--connect CP=LINK, or CP= for none")
    now = standing(rt, ns)
    found = now.vnf(vnf)
    wish = request(rt, now.ns, now.wishes, now.state)
    for cpd, link in links.items():
        chosen(wish.vnfds[found.vnfd_id].ext_cpds, cpd, whose=found.name, what="external CP")
        if link:
            chosen(wish.nsd.virtual_links, link, whose=now.ns.name, what="virtual link")
    usual = _connected(wish, found)
    wanted = {**now.wishes.connections.get(found.name, {}), **links}
    differing = {cpd: link for cpd, link in wanted.items() if usual.get(cpd, "") != link}
    wishes = dataclasses.replace(
        now.wishes,
        connections=_with(now.wishes.connections, found.name, differing),
        vnf_operations={found.name: "change_external_connectivity"},
        update_type="CHANGE_EXTERNAL_VNF_CONNECTIVITY",
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def act(rt: Runtime, ns: str, vnf: str, action: str, parameters: Mapping[str, Any] | None = None) -> Proposal:
    """The proposal to have a VNF do one of its package's actions. Raises UsageError for one that it does not have."""
    now = standing(rt, ns)
    found = now.vnf(vnf)
    asked = {"vnf": found.name, "name": action, "parameters": dict(parameters or {})}
    return propose(rt, now.ns.id, OperationKind.UPDATE, dataclasses.replace(now.wishes, action=asked))


def modify_information(
    rt: Runtime,
    ns: str,
    vnf: str,
    *,
    name: str | None = None,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
) -> Proposal:
    """The proposal to change what is said of a VNF (MODIFY_VNF_INFORMATION, SOL003 VnfInfoModificationRequest).

    ``name`` is vnfInstanceName, for people: the VNF keeps the one it is found by. ``metadata`` and ``properties``
    (vnfConfigurableProperties) are merged into those there are; a value None takes one away. Properties are parameters
    of this VNF's boot data and day-1 commands: where they change what a machine boots with, it is made anew.
    Raises UsageError where nothing is said.
    """
    if name is None and description is None and not metadata and not properties:
        raise UsageError("what to change?", hint="--name, --description, --metadata KEY=VALUE or --property KEY=VALUE")
    now = standing(rt, ns)
    found = now.vnf(vnf)
    said = dict(now.wishes.information.get(found.name, {}))
    texts = {"vnfInstanceName": name, "vnfInstanceDescription": description}
    said |= {key: text for key, text in texts.items() if text is not None}
    for key, changes in (("metadata", metadata), ("vnfConfigurableProperties", properties)):
        merged = {**said.get(key, {}), **(changes or {})}
        said[key] = {name: value for name, value in merged.items() if value is not None}
    wishes = dataclasses.replace(
        now.wishes,
        information=_with(now.wishes.information, found.name, {key: one for key, one in said.items() if one}),
        vnf_operations={found.name: "modify_information"},
        update_type="MODIFY_VNF_INFORMATION",
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def _with(said: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Pure: with ``value`` for ``name``, or without it where the value says nothing."""
    others = {key: one for key, one in said.items() if key != name}
    return {**others, name: value} if value else others


def _connected(wish: ServiceRequest, vnf: VnfInstance) -> dict[str, str]:
    """Link by CP, as the NSD has it for this VNF."""
    profile = next(p for p in wish.flavour.vnf_profiles if p.id == vnf.profile_id)
    return {cpd: one.virtual_link for one in profile.connectivity for cpd in one.cpds}
