"""UPDATE: other parameters, chains switched off and on, and another package for a VNF (UpdateNsRequest)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from manor.api import OperationKind, VolumeSpec
from manor.errors import PlanRefused, UsageError
from manor.lcm.choosing import chosen
from manor.lcm.ns import Proposal, propose
from manor.lcm.rollout import Strategy, rollout_of
from manor.lcm.runtime import Runtime
from manor.lcm.wishes import Standing, Wishes, described, request, standing, vnfd_of
from manor.model.instance import PackageInfo, PackageKind, VnfInstance
from manor.model.nsd import VnfProfile
from manor.nfvo.amend import amended, amendment_from_json
from manor.vnfm.levels import carried_over

__all__ = ["beside", "change_package", "resized", "update", "with_vnfd"]


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
    paths = [nfp for graph in wish.nsd.vnffgds for nfp in graph.nfpds]
    for name in (*chains_off, *chains_on):
        chosen(paths, name, whose=now.ns.name, what="chain")
    off = (set(now.wishes.chains_off) | set(chains_off)) - set(chains_on)
    kind = "MODIFY_VNF_INFORMATION" if parameters else "REMOVE_VNFFG" if chains_off else "ADD_VNFFG"
    wishes = dataclasses.replace(
        now.wishes, parameters=dict(parameters or {}), chains_off=tuple(sorted(off)), update_type=kind
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def change_package(
    rt: Runtime,
    ns: str,
    vnf: str | Sequence[str],
    package: str,
    *,
    strategy: str = "rolling",
    fraction: float = 0.0,
    gate: Sequence[str] = (),
    soak_s: float = 0.0,
    discard_data: bool = False,
) -> Proposal:
    """The proposal to run VNFs from another package (ChangeCurrentVnfPkgRequest).

    ``rolling`` replaces one machine after the other, each proven healthy before the next one goes; ``canary`` holds the
    first ``fraction`` of them to the gate before the others go; ``blue-green`` makes all new ones beside the old, turns
    links and chains to them at once, and removes the old last. ``gate`` are bounds on KPIs (``METRIC<NUMBER``) that new
    machines have to keep for ``soak_s`` seconds. Where health or gate fails, the rollback brings the old ones back.

    Raises UsageError for an unknown package or one of another product, PlanRefused where it does not fit the service,
    or where blank disks would lose their data (``discard_data`` allows that).
    """
    from manor.store import packages

    now = standing(rt, ns)
    found = [now.vnf(name) for name in ([vnf] if isinstance(vnf, str) else vnf)]
    if not found or len({one.name for one in found}) != len(found):
        raise UsageError("which VNFs to upgrade?", hint="name each once")
    with rt.store.read() as tx:
        info = packages.get(tx, package, kind=PackageKind.VNF)
        new = packages.descriptor(tx, info.id)
        old = {
            one.vnfd_id: packages.descriptor(tx, present.id)
            for one in found
            if (present := packages.by_descriptor(tx, PackageKind.VNF, one.vnfd_id)) is not None
        }
    amendment = amendment_from_json(now.wishes.amendment)
    df = amended(described(rt, now.ns, amendment), amendment).flavour(now.ns.flavour_id)
    profiles = df.vnf_profiles if df else ()
    wishes = now.wishes
    for one in found:
        _must_be_same_product(one, info, old.get(one.vnfd_id, {}), new)
        profile = next(p for p in profiles if p.id == one.profile_id)
        wishes = with_vnfd(wishes, now.vnfs, one, info.descriptor_id, profile.vnfd_id)
        wishes = resized(rt, wishes, one, profile, info.descriptor_id)
    names = tuple(one.name for one in found if one.vnfd_id != info.descriptor_id)
    rollout = {"strategy": strategy, "vnfs": names, "fraction": fraction, "gate": list(gate), "soak_s": soak_s}
    if rollout_of(rollout, now.ns.id) is not None and strategy == Strategy.BLUE_GREEN:
        wishes = beside(
            now, wishes, names, discard_data=discard_data, instead="upgrade it rolling, which keeps the disk"
        )
    wishes = dataclasses.replace(
        wishes,
        rollout=rollout if names else {},
        vnf_operations=dict.fromkeys(names, "change_current_package"),
        update_type="CHANGE_VNFPKG",
    )
    return propose(rt, now.ns.id, OperationKind.UPDATE, wishes)


def beside(now: Standing, wishes: Wishes, vnfs: Sequence[str], *, discard_data: bool, instead: str) -> Wishes:
    """Pure: the wishes with new machines for these VNFs beside the old ones.

    Raises PlanRefused, with what to do ``instead``, where a blank disk would stay behind with its data, unless it may.
    """
    for name in vnfs:
        prefix = f"{now.ns.id}/vnf/{name}/"
        disks = [r.spec.key for r in now.state.resources if isinstance(r.spec, VolumeSpec) and not r.spec.image]
        kept = next((key for key in disks if key.startswith(prefix)), "")
        if kept and not discard_data:
            raise PlanRefused(
                f"{name} has a disk with data, {kept.partition('/vnf/')[2]}, that new machines would not have",
                hint=f"{instead}; or --discard-data",
            )
    raised = {name: wishes.generations.get(name, 0) + 1 for name in vnfs}
    return dataclasses.replace(wishes, generations={**wishes.generations, **raised}, switched=tuple(vnfs))


def _must_be_same_product(vnf: VnfInstance, info: PackageInfo, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    product = [(one.get("provider", ""), one.get("product_name", "")) for one in (old, new)]
    if old and product[0] != product[1]:
        raise UsageError(
            f"package {info.name} is {' '.join(product[1]).strip()}, and {vnf.name} is {' '.join(product[0]).strip()}",
            hint="a VNF is upgraded to another version of the same product",
        )


def resized(rt: Runtime, wishes: Wishes, vnf: VnfInstance, profile: VnfProfile, vnfd_id: str) -> Wishes:
    """The wishes with what this VNF was scaled to in terms of another VNFD. Raises PlanRefused where it has no such."""
    new = vnfd_of(rt, vnfd_id)[0]
    df = new.flavour(wishes.vnf_flavours.get(vnf.name, profile.flavour_id)) if new else None
    if df is None:
        return wishes  # the plan is refused, and says why
    said = wishes.vnf_levels.get(vnf.name)
    level, levels = carried_over(
        df,
        said or "",
        wishes.scale_levels.get(vnf.name, {}),
        usual="" if said == "" else profile.instantiation_level,
        counts=vnf.vdu_counts,
        vnf=vnf.name,
    )
    others = {name: one for name, one in wishes.vnf_levels.items() if name != vnf.name}
    scaled = {name: one for name, one in wishes.scale_levels.items() if name != vnf.name}
    return dataclasses.replace(
        wishes,
        vnf_levels=wishes.vnf_levels if level == (said or "") else others,
        scale_levels={**scaled, vnf.name: levels} if levels else scaled,
    )


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
