"""What was measured, kept in a file of its own: a lost minute of KPIs must not cost a service's state, nor the reverse.

One row holds all KPIs of one subject at one time as 32-bit floats, NaN where nothing was measured, with the names
of the columns kept once. That makes a KPI's value cost 4 to 6 bytes instead of some 25 in a row of its own. Older rows
are averaged to minutes, then to quarters of an hour; the greatest value stays beside the mean, so a peak
outlives it.
"""

from __future__ import annotations

import array
import json
import math
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manor.errors import StoreError
from manor.model.kpi import HistoryRow, Series
from manor.store.database import unusable

__all__ = ["LEVELS", "History", "Level", "read", "subjects"]

_BUSY_S = 10.0
_VERSION = 1
_SETS = 1024
"""Sets of columns among which those are looked for that no row has any more."""
_SCHEMA = """
CREATE TABLE subject (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, labels TEXT NOT NULL);
CREATE TABLE kpi_names (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE);
CREATE TABLE kpi_row (
    level INTEGER NOT NULL, subject INTEGER NOT NULL, time_ms INTEGER NOT NULL, names_id INTEGER NOT NULL,
    mean BLOB NOT NULL, peak BLOB,
    PRIMARY KEY (level, subject, time_ms)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One resolution: rows of ``step_s`` (0 as measured), kept for ``keep_s``."""

    step_s: float
    keep_s: float


LEVELS = (
    Level(step_s=0, keep_s=3 * 3600.0),
    Level(step_s=60, keep_s=3 * 86400.0),
    Level(step_s=900, keep_s=60 * 86400.0),
)


class History:
    """An open history; threads of one process may share it. Readers beside it open their own."""

    def __init__(self, connection: sqlite3.Connection, path: Path, levels: Sequence[Level]) -> None:
        self._connection = connection
        self._path = path
        self._levels = tuple(levels)
        self._lock = threading.Lock()
        self._subjects: dict[str, tuple[int, str]] = {}
        self._columns: dict[tuple[str, ...], int] = {}
        self._names_of: dict[int, list[str]] = {}
        self._most_sets = _SETS

    @classmethod
    def open(cls, path: Path, *, levels: Sequence[Level] = LEVELS) -> History:
        """Open for writing, made where it is missing (0600). Raises StoreError where it cannot be."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
            # A lost last second after a power cut is no loss here: NORMAL never corrupts in WAL.
            connection.executescript(
                "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
            )
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise unusable(f"the history {path} cannot be used: {error}", path) from error
        if found not in (0, _VERSION):
            connection.close()
            raise StoreError(f"the history {path} has version {found}", hint="upgrade Manor, or move it away")
        return cls(connection, path, levels)

    def add(self, rows: Iterable[tuple[str, str, Mapping[str, str], float, Mapping[str, float]]]) -> int:
        """Keep rows of (key, kind, labels, seconds since the epoch, values); how many values there were."""
        written = 0
        with self._write() as db:
            for key, kind, labels, time_s, values in rows:
                names = tuple(sorted(values))
                mean = array.array("f", (values[name] for name in names)).tobytes()
                db.execute(
                    "INSERT OR REPLACE INTO kpi_row VALUES (0, ?, ?, ?, ?, NULL)",
                    (self._subject(db, key, kind, labels), round(time_s * 1000), self._names(db, names), mean),
                )
                written += len(names)
        return written

    def tidy(self, now_s: float) -> None:
        """Average what is old enough into the next level, and drop what is too old for its own."""
        for number, (level, below) in enumerate(zip(self._levels[1:], self._levels, strict=False), start=1):
            self._average(number, level, below, now_s)
        with self._write() as db:
            for number, level in enumerate(self._levels):
                db.execute(
                    "DELETE FROM kpi_row WHERE level = ? AND time_ms < ?",
                    (number, round((now_s - level.keep_s) * 1000)),
                )
            db.execute("DELETE FROM subject WHERE id NOT IN (SELECT subject FROM kpi_row)")
            self._forget_sets(db)
            self._subjects.clear()
        with self._lock:
            self._connection.execute("PRAGMA incremental_vacuum(1000)")

    def size_bytes(self) -> int:
        """Room of the file, without its log."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Let go."""
        with self._lock:
            self._connection.close()

    def _average(self, number: int, level: Level, below: Level, now_s: float) -> None:
        """Whole steps that no later row can fall into any more, and that are not there yet."""
        step_ms = round(level.step_s * 1000)
        end_ms = round((now_s - max(level.step_s, 30.0)) * 1000) // step_ms * step_ms
        with self._write() as db:
            for subject in [row[0] for row in db.execute("SELECT id FROM subject").fetchall()]:
                last = db.execute(
                    "SELECT max(time_ms) FROM kpi_row WHERE level = ? AND subject = ?", (number, subject)
                ).fetchone()[0]
                start_ms = (
                    last + step_ms if last is not None else round((now_s - below.keep_s) * 1000) // step_ms * step_ms
                )
                rows = db.execute(
                    "SELECT time_ms, names_id, mean, peak FROM kpi_row "
                    "WHERE level = ? AND subject = ? AND time_ms >= ? AND time_ms < ? ORDER BY time_ms",
                    (number - 1, subject, start_ms, end_ms),
                )
                steps: dict[int, list[Any]] = {}
                for row in rows:
                    steps.setdefault(row[0] // step_ms * step_ms, []).append(row)
                for time_ms, members in steps.items():
                    names, mean, peak = _averaged([self._decoded(db, row) for row in members])
                    db.execute(
                        "INSERT OR REPLACE INTO kpi_row VALUES (?, ?, ?, ?, ?, ?)",
                        (number, subject, time_ms, self._names(db, names), mean, peak),
                    )

    def _forget_sets(self, db: sqlite3.Connection) -> None:
        """Drop the sets of columns that no row has any more, where there are many."""

        def count() -> int:
            return int(db.execute("SELECT count(*) FROM kpi_names").fetchone()[0])

        if count() > self._most_sets:
            db.execute("DELETE FROM kpi_names WHERE id NOT IN (SELECT names_id FROM kpi_row)")
            self._most_sets = max(_SETS, 2 * count())  # to find them every row is read
            self._columns.clear()
            self._names_of.clear()

    def _decoded(self, db: sqlite3.Connection, row: Sequence[Any]) -> tuple[dict[str, float], dict[str, float]]:
        names = self._names_of.get(row[1])
        if names is None:
            text = db.execute("SELECT names FROM kpi_names WHERE id = ?", (row[1],)).fetchone()[0]
            names = self._names_of[row[1]] = json.loads(text)
        return _decode(names, row[2]), _decode(names, row[3] if row[3] is not None else row[2])

    def _subject(self, db: sqlite3.Connection, key: str, kind: str, labels: Mapping[str, str]) -> int:
        text = json.dumps(dict(labels), sort_keys=True)
        known = self._subjects.get(key)
        if known is None or known[1] != text:
            db.execute(
                "INSERT INTO subject (key, kind, labels) VALUES (?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, labels = excluded.labels",
                (key, kind, text),
            )
            number = db.execute("SELECT id FROM subject WHERE key = ?", (key,)).fetchone()[0]
            known = self._subjects[key] = (number, text)
        return known[0]

    def _names(self, db: sqlite3.Connection, names: tuple[str, ...]) -> int:
        if names not in self._columns:
            text = json.dumps(names)
            db.execute("INSERT OR IGNORE INTO kpi_names (names) VALUES (?)", (text,))
            self._columns[names] = db.execute("SELECT id FROM kpi_names WHERE names = ?", (text,)).fetchone()[0]
        return self._columns[names]

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise unusable(f"the history {self._path} cannot be written: {error}", self._path) from error
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        # What was numbered in this transaction is not there any more.
        self._subjects.clear()
        self._columns.clear()
        self._names_of.clear()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


# reading, by any process


def subjects(path: Path) -> tuple[Series, ...]:
    """Everything that the history has rows of, by key."""
    with _reading(path) as db:
        if db is None:
            return ()
        found = db.execute(_SUBJECTS).fetchall()
    return tuple(
        Series(key=key, kind=kind, labels=json.loads(labels), last_s=(last or 0) / 1000)
        for key, kind, labels, last in found
    )


def read(
    path: Path, key: str, *, since_s: float, until_s: float = math.inf, most: int = 5000
) -> tuple[HistoryRow, ...]:
    """Rows of one subject in time: of the finest level that reaches back to ``since_s`` in at most ``most`` rows."""
    span_ms = round(since_s * 1000), round(min(until_s, 1e12) * 1000)
    with _reading(path) as db:
        chosen: Sequence[Any] = ()
        begins_ms = math.inf
        for level in range(len(LEVELS)) if db is not None else ():
            first_ms = db.execute(_FIRST, (level, key)).fetchone()[0]
            if first_ms is None:
                continue
            # A mean stands at the beginning of its time: of what was before the end of that it may know nothing.
            known_ms = max(first_ms + round(LEVELS[level].step_s * 1000), span_ms[0])
            if len(chosen) <= most and known_ms >= begins_ms:
                continue  # no coarser level tells more than what is chosen
            chosen = db.execute(_ROWS, (level, key, *span_ms, most + 1)).fetchall() or chosen
            begins_ms = known_ms
    return tuple(
        HistoryRow(
            time_s=time_ms / 1000,
            values=_decode(json.loads(names), mean),
            peaks=_decode(json.loads(names), peak) if peak is not None else {},
        )
        for time_ms, names, mean, peak in chosen[:most]
    )


_FIRST = "SELECT min(time_ms) FROM kpi_row JOIN subject ON subject.id = kpi_row.subject WHERE level = ? AND key = ?"
_ROWS = """
SELECT time_ms, names, mean, peak FROM kpi_row
JOIN subject ON subject.id = kpi_row.subject JOIN kpi_names ON kpi_names.id = kpi_row.names_id
WHERE level = ? AND key = ? AND time_ms BETWEEN ? AND ? ORDER BY time_ms LIMIT ?
"""
_SUBJECTS = """
SELECT key, kind, labels, (SELECT max(time_ms) FROM kpi_row WHERE kpi_row.subject = subject.id AND level = 0)
FROM subject ORDER BY key
"""


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    if not path.exists() or path.stat().st_size == 0:
        yield None
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as connection:
            # One that is just being made is a database without any table for a moment.
            is_made = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            yield connection if is_made else None
    except sqlite3.Error as error:
        raise unusable(f"the history {path} cannot be read: {error}", path) from error


def _decode(names: Sequence[str], blob: bytes) -> dict[str, float]:
    values = array.array("f")
    values.frombytes(blob)
    return {name: value for name, value in zip(names, values, strict=True) if not math.isnan(value)}


def _averaged(
    members: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
) -> tuple[tuple[str, ...], bytes, bytes]:
    names = tuple(sorted({name for mean, _ in members for name in mean}))
    means, peaks = [], []
    for name in names:
        known = [mean[name] for mean, _ in members if name in mean]
        means.append(math.fsum(known) / len(known))
        peaks.append(max(peak[name] for _, peak in members if name in peak))
    return names, array.array("f", means).tobytes(), array.array("f", peaks).tobytes()
