"""An NSD from its service template: VNFs and how they are linked, SAPs, sizes, dependencies, forwarding graphs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from manor.catalog.leftovers import leftovers
from manor.catalog.reading import Reading
from manor.catalog.sol001 import links
from manor.catalog.sol001.legacy import read_legacy
from manor.catalog.sol001.paths import forwarding_points, read_vnffgds, rule_targets_exist
from manor.catalog.sol001.policies import affinity_rule
from manor.catalog.sol001.template import Template, TemplateNode
from manor.catalog.sol001.types import Role
from manor.model.nsd import (
    Dependency,
    Nsd,
    NsDf,
    NsInstantiationLevel,
    NsProfile,
    NsScalingAspect,
    NsVirtualLinkDesc,
    Sapd,
    VirtualLinkConnectivity,
    VnfProfile,
)

__all__ = ["read_nsd"]

_DESCRIPTIVE = ("tosca_definitions_version", "description", "metadata", "imports", "namespace", "dsl_definitions")
_IDENTITY = (
    "descriptor_id",
    "descriptor_version",
    "provider",
    "product_name",
    "software_version",
    "vnfm_info",
    "flavour_description",
)


def read_nsd(templates: list[Template]) -> Nsd:
    """The NSD whose entry template is the first; further ones of its type are further flavours."""
    top = templates[0]
    own = _own(top)
    flavours = [top] + [
        each
        for each in templates[1:]
        if each.substitution.is_map and own is not None and each.substitution.get("node_type").text() == own.type
    ]
    if len(flavours) > 1 and not top.of(Role.VNF, Role.NS_LINK):
        flavours = flavours[1:]
    properties = own.properties if own is not None else Reading(None, top.source, at=top.root.node)
    metadata = top.root.get("metadata")

    def text(*names: str) -> str:
        found = properties.get(*names).text()
        return found or (metadata.get(*names, "template_name").text() if metadata.is_map else "")

    nsd_id = text("descriptor_id", "id")
    if not nsd_id:
        nsd_id = top.source.file.rpartition("/")[2].rpartition(".")[0] or "nsd"
        top.topology.warning("id-missing", f"the NS has no descriptor_id; it is called {nsd_id[:80]}")
    virtual_links: dict[str, NsVirtualLinkDesc] = {}
    sapds: dict[str, Sapd] = {}
    graphs = []
    dfs = []
    for template in flavours:
        virtual_links |= {node.name: _link(node) for node in template.of(Role.NS_LINK, Role.LINK)}
        sapds |= {node.name: _sapd(template, node) for node in template.of(Role.SAP)}
        new = read_vnffgds(template)
        legacy, ends = read_legacy(template)
        graphs += [*new, *legacy]
        sapds |= {end.id: end for end in ends if end.id not in sapds}
        rule_targets_exist(template, [node.name for node in template.of(Role.NFP)])
        dfs.append(_flavour(template, properties))
    for template in flavours:
        for name in _DESCRIPTIVE:
            template.root.get(name).value()
        template.topology.get("description").value()
        template.substitution.value()
    profiles = [profile for df in dfs for profile in df.vnf_profiles]
    return Nsd(
        id=nsd_id,
        name=text("name"),
        designer=properties.get("designer").text() or (metadata.get("vendor").text() if metadata.is_map else ""),
        version=text("version"),
        invariant_id=properties.get("invariant_id").text(),
        description=top.root.get("description").note(),
        vnfd_ids=tuple(dict.fromkeys(profile.vnfd_id for profile in profiles if profile.vnfd_id)),
        nested_nsd_ids=tuple(
            node.properties.get("descriptor_id", "id", "name").text(node.name)
            for template in flavours
            for node in template.of(Role.NS)
            if own is None or node.name != own.name
        ),
        pnfd_ids=tuple(
            node.properties.get("descriptor_id").text(node.name)
            for template in flavours
            for node in template.of(Role.PNF)
            if not node.type.endswith(("PnfExtCp", "PnfExtCpd"))
        ),
        virtual_links=tuple(virtual_links.values()),
        sapds=tuple(sapds.values()),
        vnffgds=tuple(graphs),
        flavours=tuple(dfs),
        unhandled=leftovers(((each.source, each.root.node) for each in flavours), quiet=("attributes", "description")),
    )


def _own(template: Template) -> TemplateNode | None:
    """The node that is the service itself: of the substituted type, or the only NS node."""
    nodes = template.of(Role.NS)
    wanted = template.substitution.get("node_type").text()
    same = [node for node in nodes if node.type == wanted]
    return same[0] if same else nodes[0] if len(nodes) == 1 else None


def _link(node: TemplateNode) -> NsVirtualLinkDesc:
    given = node.properties
    kind, profile = given.get("connectivity_type"), given.get("vl_profile")
    if profile and not profile.is_map:
        profile.wrong("a map")
        profile = Reading(None, node.reading.source, at=node.reading.node)
    metadata = node.reading.get("metadata")
    return NsVirtualLinkDesc(
        id=node.name,
        description=given.get("description").note(),
        layer_protocols=links.layer_protocols(kind) if kind.is_map else (),
        flow_pattern=kind.get("flow_pattern").text() if kind.is_map else "",
        subnets=links.subnets(profile, given),
        mtu=links.mtu(profile),
        max_bitrate_bps=links.bitrate(profile, "max_bitrate_requirements", "max_bit_rate_requirements"),
        min_bitrate_bps=links.bitrate(profile, "min_bitrate_requirements", "min_bit_rate_requirements"),
        max_latency_s=links.latency(profile),
        management=metadata.get("management").flag() if metadata.is_map else False,
        vim_network_name=metadata.get("vim_network_name").text() if metadata.is_map else "",
    )


def _sapd(template: Template, node: TemplateNode) -> Sapd:
    points = forwarding_points(template)
    names = template.named(Role.NS_LINK, Role.LINK)
    node.properties.value()
    for requirement in node.targets("internal_virtual_link", "virtual_link", "external_virtual_link"):
        if requirement.node in points and requirement.node != node.name:
            return Sapd(id=node.name, cpd=points[requirement.node])
        if requirement.node and (link := requirement.reading.one_of(names, "virtual link")):
            return Sapd(id=node.name, virtual_link=link)
    return Sapd(id=node.name)


def _flavour(template: Template, properties: Reading) -> NsDf:
    named = template.substitution.get("properties")
    flavour_id = named.get("flavour_id").text() if named.is_map else ""
    given = properties.get("flavour_id")
    vnfs = template.of(Role.VNF)
    own = _own(template)
    nested = [node for node in template.of(Role.NS) if own is None or node.name != own.name]
    profiles = [_profile(template, node) for node in vnfs]
    if not profiles:
        profiles = _listed(properties)
    levels, default = _levels(template, [profile.id for profile in profiles])
    affinity = []
    for name, kind, policy in template.policies():
        if kind in ("NsAffinityRule", "NsAntiAffinityRule", "AffinityRule", "AntiAffinityRule"):
            affinity += affinity_rule(template, name, policy, [node.name for node in vnfs], anti="Anti" in kind)
    return NsDf(
        id=flavour_id or ("" if given.is_open else given.text()) or "default",
        description=properties.get("flavour_description").note(),
        vnf_profiles=tuple(profiles),
        ns_profiles=tuple(_nested(template, node) for node in nested),
        instantiation_levels=levels,
        default_instantiation_level=default,
        scaling_aspects=_scaling(template),
        affinity=tuple(affinity),
        dependencies=tuple(_dependencies((*vnfs, *nested))),
    )


def _nested(template: Template, node: TemplateNode) -> NsProfile:
    """A service inside this one; the names of its link requirements are those of its SAPs."""
    flavour = node.properties.get("flavour_id")
    return NsProfile(
        id=node.name,
        nsd_id=node.properties.get("descriptor_id", "id", "name").text(node.name),
        flavour_id="" if flavour.is_open else flavour.text(),
        connectivity=_connectivity(template, node),
    )


def _listed(properties: Reading) -> list[VnfProfile]:
    """VNFs as a property of the NS (``constituent_vnfd``), as some orchestrators write it."""
    found = []
    for item in properties.get("constituent_vnfd", "constituent_vnfds").each():
        vnfd_id = item.get("vnfd_id", "descriptor_id", "id").text() if item.is_map else item.text()
        if vnfd_id:
            found.append(VnfProfile(id=vnfd_id, vnfd_id=vnfd_id))
    return found


def _profile(template: Template, node: TemplateNode) -> VnfProfile:
    given = node.properties
    vnfd_id = given.get("descriptor_id", "id").text()
    if not vnfd_id:
        vnfd_id = node.type
        message = f"VNF {node.name[:80]} has no descriptor_id; its type {node.type[:80]} stands for it"
        node.reading.warning("id-missing", message)
    for name in _IDENTITY:
        given.get(name).value()
    profile = given.get("vnf_profile")
    least = profile.get("min_number_of_instances").whole(1, most=100_000)
    flavour = given.get("flavour_id")
    level = profile.get("instantiation_level")
    return VnfProfile(
        id=node.name,
        vnfd_id=vnfd_id,
        flavour_id="" if flavour.is_open else flavour.text(),
        instantiation_level="" if level.is_open else level.text(),
        min_number_of_instances=least,
        max_number_of_instances=max(least, profile.get("max_number_of_instances").whole(max(1, least), most=100_000)),
        connectivity=_connectivity(template, node),
        parameters=parameters.value() if (parameters := given.get("configurable_properties")).is_map else {},
    )


def _connectivity(template: Template, node: TemplateNode) -> tuple[VirtualLinkConnectivity, ...]:
    """Which link each requirement leads to, straight or by way of a Forwarding node."""
    names = template.named(Role.NS_LINK, Role.LINK)
    by_link: dict[str, list[str]] = {}
    for requirement in node.requirements:
        target = template.nodes.get(requirement.node)
        if requirement.name == "dependency" or not requirement.node:
            continue
        if target is None:
            requirement.reading.one_of([*names, *template.nodes], "node template")
        elif target.role in (Role.NS_LINK, Role.LINK):
            by_link.setdefault(target.name, []).append(requirement.name)
        elif target.role in (Role.FORWARDING, Role.SAP):
            for inner in target.targets("virtual_link", "internal_virtual_link", "external_virtual_link"):
                if inner.node and (link := inner.reading.one_of(names, "virtual link")):
                    by_link.setdefault(link, []).append(requirement.name)
    return tuple(VirtualLinkConnectivity(virtual_link=link, cpds=tuple(cpds)) for link, cpds in by_link.items())


def _dependencies(vnfs: Iterable[TemplateNode]) -> Iterable[Dependency]:
    nodes = list(vnfs)
    known = [node.name for node in nodes]
    for node in nodes:
        for requirement in node.requirements:
            if requirement.name == "dependency" and requirement.node in known:
                yield Dependency(primary=requirement.node, secondary=node.name)


def _levels(template: Template, profiles: list[str]) -> tuple[tuple[NsInstantiationLevel, ...], str]:
    levels: dict[str, NsInstantiationLevel] = {}
    default = ""
    mappings = []
    for _, kind, policy in template.policies():
        properties = policy.get("properties")
        if kind == "NsInstantiationLevels":
            for level_id, level in properties.get("ns_levels", "levels").entries():
                description = level.get("description").note() if level.is_map else ""
                levels[level_id] = NsInstantiationLevel(id=level_id, description=description)
            default = properties.get("default_level").one_of(levels, "NS instantiation level")
        elif kind == "VnfToInstantiationLevelMapping":
            mappings.append(policy)
    for policy in mappings:
        vnfs = [item.one_of(profiles, "VNF") for item in policy.get("targets").each()]
        for level_id, number in policy.get("properties").get("number_of_instances").entries():
            known = levels.setdefault(level_id, NsInstantiationLevel(id=level_id))
            counts = dict.fromkeys((vnf for vnf in vnfs if vnf), number.whole(most=100_000))
            levels[level_id] = replace(known, vnf_levels={**known.vnf_levels, **counts})
    return tuple(levels.values()), default


def _scaling(template: Template) -> tuple[NsScalingAspect, ...]:
    names: dict[str, str] = {}
    numbers: dict[str, dict[int, dict[str, int]]] = {}
    for _, kind, policy in template.policies():
        properties = policy.get("properties")
        if kind == "NsScalingAspects":
            for aspect_id, aspect in properties.get("aspects").entries():
                names[aspect_id] = aspect.get("name").text(aspect_id)
                aspect.value()
        elif kind == "VnfToLevelMapping":
            by_level = numbers.setdefault(properties.get("aspect").text(), {})
            for level, number in properties.get("number_of_instances").entries():
                if level.isdecimal() and len(level) < 5:
                    counts = dict.fromkeys(policy.get("targets").texts(), number.whole(most=100_000))
                    by_level.setdefault(int(level), {}).update(counts)
    return tuple(
        NsScalingAspect(
            id=aspect_id,
            name=name,
            levels=tuple(levels for _, levels in sorted(numbers.get(aspect_id, {}).items())),
        )
        for aspect_id, name in names.items()
    )
