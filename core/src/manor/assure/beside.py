"""Slow questions beside the loop: an agent that hangs for seconds must not hold up what is measured.

One round at a time runs in a thread of its own. What it brought is good for two periods, and then missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from manor.telemetry.kpis import KpiRow, Subject

__all__ = ["Answers", "Beside"]

Answers = Mapping[str, Mapping[str, float]]
"""KPIs by the key of their subject."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heard:
    values: Mapping[str, float]
    until_s: float


class Beside:
    """One thread at a time calls it."""

    def __init__(self, name: str, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[str, _Heard] = {}
        self._next_s = 0.0
        self._round: Future[None] | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self.closing = threading.Event()
        """Set when what is under way should end early."""

    def is_due(self) -> bool:
        """Whether the period is over and the last round has ended."""
        return self._clock() >= self._next_s and (self._round is None or self._round.done())

    def begin(self, ask: Callable[[], Answers], period_s: float) -> None:
        """Begin a round where one is due. Does not wait; what the last one raised is raised here, once."""
        failed = self._round.exception() if self._round is not None else None
        self._next_s = self._clock() + period_s
        self._round = self._pool.submit(self._ask, ask, period_s)
        if failed is not None:
            raise failed

    def wait(self, timeout_s: float) -> None:
        """Until the round that runs, if any, has ended."""
        if self._round is not None:
            self._round.result(timeout_s)

    def add_to(self, rows: Sequence[KpiRow], subjects: Iterable[Subject], now_s: float) -> list[KpiRow]:
        """The rows with what was heard of these subjects, which need not have one; what was measured goes before it."""
        with self._lock:
            self._heard = {key: heard for key, heard in self._heard.items() if heard.until_s > now_s}
            known = self._heard
        by_key = {row.subject.key: row for row in rows}
        for subject in subjects:
            if heard := known.get(subject.key):
                row = by_key.get(subject.key) or KpiRow(subject=subject, time_s=now_s, values={})
                by_key[subject.key] = replace(row, values={**heard.values, **row.values})
        return list(by_key.values())

    def close(self) -> None:
        """Begin no more rounds, and let the present one end early."""
        self.closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, ask: Callable[[], Answers], period_s: float) -> None:
        answers = ask()
        until_s = self._clock() + 2 * period_s
        with self._lock:
            new = {key: _Heard(values=values, until_s=until_s) for key, values in answers.items()}
            self._heard = {**self._heard, **new}
