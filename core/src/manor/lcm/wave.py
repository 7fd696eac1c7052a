"""The scheduler as a pure function: given the journal and what is running, what may start now, and is it over.

Forward, a step waits for all it depends on. Backward, whatever ever left *planned* is taken back, and a step waits
until all that depended on it is taken back. The two best-effort ways serve ``fail`` and a forced terminate: they pass
over what fails, and what they pass over is listed as orphaned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from manor.api.plan import Undo
from manor.lcm.away import LEAVE
from manor.model.instance import StepRecord, StepState

__all__ = ["Decision", "End", "Mode", "decide", "left_planned", "lost"]


class Mode(StrEnum):
    """Which way a worker goes through the plan."""

    FORWARD = "forward"
    BACKWARD = "backward"
    SWEEP = "sweep"
    """Backward, best effort."""
    DRAIN = "drain"
    """Forward, best effort: for plans that only remove."""


class End(StrEnum):
    """How the way through the plan ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do next; nothing at all means: wait for what runs."""

    start: tuple[str, ...] = ()
    """Ids of steps to begin (or to resume, where the journal found them intended), in plan order."""
    skip: tuple[str, ...] = ()
    """Ids of steps that cannot run because one before them was skipped."""
    end: End | None = None


def decide(
    rows: Mapping[str, StepRecord], running: Collection[str], mode: Mode, *, is_cancelled: bool = False
) -> Decision:
    """The next decision. ``rows`` by step id, in plan order: what a step depends on stands before it.

    A cancel that comes when all is done changes nothing: the operation's own result wins the race.
    """
    if mode in (Mode.FORWARD, Mode.DRAIN):
        return _forward(rows, running, best_effort=mode is Mode.DRAIN, is_cancelled=is_cancelled)
    return _backward(rows, running, best_effort=mode is Mode.SWEEP, is_cancelled=is_cancelled)


def left_planned(row: StepRecord) -> bool:
    """Whether a step may have had an effect that is not taken back."""
    return row.attempt > 0 and row.state is not StepState.UNDONE


def lost(rows: Iterable[StepRecord]) -> tuple[str, ...]:
    """Keys of what was destroyed and cannot be brought back."""
    return tuple(row.step.key for row in rows if row.step.undo is Undo.IMPOSSIBLE and row.state is StepState.DONE)


def _over(running: Collection[str], end: End) -> Decision:
    return Decision() if running else Decision(end=end)


def _forward(
    rows: Mapping[str, StepRecord], running: Collection[str], *, best_effort: bool, is_cancelled: bool
) -> Decision:
    finished = {StepState.DONE, StepState.SKIPPED}
    if is_cancelled and not all(row.state in finished for row in rows.values()):
        return _over(running, End.CANCELLED)
    if not best_effort and any(row.state is StepState.FAILED for row in rows.values()):
        return _over(running, End.FAILED)
    settled = {StepState.DONE, StepState.FAILED, StepState.SKIPPED} if best_effort else {StepState.DONE}
    skip: list[str] = []
    start: list[str] = []
    waiting = False
    for step_id, row in rows.items():
        if row.state not in (StepState.PLANNED, StepState.INTENDED) or step_id in running:
            continue
        if row.step.change == LEAVE:
            skip.append(step_id)
            continue
        before = [(name, rows[name].state) for name in row.step.depends_on]
        if all(state in settled for _, state in before):
            start.append(step_id)
        elif not best_effort and any(state is StepState.SKIPPED or name in skip for name, state in before):
            skip.append(step_id)
        else:
            waiting = True
    if start or running:
        return Decision(start=tuple(start), skip=tuple(skip))
    return Decision(skip=tuple(skip), end=End.FAILED if waiting else End.SUCCEEDED)


def _backward(
    rows: Mapping[str, StepRecord], running: Collection[str], *, best_effort: bool, is_cancelled: bool
) -> Decision:
    if is_cancelled and any(left_planned(row) for row in rows.values()):
        return _over(running, End.CANCELLED)
    stuck = {step_id for step_id, row in rows.items() if row.state is StepState.UNDO_FAILED}
    if stuck and not best_effort:
        return _over(running, End.FAILED)
    open_ids = {step_id for step_id, row in rows.items() if left_planned(row)} - stuck
    if best_effort:
        open_ids -= {step_id for step_id, row in rows.items() if row.step.undo is Undo.IMPOSSIBLE}
    last_first = list(rows)[::-1]
    held_up = {name for step_id in open_ids for name in rows[step_id].step.depends_on}
    # What depends on a step through one that never ran is still held up by it: ask over the whole way.
    for step_id in last_first:
        if step_id in held_up:
            held_up.update(rows[step_id].step.depends_on)
    start = [name for name in last_first if name in open_ids and name not in held_up and name not in running]
    if start or running:
        return Decision(start=tuple(start))
    return Decision(end=End.SUCCEEDED if not open_ids else End.FAILED)
