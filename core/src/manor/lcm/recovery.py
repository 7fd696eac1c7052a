"""Housekeeping of a worker: beat, take over from the dead, and mend what the queue lost track of.

The journal is the truth. An operation that it says is at work, and that the queue knows nothing of any more (its entry
ended in an error, or was removed by hand), is queued anew; so is one that the queue takes for running in this process
though it is not: it stopped when the database was away. One that a silent node had begun is resumed by whoever notices
first.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import TYPE_CHECKING

from manor.errors import StoreError
from manor.lcm.engine import DbosEngine, QueueStatus
from manor.lcm.operations import Operations

if TYPE_CHECKING:
    from manor.store.database import Database

__all__ = ["BEAT_S", "LEASE_S", "Housekeeper"]

BEAT_S = 1.0
LEASE_S = 3.0
"""How long a node may be silent before its work is taken over."""

_log = logging.getLogger("manor.lcm")


class Housekeeper:
    """One thread beside a worker."""

    def __init__(
        self,
        database: Database,
        engine: DbosEngine,
        operations: Operations,
        *,
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
    ) -> None:
        self._database = database
        self._engine = engine
        self._operations = operations
        self._beat_s = beat_s
        self._lease_s = lease_s
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._missed: set[str] = set()
        """Operations that ran nowhere in the last round: the queue may just have been handing them over."""

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread = threading.Thread(target=self._loop, daemon=True, name="manor-housekeeping")
        self._thread.start()

    def stop(self) -> None:
        """End, and tell the other nodes that this one leaves."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(5.0)
        if not self._database.is_sqlite:
            from manor.store import workers

            try:
                with self._database.begin() as tx:
                    workers.sign_off(tx, self._engine.executor_id)
            except StoreError:
                pass  # the lease says it a little later

    def round(self) -> None:
        """Once through all of it. Raises StoreError where the database is away."""
        if not self._database.is_sqlite:
            self._take_over()
        self._mend()

    def _loop(self) -> None:
        is_away = False
        while not self._end.is_set():
            try:
                self.round()
                if is_away:
                    _log.info("the database is back")
                is_away = False
            except StoreError as error:
                if not is_away:  # for a node's log; a command ends with it, and says so itself
                    _log.info("waiting for the database: %s", error.message)
                is_away = True
            except Exception:  # the queue's own errors are many; a worker without housekeeping is worse than a log line
                _log.exception("housekeeping failed this round")
            self._end.wait(self._beat_s)

    def _take_over(self) -> None:
        from sqlalchemy import text

        from manor.store import workers

        with self._database.begin() as tx:
            workers.beat(tx, self._engine.executor_id, f"{socket.gethostname()} pid {os.getpid()}")
        with self._database.begin() as tx:
            # One node at a time, or two would resume the same work and the second reset what the first began.
            if tx.execute(text("SELECT pg_try_advisory_xact_lock(hashtext('manor-takeover'))")).scalar():
                taken = self._engine.takeover(workers.live(tx, self._lease_s))
                if taken:
                    _log.info("took over %d operations of nodes that fell silent", taken)

    def _mend(self) -> None:
        from manor.store import operations

        with self._database.read() as tx:
            at_work = {operation.id: operation.attempt for operation in operations.at_work(tx)}
        suspects = {name: attempt for name, attempt in at_work.items() if name not in self._engine.running}
        missed: set[str] = set()
        for name, entry in self._engine.status(list(suspects.items())).items():
            if entry.status is QueueStatus.OVER:
                if self._operations.dispatch_again(name, suspects[name]):
                    _log.info("operation %s had fallen out of the queue and is back in it", name)
            elif entry.status is QueueStatus.RUNNING and entry.worker == self._engine.executor_id:
                if name in self._missed and name not in self._engine.running:
                    self._engine.resume(name, suspects[name])
                    _log.info("operation %s had lost its thread and is back in the queue", name)
                else:
                    missed.add(name)
        self._missed = missed
