"""The durable queue that operations run on: DBOS behind a port of five calls.

DBOS gives what is easily got wrong: a queue in our own database, one operation at a time per service over all
processes, recovery of what a dead process had begun. Its workflow is one line of work, *run this operation*, with no
steps of its own: those are rows of ours, so a new release resumes what an old one started. The application version is
constant for the same reason, values are portable JSON, and recovery is never given up. DBOS is loaded only by what runs
or submits an operation (0.9 s), says nothing on a terminal, and reaches for no network.

On SQLite one process runs the engine: whoever holds the lock file beside the database, under one fixed executor id, so
that a restart resumes its own work. On PostgreSQL each process has an id of its own and a heartbeat row.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any, Protocol

from manor.errors import StoreError
from manor.lcm.queuelog import hush
from manor.store import worklock
from manor.store.database import IDLE_TRANSACTION_S, sqlite_path, store_errors

if TYPE_CHECKING:
    from dbos import DBOSClient
    from sqlalchemy import Connection

    from manor.store.database import Database

__all__ = ["DbosEngine", "Engine", "QueueEntry", "QueueStatus"]

_APP, _QUEUE, _WORKFLOW = "manor", "lcm", "manor-operation"
_JOURNAL_VERSION = "journal-1"
_TABLES = "queue_tables"
_POLL_S = 0.2
_END_S = 0.1
"""How often the queue looks for notifications. We send none, but who stops working waits until it has looked."""
_OPERATIONS_AT_ONCE = 32


class QueueStatus(StrEnum):
    """What the queue knows of an operation's attempt."""

    WAITING = "waiting"
    RUNNING = "running"
    OVER = "over"
    """Its entry has ended, well or badly, or was never there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueEntry:
    """An attempt as the queue knows it."""

    status: QueueStatus
    worker: str = ""
    """Executor id of who began it."""


class Engine(Protocol):
    """Where operations wait for a worker and are found again after a crash."""

    def prepare(self) -> None:
        """Make the queue ready outside of any transaction; needed before the first :meth:`dispatch`."""
        ...

    def dispatch(self, tx: Connection, operation_id: str, attempt: int, partition: str) -> None:
        """Queue an attempt in the caller's transaction; attempts of one partition run one at a time, in order."""
        ...

    def register_worker(self, work: Callable[[str], object]) -> None:
        """Say what runs an operation, before :meth:`launch`."""
        ...

    def launch(self) -> bool:
        """Become a worker, and resume what this one had begun; False where another process is it (SQLite)."""
        ...

    def takeover(self, live: Sequence[str]) -> int:
        """Queue anew what workers other than the ``live`` had begun; how many that was."""
        ...

    def status(self, operations: Sequence[tuple[str, int]]) -> dict[str, QueueEntry]:
        """By operation id, what became of these attempts."""
        ...

    def close(self) -> None:
        """Stop working; what is not finished stays queued."""
        ...


class DbosEngine:
    """DBOS in the database that also holds the journal. One per process: DBOS is a singleton."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._work: Callable[[str], object] | None = None
        self._client_made: DBOSClient | None = None
        self._lock_file: IO[str] | None = None
        self._launched = False
        self._mutex = threading.RLock()
        self.running: set[str] = set()
        """Ids of the operations that this process is running now."""
        self.executor_id = "manor"
        if not database.is_sqlite:
            self.executor_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"

    def dispatch(self, tx: Connection, operation_id: str, attempt: int, partition: str) -> None:
        """Queue an attempt in the caller's transaction."""
        self._client().enqueue_in_transaction(
            tx,
            {
                "workflow_name": _WORKFLOW,
                "queue_name": _QUEUE,
                "workflow_id": f"{operation_id}:{attempt}",
                "queue_partition_key": partition,
                "app_version": _JOURNAL_VERSION,
            },
            operation_id,
        )

    def register_worker(self, work: Callable[[str], object]) -> None:
        """Say what runs an operation, before :meth:`launch`."""
        self._work = work

    @store_errors()
    def prepare(self) -> None:
        """Make the queue's tables where they are missing; needed before the first :meth:`dispatch`."""
        self._client()

    def launch(self) -> bool:
        """Become a worker; False where another process holds the lock (SQLite)."""
        if self._work is None:
            raise StoreError("no worker is registered with the engine")
        with self._mutex:
            if self._launched:
                return True
            if not self._take_lock():
                return False
            self._client()
            dbos = _quiet_dbos()
            dbos.DBOS(
                config={
                    "name": _APP,
                    "system_database_url": self._database.url,
                    "application_version": _JOURNAL_VERSION,
                    "executor_id": self.executor_id,
                    "serializer": dbos.DBOSPortableJSONSerializer(),
                    "log_level": "WARNING",
                    "use_listen_notify": False,
                    "run_migrations": False,
                    "scheduler_polling_interval_sec": 3600.0,
                    "notification_listener_polling_interval_sec": _END_S,
                    "sys_db_idle_transaction_timeout_sec": IDLE_TRANSACTION_S,
                }
            )

            def run(operation_id: str) -> str:
                return self._run(operation_id)

            dbos.DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)(run)
            dbos.DBOS.listen_queues([_QUEUE])
            try:
                dbos.DBOS.launch()
            except Exception as error:  # its own errors are many; half launched it would refuse the next try
                dbos.DBOS.destroy(destroy_registry=True)
                self._let_go()
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise StoreError(f"the queue cannot start: {reason[0]}", hint="manor doctor") from error
            self._launched = True
            return True

    @store_errors()
    def takeover(self, live: Sequence[str]) -> int:
        """Queue anew what workers other than the ``live`` had begun."""
        begun = self._client().list_workflows(status="PENDING", queue_name=_QUEUE, load_input=False, load_output=False)
        lost = [workflow.workflow_id for workflow in begun if workflow.executor_id not in live]
        if lost:
            # Without its queue's name the workflow would come back outside its partition.
            self._client().resume_workflows(lost, queue_name=_QUEUE)
        return len(lost)

    @store_errors()
    def resume(self, operation_id: str, attempt: int) -> None:
        """Queue anew an attempt that the queue still takes for running."""
        self._client().resume_workflows([f"{operation_id}:{attempt}"], queue_name=_QUEUE)

    @store_errors()
    def status(self, operations: Sequence[tuple[str, int]]) -> dict[str, QueueEntry]:
        """By operation id, what became of these attempts."""
        if not operations:
            return {}
        ids = {f"{operation_id}:{attempt}": operation_id for operation_id, attempt in operations}
        found = dict.fromkeys(ids.values(), QueueEntry(status=QueueStatus.OVER))
        known = {"ENQUEUED": QueueStatus.WAITING, "DELAYED": QueueStatus.WAITING, "PENDING": QueueStatus.RUNNING}
        for workflow in self._client().list_workflows(workflow_ids=list(ids), load_input=False, load_output=False):
            found[ids[workflow.workflow_id]] = QueueEntry(
                status=known.get(workflow.status, QueueStatus.OVER), worker=workflow.executor_id or ""
            )
        return found

    def close(self) -> None:
        """Stop working; what is not finished stays queued. Running operations are to be stopped first."""
        with self._mutex:
            if self._launched:
                _quiet_dbos().DBOS.destroy(destroy_registry=True)
                self._launched = False
            if self._client_made is not None:
                self._client_made.destroy()
                self._client_made = None
            self._let_go()

    def _let_go(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _run(self, operation_id: str) -> str:
        """The workflow. What it returns is for the curious: the journal is the truth."""
        assert self._work is not None
        self.running.add(operation_id)
        try:
            return str(self._work(operation_id))
        finally:
            self.running.discard(operation_id)

    def _take_lock(self) -> bool:
        path = sqlite_path(self._database.url)
        if path is None:
            return True
        self._lock_file = worklock.take(path)
        return self._lock_file is not None

    def _client(self) -> DBOSClient:
        with self._mutex:
            if self._client_made is None:
                dbos = _quiet_dbos()
                self._make_tables(dbos)
                self._client_made = dbos.DBOSClient(
                    system_database_engine=self._database.engine,
                    serializer=dbos.DBOSPortableJSONSerializer(),
                    application_name=_APP,
                    retry_connection_errors=False,  # for ever, and silently: who asks tries again, and says so
                )
                self._client_made.register_queue(
                    _QUEUE,
                    partition_concurrency=1,
                    worker_concurrency=_OPERATIONS_AT_ONCE,
                    polling_interval_sec=_POLL_S,
                    application_name=_APP,
                )
            return self._client_made

    def _make_tables(self, dbos: Any) -> None:
        """The queue's tables as this release of DBOS wants them, made by one node at a time.

        That they are there says little: another node may be making them, or have died over it.
        """
        wanted = importlib.metadata.version("dbos")
        if self._database.fact(_TABLES) == wanted:
            return
        with self._database.alone("manor-queue"):
            if self._database.fact(_TABLES) != wanted:
                dbos.DBOS.migrate(self._database.url)
                self._database.keep_fact(_TABLES, wanted)


def _quiet_dbos() -> Any:
    """DBOS, kept from putting a handler of its own on the terminal; its warnings go where Manor's go."""
    hush("dbos")
    log = logging.getLogger("dbos")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    import dbos

    return dbos
