"""The schema's version, and the way from an older one to this one.

Forward only, a numbered list of functions, all in one transaction with the version they reach. Alembic was weighed:
it would add two packages and 0.2 s to the first command for its autogeneration, which a handful of tables does not
need, and it cannot run inside the transaction that also checks the version. A fresh database is made from the tables
as they are now; a test holds that and the migrated schema equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from manor.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "bring_up", "check"]

Migration = Callable[["Connection"], None]


def _alarms(tx: Connection) -> None:
    """Version 2: alarms, and what was decided about them."""
    from sqlalchemy import text

    for statement in (
        "CREATE TABLE manor_alarm (id VARCHAR NOT NULL, fault VARCHAR NOT NULL, ns_id VARCHAR NOT NULL, "
        "raised_s FLOAT NOT NULL, cleared_s FLOAT NOT NULL, record JSON NOT NULL, PRIMARY KEY (id))",
        "CREATE UNIQUE INDEX manor_alarm_fault ON manor_alarm (fault) WHERE cleared_s = 0",
        "CREATE INDEX manor_alarm_raised ON manor_alarm (raised_s, id)",
        "CREATE TABLE manor_ruling (id VARCHAR NOT NULL, alarm_id VARCHAR NOT NULL, time_s FLOAT NOT NULL, "
        "operation_id VARCHAR NOT NULL, record JSON NOT NULL, PRIMARY KEY (id))",
        "CREATE INDEX manor_ruling_time ON manor_ruling (time_s)",
        "CREATE INDEX manor_ruling_alarm ON manor_ruling (alarm_id, time_s)",
    ):
        tx.execute(text(statement))


def _vnf_information(tx: Connection) -> None:
    """Version 3: what operators say of a VNF."""
    from sqlalchemy import text

    tx.execute(text("ALTER TABLE manor_vnf_instance ADD COLUMN information JSON DEFAULT '{}' NOT NULL"))


def _notifications(tx: Connection) -> None:
    """Version 4: what happened, and who is told of it."""
    from sqlalchemy import text

    number = "SERIAL PRIMARY KEY" if tx.dialect.name == "postgresql" else "INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL"
    for statement in (
        f"CREATE TABLE manor_notification (seq {number}, type VARCHAR NOT NULL, time_s FLOAT NOT NULL, "
        "ns_id VARCHAR NOT NULL, body JSON NOT NULL)",
        "CREATE INDEX manor_notification_time ON manor_notification (time_s)",
        "CREATE TABLE manor_subscription (id VARCHAR NOT NULL, callback_uri VARCHAR NOT NULL, types JSON NOT NULL, "
        "ns_id VARCHAR NOT NULL, secret_file VARCHAR NOT NULL, created_s FLOAT NOT NULL, cursor INTEGER NOT NULL, "
        "failures INTEGER NOT NULL, error VARCHAR NOT NULL, PRIMARY KEY (id))",
    ):
        tx.execute(text(statement))


def _performance(tx: Connection) -> None:
    """Version 5: PM jobs, their reports, and thresholds."""
    from sqlalchemy import text

    for statement in (
        "CREATE TABLE manor_pm_job (id VARCHAR NOT NULL, created_s FLOAT NOT NULL, record JSON NOT NULL, "
        "PRIMARY KEY (id))",
        "CREATE TABLE manor_pm_report (id VARCHAR NOT NULL, job_id VARCHAR NOT NULL, time_s FLOAT NOT NULL, "
        "record JSON NOT NULL, PRIMARY KEY (id))",
        "CREATE INDEX manor_pm_report_job ON manor_pm_report (job_id, time_s)",
        "CREATE TABLE manor_threshold (id VARCHAR NOT NULL, created_s FLOAT NOT NULL, record JSON NOT NULL, "
        "PRIMARY KEY (id))",
    ):
        tx.execute(text(statement))


MIGRATIONS: Sequence[Migration] = (_alarms, _vnf_information, _notifications, _performance)
"""The first one leads from version 1 to 2, and so on. Each must work on SQLite and on PostgreSQL."""

SCHEMA_VERSION = 1 + len(MIGRATIONS)


def check(found: int | None, wanted: int = SCHEMA_VERSION) -> None:
    """Raise StoreError where a database of version ``found`` (None: empty) cannot be used as it is."""
    if found is None:
        raise StoreError("the database is empty", hint="manor db upgrade")
    if found < wanted:
        raise StoreError(
            f"the database has schema version {found}, this release needs {wanted}", hint="manor db upgrade"
        )
    if found > wanted:
        raise StoreError(
            f"the database has schema version {found}, this release knows only {wanted}", hint="upgrade Manor"
        )


def bring_up(tx: Connection, found: int | None, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Create or migrate within the caller's transaction; return the version reached."""
    from sqlmodel import SQLModel

    from manor.store import tables  # registers the tables

    wanted = 1 + len(migrations)
    if found is None:
        ours = [table for table in SQLModel.metadata.sorted_tables if table.name.startswith("manor_")]
        SQLModel.metadata.create_all(tx, tables=ours)
        tx.execute(tables.Meta.__table__.insert().values(key="schema_version", value=str(wanted)))
        return wanted
    if found > wanted:
        check(found, wanted)
    for migrate in migrations[found - 1 :]:
        migrate(tx)
    tx.execute(tables.Meta.__table__.update().where(tables.Meta.key == "schema_version").values(value=str(wanted)))
    return wanted
