"""``extended_criteria`` of an NfpRule: bits at an offset, as the header fields that OpenFlow can match.

A switch matches fields, not offsets. Which field lies at an offset is known only where the rule says what frames it is
about: the bits of the EtherType at once, those of an IP header with an ``ether_type``, those of a transport header with
a ``protocol``. Bits that no field covers (lengths, checksums, payload) cannot be had and are refused by what they are.
Offsets count from the bit behind the source MAC address (ETSI IFA014, MaskData): 0 is the EtherType's first, or of a
tagged frame its VLAN tag's. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from manor.errors import Permanent, Unsupported
from manor_sdn_ryu.fields import BITS, Field, merge

__all__ = ["criteria_match"]

_Layout = list[tuple[str, int, int]]
"""(field, its first bit in it, how many bits), one behind the other; ``-word`` is what no field covers, ``=number``
what always stands there."""

_TAG: _Layout = [("=33024", 0, 16), ("vlan_pcp", 0, 3), ("-the drop eligible bit", 0, 1), ("vlan_vid", 1, 12)]
_TYPE: _Layout = [("eth_type", 0, 16)]
_IPV4: _Layout = [
    ("=4", 0, 4), ("-the header length", 0, 4), ("ip_dscp", 0, 6), ("ip_ecn", 0, 2), ("-the total length", 0, 16),
    ("-the identification", 0, 16), ("-flags and fragment offset", 0, 16), ("-the time to live", 0, 8),
    ("ip_proto", 0, 8), ("-the header checksum", 0, 16), ("ipv4_src", 0, 32), ("ipv4_dst", 0, 32),
]  # fmt: skip
_IPV6: _Layout = [
    ("=6", 0, 4), ("ip_dscp", 0, 6), ("ip_ecn", 0, 2), ("ipv6_flabel", 0, 20), ("-the payload length", 0, 16),
    ("ip_proto", 0, 8), ("-the hop limit", 0, 8), ("ipv6_src", 0, 128), ("ipv6_dst", 0, 128),
]  # fmt: skip
_ARP: _Layout = [
    ("=1", 0, 16), ("=2048", 0, 16), ("=6", 0, 8), ("=4", 0, 8), ("arp_op", 0, 16), ("arp_sha", 0, 48),
    ("arp_spa", 0, 32), ("arp_tha", 0, 48), ("arp_tpa", 0, 32),
]  # fmt: skip
_NETWORK = {0x0800: _IPV4, 0x86DD: _IPV6, 0x0806: _ARP}
_TRANSPORT: dict[int, _Layout] = {
    number: [(f"{name}_src", 0, 16), (f"{name}_dst", 0, 16)]
    for number, name in ((6, "tcp"), (17, "udp"), (132, "sctp"))
} | {1: [("icmpv4_type", 0, 8), ("icmpv4_code", 0, 8)], 58: [("icmpv6_type", 0, 8), ("icmpv6_code", 0, 8)]}
_WHOLE = frozenset({"eth_type", "ip_proto", "ip_dscp", "ip_ecn", "vlan_pcp", "arp_op", "icmpv4_type", "icmpv4_code",
                    "icmpv6_type", "icmpv6_code"})  # fmt: skip
"""Fields that OpenFlow 1.3 matches whole or not at all."""


def criteria_match(criteria: Iterable[tuple[int, int, str]], known: dict[str, Field]) -> dict[str, Field] | None:
    """``known``, what the rest of the rule matches, with the criteria's bits; None where both cannot be.

    Raises Unsupported, naming the bits, for what OpenFlow has no field for, and Permanent for what is no criterion.
    """
    wanted: dict[int, int] = {}
    for criterion in criteria:
        for place, bit in _bits(criterion):
            if wanted.setdefault(place, bit) != bit:
                return None
    match: dict[str, Field] | None = dict(known)
    start, rest = 0, dict(wanted)
    for layer in (_link, _network, _transport):
        if not rest or match is None:
            break
        for name, first, length in layer(match, min(rest)):
            taken = {place - start: rest.pop(place) for place in range(start, start + length) if place in rest}
            if taken and match is not None:
                match = _with(match, name, first, length, taken, start)
            start += length
    if rest and match is not None:
        raise _no_field(min(rest), "what lies behind the headers that switches know")
    return match


def _bits(criterion: tuple[int, int, str]) -> Iterator[tuple[int, int]]:
    start, length, text = criterion
    digits = text.lower().replace("_", "")
    try:
        value = int(digits, 2 if digits.startswith("0b") else 16)
        if start < 0 or length < 1 or not 0 <= value < 1 << length:
            raise ValueError
    except ValueError:
        raise Permanent(f"extended_criteria: {text!r} is not a value of {length} bits") from None
    for index in range(length):
        yield start + index, value >> (length - 1 - index) & 1


def _link(match: dict[str, Field], _place: int) -> _Layout:
    return [*_TAG, *_TYPE] if "vlan_vid" in match else _TYPE


def _network(match: dict[str, Field], place: int) -> _Layout:
    kind = match.get("eth_type", (0, 0))[0]
    if kind in _NETWORK:
        return _NETWORK[kind]
    raise _no_field(place, "without an ether_type nobody knows what stands there", "ether_type: ipv4 or ipv6")


def _transport(match: dict[str, Field], place: int) -> _Layout:
    if match.get("eth_type", (0, 0))[0] == 0x0806:
        return []
    kind = match.get("ip_proto", (0, 0))[0]
    if kind in _TRANSPORT:
        return _TRANSPORT[kind]
    raise _no_field(place, "without a protocol nobody knows what stands there", "protocol: tcp, udp, sctp or icmp")


def _with(
    match: dict[str, Field], name: str, first: int, length: int, taken: dict[int, int], start: int
) -> dict[str, Field] | None:
    """The match with these bits of one part of a header."""
    place = start + min(taken)
    if name.startswith("-"):
        raise _no_field(place, f"{name[1:]} is no field of OpenFlow 1.3")
    if name.startswith("="):
        constant = int(name[1:])
        agree = all(constant >> (length - 1 - offset) & 1 == bit for offset, bit in taken.items())
        return match if agree else None
    if name in _WHOLE and len(taken) < length:
        raise _no_field(place, f"OpenFlow 1.3 matches all {length} bits of {name} or none")
    width = BITS[name]
    value = sum(bit << (width - 1 - first - offset) for offset, bit in taken.items())
    mask = sum(1 << (width - 1 - first - offset) for offset in taken)
    if name == "vlan_vid":  # beside the number it says that there is a tag
        value, mask = value | 0x1000, mask | 0x1000
    return merge(match, {name: (value, mask)})


def _no_field(place: int, why: str, hint: str = "use the other fields of the rule") -> Unsupported:
    return Unsupported(
        f"extended_criteria of an NFP rule, bit {place}: {why}", capability="extended-criteria", hint=hint
    )
