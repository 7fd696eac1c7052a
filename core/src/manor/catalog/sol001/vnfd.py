"""A VNFD from its service templates: one, or a top template and one for each deployment flavour (SOL001 annex A)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from manor.api.resources import SecurityRule
from manor.catalog.files import PackageFiles
from manor.catalog.leftovers import leftovers
from manor.catalog.reading import Reading
from manor.catalog.sol001 import links
from manor.catalog.sol001.functions import Functions
from manor.catalog.sol001.images import artifact_file
from manor.catalog.sol001.policies import read_policies, security_rules
from manor.catalog.sol001.template import Template, TemplateNode
from manor.catalog.sol001.types import Role
from manor.catalog.sol001.vdu import images_by_node, int_cpd, monitoring, storage, vdu, vdu_profile
from manor.model.vnfd import (
    ExtCpd,
    IndicatorTrigger,
    IntCpd,
    IntVirtualLinkDesc,
    LcmScript,
    SwImageDesc,
    Vdu,
    VirtualStorageDesc,
    VnfAction,
    Vnfd,
    VnfDf,
    VnfIndicator,
)

__all__ = ["read_vnfd"]

_DESCRIPTIVE = ("tosca_definitions_version", "description", "metadata", "imports", "namespace", "dsl_definitions")


@dataclass(slots=True)
class _Parts:
    """What all flavours of a VNFD share."""

    links: dict[str, IntVirtualLinkDesc] = field(default_factory=dict)
    ext_cpds: dict[str, ExtCpd] = field(default_factory=dict)
    storages: dict[str, VirtualStorageDesc] = field(default_factory=dict)
    images: dict[str, SwImageDesc] = field(default_factory=dict)
    indicators: dict[str, VnfIndicator] = field(default_factory=dict)
    triggers: dict[str, IndicatorTrigger] = field(default_factory=dict)
    scripts: dict[tuple[str, str], LcmScript] = field(default_factory=dict)
    actions: dict[str, VnfAction] = field(default_factory=dict)


def read_vnfd(templates: list[Template], files: PackageFiles) -> Vnfd:
    """The VNFD whose entry template is the first; what cannot be read is in the findings."""
    top = templates[0]
    own = next(iter(top.of(Role.VNF)), None)
    flavours = _flavours(templates, own)
    properties = own.properties if own else Reading(None, top.source, at=top.root.node)
    for template in flavours:
        inner = next(iter(template.of(Role.VNF)), None)
        if inner is not None and template is flavours[0] and template is not top:
            properties = properties.over(inner.properties)
        if isinstance(template.source.resolve, Functions):
            # What the VNF node is given is what a flavour's inputs of the same names are.
            found = ((key, properties.peek(key)) for key in properties.keys())  # noqa: SIM118 - no dict
            template.source.resolve.outer = {key: node for key, node in found if node is not None}
    if own is None:
        top.topology.warning("vnf-missing", "there is no VNF node; the VNFD has no identity of its own")
    parts = _Parts()
    dfs = [_flavour(template, files, parts, properties) for template in flavours]
    _check_flavours(top, flavours, dfs)
    for node in [own, *(next(iter(template.of(Role.VNF)), None) for template in flavours)]:
        if node is not None:
            _scripts(node, files, parts)
            _actions(node, files, parts)
            _interface_indicators(node, parts)
    for template in {id(each): each for each in (top, *flavours)}.values():
        for name in _DESCRIPTIVE:
            template.root.get(name).value()
        template.topology.get("description").value()
        template.substitution.value()
    identity = _Identity(top, properties)
    return Vnfd(
        id=identity.id(),
        provider=identity.text("provider", "vendor"),
        product_name=identity.text("product_name", "name"),
        software_version=identity.text("software_version"),
        version=identity.text("descriptor_version", "version"),
        product_info_name=properties.get("product_info_name").text(),
        product_info_description=properties.get("product_info_description").note(),
        vnfm_info=properties.get("vnfm_info").texts(),
        flavours=tuple(dfs),
        virtual_links=tuple(parts.links.values()),
        ext_cpds=tuple(parts.ext_cpds.values()),
        storages=tuple(parts.storages.values()),
        images=tuple(parts.images.values()),
        indicators=tuple(parts.indicators.values()),
        triggers=tuple(parts.triggers.values()),
        monitoring_parameters=monitoring(properties.get("monitoring_parameters")),
        scripts=tuple(parts.scripts.values()),
        actions=tuple(parts.actions.values()),
        configurable_properties=configurable.value()
        if (configurable := properties.get("configurable_properties")).is_map
        else {},
        unhandled=leftovers(
            ((each.source, each.root.node) for each in {id(each): each for each in (top, *flavours)}.values()),
            quiet=("attributes", "description"),
        ),
    )


class _Identity:
    """Names of a VNFD: from the VNF node, else from the template's metadata, which older packages use."""

    def __init__(self, top: Template, properties: Reading) -> None:
        self._top = top
        self._properties = properties
        self._metadata = top.root.get("metadata")

    def text(self, *names: str) -> str:
        return self._properties.get(*names).text() or (
            self._metadata.get(*names, "template_name").text()
            if self._metadata.is_map and names[0] != "software_version"
            else ""
        )

    def id(self) -> str:
        found = self._properties.get("descriptor_id").text()
        if not found and self._metadata.is_map:
            found = self._metadata.get("descriptor_id", "id", "template_name").text()
        if not found:
            found = self._top.source.file.rpartition("/")[2].rpartition(".")[0] or "vnfd"
            self._top.topology.warning(
                "id-missing", f"the VNF has no descriptor_id; it is called {found[:80]}", "give it a UUID of its own"
            )
        return found


def _flavours(templates: list[Template], own: TemplateNode | None) -> list[Template]:
    top = templates[0]
    if any(top.of(Role.VDU, Role.CONTAINER)):
        return [top]
    wanted = own.type if own is not None else top.substitution.get("node_type").text()
    matching = [
        template
        for template in templates[1:]
        if template.substitution.is_map and template.substitution.get("node_type").text() == wanted
    ]
    return matching or [template for template in templates[1:] if any(template.of(Role.VDU, Role.CONTAINER))] or [top]


def _check_flavours(top: Template, flavours: list[Template], dfs: list[VnfDf]) -> None:
    if not any(df.vdus for df in dfs):
        top.topology.warning("vdu-none", "the VNF has no VDU: there is nothing to run")
    seen: dict[str, str] = {}
    for template, df in zip(flavours, dfs, strict=True):
        if df.id in seen:
            message = f"flavour {df.id[:80]} is described twice, first in {seen[df.id]}"
            template.substitution.error("flavour-duplicate", message)
        seen.setdefault(df.id, template.source.file)


def _flavour(template: Template, files: PackageFiles, parts: _Parts, identity: Reading) -> VnfDf:
    node = next(iter(template.of(Role.VNF)), None)
    own = node.properties if node is not None else Reading(None, template.source)
    named = template.substitution.get("properties")
    flavour_id = (named.get("flavour_id").text() if named.is_map else "") or _settled(own.get("flavour_id"))
    flavour_id = flavour_id or _settled(identity.get("flavour_id")) or "default"
    policies = read_policies(template)
    rules = security_rules(template)
    bound = _connection_points(template, rules)
    images = images_by_node(template, files)
    renamed = _keep_storages(template, images, parts, flavour_id)
    vdus = []
    for each in template.of(Role.VDU, Role.CONTAINER):
        kept = _keep_images(images[each.name], parts, flavour_id)
        read = vdu(template, each, tuple(bound.get(each.name, ())), kept, files)
        vdus.append(replace(read, storages=tuple(renamed.get(name, name) for name in read.storages)))
    for link in template.of(Role.LINK, Role.NS_LINK):
        parts.links.setdefault(link.name, _link(link))
    _expose(template, vdus, rules, parts)
    parts.indicators |= {indicator.id: indicator for indicator in policies.indicators}
    parts.triggers |= {trigger.name: trigger for trigger in policies.triggers}
    operations = (own if own.is_map else identity).get("lcm_operations_configuration")
    description = (own.get("flavour_description") or identity.get("flavour_description")).note()
    return VnfDf(
        id=flavour_id,
        description=description,
        vdu_profiles=tuple(vdu_profile(each) for each in template.of(Role.VDU, Role.CONTAINER)),
        instantiation_levels=tuple(policies.levels.values()),
        default_instantiation_level=policies.default_level,
        scaling_aspects=tuple(policies.aspects.values()),
        initial_deltas=policies.initial_deltas,
        affinity=tuple(policies.affinity),
        vdus=tuple(vdus),
        operations=tuple(operations.value()) if operations.is_map else (),
    )


def _settled(reading: Reading) -> str:
    return "" if reading.is_open else reading.text()


def _connection_points(template: Template, rules: dict[str, tuple[SecurityRule, ...]]) -> dict[str, list[IntCpd]]:
    """Connection points by VDU, in interface order."""
    bound: dict[str, list[IntCpd]] = {}
    vdus = template.named(Role.VDU, Role.CONTAINER)
    for node in template.of(Role.VDU_CP):
        cpd = int_cpd(template, node, rules)
        for requirement in node.targets("virtual_binding", "container_deployable_unit", "virtualBinding"):
            if requirement.node and (vdu_id := requirement.reading.one_of(vdus, "VDU")):
                bound.setdefault(vdu_id, []).append(cpd)
    for cpds in bound.values():
        cpds.sort(key=lambda cpd: cpd.order)
    return bound


def _keep_images(images: Iterable[SwImageDesc], parts: _Parts, flavour_id: str) -> list[SwImageDesc]:
    """Images under their ids; one that another flavour has with other content gets the flavour's name behind it."""
    kept = []
    for image in images:
        known = parts.images.get(image.id, image)
        if known != image:
            image = replace(image, id=f"{image.id}@{flavour_id}")
        parts.images[image.id] = image
        kept.append(image)
    return kept


def _keep_storages(
    template: Template, images: dict[str, list[SwImageDesc]], parts: _Parts, flavour_id: str
) -> dict[str, str]:
    renamed = {}
    for node in template.of(Role.STORAGE):
        found = storage(node, _keep_images(images[node.name], parts, flavour_id))
        if parts.storages.get(found.id, found) != found:
            renamed[found.id] = f"{found.id}@{flavour_id}"
            found = replace(found, id=renamed[found.id])
        parts.storages[found.id] = found
    return renamed


def _link(node: TemplateNode) -> IntVirtualLinkDesc:
    given = node.properties
    kind, profile = given.get("connectivity_type"), given.get("vl_profile")
    if profile and not profile.is_map:
        profile.wrong("a map")
        profile = Reading(None, node.reading.source, at=node.reading.node)
    return IntVirtualLinkDesc(
        id=node.name,
        layer_protocols=links.layer_protocols(kind) if kind.is_map else (),
        flow_pattern=kind.get("flow_pattern").text() if kind.is_map else "",
        description=given.get("description").note(),
        subnets=links.subnets(profile, given),
        mtu=links.mtu(profile),
        max_bitrate_bps=links.bitrate(profile, "max_bitrate_requirements", "max_bit_rate_requirements"),
        min_bitrate_bps=links.bitrate(profile, "min_bitrate_requirements", "min_bit_rate_requirements"),
    )


def _expose(template: Template, vdus: list[Vdu], rules: dict[str, tuple[SecurityRule, ...]], parts: _Parts) -> None:
    """External connection points: what the substitution maps, VnfExtCp nodes, and CPs that no link takes up."""
    owners = {cpd.id: (unit.id, cpd) for unit in vdus for cpd in unit.int_cpds}
    exposed: set[str] = set()
    for name, mapping in template.substitution.get("requirements").named():
        target = next(iter(mapping.each()), None) if mapping.is_list else mapping
        cp = target.text() if target is not None and target.is_text else ""
        node = template.nodes.get(cp)
        if cp and (node is None or node.role not in (Role.VDU_CP, Role.EXT_CP, Role.KEPT)):
            known = template.named(Role.VDU_CP, Role.EXT_CP)
            (target or mapping).one_of(known, "connection point", soft=True)
        elif node is not None:
            exposed.add(cp)
            parts.ext_cpds.setdefault(name, _ext_cpd(template, name, node, owners, rules))
    for node in template.of(Role.EXT_CP):
        if node.name not in exposed:
            parts.ext_cpds.setdefault(node.name, _ext_cpd(template, node.name, node, owners, rules))
    for cp, (_, cpd) in owners.items():
        if cp not in exposed and not cpd.int_virtual_link_desc:
            parts.ext_cpds.setdefault(cp, _ext_cpd(template, cp, template.nodes[cp], owners, rules))


def _ext_cpd(
    template: Template,
    name: str,
    node: TemplateNode,
    owners: dict[str, tuple[str, IntCpd]],
    rules: dict[str, tuple[SecurityRule, ...]],
) -> ExtCpd:
    management = node.reading.get("metadata").get("management").flag() if node.reading.has("metadata") else False
    if node.role is Role.EXT_CP:
        known = template.named(Role.LINK)
        inner = next((each.reading.one_of(known, "virtual link") for each in node.targets("internal_virtual_link")), "")
        return ExtCpd(
            id=name,
            int_virtual_link_desc=inner,
            layer_protocols=links.layer_protocols(node.properties),
            security=rules.get(node.name, ()),
            management=management,
        )
    vdu_id, cpd = owners.get(node.name, ("", None))
    return ExtCpd(
        id=name,
        vdu_id=vdu_id,
        int_cpd=node.name,
        layer_protocols=cpd.layer_protocols if cpd else links.layer_protocols(node.properties),
        security=rules.get(node.name, ()),
        management=management,
    )


def _scripts(node: TemplateNode, files: PackageFiles, parts: _Parts) -> None:
    artifacts = dict(node.reading.get("artifacts").named())
    interface = node.reading.get("interfaces").get("Vnflcm")
    if not interface.is_map:
        return
    for event, name, file, dsl, operation in _implemented(interface, artifacts, files):
        parts.scripts.setdefault((event, name), LcmScript(event=event, script=file, dsl=dsl, inputs=_inputs(operation)))


def _actions(node: TemplateNode, files: PackageFiles, parts: _Parts) -> None:
    """Operations of the VNF's own interfaces that have an implementation."""
    artifacts = dict(node.reading.get("artifacts").named())
    for interface_name, interface in node.reading.get("interfaces").entries():
        if interface_name in ("Vnflcm", "Standard") or not interface.is_map or interface.get("notifications").is_map:
            continue
        for name, _, file, dsl, operation in _implemented(interface, artifacts, files):
            described = operation.get("description").note() if operation.is_map else ""
            parts.actions.setdefault(
                name, VnfAction(name=name, script=file, dsl=dsl, inputs=_inputs(operation), description=described)
            )


def _implemented(
    interface: Reading, artifacts: Mapping[str, Reading], files: PackageFiles
) -> Iterator[tuple[str, str, str, str, Reading]]:
    """Operation, artifact's name, its file, its type, and the operation as it is written."""
    interface.get("type").value()
    for event, operation in [*interface.entries(), *interface.get("operations").entries()]:
        if event in ("type", "operations", "inputs"):
            continue
        script = operation.get("implementation") if operation.is_map else operation
        if script.is_map:
            script.get("dependencies").value()
            script = script.get("primary", "file")
        name = script.text() if script.is_text else ""
        if not name:
            operation.value()
            continue
        artifact = artifacts.get(name)
        at, dsl = script, ""
        if artifact is not None and artifact.is_map:
            at, dsl = artifact.get("file"), artifact.get("type").text()
            artifact.get("description").value()
        elif artifact is not None:
            at = artifact
        file = artifact_file(files, at, at.text()) if artifact is not None or "." in name else name
        yield event, name, file, dsl, operation


def _inputs(operation: Reading) -> Mapping[str, Any]:
    found = operation.get("inputs").value() if operation.is_map else None
    return found if isinstance(found, dict) else {}


def _interface_indicators(node: TemplateNode, parts: _Parts) -> None:
    """Indicators as notifications of an interface derived from tosca.interfaces.nfv.VnfIndicator (TOSCA 1.3)."""
    for name, interface in node.reading.get("interfaces").entries():
        if name in ("Vnflcm", "Standard") or not interface.is_map:
            continue
        for indicator, _ in interface.get("notifications").entries():
            parts.indicators.setdefault(indicator, VnfIndicator(id=indicator, name=indicator, source="VNF"))
