"""Deployment flavours of SOL006: bounds, levels, scaling, affinity."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from manor.api.placement import AffinityScope
from manor.catalog.reading import Reading
from manor.catalog.sol006.document import known
from manor.model.vnfd import AffinityRule, ScalingAspect, Vdu, VduProfile, VnfDf, VnfInstantiationLevel

__all__ = ["affinity", "read_flavour"]


def read_flavour(df_id: str, item: Reading, vdus: Collection[Vdu], *, containers: bool) -> VnfDf:
    """One entry of the list ``df``."""
    ids = dict.fromkeys(vdu.id for vdu in vdus)
    profiles, members = {}, {}
    for profile in item.get("vdu-profile").each():
        vdu_id = profile.get("id", "vdu-id").one_of(ids, "vdu")
        least = profile.get("min-number-of-instances").whole(1, most=100_000)
        most = profile.get("max-number-of-instances").whole(max(1, least), most=100_000)
        if most < least:
            profile.error("bounds-crossed", f"VDU {vdu_id[:80]}: at least {least} and at most {most} instances")
        if vdu_id:
            profiles[vdu_id] = VduProfile(
                vdu_id=vdu_id, min_number_of_instances=least, max_number_of_instances=max(least, most)
            )
            members[vdu_id] = profile
    groups = affinity(item, members)
    aspects = {
        name: _aspect(name, each, ids) for name, each in known(item.get("scaling-aspect"), "scaling-aspect").items()
    }
    levels = {
        name: _level(name, each, ids, aspects)
        for name, each in known(item.get("instantiation-level"), "instantiation-level").items()
    }
    default = item.get("default-instantiation-level", "default-instantiation-level-id").one_of(
        levels, "instantiation-level"
    )
    first = _dependencies(item, ids)
    used = set(profiles) | {vdu for level in levels.values() for vdu in level.vdu_levels}
    operations = item.get("lcm-operations-configuration")
    if not used and not containers and not vdus:
        used = set(ids)
    return VnfDf(
        id=df_id,
        description=item.get("description").note(),
        vdu_profiles=tuple(profiles.values()),
        instantiation_levels=tuple(levels.values()),
        default_instantiation_level=default,
        scaling_aspects=tuple(aspects.values()),
        affinity=groups,
        vdus=tuple(replace(vdu, dependencies=first.get(vdu.id, ())) for vdu in vdus if not used or vdu.id in used),
        operations=tuple(key.removesuffix("-op-config") for key in operations.keys()) if operations.is_map else (),  # noqa: SIM118
    )


def _dependencies(item: Reading, vdus: Collection[str]) -> dict[str, tuple[str, ...]]:
    """By VDU, those that it starts after."""
    first: dict[str, dict[str, None]] = {}
    for each in item.get("dependencies").each():
        if not each.is_map:
            continue
        ends = (each.get(end).each() for end in ("primary-id", "secondary-id"))
        before, after = ([vdu for one in ids if (vdu := one.one_of(vdus, "vdu"))] for ids in ends)
        for vdu_id in after:
            first.setdefault(vdu_id, {}).update(dict.fromkeys(before))
    return {vdu_id: tuple(before) for vdu_id, before in first.items()}


def affinity(item: Reading, profiles: Mapping[str, Reading]) -> tuple[AffinityRule, ...]:
    """Affinity groups with the profiles that name them, and local rules, whose one member is apart from itself."""
    groups = known(item.get("affinity-or-anti-affinity-group"), "affinity group")
    members: dict[str, list[str]] = {name: [] for name in groups}
    found = []
    for owner, profile in profiles.items():
        for each in profile.get("affinity-or-anti-affinity-group-id", "affinity-or-anti-affinity-group").each():
            wanted = each.get("id", "affinity-or-anti-affinity-group-id") if each.is_map else each
            if name := wanted.one_of(groups, "affinity-or-anti-affinity-group"):
                members[name].append(owner)
        for each in profile.get("local-affinity-or-anti-affinity-rule").each():
            if each.is_map:
                found.append(_rule_of(owner, each, (owner,)))
    return (*found, *(_rule_of(name, group, tuple(members[name])) for name, group in groups.items()))


def _rule_of(name: str, item: Reading, members: tuple[str, ...]) -> AffinityRule:
    # The misspelt key is ETSI's own.
    kinds = ("affinityorAntiaffinity", "affinity-or-anti-affinity", "type", "affinityOrAntiAffinity")
    kind = item.get(*kinds).choice(("affinity", "anti_affinity"), "affinity")
    scope = item.get("scope").choice(list(AffinityScope), AffinityScope.NFVI_NODE)
    return AffinityRule(name=name, anti=kind == "anti_affinity", scope=AffinityScope(scope), members=members)


def _level(
    name: str, item: Reading, vdus: Collection[str], aspects: Mapping[str, ScalingAspect]
) -> VnfInstantiationLevel:
    numbers = {}
    for each in item.get("vdu-level").each():
        vdu_id = each.get("vdu-id", "id").one_of(vdus, "vdu")
        if vdu_id:
            numbers[vdu_id] = each.get("number-of-instances").whole(1, most=100_000)
    scales = {}
    for each in item.get("scaling-info").each():
        aspect = each.get("scaling-aspect-id", "aspect").one_of(aspects, "scaling-aspect", soft=True)
        if aspect:
            scales[aspect] = each.get("scale-level").whole(most=100_000)
    return VnfInstantiationLevel(
        id=name, description=item.get("description").note(), vdu_levels=numbers, scale_levels=scales
    )


def _aspect(name: str, item: Reading, vdus: Collection[str]) -> ScalingAspect:
    details = item.get("aspect-delta-details")
    deltas: dict[str, dict[str, int]] = {}
    for delta_id, delta in known(details.get("deltas"), "delta").items():
        deltas[delta_id] = {}
        for each in delta.get("vdu-delta").each():
            vdu_id = each.get("id", "vdu-id").one_of(vdus, "vdu")
            if vdu_id:
                deltas[delta_id][vdu_id] = each.get("number-of-instances").whole(most=100_000)
    steps = [each.one_of(deltas, "delta", soft=True) for each in details.get("step-deltas").each()]
    return ScalingAspect(
        id=name,
        name=item.get("name").text(name),
        description=item.get("description").note(),
        max_scale_level=item.get("max-scale-level").whole(most=100_000),
        step_deltas=tuple(step for step in steps if step),
        deltas=deltas,
    )
