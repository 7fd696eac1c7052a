"""The history of KPIs: what goes in comes out, older rows get coarser and keep their peaks, and a value is cheap."""

import itertools
import math
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from manor.errors import StoreError
from manor.store import history
from manor.store.history import History, Level

T0 = 1_700_000_100.0 // 900 * 900


@pytest.fixture
def kept(tmp_path: Path) -> History:
    return History.open(tmp_path / "history.db")


def fill(kept: History, seconds: float, *, step_s: float = 5.0, key: str = "vm", names: int = 3) -> int:
    return sum(
        kept.add([(key, "vnfc", {"vnf": "fw"}, T0 + i * step_s, {f"kpi{n}": 10.0 * n + i % 7 for n in range(names)})])
        for i in range(int(seconds / step_s))
    )


def test_what_was_measured_is_read_back_and_what_was_not_is_missing(tmp_path: Path, kept: History) -> None:
    kept.add([("vm", "vnfc", {"vnf": "fw"}, T0, {"a": 1.5, "b": math.nan}), ("vm", "vnfc", {}, T0 + 5, {"a": 2.5})])
    rows = history.read(tmp_path / "history.db", "vm", since_s=T0)
    assert [(row.time_s, dict(row.values)) for row in rows] == [(T0, {"a": 1.5}), (T0 + 5, {"a": 2.5})]
    (series,) = history.subjects(tmp_path / "history.db")
    assert (series.key, series.kind, series.last_s) == ("vm", "vnfc", T0 + 5)
    assert stat.S_IMODE(os.stat(tmp_path / "history.db").st_mode) == 0o600


def test_old_rows_become_means_with_their_peak_and_then_go(tmp_path: Path) -> None:
    levels = (Level(step_s=0, keep_s=600), Level(step_s=60, keep_s=3600), Level(step_s=900, keep_s=86400))
    kept = History.open(tmp_path / "h.db", levels=levels)
    now = T0
    for minute in range(120):
        kept.add(
            [("vm", "vnfc", {}, now + s, {"a": 100.0 if (minute, s) == (5, 30) else 1.0}) for s in range(0, 60, 10)]
        )
        now += 60
        kept.tidy(now)
    fine = history.read(tmp_path / "h.db", "vm", since_s=now - 500)
    assert len(fine) == 50
    hour = history.read(tmp_path / "h.db", "vm", since_s=now - 3500)
    assert {later.time_s - row.time_s for row, later in itertools.pairwise(hour)} == {60.0}
    (early,) = [row for row in history.read(tmp_path / "h.db", "vm", since_s=T0) if row.time_s == T0]
    assert early.peaks["a"] == 100.0
    assert early.values["a"] == pytest.approx(1 + 99 / 90)
    few = history.read(tmp_path / "h.db", "vm", since_s=now - 3500, most=20)
    assert len(few) <= 20
    assert few[-1].time_s > now - 1900, "with too many rows a coarser level answers, not the oldest part of a fine one"


def test_of_a_young_machine_all_is_told_that_was_measured(tmp_path: Path, kept: History) -> None:
    for second in range(25, 150, 5):
        kept.add([("vm", "vnfc", {}, T0 + second, {"a": float(second)})])
    kept.tidy(T0 + 200.0)
    rows = history.read(tmp_path / "history.db", "vm", since_s=T0 - 3600)
    assert [row.time_s - T0 for row in rows] == [float(second) for second in range(25, 150, 5)]


def test_tidying_twice_changes_nothing(tmp_path: Path, kept: History) -> None:
    fill(kept, 600)
    kept.tidy(T0 + 700)
    before = history.read(tmp_path / "history.db", "vm", since_s=T0, most=15)
    kept.tidy(T0 + 700)
    assert history.read(tmp_path / "history.db", "vm", since_s=T0, most=15) == before


def test_a_value_costs_a_few_bytes(tmp_path: Path, kept: History) -> None:
    written = fill(kept, 20_000, names=12)
    kept.close()
    size = (tmp_path / "history.db").stat().st_size
    assert size / written < 8.0, f"{size / written:.1f} bytes a value"


def test_columns_that_no_row_has_any_more_are_forgotten(tmp_path: Path) -> None:
    """A guest that names its figures itself may come with others each time."""
    path = tmp_path / "h.db"
    kept = History.open(path, levels=(Level(step_s=0, keep_s=600),))
    for number in range(2500):
        kept.add([("vm", "vnfc", {}, T0 + number, {f"indicator {number}": 1.0})])
        if number % 250 == 249:
            kept.tidy(T0 + number)
    rows = history.read(path, "vm", since_s=T0)
    assert [dict(row.values) for row in rows[-2:]] == [{"indicator 2498": 1.0}, {"indicator 2499": 1.0}]
    kept.close()
    with closing(sqlite3.connect(path)) as db:
        (sets,) = db.execute("SELECT count(*) FROM kpi_names").fetchone()
    assert len(rows) == 601
    assert sets < 1600


def test_one_that_is_just_being_made_has_nothing_yet(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as begun:
        begun.execute("PRAGMA auto_vacuum=INCREMENTAL")
        begun.execute("PRAGMA journal_mode=WAL")
        assert path.stat().st_size > 0
        assert history.subjects(path) == history.read(path, "k", since_s=0.0) == ()
    History.open(path).close()
    assert history.subjects(path) == ()


def test_a_file_that_is_none_is_refused_and_left_alone(tmp_path: Path) -> None:
    bad = tmp_path / "history.db"
    bad.write_bytes(b"this is no database at all, but long enough to look at" * 20)
    with pytest.raises(StoreError, match="cannot be used"):
        History.open(bad)
    assert bad.read_bytes().startswith(b"this is no")
    with pytest.raises(StoreError, match="cannot be read"):
        history.subjects(bad)
    assert history.subjects(tmp_path / "absent.db") == ()
