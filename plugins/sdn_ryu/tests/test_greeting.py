"""A switch whose ports change while it is greeted, or spoken to: none of it may be lost, or mistaken for a fault."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest

from manor.errors import Transient
from manor_sdn_ryu.session import Session

OFP = pytest.importorskip("os_ken.ofproto.ofproto_v1_3")
PARSER = pytest.importorskip("os_ken.ofproto.ofproto_v1_3_parser")


class Switch:
    """Has one port when asked, and before the greeting's barrier is answered ``meanwhile`` happens to its ports."""

    ofproto, ofproto_parser = OFP, PARSER
    id, address = 1, "here"

    def __init__(self, *meanwhile: tuple[int, str, int]) -> None:
        self.session = Session(self)
        self._meanwhile = meanwhile

    def send(self, data: bytes) -> None:
        while data:
            _, kind, length, xid = struct.unpack_from("!BBHI", data)
            if kind == OFP.OFPT_MULTIPART_REQUEST:
                asked = struct.unpack_from("!H", data, 8)[0]
                if asked == OFP.OFPMP_PORT_DESC:
                    local = _port("manor-int", OFP.OFPP_LOCAL)
                    self._told("OFPPortDescStatsReply", xid=xid, body=[_port("tap1", 1), local])
                    for reason, name, number in self._meanwhile:
                        self._told("OFPPortStatus", xid=0, reason=reason, desc=_port(name, number))
                else:
                    self._told("OFPMeterFeaturesStatsReply", xid=xid, body=[SimpleNamespace(max_meter=0)])
            elif kind == OFP.OFPT_BARRIER_REQUEST:
                self._told("OFPBarrierReply", xid=xid)
            data = data[length:]

    def _told(self, name: str, **what: Any) -> None:
        self.session.deliver(type(name, (SimpleNamespace,), {})(**what))


def _port(name: str, number: int) -> SimpleNamespace:
    return SimpleNamespace(name=name.encode(), port_no=number, config=0, hw_addr="02:00:00:00:00:01")


def test_a_port_that_comes_behind_the_list_of_ports_is_known() -> None:
    switch = Switch((OFP.OFPPR_ADD, "mvx-1", 2))
    switch.session.greet(5.0)
    assert switch.session.ports == {"tap1": 1, "mvx-1": 2}


def test_a_port_that_goes_behind_the_list_of_ports_is_gone() -> None:
    switch = Switch((OFP.OFPPR_DELETE, "tap1", 1))
    switch.session.greet(5.0)
    assert switch.session.ports == {}


class Fleeting(dict[str, str]):
    """Of what is asked for, the answer is true for a moment only."""

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        self.pop(str(name), None)
        return found


def test_a_port_that_somebody_else_sets_up_just_then_is_no_fault() -> None:
    switch = Switch()
    switch.session.greet(5.0)
    switch.session.down = Fleeting(tap1="02:00:00:00:00:01")
    switch.session.set_up(["tap1"], 5.0)


def test_a_port_that_has_just_gone_may_come_back() -> None:
    session = Switch().session
    session.greet(5.0)
    for ask in (
        lambda: session.received("gone", 5.0),
        lambda: session.inject(b"", "gone", 0, 5.0),
        lambda: session.put_out(b"", "gone", (), 5.0),
        lambda: session.put_in(b"", "gone", None, 5.0),
    ):
        with pytest.raises(Transient, match="switch 0000000000000001 has no port gone"):
            ask()
