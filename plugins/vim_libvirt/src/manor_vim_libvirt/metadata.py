"""Our mark inside a domain's or network's ``<metadata>``: whose it is, what it is, and what it was made from.

Of each field of the spec only a hash is kept, which tells what changed without showing user-data to every reader of
the XML. Ports are kept in full, as a machine's XML does not know addresses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from manor.api import NetworkSpec, NodeSpec, spec_hash, spec_to_json

__all__ = ["Mark", "NAMESPACE", "changed_fields", "mark_of", "parse", "read_mark", "write_mark"]

NAMESPACE = "urn:manor:vim-libvirt:1"
_Q = f"{{{NAMESPACE}}}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What ``<manor:resource>`` says."""

    owner: str
    key: str
    spec_hash: str
    power: str = ""
    fields: Mapping[str, str]
    """A short hash by field name of the spec."""
    ports: tuple[Mapping[str, str], ...] = ()


def parse(text: str) -> Any:
    """Parse XML that came from a hypervisor: no entities, no network. Raises ValueError on XML that is none."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=True)
    try:
        return etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"not XML: {error}") from error


def mark_of(spec: NodeSpec | NetworkSpec) -> Mark:
    """The mark to store for a spec."""
    values = spec_to_json(spec)
    ports = spec.ports if isinstance(spec, NodeSpec) else ()
    return Mark(
        owner=spec.owner,
        key=spec.key,
        spec_hash=spec_hash(spec),
        power=str(spec.power) if isinstance(spec, NodeSpec) else "",
        fields={name: _digest(value) for name, value in values.items() if name not in ("kind", "owner", "key")},
        ports=tuple(
            {
                "key": port.key,
                "name": port.name,
                "device": port.device,
                "mac": port.mac,
                "network": port.network,
                "addresses": " ".join(port.addresses),
            }
            for port in ports
        ),
    )


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def changed_fields(old: Mark, new: Mark) -> tuple[str, ...]:
    """Names of spec fields that differ, in order."""
    names = sorted(old.fields.keys() | new.fields.keys())
    return tuple(name for name in names if old.fields.get(name) != new.fields.get(name))


def write_mark(parent: Any, mark: Mark) -> None:
    """Append ``<metadata>`` with the mark to a domain or network element."""
    metadata = etree.SubElement(parent, "metadata")
    resource = etree.SubElement(metadata, f"{_Q}resource", nsmap={"manor": NAMESPACE})
    resource.set("owner", mark.owner)
    resource.set("key", mark.key)
    resource.set("hash", mark.spec_hash)
    if mark.power:
        resource.set("power", mark.power)
    for name, digest in sorted(mark.fields.items()):
        etree.SubElement(resource, f"{_Q}field", name=name, hash=digest)
    for port in mark.ports:
        etree.SubElement(resource, f"{_Q}port", {name: value for name, value in port.items() if value})


def read_mark(root: Any) -> Mark | None:
    """The mark of a domain or network element; None where it has none and so is not Manor's."""
    resource = root.find(f"metadata/{_Q}resource")
    if resource is None:
        return None
    return Mark(
        owner=resource.get("owner", ""),
        key=resource.get("key", ""),
        spec_hash=resource.get("hash", ""),
        power=resource.get("power", ""),
        fields={item.get("name", ""): item.get("hash", "") for item in resource.findall(f"{_Q}field")},
        ports=tuple(dict(item.attrib) for item in resource.findall(f"{_Q}port")),
    )
