"""Giving way to other threads in long work, as often as they need and no more.

Ryu's threads only take turns when one gives way. On os-ken's, which the system switches by itself, giving way hands the
processor to other processes, and on a busy machine comes back late: done for every rule it took most of the time.
"""

from __future__ import annotations

import time

__all__ = ["Turns"]

_EVERY_S = 0.005
"""As often as Python switches its own threads."""


class Turns:
    """One thread's, for one piece of work."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def give(self) -> None:
        """Let others go on, where this thread has for long enough."""
        if time.monotonic() - self._since >= _EVERY_S:
            time.sleep(0)
            self._since = time.monotonic()
