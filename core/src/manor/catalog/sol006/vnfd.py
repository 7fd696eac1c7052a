"""A SOL006 VNFD, of any release from 2.6.1 on, with OSM's augments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from manor.api.resources import PortRange, SecurityRule, Subnet
from manor.catalog.files import PackageFiles
from manor.catalog.leftovers import leftovers
from manor.catalog.reading import Reading
from manor.catalog.sol001 import links
from manor.catalog.sol001.vdu import argv
from manor.catalog.sol006.compute import image, storage
from manor.catalog.sol006.document import QUIET, known
from manor.catalog.sol006.flavour import read_flavour
from manor.catalog.sol006.vdu import monitoring, read_vdu, security
from manor.model.vnfd import (
    ExtCpd,
    IntVirtualLinkDesc,
    LcmScript,
    SwImageDesc,
    Vdu,
    Vnfd,
    VnfIndicator,
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
        vdus.append(read_vdu(vdu_id, item, (computes, storages, images, int_links), rules, files))
    links_found = tuple(_link(name, item) for name, item in int_links.items())
    ext_cpds = _ext_cpds(given, vdus, int_links, rules)
    containers = any(given.peek(key) for key in ("kdu", "mciop", "mciop-profile", "os-container-desc"))
    dfs = [
        read_flavour(df_id, item, vdus, containers=containers) for df_id, item in known(given.get("df"), "df").items()
    ]
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
                security=security(item, rules),
                management=name == management,
            )
        )
    return tuple(found)


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
