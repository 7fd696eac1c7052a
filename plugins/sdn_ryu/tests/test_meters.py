"""What the agent believes of a switch's meters when the switch did not say in time what became of them."""

import struct
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from manor.errors import Indeterminate, Permanent
from manor_sdn_ryu.entries import METERS
from manor_sdn_ryu.session import Session

OFP = pytest.importorskip("os_ken.ofproto.ofproto_v1_3")
PARSER = pytest.importorskip("os_ken.ofproto.ofproto_v1_3_parser")


class Late(Session):
    """A switch that takes what it is sent first when nobody waits any more, and refuses to add what it has."""

    def __init__(self) -> None:
        datapath = SimpleNamespace(id=1, address="here", ofproto=OFP, ofproto_parser=PARSER)
        super().__init__(datapath)
        self.held: dict[int, int] = {}
        self.is_late = True

    def _request(self, messages: Iterable[Callable[[int], bytes]], timeout_s: float) -> list[Any]:
        return [reply for message in messages for reply in self._answer(message(1))]

    def _answer(self, data: bytes) -> list[Any]:
        (what,) = struct.unpack_from("!H", data, 8)
        if data[1] == OFP.OFPT_METER_MOD:
            meter, rate = struct.unpack_from("!I4xI", data, 12)
            if what == OFP.OFPMC_ADD and meter in self.held:
                raise Permanent("the meter exists")
            self.held[meter] = rate
            if self.is_late:
                self.is_late = False
                raise Indeterminate("no answer in time")
            return []
        if what == OFP.OFPMP_METER_FEATURES:
            return [SimpleNamespace(body=[SimpleNamespace(max_meter=METERS.stop)])]
        there = [SimpleNamespace(meter_id=one, bands=[SimpleNamespace(rate=kbps)]) for one, kbps in self.held.items()]
        return [SimpleNamespace(body=there)]


def test_a_meter_that_came_late_is_found_again() -> None:
    switch, meter = Late(), METERS.start
    with pytest.raises(Indeterminate):
        switch.set_meters({meter: 1000}, 1.0)
    switch.set_meters({meter: 2000}, 1.0)
    assert switch.held == switch.meters == {meter: 2000}
