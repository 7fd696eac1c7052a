"""Classifiers and security rules as OpenFlow matches: protocol names to numbers, port ranges to masks."""

from __future__ import annotations

from collections.abc import Iterator

from manor.api import Classifier, PortRange, SecurityRule
from manor.errors import Unsupported

__all__ = ["Match", "classifier_matches", "masks", "mirrored", "security_matches"]

Match = dict[str, str | int]

_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58, "ipv6-icmp": 58, "sctp": 132}
_ETHER_TYPES = {"ipv4": 0x0800, "ipv6": 0x86DD}


def classifier_matches(classifier: Classifier) -> list[Match]:
    """The matches that together are this classifier: one, or several where port ranges need several masks."""
    if classifier.extended_criteria:
        raise Unsupported("the fake controller cannot match extended criteria", capability="extended-criteria")
    family = _family(classifier)
    match: Match = {}
    if classifier.ether_source_address:
        match["eth_src"] = classifier.ether_source_address
    if classifier.ether_destination_address:
        match["eth_dst"] = classifier.ether_destination_address
    if classifier.vlan_tag:
        match["vlan_vid"] = 0x1000 | classifier.vlan_tag[0]
    if family:
        match["eth_type"] = _ETHER_TYPES[family]
    if classifier.dscp is not None:
        match["ip_dscp"] = classifier.dscp
    if classifier.source_ip_address_prefix:
        match[f"{family}_src"] = classifier.source_ip_address_prefix
    if classifier.destination_ip_address_prefix:
        match[f"{family}_dst"] = classifier.destination_ip_address_prefix
    if classifier.protocol:
        match["ip_proto"] = _protocol(classifier.protocol)
    return [
        {**match, **source, **destination}
        for source in _ports(classifier.protocol, "src", classifier.source_port_range)
        for destination in _ports(classifier.protocol, "dst", classifier.destination_port_range)
    ]


def mirrored(classifier: Classifier) -> Classifier:
    """The classifier of the way back."""
    return Classifier(
        ether_destination_address=classifier.ether_source_address,
        ether_source_address=classifier.ether_destination_address,
        ether_type=classifier.ether_type,
        vlan_tag=classifier.vlan_tag,
        protocol=classifier.protocol,
        dscp=classifier.dscp,
        source_port_range=classifier.destination_port_range,
        destination_port_range=classifier.source_port_range,
        source_ip_address_prefix=classifier.destination_ip_address_prefix,
        destination_ip_address_prefix=classifier.source_ip_address_prefix,
        extended_criteria=classifier.extended_criteria,
    )


def security_matches(rule: SecurityRule) -> list[Match]:
    """What one security rule lets pass."""
    match: Match = {"eth_type": _ETHER_TYPES.get(rule.ether_type, 0x0800)}
    if rule.protocol:
        match["ip_proto"] = _protocol(rule.protocol)
    return [{**match, **ports} for ports in _ports(rule.protocol, "dst", rule.ports)]


def masks(lower: int, upper: int) -> Iterator[tuple[int, int]]:
    """The fewest (value, mask) pairs of 16 bits that together are this inclusive range."""
    while lower <= upper:
        size = 1
        while lower % (size * 2) == 0 and lower + size * 2 - 1 <= upper and size < 1 << 16:
            size *= 2
        yield lower, 0x10000 - size
        lower += size


def _ports(protocol: str, side: str, ports: PortRange | None) -> list[Match]:
    if ports is None:
        return [{}]
    if protocol not in ("tcp", "udp", "sctp"):
        raise Unsupported(f"port ranges need tcp, udp or sctp, not {protocol or 'any protocol'}")
    name = f"{protocol}_{side}"
    return [
        {name: value if mask == 0xFFFF else f"{value:#x}/{mask:#x}"} for value, mask in masks(ports.lower, ports.upper)
    ]


def _family(classifier: Classifier) -> str:
    if classifier.ether_type:
        return classifier.ether_type
    prefixes = classifier.source_ip_address_prefix + classifier.destination_ip_address_prefix
    if ":" in prefixes or classifier.protocol in ("icmp6", "ipv6-icmp"):
        return "ipv6"
    return "ipv4" if prefixes or classifier.protocol or classifier.dscp is not None else ""


def _protocol(name: str) -> int:
    if name not in _PROTOCOLS:
        raise Unsupported(f"the fake controller knows no protocol {name!r}")
    return _PROTOCOLS[name]
