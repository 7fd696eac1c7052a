"""XML of networks, the storage pool and its volumes: pure functions."""

from __future__ import annotations

import uuid
from typing import Any

from lxml import etree

from manor.api import NetworkSpec
from manor_vim_libvirt.metadata import mark_of, write_mark
from manor_vim_libvirt.names import native_name, network_uuid

__all__ = ["network_xml", "pool_xml", "volume_xml"]


def _text(root: Any) -> str:
    text: str = etree.tostring(root, pretty_print=True, encoding="unicode")
    return text


def network_xml(spec: NetworkSpec, bridge: str, *, openvswitch: bool = True) -> str:
    """A network that only names the bridge which ports attach to; forwarding is the controller's."""
    native = network_uuid(spec.owner, spec.key)
    root = etree.Element("network")
    etree.SubElement(root, "name").text = native_name(spec.owner, spec.key, native)
    etree.SubElement(root, "uuid").text = str(native)
    write_mark(root, mark_of(spec))
    etree.SubElement(root, "forward", mode="bridge")
    etree.SubElement(root, "bridge", name=bridge)
    if openvswitch:
        etree.SubElement(root, "virtualport", type="openvswitch")
    return _text(root)


def pool_xml(name: str, native: uuid.UUID, path: str) -> str:
    """A directory pool that others may pass through but not list."""
    root = etree.Element("pool", type="dir")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "uuid").text = str(native)
    target = etree.SubElement(root, "target")
    etree.SubElement(target, "path").text = path
    permissions = etree.SubElement(target, "permissions")
    etree.SubElement(permissions, "mode").text = "0711"
    return _text(root)


def volume_xml(
    name: str, size_bytes: int, format_: str, *, backing: str = "", backing_format: str = "", sparse: bool = True
) -> str:
    """A volume of ``size_bytes``; with ``backing`` (an absolute path on the host) an overlay."""
    root = etree.Element("volume")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "capacity", unit="bytes").text = str(size_bytes)
    if sparse:
        etree.SubElement(root, "allocation", unit="bytes").text = "0"
    target = etree.SubElement(root, "target")
    etree.SubElement(target, "format", type=format_)
    permissions = etree.SubElement(target, "permissions")
    etree.SubElement(permissions, "mode").text = "0600"
    if backing:
        store = etree.SubElement(root, "backingStore")
        etree.SubElement(store, "path").text = backing
        etree.SubElement(store, "format", type=backing_format)
    return _text(root)
