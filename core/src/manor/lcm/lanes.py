"""What a step runs on: a thread of the process; in a simulation, whatever plays one with time of its own.

A port of two calls, so that thousands of histories with hours of waiting in them can be lived through in a minute, each
the same again by its seed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Lane", "Lanes", "Outbox", "Threads"]


class Lane(Protocol):
    """A running step, as a thread has it."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most so many seconds."""
        ...

    def is_alive(self) -> bool:
        """Whether it is still under way."""
        ...


class Outbox(Protocol):
    """Where lanes leave their results, as a queue has it."""

    def put(self, item: Any) -> None:
        """Leave one."""
        ...

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take one, waiting at most so many seconds. Raises ``queue.Empty``."""
        ...


class Lanes(Protocol):
    """Where lanes come from."""

    def begin(self, name: str, work: Callable[[], None]) -> Lane:
        """Let ``work`` run beside the caller."""
        ...

    def outbox(self) -> Outbox:
        """An empty one."""
        ...


class Threads:
    """Real ones; they do not keep the process from ending."""

    def begin(self, name: str, work: Callable[[], None]) -> Lane:
        """A new thread."""
        thread = threading.Thread(target=work, daemon=True, name=name)
        thread.start()
        return thread

    def outbox(self) -> Outbox:
        """A queue."""
        return queue.SimpleQueue()
