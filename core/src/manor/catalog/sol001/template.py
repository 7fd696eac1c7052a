"""A service template with all that it imports, and its node templates in a shape that is easy to ask.

Imports are looked up in the package alone: as written, from the importing file; then by basename anywhere. ETSI's
own type files are known by name and not read. Nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from manor.catalog.files import PackageFiles, read_text_file, under
from manor.catalog.nodes import Kind, Node, compose
from manor.catalog.reading import Reading, Source
from manor.catalog.report import Report, did_you_mean
from manor.catalog.sol001.functions import Functions
from manor.catalog.sol001.types import Role, TypeBook, is_etsi_import
from manor.errors import DescriptorError

__all__ = ["Requirement", "Template", "TemplateNode", "load"]

_MOST_FILES = 200


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement assignment of a node template."""

    name: str
    node: str
    """Name of the target node template, empty where it is left open."""
    capability: str
    reading: Reading


@dataclass(slots=True)
class TemplateNode:
    """A node template."""

    name: str
    type: str
    role: Role
    reading: Reading
    properties: Reading
    requirements: list[Requirement] = field(default_factory=list)

    def targets(self, *names: str) -> list[Requirement]:
        """Requirements of one of these names, in order, with or without a number behind it (``virtual_link_1``)."""
        return [each for each in self.requirements if each.name.rstrip("0123456789_-") in names or each.name in names]


@dataclass(slots=True)
class Template:
    """A service template."""

    source: Source
    root: Reading
    types: TypeBook
    nodes: dict[str, TemplateNode]
    missing_imports: bool = False
    _by_role: dict[tuple[Role, ...], dict[str, TemplateNode]] = field(default_factory=dict)

    @property
    def topology(self) -> Reading:
        """topology_template."""
        return self.root.get("topology_template")

    @property
    def substitution(self) -> Reading:
        """substitution_mappings."""
        return self.topology.get("substitution_mappings")

    def of(self, *roles: Role) -> list[TemplateNode]:
        """Node templates of these roles, as ordered in the file."""
        return list(self.named(*roles).values())

    def named(self, *roles: Role) -> Mapping[str, TemplateNode]:
        """Node templates of these roles by name."""
        if roles not in self._by_role:
            self._by_role[roles] = {name: node for name, node in self.nodes.items() if node.role in roles}
        return self._by_role[roles]

    def policies(self) -> Iterator[tuple[str, str, Reading]]:
        """(name, type without ``tosca.policies.nfv.``, policy)."""
        for name, policy in self.topology.get("policies").named():
            if policy.is_map:
                yield name, policy.get("type").text().removeprefix("tosca.policies.nfv."), policy
            elif policy:
                policy.wrong("a policy")

    def groups(self) -> Iterator[tuple[str, str, Reading]]:
        """(name, type without ``tosca.groups.nfv.``, group)."""
        for name, group in self.topology.get("groups").named():
            if group.is_map:
                yield name, group.get("type").text().removeprefix("tosca.groups.nfv."), group


def load(files: PackageFiles, entry: str, report: Report, *, siblings: bool = False) -> list[Template]:
    """The template in ``entry`` first, then those it imports; none where it cannot be read at all.

    With ``siblings``, flavour templates beside it count too, imported or not.
    """
    roots: dict[str, tuple[Source, Node]] = {}
    missing: set[str] = set()
    _gather(files, entry, report, roots, missing)
    if entry not in roots:
        return []
    if siblings:
        _gather_flavours(files, entry, roots)
    types = TypeBook()
    readings = []
    for source, node in roots.values():
        reading = Reading(node, source)
        if reading.is_map:
            types.learn(reading)
            readings.append(reading)
    templates = [_template(reading, types, bool(missing)) for reading in readings if reading.has("topology_template")]
    return templates if templates and templates[0].source.file == entry else []


def _gather_flavours(files: PackageFiles, entry: str, roots: dict[str, tuple[Source, Node]]) -> None:
    folder = entry.rpartition("/")[0]
    for name in files.sizes:
        if name in roots or name.rpartition("/")[0] != folder or not name.endswith((".yaml", ".yml")):
            continue
        scratch: dict[str, tuple[Source, Node]] = {}
        _gather(files, name, Report(), scratch, set())
        if name in scratch and "substitution_mappings" in _topology_fields(scratch[name][1]):
            roots[name] = (Source(name, roots[entry][0].report), scratch[name][1])


def _topology_fields(root: Node) -> dict[str, Node]:
    topology = root.fields.get("topology_template")
    return topology.fields if topology is not None else {}


def _gather(
    files: PackageFiles, name: str, report: Report, roots: dict[str, tuple[Source, Node]], missing: set[str]
) -> None:
    waiting = [name]
    while waiting and len(roots) < _MOST_FILES:
        name = waiting.pop(0)
        if name in roots:
            continue
        try:
            documents = compose(read_text_file(files, name), name)
        except DescriptorError as error:
            report.extend(error.findings)
            continue
        node = documents[0] if documents else Node(Kind.SCALAR, 1, 1, tag="null")
        source = Source(name, report)
        roots[name] = (source, node)
        if node.kind is Kind.MAP:
            waiting += _imports(files, Reading(node, source), missing)


def _imports(files: PackageFiles, root: Reading, missing: set[str]) -> Iterator[str]:
    base = root.source.file.rpartition("/")[0]
    for entry in root.get("imports").each():
        where = entry
        if entry.is_map:
            where = entry.get("file")
            if not where:
                # The older form: a name, then the file.
                values = [value for _, value in entry.entries()]
                where = values[0] if values else where
                if where.is_map:
                    where = where.get("file")
            entry.value()
        name = where.text().strip()
        if not name or is_etsi_import(name):
            continue
        found = _locate(files, base, name)
        if found:
            yield found
            continue
        missing.add(name)
        remote = "://" in name
        what = "is on a network, which is never asked" if remote else "is not in the package"
        where.info("import-missing", f"import {name[:200]} {what}; its types are taken by their names")


def _locate(files: PackageFiles, base: str, name: str) -> str:
    if "://" not in name:
        for path in (under(base, name), under("", name)):
            if path in files.sizes:
                return path
    last = name.rpartition("/")[2]
    for path in files.sizes:
        if path.rpartition("/")[2] == last and last.endswith((".yaml", ".yml")):
            return path
    return ""


def _template(root: Reading, types: TypeBook, missing: bool) -> Template:
    source = root.source
    template = Template(source, root, types, {}, missing)
    topology = root.get("topology_template")
    if not topology.is_map:
        if topology:
            topology.wrong("a map")
        return template
    inputs: dict[str, Node] = {}
    for name, described in topology.get("inputs").entries():
        default = described.get("default") if described.is_map else described
        inputs[name] = default.node
        described.value()
    source.resolve = Functions(inputs, _property_finder(template), _undeclared(source, inputs))
    for name, node in topology.get("node_templates").entries():
        if not node.is_map:
            node.wrong("a node template")
            continue
        template.nodes[name] = _node(template, name, node)
    return template


def _undeclared(source: Source, inputs: dict[str, Node]) -> Callable[[str, Node], None]:
    said: set[str] = set()

    def say(name: str, at: Node) -> None:
        if name not in said:
            said.add(name)
            hint = did_you_mean(name, inputs)
            source.report.warning(
                "input-undeclared", f"input {name[:80]} is not declared", file=source.file, line=at.line, hint=hint
            )

    return say


def _property_finder(template: Template) -> Callable[[str, str], Node | None]:
    def find(node: str, name: str) -> Node | None:
        found = template.nodes.get(node)
        if found is None and node == "SELF":
            return None
        return found.properties.get(name).node if found is not None and found.properties.is_map else None

    return find


def _node(template: Template, name: str, reading: Reading) -> TemplateNode:
    written = reading.get("type").text()
    role = template.types.role(written)
    if not written:
        reading.error("type-missing", f"node template {name[:80]} has no type")
    elif not template.types.is_defined(written):
        _unknown(template, name, written, role, reading)
    properties = reading.get("properties")
    if properties and not properties.is_map and not (properties.is_list and not properties.node.items):
        properties.wrong("a map of properties")
        properties = Reading(None, template.source, at=reading.node)
    node = TemplateNode(
        name=name,
        type=written,
        role=role,
        reading=reading,
        properties=properties.over(template.types.defaults(written, template.source)),
    )
    _check_values(template, node, properties)
    for requirement, value in reading.get("requirements").named():
        target = value
        capability = ""
        if value.is_map:
            target, capability = value.get("node"), value.get("capability").note()
            value.value()
        elif value.is_list:
            # ``[node, capability]``
            parts = value.texts()
            target = value.replaced(parts[0] if parts else "")
            capability = parts[1] if len(parts) > 1 else ""
        wanted = target.text() if target.is_text else ""
        if wanted.startswith(("tosca.nodes.", "tosca.capabilities.")):
            # A type stands for "any such node, to be chosen later".
            wanted = ""
        node.requirements.append(Requirement(requirement, wanted, capability, target or value))
    return node


def _unknown(template: Template, name: str, written: str, role: Role, reading: Reading) -> None:
    at = reading.get("type")
    hint = "" if template.source.report.is_full else did_you_mean(written, template.types.names, cutoff=0.85)
    if role is not Role.UNKNOWN and hint and written.startswith("tosca."):
        at.warning("type-unknown", f"{name[:80]}: there is no type {written[:120]}; taken for what it looks like", hint)
    elif role is not Role.UNKNOWN:
        at.info("type-by-name", f"{name[:80]}: type {written[:120]} is not defined here; taken for what its name says")
    elif hint and not template.missing_imports:
        at.error("type-unknown", f"{name[:80]}: there is no type {written[:120]}", hint)
    else:
        at.warning("type-unknown", f"{name[:80]}: type {written[:120]} is not known; the node is kept, not used", hint)


def _check_values(template: Template, node: TemplateNode, given: Reading) -> None:
    if not given.is_map:
        return
    for key, described in template.types.definitions(node.type).items():
        if key not in given.node.fields or not described.is_map:
            continue
        allowed = [value.text() for value in template.types.allowed(described) if value.is_text]
        value = given.get(key)
        if allowed and value.is_text and value.text() not in allowed:
            value.warning(
                "value-not-allowed",
                f"{node.name[:80]}: {key} is {value.text()[:60]!r}, its type allows {', '.join(allowed[:5])[:120]}",
            )
