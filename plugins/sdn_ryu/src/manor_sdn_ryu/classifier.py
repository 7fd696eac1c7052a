"""A classifier (NfpRule) as OpenFlow matches, for the way there and the way back.

Every field of SOL001's NfpRule that OpenFlow 1.3 has a match field for. ``extended_criteria`` (any bits at any
offset) has none and is refused by name. A frame only matches a port range if the protocol is given, since the
transport ports of other protocols are no fields. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from manor.api import Classifier
from manor.errors import Permanent, Unsupported
from manor_sdn_ryu.fields import Field, Match, exact, merge, parse
from manor_sdn_ryu.security import PROTOCOLS, port_masks

__all__ = ["IP_FAMILIES", "clauses", "reverse"]

IP_FAMILIES: Mapping[str, int] = {"ipv4": 0x0800, "ipv6": 0x86DD}
_WITH_PORTS = ("tcp", "udp", "sctp")
_SWAP = {
    a: b
    for one, two in (
        ("eth_src", "eth_dst"), ("ipv4_src", "ipv4_dst"), ("ipv6_src", "ipv6_dst"),
        *((f"{name}_src", f"{name}_dst") for name in _WITH_PORTS),
    )
    for a, b in ((one, two), (two, one))
}  # fmt: skip


def reverse(match: Match) -> dict[str, Field]:
    """The same traffic on its way back: sources and destinations change places."""
    return {_SWAP.get(name, name): field for name, field in match.items()}


def clauses(classifier: Classifier) -> list[dict[str, Field]]:
    """The matches that together are this classifier, on the way from source to destination.

    Raises Unsupported for what OpenFlow cannot match, Permanent for what contradicts itself.
    """
    if classifier.extended_criteria:
        raise Unsupported(
            "extended_criteria of an NFP rule: OpenFlow has no match on arbitrary bits",
            capability="extended-criteria",
            hint="use the other fields of the rule",
        )
    found = [{}]  # type: list[dict[str, Field]]
    for alternatives in (_ethernet(classifier), _network(classifier)):
        found = [both for one in found for other in alternatives if (both := merge(one, other)) is not None]
    return found


def _ethernet(classifier: Classifier) -> list[dict[str, Field]]:
    match: dict[str, Field] = {}
    if classifier.ether_source_address:
        match["eth_src"] = _field("eth_src", classifier.ether_source_address)
    if classifier.ether_destination_address:
        match["eth_dst"] = _field("eth_dst", classifier.ether_destination_address)
    if not classifier.vlan_tag:
        return [match]
    return [{**match, "vlan_vid": _field("vlan_vid", 0x1000 | tag)} for tag in classifier.vlan_tag]


def _field(name: str, value: str | int) -> Field:
    try:
        return exact(name, value)
    except ValueError as error:
        raise Permanent(f"NFP rule: {error}") from error


def _network(classifier: Classifier) -> list[dict[str, Field]]:
    protocol, number = _protocol(classifier)
    prefixes = _prefixes(classifier)
    ports = _ports(classifier, protocol)
    family = classifier.ether_type.lower()
    if family and family not in IP_FAMILIES:
        raise Permanent(f"NFP rule: ether_type {classifier.ether_type!r} is neither ipv4 nor ipv6")
    families = {family} if family else set(IP_FAMILIES)
    families &= {name.split("_")[0] for name in prefixes} or families
    if len({name.split("_")[0] for name in prefixes}) > 1 or not families:
        raise Permanent("NFP rule: addresses of two IP versions, or not of its ether_type, match nothing")
    if not family and not prefixes and number is None and classifier.dscp is None:
        return [{}]
    found = []
    for name in sorted(families):
        match = {"eth_type": exact("eth_type", IP_FAMILIES[name]), **prefixes}
        if number is not None:
            match["ip_proto"] = exact("ip_proto", 58 if number == 1 and name == "ipv6" else number)
        if classifier.dscp is not None:
            match["ip_dscp"] = _field("ip_dscp", classifier.dscp)
        found += [{**match, **pair} for pair in ports]
    return found


def _protocol(classifier: Classifier) -> tuple[str, int | None]:
    name = classifier.protocol.lower()
    if not name:
        if classifier.source_port_range or classifier.destination_port_range:
            raise Permanent("NFP rule: a port range needs a protocol", hint="protocol: tcp, udp or sctp")
        return "", None
    if name.isdigit() and int(name) < 256:
        known = {number: keyword for keyword, number in PROTOCOLS.items() if keyword in _WITH_PORTS}
        return known.get(int(name), name), int(name)
    if name not in PROTOCOLS:
        raise Permanent(f"NFP rule: {classifier.protocol!r} is no IANA protocol keyword that Manor knows")
    return name, PROTOCOLS[name]


def _prefixes(classifier: Classifier) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for side, prefix in (
        ("src", classifier.source_ip_address_prefix), ("dst", classifier.destination_ip_address_prefix),
    ):  # fmt: skip
        if not prefix:
            continue
        try:
            network = ipaddress.ip_network(prefix, strict=False)
        except ValueError as error:
            raise Permanent(f"NFP rule: {prefix!r} is no IP address prefix") from error
        name = f"ipv{network.version}_{side}"
        found[name] = parse(name, str(network))
    return found


def _ports(classifier: Classifier, protocol: str) -> list[dict[str, Field]]:
    wanted = (("src", classifier.source_port_range), ("dst", classifier.destination_port_range))
    found: list[dict[str, Field]] = [{}]
    for side, span in wanted:
        if span is None:
            continue
        if protocol not in _WITH_PORTS:
            raise Permanent(f"NFP rule: protocol {protocol!r} has no ports")
        try:
            masks = port_masks(span)
        except ValueError as error:
            raise Permanent(f"NFP rule: {error}") from error
        found = [{**one, f"{protocol}_{side}": mask} for one in found for mask in masks]
    return found
