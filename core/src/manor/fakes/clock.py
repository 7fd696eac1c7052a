"""Time that passes only when told to, so that an hour of retries tests in a millisecond."""

from __future__ import annotations

import threading

__all__ = ["FakeClock"]


class FakeClock:
    """Call it for the time in seconds; give :meth:`sleep` to whoever would wait. Thread-safe."""

    def __init__(self, start_s: float = 1_000.0) -> None:
        self._now_s = start_s
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now_s += seconds

    def sleep(self, seconds: float) -> None:
        """Return at once, ``seconds`` later."""
        self.advance(seconds)
