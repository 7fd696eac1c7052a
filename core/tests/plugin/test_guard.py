"""What the guard makes of a driver's calls: counted, timed, bounded, and every failure with a meaning."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from manor.api import (
    CallContext,
    Console,
    GuestAccess,
    Metered,
    NetworkSpec,
    Observed,
    Query,
    ResourceKind,
    ResourceRef,
    Sample,
)
from manor.errors import Conflict, DeadlineExceeded, Indeterminate, Permanent
from manor.fakes import Crash, FakeSdn, FakeVim, Fault, World
from manor.plugin import Counters, guard, unguarded

OWNER = "manor/test"
NETWORK = NetworkSpec(key="a1/vl/lan@host-1", owner=OWNER, host="host-1", name="lan", segment="")


@pytest.fixture
def counters() -> Counters:
    return Counters()


def now() -> CallContext:
    return CallContext.within(5.0)


class OnlyVerbs:
    """A driver with nothing optional."""

    def observe(self, query: Query, ctx: CallContext) -> list[Observed]:
        return []

    def samples(self, refs: object, ctx: CallContext) -> Iterator[Sample]:
        yield Sample(metric="m", value=1.0, unit="%", key="k", time_s=0.0)
        raise RuntimeError("half way")


def test_calls_are_counted_and_timed(counters: Counters) -> None:
    vim = guard(FakeVim(), name="fake", counters=counters)
    vim.ensure(NETWORK, now())
    vim.ensure(NETWORK, now())
    count = counters.snapshot()["fake", "ensure"]
    assert (count.count, count.errors) == (2, 0)
    assert count.seconds > 0


def test_optional_protocols_still_show(counters: Counters) -> None:
    vim = guard(FakeVim(), name="fake", counters=counters)
    assert isinstance(vim, Metered)
    assert isinstance(vim, Console)
    assert isinstance(vim, GuestAccess)
    assert not isinstance(guard(OnlyVerbs(), name="x", counters=counters), Console)
    assert isinstance(unguarded(vim), FakeVim)


def test_our_errors_pass_and_count(counters: Counters) -> None:
    world = World()
    world.inject(Fault(error="Conflict"))
    vim = guard(FakeVim(world), name="fake", counters=counters)
    with pytest.raises(Conflict):
        vim.ensure(NETWORK, now())
    assert counters.snapshot()["fake", "ensure"].errors == 1


def test_anything_else_is_indeterminate_and_names_the_call(counters: Counters) -> None:
    world = World()
    world.inject(Fault(error="unknown"))
    vim = guard(FakeVim(world), name="fake", counters=counters)
    with pytest.raises(Indeterminate) as caught:
        vim.ensure(NETWORK, now())
    assert NETWORK.key in str(caught.value)
    assert "fake: ensure" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_out_of_a_pure_verb_it_is_permanent(counters: Counters) -> None:
    sdn = guard(FakeSdn(), name="fake", counters=counters)
    with pytest.raises(Permanent):
        sdn.compile(NETWORK, None)  # type: ignore[arg-type]


def test_a_lazy_result_fails_inside_the_guard(counters: Counters) -> None:
    driver = guard(OnlyVerbs(), name="x", counters=counters)
    with pytest.raises(Indeterminate, match="half way"):
        driver.samples([], now())


def test_no_call_without_time(counters: Counters) -> None:
    world = World()
    vim = guard(FakeVim(world), name="fake", counters=counters)
    with pytest.raises(DeadlineExceeded, match="a1/vl/lan"):
        vim.remove(ResourceRef(kind=ResourceKind.NETWORK, key=NETWORK.key), CallContext.within(-1))
    assert not world.calls


def test_a_crash_and_an_interrupt_pass(counters: Counters) -> None:
    for end in (Crash("here"), KeyboardInterrupt()):

        class Dying:
            def close(self, end: BaseException = end) -> None:
                raise end

        with pytest.raises(type(end)):
            guard(Dying(), name="x", counters=counters).close()


def test_a_stuck_call_is_seen(counters: Counters) -> None:
    release, entered = threading.Event(), threading.Event()

    class Stuck:
        def observe(self, query: Query, ctx: CallContext) -> list[Observed]:
            entered.set()
            release.wait(120)
            return []

    driver = guard(Stuck(), name="stuck", counters=counters)
    # By the call's own clock there is time: it begins, however late its thread is run.
    ctx = CallContext(deadline=time.monotonic() + 0.05, clock=lambda: 0.0)
    thread = threading.Thread(target=driver.observe, args=(Query(owner=OWNER), ctx))
    thread.start()
    assert entered.wait(60)
    (call,) = counters.in_flight()
    assert (call.plugin, call.verb) == ("stuck", "observe")
    until_s = time.monotonic() + 60
    while not counters.in_flight(overdue=True):
        assert time.monotonic() < until_s
        thread.join(0.01)
    release.set()
    thread.join()
    assert not counters.in_flight()


@pytest.mark.parametrize(
    ("verb", "gives", "said"),
    [
        ("observe", None, "gave a NoneType instead of several Observed"),
        ("observe", [{"key": "x"}], "gave a dict among its Observed records"),
        ("observe", "text", "gave a str instead of several Observed"),
        ("ensure", None, "gave a NoneType instead of Observed"),
        ("capabilities", {}, "gave a dict instead of Capabilities"),
    ],
)
def test_an_answer_that_is_none_is_the_plugins_fault(counters: Counters, verb: str, gives: object, said: str) -> None:
    wrong = type("Wrong", (), {verb: lambda *_: gives})()
    with pytest.raises(Indeterminate, match=f"wrong: {verb}: TypeError: it {said}"):
        getattr(guard(wrong, name="wrong", counters=counters), verb)(now())
    assert counters.snapshot()["wrong", verb].errors == 1
