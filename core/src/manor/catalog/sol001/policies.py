"""Policies of a VNFD's flavour: sizes, scaling, affinity, security groups, indicators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from manor.api.placement import AffinityScope
from manor.api.resources import SecurityRule
from manor.catalog.reading import Reading
from manor.catalog.report import did_you_mean
from manor.catalog.sol001.links import security_rule
from manor.catalog.sol001.template import Template
from manor.catalog.sol001.triggers import read_triggers
from manor.catalog.sol001.types import Role
from manor.catalog.sol001.vdu import argv
from manor.model.vnfd import AffinityRule, IndicatorTrigger, ScalingAspect, VnfIndicator, VnfInstantiationLevel

__all__ = ["Policies", "affinity_rule", "read_policies", "security_rules", "targets"]

_QUIET = frozenset(
    {
        "VirtualLinkInstantiationLevels",
        "VirtualLinkBitrateInitialDelta",
        "VirtualLinkBitrateScalingAspectDeltas",
        "SupportedVnfInterface",
    }
)


@dataclass(slots=True)
class Policies:
    """What the policies of one template come to."""

    levels: dict[str, VnfInstantiationLevel] = field(default_factory=dict)
    default_level: str = ""
    aspects: dict[str, ScalingAspect] = field(default_factory=dict)
    initial_deltas: dict[str, int] = field(default_factory=dict)
    affinity: list[AffinityRule] = field(default_factory=list)
    indicators: list[VnfIndicator] = field(default_factory=list)
    triggers: list[IndicatorTrigger] = field(default_factory=list)


def targets(template: Template, policy: Reading, known: Iterable[str], what: str) -> list[str]:
    """The targets of a policy that there are; one that is missing is an ERROR, none at all a WARNING."""
    given = policy.get("targets")
    if not given:
        policy.warning("targets-missing", f"the policy names no {what} as target and has no effect")
        return []
    expected = dict.fromkeys(known)
    found = []
    for item in given.each():
        name = item.text()
        if name in expected:
            found.append(name)
        elif name in template.nodes:
            item.warning("reference-kind", f"target {name[:80]} is not a {what}")
        elif name:
            item.one_of(expected, what)
    return found


def read_policies(template: Template) -> Policies:
    """Everything but the security groups, which their connection points need first."""
    result = Policies()
    vdus = template.named(Role.VDU, Role.CONTAINER)
    policies = list(template.policies())
    # Levels and aspects first: the rest refers to them.
    for _, kind, policy in policies:
        properties = policy.get("properties")
        if kind == "ScalingAspects":
            _aspects(properties, result)
        elif kind == "InstantiationLevels":
            _levels(properties, result)
    deltas: dict[str, dict[str, dict[str, int]]] = {}
    for name, kind, policy in policies:
        properties = policy.get("properties")
        if kind == "VduInitialDelta":
            number = properties.get("initial_delta").get("number_of_instances").whole(most=100_000)
            result.initial_deltas |= dict.fromkeys(targets(template, policy, vdus, "VDU"), number)
        elif kind == "VduScalingAspectDeltas":
            _deltas(properties, targets(template, policy, vdus, "VDU"), result, deltas)
        elif kind == "VduInstantiationLevels":
            _vdu_levels(properties, targets(template, policy, vdus, "VDU"), result)
        elif kind in ("AffinityRule", "AntiAffinityRule"):
            result.affinity += affinity_rule(template, name, policy, vdus, anti=kind.startswith("Anti"))
        elif kind == "VnfIndicator":
            result.indicators.append(_indicator(name, policy))
            result.triggers += read_triggers(policy)
        elif kind in _QUIET or not kind:
            policy.value()
    for aspect_id, by_delta in deltas.items():
        result.aspects[aspect_id] = replace(result.aspects[aspect_id], deltas=by_delta)
    _check_steps(template, result)
    return result


def _aspects(properties: Reading, result: Policies) -> None:
    for aspect_id, aspect in properties.get("aspects").entries():
        if not aspect.is_map:
            aspect.wrong("a scaling aspect")
            continue
        result.aspects[aspect_id] = ScalingAspect(
            id=aspect_id,
            name=aspect.get("name").text(aspect_id),
            description=aspect.get("description").note(),
            max_scale_level=aspect.get("max_scale_level").whole(most=100_000),
            step_deltas=aspect.get("step_deltas").texts(),
        )


def _levels(properties: Reading, result: Policies) -> None:
    for level_id, level in properties.get("levels").entries():
        scales = {}
        for aspect, info in level.get("scale_info").entries():
            if _known(info, aspect, result.aspects, "scaling aspect"):
                scales[aspect] = info.get("scale_level").whole(most=100_000)
        result.levels[level_id] = VnfInstantiationLevel(
            id=level_id, description=level.get("description").note() if level.is_map else "", scale_levels=scales
        )
    result.default_level = properties.get("default_level").one_of(result.levels, "instantiation level")


def _vdu_levels(properties: Reading, vdus: Iterable[str], result: Policies) -> None:
    for level_id, level in properties.get("levels").entries():
        number = level.get("number_of_instances").whole(1, most=100_000)
        # A template may give VDU levels alone, with no InstantiationLevels policy.
        known = result.levels.setdefault(level_id, VnfInstantiationLevel(id=level_id))
        result.levels[level_id] = replace(known, vdu_levels={**known.vdu_levels, **dict.fromkeys(vdus, number)})


def _deltas(
    properties: Reading, vdus: Iterable[str], result: Policies, deltas: dict[str, dict[str, dict[str, int]]]
) -> None:
    aspect = properties.get("aspect")
    name = aspect.text()
    if not name or not _known(aspect, name, result.aspects, "scaling aspect"):
        properties.get("deltas").value()
        return
    by_delta = deltas.setdefault(name, {})
    for delta_id, delta in properties.get("deltas").entries():
        number = delta.get("number_of_instances").whole(most=100_000)
        by_delta.setdefault(delta_id, {}).update(dict.fromkeys(vdus, number))


def _known(at: Reading, name: str, known: Mapping[str, object], what: str) -> bool:
    if name not in known:
        message = f"there is no {what} {name[:80]}; this has no effect"
        at.warning("reference-dangling", message, did_you_mean(name, known))
    return name in known


def _check_steps(template: Template, result: Policies) -> None:
    for aspect in result.aspects.values():
        for step in aspect.step_deltas:
            if aspect.deltas and step not in aspect.deltas:
                hint = did_you_mean(step, aspect.deltas)
                message = f"scaling aspect {aspect.id[:80]}: no VDU has a delta {step[:80]}"
                template.topology.get("policies").warning("delta-unknown", message, hint)


def affinity_rule(
    template: Template, name: str, policy: Reading, members: Iterable[str], *, anti: bool
) -> list[AffinityRule]:
    """One rule over the targets, those of placement groups resolved; none where it has no members."""
    groups = {group: reading for group, _, reading in template.groups()}
    known = [*members, *groups]
    links = template.named(Role.LINK, Role.NS_LINK)
    found: list[str] = []
    for target in targets(template, policy, [*known, *links], "VDU or group"):
        if target in groups:
            found += [member.text() for member in groups[target].get("members").each()]
        elif target not in links:
            found.append(target)
    scope = policy.get("properties").get("scope").choice(list(AffinityScope), AffinityScope.NFVI_NODE)
    return (
        [AffinityRule(name=name, anti=anti, scope=AffinityScope(scope), members=tuple(dict.fromkeys(found)))]
        if found
        else []
    )


def security_rules(template: Template) -> dict[str, tuple[SecurityRule, ...]]:
    """Security rules by connection point."""
    rules: dict[str, tuple[SecurityRule, ...]] = {}
    points = template.named(Role.VDU_CP, Role.EXT_CP, Role.SAP)
    for _, kind, policy in template.policies():
        if kind in ("SecurityGroupRule", "VnfSecurityGroupRule", "NsSecurityGroupRule"):
            rule = security_rule(policy.get("properties"))
            policy.get("properties").get("description").note()
            for point in targets(template, policy, points, "connection point"):
                rules[point] = (*rules.get(point, ()), rule)
    return rules


def _indicator(name: str, policy: Reading) -> VnfIndicator:
    """``command`` (metadata or property) is Manor's: what to run in the guest to read the value."""
    properties = policy.get("properties")
    command = policy.get("metadata").get("command") or properties.get("command")
    policy.get("targets").value()
    return VnfIndicator(
        id=name,
        name=properties.get("name").text(name),
        source=properties.get("source").text(),
        command=argv(command) if command else (),
    )
