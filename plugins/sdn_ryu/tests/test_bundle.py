"""A bundle whose parts together have the time of one, and what a switch that let go of it says."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from manor.errors import DeadlineExceeded, DriverError, Permanent, Transient
from manor_sdn_ryu.changes import Change
from manor_sdn_ryu.entries import Entry
from manor_sdn_ryu.session import Session

OFP = pytest.importorskip("os_ken.ofproto.ofproto_v1_3")
PARSER = pytest.importorskip("os_ken.ofproto.ofproto_v1_3_parser")
ENTRY = Entry(table=0, priority=1, cookie=1, match=(), actions=())


class Switch:
    """Answers barriers; what comes before them it gives to ``hears``, by the kind of bundle message."""

    ofproto, ofproto_parser = OFP, PARSER
    id, address = 1, "here"

    def __init__(self, hears: Callable[[Switch, int, int], None]) -> None:
        self.session = Session(self)
        self.sent: list[int] = []
        self._hears = hears

    def send(self, data: bytes) -> None:
        while data:
            _, kind, length, xid = struct.unpack_from("!BBHI", data)
            if kind == OFP.OFPT_BARRIER_REQUEST:
                self._told("OFPBarrierReply", xid)
            elif struct.unpack_from("!I", data, 12)[0] == OFP.ONF_ET_BUNDLE_CONTROL:
                (what,) = struct.unpack_from("!H", data, 20)
                self.sent.append(what)
                self._hears(self, what, xid)
            data = data[length:]

    def _told(self, name: str, xid: int, **more: int) -> None:
        self.session.deliver(type(name, (SimpleNamespace,), {})(xid=xid, **more))

    def errs(self, xid: int, exp_type: int) -> None:
        self._told("OFPErrorMsg", xid, type=OFP.OFPET_EXPERIMENTER, exp_type=exp_type, experimenter=0x4F4E4600)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(OFP.ONFERR_ET_BAD_ID, Transient), (OFP.ONFERR_ET_TIMEOUT, Transient), (OFP.ONFERR_ET_MSG_UNSUP, Permanent)],
)
def test_a_bundle_that_the_switch_let_go_of_may_be_sent_again(code: int, kind: type[DriverError]) -> None:
    def refuses(switch: Switch, what: int, xid: int) -> None:
        if what == OFP.ONF_BCT_COMMIT_REQUEST:
            switch.errs(xid, code)

    switch = Switch(refuses)
    with pytest.raises(kind, match=f"code {code}"):
        switch.session.send([Change(entry=ENTRY)], 60)
    assert switch.sent[-1] == OFP.ONF_BCT_DISCARD_REQUEST


def test_what_there_is_no_time_left_to_commit_is_not_committed() -> None:
    def dawdles(switch: Switch, what: int, xid: int) -> None:
        if what == OFP.ONF_BCT_OPEN_REQUEST:
            threading.Event().wait(0.02)

    switch = Switch(dawdles)
    with pytest.raises(DeadlineExceeded):
        switch.session.send([Change(entry=ENTRY)], 0.01)
    assert switch.sent == [OFP.ONF_BCT_OPEN_REQUEST, OFP.ONF_BCT_DISCARD_REQUEST]
