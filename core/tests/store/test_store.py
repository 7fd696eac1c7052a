"""What the store promises: private, durable, one active operation a service, and clear refusals."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, QueuePool, create_engine, event, text

from manor.api import Finding, OperationKind, Plan, Severity, Step, Undo, Verb
from manor.cli.find import find_operation
from manor.cli.session import Session
from manor.errors import StoreError, UsageError
from manor.model.instance import (
    CancelMode,
    Endpoint,
    EndpointKind,
    NsInstance,
    NsLcmOpOcc,
    NsState,
    OnFailure,
    OperationState,
    PackageInfo,
    PackageKind,
    StepState,
    UsageState,
    VnfInstance,
)
from manor.model.notification import Subscription
from manor.store import endpoints, instances, notifications, operations, packages, reading, rows
from manor.store.database import Database, normal_url
from manor.store.migrations import SCHEMA_VERSION


@pytest.fixture
def database(tmp_path: Path):
    database = Database.open(tmp_path / "state" / "manor.db")
    yield database
    database.close()


def ns(number: int = 1) -> NsInstance:
    return NsInstance(id=f"{number:08x}", name=f"svc-{number:05}", nsd_id="nsd", nsd_package="pkg", flavour_id="f")


def vnf(number: int = 1, *, of: int = 1) -> VnfInstance:
    return VnfInstance(
        id=f"{of:08x}/vnf/v{number}",
        name=f"v{number}",
        ns_id=f"{of:08x}",
        profile_id="p",
        index=0,
        vnfd_id="fw",
        flavour_id="f",
        vnfm="generic",
        scale_levels={"a": 1},
    )


def running(tx: Connection, service: NsInstance, *vnfs: VnfInstance) -> None:
    """A service that has these VNFs."""
    instances.add(tx, service)
    instances.become(tx, service.id, service.state, None, [rows.vnf_values(one) for one in vnfs])


def operation(number: int = 1, *, of: int = 1, state: OperationState = OperationState.PROCESSING) -> NsLcmOpOcc:
    return NsLcmOpOcc(
        id=f"{number:012x}",
        ns_id=f"{of:08x}",
        ns_name="svc",
        operation=OperationKind.INSTANTIATE,
        state=state,
        on_failure=OnFailure.HOLD,
        start_s=float(number),
        state_entered_s=1.0,
        is_at_work=True,
        cancel_mode=CancelMode.GRACEFUL,
        params={"x": 1},
        orphans=("k",),
    )


PLAN = Plan(
    operation=OperationKind.INSTANTIATE,
    service_id="00000001",
    service_name="svc",
    steps=(
        Step(id="a", verb=Verb.ENSURE, kind="node", key="k", endpoint="vim:x", spec={"kind": "node"}, undo=Undo.REMOVE),
        Step(id="b", verb=Verb.VERIFY, kind="node", key="k", endpoint="vim:x", depends_on=("a",)),
    ),
    notes=("note",),
    unchanged=("u",),
    placement={"k": "x/h"},
)


@pytest.mark.sqlite
def test_the_file_is_private_and_durable(database: Database) -> None:
    path = Path(database.url.removeprefix("sqlite:///"))
    for name in (path, path.with_name(f"{path.name}-wal")):
        assert stat.S_IMODE(name.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with database.read() as tx:
        assert tx.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert tx.execute(text("PRAGMA synchronous")).scalar() == 2
        assert tx.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_an_installation_keeps_its_id(database: Database) -> None:
    again = Database.open(database.url)
    assert again.installation_id == database.installation_id
    assert again.owner == f"manor/{database.installation_id}"
    again.close()


def test_a_database_that_lost_its_version_does_not_become_another_installation(database: Database) -> None:
    with database.begin() as tx:
        tx.execute(text("DELETE FROM manor_meta WHERE key = 'schema_version'"))
    with pytest.raises(StoreError, match="does not say which version"):
        database.upgrade()
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM manor_meta WHERE key = 'installation_id'")).scalar() == 1


@pytest.mark.sqlite
def test_urls_and_paths(tmp_path: Path) -> None:
    assert normal_url(tmp_path / "a.db") == f"sqlite:///{tmp_path}/a.db"
    assert normal_url(f"sqlite:///{tmp_path}/a.db") == f"sqlite:///{tmp_path}/a.db"
    assert normal_url("postgresql://u@h/d") == "postgresql+psycopg://u@h/d"
    with pytest.raises(StoreError, match="no such kind of database: mysql"):
        normal_url("mysql://h/d")


def test_a_database_of_another_version_is_refused_by_name(database: Database) -> None:
    for version, hint in (("0", "manor db upgrade"), ("999", "upgrade Manor")):
        with database.begin() as tx:
            tx.execute(text("UPDATE manor_meta SET value = :v WHERE key = 'schema_version'"), {"v": version})
        for attempt in (Database.open, reading.ns_instances):
            with pytest.raises(StoreError, match=f"schema version {version}") as refused:
                attempt(database.url)
            assert refused.value.hint == hint


@pytest.mark.sqlite
def test_what_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "manor.db"
    path.write_text("hello, I am not a database, although I am long enough to look like one" * 20)
    for attempt in (Database.open, reading.ns_instances):
        with pytest.raises(StoreError, match="database"):
            attempt(path)
    with pytest.raises(StoreError, match="no database at"):
        Database.open(tmp_path / "none.db", create=False)


@pytest.mark.sqlite
def test_that_no_connection_is_free_is_said_as_that_of_a_database(tmp_path: Path) -> None:
    Database.open(tmp_path / "manor.db").close()
    url = f"sqlite:///{tmp_path / 'manor.db'}"
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05)
    refused = pytest.raises(StoreError, match="no connection to the database was free")
    with Database(engine, url) as small, small.read(), refused, small.read():
        pass


@pytest.mark.sqlite
def test_migrations_run_in_order_in_one_transaction(database: Database) -> None:
    from manor.store import migrations

    def add_table(tx):
        tx.execute(text("CREATE TABLE manor_new (id TEXT)"))

    def fail(tx):
        tx.execute(text("DROP TABLE manor_new"))
        raise RuntimeError

    now = [*migrations.MIGRATIONS, add_table]
    with database.begin() as tx:
        assert migrations.bring_up(tx, SCHEMA_VERSION, now) == SCHEMA_VERSION + 1
    assert database.schema_version() == SCHEMA_VERSION + 1
    with pytest.raises(RuntimeError), database.begin() as tx:
        migrations.bring_up(tx, SCHEMA_VERSION + 1, [*now, fail])
    assert database.schema_version() == SCHEMA_VERSION + 1
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM manor_new")).scalar() == 0


def _shape(path: Path) -> dict[str, object]:
    """Tables with their columns, and indexes with theirs, whatever order or spelling made them."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name LIKE 'manor%'").fetchall()
        shape: dict[str, object] = {}
        for kind, name, sql in names:
            if kind == "table":
                columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
                shape[name] = sorted((column[1], column[2], column[3], column[5]) for column in columns)
            else:
                where = sql.partition(" WHERE ")[2] if sql else ""
                columns = connection.execute(f"PRAGMA index_info({name})").fetchall()
                shape[name] = ([column[2] for column in columns], "UNIQUE" in (sql or ""), where)
        return shape


@pytest.mark.sqlite
def test_an_old_database_migrated_is_what_a_new_one_is(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript((Path(__file__).parent / "schema_v1.sql").read_text())
    old = Database.connect(tmp_path / "old.db")
    assert old.upgrade() == SCHEMA_VERSION
    old.close()
    new = Database.open(tmp_path / "new.db")
    new.close()
    Database.open(tmp_path / "old.db", create=False).close()
    assert _shape(tmp_path / "old.db") == _shape(tmp_path / "new.db")


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_once_agree(tmp_path: Path) -> None:
    code = "import sys; from manor.store.database import Database; print(Database.open(sys.argv[1]).installation_id)"
    argv = [sys.executable, "-c", code, str(tmp_path / "m.db")]
    workers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    ids = {worker.communicate(timeout=60)[0] for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(ids) == 1


def test_endpoints(database: Database) -> None:
    lab = Endpoint(kind=EndpointKind.VIM, name="lab", driver="fake", config={"a": [1]}, created_s=1.5)
    with database.begin() as tx:
        endpoints.add(tx, lab)
        endpoints.add(tx, replace(lab, kind=EndpointKind.SDN))
        with pytest.raises(UsageError, match="vim named lab is there already"):
            endpoints.add(tx, lab)
    with database.read() as tx:
        assert endpoints.get(tx, EndpointKind.VIM, "lab") == lab
        assert len(endpoints.all_of(tx)) == 2
        with pytest.raises(UsageError, match="registered: lab"):
            endpoints.get(tx, EndpointKind.VIM, "lap")
    with database.begin() as tx:
        endpoints.remove(tx, EndpointKind.VIM, "lab")
        assert endpoints.all_of(tx, EndpointKind.VIM) == ()


def test_packages(database: Database) -> None:
    package = PackageInfo(
        id="p1", kind=PackageKind.VNF, descriptor_id="fw", name="firewall", content_sha256="c", artifacts={"i": "s"}
    )
    finding = Finding(severity=Severity.WARNING, code="c", message="m", file="f", line=3)
    with database.begin() as tx:
        packages.add(tx, package, descriptor={"id": "fw"}, findings=[finding])
        with pytest.raises(UsageError, match="on-boarded already"):
            packages.add(tx, replace(package, id="p2"), descriptor={})
        packages.add(tx, replace(package, id="p3", descriptor_id="fw2"), descriptor={})
        running(tx, ns(), vnf())
    with database.read() as tx:
        in_use = replace(package, usage_state=UsageState.IN_USE)
        assert packages.get(tx, "fw") == packages.get(tx, "p1") == in_use
        assert packages.descriptor(tx, "p1") == {"id": "fw"}
        assert packages.findings(tx, "p1") == (finding,)
        assert packages.used_by(tx, package) == ("svc-00001",)
        with pytest.raises(UsageError, match="several packages are called firewall"):
            packages.get(tx, "firewall")


def test_a_package_goes_by_its_name_with_the_version_and_by_the_start_of_its_id(database: Database) -> None:
    old = PackageInfo(id="5eaacc48-a21d", kind=PackageKind.NS, descriptor_id="d1", name="shop", version="1.0")
    new = replace(old, id="abe63c4f-0a4f", descriptor_id="d2", version="2.0")
    with database.begin() as tx:
        packages.add(tx, old, descriptor={})
        packages.add(tx, new, descriptor={})
    with database.read() as tx:
        assert packages.get(tx, "shop-1.0", kind=PackageKind.NS) == packages.get(tx, "5eaacc48") == old
        with pytest.raises(UsageError, match="several packages are called shop") as refused:
            packages.get(tx, "shop")
        assert refused.value.hint == (
            "say which, by version or by id: shop-1.0 (5eaacc48-a21d), shop-2.0 (abe63c4f-0a4f)"
        )
        for nobody in ("", "shop-3.0", "aacc"):
            with pytest.raises(UsageError, match="no package is called"):
                packages.get(tx, nobody)


def test_services_and_their_vnfs(database: Database) -> None:
    with database.begin() as tx:
        running(tx, ns(), vnf(1), vnf(2))
        with pytest.raises(UsageError, match="svc-00001 is there already"):
            instances.add(tx, replace(ns(2), name="svc-00001"))
        instances.save(tx, replace(ns(), state=NsState.INSTANTIATED, parameters={"p": [1, {"q": None}]}))
    with database.read() as tx:
        assert instances.get(tx, "svc-00001").parameters == {"p": [1, {"q": None}]}
        assert instances.vnfs(tx, ns().id) == (vnf(1), vnf(2))
        with pytest.raises(UsageError, match="no service x"):
            instances.get(tx, "x")
    with database.begin() as tx:
        instances.remove(tx, ns().id)
        assert instances.vnfs(tx, ns().id) == ()


def test_operations_and_their_journal(database: Database) -> None:
    with database.begin() as tx:
        operations.add(tx, operation(), PLAN, target={"t": 1}, mode="forward")
    with database.read() as tx:
        assert operations.get(tx, "0000") == operation()
        assert operations.plan(tx, operation()) == PLAN
        assert operations.target(tx, operation().id) == {"t": 1}
        assert operations.at_work(tx) == (operation(),)
        first = operations.steps(tx, operation().id)[0]
    after = replace(first, state=StepState.FAILED, attempt=2, error="é", hint="h", error_class="Permanent", ended_s=3.5)
    with database.begin() as tx:
        before = operations.pulse(tx, operation().id)
        operations.write_steps(tx, operation().id, [(0, after)])
        operations.set_columns(tx, operation().id, state="COMPLETED", mode="")
        assert operations.steps(tx, operation().id)[0] == after
        assert operations.pulse(tx, operation().id) == (before[0] + 1, "")
        assert operations.active(tx, ns().id) is None


def test_a_service_has_one_active_operation_whoever_asks(database: Database) -> None:
    with database.begin() as tx:
        operations.add(tx, operation(1), PLAN, target={}, mode="forward")
    for _ in range(2):
        with pytest.raises(UsageError, match="has an operation in PROCESSING"), database.begin() as tx:
            operations.add(tx, operation(2), PLAN, target={}, mode="forward")
    with database.begin() as tx:
        operations.add(tx, operation(3, of=2), PLAN, target={}, mode="forward")
        operations.set_columns(tx, operation(1).id, state="ROLLED_BACK")
        operations.add(tx, operation(4), PLAN, target={}, mode="forward")


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def interrupted() -> None:
        with database.begin() as tx:
            instances.add(tx, ns())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    with database.read() as tx:
        assert instances.all_of(tx) == ()


def test_pages_follow_each_other_and_end(database: Database) -> None:
    with database.begin() as tx:
        for number in range(7):
            running(tx, ns(number), vnf(1, of=number))
            state = OperationState.COMPLETED
            operations.add(tx, operation(number, of=number, state=state), PLAN, target={}, mode="")
    for listing, key in (
        (reading.ns_instances, lambda item: item.name),
        (reading.vnf_instances, lambda item: item.id),
        (reading.operations, lambda item: -item.start_s),
    ):
        items, after, pages = [], "", 0
        while True:
            page = listing(database.url, limit=3, after=after)
            assert page.total == 7
            items += page.items
            pages += 1
            after = page.next
            if not after:
                break
        assert pages == 3
        assert [key(item) for item in items] == sorted({key(item) for item in items})
        assert len(items) == 7
    assert reading.vnf_instances(database.url, ns_id=ns(2).id).items == (vnf(1, of=2),)
    with pytest.raises(UsageError, match="not a page marker"):
        reading.operations(database.url, after="nonsense")


def test_who_looks_for_an_operation_reads_not_what_all_of_them_led_to(database: Database, tmp_path: Path) -> None:
    with database.begin() as tx:
        for number in range(30):
            instances.add(tx, ns(number))
            made = operation(number, of=number, state=OperationState.COMPLETED)
            operations.add(tx, made, PLAN, target={"desired": "x" * 1_000_000}, mode="")
    session = Session(home=tmp_path, db=database.url)
    wanted = {"000000000003": 3, "00000003": 3, "00000000000a": 10, "svc": 29}
    tracemalloc.start()
    try:
        assert {typed: int(find_operation(session, typed).id, 16) for typed in wanted} == wanted
        assert len(reading.operations(database.url, limit=100).items) == 30
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(UsageError, match="no operation is called 'nonsense'"):
        find_operation(session, "nonsense")


def test_lists_of_what_was_never_made_are_empty(tmp_path: Path) -> None:
    assert reading.ns_instances(tmp_path / "none.db").items == ()
    assert not (tmp_path / "none.db").exists()


@pytest.mark.sqlite
def test_lists_load_no_sql_toolkit(database: Database) -> None:
    code = (
        "import sys; from manor.store import reading; reading.ns_instances(sys.argv[1]);"
        "heavy = {'sqlmodel', 'sqlalchemy', 'pydantic', 'dbos'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code, database.url], check=True, env=os.environ, timeout=60)


def test_who_outlives_the_database_leaves_no_connection_open(database: Database) -> None:
    closed: list[object] = []
    event.listen(database.engine, "close", lambda connection, _record: closed.append(connection))
    for _ in ("at work when it was closed", "come too late"):
        with database.read() as tx:
            mine = tx.connection.dbapi_connection
            database.close()
            assert mine not in closed
        assert mine in closed


def test_a_subscriber_is_not_put_back_by_a_process_that_was_frozen(database: Database) -> None:
    late = Subscription(id="s", callback_uri="http://oss.example/", cursor=3)
    with database.begin() as tx:
        notifications.add_subscription(tx, late)
        notifications.progress(tx, replace(late, cursor=7))
        notifications.progress(tx, replace(late, cursor=4, failures=2))
        assert notifications.subscriptions(tx) == (replace(late, cursor=7),)
        notifications.progress(tx, replace(late, cursor=7, failures=1))
        assert notifications.subscriptions(tx)[0].failures == 1
