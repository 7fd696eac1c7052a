"""A backup is restored whole into an empty place, or not at all and in words."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from manor.errors import StoreError
from manor.model.instance import Endpoint, EndpointKind
from manor.store import endpoints
from manor.store.backup import backup, restore
from manor.store.database import Database
from manor.store.migrations import SCHEMA_VERSION

LAB = Endpoint(kind=EndpointKind.VIM, name="lab", driver="fake", config={"a": "b"})


def _refused(place: Path, source: Path, why: str) -> None:
    before = {path: path.read_bytes() for path in place.parent.iterdir()} if place.parent.exists() else {}
    with pytest.raises(StoreError, match=why):
        restore(place, source)
    after = {path: path.read_bytes() for path in place.parent.iterdir() if path.suffix != ".lock"}
    assert after == {path: content for path, content in before.items() if path.suffix != ".lock"}


@pytest.mark.sqlite
def test_a_file_in_use_is_copied_and_restored(tmp_path: Path) -> None:
    old, new, copy = tmp_path / "old" / "m.db", tmp_path / "new" / "m.db", tmp_path / "copy.db"
    with Database.open(old) as database, database.begin() as tx:
        endpoints.add(tx, LAB)
        assert backup(old, copy) == copy.stat().st_size  # while it is being written; that is not in it
    backup(old, copy)
    assert list(tmp_path.glob(".*")) == []
    assert restore(new, copy) == SCHEMA_VERSION
    with Database.open(new, create=False) as database:
        with database.read() as tx:
            assert endpoints.get(tx, EndpointKind.VIM, "lab").config == {"a": "b"}
        with Database.open(old) as other:
            assert database.installation_id == other.installation_id
    assert new.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in new.parent.iterdir()) == ["m.db", "m.db.lock"]


@pytest.mark.sqlite
def test_what_cannot_be_restored_changes_nothing(tmp_path: Path) -> None:
    place, copy = tmp_path / "home" / "m.db", tmp_path / "copy.db"
    Database.open(tmp_path / "old.db").close()
    backup(tmp_path / "old.db", copy)

    restore(place, copy)
    _refused(place, copy, "is there already$")
    place.rename(tmp_path / "away.db")
    place.touch()
    _refused(place, copy, "is there already, though empty")
    place.unlink()
    place.with_name("m.db-wal").write_bytes(b"left by a process that died")
    _refused(place, copy, "m.db-wal is there already")
    place.with_name("m.db-wal").unlink()

    _refused(place, tmp_path / "nothing.db", "cannot read")
    (tmp_path / "text").write_text("hello")
    _refused(place, tmp_path / "text", "no backup of a database")
    (tmp_path / "dump").write_bytes(b"PGDMP and so on")
    _refused(place, tmp_path / "dump", "is a backup of PostgreSQL, the database is SQLite")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (a)")
    _refused(place, tmp_path / "other.db", "no backup of Manor's database")

    whole = copy.read_bytes()
    (tmp_path / "torn.db").write_bytes(whole[: len(whole) // 2])
    _refused(place, tmp_path / "torn.db", "cannot restore")
    with closing(sqlite3.connect(copy)) as newer, newer:
        newer.execute("UPDATE manor_meta SET value = '99' WHERE key = 'schema_version'")
    _refused(place, copy, "schema version 99, this release knows only")


@pytest.mark.sqlite
def test_a_backup_by_an_older_release_is_brought_to_this_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    schema = (Path(__file__).parent / "schema_v1.sql").read_text()
    with closing(sqlite3.connect(old)) as database, database:
        database.executescript(schema)
        database.execute("INSERT OR REPLACE INTO manor_meta VALUES ('schema_version', '1')")
        database.execute("INSERT OR REPLACE INTO manor_meta VALUES ('installation_id', 'abc')")
    assert restore(new, old) == 1
    with Database.open(new, create=False) as restored:
        assert restored.installation_id == "abc"


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.sqlite
def test_postgresql_is_copied_and_restored(postgresql: str, tmp_path: Path) -> None:
    from manor.testing.postgresql import new_database

    old, new, copy = new_database(postgresql), new_database(postgresql), tmp_path / "copy.dump"
    with Database.open(old) as database:
        with database.begin() as tx:
            endpoints.add(tx, LAB)
        assert backup(old, copy) == copy.stat().st_size
        assert copy.stat().st_mode & 0o077 == 0
    with pytest.raises(StoreError, match="is a backup of PostgreSQL, the database is SQLite"):
        restore(tmp_path / "m.db", copy)
    with pytest.raises(StoreError, match="not empty"):
        restore(old, copy)
    assert restore(new, copy) == SCHEMA_VERSION
    with Database.open(new, create=False) as database, database.begin() as tx:
        assert endpoints.get(tx, EndpointKind.VIM, "lab").config == {"a": "b"}
        from sqlalchemy import text

        tx.execute(text("UPDATE manor_meta SET value = '99' WHERE key = 'schema_version'"))
    backup(new, copy)
    empty = new_database(postgresql)
    with pytest.raises(StoreError, match="schema version 99, this release knows only"):
        restore(empty, copy)
    whole = copy.read_bytes()
    copy.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError):
        restore(empty, copy)
    with Database.connect(empty) as database:
        assert database.is_empty()
