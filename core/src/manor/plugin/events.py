"""Telling observers, without ever waiting for them: a thread and a bounded queue each, silence for who keeps failing.

Each has its own, so that one that hangs keeps nothing from the others. Slow counts as failing: what takes longer than
events come would only pile up.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from manor.plugin.calling import Implementation, call_all
from manor.plugin.counters import Counters

__all__ = ["MUTE_AFTER", "QUEUE_SIZE", "SLOW_S", "Observers"]

MUTE_AFTER = 5
QUEUE_SIZE = 1000
SLOW_S = 5.0
"""How long an observer may take over one event."""

_log = logging.getLogger("manor.plugin")

_Item = tuple[str, Implementation, Any]


class Observers:
    """Delivers events to the implementations of event hooks, to each in the order they were emitted."""

    def __init__(
        self,
        implementations: Callable[[str], Sequence[Implementation]],
        counters: Counters,
        *,
        slow_s: float = SLOW_S,
    ) -> None:
        self._implementations = implementations
        self._counters = counters
        self._slow_s = slow_s
        self._lock = threading.Lock()
        self._observers: dict[str, _Observer] = {}
        self.dropped = 0
        """Events that found a queue full, since the start."""

    def emit(self, hook: str, event: Any) -> None:
        """Queue one event for each observer and return at once. Where a queue is full it is dropped and counted."""
        for implementation in self._implementations(hook):
            try:
                self._observer(implementation.candidate.name).queue.put_nowait((hook, implementation, event))
            except queue.Full:
                self.dropped += 1
                if self.dropped == 1:
                    _log.warning("%s is too slow: events for it are dropped", implementation.candidate.name)

    def close(self, timeout_s: float) -> bool:
        """Deliver what is queued, for at most ``timeout_s`` seconds in all. False where observers were still busy."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            observers, self._observers = list(self._observers.values()), {}
        # All are told before any is waited for.
        told = [observer.end() for observer in observers]
        ended = [observer.wait(deadline) for observer in observers]
        return all(told) and all(ended)

    def _observer(self, name: str) -> _Observer:
        with self._lock:
            if name not in self._observers:
                self._observers[name] = _Observer(name, self._counters, self._slow_s)
            return self._observers[name]


class _Observer:
    """One plugin that listens."""

    def __init__(self, name: str, counters: Counters, slow_s: float) -> None:
        self.queue: queue.Queue[_Item | None] = queue.Queue(QUEUE_SIZE)
        self._name = name
        self._counters = counters
        self._slow_s = slow_s
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"manor-observer {name}", daemon=True)
        self._thread.start()

    @property
    def is_muted(self) -> bool:
        return self._failures >= MUTE_AFTER

    def end(self) -> bool:
        """Ask it to end after what is queued; False where even that finds no room."""
        try:
            self.queue.put_nowait(None)
        except queue.Full:
            return False
        return True

    def wait(self, deadline: float) -> bool:
        """Wait for its end; whether it came."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self.queue.get()) is not None:
            hook, implementation, event = item
            if self.is_muted:
                continue
            due = time.monotonic() + self._slow_s
            (outcome,) = call_all(hook, [implementation], {"event": event}, self._counters, deadline_s=due)
            if outcome.error is None and outcome.seconds <= self._slow_s:
                self._failures = 0
                continue
            self._failures += 1
            _log.warning("%s", outcome.error or f"{self._name}: {hook} took {outcome.seconds:.1f} s")
            if self.is_muted:
                _log.warning("%s is muted: %d failures in a row", self._name, self._failures)
