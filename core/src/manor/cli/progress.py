"""An operation as it goes on: moving bars on a terminal, a line an event elsewhere. Both read nothing but the journal,
so they show the same whether this process does the work or another one does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from manor.cli.output import Output, printable
from manor.cli.render.steps import seconds, step_name
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Watcher", "news", "watcher"]

_RUNNING = frozenset({StepState.INTENDED, StepState.UNDOING})
_OVER = frozenset({StepState.DONE, StepState.SKIPPED, StepState.UNDONE, StepState.FAILED, StepState.UNDO_FAILED})
_BAD = frozenset({StepState.FAILED, StepState.UNDO_FAILED})


class Watcher(Protocol):
    """Is told again and again how an operation stands; entered before the first time and left after the last."""

    def update(self, operation: NsLcmOpOcc, steps: Sequence[StepRecord]) -> None:
        """Show what is new since the last time."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...


def news(known: Mapping[str, tuple[StepState, int]], steps: Sequence[StepRecord]) -> list[StepRecord]:
    """The steps that another state or attempt than the known one, those that ended first."""
    changed = [r for r in steps if known.get(r.step.id, (StepState.PLANNED, 0)) != (r.state, r.attempt)]
    return sorted(changed, key=lambda r: (r.state in _RUNNING, r.ended_s or r.started_s))


def _said(record: StepRecord, service_id: str) -> str:
    """One step's news in a few words."""
    name = step_name(record.step, service_id)
    ran_s = record.ended_s - record.started_s if record.ended_s >= record.started_s > 0 else 0.0
    words = {
        StepState.INTENDED: f"{name} ..." if record.attempt < 2 else f"{name} ... (attempt {record.attempt})",
        StepState.DONE: f"{name} done in {seconds(ran_s)}",
        StepState.SKIPPED: f"{name} skipped",
        StepState.UNDOING: f"{name} is taken back ...",
        StepState.UNDONE: f"{name} taken back",
    }
    if record.state in _BAD:
        what = "failed" if record.state is StepState.FAILED else "could not be taken back"
        return f"{name} {what}: {record.error}" + (f" (hint: {record.hint})" if record.hint else "")
    return words.get(record.state, f"{name} {record.state}")


class _Lines:
    """A line on stderr for each thing that happens; with ``events`` as results on stdout."""

    def __init__(self, out: Output, *, events: bool) -> None:
        self._out = out
        self._events = events
        self._known: dict[str, tuple[StepState, int]] = {}
        self._state: OperationState | None = None

    def update(self, operation: NsLcmOpOcc, steps: Sequence[StepRecord]) -> None:
        ended = sum(record.state in _OVER for record in steps)
        for record in news(self._known, steps):
            self._known[record.step.id] = (record.state, record.attempt)
            count = f"  ({ended}/{len(steps)})" if record.state in _OVER else ""
            self._say(
                f"{_said(record, operation.ns_id)}{count}",
                {
                    "operation_id": operation.id,
                    "step": record.step.id,
                    "state": record.state,
                    "attempt": record.attempt,
                    "started_s": record.started_s,
                    "ended_s": record.ended_s,
                    "error": record.error,
                    "hint": record.hint,
                },
            )
        if operation.state is not self._state:
            self._state = operation.state
            event = {
                "operation_id": operation.id,
                "state": operation.state,
                "error": operation.error,
                "hint": operation.hint,
            }
            self._say(f"{operation.operation} {operation.ns_name} {operation.state}", event)

    def _say(self, words: str, event: Mapping[str, object]) -> None:
        if self._events:
            self._out.event(event, words)
        else:
            self._out.note(f"{time.strftime('%H:%M:%S')}  {words}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _Live:
    """A bar for the whole and a line for each step under way; what ended is left above."""

    def __init__(self, out: Output) -> None:
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
        self._known: dict[str, tuple[StepState, int]] = {}
        self._tasks: dict[str, TaskID] = {}
        self._all: TaskID | None = None

    def update(self, operation: NsLcmOpOcc, steps: Sequence[StepRecord]) -> None:
        from rich.text import Text

        ended = sum(record.state in _OVER for record in steps)
        title = printable(f"{operation.operation} {operation.ns_name}")
        if operation.state is not OperationState.PROCESSING:
            title += f" {operation.state}"
        if self._all is None:
            self._all = self._progress.add_task(title, total=len(steps) or None, count="")
        self._progress.update(self._all, description=title, completed=ended, count=f"{ended}/{len(steps)}")
        for record in news(self._known, steps):
            self._known[record.step.id] = (record.state, record.attempt)
            task = self._tasks.pop(record.step.id, None)
            if task is not None:
                self._progress.remove_task(task)
            if record.state in _RUNNING:
                name = printable(f"  {step_name(record.step, operation.ns_id)}")
                again = f"attempt {record.attempt}" if record.attempt > 1 else ""
                self._tasks[record.step.id] = self._progress.add_task(name, total=None, count=again)
            elif record.state in _OVER:
                mark, style = ("✗", "red") if record.state in _BAD else ("✓", "green")
                line = Text.assemble((f"{mark} ", style), printable(_said(record, operation.ns_id)))
                self._progress.console.print(line)

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.__exit__(kind, error, tb)


def watcher(out: Output, *, events: bool = False) -> Watcher:
    """The right one for where the output goes; ``events`` makes the events themselves the result (``op watch``)."""
    if out.stderr.isatty() and not out.json:
        return _Live(out)
    return _Lines(out, events=events)
