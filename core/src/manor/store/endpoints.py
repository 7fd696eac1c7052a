"""Registered VIMs, controllers and VNF managers.

A driver's configuration is kept as the operator gave it, in a file or database that only Manor's user may read. Drivers
ask for secrets by reference (a file, an environment variable) rather than by value; nothing here prints a config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from manor.errors import UsageError
from manor.model.instance import Endpoint, EndpointKind
from manor.store import rows
from manor.store.asking import every, first
from manor.store.tables import EndpointRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["add", "all_of", "find", "get", "remove"]

_T = EndpointRow.__table__  # type: ignore[attr-defined]

# Made once: building a statement costs more than SQLite takes to run it.
_FIND = select(_T).where(_T.c.kind == bindparam("of_kind"), _T.c.name == bindparam("called"))
_ALL = select(_T).order_by(_T.c.kind, _T.c.name)
_ALL_OF_KIND = _ALL.where(_T.c.kind == bindparam("of_kind"))


def add(tx: Connection, endpoint: Endpoint) -> None:
    """Register an endpoint. Raises UsageError where the name is taken."""
    taken = UsageError(
        f"a {endpoint.kind} named {endpoint.name} is there already",
        hint=f"choose another name, or manor {endpoint.kind} remove {endpoint.name}",
    )
    if find(tx, endpoint.kind, endpoint.name) is not None:
        raise taken
    try:
        tx.execute(insert(_T).values(rows.endpoint_values(endpoint)))
    except IntegrityError as error:  # another process was quicker
        raise taken from error


def find(tx: Connection, kind: EndpointKind, name: str) -> Endpoint | None:
    """The endpoint of this name, or None."""
    return first(tx, _FIND, rows.endpoint, of_kind=str(kind), called=name)


def get(tx: Connection, kind: EndpointKind, name: str) -> Endpoint:
    """The endpoint of this name. Raises UsageError where there is none, naming those there are."""
    found = find(tx, kind, name)
    if found is None:
        names = ", ".join(endpoint.name for endpoint in all_of(tx, kind)) or "none"
        raise UsageError(f"there is no {kind} named {name} (registered: {names})", hint=f"manor {kind} list")
    return found


def all_of(tx: Connection, kind: EndpointKind | None = None) -> tuple[Endpoint, ...]:
    """Every endpoint, or every one of a kind, by name."""
    if kind is None:
        return every(tx, _ALL, rows.endpoint)
    return every(tx, _ALL_OF_KIND, rows.endpoint, of_kind=str(kind))


def remove(tx: Connection, kind: EndpointKind, name: str) -> None:
    """Forget an endpoint. Raises UsageError where there is none; whether it is in use is the caller's question."""
    get(tx, kind, name)
    tx.execute(delete(_T).where(_T.c.kind == str(kind), _T.c.name == name))
