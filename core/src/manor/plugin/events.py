"""Telling observers, without ever waiting for them: one thread, a bounded queue, and silence for who keeps failing."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from manor.plugin.calling import Implementation, call_all
from manor.plugin.counters import Counters

__all__ = ["MUTE_AFTER", "QUEUE_SIZE", "Observers"]

MUTE_AFTER = 5
QUEUE_SIZE = 1000

_log = logging.getLogger("manor.plugin")


class Observers:
    """Delivers events to the implementations of event hooks, in the order they were emitted."""

    def __init__(self, implementations: Callable[[str], Sequence[Implementation]], counters: Counters) -> None:
        self._implementations = implementations
        self._counters = counters
        self._queue: queue.Queue[tuple[str, Any] | None] = queue.Queue(QUEUE_SIZE)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failures: dict[str, int] = {}
        self.dropped = 0
        """Events that found the queue full, since the start."""

    @property
    def muted(self) -> frozenset[str]:
        """Plugins that are told nothing more, having failed MUTE_AFTER times in a row."""
        return frozenset(name for name, count in self._failures.items() if count >= MUTE_AFTER)

    def emit(self, hook: str, event: Any) -> None:
        """Queue one event and return at once. With the queue full the event is dropped and counted."""
        if not self._implementations(hook):
            return
        self._start()
        try:
            self._queue.put_nowait((hook, event))
        except queue.Full:
            self.dropped += 1
            if self.dropped == 1:
                _log.warning("observers are too slow: events are being dropped")

    def close(self, timeout_s: float) -> bool:
        """Deliver what is queued, for at most ``timeout_s`` seconds. False where observers were still busy."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return True
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return False
        thread.join(timeout_s)
        return not thread.is_alive()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="manor-observers", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            hook, event = item
            listening = [i for i in self._implementations(hook) if i.candidate.name not in self.muted]
            for outcome in call_all(hook, listening, {"event": event}, self._counters):
                if outcome.error is None:
                    self._failures.pop(outcome.plugin, None)
                    continue
                failures = self._failures.get(outcome.plugin, 0) + 1
                self._failures[outcome.plugin] = failures
                _log.warning("%s", outcome.error)
                if failures == MUTE_AFTER:
                    _log.warning("%s is muted: %d failures in a row", outcome.plugin, failures)
