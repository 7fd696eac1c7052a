"""All that a process needs to have operations done: one object, made from a database and an executor.

With a ``serve`` alive a command submits and watches. With none it becomes the worker itself until its operation rests.
Ctrl-C or SIGTERM leads to :meth:`Worker.close`: nothing further is started, the journal keeps what was begun, and the
next worker resumes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from manor.errors import StoreError
from manor.lcm.apply import Apply, Hung, Progress, Stopped
from manor.lcm.engine import DbosEngine
from manor.lcm.executor import Executor
from manor.lcm.journal import Journal
from manor.lcm.operations import Operations
from manor.lcm.recovery import BEAT_S, LEASE_S, Housekeeper

if TYPE_CHECKING:
    from manor.store.database import Database

__all__ = ["Worker"]

_log = logging.getLogger("manor.lcm")


def _ignore(_progress: Progress) -> None: ...


class Worker:
    """Submits operations, and runs them where no other process does."""

    def __init__(
        self,
        database: Database,
        executor: Executor,
        *,
        parallelism: int = 8,
        on_progress: Callable[[Progress], None] = _ignore,
        moment: Callable[[str, str], None] | None = None,
        grace_s: float = 5.0,
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
        hung: Hung | None = None,
    ) -> None:
        self._database = database
        self._engine = DbosEngine(database)
        self._stopping = threading.Event()
        self._grace_s = grace_s
        self.operations = Operations(database, self._engine)
        self._apply = Apply(
            journal=Journal(database),
            executor=executor,
            parallelism=parallelism,
            grace_s=grace_s,
            on_progress=on_progress,
            moment=moment or (lambda _moment, _step: None),
            stopping=self._stopping,
            hung={} if hung is None else hung,
        )
        self._housekeeper = Housekeeper(database, self._engine, self.operations, beat_s=beat_s, lease_s=lease_s)
        self._works = False

    def start(self) -> bool:
        """Become the worker where none is, and resume what it had begun; whether this process is it now."""
        if self._works:
            return True
        self._engine.register_worker(self._run)
        self._works = self._engine.launch()
        if self._works:
            self._housekeeper.start()
        return self._works

    @property
    def is_working(self) -> bool:
        """Whether this process runs operations."""
        return self._works

    def close(self) -> None:
        """Start nothing further, give running calls a little time, and let go of the queue."""
        self._stopping.set()
        if self._works:
            end = time.monotonic() + 2 * self._grace_s
            while self._engine.running and time.monotonic() < end:
                time.sleep(0.02)
            self._housekeeper.stop()
        self._engine.close()
        self._works = False

    def _run(self, operation_id: str) -> str:
        try:
            return str(self._apply.run(operation_id) or "")
        except StoreError as error:
            # Another worker has it, or nothing can be written: leave the queue's entry as it is, for that one to end or
            # for housekeeping to find. Told of an error the queue would try to write that, for ever.
            _log.info("operation %s stops here: %s", operation_id, error.message)
            raise Stopped from error
