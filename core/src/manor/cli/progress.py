"""An operation as it goes on: moving bars on a terminal, a line an event elsewhere. Both read nothing but the journal,
so they show the same whether this process does the work or another one does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from manor.cli.output import Output, printable
from manor.cli.render.steps import seconds, step_name
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Watcher", "watcher"]

_RUNNING = frozenset({StepState.INTENDED, StepState.UNDOING})
_OVER = frozenset({StepState.DONE, StepState.SKIPPED, StepState.UNDONE, StepState.FAILED, StepState.UNDO_FAILED})
_AT_WORK = frozenset({OperationState.PROCESSING, OperationState.ROLLING_BACK})
_BAD = frozenset({StepState.FAILED, StepState.UNDO_FAILED})


class Watcher(Protocol):
    """Is told how an operation stands: all of it at first, then what changed. Entered before and left after."""

    def see(self, operation: NsLcmOpOcc, step: StepRecord | None) -> None:
        """Show what changed: a step, or (without one) the operation itself."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...


def _said(record: StepRecord, service_id: str) -> str:
    """One step's news in a few words."""
    name = step_name(record.step, service_id)
    ran_s = record.ended_s - record.started_s if record.ended_s >= record.started_s > 0 else 0.0
    if record.state in _BAD:
        what = "failed" if record.state is StepState.FAILED else "could not be taken back"
        return f"{name} {what}: {record.error}" + (f" (hint: {record.hint})" if record.hint else "")
    words = {
        StepState.INTENDED: f"{name} ..." if record.attempt < 2 else f"{name} ... (attempt {record.attempt})",
        StepState.DONE: f"{name} done in {seconds(ran_s)}",
        StepState.SKIPPED: f"{name} skipped",
        StepState.UNDOING: f"{name} is taken back ...",
        StepState.UNDONE: f"{name} taken back",
    }
    return words.get(record.state, f"{name} {record.state}")


class _Known:
    """What was seen so far, so that nothing is said twice and the count is right."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.steps: dict[str, tuple[StepState, int]] = {}
        self.state: OperationState | None = None

    def is_news(self, record: StepRecord) -> bool:
        new = (record.state, record.attempt)
        old = self.steps.get(record.step.id, (StepState.PLANNED, 0))
        self.steps[record.step.id] = new
        return old != new and record.state is not StepState.PLANNED

    @property
    def over(self) -> int:
        return sum(state in _OVER for state, _ in self.steps.values())


class _Lines:
    """A line on stderr for each thing that happens; with ``events`` they are results and go to stdout."""

    def __init__(self, out: Output, total: int, *, events: bool) -> None:
        self._out = out
        self._events = events
        self._known = _Known(total)
        self._last: NsLcmOpOcc | None = None

    def see(self, operation: NsLcmOpOcc, step: StepRecord | None) -> None:
        self._last = operation
        if operation.state in _AT_WORK:
            self._say_state(operation)
        if step is None or not self._known.is_news(step):
            return
        count = f"  ({self._known.over}/{self._known.total})" if step.state in _OVER else ""
        facts = {
            "step": step.step.id,
            "state": step.state,
            "attempt": step.attempt,
            "started_s": step.started_s,
            "ended_s": step.ended_s,
            "error": step.error,
            "hint": step.hint,
        }
        self._say(f"{_said(step, operation.ns_id)}{count}", operation, facts)

    def _say_state(self, operation: NsLcmOpOcc) -> None:
        if operation.state is not self._known.state:
            self._known.state = operation.state
            facts = {"state": operation.state, "error": operation.error, "hint": operation.hint}
            self._say(f"{operation.operation} {operation.ns_name} {operation.state}", operation, facts)

    def _say(self, words: str, operation: NsLcmOpOcc, facts: Mapping[str, object]) -> None:
        if self._events:
            self._out.event({"operation_id": operation.id, **facts}, words)
        else:
            self._out.note(f"{time.strftime('%H:%M:%S')}  {words}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is not None and self._events and self._out.json:
            self._say_state(self._last)  # for people the command's last line says it


class _Live:
    """A bar for the whole and a line for each step under way; what ended is left above."""

    def __init__(self, out: Output, total: int) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=out.error_console,
            transient=True,
        )
        self._known = _Known(total)
        self._tasks: dict[str, TaskID] = {}
        self._all: TaskID | None = None

    def see(self, operation: NsLcmOpOcc, step: StepRecord | None) -> None:
        news = step is not None and self._known.is_news(step)
        over, total = self._known.over, self._known.total
        title = printable(f"{operation.operation} {operation.ns_name}")
        if operation.state is not OperationState.PROCESSING:
            title += f" {operation.state}"
        if self._all is None:
            self._all = self._progress.add_task(title, total=None, count="")
        self._progress.update(
            self._all, description=title, completed=over, total=total or None, count=f"{over}/{total}" if total else ""
        )
        if step is not None and news:
            self._step(step, operation.ns_id)

    def _step(self, record: StepRecord, service_id: str) -> None:
        from rich.text import Text

        task = self._tasks.pop(record.step.id, None)
        if task is not None:
            self._progress.remove_task(task)
        if record.state in _RUNNING:
            back = "back: " if record.state is StepState.UNDOING else ""
            name = printable(f"  {back}{step_name(record.step, service_id)}")
            again = f"attempt {record.attempt}" if record.attempt > 1 else ""
            self._tasks[record.step.id] = self._progress.add_task(name, total=None, count=again)
        elif record.state in _OVER:
            mark, style = ("✗", "red") if record.state in _BAD else ("✓", "green")
            self._progress.console.print(Text.assemble((f"{mark} ", style), printable(_said(record, service_id))))

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.__exit__(kind, error, tb)


def watcher(out: Output, total: int, *, events: bool = False) -> Watcher:
    """The right one for where the output goes, for an operation of ``total`` steps; ``events`` makes the events
    themselves the result (``op watch``)."""
    if out.stderr.isatty() and not out.json:
        return _Live(out, total)
    return _Lines(out, total, events=events)
