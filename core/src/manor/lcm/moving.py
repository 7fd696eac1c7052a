"""MOVE_VNF: a VNF's machines go to another host or VIM, the new ones first where links can turn to them."""

from __future__ import annotations

import dataclasses

from manor.api import OperationKind
from manor.errors import UsageError
from manor.lcm.ns import Proposal, propose
from manor.lcm.rollout import Strategy
from manor.lcm.runtime import Runtime
from manor.lcm.updating import beside
from manor.lcm.wishes import request, standing
from manor.lcm.world import registered
from manor.model.instance import EndpointKind

__all__ = ["move"]


def move(rt: Runtime, ns: str, vnf: str, place: str, *, discard_data: bool = False) -> Proposal:
    """The proposal to have a VNF's machines at ``place`` (``<vim>`` or ``<vim>/<host>``), with their addresses.

    With a controller the new machines are made and proven beside the old ones; without, or where they are looked into
    by SSH at the address that the old ones have so far, the old ones go first. Disks
    that came from an image are made anew from it. Raises UsageError for a VIM that there is not, PlanRefused where a
    blank disk would lose its data, or where there is no room.
    """
    place = place.removesuffix("/")
    if place.partition("/")[0] not in (known := registered(rt, EndpointKind.VIM)):
        raise UsageError(f"there is no VIM {place.partition('/')[0]}", hint=f"registered: {', '.join(known)}")
    now = standing(rt, ns)
    found = now.vnf(vnf)
    mine = {where for key, where in now.state.placement.items() if key.startswith(f"{found.id}/")}
    wishes = dataclasses.replace(
        now.wishes,
        vnf_locations={**now.wishes.vnf_locations, found.name: place},
        vnf_operations={found.name: ""},  # a VNF has no operation for it
        update_type="MOVE_VNF",
    )
    if all(place in (where, where.partition("/")[0]) for where in mine):
        return propose(rt, now.ns.id, OperationKind.UPDATE, now.wishes)  # it is there
    turned = beside(now, wishes, [found.name], discard_data=discard_data, instead="bring its data to safety first")
    by_ssh = any(
        way.startswith("ssh://") for check in now.state.checks if check.key == found.id for way in check.nodes.values()
    )
    if request(rt, now.ns, now.wishes, now.state).sdn and not by_ssh:
        wishes = dataclasses.replace(turned, rollout={"strategy": str(Strategy.BLUE_GREEN), "vnfs": [found.name]})
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)
