"""Observers are told, never waited for, and silenced when they keep failing."""

from __future__ import annotations

import threading
import time
import types

from manor.api import OperationEvent, OperationKind, hookimpl
from manor.plugin import Plugins, PluginSettings
from manor.plugin.events import MUTE_AFTER, QUEUE_SIZE

PATIENCE_S = 60.0


def event(number: int) -> OperationEvent:
    return OperationEvent(
        operation_id=str(number), operation=OperationKind.HEAL, service_id="a1", state="COMPLETED", time_s=0.0
    )


def host(**observers: object) -> Plugins:
    plugins: dict[str, object] = {}
    for name, observer in observers.items():
        module = types.ModuleType(name)
        module.manor_operation_event = hookimpl(observer)  # type: ignore[attr-defined, call-overload]
        plugins[name] = module
    return Plugins(builtin=(), extra=plugins, entry_points=False, settings=PluginSettings())


def test_observers_hear_in_order() -> None:
    heard: list[str] = []
    plugins = host(one=lambda event: heard.append(event.operation_id))
    for number in range(100):
        plugins.emit_operation_event(event(number))
    assert plugins.close(PATIENCE_S)
    assert heard == [str(number) for number in range(100)]


def test_one_that_fails_is_muted_and_the_others_hear_on() -> None:
    failed: list[str] = []
    heard: list[str] = []

    def fail(event: OperationEvent) -> None:
        failed.append(event.operation_id)
        raise RuntimeError("broken observer")

    plugins = host(bad=fail, good=lambda event: heard.append(event.operation_id))
    for number in range(20):
        plugins.emit_operation_event(event(number))
    assert plugins.close(PATIENCE_S)
    assert (len(failed), len(heard)) == (MUTE_AFTER, 20)
    assert plugins.counters.snapshot()["bad", "manor_operation_event"].errors == MUTE_AFTER


def test_one_success_forgives() -> None:
    heard: list[int] = []

    def now_and_then(event: OperationEvent) -> None:
        heard.append(1)
        if int(event.operation_id) % MUTE_AFTER:
            raise RuntimeError("not this time")

    plugins = host(moody=now_and_then)
    for number in range(3 * MUTE_AFTER):
        plugins.emit_operation_event(event(number))
    assert plugins.close(PATIENCE_S)
    assert len(heard) == 3 * MUTE_AFTER


def test_a_hanging_observer_stalls_nobody() -> None:
    release = threading.Event()
    released: list[bool] = []
    plugins = host(stuck=lambda event: released.append(release.wait(PATIENCE_S)))
    for number in range(QUEUE_SIZE + 50):
        plugins.emit_operation_event(event(number))
    assert not plugins.close(0.05)
    assert not released, "it hangs still, and nobody has waited for it"
    release.set()


def test_a_hanging_observer_keeps_nothing_from_the_others_and_is_seen() -> None:
    release, heard = threading.Event(), threading.Event()
    plugins = host(stuck=lambda event: release.wait(2 * PATIENCE_S), well=lambda event: heard.set())
    plugins._observers._slow_s = 0.05  # as if a tenth of a second were long
    plugins.emit_operation_event(event(1))
    assert heard.wait(PATIENCE_S)
    until_s = time.monotonic() + PATIENCE_S
    # The other's call may be seen too where its thread was not run for so long; it goes.
    while [call.plugin for call in plugins.counters.in_flight(overdue=True)] != ["stuck"]:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    release.set()
    assert plugins.close(PATIENCE_S)


def test_a_slow_observer_is_muted() -> None:
    heard: list[str] = []

    def slow(event: OperationEvent) -> None:
        heard.append(event.operation_id)
        time.sleep(0.02)

    plugins = host(slow=slow)
    plugins._observers._slow_s = 0.01
    for number in range(4 * MUTE_AFTER):
        plugins.emit_operation_event(event(number))
    assert plugins.close(PATIENCE_S)
    assert len(heard) == MUTE_AFTER


def test_without_observers_there_is_no_thread() -> None:
    before = set(threading.enumerate())
    plugins = host()
    plugins.emit_operation_event(event(1))
    assert set(threading.enumerate()) <= before
    assert plugins.close(PATIENCE_S)
