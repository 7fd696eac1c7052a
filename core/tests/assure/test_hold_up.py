"""What takes long in one place holds up no alarm about another."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from assured_site import PATIENCE_S, Site

from manor.api import CallContext
from manor.assure import healing
from manor.fakes import FakeVim
from manor.model.alarm import Outcome
from manor.model.instance import OperationState


@pytest.fixture
def watched(make_site: Callable[..., Site]) -> Any:
    """The service, with the loop in its own threads."""
    site = make_site()
    site.settings(observe_s=0.05, collect_s=60, detector="", cool_down_s=0)
    site.assurance.start()
    yield site
    site.assurance.stop(PATIENCE_S)


def until(so: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


@pytest.fixture
def slow_planning(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Set once a heal is being planned; to set for it to go on."""
    planned, go_on = threading.Event(), threading.Event()
    propose = healing.ns.propose

    def slowly(*told: Any, **more: Any) -> Any:
        planned.set()
        assert go_on.wait(2 * PATIENCE_S)
        return propose(*told, **more)

    monkeypatch.setattr(healing.ns, "propose", slowly)
    return planned, go_on


def test_a_heal_that_is_long_in_planning_holds_up_no_alarm(
    watched: Site, slow_planning: tuple[threading.Event, threading.Event]
) -> None:
    site, (planned, go_on) = watched, slow_planning
    firewall, web = site.node("firewall"), site.node("web")
    site.world.stop(firewall)
    try:
        assert planned.wait(PATIENCE_S)
        site.world.stop(web)
        until(lambda: web in {alarm.resource_key for alarm in site.alarms()}, "the other one is told of")
        assert site.operations() == []
    finally:
        go_on.set()
    until(lambda: [one.state for one in site.operations()] == [OperationState.COMPLETED], "it is healed")
    assert site.is_whole(), "and the other one with it"


@pytest.mark.slow
def test_a_lock_that_is_set_while_a_heal_is_planned_holds_it(
    watched: Site, slow_planning: tuple[threading.Event, threading.Event]
) -> None:
    site, (planned, go_on) = watched, slow_planning
    site.world.stop(site.node("firewall"))
    try:
        assert planned.wait(PATIENCE_S)
        site.settings(observe_s=0.05, collect_s=60, detector="", cool_down_s=0, services={"demo": {"locked": True}})
    finally:
        go_on.set()
    until(lambda: any(site.rulings(alarm) for alarm in site.alarms()), "it is decided")
    (alarm,) = site.alarms()
    (ruling,) = site.rulings(alarm)
    assert (ruling.outcome, "held: demo is locked" in ruling.reason) == (Outcome.HELD, True)
    assert (site.operations(), site.is_whole()) == ([], False)


def test_an_event_is_followed_at_once_and_not_at_the_next_turn(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    rung, heard = [0], threading.Condition()

    def await_events(_vim: FakeVim, after: int, ctx: CallContext) -> int:
        with heard:
            heard.wait_for(lambda: rung[0] > after, ctx.remaining_s())
            return rung[0]

    def ring() -> None:
        with heard:
            rung[0] += 1
            heard.notify_all()

    monkeypatch.setattr(FakeVim, "await_events", await_events, raising=False)
    site = make_site(observe_s=60, collect_s=60, static_mode="off")
    site.assurance.start()
    try:
        until(lambda: site.assurance._seen is not None, "it has looked")
        began_s = time.monotonic()
        site.world.stop(site.node("firewall"))
        ring()
        until(lambda: bool(site.alarms()), "it is told")
        assert time.monotonic() - began_s < 45.0, "the next turn is a minute away"
    finally:
        site.assurance.stop(PATIENCE_S)
        ring()


def test_a_loop_that_is_stopped_while_a_heal_is_planned_ends_with_that(
    watched: Site, slow_planning: tuple[threading.Event, threading.Event]
) -> None:
    site, (planned, go_on) = watched, slow_planning
    site.world.stop(site.node("firewall"))
    try:
        assert planned.wait(PATIENCE_S)
        site.assurance.stop(0.0)
    finally:
        go_on.set()
    for thread in site.assurance._threads:
        thread.join(PATIENCE_S)
    assert [thread.name for thread in site.assurance._threads if thread.is_alive()] == []
