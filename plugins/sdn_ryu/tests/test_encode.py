"""The packed messages against the library's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor_sdn_ryu.encode import Encoder
from manor_sdn_ryu.entries import Action, Entry
from manor_sdn_ryu.fields import BITS
from manor_sdn_ryu.wire import action_object, match_object

OFP = pytest.importorskip("os_ken.ofproto.ofproto_v1_3")
PARSER = pytest.importorskip("os_ken.ofproto.ofproto_v1_3_parser")


class Datapath:
    ofproto, ofproto_parser = OFP, PARSER
    id = 1


OVS_OWN = ("nd_reserved", "nd_options_type")
FIELD = st.sampled_from(sorted(BITS.keys() - OVS_OWN)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.integers(0, (1 << BITS[name]) - 1), st.integers(1, (1 << BITS[name]) - 1) | st.just(-1)
    )
)


@given(st.lists(FIELD, max_size=6, unique_by=lambda field: field[0]), st.booleans())
def test_what_is_packed_here_is_byte_for_byte_what_the_library_sends(
    fields: list[tuple[str, int, int]], delete: bool
) -> None:
    """os-ken's own message is the reference; Ryu's classes are the same."""
    full = [(name, (1 << BITS[name]) - 1) for name, _, _ in fields]
    match = tuple(
        (name, value & (most if mask < 0 else mask), most if mask < 0 else mask)
        for (name, value, mask), (_, most) in zip(fields, full, strict=True)
    )
    actions: tuple[Action, ...] = (
        ("set_field", "reg1", 7), ("set_field", "eth_dst", 0x020000000001), ("move", "eth_src", "eth_dst"),
        ("set_field", "nd_reserved", 3 << 29), ("ct", 1, 255), ("resubmit", 40), ("output", 3), ("goto", 30),
    )  # fmt: skip
    entry = Entry(table=10, priority=45000, cookie=0xABCDEF << 40 | 5, match=match, actions=actions)
    made = Encoder(Datapath).bundled(entry, delete=delete, bundle=9, flags=3, xid=77)
    kept = () if delete else actions
    apply = [action_object(Datapath, action) for action in kept if action[0] != "goto"]
    instructions = [PARSER.OFPInstructionActions(OFP.OFPIT_APPLY_ACTIONS, apply)] if apply else []
    instructions += [PARSER.OFPInstructionGotoTable(30)] if kept else []
    inner = PARSER.OFPFlowMod(
        datapath=Datapath, command=OFP.OFPFC_DELETE_STRICT if delete else OFP.OFPFC_ADD, table_id=10, priority=45000,
        cookie=entry.cookie, cookie_mask=(1 << 64) - 1 if delete else 0, match=match_object(Datapath, match),
        instructions=instructions, buffer_id=0xFFFFFFFF, out_port=OFP.OFPP_ANY, out_group=OFP.OFPG_ANY,
    )  # fmt: skip
    outer = PARSER.ONFBundleAddMsg(Datapath, 9, 3, inner, [])
    outer.set_xid(77)
    outer.serialize()
    assert made == bytes(outer.buf)


def test_what_a_field_presupposes_comes_before_it() -> None:
    """Open vSwitch refuses its own field of neighbour discovery before the standard ones that say what it is about."""
    match = (
        ("eth_type", 0x86DD, 0xFFFF), ("icmpv6_type", 135, 255), ("ip_proto", 58, 255), ("nd_options_type", 1, 255),
    )  # fmt: skip
    made = Encoder(Datapath).flow_mod(
        Entry(table=20, priority=1, cookie=1, match=match, actions=()), delete=False, xid=1
    )
    assert made.rstrip(b"\0").endswith(b"\x10\x00\x04\x01\x01")
    assert made.index(b"\x80\x00") < made.index(b"\x10\x00\x04\x01\x01")
