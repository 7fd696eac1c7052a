"""Scaling arithmetic: instantiation and scale levels to numbers of instances (ETSI IFA011 §7.1.10, IFA007 §7.2.4)."""

from __future__ import annotations

from collections.abc import Mapping

from manor.errors import PlanRefused, UsageError
from manor.model.vnfd import ScalingAspect, VnfDf

__all__ = ["carried_over", "instances", "refuse_out_of_bounds", "scale_levels_of"]


def scale_levels_of(df: VnfDf, instantiation_level: str = "") -> dict[str, int]:
    """Scale level by aspect at an instantiation level; the default level for an empty id.

    Raises UsageError for a level that the flavour does not have.
    """
    levels = {aspect.id: 0 for aspect in df.scaling_aspects}
    wanted = instantiation_level or df.default_instantiation_level
    if wanted:
        for level in df.instantiation_levels:
            if level.id == wanted:
                return levels | dict(level.scale_levels)
        known = ", ".join(level.id for level in df.instantiation_levels) or "none"
        raise UsageError(f"flavour {df.id} has no instantiation level {wanted}", hint=f"it has: {known}")
    return levels


def instances(
    df: VnfDf, instantiation_level: str = "", scale_levels: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Number of instances by VDU id.

    The instantiation level, or the default one, is where it starts: numbers that it gives outright win over its scale
    info. ``scale_levels`` (aspect → level) then add what their aspects' deltas add above that level, and take what they
    take below it; VDUs of other aspects keep their numbers. A VDU that nothing speaks of has its profile's minimum.
    Raises UsageError for an unknown level or aspect, or one beyond the aspect's maximum.
    """
    counts = _initial(df)
    base = scale_levels_of(df, instantiation_level)
    for aspect_id, level in base.items():
        _add(counts, _aspect(df, aspect_id, level), level, sign=1)
    wanted = instantiation_level or df.default_instantiation_level
    for named in df.instantiation_levels:
        # Without a default, a flavour's only level is the one to start at.
        if named.id == wanted or (not wanted and len(df.instantiation_levels) == 1):
            counts.update(named.vdu_levels)
    for aspect_id, level in (scale_levels or {}).items():
        aspect = _aspect(df, aspect_id, level)
        _add(counts, aspect, level, sign=1)
        _add(counts, aspect, base[aspect_id], sign=-1)
    return {vdu_id: max(0, number) for vdu_id, number in counts.items()}


def carried_over(
    new: VnfDf, level: str, scale_levels: Mapping[str, int], *, usual: str, counts: Mapping[str, int], vnf: str
) -> tuple[str, dict[str, int]]:
    """Instantiation level and scale levels of a VNF that gets another descriptor, as far as that one has them.

    ``usual`` is the level that it has where it is given none, ``counts`` are its instances by VDU id. Raises
    PlanRefused where its size would change because of what the new descriptor does not have.
    """
    most = {aspect.id: aspect.max_scale_level for aspect in new.scaling_aspects}
    kept = {aspect: at for aspect, at in scale_levels.items() if at <= most.get(aspect, -1)}
    missing = [f"level {at} of aspect {aspect}" for aspect, at in scale_levels.items() if aspect not in kept]
    if level and level not in [each.id for each in new.instantiation_levels]:
        missing.append(f"instantiation level {level}")
        level = ""
    if missing:
        for vdu_id, number in instances(new, level or usual, kept).items():
            if (was := counts.get(vdu_id, number)) != number:
                raise PlanRefused(
                    f"{vnf} has {was} of VDU {vdu_id} and would have {number}: the new VNFD has no {missing[0]}",
                    hint=f"scale it to that number first: manor vnf scale NS/{vnf}",
                )
    return level, kept


def refuse_out_of_bounds(df: VnfDf, counts: Mapping[str, int], vnf: str) -> None:
    """Raise PlanRefused where a VDU would have fewer or more instances than its profile allows."""
    for profile in df.vdu_profiles:
        number = counts.get(profile.vdu_id, 0)
        least, most = profile.min_number_of_instances, profile.max_number_of_instances
        if not least <= number <= most:
            raise PlanRefused(
                f"{vnf} would have {number} of VDU {profile.vdu_id}: its profile allows {least} to {most}",
                hint=f"choose another level: manor vnf show {vnf}",
            )


def _initial(df: VnfDf) -> dict[str, int]:
    profiles = {profile.vdu_id: profile for profile in df.vdu_profiles}
    counts = {}
    for vdu in df.vdus:
        profile = profiles.get(vdu.id)
        counts[vdu.id] = df.initial_deltas.get(vdu.id, profile.min_number_of_instances if profile else 1)
    return counts


def _aspect(df: VnfDf, aspect_id: str, level: int) -> ScalingAspect:
    for aspect in df.scaling_aspects:
        if aspect.id == aspect_id:
            if not 0 <= level <= aspect.max_scale_level:
                raise UsageError(f"scale level {level} of {aspect_id} is outside 0 to {aspect.max_scale_level}")
            return aspect
    known = ", ".join(aspect.id for aspect in df.scaling_aspects) or "none"
    raise UsageError(f"flavour {df.id} has no scaling aspect {aspect_id}", hint=f"it has: {known}")


def _add(counts: dict[str, int], aspect: ScalingAspect, level: int, *, sign: int) -> None:
    for vdu_id, number in _added(aspect, level).items():
        counts[vdu_id] = counts.get(vdu_id, 0) + sign * number


def _added(aspect: ScalingAspect, level: int) -> dict[str, int]:
    """Instances that ``level`` steps of the aspect add; the last step delta repeats."""
    added: dict[str, int] = {}
    names = aspect.step_deltas or tuple(aspect.deltas)
    for step in range(level if names else 0):
        delta = aspect.deltas.get(names[min(step, len(names) - 1)], {})
        for vdu_id, number in delta.items():
            added[vdu_id] = added.get(vdu_id, 0) + number
    return added
