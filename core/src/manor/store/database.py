"""One database and its transactions: SQLite in a private file, or PostgreSQL by URL, with the same code.

SQLite runs in WAL with ``synchronous=FULL``, because an intent lost at power loss is a leaked machine, and every
write begins with ``BEGIN IMMEDIATE``: the driver's default leaves SELECT outside the transaction and loses updates in
silence. Writers of one process queue on a lock, since SQLite's own waiting is unfair. No transaction is held
over a call into a driver.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from enum import IntEnum
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from manor.errors import StoreError
from manor.store import migrations
from manor.store.holder import holder

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = [
    "BUSY_TIMEOUT_S",
    "KEEP_FACT",
    "AtEnd",
    "Database",
    "at_end",
    "must_not_be_lost",
    "normal_url",
    "sqlite_path",
    "store_errors",
    "take_turns",
    "unusable",
]

BUSY_TIMEOUT_S = 30.0
_AGAIN_S = 0.2
_LEAST_BYTES = 1 << 20

IDLE_TRANSACTION_S = 5.0
"""After this PostgreSQL ends a transaction whose client has gone still: a frozen node must not hold the locks that
another needs to take over its work. Ours last milliseconds, none spans a call into a driver."""

KEEP_FACT = """INSERT INTO manor_meta (key, value) VALUES (:key, :value)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value"""

_AT_END = "manor_at_end"


class AtEnd(IntEnum):
    """What a transaction does last, in this order."""

    COUNT_USES = 1
    TELL = 2


def at_end(tx: Connection, turn: AtEnd, deed: Callable[[Connection], None]) -> None:
    """Have this done as the last thing before the transaction commits, equal deeds once.

    It is for what takes a lock that everybody needs: whoever holds that waits for nothing any more, so no two can wait
    for each other, of which PostgreSQL would end one.
    """
    deeds = tx.info[_AT_END]
    if (turn, deed) not in deeds:
        deeds.append((turn, deed))


def take_turns(tx: Connection, what: str) -> None:
    """Be alone with this until the transaction ends. On SQLite a writer is that anyway."""
    from sqlalchemy import text

    if tx.dialect.name == "postgresql":
        tx.execute(text("SELECT pg_advisory_xact_lock(hashtext(:what))"), {"what": what})


def normal_url(url: str | Path) -> str:
    """The database URL in one spelling: a path means SQLite, PostgreSQL goes by psycopg 3.

    Raises StoreError for any other database.
    """
    text = str(url)
    if "://" not in text:
        return f"sqlite:///{Path(text).absolute()}"
    scheme, rest = text.split("://", 1)
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return f"sqlite:///{Path(rest[1:]).absolute()}"
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    raise StoreError(
        f"no such kind of database: {scheme}", hint="set MANOR_DB to a file path or to postgresql://user@host/name"
    )


def sqlite_path(url: str) -> Path | None:
    """The file of a normal SQLite URL, None for PostgreSQL."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def must_not_be_lost(path: Path, version: Callable[[], int | None] | None = None) -> None:
    """Refuse to begin anew in a home that was used: its database is lost, or elsewhere.

    Raises StoreError where there is none at ``path``, or an empty file, beside packages or endpoints; with ``version``
    also where that tells of no schema in it.
    """
    home = path.parent  # looked at first: who has just made both made the database before
    was_used = any(home.glob("packages/[0-9a-f][0-9a-f]")) or any(home.glob("endpoints/*"))
    if was_used and not (path.exists() and path.stat().st_size and (version is None or version() is not None)):
        raise StoreError(
            f"there is no database at {path}, and its home was in use",
            hint="set MANOR_DB where it is elsewhere; else manor db restore FILE, or manor db upgrade for a new one",
        )


def _make_private_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"cannot open the database {path}: {error.strerror}", hint="check MANOR_HOME") from error


class Database:
    """An open database. Threads may share it; close it when done."""

    def __init__(self, engine: Engine, url: str) -> None:
        from sqlalchemy import event

        self.engine = engine
        self.url = url
        self._path = sqlite_path(url)
        self._write_lock = threading.RLock()
        self._installation = ""
        self._is_closed = False
        event.listen(engine, "checkin", self._given_back)

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> Database:
        """Connect, and make an empty database ready where ``create`` allows.

        Raises StoreError where the database cannot be reached, or has another schema version.
        """
        url = normal_url(url)
        path = sqlite_path(url)
        if path is not None:
            if not create and not path.exists():
                raise StoreError(f"there is no database at {path}", hint="manor db upgrade")
            must_not_be_lost(path)
            _make_private_file(path)
        database = cls(_engine(url), url)
        try:
            found = database.schema_version()
            if found is None and create:
                if path is not None:
                    must_not_be_lost(path, database.schema_version)
                database.upgrade()
            else:
                migrations.check(found)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def connect(cls, url: str | Path) -> Database:
        """Connect without looking at the schema: for ``manor db show`` and ``manor db upgrade``."""
        url = normal_url(url)
        path = sqlite_path(url)
        if path is not None:
            _make_private_file(path)
        return cls(_engine(url), url)

    @property
    def is_sqlite(self) -> bool:
        """Whether one process at a time runs the engine here."""
        return self.url.startswith("sqlite:")

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction; committed at the end, rolled back on any exception.

        What was given to :func:`at_end` is done before the commit.
        """
        with store_errors(self._path), self._write_lock if self.is_sqlite else nullcontext(), self.engine.begin() as tx:
            deeds: list[tuple[AtEnd, Callable[[Connection], None]]] = []
            tx.info[_AT_END] = deeds
            yield tx
            for _, deed in sorted(deeds, key=itemgetter(0)):
                deed(tx)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for reading."""
        with store_errors(self._path), self.engine.connect() as connection:
            connection.execution_options(manor_read=True)
            with connection.begin():
                yield connection

    def is_empty(self) -> bool:
        """Whether there is no table in it, of whomever."""
        from sqlalchemy import inspect

        with self.read() as tx:
            found = inspect(tx)
            schemas = [one for one in found.get_schema_names() if one != "information_schema"]
            return not any(found.get_table_names(schema=schema) for schema in schemas)

    def must_be_whole(self) -> None:
        """Read all of a SQLite file, as doctor does; PostgreSQL looks after that itself. Raises StoreError."""
        if self.is_sqlite:
            with self.read() as tx:
                verdict = str(tx.exec_driver_sql("PRAGMA quick_check(1)").scalar())
            if verdict != "ok":
                raise unusable(f"the database is damaged: {verdict.splitlines()[-1]}", self._path)

    def schema_version(self) -> int | None:
        """The schema's version, None for an empty database."""
        with self.read() as tx:
            return _version(tx)

    def upgrade(self) -> int:
        """Bring the schema to this release's version; safe to call from several processes at once."""
        from sqlalchemy import text

        with self.begin() as tx:
            take_turns(tx, "manor-schema")
            found = _version(tx)
            reached = migrations.bring_up(tx, found)
            if found is None:
                tx.execute(text(KEEP_FACT), {"key": "installation_id", "value": uuid.uuid4().hex[:12]})
        return reached

    def fact(self, name: str) -> str:
        """Something that the installation remembers about itself; empty where it does not."""
        with self.read() as tx:
            return _fact(tx, name)

    def keep_fact(self, name: str, value: str) -> None:
        """Remember it from now on."""
        from sqlalchemy import text

        with self.begin() as tx:
            tx.execute(text(KEEP_FACT), {"key": name, "value": value})

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Keep other nodes from doing this meanwhile, over as many transactions as it takes.

        On SQLite nothing needs it: one process at a time is the worker.
        """
        from sqlalchemy import text

        if self.is_sqlite:
            yield
            return
        with store_errors(), self.engine.connect() as connection:
            held = connection.execution_options(isolation_level="AUTOCOMMIT")
            # Asked again and again, because who waits inside a statement holds up indexes that are made concurrently.
            while not held.execute(text("SELECT pg_try_advisory_lock(hashtext(:what))"), {"what": what}).scalar():
                time.sleep(_AGAIN_S)
            try:
                yield
            finally:
                held.execute(text("SELECT pg_advisory_unlock(hashtext(:what))"), {"what": what})

    @property
    def installation_id(self) -> str:
        """12 hexadecimal digits, made with the database; the owner tag is ``manor/<installation id>``."""
        if not self._installation:
            self._installation = self.fact("installation_id")
            if not self._installation:
                raise StoreError("the database has lost whose it is", hint="manor db restore, from a backup")
        return self._installation

    @property
    def owner(self) -> str:
        """The tag on every resource of this installation."""
        return f"manor/{self.installation_id}"

    def close(self) -> None:
        """Let go of every connection; one that a thread still uses goes when that is done with it."""
        self._is_closed = True
        self.engine.dispose()

    def _given_back(self, _connection: Any, record: Any) -> None:
        if self._is_closed:
            record.invalidate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _fact(tx: Connection, name: str) -> str:
    from sqlalchemy import text

    return str(tx.execute(text("SELECT value FROM manor_meta WHERE key = :key"), {"key": name}).scalar() or "")


def _version(tx: Connection) -> int | None:
    """The schema's version, None where there is no table."""
    from sqlalchemy import inspect

    if not inspect(tx).has_table("manor_meta"):
        return None
    if not (found := _fact(tx, "schema_version")):
        raise StoreError("the database does not say which version its tables are of", hint="manor db restore FILE")
    return int(found)


def unusable(message: str, path: Path | None) -> StoreError:
    """What is wrong with a database. SQLite calls a full disk an I/O error, and cannot even read there; and it does not
    say who has locked it."""
    with suppress(OSError):
        if path is not None and shutil.disk_usage(path.parent).free < _LEAST_BYTES:
            hint = "free some space there; nothing that was committed is lost"
            return StoreError(f"{message} (no space is left in {path.parent})", hint=hint)
    if path is not None and "is locked" in message:
        who = holder(path)
        hint = "wait until it is done, or end it" if who else f"see who has it open, and end that: fuser -v {path}*"
        return StoreError(f"{message} by {who}" if who else message, hint=hint)
    return StoreError(message, hint="manor doctor")


@contextmanager
def store_errors(path: Path | None = None) -> Iterator[None]:
    """Turn a database that cannot be used into StoreError; what a caller can act on (IntegrityError) passes.

    ``path`` is the file's, where it is one.
    """
    from sqlalchemy.exc import DBAPIError, IntegrityError
    from sqlalchemy.exc import TimeoutError as NoneFree

    try:
        yield
    except IntegrityError:
        raise
    except NoneFree as error:
        hint = "try again; what is at work goes on by itself"
        raise StoreError("no connection to the database was free in time", hint=hint) from error
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        raise unusable(f"the database cannot be used: {reason}", path) from error


def _engine(url: str) -> Engine:
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import NoSuchModuleError

    if not url.startswith("sqlite:"):
        try:
            engine = create_engine(url, pool_pre_ping=True)
        except (ImportError, NoSuchModuleError) as error:
            raise StoreError("PostgreSQL needs psycopg", hint="pip install 'manor[postgresql]'") from error

        @event.listens_for(engine, "connect")
        def _limit(connection: Any, _record: Any) -> None:
            connection.execute(f"SET idle_in_transaction_session_timeout = {int(IDLE_TRANSACTION_S * 1000)}")
            connection.commit()

        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are ours, see the begin event
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("manor_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
