"""The rules that classify a path's traffic (NfpRule): read, and refused where nothing could ever match them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from manor.api.resources import Classifier
from manor.catalog.reading import Reading
from manor.catalog.sol001.links import port_range
from manor.model.classify import bits, contradiction
from manor.model.nsd import PRECEDENCE_MAX, Place
from manor.model.soundness import MAC, MOST_BITS, PROTOCOL

__all__ = ["PROTOCOLS", "classifier", "mac_address", "place_of", "precedence", "prefix", "protocol", "sound"]

PROTOCOLS: Mapping[str, str] = {
    "1": "icmp",
    "2": "igmp",
    "4": "ipv4",
    "6": "tcp",
    "17": "udp",
    "41": "ipv6",
    "47": "gre",
    "50": "esp",
    "51": "ah",
    "58": "ipv6-icmp",
    "89": "ospfigp",
    "112": "vrrp",
    "115": "l2tp",
    "132": "sctp",
    "136": "udplite",
}
"""IANA keywords by protocol number, those that traffic is classified by."""


def classifier(properties: Reading) -> Classifier:
    """An NfpRule's properties."""
    criteria = []
    for item in properties.get("extended_criteria").each():
        if item.is_map:
            start, length = item.get("starting_point").whole(), item.get("length").whole(most=MOST_BITS)
            criteria.append((start, length, item.get("value").text()))
    dscp = properties.get("dscp")
    found = Classifier(
        ether_destination_address=mac_address(properties.get("ether_destination_address")),
        ether_source_address=mac_address(properties.get("ether_source_address")),
        ether_type=properties.get("ether_type").choice(("ipv4", "ipv6")),
        vlan_tag=tuple(item.whole(most=4094) for item in properties.get("vlan_tag").each()),
        protocol=protocol(properties.get("protocol")),
        dscp=dscp.whole(most=63) if dscp else None,
        source_port_range=port_range(properties.get("source_port_range")),
        destination_port_range=port_range(properties.get("destination_port_range")),
        source_ip_address_prefix=prefix(properties.get("source_ip_address_prefix")),
        destination_ip_address_prefix=prefix(properties.get("destination_ip_address_prefix")),
        extended_criteria=tuple(criteria),
    )
    return sound(properties, found)


def sound(reading: Reading, found: Classifier) -> Classifier:
    """The classifier, after saying where nothing could ever match it."""
    for criterion in found.extended_criteria:
        try:
            dict(bits(criterion))
        except ValueError as error:
            hint = "hexadecimal, or binary as 0b0101, of exactly that length"
            reading.error("criterion-value", f"extended_criteria: {str(error)[:100]}", hint)
            return Classifier()
    if why := contradiction(found):
        reading.error("rule-contradiction", f"the rule matches nothing: {why}", "take one of the two away")
    return found


def mac_address(reading: Reading) -> str:
    """A MAC address in lower case, with colons."""
    written = "" if reading.is_open else reading.text().strip().lower().replace("-", ":")
    if written and not MAC.fullmatch(written):
        reading.error("address-invalid", f"{written[:60]} is not a MAC address", "as 02:00:00:00:00:01")
        return ""
    return written


def protocol(reading: Reading) -> str:
    """An IANA keyword in lower case, from a keyword or a number."""
    written = "" if reading.is_open else reading.text().strip().lower()
    found = PROTOCOLS.get(written, written)
    if found and not PROTOCOL.fullmatch(found):
        reading.error("protocol-unknown", f"{written[:40]} is not a protocol", "an IANA keyword, as tcp")
        return ""
    return found


def prefix(reading: Reading) -> str:
    """An IP prefix; host bits are cut off, as switches match prefixes."""
    written = "" if reading.is_open else reading.text().strip()
    if not written:
        return ""
    try:
        return str(ipaddress.ip_network(written, strict=False))
    except ValueError:
        reading.error("address-invalid", f"{written[:60]} is not an IP prefix", "as 10.0.0.0/24")
        return ""


def place_of(reading: Reading) -> Place:
    """Where in the package this stands."""
    return Place(file=reading.source.file, line=reading.node.line)


def precedence(reading: Reading, usual: int = 0) -> int:
    """Which path gets a packet that two of them want: a number up to 999, the higher wins."""
    return reading.whole(usual, most=PRECEDENCE_MAX)
