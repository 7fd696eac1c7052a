"""Port security and the VNFD's security group rules, as matches.

What a port may send is decided where frames enter, by its MAC and addresses. A port with security rules also has its
connections tracked, in a zone of its own: a direction that has rules admits only new connections that a rule names, a
direction without any admits all, and what belongs to an admitted connection passes both ways. ARP, neighbour
discovery and DHCP always pass. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from manor.api import PortRange, SdnPort, SecurityRule
from manor.errors import Unsupported
from manor_sdn_ryu.fields import IP_FAMILIES, Field, exact
from manor_sdn_ryu.pipeline import Priority

__all__ = [
    "PROTOCOLS",
    "Ruled",
    "Verdict",
    "addresses",
    "delivers",
    "link_local",
    "outside_sends",
    "port_masks",
    "sends",
    "tracked",
]

PROTOCOLS: Mapping[str, int] = {
    "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipv4": 4, "ipip": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9, "udp": 17,
    "hmp": 20, "rdp": 27, "iso-tp4": 29, "dccp": 33, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45,
    "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "icmpv6": 58, "ipv6-icmp": 58, "ipv6-nonxt": 59,
    "ipv6-opts": 60, "vmtp": 81, "eigrp": 88, "ospf": 89, "ospfigp": 89, "ax.25": 93, "etherip": 97, "encap": 98,
    "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115, "pgm": 113, "isis": 124, "sctp": 132, "fc": 133,
    "mobility": 135, "udplite": 136, "mpls-in-ip": 137, "manet": 138, "hip": 139, "shim6": 140, "wesp": 141,
    "rohc": 142, "ethernet": 143,
}  # fmt: skip
"""IANA keywords that a descriptor may use; a number is taken too."""


class Verdict(StrEnum):
    """What becomes of a frame that matches."""

    PASS = "pass"  # noqa: S105
    TRACK = "track"
    """Look its connection up first."""
    COMMIT = "commit"
    """Pass, and remember the connection."""
    DROP = "drop"


_ARP, _V4, _V6 = exact("eth_type", 0x0806), exact("eth_type", 0x0800), exact("eth_type", 0x86DD)
_MANY = 500
"""How many rules of one port and direction fit into their band."""
_NEW, _ESTABLISHED, _RELATED = (0x21, 0x31), (0x22, 0x32), (0x24, 0x34)
"""ct_state: tracked, not invalid, and one of new, established, related."""
Ruled = tuple[dict[str, Field], int, Verdict, str]
"""Match, priority, verdict, note."""


def port_masks(ports: PortRange) -> list[Field]:
    """The fewest value/mask pairs that together are the range."""
    low, high = ports.lower, ports.upper
    if not 0 <= low <= high <= 0xFFFF:
        raise ValueError(f"not a range of ports: {low} to {high}")
    masks: list[Field] = []
    while low <= high:
        size = low & -low or 0x10000
        while low + size - 1 > high:
            size >>= 1
        masks.append((low, 0x10000 - size & 0xFFFF))
        low += size
    return masks


def _matches(rule: SecurityRule) -> list[dict[str, Field]]:
    """The matches that together are one security rule. Raises Unsupported for what OpenFlow cannot tell."""
    name = rule.protocol.lower()
    family = rule.ether_type.lower() or "ipv4"
    if family not in IP_FAMILIES:
        raise Unsupported(f"security rule with ether_type {rule.ether_type!r}: only ipv4 and ipv6 are known")
    match = {"eth_type": exact("eth_type", IP_FAMILIES[family])}
    if not name or name == "any":
        return [match]
    if name == "icmp" and family == "ipv6":
        name = "icmpv6"
    number = PROTOCOLS.get(name, int(name) if name.isdigit() and int(name) < 256 else -1)
    if number < 0:
        raise Unsupported(f"security rule with protocol {rule.protocol!r}: not a known IANA keyword")
    match["ip_proto"] = exact("ip_proto", number)
    if rule.ports is None or name not in ("tcp", "udp", "sctp"):
        return [match]
    return [{**match, f"{name}_dst": field} for field in port_masks(rule.ports) if field[1]] or [match]


def delivers(port: SdnPort) -> Iterator[Ruled]:
    """What becomes of frames on their way to a port with security rules."""
    for number, match in enumerate(_always()):
        yield match, Priority.ALLOW - number, Verdict.PASS, f"ARP, ND and DHCP to {port.key}"
    for kind in (_V4, _V6):
        note = f"to {port.key}, if its security rules or its connections admit it"
        yield {"eth_type": kind}, Priority.ALLOW - _MANY, Verdict.TRACK, note
    verdict = Verdict.DROP if _has_rules(port, "ingress") else Verdict.PASS
    yield {}, Priority.REFUSE, verdict, f"other protocols to {port.key}"


def tracked(port: SdnPort, direction: str) -> Iterator[Ruled]:
    """What becomes of frames of the port, one direction, whose connection was looked up."""
    what = f"{direction} of {port.key}"
    yield {"ct_state": _ESTABLISHED}, Priority.GUARD + 1, Verdict.PASS, f"of an admitted connection, {what}"
    yield {"ct_state": _RELATED}, Priority.GUARD, Verdict.PASS, f"about an admitted connection, {what}"
    admitted = list(_rules(port, direction)) if _has_rules(port, direction) else [{"eth_type": _V4}, {"eth_type": _V6}]
    for number, match in enumerate(admitted):
        note = f"new connection, {what}, as its security rules say"
        yield {"ct_state": _NEW, **match}, Priority.ALLOW - number, Verdict.COMMIT, note
    yield {}, Priority.REFUSE, Verdict.DROP, f"refused by the security rules: {what}"


def sends(port: SdnPort, *, gateway: bool) -> Iterator[Ruled]:
    """What becomes of frames where the port sends them."""
    mac = {"eth_src": exact("eth_src", port.mac)}
    local = link_local(port.mac)
    four, six = addresses(port, 4), addresses(port, 6)
    yield from _sends_arp(port, mac, four)
    yield from _sends_ip(port, {**mac, "eth_type": _V4}, "ipv4_src", four)
    yield from _sends_ip(port, {**mac, "eth_type": _V6}, "ipv6_src", [*six, local] if port.addresses else [])
    yield from _sends_discovery(port, mac, [*six, local], gateway=gateway)
    request = {**mac, **next(_dhcp()), "ipv4_src": exact("ipv4_src", 0)}
    yield request, Priority.GUARD, Verdict.PASS, f"DHCP request of {port.device}"
    for what, kind in (("ARP", _ARP), ("IPv4", _V4), ("IPv6", _V6)):
        note = f"{what} under another's address, from {port.device}"
        yield {"eth_type": kind}, Priority.ALLOW - _MANY, Verdict.DROP, note
    if not _has_rules(port, "egress"):
        yield mac, Priority.ALLOW - _MANY - 1, Verdict.PASS, f"other protocols of {port.device}"


def outside_sends(port: SdnPort, known: Sequence[SdnPort]) -> Iterator[Ruled]:
    """What becomes of frames from outside, where anybody may be: nobody there is one of the segment's own machines."""
    note = f"a MAC or address of the segment's own, from outside by {port.device}"
    for own in known:
        yield {"eth_src": exact("eth_src", own.mac)}, Priority.GUARD + 1, Verdict.DROP, note
        for address in own.addresses:
            if ipaddress.ip_address(address).version == 4:
                yield {"eth_type": _V4, "ipv4_src": exact("ipv4_src", address)}, Priority.GUARD, Verdict.DROP, note
                yield {"eth_type": _ARP, "arp_spa": exact("arp_spa", address)}, Priority.GUARD, Verdict.DROP, note
            else:
                yield {"eth_type": _V6, "ipv6_src": exact("ipv6_src", address)}, Priority.GUARD, Verdict.DROP, note
                about = {"ipv6_nd_target": exact("ipv6_nd_target", address)}
                yield {**_icmpv6(136), **about}, Priority.GUARD + 2, Verdict.DROP, note
    yield {}, Priority.ALLOW, Verdict.PASS, f"from outside by {port.device}"


def addresses(port: SdnPort, version: int) -> list[str]:
    """The port's addresses of one IP version, in the order given."""
    return [a for a in port.addresses if ipaddress.ip_address(a).version == version]


def link_local(mac: str) -> str:
    """The IPv6 link-local address that goes with a MAC (RFC 4291, modified EUI-64)."""
    number, _ = exact("eth_src", mac)
    interface = (number >> 24 ^ 0x020000) << 40 | 0xFFFE << 24 | number & 0xFFFFFF
    return str(ipaddress.IPv6Address(0xFE80 << 112 | interface))


def _has_rules(port: SdnPort, direction: str) -> bool:
    return any(rule.direction.lower() == direction for rule in port.security)


def _rules(port: SdnPort, direction: str) -> Iterator[dict[str, Field]]:
    seen: list[dict[str, Field]] = []
    for rule in port.security:
        if rule.direction.lower() == direction:
            for match in _matches(rule):
                if match not in seen:
                    seen.append(match)
                    yield match
    if len(seen) > _MANY - 20:
        raise Unsupported(f"port {port.key}: its {direction} security rules make {len(seen)} rules, more than fit")


def _icmpv6(kind: int) -> dict[str, Field]:
    return {"eth_type": _V6, "ip_proto": exact("ip_proto", 58), "icmpv6_type": exact("icmpv6_type", kind)}


def _dhcp() -> Iterator[dict[str, Field]]:
    for source, target in ((68, 67), (67, 68)):
        ports = {"udp_src": exact("udp_src", source), "udp_dst": exact("udp_dst", target)}
        yield {"eth_type": _V4, "ip_proto": exact("ip_proto", 17), **ports}


def _always() -> Iterator[dict[str, Field]]:
    yield {"eth_type": _ARP}
    yield from map(_icmpv6, range(133, 138))
    yield from _dhcp()


def _sends_arp(port: SdnPort, mac: dict[str, Field], four: list[str]) -> Iterator[Ruled]:
    arp = {**mac, "eth_type": _ARP, "arp_sha": exact("arp_sha", port.mac)}
    note = f"ARP of {port.device}"
    if not port.addresses:
        yield arp, Priority.ALLOW, Verdict.PASS, note
        return
    probe = exact("arp_spa", 0)  # RFC 5227
    for spa in [*(exact("arp_spa", address) for address in four), probe]:
        yield {**arp, "arp_spa": spa}, Priority.ALLOW, Verdict.PASS, note


def _sends_ip(port: SdnPort, base: dict[str, Field], name: str, sources: list[str]) -> Iterator[Ruled]:
    verdict = Verdict.TRACK if port.security else Verdict.PASS
    for source in sources:
        yield {**base, name: exact(name, source)}, Priority.ALLOW, verdict, f"{source} at {port.device}"
    if not port.addresses:
        yield base, Priority.ALLOW, verdict, f"IP of {port.device}"


def _sends_discovery(port: SdnPort, mac: dict[str, Field], own: list[str], *, gateway: bool) -> Iterator[Ruled]:
    if not gateway:
        note = f"router advertisement from {port.device}, which is no gateway"
        yield {**mac, **_icmpv6(134)}, Priority.GUARD + 1, Verdict.DROP, note
    sources = [{"ipv6_src": exact("ipv6_src", address)} for address in [*own, "::"]] if port.addresses else [{}]
    for kind in (133, 135, 143, *([134] if gateway else [])):
        for source in sources:
            note = f"neighbour discovery of {port.device}"
            yield {**mac, **_icmpv6(kind), **source}, Priority.GUARD, Verdict.PASS, note
    targets = [{"ipv6_nd_target": exact("ipv6_nd_target", address)} for address in own] if port.addresses else [{}]
    for target in targets:
        note = f"neighbour advertisement of {port.device}"
        yield {**mac, **_icmpv6(136), **target}, Priority.GUARD + 1, Verdict.PASS, note
    if port.addresses:
        note = f"neighbour advertisement for another's address from {port.device}"
        yield {**mac, **_icmpv6(136)}, Priority.GUARD, Verdict.DROP, note
