"""Faults strike the calls that they are meant for, on the side that they are meant for."""

from __future__ import annotations

import pytest

from manor.api import CallContext, NetworkSpec, Query, ResourceKind, ResourceRef
from manor.errors import DeadlineExceeded, Indeterminate, QuotaExceeded, Transient, UsageError
from manor.fakes import Action, Crash, FakeClock, FakeSdn, FakeVim, Fault, Moment, When, World

OWNER = "manor/test"


def network(name: str) -> NetworkSpec:
    return NetworkSpec(key=f"a1/vl/{name}", owner=OWNER, host="host-1", name=name, segment="")


def ctx(seconds: float = 5.0) -> CallContext:
    return CallContext.within(seconds)


def there(vim: FakeVim) -> set[str]:
    return {o.ref.key for o in vim.observe(Query(owner=OWNER), ctx())}


def test_once_before_the_effect_and_then_no_more() -> None:
    vim = FakeVim()
    vim.world.inject(Fault(verb="ensure"))
    with pytest.raises(Transient):
        vim.ensure(network("a"), ctx())
    assert not there(vim)
    vim.ensure(network("a"), ctx())
    assert there(vim) == {"a1/vl/a"}


def test_after_the_effect_the_report_lies() -> None:
    vim = FakeVim()
    vim.world.inject(Fault(verb="ensure", when=When.AFTER))
    with pytest.raises(Indeterminate):
        vim.ensure(network("a"), ctx())
    assert there(vim) == {"a1/vl/a"}


def test_patterns_choose_the_call() -> None:
    vim = FakeVim()
    vim.world.inject(Fault(verb="ensure", kind="network", key="*/b", times=0, error="QuotaExceeded"))
    vim.ensure(network("a"), ctx())
    for _ in range(3):
        with pytest.raises(QuotaExceeded):
            vim.ensure(network("b"), ctx())
    vim.world.heal()
    vim.ensure(network("b"), ctx())


def test_an_error_that_no_driver_raises_is_refused() -> None:
    with pytest.raises(UsageError, match="NoSuchError"):
        Fault(error="NoSuchError")


def test_skip_spares_the_first_calls() -> None:
    vim = FakeVim()
    vim.world.inject(Fault(verb="ensure", skip=2, times=2))
    outcomes = []
    for name in "abcde":
        try:
            vim.ensure(network(name), ctx())
            outcomes.append("made")
        except Transient:
            outcomes.append("failed")
    assert outcomes == ["made", "made", "failed", "failed", "made"]


@pytest.mark.parametrize("when", When)
def test_a_hang_lasts_until_the_deadline_and_no_longer(when: When) -> None:
    clock = FakeClock()
    vim = FakeVim(World(clock=clock, sleep=clock.sleep))
    vim.world.inject(Fault(verb="ensure", action=Action.HANG, when=when))
    with pytest.raises(DeadlineExceeded):
        vim.ensure(network("a"), CallContext(deadline=clock() + 60, clock=clock))
    assert clock() == pytest.approx(1060.0)
    assert there(vim) == ({"a1/vl/a"} if when is When.AFTER else set())


def test_a_hang_ends_when_the_operation_is_cancelled() -> None:
    clock = FakeClock()
    vim = FakeVim(World(clock=clock, sleep=clock.sleep))
    vim.world.inject(Fault(verb="ensure", action=Action.HANG))
    with pytest.raises(Indeterminate, match="cancelled"):
        vim.ensure(network("a"), CallContext(deadline=clock() + 60, clock=clock, is_cancelled=lambda: clock() > 1010))
    assert clock() < 1020


def test_a_delay_takes_its_time() -> None:
    clock = FakeClock()
    vim = FakeVim(World(clock=clock, sleep=clock.sleep))
    vim.world.inject(Fault(verb="ensure", action=Action.DELAY, when=When.AFTER, seconds=90.0))
    vim.ensure(network("a"), CallContext(deadline=clock() + 60, clock=clock))
    assert clock() == 1090.0


def test_boundary_sees_both_sides_and_may_crash_at_each() -> None:
    seen: list[Moment] = []
    vim = FakeVim(World(boundary=seen.append))
    ref = ResourceRef(kind=ResourceKind.NETWORK, key="a1/vl/a", host="host-1")

    def run() -> None:
        vim.ensure(network("a"), ctx())
        vim.remove(ref, ctx())

    run()
    vim.observe(Query(owner=OWNER), ctx())
    assert [(moment.verb, moment.when) for moment in seen] == [
        ("ensure", When.BEFORE),
        ("ensure", When.AFTER),
        ("remove", When.BEFORE),
        ("remove", When.AFTER),
    ]
    for point, expected in enumerate([set(), {"a1/vl/a"}, {"a1/vl/a"}, set()]):
        reached = iter(range(100))

        def crash(moment: Moment, point: int = point, reached: object = reached) -> None:
            if next(reached) == point:  # type: ignore[call-overload]
                raise Crash(str(moment))

        world = World(boundary=crash)
        vim = FakeVim(world)
        with pytest.raises(Crash):
            run()
        world.boundary = None
        assert there(vim) == expected


def test_controllers_fail_as_well() -> None:
    sdn = FakeSdn()
    sdn.world.inject(Fault(verb="topology", error="unknown"))
    with pytest.raises(RuntimeError):
        sdn.topology(ctx())
    assert len(sdn.topology(ctx()).switches) == 1
