"""The NoCloud seed: a small ISO 9660 image labelled ``cidata`` that tells a guest who it is.

It holds three files, as cloud-init's NoCloud source reads them. It is the node's last virtio disk, read-only, with the
serial ``manor-seed``. ``network-config`` (version 2) is YAML with one key a line and a fixed order, so that a guest
without a YAML parser can read it line by line too::

    version: 2
    ethernets:
      port0:
        match:
          macaddress: '52:54:00:aa:bb:cc'
        mtu: 1500
        dhcp4: false
        addresses:
        - 10.0.0.5/24
        routes:
        - to: 0.0.0.0/0
          via: 10.0.0.1

A guest finds ``macaddress:`` lines, and takes what follows as that interface's until the next one; quotes may be there
or not. ``addresses`` and ``routes`` are left out where there are none.
"""

from __future__ import annotations

import io
import re
from typing import Any

from manor.api import NodeSpec, Port
from manor_vim_libvirt.names import domain_uuid

__all__ = ["seed_files", "seed_image"]


def seed_files(spec: NodeSpec) -> dict[str, str]:
    """Text of each file by name. Pure."""
    hostname = re.sub(r"[^a-z0-9-]+", "-", spec.name.lower()).strip("-")[:63].strip("-") or "node"
    meta_data = {"instance-id": str(domain_uuid(spec.owner, spec.key)), "local-hostname": hostname}
    ethernets = {f"port{index}": _ethernet(port) for index, port in enumerate(spec.ports)}
    return {
        "meta-data": _yaml(meta_data),
        "user-data": spec.user_data or "#cloud-config\n{}\n",
        "network-config": _yaml({"version": 2, "ethernets": ethernets}),
    }


def _ethernet(port: Port) -> dict[str, Any]:
    ethernet: dict[str, Any] = {"match": {"macaddress": port.mac}, "mtu": port.mtu, "dhcp4": not port.addresses}
    if port.addresses:
        ethernet["addresses"] = list(port.addresses)
    if port.gateway:
        default = "::/0" if ":" in port.gateway else "0.0.0.0/0"
        ethernet["routes"] = [{"to": default, "via": port.gateway}]
    return ethernet


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=False, width=4096)
    return text


def seed_image(files: dict[str, str]) -> bytes:
    """The ISO image, built in memory."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for name, text in files.items():
        data = text.encode()
        plain = name.upper().replace("-", "_")
        iso.add_fp(io.BytesIO(data), len(data), f"/{plain}.;1", rr_name=name, joliet_path=f"/{name}")
    out = io.BytesIO()
    iso.write_fp(out)
    iso.close()
    return out.getvalue()
