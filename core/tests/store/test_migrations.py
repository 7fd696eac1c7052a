"""A database of every earlier version, with data in it, brought to this one: nothing of it is lost, on both databases.

``data_v<n>.json`` holds rows as version n wrote them, of what that version brought.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from manor.model.instance import EndpointKind, NsState, OperationState, PackageKind
from manor.store import alarms, endpoints, instances, migrations, notifications, operations, packages, pm
from manor.store.database import Database
from manor.store.migrations import MIGRATIONS, SCHEMA_VERSION

HERE = Path(__file__).parent
FIRST = ("CREATE TABLE manor_ns_instance", "CREATE TABLE manor_operation (")
ON_POSTGRESQL = pytest.param("postgresql", marks=[pytest.mark.real, pytest.mark.slow])


@pytest.fixture(params=["sqlite", ON_POSTGRESQL])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "old.db")
    return str(request.getfixturevalue("new_postgresql"))


def oldest(tx: Connection) -> None:
    """The first release's tables."""
    statements = (HERE / "schema_v1.sql").read_text().split(";\n")
    # PostgreSQL wants what others refer to first.
    for statement in sorted(statements, key=lambda one: not one.strip().startswith(FIRST)):
        lines = [line for line in statement.splitlines() if not line.startswith("--")]
        if any(lines):
            tx.execute(text("\n".join(lines)))


def fill(tx: Connection, version: int) -> None:
    """Rows of what this version brought."""
    file = HERE / f"data_v{version}.json"
    tables: dict[str, list[dict[str, Any]]] = json.loads(file.read_text()) if file.exists() else {}
    for table, rows in tables.items():
        for row in rows:
            values = {name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in row.items()}
            names = ", ".join(f'"{name}"' for name in values)
            places = ", ".join(f":{name}" for name in values)
            tx.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)


@pytest.mark.sqlite
@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_data_of_an_earlier_version_is_there_afterwards(url: str, version: int) -> None:
    with Database.connect(url) as old:
        with old.begin() as tx:
            oldest(tx)
            fill(tx, 1)
            for reached in range(2, version + 1):
                migrations.bring_up(tx, reached - 1, MIGRATIONS[: reached - 1])
                fill(tx, reached)
        assert old.schema_version() == version
        assert old.upgrade() == SCHEMA_VERSION

    with Database.open(url, create=False) as database, database.read() as tx:
        assert database.installation_id == "0123456789ab"
        service = instances.get(tx, "shop")
        assert (service.state, service.parameters) == (NsState.INSTANTIATED, {"greeting": "hello"})
        said = {vnf.name: vnf.information for vnf in instances.vnfs(tx, service.id)}
        assert said == {"web": {}, **({"db": {"vnfInstanceName": "the database"}} if version >= 3 else {})}
        state = instances.desired(tx, service.id)
        assert state is not None
        assert [resource.spec.key for resource in state.resources] == ["0a0b0c0d/vol/a"]
        operation = operations.get(tx, "abcdef")
        assert (operation.state, operation.ns_name) == (OperationState.COMPLETED, "shop")
        assert [record.step.id for record in operations.steps(tx, operation.id)] == ["ensure volume 0a0b0c0d/vol/a"]
        assert packages.get(tx, "web", kind=PackageKind.VNF).artifacts == {"vmlinuz": "aa"}
        assert endpoints.get(tx, EndpointKind.VIM, "lab").config == {"uri": "qemu:///system"}
        assert [one.id for one in alarms.active(tx)] == (["aa11"] if version >= 2 else [])
        assert [one.id for one in alarms.rulings(tx, "aa11")] == (["r1"] if version >= 2 else [])
        assert [one.id for one in notifications.subscriptions(tx)] == (["s1"] if version >= 4 else [])
        assert len(notifications.after(tx, 0)) == (1 if version >= 4 else 0)
        assert [one.id for one in pm.jobs(tx)] == (["j1"] if version >= 5 else [])
        assert [one.id for one in pm.reports(tx, "j1")] == (["p1"] if version >= 5 else [])
        assert [one.value for one in pm.thresholds(tx)] == ([80.0] if version >= 5 else [])


def _shape(database: Database) -> dict[str, object]:
    """Tables with their columns, and indexes with theirs, whatever order or spelling made them."""
    shape: dict[str, object] = {}
    with database.read() as tx:
        found = inspect(tx)
        for table in found.get_table_names():
            if table.startswith("manor_"):
                columns = found.get_columns(table)
                shape[table] = sorted((c["name"], str(c["type"]), c["nullable"], str(c["default"])) for c in columns)
                shape[f"{table} key"] = found.get_pk_constraint(table)["constrained_columns"]
                indexes = found.get_indexes(table)
                shape[f"{table} indexes"] = sorted(
                    (str(i["name"]), tuple(i["column_names"]), bool(i["unique"])) for i in indexes
                )
    return shape


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.sqlite
def test_on_postgresql_too_an_old_database_migrated_is_what_a_new_one_is(postgresql: str) -> None:
    from manor.testing.postgresql import new_database

    with Database.connect(new_database(postgresql)) as old, Database.open(new_database(postgresql)) as new:
        with old.begin() as tx:
            oldest(tx)
        old.upgrade()
        assert _shape(old) == _shape(new)
