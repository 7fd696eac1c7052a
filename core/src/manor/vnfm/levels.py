"""Scaling arithmetic: instantiation and scale levels to numbers of instances (ETSI IFA011 §7.1.10, IFA007 §7.2.4)."""

from __future__ import annotations

from collections.abc import Mapping

from manor.errors import UsageError
from manor.model.vnfd import ScalingAspect, VnfDf

__all__ = ["instances", "scale_levels_of"]


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

    With ``scale_levels`` (aspect → level) those rule; else the instantiation level, or the default one: numbers that
    it gives outright win over its scale info. A VDU that nothing speaks of has its profile's minimum.
    Raises UsageError for an unknown level or aspect, or one beyond the aspect's maximum.
    """
    counts = _initial(df)
    levels = dict(scale_levels) if scale_levels is not None else scale_levels_of(df, instantiation_level)
    aspects = {aspect.id: aspect for aspect in df.scaling_aspects}
    for aspect_id, level in levels.items():
        aspect = aspects.get(aspect_id)
        if aspect is None:
            raise UsageError(f"flavour {df.id} has no scaling aspect {aspect_id}", hint=f"it has: {', '.join(aspects)}")
        if not 0 <= level <= aspect.max_scale_level:
            raise UsageError(f"scale level {level} of {aspect_id} is outside 0 to {aspect.max_scale_level}")
        for vdu_id, added in _added(aspect, level).items():
            counts[vdu_id] = counts.get(vdu_id, 0) + added
    if scale_levels is None:
        wanted = instantiation_level or df.default_instantiation_level
        for named in df.instantiation_levels:
            # Without a default, a flavour's only level is the one to start at.
            if named.id == wanted or (not wanted and len(df.instantiation_levels) == 1):
                counts.update(named.vdu_levels)
    return counts


def _initial(df: VnfDf) -> dict[str, int]:
    profiles = {profile.vdu_id: profile for profile in df.vdu_profiles}
    counts = {}
    for vdu in df.vdus:
        profile = profiles.get(vdu.id)
        counts[vdu.id] = df.initial_deltas.get(vdu.id, profile.min_number_of_instances if profile else 1)
    return counts


def _added(aspect: ScalingAspect, level: int) -> dict[str, int]:
    """Instances that ``level`` steps of the aspect add; the last step delta repeats."""
    added: dict[str, int] = {}
    names = aspect.step_deltas or tuple(aspect.deltas)
    for step in range(level if names else 0):
        delta = aspect.deltas.get(names[min(step, len(names) - 1)], {})
        for vdu_id, number in delta.items():
            added[vdu_id] = added.get(vdu_id, 0) + number
    return added
