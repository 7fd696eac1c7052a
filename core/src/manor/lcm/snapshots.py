"""Snapshots of a VNF: the content of its machines' disks at one moment, to come back to (CREATE_VNF_SNAPSHOT,
REVERT_VNF_TO_SNAPSHOT, DELETE_VNF_SNAPSHOT_INFO).

A snapshot is a resource like any other: it has a key, is ensured, observed and removed, and goes with its service. What
belongs to it is written into the wishes when it is taken, so that it stays what it is whatever becomes of the VNF.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from manor.api import CallContext, NodeSpec, OperationKind, Phase, SnapshotSpec, Support, VimCapability, spec_to_json
from manor.errors import PlanRefused, UsageError
from manor.lcm.choosing import must_be_known
from manor.lcm.ns import Proposal, propose
from manor.lcm.runtime import Runtime, endpoint_id
from manor.lcm.wishes import Standing, snapshot_specs, standing
from manor.lcm.world import OBSERVE_S
from manor.model.instance import EndpointKind
from manor.vnfm.members import slug

__all__ = ["create", "delete", "listed", "revert"]


def create(rt: Runtime, ns: str, vnf: str, name: str, *, description: str = "") -> Proposal:
    """The proposal to take a snapshot of a VNF. Its machines go on; their memory is not in it.

    Raises UsageError for a name that is taken, PlanRefused where there is no disk or a VIM takes none.
    """
    now = standing(rt, ns)
    found = now.vnf(vnf)
    if name in now.wishes.snapshots or not name:
        raise UsageError(f"{now.ns.name} has a snapshot {name!r} already", hint="choose another name")
    parts: list[dict[str, Any]] = []
    for resource in now.state.resources:
        node = resource.spec
        if not isinstance(node, NodeSpec) or not node.key.startswith(f"{found.id}/") or not node.disks:
            continue
        vim = resource.endpoint.partition(":")[2]
        _must_take(rt, vim)
        spec = SnapshotSpec(
            key=f"{now.ns.id}/snapshot/{slug(name)}/{node.key.partition('/vnf/')[2]}",
            owner=rt.owner,
            host=node.host,
            name=f"{name} of {found.name}",
            node=node.key,
            volumes=tuple(disk.volume for disk in node.disks),
        )
        parts.append({"vim": vim, "spec": spec_to_json(spec)})
    if not parts:
        raise PlanRefused(f"{found.name} has no disk: there is nothing to take a snapshot of")
    taken = {"vnf": found.name, "description": description, "created_s": time.time(), "parts": parts}
    wishes = dataclasses.replace(
        now.wishes,
        snapshots={**now.wishes.snapshots, name: taken},
        vnf_operations={found.name: "create_snapshot"},
        update_type="CREATE_VNF_SNAPSHOT",
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def revert(rt: Runtime, ns: str, vnf: str, name: str) -> Proposal:
    """The proposal to give a VNF's disks the content that they had. What was written since is lost.

    Machines that have come since have no part in it and stay as they are. Raises UsageError for a snapshot there is
    not, or of another VNF; PlanRefused where the VNF has moved away from it.
    """
    now = standing(rt, ns)
    found = now.vnf(vnf)
    taken = _named(now, name)
    if taken["vnf"] != found.name:
        raise UsageError(f"snapshot {name} is of {taken['vnf']}, not of {found.name}")
    parts = {_identity(spec.node): spec for _, spec in snapshot_specs({name: taken})}
    reverted: dict[str, str] = {}
    anew: list[str] = []
    for resource in now.state.resources:
        node = resource.spec
        part = parts.get(_identity(node.key)) if isinstance(node, NodeSpec) else None
        if part is None or not isinstance(node, NodeSpec):
            continue
        if part.host != node.host:
            raise PlanRefused(
                f"snapshot {name} is on {part.host}, and {found.name} runs on {node.host}",
                hint=f"manor vnf move {now.ns.name}/{found.name} {resource.endpoint.partition(':')[2]}/{part.host}",
            )
        kept = {key.rpartition("/")[2] for key in part.volumes}
        disks = [disk.volume for disk in node.disks if disk.volume.rpartition("/")[2] in kept]
        reverted |= dict.fromkeys(disks, part.key)
        anew += [*disks, node.key]
    if not reverted:
        raise PlanRefused(f"no machine of {found.name} is in snapshot {name} any more")
    wishes = dataclasses.replace(
        now.wishes,
        reverted=reverted,
        recreate=tuple(anew),
        vnf_operations={found.name: "revert_to_snapshot"},
        update_type="REVERT_VNF_TO_SNAPSHOT",
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def delete(rt: Runtime, ns: str, name: str) -> Proposal:
    """The proposal to be without a snapshot. Raises UsageError where there is none."""
    now = standing(rt, ns)
    of = _named(now, name)["vnf"]
    left = {key: taken for key, taken in now.wishes.snapshots.items() if key != name}
    wishes = dataclasses.replace(
        now.wishes,
        snapshots=left,
        vnf_operations={of: ""},  # nothing is done to the VNF
        update_type="DELETE_VNF_SNAPSHOT_INFO",
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def listed(rt: Runtime, ns: str) -> dict[str, dict[str, Any]]:
    """The service's snapshots by name: VNF, when, what for, and their parts' keys with the state observed of each."""
    from manor.lcm.world import observe

    now = standing(rt, ns)
    view = observe(rt, now.ns.id, now.state, tolerant=True)

    def state(vim: str, key: str) -> str:
        if key in view.observed:
            return view.observed[key].phase
        return Phase.UNKNOWN if endpoint_id(EndpointKind.VIM, vim) in view.mute else "lost"

    result = {}
    for name, taken in now.wishes.snapshots.items():
        states = {spec.key: str(state(vim, spec.key)) for vim, spec in snapshot_specs({name: taken})}
        result[name] = {key: value for key, value in taken.items() if key != "parts"} | {"parts": states}
    return result


def _named(now: Standing, name: str) -> dict[str, Any]:
    must_be_known(name, now.wishes.snapshots, whose=now.ns.name, what="snapshot")
    taken: dict[str, Any] = now.wishes.snapshots[name]
    return taken


def _identity(node_key: str) -> str:
    """The machine's key whatever its generation."""
    from manor.vnfm.members import identity

    return identity(f"{node_key}/-")


def _must_take(rt: Runtime, vim: str) -> None:
    found = rt.vim(vim).capabilities(CallContext.within(OBSERVE_S))
    if found.has(VimCapability.SNAPSHOT) is not Support.FULL:
        why = found.detail.get(VimCapability.SNAPSHOT, "")
        raise PlanRefused(f"VIM {vim} takes no snapshots" + (f": {why}" if why else ""))
