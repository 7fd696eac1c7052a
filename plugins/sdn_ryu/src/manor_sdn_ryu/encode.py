"""Entries to the bytes of OpenFlow 1.3 flow mods, quickly.

The libraries build an object for every field and action of every message, which costs more than the switch needs to
take it. Fields' headers and lists of actions are few and alike: each is encoded once, by the library, and kept; only
values, and the fixed parts around them, are packed here.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

from manor_sdn_ryu.entries import Action, Entry
from manor_sdn_ryu.fields import whole
from manor_sdn_ryu.pipeline import ALL_BITS
from manor_sdn_ryu.wire import action_object, match_object

__all__ = ["Encoder"]

_FLOW_MOD = struct.Struct("!BBHIQQBBHHHIIIH2xHH")
"""Header, fixed part, and the header of the match."""
_BUNDLE_ADD = struct.Struct("!BBHIIIIHH")
_VERSION, _EXPERIMENTER, _FLOW_MOD_TYPE = 4, 4, 14
_ONF, _BUNDLE_ADD_TYPE = 0x4F4E4600, 2301
_ADD, _DELETE_STRICT = 0, 4
_NO_BUFFER = _ANY = 0xFFFFFFFF
_GOTO, _APPLY, _METER = 1, 4, 6
_KEPT = 1 << 16
_FLOW_MOD_FIXED = _FLOW_MOD.size
"""Bytes of a flow mod up to the fields of its match."""
_NOT_STANDARD = b"\x10\x00"
"""The class of Open vSwitch's own fields of neighbour discovery."""
_EXPERIMENTERS = b"\xff\xff"
"""The class of fields whose header goes on with whose they are, which their length counts."""
_PADDING = tuple(bytes(-length % 8) for length in range(8))


class Encoder:
    """For one connection, whose library's classes it uses."""

    def __init__(self, datapath: Any) -> None:
        self._datapath = datapath
        self._header = functools.lru_cache(None)(self._header_bytes)
        self._field = functools.lru_cache(_KEPT)(self._field_bytes)
        self._actions = functools.lru_cache(_KEPT)(self._actions_bytes)

    def bundled(self, entry: Entry, *, delete: bool, bundle: int, flags: int, xid: int, lifetime_s: int = 0) -> bytes:
        """The message that adds :meth:`flow_mod` to a bundle."""
        inner = self.flow_mod(entry, delete=delete, xid=xid, lifetime_s=lifetime_s)
        size = _BUNDLE_ADD.size + len(inner)
        return _BUNDLE_ADD.pack(
            _VERSION, _EXPERIMENTER, size, xid, _ONF, _BUNDLE_ADD_TYPE, bundle, 0, flags
        ) + inner  # fmt: skip

    def flow_mod(self, entry: Entry, *, delete: bool, xid: int, lifetime_s: int = 0) -> bytes:
        """Puts or deletes exactly this entry (a delete never hits another cookie's); put for ever, or for a time."""
        # What a delete would have done does not matter, and need not be ours to express.
        instructions = b"" if delete else self._actions(entry.actions)
        field = self._field
        parts = sorted([field(*one) for one in entry.match])
        if parts and parts[0][:2] == _NOT_STANDARD:  # sorts before the fields that it presupposes
            parts.append(parts.pop(0))
        fields = b"".join(parts)
        length = 4 + len(fields)
        padding = _PADDING[length % 8]
        size = _FLOW_MOD_FIXED + len(fields) + len(padding) + len(instructions)
        fixed = _FLOW_MOD.pack(
            _VERSION, _FLOW_MOD_TYPE, size, xid,
            entry.cookie, ALL_BITS if delete else 0, entry.table, _DELETE_STRICT if delete else _ADD,
            0, lifetime_s, entry.priority, _NO_BUFFER, _ANY, _ANY, 0, 1, length,
        )  # fmt: skip
        return b"".join((fixed, fields, padding, instructions))

    def _field_bytes(self, name: str, value: int, mask: int) -> bytes:
        """One field. Its header comes first, so that sorting the bytes sorts by field, as prerequisites want it."""
        full = whole(name)
        header = self._header(name, mask != full)
        length = header[3] - (len(header) - 4)
        if mask == full:
            return header + value.to_bytes(length, "big")
        half = length // 2
        return header + value.to_bytes(half, "big") + mask.to_bytes(half, "big")

    def _header_bytes(self, name: str, masked: bool) -> bytes:
        """Class, field and length of a field, as the library writes them."""
        buffer = bytearray()
        match_object(self._datapath, ((name, 1, 1 if masked else whole(name)),)).serialize(buffer, 0)
        header = bytes(buffer[4:8])
        return header + bytes(buffer[8:12]) if header.startswith(_EXPERIMENTERS) else header

    def _actions_bytes(self, actions: tuple[Action, ...]) -> bytes:
        """The instructions that these actions are."""
        applied = b"".join(self._action_bytes(a) for a in actions if a[0] not in ("goto", "meter"))
        found = b"".join(struct.pack("!HHI", _METER, 8, int(a[1])) for a in actions if a[0] == "meter")
        found += struct.pack("!HH4x", _APPLY, 8 + len(applied)) + applied if applied else b""
        for action in actions:
            if action[0] == "goto":
                found += struct.pack("!HHB3x", _GOTO, 8, int(action[1]))
        return found

    def _action_bytes(self, action: Action) -> bytes:
        buffer = bytearray()
        action_object(self._datapath, action).serialize(buffer, 0)
        return bytes(buffer)
