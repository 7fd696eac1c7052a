"""SCALE: from "one more" to the numbers and levels that a service is to have, within the descriptors' bounds.

What is asked is made absolute here, from what the service has now: the same proposal made twice wants the same.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from manor.api import OperationKind
from manor.errors import PlanRefused, UsageError
from manor.lcm.choosing import chosen
from manor.lcm.ns import Proposal, propose
from manor.lcm.runtime import Runtime
from manor.lcm.wishes import Standing, Wishes, request, standing
from manor.model.instance import VnfInstance
from manor.model.nsd import NsDf, NsScalingAspect
from manor.model.vnfd import VnfDf
from manor.nfvo.request import ServiceRequest
from manor.vnfm.levels import scale_levels_of

__all__ = ["scale_ns", "scale_vnf"]


def scale_ns(
    rt: Runtime,
    ns: str,
    *,
    vnfs: Mapping[str, str] | None = None,
    level: str = "",
    aspect: str = "",
    steps: int = 0,
    to_level: int | None = None,
) -> Proposal:
    """The proposal to scale a service (ScaleNsRequest): exactly one of these.

    ``vnfs``: by VNF profile id ``+1``, ``-1`` or a number. ``level``: an NS instantiation level. ``aspect``: an NS
    scaling aspect, by ``steps`` up or down or ``to_level``. Raises UsageError for what the NSD does not have,
    PlanRefused for what it does not allow.
    """
    if sum(map(bool, (vnfs, level, aspect))) != 1:
        raise UsageError("what to scale by?", hint="one of --vnf PROFILE=+1, --level ID, --aspect ID")
    now = standing(rt, ns)
    df = request(rt, now.ns, now.wishes, now.state).flavour
    if vnfs:
        wishes = _by_vnfs(now, df, vnfs)
    elif level:
        wishes = _to_ns_level(now.wishes, df, level)
    else:
        wishes = _by_aspect(now.wishes, df, aspect, steps, to_level)
    return propose(rt, now.ns.id, OperationKind.SCALE, wishes)


def scale_vnf(
    rt: Runtime, ns: str, vnf: str, *, aspect: str = "", steps: int = 0, to_level: int | None = None, level: str = ""
) -> Proposal:
    """The proposal to scale one VNF: an ``aspect`` by ``steps`` (ScaleVnfRequest), or that aspect ``to_level`` or the
    whole VNF to an instantiation ``level`` (ScaleVnfToLevelRequest).

    Raises UsageError for what the VNFD does not have, PlanRefused for what it does not allow.
    """
    if bool(aspect) == bool(level):
        raise UsageError("what to scale by?", hint="one of --aspect ID, --to-level ID")
    now = standing(rt, ns)
    wish = request(rt, now.ns, now.wishes, now.state)
    found = now.vnf(vnf)
    df = _flavour(wish, found)
    if level:
        scale_levels_of(df, level)
        others = {name: levels for name, levels in now.wishes.scale_levels.items() if name != found.name}
        wishes = dataclasses.replace(
            now.wishes, vnf_levels={**now.wishes.vnf_levels, found.name: level}, scale_levels=others
        )
    else:
        levels = {**found.scale_levels, aspect: _step(df, found, aspect, steps, to_level)}
        wishes = dataclasses.replace(now.wishes, scale_levels={**now.wishes.scale_levels, found.name: levels})
    by_steps = aspect and to_level is None
    wishes = dataclasses.replace(wishes, vnf_operations={found.name: "scale" if by_steps else "scale_to_level"})
    return propose(rt, now.ns.id, OperationKind.SCALE, wishes)


def _by_vnfs(now: Standing, df: NsDf, asked: Mapping[str, str]) -> Wishes:
    counts = dict(now.wishes.vnf_counts)
    for profile_id, text in asked.items():
        chosen(df.vnf_profiles, profile_id, whose=f"NS flavour {df.id}", what="VNF profile")
        there = sum(vnf.profile_id == profile_id for vnf in now.vnfs)
        if not re.fullmatch(r"[+-]?[0-9]{1,4}", text):
            raise UsageError(f"{profile_id} cannot be scaled by '{text}'", hint=f"--vnf {profile_id}=+1, =-1 or =3")
        counts[profile_id] = there + int(text) if text[0] in "+-" else int(text)
    return dataclasses.replace(now.wishes, vnf_counts=counts)


def _to_ns_level(wishes: Wishes, df: NsDf, level: str) -> Wishes:
    """A level says all numbers: those wished one by one before are over."""
    chosen(df.instantiation_levels, level, whose=f"NS flavour {df.id}", what="instantiation level")
    return dataclasses.replace(wishes, level=level, vnf_counts={}, ns_scale_levels={})


def _by_aspect(wishes: Wishes, df: NsDf, aspect_id: str, steps: int, to_level: int | None) -> Wishes:
    aspect = chosen(df.scaling_aspects, aspect_id, whose=f"NS flavour {df.id}", what="scaling aspect")
    now = wishes.ns_scale_levels.get(aspect_id, _level_now(aspect, wishes, df))
    wanted = _bounded(f"aspect {aspect_id}", now, steps, to_level, len(aspect.levels) - 1)
    return dataclasses.replace(
        wishes,
        ns_scale_levels={**wishes.ns_scale_levels, aspect_id: wanted},
        vnf_counts={**wishes.vnf_counts, **aspect.levels[wanted]},
    )


def _level_now(aspect: NsScalingAspect, wishes: Wishes, df: NsDf) -> int:
    """The aspect's level whose numbers the service has now; 0 where none has just them."""
    counts = {profile.id: profile.min_number_of_instances for profile in df.vnf_profiles}
    for level in df.instantiation_levels:
        if level.id == (wishes.level or df.default_instantiation_level):
            counts.update(level.vnf_levels)
    counts.update(wishes.vnf_counts)
    fits = (n for n, numbers in enumerate(aspect.levels) if all(counts.get(p) == c for p, c in numbers.items()))
    return next(fits, 0)


def _flavour(wish: ServiceRequest, vnf: VnfInstance) -> VnfDf:
    df = wish.vnfds[vnf.vnfd_id].flavour(vnf.flavour_id)
    if df is None:
        raise UsageError(f"VNFD {vnf.vnfd_id} has no flavour {vnf.flavour_id!r}", hint=f"manor vnf show {vnf.name}")
    return df


def _step(df: VnfDf, vnf: VnfInstance, aspect_id: str, steps: int, to_level: int | None) -> int:
    aspect = chosen(df.scaling_aspects, aspect_id, whose=vnf.name, what="scaling aspect")
    now = vnf.scale_levels.get(aspect_id, 0)
    return _bounded(f"{vnf.name}'s aspect {aspect_id}", now, steps, to_level, aspect.max_scale_level)


def _bounded(what: str, now: int, steps: int, to_level: int | None, most: int) -> int:
    wanted = now + steps if to_level is None else to_level
    if not 0 <= wanted <= most:
        raise PlanRefused(
            f"{what} is at level {now}: level {wanted} is outside 0 to {most}",
            hint="stay within, or change the scaling aspect in the descriptor",
        )
    return wanted
