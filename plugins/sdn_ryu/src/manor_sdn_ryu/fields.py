"""Values of OpenFlow match fields, as integers with a mask.

Flow rules carry their matches as text, because people read them and they travel as JSON. Everything that reasons
about matches (merging, reversing, comparing with a switch, finding overlaps) needs numbers. This is the one place
that goes between the two; ``in_port`` is a port's name and stays text.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping

__all__ = [
    "BITS",
    "IP_FAMILIES",
    "Field",
    "Match",
    "exact",
    "intersects",
    "is_known",
    "merge",
    "parse",
    "parse_match",
    "render",
    "render_match",
    "whole",
]

Field = tuple[int, int]
"""Value and mask; bits outside the mask are 0 in the value."""
Match = Mapping[str, Field]

BITS: Mapping[str, int] = {
    "metadata": 64, "tunnel_id": 64,
    "eth_dst": 48, "eth_src": 48, "eth_type": 16, "vlan_vid": 13, "vlan_pcp": 3,
    "ip_proto": 8, "ip_dscp": 6, "ip_ecn": 2, "ipv4_src": 32, "ipv4_dst": 32, "ipv6_src": 128, "ipv6_dst": 128,
    "ipv6_flabel": 20,
    "tcp_src": 16, "tcp_dst": 16, "udp_src": 16, "udp_dst": 16, "sctp_src": 16, "sctp_dst": 16,
    "icmpv4_type": 8, "icmpv4_code": 8, "icmpv6_type": 8, "icmpv6_code": 8,
    "arp_op": 16, "arp_spa": 32, "arp_tpa": 32, "arp_sha": 48, "arp_tha": 48,
    "ipv6_nd_target": 128, "ipv6_nd_sll": 48, "ipv6_nd_tll": 48, "nd_reserved": 32, "nd_options_type": 8,
    "ct_state": 32, "ct_zone": 16, "reg0": 32, "reg1": 32, "nsh_spi": 32, "nsh_si": 8,
}  # fmt: skip
_PORT_BITS = 32
_MAC = frozenset({"eth_dst", "eth_src", "arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll"})
_IPV4 = frozenset({"ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa"})
_IPV6 = frozenset({"ipv6_src", "ipv6_dst", "ipv6_nd_target"})
_ADDRESSES = _MAC | _IPV4 | _IPV6
_HEX = frozenset({"metadata", "tunnel_id", "eth_type", "vlan_vid", "ct_state", "nd_reserved", "nsh_spi"})


IP_FAMILIES: Mapping[str, int] = {"ipv4": 0x0800, "ipv6": 0x86DD}
"""EtherTypes."""


def is_known(name: str) -> bool:
    """Whether it is a field that we can send; somebody's rule may match any."""
    return name in BITS or name == "in_port"


def whole(name: str) -> int:
    """The mask that is all of a field; of ``in_port`` all of a port's number."""
    return (1 << (_PORT_BITS if name == "in_port" else BITS[name])) - 1


def _number(name: str, text: str | int) -> int:
    if isinstance(text, int):
        return text
    if name in _MAC:
        return int(text.replace(":", "").replace("-", ""), 16)
    if name in _IPV4:
        return int(ipaddress.IPv4Address(text))
    if name in _IPV6:
        return int(ipaddress.IPv6Address(text))
    return int(text, 0)


@functools.lru_cache(1 << 16)
def exact(name: str, value: str | int) -> Field:
    """The field with every bit given. Raises ValueError on a value that is none or is too large."""
    number = _number(name, value)
    bits = BITS[name]
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{name} {value} does not fit into {bits} bits")
    return number, (1 << bits) - 1


@functools.lru_cache(1 << 16)
def parse(name: str, value: str | int) -> Field:
    """Read ``value`` or ``value/mask`` (for IP addresses also ``address/prefix length``). Raises ValueError."""
    if name not in BITS:
        raise ValueError(f"unknown match field {name!r}")
    if isinstance(value, int) or "/" not in value:
        return exact(name, value)
    text, _, mask_text = value.partition("/")
    number, full = exact(name, text)
    if name in _IPV4 | _IPV6 and mask_text.isdigit():
        length = int(mask_text)
        if length > BITS[name]:
            raise ValueError(f"{name} {value}: the prefix is longer than the address")
        mask = full ^ (full >> length)
    else:
        mask, _ = exact(name, mask_text)
    return number & mask, mask


def parse_match(match: Iterable[tuple[str, str | int]]) -> dict[str, Field]:
    """The match of a flow rule without its ``in_port``. Raises ValueError."""
    return {name: parse(name, value) for name, value in match if name != "in_port"}


def _text(name: str, number: int) -> str:
    if name in _MAC:
        digits = f"{number:012x}"
        return ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    if name in _IPV4:
        return str(ipaddress.IPv4Address(number))
    if name in _IPV6:
        return str(ipaddress.IPv6Address(number))
    return f"0x{number:x}" if name in _HEX else str(number)


def render(name: str, field: Field) -> str | int:
    """What :func:`parse` reads back; plain numbers stay numbers. Of a field that is not ours only that it is there."""
    if not is_known(name):
        return "?"
    value, mask = field
    if mask == whole(name):
        text = _text(name, value)
        return int(text) if text.isdigit() else text
    return f"{_text(name, value)}/{_text(name, mask) if name in _ADDRESSES else f'0x{mask:x}'}"


def render_match(match: Match, *, in_port: str = "") -> tuple[tuple[str, str | int], ...]:
    """The match of a flow rule; fields in alphabetical order, ``in_port`` first."""
    first: tuple[tuple[str, str | int], ...] = (("in_port", in_port),) if in_port else ()
    return first + tuple((name, render(name, match[name])) for name in sorted(match) if match[name][1])


def intersects(one: Match, other: Match) -> bool:
    """Whether a packet can match both."""
    for name in one.keys() & other.keys():
        (a, mask_a), (b, mask_b) = one[name], other[name]
        if (a ^ b) & mask_a & mask_b:
            return False
    return True


def merge(*matches: Match) -> dict[str, Field] | None:
    """What matches all of them, or None when nothing can."""
    merged: dict[str, Field] = {}
    for match in matches:
        if not intersects(merged, match):
            return None
        for name, (value, mask) in match.items():
            had_value, had_mask = merged.get(name, (0, 0))
            merged[name] = (had_value | value, had_mask | mask)
    return merged
