"""Read one package or loose descriptor, whatever its language and wrapping, into the information model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from manor.api.records import DescriptorFormat
from manor.catalog.csar import DIGESTS, META, Csar, read_csar
from manor.catalog.files import PackageFiles, digest_of, read_text_file, under
from manor.catalog.foreign import Overlay, translate
from manor.catalog.nodes import Kind, Node, compose
from manor.catalog.reading import Reading, Source
from manor.catalog.report import Report, did_you_mean
from manor.catalog.sol001.nsd import read_nsd as read_tosca_nsd
from manor.catalog.sol001.template import Template, load
from manor.catalog.sol001.types import Role
from manor.catalog.sol001.vnfd import read_vnfd as read_tosca_vnfd
from manor.catalog.sol006.document import descriptors, is_sol006
from manor.catalog.sol006.nsd import read_nsd as read_yang_nsd
from manor.catalog.sol006.vnfd import read_vnfd as read_yang_vnfd
from manor.errors import DescriptorError
from manor.model.nsd import Nsd
from manor.model.vnfd import Vnfd

__all__ = ["DESCRIPTOR_SUFFIXES", "ItemKind", "PackageReading", "read_descriptor", "read_package", "roots_of"]

DESCRIPTOR_SUFFIXES = (".yaml", ".yml", ".json")


_MEANT = re.compile(
    rb"""^[\s"'{\xef\xbb\xbf]*(tosca_definitions_version|(etsi-nfv-[\w-]*:)?(vnfd|nsd|nfv)(:[\w-]+)?)["']?\s*:""",
    re.MULTILINE,
)


class ItemKind(StrEnum):
    """What was read."""

    VNFD = "vnfd"
    NSD = "nsd"
    VNFFGD = "vnffgd"
    PNFD = "pnfd"
    OTHER = "other"
    """No descriptor: types alone, Heat, Kubernetes, anything."""
    UNKNOWN = "unknown"
    """Meant to be one, as far as can be told, and not readable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageReading:
    """What came of reading one package."""

    kind: ItemKind
    format: str = ""
    """``sol001``, ``sol006`` or empty."""
    descriptor: Vnfd | Nsd | None = None
    entry: str = ""
    """The descriptor's file in the package."""
    manifest: Mapping[str, str] = field(default_factory=dict)


def roots_of(files: PackageFiles) -> list[str]:
    """Folders in ``files`` that are CSARs by their TOSCA.meta."""
    return [name[: -len(META)].rstrip("/") for name in files.sizes if f"/{name}".endswith(f"/{META}")]


def read_package(files: PackageFiles, report: Report, formats: Sequence[DescriptorFormat] = ()) -> PackageReading:
    """Read the package in ``files``: a CSAR with TOSCA.meta or with a template in its root, or OSM's."""
    if META in files.sizes:
        return _read_csar(files, "", report)
    base = _only_folder(files)
    if f"{base}/{META}" in files.sizes:
        # Zipped with its folder: SOL004 wants the content at the root.
        report.warning("csar-folder", f"the package is inside a folder {base}/ of the archive")
        return _read_csar(files, base, report)
    at_root = [
        name for name in files.sizes if name.rpartition("/")[0] in ("", base) and name.endswith(DESCRIPTOR_SUFFIXES)
    ]
    candidates = [(name, kind) for name in at_root if (kind := _looks_like(files, name)) in ("sol001", "sol006")]
    if not candidates:
        return _nothing(files, at_root, report, formats)
    if len(candidates) > 1:
        tops = _not_imported(files, [name for name, _ in candidates])
        candidates = [each for each in candidates if each[0] in tops] or candidates
    if len(candidates) > 1:
        names = ", ".join(name for name, _ in candidates[:5])
        report.error("entry-ambiguous", f"several descriptors at the root of the package: {names[:200]}")
    name, language = candidates[0]
    if language == "sol001":
        csar = read_csar(files, name.rpartition("/")[0], report)
        return _tosca(files, name, report, csar)
    _check_osm_sums(files, name.rpartition("/")[0], report)
    return read_descriptor(files, name, report)


def _nothing(
    files: PackageFiles, at_root: Sequence[str], report: Report, formats: Sequence[DescriptorFormat]
) -> PackageReading:
    for name in at_root if formats else ():
        reading = read_descriptor(files, name, report, formats)
        if reading.kind is not ItemKind.OTHER:
            return reading
    broken = next((name for name in at_root if _looks_like(files, name) == "broken"), "")
    if broken:
        return read_descriptor(files, broken, report)
    report.error("entry-missing", "no TOSCA-Metadata/TOSCA.meta and no descriptor at the root of the package")
    return PackageReading(kind=ItemKind.UNKNOWN)


def _only_folder(files: PackageFiles) -> str:
    tops = {name.partition("/")[0] for name in files.sizes if "/" in name}
    loose = [name for name in files.sizes if "/" not in name]
    return next(iter(tops)) if len(tops) == 1 and not loose else ""


def _not_imported(files: PackageFiles, names: list[str]) -> list[str]:
    imported: set[str] = set()
    for name in names:
        try:
            root = compose(read_text_file(files, name), name)[0]
        except (DescriptorError, IndexError):
            continue
        for entry in Reading(root, Source(name, Report())).get("imports").each() if root.kind is Kind.MAP else ():
            value = entry.get("file").text() if entry.is_map else entry.text() if entry.is_text else ""
            imported.add(under(name.rpartition("/")[0], value))
    return [name for name in names if name not in imported]


def _read_csar(files: PackageFiles, root: str, report: Report) -> PackageReading:
    csar = read_csar(files, root, report)
    if not csar.entry:
        return PackageReading(kind=ItemKind.UNKNOWN, format="sol001", manifest=csar.metadata)
    if _looks_like(files, csar.entry) == "sol006":
        return read_descriptor(files, csar.entry, report)
    return _tosca(files, csar.entry, report, csar)


def _looks_like(files: PackageFiles, name: str) -> str:
    """``sol001``, ``sol006``, ``broken`` (would be one if it were readable) or empty."""
    try:
        data = read_text_file(files, name)
    except DescriptorError:
        return ""
    try:
        documents = compose(data, name)
    except DescriptorError:
        return "broken" if looks_meant(data) else ""
    if len(documents) != 1:
        return ""
    return language_of(documents[0])


def looks_meant(data: bytes) -> bool:
    """Whether text that cannot be parsed was meant as a descriptor, by words at the start of its lines."""
    return _MEANT.search(data[: 1 << 16]) is not None


def language_of(root: Node) -> str:
    """``sol001``, ``sol006`` or empty, by the root keys."""
    if root.kind is not Kind.MAP:
        return ""
    if "tosca_definitions_version" in root.fields:
        return "sol001"
    return "sol006" if is_sol006(root) else ""


def read_descriptor(
    files: PackageFiles, name: str, report: Report, formats: Sequence[DescriptorFormat] = ()
) -> PackageReading:
    """Read one descriptor file; what it names is looked for in ``files``."""
    try:
        data = read_text_file(files, name)
    except DescriptorError as error:
        report.extend(error.findings)
        return PackageReading(kind=ItemKind.UNKNOWN, entry=name)
    try:
        documents = compose(data, name)
    except DescriptorError as error:
        if not looks_meant(data):
            return PackageReading(kind=ItemKind.OTHER, entry=name)
        report.extend(error.findings)
        return PackageReading(kind=ItemKind.UNKNOWN, entry=name)
    language = language_of(documents[0]) if documents else ""
    if not language:
        found = translate(documents[0], name, formats, report) if len(documents) == 1 and formats else None
        if found is not None:
            reading = _tosca(Overlay(files, name, found[1]), name, report, Csar(entry=name), siblings=False)
            return replace(reading, format=found[0].name)
        return PackageReading(kind=ItemKind.UNKNOWN if report.refused else ItemKind.OTHER, entry=name)
    if len(documents) > 1:
        report.error("documents-many", f"{len(documents)} documents in one file, one is read", file=name)
    if language == "sol001":
        return _tosca(files, name, report, Csar(entry=name), siblings=False)
    return _yang(files, name, documents[0], report)


def _yang(files: PackageFiles, name: str, root: Node, report: Report) -> PackageReading:
    found = descriptors(root, Source(name, report))
    if not found:
        report.error("descriptor-empty", "the file holds no descriptor", file=name, line=1)
        return PackageReading(kind=ItemKind.UNKNOWN, format="sol006", entry=name)
    kind, given = found[0]
    if len(found) > 1:
        given.error("descriptors-many", f"{len(found)} descriptors in one file, one is read", "one file for each")
    if not given.is_map:
        if given:
            given.wrong(f"a {kind}")
        return PackageReading(kind=ItemKind(kind), format="sol006", entry=name)
    descriptor = read_yang_vnfd(given, files) if kind == "vnfd" else read_yang_nsd(given)
    if isinstance(descriptor, Vnfd):
        _check_images(descriptor, files, report)
    return PackageReading(kind=ItemKind(kind), format="sol006", descriptor=descriptor, entry=name)


def _tosca(files: PackageFiles, name: str, report: Report, csar: Csar, *, siblings: bool = True) -> PackageReading:
    templates = load(files, name, report, siblings=siblings)
    if not templates:
        if siblings and not report.refused:
            report.error("topology-missing", "the entry template has no topology_template", file=name, line=1)
        kind = ItemKind.UNKNOWN if report.refused else ItemKind.OTHER
        return PackageReading(kind=kind, format="sol001" if report.refused else "", entry=name)
    kind = _kind(templates)
    if kind is ItemKind.OTHER and report.refused:
        return PackageReading(kind=ItemKind.UNKNOWN, format="sol001", entry=name)
    descriptor: Vnfd | Nsd | None = None
    if kind is ItemKind.VNFD:
        descriptor = read_tosca_vnfd(templates, files)
    elif kind in (ItemKind.NSD, ItemKind.VNFFGD):
        descriptor = read_tosca_nsd(templates)
    elif kind is ItemKind.PNFD:
        report.info("pnfd", "a physical function is known by its descriptor; Manor deploys none", file=name, line=1)
    if descriptor is not None and csar.manifest:
        _check_manifest(descriptor, csar, report)
    if isinstance(descriptor, Vnfd):
        _check_images(descriptor, files, report)
    language = "" if kind is ItemKind.OTHER else "sol001"
    return PackageReading(kind=kind, format=language, descriptor=descriptor, entry=name, manifest=csar.metadata)


def _kind(templates: list[Template]) -> ItemKind:
    top = templates[0]
    roles = {node.role for node in top.nodes.values()}
    substituted = top.types.role(top.substitution.get("node_type").text()) if top.substitution.is_map else Role.UNKNOWN
    archive = top.root.get("metadata").get("csarType").text() if top.root.get("metadata").is_map else ""
    if substituted is Role.NS or Role.NS in roles or archive in ("NSAR", "GSAR"):
        return ItemKind.NSD
    inside = {Role.VDU, Role.CONTAINER, Role.STORAGE, Role.VDU_CP, Role.EXT_CP, Role.LINK}
    if substituted is Role.VNF or roles & {Role.VDU, Role.CONTAINER}:
        return ItemKind.VNFD
    vnfs = len(top.of(Role.VNF))
    if vnfs and (roles & {Role.NS_LINK, Role.NFP, Role.LEGACY_PATH, Role.FORWARDING, Role.SAP} or vnfs > 1):
        return ItemKind.NSD
    if vnfs or roles & inside:
        return ItemKind.VNFD
    if Role.PNF in roles or substituted is Role.PNF:
        return ItemKind.PNFD
    if roles & {Role.NFP, Role.LEGACY_PATH} or any(kind == "VNFFG" for _, kind, _ in top.groups()):
        return ItemKind.VNFFGD
    if roles & {Role.NS_LINK, Role.SAP, Role.FORWARDING, Role.POSITION, Role.ELEMENT}:
        return ItemKind.NSD
    if Role.UNKNOWN in roles and any(node.type.startswith("tosca.nodes.nfv.") for node in top.nodes.values()):
        return ItemKind.VNFD
    return ItemKind.OTHER


def _check_manifest(descriptor: Vnfd | Nsd, csar: Csar, report: Report) -> None:
    """The manifest's names are those of the descriptor (SOL004 §4.3.2)."""
    if isinstance(descriptor, Vnfd):
        pairs = [("vnf_product_name", descriptor.product_name), ("vnf_provider_id", descriptor.provider)]
    else:
        pairs = [("nsd_name", descriptor.name), ("nsd_designer", descriptor.designer)]
    for key, value in pairs:
        promised = csar.metadata.get(key, "")
        if promised and value and promised != value:
            message = f"{key} is {promised[:60]!r}, the descriptor has {value[:60]!r}"
            report.warning("manifest-differs", message, file=csar.manifest)


def _check_images(vnfd: Vnfd, files: PackageFiles, report: Report) -> None:
    """Images that are in the package are what their checksums promise."""
    for image in vnfd.images:
        algorithm = image.checksum_algorithm.replace("-", "").replace("_", "")
        if image.file not in files.sizes or not image.checksum or algorithm not in DIGESTS:
            continue
        try:
            found = digest_of(files, image.file, algorithm)
        except DescriptorError as error:
            report.extend(error.findings)
            continue
        if found != image.checksum:
            message = f"image {image.id[:80]} is not what its {image.checksum_algorithm} checksum promises"
            report.error("hash-mismatch", message, file=image.file, hint=f"it is {found}")


def _check_osm_sums(files: PackageFiles, base: str, report: Report) -> None:
    """OSM's checksums.txt: MD5 and name a line."""
    sums = under(base, "checksums.txt")
    if sums not in files.sizes:
        return
    try:
        text = read_text_file(files, sums, 1 << 20).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), start=1):
            digest, _, name = line.strip().partition(" ")
            path = under(base, name.strip().lstrip("*").removeprefix("./"))
            if path not in files.sizes:
                path = under("", name.strip().lstrip("*").removeprefix("./"))
            if len(digest) != 32 or path == sums:
                continue
            if path not in files.sizes:
                hint = did_you_mean(name.strip(), files.sizes)
                report.warning("artifact-missing", f"{name[:200]} is not there", file=sums, line=number, hint=hint)
            elif digest_of(files, path, "md5") != digest.lower():
                # Nobody makes these anew while writing a package: `osm package-build` does.
                report.warning("hash-mismatch", f"{name[:200]} has changed since", file=sums, line=number)
    except DescriptorError as error:
        report.extend(error.findings)
