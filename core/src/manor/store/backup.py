"""A copy of a database that is in use, and the way back: whole or not at all, and never over another database.

On SQLite by its online backup, on PostgreSQL by pg_dump and pg_restore. A restored database is the same installation:
what it knows on the hosts is its own again, and operations that ran when the copy was made are resumed.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from manor.errors import StoreError
from manor.store import migrations, pgdump, worklock
from manor.store.database import Database, normal_url, sqlite_path

__all__ = ["backup", "restore"]

_SQLITE, _POSTGRESQL = b"SQLite format 3\0", b"PGDMP"
_BESIDE = ("-wal", "-shm", "-journal")


def backup(url: str | Path, target: Path) -> int:
    """Copy the database to ``target`` (0600, replaced whole or not at all); its size in bytes.

    Raises StoreError where one of them cannot be read or written.
    """
    url = normal_url(url)
    source = sqlite_path(url)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        if source is None:
            pgdump.dump(url, partial)
        else:
            _copy(source, partial)
        _sync(partial)
        partial.replace(target)
        return target.stat().st_size
    except (OSError, sqlite3.Error) as error:
        what = source or "the database"
        why = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot back up {what} to {target}: {why}", hint="choose another place") from error
    finally:
        partial.unlink(missing_ok=True)


def restore(url: str | Path, source: Path) -> int:
    """Make the empty database that ``url`` names what it was when ``source`` was written, and bring it to this release.

    The schema version that it had. Raises StoreError, with nothing changed, where ``source`` is no backup of this kind
    of database, is damaged or of a newer release, or the database is not empty or in use.
    """
    url = normal_url(url)
    target = sqlite_path(url)
    kind = _kind(source)
    if kind != (_POSTGRESQL if target is None else _SQLITE):
        names = {_SQLITE: "SQLite", _POSTGRESQL: "PostgreSQL"}
        raise StoreError(
            f"{source} is a backup of {names[kind]}, the database is {names[_SQLITE if target else _POSTGRESQL]}",
            hint="name the database with MANOR_DB or --db",
        )
    if target is not None:
        return _restore_file(source, target)
    found = pgdump.version(source)
    _must_be_known(source, found)
    with Database.connect(url) as database:
        if not database.is_empty():
            raise StoreError("the PostgreSQL database is not empty", hint="createdb another, and name it in MANOR_DB")
        pgdump.load(url, source)
        database.upgrade()
    return found


def _kind(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            start = file.read(len(_SQLITE))
    except OSError as error:
        raise StoreError(f"cannot read {source}: {error.strerror}", hint="name a backup's file") from error
    for kind in (_SQLITE, _POSTGRESQL):
        if start.startswith(kind):
            return kind
    raise StoreError(f"{source} is no backup of a database", hint="manor db backup FILE makes one")


def _must_be_known(source: Path, found: int | None) -> None:
    if found is None:
        raise StoreError(f"{source} is no backup of Manor's database", hint="manor db backup FILE makes one")
    if found > migrations.SCHEMA_VERSION:
        migrations.check(found)


def _restore_file(source: Path, target: Path) -> int:
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    lock = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = worklock.take(target)
        if lock is None:
            raise StoreError(f"a process works on {target}", hint="stop manor serve")
        for path in (target, *(target.with_name(f"{target.name}{end}") for end in _BESIDE)):
            if path.exists():
                what = "is there already" if path.stat().st_size else "is there already, though empty"
                raise StoreError(f"{path} {what}", hint=f"stop manor serve, then move it away: {path}")
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(source, partial)
        found = _version(partial)
        _must_be_known(source, found)
        assert found is not None
        with Database.connect(partial) as database:
            database.upgrade()
        _sync(partial)
        os.link(partial, target)  # where somebody made one meanwhile, theirs stays
        return found
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot restore {source} to {target}: {error}", hint="is the file whole?") from error
    finally:
        for end in ("", *_BESIDE):
            partial.with_name(f"{partial.name}{end}").unlink(missing_ok=True)
        if lock is not None:
            lock.close()


def _copy(source: Path, target: Path) -> None:
    """Copy a SQLite database, be it in use. Raises sqlite3.Error."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")  # one file, to be read from any place


def _version(path: Path) -> int | None:
    """The schema's version; None where this is not Manor's. Raises sqlite3.Error where it is damaged."""
    with closing(sqlite3.connect(path)) as database:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict).splitlines()[-1])
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'manor_meta'").fetchone():
            return None
        row = database.execute("SELECT value FROM manor_meta WHERE key = 'schema_version'").fetchone()
        return int(row[0]) if row else None


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
