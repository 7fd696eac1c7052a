"""UPDATE: other parameters, chains switched off and on, and another package for a VNF (UpdateNsRequest)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from manor.api import OperationKind
from manor.errors import UsageError
from manor.lcm.ns import Proposal, propose
from manor.lcm.runtime import Runtime
from manor.lcm.wishes import Wishes, request, standing
from manor.model.instance import PackageKind, VnfInstance

__all__ = ["change_package", "update", "with_vnfd"]


def update(
    rt: Runtime,
    ns: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    chains_off: Collection[str] = (),
    chains_on: Collection[str] = (),
) -> Proposal:
    """The proposal to change parameters (MODIFY_VNF_INFORMATION) and which forwarding paths there are (REMOVE_VNFFG,
    ADD_VNFFG). Raises UsageError for a path that the NSD does not have, PlanRefused.
    """
    if not (parameters or chains_off or chains_on):
        raise UsageError("what to change?", hint="--param KEY=VALUE, or manor chain disable NS/CHAIN")
    now = standing(rt, ns)
    wish = request(rt, now.ns, now.wishes, now.state)
    paths = [nfp.id for graph in wish.nsd.vnffgds for nfp in graph.nfpds]
    for name in (*chains_off, *chains_on):
        if name not in paths:
            raise UsageError(f"{now.ns.name} has no chain {name}", hint=f"it has: {', '.join(paths) or 'none'}")
    off = (set(now.wishes.chains_off) | set(chains_off)) - set(chains_on)
    kind = "MODIFY_VNF_INFORMATION" if parameters else "REMOVE_VNFFG" if chains_off else "ADD_VNFFG"
    wishes = dataclasses.replace(
        now.wishes, parameters=dict(parameters or {}), chains_off=tuple(sorted(off)), update_type=kind
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def change_package(rt: Runtime, ns: str, vnf: str, package: str) -> Proposal:
    """The proposal to run a VNF from another package (ChangeCurrentVnfPkgRequest), one machine after the other.

    Each machine's health is proven before the next one goes; where that fails, the rollback brings the old ones back.
    Raises UsageError for an unknown package or one of another product, PlanRefused where it does not fit the service.
    """
    from manor.store import packages

    now = standing(rt, ns)
    found = now.vnf(vnf)
    with rt.store.read() as tx:
        chosen = packages.get(tx, package, kind=PackageKind.VNF)
        nsd = packages.descriptor(tx, now.ns.nsd_package)
        old, new = (
            packages.descriptor(tx, info.id) if info is not None else {}
            for info in (packages.by_descriptor(tx, PackageKind.VNF, found.vnfd_id), chosen)
        )
    product = [(one.get("provider", ""), one.get("product_name", "")) for one in (old, new)]
    if old and product[0] != product[1]:
        raise UsageError(
            f"package {chosen.name} is {' '.join(product[1]).strip()}, and {found.name} is "
            f"{' '.join(product[0]).strip()}",
            hint="a VNF is upgraded to another version of the same product",
        )
    in_nsd = next(p["vnfd_id"] for df in nsd["flavours"] for p in df["vnf_profiles"] if p["id"] == found.profile_id)
    wishes = with_vnfd(now.wishes, now.vnfs, found, chosen.descriptor_id, in_nsd)
    wishes = dataclasses.replace(wishes, update_type="CHANGE_VNFPKG")
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def with_vnfd(wishes: Wishes, vnfs: Sequence[VnfInstance], vnf: VnfInstance, vnfd_id: str, in_nsd: str) -> Wishes:
    """Pure: the wishes with this VNFD for this VNF. Once all VNFs of a profile have it, so have those to come."""
    alike = [other.name for other in vnfs if other.profile_id == vnf.profile_id]
    of_profile = wishes.profile_vnfds.get(vnf.profile_id, in_nsd)
    of_vnf = {name: wishes.vnfds.get(name, of_profile) for name in alike} | {vnf.name: vnfd_id}
    if set(of_vnf.values()) == {vnfd_id}:
        of_profile = vnfd_id
    others = {name: vnfd for name, vnfd in wishes.vnfds.items() if name not in alike}
    return dataclasses.replace(
        wishes,
        vnfds={**others, **_differing(of_vnf.items(), of_profile)},
        profile_vnfds={
            **{profile: vnfd for profile, vnfd in wishes.profile_vnfds.items() if profile != vnf.profile_id},
            **_differing([(vnf.profile_id, of_profile)], in_nsd),
        },
    )


def _differing(items: Iterable[tuple[str, str]], usual: str) -> dict[str, str]:
    return {name: value for name, value in items if value != usual}
