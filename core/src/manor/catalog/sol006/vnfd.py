"""A SOL006 VNFD, of any release from 2.6.1 on, with OSM's augments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from manor.api.placement import AffinityScope
from manor.api.resources import PortRange, SecurityRule, Subnet
from manor.catalog.files import PackageFiles
from manor.catalog.leftovers import leftovers
from manor.catalog.reading import Reading
from manor.catalog.sol001 import links
from manor.catalog.sol001.vdu import argv
from manor.catalog.sol006.compute import compute, image, osm_file, storage
from manor.catalog.sol006.document import QUIET, known
from manor.catalog.units import bits_per_second, seconds
from manor.model.vnfd import (
    AffinityRule,
    ExtCpd,
    IntCpd,
    IntVirtualLinkDesc,
    LcmScript,
    MonitoringParameter,
    ScalingAspect,
    SwImageDesc,
    Vdu,
    VduProfile,
    Vnfd,
    VnfDf,
    VnfIndicator,
    VnfInstantiationLevel,
)

__all__ = ["read_vnfd", "subnets"]


def read_vnfd(given: Reading, files: PackageFiles) -> Vnfd:
    """The VNFD; what cannot be read is in the findings."""
    vnfd_id = given.get("id").text()
    if not vnfd_id:
        given.error("id-missing", "the VNFD has no id")
    computes = known(given.get("virtual-compute-desc"), "virtual-compute-desc")
    storages = known(given.get("virtual-storage-desc"), "virtual-storage-desc")
    images = known(given.get("sw-image-desc"), "sw-image-desc")
    int_links = known(given.get("int-virtual-link-desc"), "int-virtual-link-desc")
    rules = {name: _rule(item) for name, item in known(given.get("security-group-rule"), "security rule").items()}
    vdus = []
    for vdu_id, item in known(given.get("vdu"), "vdu").items():
        vdus.append(_vdu(vdu_id, item, (computes, storages, images, int_links), rules, files))
    links_found = tuple(_link(name, item) for name, item in int_links.items())
    ext_cpds = _ext_cpds(given, vdus, int_links, rules)
    containers = any(given.peek(key) for key in ("kdu", "mciop", "mciop-profile", "os-container-desc"))
    dfs = [_flavour(df_id, item, vdus, containers=containers) for df_id, item in known(given.get("df"), "df").items()]
    if not dfs:
        given.error("flavour-missing", "the VNFD has no df: there is nothing to instantiate")
    described = tuple(image(name, item, files) for name, item in images.items())
    named = {name for vdu in vdus for name in vdu.images}
    indicators = [
        VnfIndicator(
            id=name,
            name=item.get("name").text(name),
            source=item.get("source").text(),
            command=argv(item.get("command")) if item.has("command") else (),
        )
        for name, item in known(given.get("indicator", "vnf-indicator"), "indicator").items()
    ]
    result = Vnfd(
        id=vnfd_id or "vnfd",
        provider=given.get("provider").text(),
        product_name=given.get("product-name").text() or given.get("name").text(),
        software_version=given.get("software-version").text(),
        version=given.get("version").text(),
        product_info_name=given.get("product-info-name").text(),
        product_info_description=given.get("product-info-description", "description").note(),
        vnfm_info=given.get("vnfm-info").texts(),
        flavours=tuple(dfs),
        virtual_links=links_found,
        ext_cpds=ext_cpds,
        storages=tuple(storage(name, item, images) for name, item in storages.items()),
        images=(*described, *(SwImageDesc(id=name, name=name, file=name) for name in sorted(named - images.keys()))),
        indicators=tuple(indicators),
        monitoring_parameters=tuple(
            parameter
            for df in given.get("df").each()
            if df.is_map
            for parameter in monitoring(df.get("monitoring-parameter"))
        ),
        scripts=tuple(_scripts(given)),
        configurable_properties=_plain_map(given.get("configurable-properties")),
        unhandled=leftovers([(given.source, given.node)], quiet=QUIET),
    )
    if not vdus:
        why = ": its containers are not run by Manor" if containers else ""
        (given.info if containers else given.warning)("vdu-none", f"the VNF has no VDU{why}")
    return result


def _plain_map(reading: Reading) -> Mapping[str, Any]:
    value = reading.value() if reading.is_map else {}
    return value if isinstance(value, dict) else {}


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


def _rule(item: Reading) -> tuple[SecurityRule, ...]:
    low, high = item.get("port-range-min"), item.get("port-range-max")
    text = item.get("protocol").identity().lower() or "tcp"
    ports = PortRange(lower=low.whole(most=65535), upper=high.whole(65535, most=65535)) if low or high else None
    return (
        SecurityRule(
            direction=item.get("direction").choice(("ingress", "egress"), "ingress"),
            ether_type=item.get("ether-type").choice(("ipv4", "ipv6"), "ipv4"),
            protocol="" if text == "any" else text,
            ports=ports,
        ),
    )


def _security(item: Reading, rules: Mapping[str, tuple[SecurityRule, ...]]) -> tuple[SecurityRule, ...]:
    names = [each.one_of(rules, "security-group-rule") for each in item.get("security-group-rule-id").each()]
    return tuple(rule for name in names if name for rule in rules[name])


_Known = tuple[Mapping[str, Reading], Mapping[str, Reading], Mapping[str, Reading], Mapping[str, Reading]]


def _vdu(
    vdu_id: str, item: Reading, tables: _Known, rules: Mapping[str, tuple[SecurityRule, ...]], files: PackageFiles
) -> Vdu:
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
    position, kind = number, ""
    for wish in item.get("virtual-network-interface-requirement").each():
        if wish.is_map:
            position = wish.get("position").whole(position, most=10_000)
            kind = kind or wish.get("virtual-interface").get("type").text()
            wish.get("name").value()
            wish.get("description").note()
    return IntCpd(
        id=name,
        layer_protocols=tuple(each.identity().lower() for each in item.get("layer-protocol").each()),
        int_virtual_link_desc=item.get("int-virtual-link-desc").one_of(int_links, "int-virtual-link-desc"),
        vnic_type=item.get("vnic-type").identity().lower(),
        order=item.get("order").whole(number, most=10_000),
        position=position,
        bitrate_bps=bits_per_second(item.get("bitrate-requirement")),
        trunk_mode=item.get("trunk-mode").flag(),
        role=item.get("role").identity(),
        addresses=tuple(each.text() for each in item.get("ip-address").each()),
        mac=item.get("mac-address").text().lower(),
        security=_security(item, rules),
        description=item.get("description").note(),
        interface_type=kind,
    )


def subnets(data: Reading) -> tuple[Subnet, ...]:
    """Address ranges in ``virtual-link-protocol-data`` or OSM's ``l3-protocol-data``."""
    found = []
    for item in data.each():
        if item.is_map:
            l3 = item.get("l3-protocol-data") if item.has("l3-protocol-data") else item
            cidr = links.cidr(l3.get("cidr"))
            if cidr:
                dhcp = l3.get("dhcp-enabled").flag()
                found.append(Subnet(cidr=cidr, gateway=links.gateway(l3.get("gateway-ip")), dhcp=dhcp))
    return tuple(found)


def _link(name: str, item: Reading) -> IntVirtualLinkDesc:
    kind = item.get("connectivity-type")
    return IntVirtualLinkDesc(
        id=name,
        layer_protocols=tuple(each.identity().lower() for each in kind.get("layer-protocol").each()),
        flow_pattern=kind.get("flow-pattern").identity(),
        description=item.get("description").note(),
        subnets=subnets(item.get("virtual-link-protocol-data")),
    )


def _ext_cpds(
    given: Reading,
    vdus: Collection[Vdu],
    int_links: Mapping[str, Reading],
    rules: Mapping[str, tuple[SecurityRule, ...]],
) -> tuple[ExtCpd, ...]:
    by_vdu = {vdu.id: dict.fromkeys(cpd.id for cpd in vdu.int_cpds) for vdu in vdus}
    points = known(given.get("ext-cpd"), "ext-cpd")
    management = given.get("mgmt-cp").one_of(points, "ext-cpd")
    found = []
    for name, item in points.items():
        inner = item.get("int-cpd")
        vdu_id = cpd = ""
        if inner:
            vdu_id = inner.get("vdu-id").one_of(by_vdu, "vdu", soft=True)
            what = f"int-cpd of {vdu_id[:60]}:"
            cpd = inner.get("cpd").one_of(by_vdu[vdu_id], what, soft=True) if vdu_id else ""
        found.append(
            ExtCpd(
                id=name,
                vdu_id=vdu_id,
                int_cpd=cpd,
                int_virtual_link_desc=item.get("int-virtual-link-desc").one_of(int_links, "int-virtual-link-desc"),
                layer_protocols=tuple(each.identity().lower() for each in item.get("layer-protocol").each()),
                security=_security(item, rules),
                management=name == management,
            )
        )
    return tuple(found)


def _flavour(df_id: str, item: Reading, vdus: Collection[Vdu], *, containers: bool) -> VnfDf:
    ids = dict.fromkeys(vdu.id for vdu in vdus)
    profiles, members = {}, {}
    for profile in item.get("vdu-profile").each():
        vdu_id = profile.get("id", "vdu-id").one_of(ids, "vdu")
        least = profile.get("min-number-of-instances").whole(1, most=100_000)
        most = profile.get("max-number-of-instances").whole(max(1, least), most=100_000)
        if most < least:
            profile.error("bounds-crossed", f"VDU {vdu_id[:80]}: at least {least} and at most {most} instances")
        if vdu_id:
            profiles[vdu_id] = VduProfile(
                vdu_id=vdu_id, min_number_of_instances=least, max_number_of_instances=max(least, most)
            )
            members[vdu_id] = profile
    groups = affinity(item, members)
    aspects = {
        name: _aspect(name, each, ids) for name, each in known(item.get("scaling-aspect"), "scaling-aspect").items()
    }
    levels = {
        name: _level(name, each, ids, aspects)
        for name, each in known(item.get("instantiation-level"), "instantiation-level").items()
    }
    default = item.get("default-instantiation-level", "default-instantiation-level-id").one_of(
        levels, "instantiation-level"
    )
    used = set(profiles) | {vdu for level in levels.values() for vdu in level.vdu_levels}
    operations = item.get("lcm-operations-configuration")
    if not used and not containers and not vdus:
        used = set(ids)
    return VnfDf(
        id=df_id,
        description=item.get("description").note(),
        vdu_profiles=tuple(profiles.values()),
        instantiation_levels=tuple(levels.values()),
        default_instantiation_level=default,
        scaling_aspects=tuple(aspects.values()),
        affinity=groups,
        vdus=tuple(vdu for vdu in vdus if not used or vdu.id in used),
        operations=tuple(key.removesuffix("-op-config") for key in operations.keys()) if operations.is_map else (),  # noqa: SIM118
    )


def affinity(item: Reading, profiles: Mapping[str, Reading]) -> tuple[AffinityRule, ...]:
    """Affinity groups with the profiles that name them, and local rules, whose one member is apart from itself."""
    groups = known(item.get("affinity-or-anti-affinity-group"), "affinity group")
    members: dict[str, list[str]] = {name: [] for name in groups}
    found = []
    for owner, profile in profiles.items():
        for each in profile.get("affinity-or-anti-affinity-group-id", "affinity-or-anti-affinity-group").each():
            wanted = each.get("id", "affinity-or-anti-affinity-group-id") if each.is_map else each
            if name := wanted.one_of(groups, "affinity-or-anti-affinity-group"):
                members[name].append(owner)
        for each in profile.get("local-affinity-or-anti-affinity-rule").each():
            if each.is_map:
                found.append(_rule_of(owner, each, (owner,)))
    return (*found, *(_rule_of(name, group, tuple(members[name])) for name, group in groups.items()))


def _rule_of(name: str, item: Reading, members: tuple[str, ...]) -> AffinityRule:
    # The misspelt key is ETSI's own.
    kinds = ("affinityorAntiaffinity", "affinity-or-anti-affinity", "type", "affinityOrAntiAffinity")
    kind = item.get(*kinds).choice(("affinity", "anti_affinity"), "affinity")
    scope = item.get("scope").choice(list(AffinityScope), AffinityScope.NFVI_NODE)
    return AffinityRule(name=name, anti=kind == "anti_affinity", scope=AffinityScope(scope), members=members)


def _level(
    name: str, item: Reading, vdus: Collection[str], aspects: Mapping[str, ScalingAspect]
) -> VnfInstantiationLevel:
    numbers = {}
    for each in item.get("vdu-level").each():
        vdu_id = each.get("vdu-id", "id").one_of(vdus, "vdu")
        if vdu_id:
            numbers[vdu_id] = each.get("number-of-instances").whole(1, most=100_000)
    scales = {}
    for each in item.get("scaling-info").each():
        aspect = each.get("scaling-aspect-id", "aspect").one_of(aspects, "scaling-aspect", soft=True)
        if aspect:
            scales[aspect] = each.get("scale-level").whole(most=100_000)
    return VnfInstantiationLevel(
        id=name, description=item.get("description").note(), vdu_levels=numbers, scale_levels=scales
    )


def _aspect(name: str, item: Reading, vdus: Collection[str]) -> ScalingAspect:
    details = item.get("aspect-delta-details")
    deltas: dict[str, dict[str, int]] = {}
    for delta_id, delta in known(details.get("deltas"), "delta").items():
        deltas[delta_id] = {}
        for each in delta.get("vdu-delta").each():
            vdu_id = each.get("id", "vdu-id").one_of(vdus, "vdu")
            if vdu_id:
                deltas[delta_id][vdu_id] = each.get("number-of-instances").whole(most=100_000)
    steps = [each.one_of(deltas, "delta", soft=True) for each in details.get("step-deltas").each()]
    return ScalingAspect(
        id=name,
        name=item.get("name").text(name),
        description=item.get("description").note(),
        max_scale_level=item.get("max-scale-level").whole(most=100_000),
        step_deltas=tuple(step for step in steps if step),
        deltas=deltas,
    )


def _scripts(given: Reading) -> list[LcmScript]:
    found = []
    for item in given.get("lifecycle-management-script").each():
        if not item.is_map:
            item.wrong("a lifecycle-management-script")
            continue
        inputs = item.get("script-input")
        events = [each.identity() for name in ("event", "lcm-transition-event") for each in item.get(name).each()]
        item.get("id").value()
        for event in events:
            found.append(
                LcmScript(
                    event=event.replace("-", "_"),
                    script=item.get("script").text(),
                    dsl=item.get("script-dsl").text(),
                    inputs=_plain_map(inputs) if inputs.is_map else {"inputs": inputs.value()} if inputs else {},
                )
            )
    return found
