"""Time and concurrency that a seed decides: lanes are greenlets, waiting takes no time, each run is the same again.

One greenlet runs at a time. Where a real thread could be overtaken (around each call into a driver, and while it waits)
the next one to run is drawn by the seed; when all wait, the clock goes to the first that wakes.
"""

from __future__ import annotations

import queue
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import greenlet

__all__ = ["Scheduler"]


class _Task:
    """A lane: a thread to those who wait for it."""

    def __init__(self, scheduler: Scheduler, name: str, work: Callable[[], None]) -> None:
        self.name = name
        self._scheduler = scheduler
        self.greenlet = greenlet.greenlet(work)
        self.wakes: Callable[[], bool] = lambda: True
        self.wake_s = 0.0

    def is_alive(self) -> bool:
        return not self.greenlet.dead

    def join(self, timeout: float | None = None) -> None:
        self._scheduler.wait(lambda: self.greenlet.dead, timeout)


class _Box:
    """A queue whose readers wait in simulated time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if block:
            self._scheduler.wait(lambda: bool(self._items), timeout)
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


class Scheduler:
    """The clock, the lanes (:class:`manor.lcm.lanes.Lanes`) and the dice of one simulated process after another."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now_s = 1_000.0
        self._tasks: list[_Task] = []
        self._current: _Task | None = None

    # what the product is given

    def clock(self) -> float:
        """Seconds of simulated time."""
        return self.now_s

    def begin(self, name: str, work: Callable[[], None]) -> _Task:
        """A new lane; it runs when its turn comes."""
        task = _Task(self, name, work)
        self._tasks.append(task)
        return task

    def outbox(self) -> _Box:
        """An empty one."""
        return _Box(self)

    def sleep(self, seconds: float) -> None:
        """Wait in simulated time."""
        self.wait(lambda: False, seconds)

    def pause(self, event: threading.Event, seconds: float) -> None:
        """Wait for the event, at most so long."""
        self.wait(event.is_set, seconds)

    def turn(self) -> None:
        """Let others overtake, perhaps."""
        if self._current is not None and self.dice.random() < 0.5:
            self.wait(lambda: True, None)

    # the machinery

    def wait(self, wakes: Callable[[], bool], timeout: float | None) -> None:
        """Let others run until it is so, or the time is over."""
        wake_s = float("inf") if timeout is None else self.now_s + timeout
        task = self._current
        if task is not None:
            task.wakes, task.wake_s = wakes, wake_s
            task.greenlet.parent.switch()
            return
        while not wakes() and self.now_s < wake_s:
            ready = [t for t in self._tasks if t.wakes() or t.wake_s <= self.now_s]
            if ready:
                self._run(self.dice.choice(ready))
                continue
            first_s = min((t.wake_s for t in self._tasks), default=float("inf"))
            if min(first_s, wake_s) == float("inf"):
                raise AssertionError("everybody waits for nothing")
            self.now_s = min(first_s, wake_s)

    def _run(self, task: _Task) -> None:
        self._current = task
        try:
            task.greenlet.switch()
        finally:
            self._current = None
        if task.greenlet.dead:
            self._tasks.remove(task)

    def kill(self) -> None:
        """The process dies: what runs in it is no more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task.greenlet:
                task.greenlet.throw(greenlet.GreenletExit)
