"""Entries to OpenFlow 1.3 messages and back, for either controller library.

Knows the libraries' parser classes and nothing else; what to send is decided in ``changes``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from manor_sdn_ryu.entries import Action, Entry
from manor_sdn_ryu.fields import BITS, exact, render, whole
from manor_sdn_ryu.nsh import WIRE

__all__ = [
    "action_object",
    "entry_of",
    "flow_stats_request",
    "is_lasting",
    "learn",
    "match_object",
    "meter_mod",
    "packet_out",
]

_BURST_LEAST_KBIT = 200
"""16 frames of full size: with less a single TCP segment train would never pass."""
_ZONE, _ZONE_BITS = "reg1", 15
"""The conntrack zone: the low 16 bits of this register (offset 0, 16 bits less 1)."""
_UNNAMED: Mapping[str, str] = {"nd_reserved": "field_524289", "nd_options_type": "field_524290"}
"""Fields of Open vSwitch (class 0x1000, numbers 1 and 2) that the libraries know by number only, and as base64."""
_NAMED = {number: name for name, number in _UNNAMED.items()} | {"nd_tll": "ipv6_nd_tll"}
"""Our names for what a switch's answer is called by the libraries."""


_HEADERS = {wire: action for action, wire in WIRE.items()}


def learn(parser: Any) -> None:
    """Mend a library's parser, which fails on reading ``encap``: its class names a variable that is nowhere."""
    number, _ = WIRE["encap", "nsh"]

    class Encap:
        _subtype = number

        @staticmethod
        def parser(body: bytes) -> Any:
            return parser.NXActionUnknown(number, body)

    parser.NXAction.register(Encap)


def match_object(datapath: Any, match: Iterable[tuple[str, int, int]]) -> Any:
    """The library's match of these fields."""
    fields = {_UNNAMED.get(name, name): _user(name, value, mask) for name, value, mask in match}
    return datapath.ofproto_parser.OFPMatch(**fields)


def _user(name: str, value: int, mask: int) -> Any:
    """A match value as the libraries take it."""
    if name == "in_port":
        return value
    full = whole(name)
    if name in _UNNAMED:
        return _base64(name, value) if mask == full else (_base64(name, value), _base64(name, mask))
    text = render(name, (value, full))
    text = value if not isinstance(text, str) or text.startswith("0x") else text
    if mask == full:
        return text
    bits = render(name, (mask, full))
    return text, mask if not isinstance(bits, str) or bits.startswith("0x") else bits


def _base64(name: str, value: int) -> str:
    return base64.b64encode(value.to_bytes(BITS[name] // 8, "big")).decode()


def action_object(datapath: Any, action: Action) -> Any:
    """The library's action."""
    parser = datapath.ofproto_parser
    match action:
        case ("output", int(port)):
            return parser.OFPActionOutput(port)
        case ("set_field", str(name), int(value)):
            return parser.OFPActionSetField(**{_UNNAMED.get(name, name): _user(name, value, whole(name))})
        case ("move", str(source), str(target)):
            return parser.NXActionRegMove(src_field=source, dst_field=target, n_bits=BITS[source])
        case ("push_vlan",):
            return parser.OFPActionPushVlan()
        case ("pop_vlan",):
            return parser.OFPActionPopVlan()
        case ("resubmit", int(table)):
            return parser.NXActionResubmitTable(table_id=table)
        case ("ct", int(flags), int(table)):
            return parser.NXActionCT(
                flags=flags, zone_src=_ZONE, zone_ofs_nbits=_ZONE_BITS, recirc_table=table, alg=0, actions=[]
            )
        case _ if action in WIRE:
            return parser.NXActionUnknown(*WIRE[action])
    raise ValueError(f"no such action: {action}")


def flow_stats_request(datapath: Any, cookie: int, mask: int) -> Any:
    """Ask for all entries whose cookie agrees with ``cookie`` in the bits of ``mask``."""
    parser, ofp = datapath.ofproto_parser, datapath.ofproto
    return parser.OFPFlowStatsRequest(
        datapath, 0, ofp.OFPTT_ALL, ofp.OFPP_ANY, ofp.OFPG_ANY, cookie, mask, parser.OFPMatch()
    )


def packet_out(datapath: Any, frame: bytes, actions: Iterable[Action], in_port: int = 0) -> Any:
    """Ask the switch to do this with a frame that comes from us, or as if it had come in by a port."""
    parser, ofp = datapath.ofproto_parser, datapath.ofproto
    return parser.OFPPacketOut(
        datapath=datapath, buffer_id=ofp.OFP_NO_BUFFER, in_port=in_port or ofp.OFPP_CONTROLLER,
        actions=[action_object(datapath, action) for action in actions], data=frame,
    )  # fmt: skip


def meter_mod(datapath: Any, meter: int, kbps: int, command: str) -> Any:
    """``ADD``, ``MODIFY`` or ``DELETE`` a meter that drops what is above a rate; bursts last a tenth of a second."""
    parser, ofp = datapath.ofproto_parser, datapath.ofproto
    band = parser.OFPMeterBandDrop(rate=kbps, burst_size=max(kbps // 10, _BURST_LEAST_KBIT))
    flags = ofp.OFPMF_KBPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS
    bands = [] if command == "DELETE" else [band]
    return parser.OFPMeterMod(datapath, getattr(ofp, f"OFPMC_{command}"), flags, meter, bands)


def is_lasting(stats: Any) -> bool:
    """Whether a flow statistics record tells of an entry that does not go by itself, as a probe's do."""
    return not stats.hard_timeout and not stats.idle_timeout


def entry_of(stats: Any) -> Entry:
    """The entry that a flow statistics record tells of. What we never send comes back as a foreign action."""
    match = []
    for name, given in stats.match.items():
        value, mask = given if isinstance(given, tuple) else (given, None)
        known = _NAMED.get(name, name)
        match.append((known, *_numbers(known, value, mask)))
    actions: list[Action] = []
    first: list[Action] = []
    last: list[Action] = []
    for instruction in stats.instructions:
        if hasattr(instruction, "meter_id"):
            first.append(("meter", int(instruction.meter_id)))
        elif hasattr(instruction, "actions"):
            actions += [_from_wire(action) for action in instruction.actions]
        elif hasattr(instruction, "table_id"):
            last.append(("goto", int(instruction.table_id)))
        else:
            last.append(("foreign", type(instruction).__name__))
    return Entry(
        table=stats.table_id,
        priority=stats.priority,
        cookie=stats.cookie,
        match=tuple(sorted(match)),
        actions=(*first, *actions, *last),
    )


def _numbers(name: str, value: Any, mask: Any) -> tuple[int, int]:
    if name == "in_port":
        return int(value), whole(name)
    if name not in BITS:
        return hash(str(value)) & 0xFFFF, 0
    number, full = _read(name, value), whole(name)
    return (number, full) if mask is None else (number, _read(name, mask))


def _read(name: str, value: Any) -> int:
    """A value as the libraries give it."""
    return int.from_bytes(base64.b64decode(value), "big") if name in _UNNAMED else exact(name, value)[0]


def _name(name: Any) -> str:
    # Open vSwitch may name a field by its older number, which the libraries mark with a suffix.
    plain = str(name).removesuffix("_nxm")
    return _NAMED.get(plain, plain)


def _from_wire(action: Any) -> Action:
    match type(action).__name__:
        case "OFPActionOutput":
            return "output", int(action.port)
        case "OFPActionSetField" if (name := _name(action.key)) in BITS:
            return "set_field", name, _read(name, action.value)
        case "NXActionRegMove":
            return "move", _name(action.src_field), _name(action.dst_field)
        case "OFPActionPushVlan":
            return ("push_vlan",)
        case "OFPActionPopVlan":
            return ("pop_vlan",)
        case "NXActionResubmitTable":
            return "resubmit", int(action.table_id)
        case "NXActionCT" if (action.zone_src, action.zone_ofs_nbits, action.alg) == (_ZONE, _ZONE_BITS, 0):
            return "ct", int(action.flags), int(action.recirc_table)
        case "NXActionUnknown" if (known := _HEADERS.get((action.subtype, bytes(action.data)))) is not None:
            return known
    return "foreign", str(action)
