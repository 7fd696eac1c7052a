"""The packed messages against the library's own."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor_sdn_ryu.encode import Encoder
from manor_sdn_ryu.entries import Action, Entry
from manor_sdn_ryu.fields import BITS
from manor_sdn_ryu.wire import action_object, entry_of, learn, match_object

OFP = pytest.importorskip("os_ken.ofproto.ofproto_v1_3")
PARSER = pytest.importorskip("os_ken.ofproto.ofproto_v1_3_parser")


class Datapath:
    ofproto, ofproto_parser = OFP, PARSER
    id = 1


OVS_OWN = ("nd_reserved", "nd_options_type", "nsh_si")
"""The library has no order for its own among them, nor for one experimenter field beside another."""
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
        ("set_field", "nd_reserved", 3 << 29), ("ct", 1, 255), ("resubmit", 40), ("encap", "nsh"),
        ("set_field", "nsh_spi", 0xABCDEF), ("set_field", "nsh_si", 255), ("encap", "ethernet"), ("output", 3),
        ("decap",), ("goto", 30),
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


@pytest.mark.skipif(shutil.which("ovs-ofctl") is None, reason="needs ovs-ofctl")
def test_open_vswitch_reads_header_actions_as_they_are_meant() -> None:
    actions: tuple[Action, ...] = (
        ("encap", "nsh"), ("set_field", "nsh_spi", 0x1234), ("set_field", "nsh_si", 255), ("encap", "ethernet"),
        ("output", 3), ("decap",),
    )  # fmt: skip
    sent = b"".join(Encoder(Datapath)._action_bytes(action) for action in actions)
    argv = ["ovs-ofctl", "parse-actions", "OpenFlow13"]
    read = subprocess.run(argv, input=f"{sent.hex()}\n", capture_output=True, text=True, check=True, timeout=10)
    assert read.stdout.strip() == (
        "actions=encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,set_field:255->nsh_si,encap(ethernet),output:3,decap()"
    )


@pytest.mark.parametrize("library", ["os_ken", "ryu"])
def test_header_actions_are_read_back_as_they_were_sent(library: str) -> None:
    """In both libraries, neither of which can by itself."""
    parser = pytest.importorskip(f"{library}.ofproto.ofproto_v1_3_parser")
    learn(parser)
    datapath = SimpleNamespace(ofproto=OFP, ofproto_parser=parser)
    match = (("eth_type", 0x894F, 0xFFFF), ("nsh_si", 254, 255), ("nsh_spi", 0xABCDEF, 0xFFFFFFFF))
    actions: tuple[Action, ...] = (
        ("decap",), ("decap",), ("encap", "nsh"), ("set_field", "nsh_spi", 7), ("encap", "ethernet"), ("output", 3),
    )  # fmt: skip
    sent = Encoder(datapath)._actions_bytes(actions)
    stats = SimpleNamespace(
        table_id=0, priority=1, cookie=2, instructions=[parser.OFPInstructionActions.parser(sent, 0)],
        match=match_object(datapath, match),
    )  # fmt: skip
    assert entry_of(stats) == Entry(table=0, priority=1, cookie=2, match=match, actions=actions)
