"""Who called what, how often, how long, how badly: plain numbers that telemetry exports and ``doctor`` reads.

Calls still under way are listed too, because a thread stuck in a driver cannot be killed, only seen.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

__all__ = ["CallCount", "Counters", "InFlight"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallCount:
    """What one verb or hook of one plugin cost so far."""

    count: int = 0
    errors: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class InFlight:
    """A call that has not returned yet. Times are ``time.monotonic`` seconds."""

    plugin: str
    verb: str
    subject: str
    started_s: float
    deadline_s: float | None


class Counters:
    """Thread-safe counts by (plugin, verb)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], CallCount] = {}
        self._in_flight: dict[int, InFlight] = {}
        self._ids = itertools.count()

    @contextmanager
    def timing(self, plugin: str, verb: str, *, subject: str = "", deadline_s: float | None = None) -> Iterator[None]:
        """Count the body as one call; an exception that leaves it counts as an error."""
        started_s = time.monotonic()
        call_id = next(self._ids)
        self._in_flight[call_id] = InFlight(
            plugin=plugin, verb=verb, subject=subject, started_s=started_s, deadline_s=deadline_s
        )
        failed = True
        try:
            yield
            failed = False
        finally:
            seconds = time.monotonic() - started_s
            with self._lock:
                del self._in_flight[call_id]
                old = self._counts.get((plugin, verb), CallCount())
                self._counts[plugin, verb] = replace(
                    old, count=old.count + 1, errors=old.errors + failed, seconds=old.seconds + seconds
                )

    def snapshot(self) -> Mapping[tuple[str, str], CallCount]:
        """All counts as they are now."""
        with self._lock:
            return dict(self._counts)

    def in_flight(self, *, overdue: bool = False) -> tuple[InFlight, ...]:
        """Calls that have not returned; with ``overdue`` only those past their deadline (stuck)."""
        now = time.monotonic()
        with self._lock:
            calls = tuple(self._in_flight.values())
        if not overdue:
            return calls
        return tuple(call for call in calls if call.deadline_s is not None and call.deadline_s < now)
