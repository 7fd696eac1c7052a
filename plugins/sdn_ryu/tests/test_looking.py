"""A switch that hangs up, or comes back, just as it is looked at: nothing is taken for missing that nobody read."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from manor.api import FlowProgram, Phase, Query, SdnPort, SegmentSpec, Topology
from manor.errors import Indeterminate, Transient
from manor_sdn_ryu.audit import Repairs
from manor_sdn_ryu.compile import compile_spec
from manor_sdn_ryu.desired import Desired
from manor_sdn_ryu.facts import cookie_of
from manor_sdn_ryu.observer import Observer
from manor_sdn_ryu.pipeline import ALL_BITS
from manor_sdn_ryu.store import Store

OWNER = "manor/t"
MANY = 20
"""So many are read all at once."""


class Switches:
    """One switch, on host h1, that is up; ``session`` may be refused all the same, as when it has just hung up."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.refuses = False
        self.was_away = False
        """When it was last asked who is there."""

    def ready(self, hosts: set[str]) -> list[str]:
        return [] if self.was_away else sorted(hosts)

    def hosts(self) -> set[str]:
        return {"h1"}

    def get(self, host: str) -> Any:
        ready = threading.Event()
        ready.set()
        switches = self

        class Keeper:
            @property
            def session(self) -> Any:
                return switches.session(host)

        keeper: Any = Keeper()
        keeper.ready = ready
        return keeper

    def session(self, host: str) -> Any:
        if self.refuses:
            raise Transient(f"the switch of host {host} is not connected")
        able = {"metering": False, "writes_nd": False}
        return SimpleNamespace(flows=self.flows, ports={"p1": 1}, down={}, able=able)

    def flows(self, number: int, mask: int, _timeout_s: float) -> list[Any]:
        self.asked.append((number, mask))
        return []

    def await_tried(self, _deadline: float, *, most_s: float) -> None: ...


@pytest.fixture
def switches() -> Switches:
    return Switches()


@pytest.fixture
def desired(switches: Switches, tmp_path: Path) -> Desired:
    desired = Desired(Store(tmp_path), switches)  # type: ignore[arg-type]
    for number in range(MANY):
        desired.programs.put(program(number), Topology(switches=()))
    return desired


def program(number: int) -> FlowProgram:
    port = SdnPort(key=f"s{number}/p", host="h1", device=f"p{number}", mac=f"02:00:00:00:01:{number:02x}")
    return compile_spec(
        SegmentSpec(key=f"s{number}/vl/lan", owner=OWNER, name="lan", ports=(port,)), Topology(switches=())
    )


def test_one_that_hangs_up_just_then_is_unknown(switches: Switches, desired: Desired) -> None:
    switches.refuses = True
    found = Observer(desired, switches, Repairs()).all(Query(owner=OWNER), time.monotonic() + 60)  # type: ignore[arg-type]
    assert [one["phase"] for one in found] == [Phase.UNKNOWN] * MANY


def test_one_that_does_not_answer_is_asked_once_and_unknown(switches: Switches, desired: Desired) -> None:
    def hangs(number: int, mask: int, _timeout_s: float) -> list[Any]:
        switches.asked.append((number, mask))
        raise Indeterminate("it did not answer")

    switches.flows = hangs  # type: ignore[method-assign]
    found = Observer(desired, switches, Repairs()).all(Query(owner=OWNER), time.monotonic() + 60)  # type: ignore[arg-type]
    assert [one["phase"] for one in found] == [Phase.UNKNOWN] * MANY
    assert len(switches.asked) == 1


def test_one_that_comes_back_just_then_is_read_before_it_is_judged(switches: Switches, desired: Desired) -> None:
    switches.was_away = True
    Observer(desired, switches, Repairs()).all(Query(owner=OWNER), time.monotonic() + 60)  # type: ignore[arg-type]
    assert switches.asked == [(cookie_of(one), ALL_BITS) for one in desired.programs]
