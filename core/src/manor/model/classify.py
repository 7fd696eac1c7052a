"""What a classifier (NfpRule) means, without a switch: whether it can match, and whether two can match one packet.

Descriptors are refused when they are read and paths when they are planned, long before a controller compiles anything,
so this must hold for every controller. Pure.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator, Mapping, Set

from manor.api.resources import Classifier, PortRange

__all__ = ["WITH_PORTS", "bits", "contradiction", "described", "meet", "reversed_classifier"]

WITH_PORTS = ("tcp", "udp", "sctp")
"""Protocols that have the ports of a port range; a range without a protocol means all of them."""

_IP = frozenset({"ipv4", "ipv6"})
_NUMBERS: Mapping[str, str] = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "132": "sctp"}
_SPELLINGS: Mapping[str, str] = {"ipv6-icmp": "icmpv6", "icmp6": "icmpv6"}


def contradiction(classifier: Classifier) -> str:
    """Why nothing can match the classifier; empty where something can."""
    versions = {version for _, version in _prefixes(classifier)}
    if len(versions) > 1:
        return "its addresses are of two IP versions"
    if classifier.ether_type in _IP and versions - {classifier.ether_type}:
        return f"its addresses are not {classifier.ether_type}"
    for span in (classifier.source_port_range, classifier.destination_port_range):
        if span is not None and not 0 <= span.lower <= span.upper <= 0xFFFF:
            return f"there is no port from {span.lower} to {span.upper}"
        if span is not None and classifier.protocol and _protocol(classifier.protocol) not in WITH_PORTS:
            return f"protocol {classifier.protocol} has no ports"
    if classifier.dscp is not None and not 0 <= classifier.dscp <= 63:
        return f"there is no DSCP {classifier.dscp}"
    known: dict[int, int] = {}
    for criterion in classifier.extended_criteria:
        for place, bit in bits(criterion):
            if known.setdefault(place, bit) != bit:
                return f"its extended criteria want bit {place} to be both 0 and 1"
    return ""


def bits(criterion: tuple[int, int, str]) -> Iterator[tuple[int, int]]:
    """(offset, 0 or 1) of each bit of an extended criterion. Raises ValueError where its value is none of its length.

    The value is hexadecimal, or binary behind ``0b``; offsets count from the bit behind the source MAC address.
    """
    start, length, text = criterion
    digits = text.lower().replace("_", "")
    value = int(digits, 2 if digits.startswith("0b") else 16)
    if start < 0 or length < 1 or not 0 <= value < 1 << length:
        raise ValueError(f"{text} is not a value of {length} bits")
    for index in range(length):
        yield start + index, value >> (length - 1 - index) & 1


def meet(one: Classifier, other: Classifier) -> bool:
    """Whether one packet can match both. True where it cannot be told."""
    if contradiction(one) or contradiction(other):
        return False
    for name in ("ether_source_address", "ether_destination_address", "dscp"):
        a, b = getattr(one, name), getattr(other, name)
        if a not in ("", None) and b not in ("", None) and a != b:
            return False
    if one.vlan_tag and other.vlan_tag and one.vlan_tag != other.vlan_tag:
        return False
    return (
        _sets_meet(_families(one), _families(other))
        and _sets_meet(_protocols(one), _protocols(other))
        and _ranges_meet(one.source_port_range, other.source_port_range)
        and _ranges_meet(one.destination_port_range, other.destination_port_range)
        and _prefixes_meet(one.source_ip_address_prefix, other.source_ip_address_prefix)
        and _prefixes_meet(one.destination_ip_address_prefix, other.destination_ip_address_prefix)
        and _bits_meet(one, other)
    )


def reversed_classifier(classifier: Classifier) -> Classifier:
    """The same traffic on its way back; what its extended criteria mean then is not known, and left out."""
    return dataclasses.replace(
        classifier,
        extended_criteria=(),
        ether_source_address=classifier.ether_destination_address,
        ether_destination_address=classifier.ether_source_address,
        source_port_range=classifier.destination_port_range,
        destination_port_range=classifier.source_port_range,
        source_ip_address_prefix=classifier.destination_ip_address_prefix,
        destination_ip_address_prefix=classifier.source_ip_address_prefix,
    )


def described(classifier: Classifier) -> str:
    """The classifier in words, as ``tcp to ports 80 to 89``."""
    found = [classifier.protocol or classifier.ether_type]
    for word, mac, prefix, span in (
        ("from", classifier.ether_source_address, classifier.source_ip_address_prefix, classifier.source_port_range),
        (
            "to",
            classifier.ether_destination_address,
            classifier.destination_ip_address_prefix,
            classifier.destination_port_range,
        ),
    ):
        parts = [part for part in (mac, prefix, _span(span)) if part]
        found += [f"{word} {' '.join(parts)}"] if parts else []
    found += [f"DSCP {classifier.dscp}"] if classifier.dscp is not None else []
    found += [f"VLAN {', '.join(map(str, classifier.vlan_tag))}"] if classifier.vlan_tag else []
    found += [f"bits {start} to {start + length - 1}" for start, length, _ in classifier.extended_criteria]
    return " ".join(part for part in found if part) or "everything"


def _span(span: PortRange | None) -> str:
    if span is None:
        return ""
    return f"port {span.lower}" if span.lower == span.upper else f"ports {span.lower} to {span.upper}"


def _protocol(name: str) -> str:
    name = name.lower()
    return _SPELLINGS.get(name) or _NUMBERS.get(name, name)


def _protocols(classifier: Classifier) -> set[str]:
    """The protocols it admits; empty for any."""
    if classifier.protocol:
        name = _protocol(classifier.protocol)
        return {"icmp", "icmpv6"} if name == "icmp" else {name}
    ranged = classifier.source_port_range or classifier.destination_port_range
    return set(WITH_PORTS) if ranged else set()


def _sets_meet(one: Set[str], other: Set[str]) -> bool:
    """Sets of what is admitted, of which an empty one admits anything."""
    return not one or not other or not one.isdisjoint(other)


def _families(classifier: Classifier) -> frozenset[str]:
    """The kinds of frames it admits; empty for any."""
    versions = frozenset(version for _, version in _prefixes(classifier))
    if classifier.ether_type or versions:
        return frozenset({classifier.ether_type} - {""}) or versions
    return _IP if _protocols(classifier) or classifier.dscp is not None else frozenset()


def _prefixes(classifier: Classifier) -> Iterator[tuple[str, str]]:
    for text in (classifier.source_ip_address_prefix, classifier.destination_ip_address_prefix):
        if text:
            yield text, f"ipv{ipaddress.ip_network(text, strict=False).version}"


def _ranges_meet(one: PortRange | None, other: PortRange | None) -> bool:
    return one is None or other is None or (one.lower <= other.upper and other.lower <= one.upper)


def _prefixes_meet(one: str, other: str) -> bool:
    if not one or not other:
        return True
    a, b = (ipaddress.ip_network(text, strict=False) for text in (one, other))
    return a.version == b.version and a.overlaps(b)


def _bits_meet(one: Classifier, other: Classifier) -> bool:
    known = dict(bit for criterion in one.extended_criteria for bit in bits(criterion))
    return all(known.get(place, bit) == bit for c in other.extended_criteria for place, bit in bits(c))
