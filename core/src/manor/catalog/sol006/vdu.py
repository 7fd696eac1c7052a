"""VDUs of a SOL006 VNFD with their connection points."""

from __future__ import annotations

from collections.abc import Mapping

from manor.api.resources import SecurityRule
from manor.catalog.capabilities import interface
from manor.catalog.files import PackageFiles
from manor.catalog.reading import Reading
from manor.catalog.sol001.vdu import argv
from manor.catalog.sol006.compute import compute, osm_file
from manor.catalog.sol006.document import known
from manor.catalog.units import bits_per_second, seconds
from manor.model.vnfd import IntCpd, MonitoringParameter, Vdu

__all__ = ["Tables", "monitoring", "read_vdu", "security"]

_ORDINARY = ("", "VIRTIO", "PARAVIRT", "OM-MGMT")
"""OSM's types of interfaces that are an ordinary virtual one."""


def monitoring(items: Reading) -> tuple[MonitoringParameter, ...]:
    """A list of monitoring parameters."""
    return tuple(
        MonitoringParameter(
            id=item.get("id").text() or item.get("performance-metric").text(),
            name=item.get("name").text(),
            performance_metric=item.get("performance-metric").identity(),
            collection_period_s=seconds(item.get("collection-period")),
        )
        for item in items.each()
        if item.is_map
    )


def security(item: Reading, rules: Mapping[str, tuple[SecurityRule, ...]]) -> tuple[SecurityRule, ...]:
    """The rules that a connection point names."""
    names = [each.one_of(rules, "security-group-rule") for each in item.get("security-group-rule-id").each()]
    return tuple(rule for name in names if name for rule in rules[name])


Tables = tuple[Mapping[str, Reading], Mapping[str, Reading], Mapping[str, Reading], Mapping[str, Reading]]
"""Descriptions by id that VDUs refer to: compute, storage, images, internal links."""


def read_vdu(
    vdu_id: str, item: Reading, tables: Tables, rules: Mapping[str, tuple[SecurityRule, ...]], files: PackageFiles
) -> Vdu:
    """One entry of the list ``vdu``."""
    computes, storages, images, int_links = tables
    wanted = item.get("virtual-compute-desc")
    size = wanted if wanted.is_map else computes.get(wanted.one_of(computes, "virtual-compute-desc") if wanted else "")
    container = item.has("os-container-desc") or item.has("mcio-identification-data")
    if not wanted and not container:
        item.warning("memory-missing", f"VDU {vdu_id[:80]} has no virtual-compute-desc: it says nothing of its memory")
    named = [
        each.one_of(storages, "virtual-storage-desc")
        for each in item.get("virtual-storage-desc").each()
        if each.is_text
    ]
    used = []
    for each in item.get("sw-image-desc").each():
        # With OSM an image may be one that the VIM has already: its name is all there is.
        used.append(each.one_of(images, "sw-image-desc", soft=True) or each.text() if each.is_text else "")
    for other in item.get("alternative-sw-image-desc").each():
        if other.is_text:
            other.one_of(images, "sw-image-desc")
    boot = item.get("cloud-init-file")
    text = item.get("cloud-init").text()
    data = item.get("boot-data")
    if data.is_text:
        text = text or data.text()
    elif data.is_map:
        content = data.get("content-or-file-data")
        text = text or content.get("content").text()
        boot = boot or content.get("source-path")
        data.value()
    points = [
        _int_cpd(name, point, int_links, rules, number)
        for number, (name, point) in enumerate(known(item.get("int-cpd"), "int-cpd").items())
    ]
    points.sort(key=lambda point: (point.position, point.order))
    commands = item.get("day1")
    return Vdu(
        id=vdu_id,
        name=item.get("name").text(vdu_id),
        description=item.get("description").note(),
        compute=compute(size if size is not None else Reading(None, item.source, at=item.node)),
        storages=tuple(dict.fromkeys(name for name in named if name)),
        images=tuple(dict.fromkeys(name for name in used if name)),
        boot_order=tuple(
            each.get("value", "id").text() if each.is_map else each.text() for each in item.get("boot-order").each()
        ),
        boot_data=text,
        boot_data_file=osm_file(files, boot, "cloud_init") if boot else "",
        kernel_cmdline=item.get("kernel-cmdline").text(),
        firmware=item.get("firmware").choice(("bios", "uefi")),
        watchdog=item.get("watchdog").flag(),
        int_cpds=tuple(points),
        monitoring_parameters=monitoring(item.get("monitoring-parameter")),
        day1=tuple(argv(each) for each in commands.each()) if commands.is_list else (),
        container=container,
    )


def _int_cpd(
    name: str,
    item: Reading,
    int_links: Mapping[str, Reading],
    rules: Mapping[str, tuple[SecurityRule, ...]],
    number: int,
) -> IntCpd:
    position, kind, vnic_type = number, "", item.get("vnic-type").identity().lower()
    for wish in item.get("virtual-network-interface-requirement").each():
        if wish.is_map:
            position = wish.get("position").whole(position, most=10_000)
            of_osm = wish.get("virtual-interface").get("type")
            kind = kind or of_osm.text()
            wanted = list(wish.get("network-interface-requirements").each())
            if wish.get("support-mandatory").flag():
                for each in wanted:
                    vnic_type = interface(each.get("value") if each.is_map else each) or vnic_type
            if of_osm.text().upper() not in _ORDINARY:
                vnic_type = interface(of_osm) or vnic_type
            wish.get("name").value()
            wish.get("description").note()
    return IntCpd(
        id=name,
        layer_protocols=tuple(each.identity().lower() for each in item.get("layer-protocol").each()),
        int_virtual_link_desc=item.get("int-virtual-link-desc").one_of(int_links, "int-virtual-link-desc"),
        vnic_type=vnic_type,
        order=item.get("order").whole(number, most=10_000),
        position=position,
        bitrate_bps=bits_per_second(item.get("bitrate-requirement")),
        trunk_mode=item.get("trunk-mode").flag(),
        role=item.get("role").identity(),
        addresses=tuple(each.text() for each in item.get("ip-address").each()),
        mac=item.get("mac-address").text().lower(),
        security=security(item, rules),
        description=item.get("description").note(),
        interface_type=kind,
    )
