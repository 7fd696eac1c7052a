"""Software images: the SwImage artifact, and the ``sw_image_data`` property that older releases put beside it."""

from __future__ import annotations

import re

from manor.catalog.files import PackageFiles, under
from manor.catalog.reading import Reading
from manor.catalog.sol001.template import TemplateNode
from manor.catalog.units import GIB, MIB, size_bytes
from manor.model.vnfd import SwImageDesc

__all__ = ["artifact_file", "find_file", "images_of"]

_DISK = (".img", ".qcow2", ".raw", ".iso", ".vmdk", ".vdi", ".vhd")
_CONTAINER = re.compile(r"[a-z0-9._-]+(:\d+)?(/[A-Za-z0-9._-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]+)?")


def find_file(files: PackageFiles, template: str, name: str) -> str:
    """Where in the package a file is that a template names; empty where it is not there.

    Looked up from the template's own folder, then from the root; leading ``../`` are forgiven.
    """
    stripped = re.sub(r"^(\.\./)+", "", name)
    for path in (under(template.rpartition("/")[0], name), under("", name), under("", stripped)):
        if path and path in files.sizes:
            return path
    return ""


def artifact_file(files: PackageFiles, at: Reading, name: str, *, image: bool = False) -> str:
    """The package's name for a file that an artifact names, or what the artifact says where there is none."""
    found = find_file(files, at.source.file, name)
    if found or not name:
        return found
    if "://" in name:
        at.info("artifact-remote", f"{name[:200]} is outside the package; give it when on-boarding")
    elif image and not name.lower().endswith(_DISK) and _CONTAINER.fullmatch(name):
        at.info("image-external", f"{name[:200]} is not a file of the package; a container's image, or the VIM's own")
    else:
        at.warning("artifact-missing", f"{name[:200]} is not in the package")
    return name


def images_of(node: TemplateNode, files: PackageFiles) -> list[SwImageDesc]:
    """The images of a VDU or storage, in the order of the template; id ``<node>.<artifact>``."""
    data = node.properties.get("sw_image_data")
    if data and not data.is_map:
        data.wrong("a map")
        data = Reading(None, node.reading.source, at=node.reading.node)
    found = []
    for name, artifact in node.reading.get("artifacts").named():
        if not _is_image(name, artifact):
            continue
        given = artifact.get("properties") if artifact.is_map else Reading(None, artifact.source, at=artifact.node)
        written = artifact.get("file") if artifact.is_map else artifact
        if artifact.is_map:
            artifact.get("description").value()
        properties = given.over(data) if data else given
        file = artifact_file(files, written, written.text(), image=True)
        found.append(_image(f"{node.name}.{name}", properties, file))
    if not found and not data and (known := node.properties.get("image")).is_text:
        # Tacker's older templates name an image that the VIM has.
        found.append(SwImageDesc(id=f"{node.name}.image", name=known.text(), file=known.text()))
    if not found and data:
        found.append(_image(f"{node.name}.image", data, ""))
    return found


def _is_image(name: str, artifact: Reading) -> bool:
    if artifact.is_text:
        return "image" in name.lower() or artifact.text().lower().endswith(_DISK)
    if not artifact.is_map:
        if artifact:
            artifact.wrong("an artifact")
        return False
    kind = artifact.get("type").text()
    return kind.endswith(("SwImage", "SoftwareImage")) or (not kind and "image" in name.lower())


def _image(image_id: str, properties: Reading, file: str) -> SwImageDesc:
    checksum = properties.get("checksum")
    algorithm, digest = "", ""
    if checksum.is_map:
        algorithm, digest = checksum.get("algorithm").text(), checksum.get("hash").text()
    elif checksum:
        digest = checksum.text()
    return SwImageDesc(
        id=image_id,
        name=properties.get("name").text(),
        version=properties.get("version").text(),
        file=file,
        disk_format=properties.get("disk_format", "diskFormat").text().lower(),
        container_format=properties.get("container_format", "containerFormat").text().lower(),
        checksum_algorithm=algorithm.lower(),
        checksum=digest.lower(),
        min_disk_bytes=size_bytes(properties.get("min_disk"), bare=GIB),
        min_ram_bytes=size_bytes(properties.get("min_ram"), bare=MIB),
        size_bytes=size_bytes(properties.get("size"), bare=1),
        operating_system=properties.get("operating_system").text(),
    )
