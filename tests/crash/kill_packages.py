"""The demo's packages as the killing of real processes wants them: a next version, a disk, and room to scale."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

__all__ = ["FIREWALL", "NEXT_FIREWALL", "next_firewall", "scalable", "with_disk"]

FIREWALL, NEXT_FIREWALL = "2888f974-c366-572e-8226-bd5ec7588181", "2888f974-c366-572e-8226-bd5ec7588182"
_DISK = """\
    data:
      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage
      properties: {virtual_block_storage_data: {size_of_storage: 1 MiB}}

"""


def next_firewall(archive: Path, work: Path) -> Path:
    """The firewall's next version, which says so when it boots."""
    folder = _unpacked(archive, work / "next-firewall")
    for path in (folder / "Definitions/firewall.yaml", folder / "Files/boot.sh"):
        text = path.read_text().replace(FIREWALL, NEXT_FIREWALL)
        _written(folder, path, text + ("\ntouch /run/version-2\n" if path.suffix == ".sh" else ""))
    (manifest,) = folder.glob("*.mf")
    manifest.write_text(manifest.read_text().replace(FIREWALL, NEXT_FIREWALL))
    return folder


def with_disk(archive: Path, work: Path) -> Path:
    """The web server with a blank disk, of which there can be snapshots."""
    folder = _unpacked(archive, work / "web-with-disk")
    path = folder / "Definitions/web.yaml"
    machine = "      type: tosca.nodes.nfv.Vdu.Compute\n"
    head, body = path.read_text().split(machine, 1)
    body = body.replace("    cp:\n", f"{_DISK}    cp:\n", 1)
    _written(folder, path, f"{head}{machine}      requirements:\n        - virtual_storage: data\n{body}")
    return folder


def scalable(nsd: Path, work: Path) -> Path:
    """The demo's service with up to two firewalls."""
    folder = work / "nsd"
    shutil.copytree(nsd, folder)
    file = folder / "Definitions/secure_web.yaml"
    head, firewall = file.read_text().split("    firewall:\n", 1)
    firewall = firewall.replace("max_number_of_instances: 1", "max_number_of_instances: 2", 1)
    file.write_text(f"{head}    firewall:\n{firewall}")
    return folder


def _unpacked(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return folder


def _written(folder: Path, path: Path, text: str) -> None:
    """The file with this content, also by its package's manifest."""
    (manifest,) = folder.glob("*.mf")
    old, new = (hashlib.sha256(one.encode()).hexdigest() for one in (path.read_text(), text))
    manifest.write_text(manifest.read_text().replace(old, new))
    path.write_text(text)
