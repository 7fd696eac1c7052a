"""Forwarding graphs: NFP, its positions and their elements (SOL001 ≥ 2.7.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from manor.api.resources import Distribution, FailMode
from manor.catalog.reading import Reading
from manor.catalog.sol001.policies import targets
from manor.catalog.sol001.rules import classifier, place_of, precedence
from manor.catalog.sol001.template import Requirement, Template, TemplateNode
from manor.catalog.sol001.types import Role
from manor.model.nsd import CpRef, Nfpd, NfpPosition, NfpPositionElement, Vnffgd

__all__ = [
    "circles",
    "distribution",
    "encapsulation",
    "fail_mode",
    "forwarding_points",
    "read_vnffgds",
    "rule_targets_exist",
]


def forwarding_points(template: Template) -> dict[str, CpRef]:
    """Which external CP each Forwarding node or SAP stands for.

    A VNF's requirement that leads to a Forwarding node names the CP: the requirement is what the VNFD exposes.
    """
    found = {node.name: CpRef(constituent=node.name) for node in template.of(Role.SAP)}
    forwarding = {node.name for node in template.of(Role.FORWARDING)}
    for vnf in template.of(Role.VNF, Role.PNF):
        for requirement in vnf.requirements:
            if requirement.node in forwarding:
                found.setdefault(requirement.node, CpRef(constituent=vnf.name, cpd=requirement.name))
    return found


def read_vnffgds(template: Template) -> tuple[Vnffgd, ...]:
    """The graphs of an NSD: VNFFG groups; paths that no group has make one more."""
    points = forwarding_points(template)
    nfps = {node.name: _nfpd(template, node, points) for node in template.of(Role.NFP)}
    if not nfps:
        return ()
    grouped: set[str] = set()
    graphs = []
    for name, kind, group in template.groups():
        if kind != "VNFFG":
            continue
        members = [
            member.one_of(template.nodes, "node template") for member in group.get("members").each() if member.is_text
        ]
        paths = [member for member in members if member in nfps]
        grouped.update(paths)
        roles = {member: template.nodes[member].role for member in members if member}
        properties = group.get("properties")
        graphs.append(
            Vnffgd(
                id=name,
                nfpds=tuple(nfps[path] for path in paths),
                vnf_profiles=tuple(member for member, role in roles.items() if role is Role.VNF),
                virtual_links=tuple(member for member, role in roles.items() if role is Role.NS_LINK),
                description=(properties.get("description") or group.get("description")).note(),
            )
        )
    rest = tuple(nfpd for name, nfpd in nfps.items() if name not in grouped)
    if rest:
        graphs.append(Vnffgd(id="default", nfpds=rest))
    return tuple(graphs)


def _nfpd(template: Template, node: TemplateNode, points: Mapping[str, CpRef]) -> Nfpd:
    positions = []
    for requirement in node.targets("nfp_position"):
        position = _target(template, requirement, Role.POSITION, "NFP position")
        if position is not None:
            positions.append(_position(template, position, points))
    if len(positions) < 2:
        node.reading.error(
            "path-short", f"path {node.name[:80]} has {len(positions)} positions", "name both ends and what is between"
        )
    circles(node.reading, node.name, positions)
    rules, names, places, of_rules = [], [], [], 0
    for name, kind, policy in template.policies():
        if kind != "NfpRule" or node.name not in policy.get("targets").texts():
            continue
        properties = policy.get("properties")
        rules.append(classifier(properties))
        names.append(name)
        places.append(place_of(policy))
        of_rules = max(of_rules, precedence(properties.get("precedence", "priority")))
    extra = node.reading.get("metadata").over(node.properties) if node.reading.has("metadata") else node.properties
    return Nfpd(
        id=node.name,
        positions=tuple(positions),
        rules=tuple(rules),
        rule_names=tuple(names),
        symmetric=extra.get("symmetric", "symmetrical").flag(True),
        precedence=precedence(extra.get("precedence"), of_rules),
        place=place_of(node.reading),
        rule_places=tuple(places),
    )


def circles(path: Reading, name: str, positions: Iterable[NfpPosition]) -> None:
    """Say where a path would meet one connection point twice: its traffic would never come out."""
    seen: dict[CpRef, str] = {}
    for position in positions:
        met = {cp: position.id for element in position.elements for cp in element.cps}
        for cp in met.keys() & seen.keys():
            path.error(
                "path-circle",
                f"path {name[:80]} passes {cp.constituent}'s {cp.cpd or 'connection point'} at {seen[cp]} and again at"
                f" {position.id}: its traffic would circle",
                "give each position functions of its own",
            )
        seen |= met


def _target(template: Template, requirement: Requirement, role: Role, what: str) -> TemplateNode | None:
    known = template.named(role)
    name = requirement.reading.one_of(known, what) if requirement.node else ""
    return known.get(name)


def _position(template: Template, node: TemplateNode, points: Mapping[str, CpRef]) -> NfpPosition:
    elements = []
    for requirement in node.targets("element"):
        element = _target(template, requirement, Role.ELEMENT, "NFP position element")
        if element is not None:
            elements.append(_element(template, element, points))
    given = node.properties
    inputs = given.get("forwarding_behaviour_input_parameters")
    extra = node.reading.get("metadata").over(given) if node.reading.has("metadata") else given
    if not elements:
        node.reading.error("position-empty", f"position {node.name[:80]} has no element")
    return NfpPosition(
        id=node.name,
        elements=tuple(elements),
        forwarding_behaviour=given.get("forwarding_behaviour").choice(("all", "lb", "ff"), "all"),
        distribution=distribution(inputs.get("algorithm_name", "algortihmName", "algorithmName")),
        weights=tuple(item.whole(1, least=1, most=1000) for item in inputs.get("algorithm_weights").each()),
        fail_mode=FailMode(fail_mode(extra.get("fail_mode"))),
        encapsulation=encapsulation(extra.get("encapsulation")),
        may_keep=extra.get("may_keep").flag(),
        place=place_of(node.reading),
    )


def encapsulation(reading: Reading) -> str:
    """What the functions of a position want in front of a frame; nothing, or ``nsh``."""
    return reading.choice(("nsh",))


def fail_mode(reading: Reading) -> str:
    """What becomes of traffic when a position has no live element."""
    known = {str(mode).replace("-", "_"): str(mode) for mode in FailMode}
    return known[reading.choice(known, "fail_closed")]


def distribution(reading: Reading) -> Distribution:
    """How a position shares its traffic; an algorithm that no switch has becomes a hash, with a warning."""
    written = reading.text().lower().replace("_", "-")
    if written in (Distribution.ROUND_ROBIN, Distribution.SOURCE_IP_HASH, ""):
        return Distribution(written or Distribution.SOURCE_IP_HASH)
    reading.warning("algorithm-unsupported", f"{written[:60]} is not supported; source-ip-hash is used")
    return Distribution.SOURCE_IP_HASH


def _element(template: Template, node: TemplateNode, points: Mapping[str, CpRef]) -> NfpPositionElement:
    cps = []
    for requirement in node.targets("profile_element"):
        target = template.nodes.get(requirement.node)
        if requirement.node in points:
            cps.append(points[requirement.node])
        elif target is not None and target.role in (Role.VNF, Role.PNF):
            cps.append(_vnf_cp(target, requirement))
        elif target is not None and target.role is Role.FORWARDING:
            message = f"{requirement.node[:80]} is no VNF's: no VNF has a requirement for it"
            requirement.reading.error("forwarding-unused", message)
        elif requirement.node:
            requirement.reading.one_of(points, "Forwarding node, SAP or VNF")
    if not cps or len(cps) > 2:
        node.reading.error(
            "element-cps", f"element {node.name[:80]} has {len(cps)} connection points, one or two are due"
        )
    return NfpPositionElement(id=node.name, cps=tuple(cps[:2]))


def _vnf_cp(vnf: TemplateNode, requirement: Requirement) -> CpRef:
    """A VNF named outright: the capability, less ``forwarding``, or its only link requirement, says which CP."""
    names = [each.name for each in vnf.requirements if each.name.startswith("virtual_link") or each.node]
    wanted = re.sub(r"^forwarding[_-]?|[_-]?forwarding$", "", requirement.capability)
    if wanted and names and wanted not in names:
        close = [name for name in names if name.endswith(wanted)]
        wanted = close[0] if len(close) == 1 else wanted
    return CpRef(constituent=vnf.name, cpd=wanted or (names[0] if names else ""))


def rule_targets_exist(template: Template, paths: Iterable[str]) -> None:
    """Say where an NfpRule aims at no path."""
    known = list(paths)
    for _, kind, policy in template.policies():
        if kind == "NfpRule":
            targets(template, policy, known, "path")
