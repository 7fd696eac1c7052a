"""The scheduler on random plans: right order both ways, everything done once, and no way to get stuck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.api import Step, Undo, Verb
from manor.lcm.wave import Decision, End, Mode, decide, left_planned
from manor.model.instance import StepRecord, StepState

pytestmark = pytest.mark.slow

Rows = dict[str, StepRecord]


@st.composite
def plans(draw: st.DrawFn) -> Rows:
    """A random DAG of up to nine steps, dependencies first."""
    rows: Rows = {}
    for index in range(draw(st.integers(1, 9))):
        above = draw(st.lists(st.sampled_from(sorted(rows)), unique=True, max_size=3)) if rows else []
        step = Step(
            id=f"s{index}",
            verb=Verb.ENSURE,
            kind="node",
            key=f"k{index}",
            endpoint="vim:x",
            depends_on=tuple(above),
            undo=Undo.REMOVE,
        )
        rows[step.id] = StepRecord(step=step)
    return rows


def play(
    rows: Rows,
    mode: Mode,
    pick: Callable[[list[str]], str],
    *,
    failing: frozenset[str] = frozenset(),
    cancel_after: int | None = None,
) -> tuple[Rows, list[tuple[str, str]], End]:
    """Be the worker: start what may start, finish in whatever order ``pick`` says."""
    rows, log, running = dict(rows), [], []
    back = mode in (Mode.BACKWARD, Mode.SWEEP)
    for _ in range(200):
        cancelled = cancel_after is not None and len(log) >= cancel_after
        decision = decide(rows, running, mode, is_cancelled=cancelled)
        for name in decision.skip:
            rows[name] = replace(rows[name], state=StepState.SKIPPED)
        for name in decision.start:
            log.append(("start", name))
            running.append(name)
            state = StepState.UNDOING if back else StepState.INTENDED
            rows[name] = replace(rows[name], state=state, attempt=rows[name].attempt + (not back))
        if decision.end is not None:
            assert not running
            return rows, log, decision.end
        name = pick(running)
        running.remove(name)
        log.append(("finish", name))
        good, bad = (StepState.UNDONE, StepState.UNDO_FAILED) if back else (StepState.DONE, StepState.FAILED)
        rows[name] = replace(rows[name], state=bad if name in failing else good)
    raise AssertionError("the scheduler got stuck")


@given(plans(), st.data())
def test_forward_starts_each_once_and_after_what_it_depends_on(rows: Rows, data: st.DataObject) -> None:
    after, log, end = play(rows, Mode.FORWARD, lambda running: data.draw(st.sampled_from(running)))
    assert end is End.SUCCEEDED
    assert all(row.state is StepState.DONE and row.attempt == 1 for row in after.values())
    for name, row in rows.items():
        for above in row.step.depends_on:
            assert log.index(("finish", above)) < log.index(("start", name))


@given(plans(), st.data())
def test_backward_takes_back_all_that_left_planned_dependents_first(rows: Rows, data: st.DataObject) -> None:
    pick = lambda running: data.draw(st.sampled_from(running))  # noqa: E731
    failing = frozenset(data.draw(st.sets(st.sampled_from(sorted(rows)), max_size=2)))
    after, _, end = play(rows, Mode.FORWARD, pick, failing=failing, cancel_after=data.draw(st.integers(1, 12)))
    done_for_good = end is End.SUCCEEDED
    left = {name for name, row in after.items() if left_planned(row)}
    back, log, end = play(after, Mode.BACKWARD, pick)
    assert end is End.SUCCEEDED
    assert {name for kind, name in log if kind == "start"} == left
    assert not any(left_planned(row) for row in back.values())
    for name in left:
        for above in rows[name].step.depends_on:
            if above in left:
                assert log.index(("finish", name)) < log.index(("start", above))
    if done_for_good:
        assert left == set(rows)


@given(plans(), st.data())
def test_a_failure_starts_nothing_more_and_ends_once_the_running_ones_have(rows: Rows, data: st.DataObject) -> None:
    failing = frozenset({data.draw(st.sampled_from(sorted(rows)))})
    pick = lambda running: data.draw(st.sampled_from(running))  # noqa: E731
    after, log, end = play(rows, Mode.FORWARD, pick, failing=failing)
    assert end is End.FAILED
    (failed,) = failing
    assert not any(kind == "start" for kind, _ in log[log.index(("finish", failed)) :])
    assert all(row.state is not StepState.INTENDED for row in after.values())


@given(plans(), st.data())
def test_best_effort_passes_over_what_fails(rows: Rows, data: st.DataObject) -> None:
    failing = frozenset(data.draw(st.sets(st.sampled_from(sorted(rows)))))
    pick = lambda running: data.draw(st.sampled_from(running))  # noqa: E731
    drained, _, end = play(rows, Mode.DRAIN, pick, failing=failing)
    assert end is End.SUCCEEDED
    assert {name for name, row in drained.items() if row.state is StepState.FAILED} == failing
    swept, _, end = play(drained, Mode.SWEEP, pick, failing=failing)
    assert end is End.SUCCEEDED
    assert {name for name, row in swept.items() if left_planned(row)} == failing


@given(plans(), st.data())
def test_continue_skips_what_hangs_on_a_skipped_step_and_does_the_rest(rows: Rows, data: st.DataObject) -> None:
    skipped = data.draw(st.sampled_from(sorted(rows)))
    rows[skipped] = replace(rows[skipped], state=StepState.SKIPPED, attempt=1)
    below = {skipped}
    for name, row in rows.items():
        if below & set(row.step.depends_on):
            below.add(name)
    after, _, end = play(rows, Mode.FORWARD, lambda running: running[0])
    assert end is End.SUCCEEDED
    assert {name for name, row in after.items() if row.state is StepState.SKIPPED} == below


def test_a_step_found_intended_is_resumed_and_a_late_cancel_changes_nothing() -> None:
    step = Step(id="a", verb=Verb.ENSURE, kind="node", key="k", endpoint="vim:x")
    begun = {"a": StepRecord(step=step, state=StepState.INTENDED, attempt=1)}
    assert decide(begun, (), Mode.FORWARD) == Decision(start=("a",))
    assert decide(begun, ("a",), Mode.FORWARD) == Decision()
    assert decide(begun, (), Mode.FORWARD, is_cancelled=True) == Decision(end=End.CANCELLED)
    done = {"a": StepRecord(step=step, state=StepState.DONE, attempt=1)}
    assert decide(done, (), Mode.FORWARD, is_cancelled=True) == Decision(end=End.SUCCEEDED)
