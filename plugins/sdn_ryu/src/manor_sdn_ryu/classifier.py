"""A classifier (NfpRule) as OpenFlow matches, for the way there and the way back.

Every field of SOL001's NfpRule: ``extended_criteria`` as far as they are bits of header fields, a port range without a
protocol as the range of each protocol that has ports. A stack of VLAN tags is refused, since switches match the outer
tag alone. Pure.
"""

from __future__ import annotations

import ipaddress
import itertools

from manor.api import Classifier
from manor.errors import Permanent, Unsupported
from manor_sdn_ryu.extended import criteria_match
from manor_sdn_ryu.fields import IP_FAMILIES, Field, Match, exact, merge, parse
from manor_sdn_ryu.security import PROTOCOLS, port_masks

__all__ = ["clauses", "reverse"]

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
    found = [both for other in _network(classifier) if (both := merge(_ethernet(classifier), other)) is not None]  # type: list[dict[str, Field]]
    if classifier.extended_criteria:
        wider = [criteria_match(classifier.extended_criteria, match) for match in found]
        found = [match for match in wider if match is not None]
    if not found:
        raise Permanent("NFP rule: its fields contradict each other, so it matches nothing")
    return found


def _ethernet(classifier: Classifier) -> dict[str, Field]:
    match: dict[str, Field] = {}
    if classifier.ether_source_address:
        match["eth_src"] = _field("eth_src", classifier.ether_source_address)
    if classifier.ether_destination_address:
        match["eth_dst"] = _field("eth_dst", classifier.ether_destination_address)
    if len(classifier.vlan_tag) > 1:
        raise Unsupported(
            f"NFP rule with VLAN tags {', '.join(map(str, classifier.vlan_tag))}: switches match the outer one only",
            capability="qinq",
            hint="give one vlan_tag",
        )
    for number in classifier.vlan_tag:
        match["vlan_vid"] = _field("vlan_vid", 0x1000 | number)
    return match


def _field(name: str, value: str | int) -> Field:
    try:
        return exact(name, value)
    except ValueError as error:
        raise Permanent(f"NFP rule: {error}") from error


def _network(classifier: Classifier) -> list[dict[str, Field]]:
    protocols = _protocols(classifier)
    prefixes = _prefixes(classifier)
    family = classifier.ether_type.lower()
    if family and family not in IP_FAMILIES:
        raise Permanent(f"NFP rule: ether_type {classifier.ether_type!r} is neither ipv4 nor ipv6")
    families = {family} if family else set(IP_FAMILIES)
    families &= {name.split("_")[0] for name in prefixes} or families
    if len({name.split("_")[0] for name in prefixes}) > 1 or not families:
        raise Permanent("NFP rule: addresses of two IP versions, or not of its ether_type, match nothing")
    if not family and not prefixes and protocols == [("", None)] and classifier.dscp is None:
        return [{}]
    found = []
    for name, (protocol, number) in itertools.product(sorted(families), protocols):
        match = {"eth_type": exact("eth_type", IP_FAMILIES[name]), **prefixes}
        if number is not None:
            match["ip_proto"] = exact("ip_proto", 58 if number == 1 and name == "ipv6" else number)
        if classifier.dscp is not None:
            match["ip_dscp"] = _field("ip_dscp", classifier.dscp)
        found += [{**match, **pair} for pair in _ports(classifier, protocol)]
    return found


def _protocols(classifier: Classifier) -> list[tuple[str, int | None]]:
    """Keyword and number of each protocol that is meant; of none in particular where nothing is said."""
    if classifier.protocol:
        return [_protocol(classifier)]
    if classifier.source_port_range or classifier.destination_port_range:
        return [(name, PROTOCOLS[name]) for name in _WITH_PORTS]
    return [("", None)]


def _protocol(classifier: Classifier) -> tuple[str, int]:
    name = classifier.protocol.lower()
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
