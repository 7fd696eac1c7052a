"""Two threads inside the same call at the same time, whatever the machine makes of them: no sleep is long enough."""

from __future__ import annotations

import threading

__all__ = ["Meeting"]

_PATIENCE_S = 60.0


class Meeting:
    """The caller of this number, counted from 1, waits until the next one has come too; all others pass."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._count = 0
        self._met = threading.Event()

    def come(self) -> None:
        """One more caller."""
        with self._lock:
            self._count += 1
            mine = self._count
        if mine == self._number:
            self._met.wait(_PATIENCE_S)
        elif mine == self._number + 1:
            self._met.set()
