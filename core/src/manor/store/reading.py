"""Quick lists: pages of services, VNFs, packages and operations, read without SQLModel or SQLAlchemy.

``manor ns list`` has to answer in the time that importing SQLModel alone takes. On SQLite this reads through the
standard library's ``sqlite3`` in read-only mode; the same SQL goes to PostgreSQL by way of
:class:`manor.store.database.Database`. Pages follow an index (keyset), so the last of 50,000 costs what the first does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from manor.errors import UsageError
from manor.model.instance import NsInstance, NsLcmOpOcc, PackageInfo, VnfInstance
from manor.store import rows
from manor.store.migrations import check

__all__ = ["Page", "ns_instances", "operation", "operation_names", "operations", "packages", "vnf_instances"]

T = TypeVar("T")
_Run = Callable[[str, Mapping[str, Any]], Sequence[Mapping[str, Any]]]
_SEPARATOR = "\x1f"
_COLUMNS = {
    "manor_package": "id, kind, descriptor_id, name, version, provider, format, content_sha256, onboarding_state, "
    "operational_state, usage_state, created_s, artifacts",
    "manor_operation": "id, ns_id, ns_name, operation, state, on_failure, start_s, state_entered_s, is_automatic, "
    "is_cancel_pending, cancel_mode, epoch, attempt, mode, error, hint, params, orphans",
}
"""What is read of a table that has more: descriptors, and what services are to become, are large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """Some of a list, in order."""

    items: tuple[T, ...]
    total: int
    """How many there are in all, whatever the page."""
    next: str = ""
    """Give it as ``after`` for the next page; empty on the last one."""


def ns_instances(url: str | Path, *, limit: int = 50, after: str = "") -> Page[NsInstance]:
    """Services by name."""
    return _page(url, "manor_ns_instance", rows.ns_instance, limit=limit, after=after)


def vnf_instances(url: str | Path, *, limit: int = 50, after: str = "", ns_id: str = "") -> Page[VnfInstance]:
    """VNFs by name, of one service or of all."""
    return _page(url, "manor_vnf_instance", rows.vnf_instance, limit=limit, after=after, where={"ns_id": ns_id})


def packages(url: str | Path, *, limit: int = 50, after: str = "", kind: str = "") -> Page[PackageInfo]:
    """Packages by name, of one kind (``vnf`` or ``ns``) or of both."""
    return _page(url, "manor_package", rows.package, limit=limit, after=after, where={"kind": kind})


def operations(url: str | Path, *, limit: int = 50, after: str = "", ns_id: str = "") -> Page[NsLcmOpOcc]:
    """Operations, the newest first, of one service or of all."""
    return _page(
        url, "manor_operation", rows.operation, limit=limit, after=after, where={"ns_id": ns_id}, newest_first=True
    )


def operation_names(url: str | Path) -> tuple[tuple[str, str, str], ...]:
    """Of every operation its id, and its service's id and name; the newest first."""
    with _runner(url) as run:
        found = run("SELECT id, ns_id, ns_name FROM manor_operation ORDER BY start_s DESC, id DESC", {}) if run else ()
    return tuple((row["id"], row["ns_id"], row["ns_name"]) for row in found)


def operation(url: str | Path, operation_id: str) -> NsLcmOpOcc | None:
    """The operation with this whole id."""
    with _runner(url) as run:
        query = f"SELECT {_COLUMNS['manor_operation']} FROM manor_operation WHERE id = :id"  # noqa: S608 - as below
        found = run(query, {"id": operation_id}) if run else ()
    return rows.operation(found[0]) if found else None


def _page(
    url: str | Path,
    table: str,
    build: Callable[[Mapping[str, Any]], T],
    *,
    limit: int,
    after: str,
    where: Mapping[str, str] | None = None,
    newest_first: bool = False,
) -> Page[T]:
    order, way, beyond = ("start_s", "DESC", "<") if newest_first else ("name", "ASC", ">")
    wanted = {name: value for name, value in (where or {}).items() if value}
    conditions = [f"{name} = :{name}" for name in wanted]
    values: dict[str, Any] = {**wanted, "limit": limit + 1}
    filters = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    if after:
        values["order"], values["id"] = _marker(after, numeric=newest_first)
        conditions.append(f"({order}, id) {beyond} (:order, :id)")
    keyset = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    # Table and column names are ours, values are bound.
    columns = _COLUMNS.get(table, "*")
    listing = f"SELECT {columns} FROM {table}{keyset} ORDER BY {order} {way}, id {way} LIMIT :limit"  # noqa: S608
    counting = f"SELECT count(*) AS n FROM {table}{filters}"  # noqa: S608
    with _runner(url) as run:
        if run is None:
            return Page(items=(), total=0)
        found = run(listing, values)
        total = int(run(counting, wanted)[0]["n"])
    shown = found[:limit]
    more = len(found) > limit
    return Page(
        items=tuple(build(row) for row in shown),
        total=total,
        next=f"{shown[-1][order]!s}{_SEPARATOR}{shown[-1]['id']}" if more and shown else "",
    )


def _marker(after: str, *, numeric: bool) -> tuple[str | float, str]:
    order, separator, key = after.partition(_SEPARATOR)
    try:
        if not separator:
            raise ValueError
        return (float(order) if numeric else order), key
    except ValueError:
        raise UsageError("that is not a page marker", hint="give the `next` of the page before") from None


@contextmanager
def _runner(url: str | Path) -> Iterator[_Run | None]:
    """A way to run queries in one consistent view; None where there is no database yet."""
    from manor.store.database import must_not_be_lost, normal_url, sqlite_path, unusable

    normal = normal_url(url)
    path = sqlite_path(normal)
    if path is None:
        from sqlalchemy import text

        from manor.store.database import Database

        database = Database.open(normal, create=False)
        try:
            with database.read() as tx:
                yield lambda sql, values: list(tx.execute(text(sql), dict(values)).mappings())  # type: ignore[arg-type]
        finally:
            database.close()
        return
    must_not_be_lost(path)
    if not path.exists() or path.stat().st_size == 0:
        yield None
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            version = connection.execute("SELECT value FROM manor_meta WHERE key = 'schema_version'").fetchone()
            check(int(version[0]) if version else None)
            yield lambda sql, values: connection.execute(sql, dict(values)).fetchall()
    except sqlite3.Error as error:
        raise unusable(f"the database {path} cannot be read: {error}", path) from error
