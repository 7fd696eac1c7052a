"""The network service header (RFC 8300) around a frame, for functions that know of it.

Such a function gets Ethernet, the header (MD type 1, its context zero) and the frame as it was, and gives it back with
the service index one lower. The service path says which chain and which way, the index which position, counted down
from 255 over all positions, also those of functions that know nothing of it: for them the switch is the proxy of
RFC 7665. What comes back with any other path or index is no chain's and is dropped. Without its header the frame goes
on as behind any other function. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from manor.api import ChainSpec, ResourceKind, SdnPort
from manor_sdn_ryu.fields import Field, exact
from manor_sdn_ryu.pipeline import LOCAL, SEGMENT_MASK, Table, tag
from manor_sdn_ryu.segment import Actions, goto

__all__ = ["ETHER_TYPE", "NO_NSH", "POSITIONS_MAX", "WIRE", "returned", "unwrapped", "way_of", "wrapped"]

ETHER_TYPE = 0x894F
POSITIONS_MAX = 254
"""The index of the last one's return is 1; a frame with 0 is to be thrown away (RFC 8300 §3)."""
NO_NSH = "NSH is used with Open vSwitch's userspace datapath only, and that is not known to be"
"""Followed by where."""
_FIRST = 255
_PATH_MASK = 0xFFFFFF
_SOURCE = "02:4d:4e:53:48:01"
_ANYBODY = "ff:ff:ff:ff:ff:ff"
"""To a port that has no MAC address of its own."""

WIRE: Mapping[tuple[str | int, ...], tuple[int, bytes]] = {
    ("encap", "nsh"): (46, struct.pack("!HIHBBB3x", 0, 0x0001_0000 | ETHER_TYPE, 4, 1, 5, 1)),
    ("encap", "ethernet"): (46, struct.pack("!HI", 0, 0)),
    ("decap",): (47, struct.pack("!2xI", 0xFFFE)),
}
"""Open vSwitch's actions of these names: number, and what follows it. The new packet type, and of NSH its property that
says MD type 1; behind what is taken off, the type is what the header itself says (0xfffe)."""


def wrapped(spec: ChainSpec, forth: bool, number: int, into: SdnPort) -> Actions:
    """Before the frame goes into the function at position ``number`` of this way."""
    return (
        ("encap", "nsh"),
        ("set_field", f"nsh_spi=0x{_path(spec, forth) & _PATH_MASK:x}"),
        ("set_field", f"nsh_si={_FIRST - number}"),
        ("encap", "ethernet"),
        ("set_field", f"eth_dst={into.mac or _ANYBODY}"),
        ("set_field", f"eth_src={_SOURCE}"),
    )


def returned(spec: ChainSpec, forth: bool, number: int) -> dict[str, Field]:
    """What comes out of the function at position ``number`` of this way."""
    return {
        "eth_type": exact("eth_type", ETHER_TYPE),
        "nsh_spi": exact("nsh_spi", _path(spec, forth) & _PATH_MASK),
        "nsh_si": exact("nsh_si", _FIRST - 1 - number),
    }


def unwrapped(spec: ChainSpec, forth: bool) -> Actions:
    """Off with the header, and on by what the frame is; the metadata still tell which way it goes."""
    number = _path(spec, forth) << 24 | LOCAL
    return (("set_field", f"metadata=0x{number:x}"), ("decap", ""), ("decap", ""), *goto(Table.INNER))


def way_of(spec: ChainSpec, forth: bool) -> dict[str, Field]:
    """What rules of INNER match of a frame that goes this way."""
    return {"metadata": (_path(spec, forth) << 24, SEGMENT_MASK)}


def _path(spec: ChainSpec, forth: bool) -> int:
    """The tag of one way of a chain; its low 24 bits are the service path identifier."""
    return tag(spec.owner, ResourceKind.CHAIN, spec.key, "nsh", "there" if forth else "back")
