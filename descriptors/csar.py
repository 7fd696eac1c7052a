"""A package's folder as an archive: image facts filled in, every file's hash in the manifest, the same zip each time.

The folders that are checked in hold what a person writes. Hashes and the images themselves depend on the build, so they
are added here and never checked in.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from images.vnf import VnfImage

__all__ = ["pack"]

_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, image: VnfImage, out: Path) -> None:
    """Write the archive ``out`` for the package in ``folder``, with the image where its descriptor names it."""
    facts = {
        "@KERNEL_SHA256@": image.kernel.sha256,
        "@KERNEL_SIZE@": str(image.kernel.size_bytes),
        "@INITRAMFS_SHA256@": image.initramfs.sha256,
        "@INITRAMFS_SIZE@": str(image.initramfs.size_bytes),
    }
    members: dict[str, bytes] = {}
    takes_images = False
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            takes_images |= b"@KERNEL_SHA256@" in data
            members[path.relative_to(folder).as_posix()] = _filled(data, facts)
    if takes_images:
        members["Files/images/vmlinuz"] = Path(image.kernel.path).read_bytes()
        members["Files/images/initramfs"] = Path(image.initramfs.path).read_bytes()
    manifests = [name for name in members if name.endswith(".mf")]
    if len(manifests) != 1:
        raise ValueError(f"{folder}: {len(manifests)} manifests (*.mf), one is wanted")
    members[manifests[0]] += _hashes(members, skip=manifests[0])
    _write(out, members)


def _filled(data: bytes, facts: Mapping[str, str]) -> bytes:
    for token, value in facts.items():
        data = data.replace(token.encode(), value.encode())
    return data


def _hashes(members: Mapping[str, bytes], *, skip: str) -> bytes:
    """The manifest's blocks as in SOL004 §4.3.2: source, algorithm, hash."""
    blocks = (
        f"\nSource: {name}\nAlgorithm: SHA-256\nHash: {hashlib.sha256(data).hexdigest()}\n"
        for name, data in sorted(members.items())
        if name != skip
    )
    return "".join(blocks).encode()


def _write(out: Path, members: Mapping[str, bytes]) -> None:
    """Stored, not deflated: the images dominate, and unpacking is then a copy."""
    new = out.with_name(out.name + ".new")
    with zipfile.ZipFile(new, "w") as archive:
        # TOSCA.meta first, where a reader that streams looks for it.
        for name in sorted(members, key=lambda name: (not name.startswith("TOSCA-Metadata/"), name)):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[name])
    new.replace(out)
