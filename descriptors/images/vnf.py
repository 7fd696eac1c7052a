"""The image ``manor-vnf``: a Debian cloud kernel and one initramfs that all demo VNFs boot.

What a machine does (client, firewall, monitor, web server) is told by its package's boot data, so four VNFs
cost a host one kernel and one initramfs. The whole recipe is the three tables below and the files in ``rootfs/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from images.alone import alone_in
from images.cpio import write_archive
from images.debs import BuildError, Deb, behind, fetch, resolve, run, unpack
from images.modules import find_modules, insertion_order, needs

__all__ = ["BuiltFile", "VnfImage", "build_image"]

HERE = Path(__file__).resolve().parent

KERNEL = ("linux-image-cloud-amd64", r"linux-image-[0-9]\S+-cloud-amd64")

USERLAND = (
    "busybox-static",
    # qemu-guest-agent, with the libraries it is linked to
    "qemu-guest-agent libc6 libglib2.0-0 libnuma1 libpcre2-8-0 libudev1 liburing2",
    # nft
    "nftables libnftables1 libbsd0 libedit2 libgmp10 libjansson4 libmd0 libmnl0 libnftnl11 libtinfo6 libxtables12",
)
PROGRAMS = ("usr/sbin/qemu-ga", "usr/sbin/nft")
LIBRARY_DIRS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
LOADER = "lib64/ld-linux-x86-64.so.2"

MODULES = {
    # always; in the order in which a virtio machine needs them
    "virtio": "virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_net virtio_blk "
    "virtio_console virtio_rng isofs",
    # where the NoCloud seed is not a virtio disk
    "cdrom": "ata_piix virtio_scsi sr_mod",
    # the power button
    "power": "button evdev",
    # asked for by boot data
    "bridge": "bridge",
    "nftables": "nf_tables nft_meta_bridge nft_objref",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltFile:
    """A file of the image."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfImage:
    """What was built, from what."""

    recipe: str
    """Hash of everything that goes in; the same recipe gives the same files."""
    packages: tuple[str, ...]
    kernel: BuiltFile
    initramfs: BuiltFile


def build_image(work: Path) -> VnfImage:
    """Build the image into ``work`` (``vmlinuz``, ``initramfs``, ``manor-vnf.json``), or reuse what is there.

    Downloads go to ``work/debs`` and are kept. Raises BuildError.
    """
    work = work.resolve()
    with alone_in(work):
        return _build(work)


def _build(work: Path) -> VnfImage:
    names = [behind(*KERNEL), *(name for line in USERLAND for name in line.split())]
    debs = resolve(names)
    recipe = _recipe(debs)
    record = work / "manor-vnf.json"
    if built := _recorded(record, recipe):
        return built
    fetch(names, debs, work / "debs")
    with tempfile.TemporaryDirectory(dir=work, prefix="unpack-") as scratch:
        unpacked, root = Path(scratch, "debs"), Path(scratch, "root")
        unpack(debs, work / "debs", unpacked)
        _fill(root, unpacked)
        kernels = sorted((unpacked / "boot").glob("vmlinuz-*"))
        if len(kernels) != 1:
            raise BuildError(f"the kernel package holds {len(kernels)} kernels, one is wanted")
        kernel = _place(kernels[0], work / "vmlinuz")
        archive = Path(scratch, "initramfs")
        with archive.open("wb") as out:
            write_archive(root, out)
        initramfs = _place(archive, work / "initramfs")
    image = VnfImage(recipe=recipe, packages=tuple(deb.title for deb in debs), kernel=kernel, initramfs=initramfs)
    record.write_text(json.dumps(asdict(image), indent=2) + "\n")
    return image


def _recipe(debs: Sequence[Deb]) -> str:
    digest = hashlib.sha256()
    for deb in debs:
        digest.update(f"{deb.file} {deb.sha256}\n".encode())
    for path in sorted((*HERE.glob("*.py"), *HERE.joinpath("rootfs").rglob("*"))):
        if path.is_file():
            digest.update(f"{path.relative_to(HERE)} {os.access(path, os.X_OK)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _recorded(record: Path, recipe: str) -> VnfImage | None:
    try:
        data = json.loads(record.read_text())
        files = {name: BuiltFile(**data.pop(name)) for name in ("kernel", "initramfs")}
        image = VnfImage(packages=tuple(data["packages"]), recipe=data["recipe"], **files)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    intact = all(Path(file.path).is_file() and _sha256(Path(file.path)) == file.sha256 for file in files.values())
    return image if intact and image.recipe == recipe else None


def _fill(root: Path, unpacked: Path) -> None:
    """Lay out the machine's root file system."""
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "var", "etc/modules"):
        root.joinpath(name).mkdir(parents=True, exist_ok=True)
    root.joinpath("var/run").symlink_to("/run")
    _add_busybox(root, unpacked)
    _add_programs(root, unpacked)
    _add_modules(root, unpacked)
    shutil.copytree(HERE / "rootfs", root, dirs_exist_ok=True, copy_function=shutil.copy)
    root.joinpath("init").symlink_to("/bin/busybox")


def _add_busybox(root: Path, unpacked: Path) -> None:
    busybox = unpacked / "bin/busybox"
    _copy(busybox, root / "bin/busybox")
    for applet in run([str(busybox), "--list-full"]).split():
        link = root / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to("/bin/busybox")


def _add_programs(root: Path, unpacked: Path) -> None:
    """Programs with exactly the libraries that the loader of the same packages says they need."""
    loader = unpacked / LOADER
    search = ":".join(str(unpacked / name) for name in LIBRARY_DIRS)
    for program in PROGRAMS:
        _copy(unpacked / program, root / program)
        listing = run([str(loader), "--inhibit-cache", "--library-path", search, "--list", str(unpacked / program)])
        for line in listing.splitlines():
            soname, arrow, rest = line.strip().partition(" => ")
            if not arrow or soname.startswith("/"):
                continue  # the kernel's own page, and the loader itself
            library = Path(rest.split(" (")[0])
            if not library.is_relative_to(unpacked):
                raise BuildError(f"{program} needs {soname}, which none of the packages has")
            _copy(library, root / "lib/x86_64-linux-gnu" / soname)
    _copy(loader, root / LOADER)


def _add_modules(root: Path, unpacked: Path) -> None:
    """Modules, and for each group a list of their files in insertion order."""
    modules = find_modules(unpacked / "lib/modules")
    depends = {name: needs(path.read_bytes()) for name, path in modules.items()}
    for group, wanted in MODULES.items():
        order = insertion_order(wanted.split(), depends)
        for name in order:
            _copy(modules[name], root / f"lib/modules/{name}.ko")
        listing = "".join(f"/lib/modules/{name}.ko\n" for name in order)
        root.joinpath("etc/modules", group).write_text(listing)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _place(source: Path, target: Path) -> BuiltFile:
    """Move into place at once, so that a broken-off build leaves no half file under the name."""
    new = target.with_name(target.name + ".new")
    shutil.copyfile(source, new)
    new.replace(target)
    return BuiltFile(path=str(target), sha256=_sha256(target), size_bytes=target.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
