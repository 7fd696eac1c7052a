"""Tacker's older forwarding templates (FP.TackerV2): an ACL and a list of hops, read as a path description.

They name their ends by OpenStack port ids or inputs, which here become SAPs: where traffic enters and leaves.
"""

from __future__ import annotations

from manor.api.resources import Classifier, PortRange
from manor.catalog.reading import Reading
from manor.catalog.report import did_you_mean
from manor.catalog.sol001.links import port_range
from manor.catalog.sol001.paths import circles
from manor.catalog.sol001.rules import mac_address, place_of, prefix, protocol, sound
from manor.catalog.sol001.template import Template, TemplateNode
from manor.catalog.sol001.types import Role
from manor.model.nsd import CpRef, Nfpd, NfpPosition, NfpPositionElement, Sapd, Vnffgd

__all__ = ["read_legacy"]

_KEYS = (
    "eth_type",
    "eth_src",
    "eth_dst",
    "vlan_id",
    "vlan_pcp",
    "mpls_label",
    "mpls_tc",
    "ip_dscp",
    "ip_ecn",
    "ip_proto",
    "ip_src_prefix",
    "ip_dst_prefix",
    "ip_src_prefix_v6",
    "ip_dst_prefix_v6",
    "source_port_range",
    "destination_port_range",
    "network_src_port_id",
    "network_dst_port_id",
    "network_id",
    "network_name",
    "tenant_id",
    "icmpv4_type",
    "icmpv4_code",
    "icmpv6_type",
    "icmpv6_code",
    "arp_op",
    "tcp_src",
    "tcp_dst",
)


def read_legacy(template: Template) -> tuple[tuple[Vnffgd, ...], tuple[Sapd, ...]]:
    """Forwarding graphs and the SAPs at their ends."""
    paths = {node.name: _path(node) for node in template.of(Role.LEGACY_PATH)}
    if not paths:
        return (), ()
    graphs, grouped = [], set()
    for name, kind, group in template.groups():
        if kind != "VNFFG":
            continue
        members = [item.one_of(template.nodes, "path") for item in group.get("members").each() if item.is_text]
        grouped.update(members)
        properties = group.get("properties")
        cps = properties.get("connection_point").texts()
        count = properties.get("number_of_endpoints")
        if count and cps and count.whole() != len(cps):
            count.warning("endpoints-count", f"number_of_endpoints is {count.text()[:10]}, {len(cps)} are listed")
        for key in ("vendor", "version"):
            properties.get(key).value()
        graphs.append(
            Vnffgd(
                id=name,
                nfpds=tuple(paths[member] for member in members if member in paths),
                vnf_profiles=properties.get("constituent_vnfs").texts(),
                virtual_links=properties.get("dependent_virtual_link").texts(),
                description=group.get("description").note(),
            )
        )
    rest = tuple(path for name, path in paths.items() if name not in grouped)
    if rest:
        graphs.append(Vnffgd(id="default", nfpds=rest))
    ends = {
        element.cps[0].constituent: None
        for path in paths.values()
        for position in (path.positions[0], path.positions[-1])
        for element in position.elements
    }
    return tuple(graphs), tuple(Sapd(id=end) for end in ends)


def _path(node: TemplateNode) -> Nfpd:
    given = node.properties
    given.get("id").value()
    given.get("correlation").value()
    node.reading.get("description").value()
    policy = given.get("policy")
    kind = policy.get("type").text("ACL")
    if kind.upper() != "ACL":
        policy.get("type").warning("policy-unknown", f"policy type {kind[:40]} is not known, ACL is")
    rules, names, places = [], [], []
    ends = {"source": "", "destination": ""}
    for number, criterion in enumerate(policy.get("criteria").each(), start=1):
        if not criterion.is_map:
            criterion.wrong("a criterion")
            continue
        named = criterion.has("classifier")
        rule = _classifier(criterion.get("classifier") if named else criterion, ends)
        if rule in rules:
            criterion.warning("criteria-duplicate", "two criteria are alike")
            continue
        rules.append(rule)
        places.append(place_of(criterion))
        names.append(criterion.get("name").text(f"rule-{number}") if named else f"rule-{number}")
    hops = _hops(given.get("path"))
    if not hops:
        node.reading.error("path-empty", f"path {node.name[:80]} has no hops")
    source = _end(ends["source"] or "source")
    destination = _end(ends["destination"] or "destination")
    circles(node.reading, node.name, hops)
    return Nfpd(
        id=node.name,
        positions=(source, *hops, destination),
        rules=tuple(rules),
        rule_names=tuple(names),
        symmetric=given.get("symmetrical", "symmetric").flag(False),
        place=place_of(node.reading),
        rule_places=tuple(places),
    )


def _end(name: str) -> NfpPosition:
    return NfpPosition(id=name, elements=(NfpPositionElement(id=name, cps=(CpRef(constituent=name),)),))


def _hops(path: Reading) -> list[NfpPosition]:
    """One position a function; two CPs of one function in a row are its in and out."""
    hops: list[list[CpRef]] = []
    for item in path.each():
        if not item.is_map:
            item.wrong("a hop with forwarder and capability")
            continue
        cp = CpRef(constituent=item.get("forwarder").text(), cpd=item.get("capability").text())
        item.get("sfc_encap").value()
        if not cp.constituent:
            item.error("hop-unnamed", "a hop names no forwarder")
        elif hops and hops[-1][0].constituent == cp.constituent and len(hops[-1]) < 2:
            hops[-1].append(cp)
        else:
            hops.append([cp])
    return [
        NfpPosition(id=f"hop-{number}", elements=(NfpPositionElement(id=f"hop-{number}", cps=tuple(cps)),))
        for number, cps in enumerate(hops, start=1)
    ]


def _name(reading: Reading) -> str:
    """A port id, or the name of the input that gives it."""
    if reading.is_open:
        given = reading.value()
        return str(given.get("get_input", "") if isinstance(given, dict) else "")
    return reading.text()


def _classifier(given: Reading, ends: dict[str, str]) -> Classifier:
    for key, value in given.entries():
        if key not in _KEYS:
            value.error("criterion-unknown", f"{key[:60]} classifies nothing", did_you_mean(key, _KEYS))
    ends["source"] = ends["source"] or _name(given.get("network_src_port_id"))
    ends["destination"] = ends["destination"] or _name(given.get("network_dst_port_id"))
    dscp, vlan = given.get("ip_dscp"), given.get("vlan_id")
    found = Classifier(
        ether_source_address=mac_address(given.get("eth_src")),
        ether_destination_address=mac_address(given.get("eth_dst")),
        vlan_tag=(vlan.whole(most=4094),) if vlan else (),
        protocol=protocol(given.get("ip_proto")),
        dscp=dscp.whole(most=63) if dscp else None,
        source_port_range=_ports(given.get("source_port_range", "tcp_src")),
        destination_port_range=_ports(given.get("destination_port_range", "tcp_dst")),
        source_ip_address_prefix=prefix(given.get("ip_src_prefix", "ip_src_prefix_v6")),
        destination_ip_address_prefix=prefix(given.get("ip_dst_prefix", "ip_dst_prefix_v6")),
    )
    return sound(given, found)


def _ports(reading: Reading) -> PortRange | None:
    return None if reading.is_open else port_range(reading)
