"""Compute, storage and images of a SOL006 VNFD. Memory and disk sizes are in GiB, as OSM deploys them."""

from __future__ import annotations

from collections.abc import Mapping

from manor.catalog.capabilities import additional
from manor.catalog.files import PackageFiles, under
from manor.catalog.reading import Reading
from manor.catalog.sol001.images import artifact_file
from manor.catalog.units import GIB, cpus, size_bytes
from manor.model.vnfd import SwImageDesc, VirtualComputeDesc, VirtualStorageDesc

__all__ = ["compute", "image", "osm_file", "storage"]

_IMAGE_FILES = (".img", ".qcow2", ".raw", ".iso", ".vmdk", ".vdi")


def compute(given: Reading) -> VirtualComputeDesc:
    """A virtual-compute-desc."""
    cpu, memory = given.get("virtual-cpu"), given.get("virtual-memory")
    wished = given.get("request-additional-capability", "request-additional-capabilities")
    loose = {
        "cpu": cpu.get("vdu-cpu-requirements"),
        "memory": memory.get("vdu-mem-requirements"),
        "compute": given.get("compute-requirements"),
    }
    for value in filter(None, loose.values()):
        value.info("unhandled", f"{value.name} is kept and not acted on")
    said = {
        **loose,
        "additional_capabilities": wished,
        # OSM's names of enhanced platform awareness.
        "mempage-size": memory.get("mempage-size"),
        "numa-node-policy": memory.get("numa-node-policy"),
    }
    pinning = cpu.get("pinning")
    numa = memory.get("numa-node-policy")
    disks = [each.get("size-of-storage") for each in given.get("virtual-disk").each() if each.is_map]
    return VirtualComputeDesc(
        id=given.get("id").text(),
        num_virtual_cpu=cpus(cpu.get("num-virtual-cpu")),
        virtual_mem_size_bytes=size_bytes(memory.get("size"), bare=GIB),
        cpu_architecture=cpu.get("cpu-architecture").identity().lower(),
        cpu_model=cpu.get("cpu-model").text(),
        pinning_policy=pinning.get("policy").choice(("static", "dynamic")) if pinning.is_map else "",
        numa_enabled=memory.get("numa-enabled").flag(),
        numa_nodes=numa.get("node-cnt").whole(most=64) if numa.is_map else 0,
        hugepage_bytes={"LARGE": 2 << 20, "SIZE_2MB": 2 << 20, "SIZE_1GB": 1 << 30}.get(
            memory.get("mempage-size").text(), 0
        ),
        local_storage_bytes=sum(size_bytes(disk, bare=GIB) for disk in disks),
        requirements={name: value.value() for name, value in said.items() if value},
        capabilities=additional(wished, name="requested-additional-capability-name", mandatory="support-mandatory"),
    )


def storage(name: str, item: Reading, images: Mapping[str, Reading]) -> VirtualStorageDesc:
    """A virtual-storage-desc; until release 2.6.1 its size stood beside, not in block-storage-data."""
    kind = next((each for each in ("object", "file") if item.has(f"{each}-storage-data")), "block")
    data = item.get(f"{kind}-storage-data")
    size = data.get("size-of-storage", "max-size-of-storage") if data else item.get("size-of-storage")
    filled = data.get("sw-image-desc") if data else item.get("sw-image-desc")
    item.get("type-of-storage").identity()
    return VirtualStorageDesc(
        id=name,
        type_of_storage=kind,
        size_of_storage_bytes=size_bytes(size, bare=GIB),
        image=filled.one_of(images, "sw-image-desc"),
        per_vnfc_instance=item.get("per-vnfc-instance").flag(True),
    )


def image(name: str, item: Reading, files: PackageFiles) -> SwImageDesc:
    """A sw-image-desc; ``image`` is a URI, or with OSM the name that the VIM knows it by."""
    checksum = item.get("checksum")
    where = item.get("image")
    file = where.text()
    if file and (file.lower().endswith(_IMAGE_FILES) or "/" in file):
        file = osm_file(files, where, "images")
    return SwImageDesc(
        id=name,
        name=item.get("name").text(name),
        version=item.get("version").text(),
        file=file,
        disk_format=item.get("disk-format").identity().lower(),
        container_format=item.get("container-format").identity().lower(),
        checksum_algorithm=checksum.get("algorithm").identity().lower() if checksum.is_map else "",
        checksum=checksum.get("hash").text().lower() if checksum.is_map else checksum.text().lower(),
        min_disk_bytes=size_bytes(item.get("min-disk"), bare=GIB),
        min_ram_bytes=size_bytes(item.get("min-ram"), bare=GIB),
        size_bytes=size_bytes(item.get("size"), bare=GIB),
        operating_system=item.get("operating-system").text(),
    )


def osm_file(files: PackageFiles, at: Reading, folder: str) -> str:
    """A file that OSM looks for in a folder of its own (``cloud_init``), beside the descriptor or above it."""
    name = at.text()
    base = at.source.file.rpartition("/")[0]
    for path in (f"{folder}/{name}", f"../{folder}/{name}", name):
        found = under(base, path)
        if found in files.sizes:
            return found
    return artifact_file(files, at, name)
