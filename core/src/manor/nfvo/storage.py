"""What a VNFC boots from and stores on: a VDU's images and storages as volumes and a boot source."""

from __future__ import annotations

from dataclasses import dataclass

from manor.api.resources import DiskFormat
from manor.errors import PlanRefused
from manor.model.vnfd import SwImageDesc, VirtualStorageDesc
from manor.nfvo.request import Artifact, ServiceRequest
from manor.vnfm.members import Vnf, Vnfc, slug

__all__ = ["DiskPlan", "ImageUse", "StoragePlan", "image_key", "image_keys", "plan_storage"]

_FORMATS = {
    "": DiskFormat.QCOW2,
    "qcow2": DiskFormat.QCOW2,
    "raw": DiskFormat.RAW,
    "img": DiskFormat.RAW,
    "aki": DiskFormat.KERNEL,
    "ari": DiskFormat.INITRAMFS,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageUse:
    """An image file in the format a VNFC needs it in."""

    name: str
    format: DiskFormat
    artifact: Artifact


def image_keys(sha256: str) -> tuple[str, ...]:
    """Every key, up to the @, that a file of this content may have: it is another image for who takes it to be raw."""
    return f"image/{sha256[:16]}", f"image/{sha256[:16]}.raw"


def image_key(use: ImageUse, place: tuple[str, str]) -> str:
    """The image's key on a VIM's host. Two packages may give one file in two formats; neither is believed over the
    other, so they are two images."""
    plain, raw = image_keys(use.artifact.sha256)
    return f"{raw if use.format is DiskFormat.RAW else plain}@{'/'.join(place)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskPlan:
    """A volume of the VNFC."""

    key: str
    size_bytes: int
    image: ImageUse | None
    boot_index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoragePlan:
    """All of one VNFC's."""

    kernel: ImageUse | None
    initramfs: ImageUse | None
    disks: tuple[DiskPlan, ...]

    @property
    def size_bytes(self) -> int:
        """What the disks may grow to."""
        return sum(disk.size_bytes for disk in self.disks)


def plan_storage(request: ServiceRequest, vnf: Vnf, vnfc: Vnfc) -> StoragePlan:
    """Raises PlanRefused where an image is missing, of a format no VM can use, or there is nothing to boot."""
    images = {image.id: image for image in vnf.vnfd.images}
    storages = {storage.id: storage for storage in vnf.vnfd.storages}
    uses = {}
    for image_id in vnfc.vdu.images:
        if image_id in images:
            uses[image_id] = _use(request, vnf, images[image_id])
    attached = [storages[name] for name in vnfc.vdu.storages if name in storages]
    kernel = next((use for use in uses.values() if use.format is DiskFormat.KERNEL), None)
    initramfs = next((use for use in uses.values() if use.format is DiskFormat.INITRAMFS), None)
    on_storage = {storage.image for storage in attached}
    disks = []
    for image_id, use in uses.items():
        if use.format in (DiskFormat.QCOW2, DiskFormat.RAW) and image_id not in on_storage:
            size = max(images[image_id].min_disk_bytes, vnfc.vdu.compute.local_storage_bytes)
            disks.append(DiskPlan(key=f"{vnfc.key}/disk/root", size_bytes=size, image=use, boot_index=1))
    disks += [_disk(request, vnf, vnfc, storage, images) for storage in attached if storage.type_of_storage != "object"]
    if kernel is None and not any(disk.image for disk in disks):
        raise PlanRefused(
            f"VNFD {vnf.vnfd.id}, VDU {vnfc.vdu.id}: nothing to boot from",
            hint="the VDU needs a software image in its package: a disk, or a kernel with an initramfs",
        )
    return StoragePlan(kernel=kernel, initramfs=initramfs, disks=tuple(disks))


def _disk(
    request: ServiceRequest, vnf: Vnf, vnfc: Vnfc, storage: VirtualStorageDesc, images: dict[str, SwImageDesc]
) -> DiskPlan:
    image = _use(request, vnf, images[storage.image]) if storage.image in images else None
    boot = 1 if image else 0
    if storage.id in vnfc.vdu.boot_order:
        boot = vnfc.vdu.boot_order.index(storage.id) + 1
    return DiskPlan(
        key=f"{vnfc.key}/disk/{slug(storage.id)}",
        size_bytes=storage.size_of_storage_bytes,
        image=image,
        boot_index=boot,
    )


def _use(request: ServiceRequest, vnf: Vnf, image: SwImageDesc) -> ImageUse:
    where = f"VNFD {vnf.vnfd.id}, image {image.id}"
    form = _FORMATS.get(image.disk_format.lower())
    if form is None:
        raise PlanRefused(f"{where}: no virtual machine can boot the format {image.disk_format}")
    artifact = request.artifacts.get((vnf.vnfd.id, image.file))
    if artifact is None:
        raise PlanRefused(
            f"{where}: the package holds no file {image.file or image.name!r}",
            hint="on-board a package that carries the image file",
        )
    return ImageUse(name=image.name or image.id, format=form, artifact=artifact)
