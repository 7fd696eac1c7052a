"""The demo's own packages around images of a few bytes, for who boots nothing."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

__all__ = ["packed"]

DESCRIPTORS = Path(__file__).parents[1] / "descriptors"


def packed(out: Path) -> Path:
    """Make the archives of secure-web in a new folder."""
    sys.path.insert(0, str(DESCRIPTORS))
    try:
        from csar import pack
        from images.vnf import BuiltFile, VnfImage
    finally:
        sys.path.remove(str(DESCRIPTORS))
    files = out.with_name(f"{out.name}-files")
    for folder in (out, files):
        folder.mkdir()

    def built(name: str) -> BuiltFile:
        path = files / name
        path.write_bytes(name.encode())
        return BuiltFile(path=str(path), sha256=hashlib.sha256(name.encode()).hexdigest(), size_bytes=len(name))

    image = VnfImage(recipe="", packages=(), kernel=built("vmlinuz"), initramfs=built("initramfs"))
    for meta in DESCRIPTORS.glob("secure-web/*/TOSCA-Metadata/TOSCA.meta"):
        pack(meta.parents[1], image, out / f"{meta.parents[1].name}.csar")
    return out
