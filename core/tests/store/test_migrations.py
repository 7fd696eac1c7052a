"""A database of the oldest release, with data in it, brought to this one: nothing of it is lost, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from manor.model.instance import EndpointKind, NsState, OperationState, PackageKind
from manor.store import endpoints, instances, operations, packages
from manor.store.database import Database
from manor.store.migrations import SCHEMA_VERSION
from manor.testing.postgresql import binaries, new_database, private_postgresql

SCHEMA = Path(__file__).parent / "schema_v1.sql"
FIRST = ("CREATE TABLE manor_ns_instance", "CREATE TABLE manor_operation (")
DATA = Path(__file__).parent / "data_v1.json"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.real, pytest.mark.slow])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "old.db")
        return
    if binaries() is None:
        pytest.skip("needs root and Debian's postgresql package")
    with private_postgresql() as server:
        yield new_database(server)


@pytest.mark.sqlite
def test_data_of_the_oldest_release_is_there_afterwards(url: str) -> None:
    old = Database.connect(url)
    with old.begin() as tx:
        statements = SCHEMA.read_text().split(";\n")
        # PostgreSQL wants what others refer to first.
        for statement in sorted(statements, key=lambda one: not one.strip().startswith(FIRST)):
            lines = [line for line in statement.splitlines() if not line.startswith("--")]
            if any(lines):
                tx.execute(text("\n".join(lines)))
        for table, rows in json.loads(DATA.read_text()).items():
            for row in rows:
                values = {name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in row.items()}
                names = ", ".join(f'"{name}"' for name in values)
                places = ", ".join(f":{name}" for name in values)
                tx.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)
    assert old.schema_version() == 1
    assert old.upgrade() == SCHEMA_VERSION
    old.close()

    database = Database.open(url, create=False)
    with database.read() as tx:
        service = instances.get(tx, "shop")
        assert (service.state, service.parameters) == (NsState.INSTANTIATED, {"greeting": "hello"})
        assert [vnf.name for vnf in instances.vnfs(tx, service.id)] == ["web"]
        state = instances.desired(tx, service.id)
        assert state is not None
        assert [resource.spec.key for resource in state.resources] == ["0a0b0c0d/vol/a"]
        operation = operations.get(tx, "abcdef")
        assert (operation.state, operation.ns_name) == (OperationState.COMPLETED, "shop")
        assert [record.step.id for record in operations.steps(tx, operation.id)] == ["ensure volume 0a0b0c0d/vol/a"]
        assert packages.get(tx, "web", kind=PackageKind.VNF).artifacts == {"vmlinuz": "aa"}
        assert endpoints.get(tx, EndpointKind.VIM, "lab").config == {"uri": "qemu:///system"}
    database.close()
