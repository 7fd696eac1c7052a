"""VDUs: compute, images, storage, connection points and day-0 data of one node template."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping

from manor.api.resources import SecurityRule
from manor.catalog.capabilities import additional, interface
from manor.catalog.files import PackageFiles
from manor.catalog.reading import Reading
from manor.catalog.sol001 import links
from manor.catalog.sol001.images import artifact_file, images_of
from manor.catalog.sol001.template import Template, TemplateNode
from manor.catalog.sol001.types import Role
from manor.catalog.units import GIB, MIB, bits_per_second, cpus, seconds, size_bytes
from manor.model.vnfd import (
    IntCpd,
    MonitoringParameter,
    SwImageDesc,
    Vdu,
    VduProfile,
    VirtualComputeDesc,
    VirtualStorageDesc,
)

__all__ = ["argv", "compute", "int_cpd", "monitoring", "storage", "vdu", "vdu_profile"]

_STANDS_IN = "\ue000"
"""For a template in a line that is split into words: a letter of nobody's; one that is there stands for itself."""
_TEMPLATE = re.compile(rf"\{{\{{.*?\}}\}}|\{{%.*?%\}}|{_STANDS_IN}")


def argv(reading: Reading) -> tuple[str, ...]:
    """A command: a list of words, or one line in shell quoting (no shell runs it); ``{{ … }}`` is part of its word."""
    if reading.is_list:
        return reading.texts()
    text = reading.text()
    asked = _TEMPLATE.findall(text)
    try:
        words = shlex.split(_TEMPLATE.sub(_STANDS_IN, text))
    except ValueError as error:
        reading.error("command-quoting", f"{reading.name}: {error}")
        return ()
    left = iter(asked)
    return tuple(re.sub(_STANDS_IN, lambda _: next(left), word) for word in words)


def monitoring(reading: Reading) -> tuple[MonitoringParameter, ...]:
    """monitoring_parameters: a map by name, or a list."""
    found = []
    entries = [(item.get("name").text(), item) for item in reading.each() if item.is_map] if reading.is_list else []
    for name, item in entries or (reading.entries() if not reading.is_list else ()):
        if item.is_map:
            parameter = MonitoringParameter(
                id=name or item.get("performance_metric").text(),
                name=item.get("name").text(name),
                performance_metric=item.get("performance_metric").text(),
                collection_period_s=seconds(item.get("collection_period")),
            )
            found.append(parameter)
    return tuple(found)


def compute(node: TemplateNode) -> VirtualComputeDesc:
    """The virtual_compute capability, or Tacker's older nfv_compute."""
    given = node.reading.get("capabilities").get("virtual_compute", "nfv_compute").get("properties")
    memory, cpu = given.get("virtual_memory"), given.get("virtual_cpu")
    pinning = cpu.get("virtual_cpu_pinning")
    wished = given.get("requested_additional_capabilities")
    loose = {
        "cpu": cpu.get("vdu_cpu_requirements"),
        "memory": memory.get("vdu_mem_requirements", "vdu_memory_requirements"),
        "compute": given.get("compute_requirements"),
    }
    for value in filter(None, loose.values()):
        value.info("unhandled", f"{value.name} is kept and not acted on")
    said = {**loose, "additional_capabilities": wished}
    size = memory.get("virtual_mem_size") or given.get("mem_size")
    if not size and node.role is Role.VDU:
        node.reading.warning("memory-missing", f"VDU {node.name[:80]} says nothing of its memory")
    disks = [disk.get("size_of_storage") for disk in given.get("virtual_local_storage").each() if disk.is_map]
    disks.append(given.get("disk_size"))
    return VirtualComputeDesc(
        id=node.name,
        num_virtual_cpu=cpus(cpu.get("num_virtual_cpu") or given.get("num_cpus")),
        virtual_mem_size_bytes=size_bytes(size, bare=MIB),
        cpu_architecture=cpu.get("cpu_architecture").text().lower(),
        cpu_model=cpu.get("cpu_model").text(),
        pinning_policy=pinning.get("virtual_cpu_pinning_policy", "cpu_pinning_policy").choice(("static", "dynamic"))
        if pinning.is_map
        else "",
        numa_enabled=memory.get("numa_enabled").flag(),
        numa_nodes=_numa_nodes(given),
        hugepage_bytes=_hugepages(memory),
        local_storage_bytes=sum(size_bytes(disk, bare=GIB) for disk in disks),
        requirements={name: value.value() for name, value in said.items() if value},
        capabilities=additional(wished, name="requested_additional_capability_name", mandatory="support_mandatory"),
    )


def _numa_nodes(given: Reading) -> int:
    nodes = 0
    for item in given.get("logical_node").each():
        if item.is_map:
            nodes += len(item.keys()) if all(value.is_map for _, value in item.entries()) else 1
    return nodes


def _hugepages(memory: Reading) -> int:
    pages = memory.get("huge_pages_requirements", "vdu_mem_page_size")
    for item in pages.each():
        size = item.get("huge_page_size", "size") if item.is_map else item
        if size.is_text:
            return size_bytes(size, bare=MIB)
    return 0


def storage(node: TemplateNode, images: Collection[SwImageDesc]) -> VirtualStorageDesc:
    """A Vdu.Virtual*Storage node; drafts have its size beside instead of in ``virtual_block_storage_data``."""
    kind = next((name for name in ("object", "file") if f"virtual{name}storage" in node.type.lower()), "block")
    data = node.properties.get(f"virtual_{kind}_storage_data")
    size = data.get("size_of_storage", "max_size_of_storage") if data.is_map else node.properties.get("size_of_storage")
    return VirtualStorageDesc(
        id=node.name,
        type_of_storage=kind,
        size_of_storage_bytes=size_bytes(size, bare=GIB),
        image=next((image.id for image in images), ""),
        per_vnfc_instance=node.properties.get("per_vnfc_instance").flag(True),
    )


def int_cpd(template: Template, node: TemplateNode, rules: Mapping[str, tuple[SecurityRule, ...]]) -> IntCpd:
    """A VduCp node."""
    given = node.properties
    kinds = {each.node: each for each in node.targets("virtual_link", "virtualLink") if each.node}
    link = next((name for name in kinds if name), "")
    if link and link not in template.nodes:
        kinds[link].reading.one_of(template.named(Role.LINK, Role.NS_LINK), "virtual link")
        link = ""
    vnic_type, name = given.get("vnic_type").text().lower(), ""
    for wish in given.get("virtual_network_interface_requirements").each():
        if wish.is_map:
            name = name or wish.get("name").note()
            wanted = wish.get("network_interface_requirements")
            vnic_type = (interface(wanted) if wish.get("support_mandatory").flag() else "") or vnic_type
            wish.value()
    return IntCpd(
        id=node.name,
        layer_protocols=links.layer_protocols(given),
        int_virtual_link_desc=link,
        vnic_type=vnic_type,
        order=given.get("order").whole(0, most=10_000),
        bitrate_bps=bits_per_second(given.get("bitrate_requirement")),
        trunk_mode=given.get("trunk_mode").flag(),
        role=given.get("role").text(),
        addresses=links.addresses(given),
        mac=links.mac(given),
        security=rules.get(node.name, ()),
        description=given.get("description").note(),
        interface_type=name,
    )


def vdu_profile(node: TemplateNode) -> VduProfile:
    """Bounds of a VDU's number of instances."""
    profile = node.properties.get("vdu_profile")
    least = profile.get("min_number_of_instances").whole(1, most=100_000)
    most = profile.get("max_number_of_instances").whole(max(1, least), most=100_000)
    if most < least:
        profile.error("bounds-crossed", f"VDU {node.name[:80]}: at least {least} and at most {most} instances")
    return VduProfile(vdu_id=node.name, min_number_of_instances=least, max_number_of_instances=max(least, most))


def _boot_data(given: Reading, files: PackageFiles) -> tuple[str, str]:
    """(text, file) of the day-0 data: text as such, or BootData of release 2.7.1 and later."""
    data = given.get("boot_data")
    if data.is_text:
        return data.text(), ""
    if not data.is_map or data.is_open:
        return "", ""
    content = data.get("content_or_file_data")
    if not content.is_map:
        return "", ""
    content.get("data").value()
    content.get("destination_path").value()
    source = content.get("source_path")
    return content.get("content").text(), artifact_file(files, source, source.text()) if source else ""


def vdu(
    template: Template,
    node: TemplateNode,
    cpds: tuple[IntCpd, ...],
    images: Collection[SwImageDesc],
    files: PackageFiles,
) -> Vdu:
    """A Vdu.Compute node (or a container's), with what is bound to it.

    ``metadata`` of the node template is Manor's place for what TOSCA has no property for: ``kernel_cmdline``,
    ``firmware`` (``bios`` or ``uefi``), ``guest_agent``, ``ssh_user``, ``watchdog``, and ``day1``, commands one a line.
    """
    given = node.properties
    extra = node.reading.get("metadata")
    extra = extra.over(given) if extra.is_map else given
    text, file = _boot_data(given, files)
    if not text and not file:
        text = given.get("user_data").text()
    lines = extra.get("day1")
    commands = (
        [argv(item) for item in lines.each()]
        if lines.is_list
        else [argv(lines.replaced(line)) for line in lines.text().splitlines() if line.strip()]
    )
    storages = []
    known = template.named(Role.STORAGE)
    for requirement in node.targets("virtual_storage"):
        if requirement.node in known:
            storages.append(requirement.node)
        elif requirement.node in template.nodes:
            requirement.reading.error("reference-kind", f"{requirement.node[:80]} is not a virtual storage")
        elif requirement.node:
            requirement.reading.one_of(known, "virtual storage")
    given.get("sw_image_data").value()
    return Vdu(
        id=node.name,
        name=given.get("name").text(node.name),
        description=given.get("description").note(),
        compute=compute(node),
        storages=tuple(dict.fromkeys(storages)),
        images=tuple(image.id for image in images),
        boot_order=given.get("boot_order").texts() if given.get("boot_order").is_list else (),
        boot_data=text,
        boot_data_file=file,
        kernel_cmdline=extra.get("kernel_cmdline").text(),
        firmware=extra.get("firmware").choice(("bios", "uefi")),
        guest_agent=extra.get("guest_agent").flag(),
        ssh_user=extra.get("ssh_user").text(),
        watchdog=extra.get("watchdog").flag(),
        int_cpds=cpds,
        monitoring_parameters=monitoring(given.get("monitoring_parameters")),
        day1=tuple(command for command in commands if command),
        dependencies=_dependencies(template, node),
        container=node.role is Role.CONTAINER,
    )


def _dependencies(template: Template, node: TemplateNode) -> tuple[str, ...]:
    """VDUs that this one starts after; what else it depends on comes before machines anyway."""
    vdus = template.named(Role.VDU, Role.CONTAINER)
    first = []
    for requirement in node.targets("dependency"):
        if requirement.node in vdus:
            first.append(requirement.node)
        elif requirement.node not in template.nodes:
            requirement.reading.one_of(vdus, "VDU")
    return tuple(dict.fromkeys(first))


def images_by_node(template: Template, files: PackageFiles) -> dict[str, list[SwImageDesc]]:
    """Images of each VDU and storage."""
    return {node.name: images_of(node, files) for node in template.of(Role.VDU, Role.CONTAINER, Role.STORAGE)}
