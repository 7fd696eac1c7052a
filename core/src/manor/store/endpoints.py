"""Registered VIMs, controllers and VNF managers.

A driver's configuration is kept as the operator gave it, in a file or database that only Manor's user may read. Drivers
ask for secrets by reference (a file, an environment variable) rather than by value; nothing here prints a config.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, select, text
from sqlalchemy.exc import IntegrityError

from manor.errors import UsageError
from manor.model.instance import Endpoint, EndpointKind
from manor.store import rows
from manor.store.asking import every, first
from manor.store.database import KEEP_FACT, take_turns
from manor.store.tables import EndpointRow, Meta

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["add", "all_of", "find", "get", "hosts_of_vims", "keep_hosts", "remove"]

_T = EndpointRow.__table__  # type: ignore[attr-defined]
_META = Meta.__table__  # type: ignore[attr-defined]
_HOSTS = "vim_hosts"

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


def hosts_of_vims(tx: Connection) -> Mapping[str, Collection[str]]:
    """Names of the hosts that VIMs had when they were registered, by VIM; without those of an older release."""
    value = tx.execute(select(_META.c.value).where(_META.c.key == _HOSTS)).scalar()
    return json.loads(value) if value else {}


def keep_hosts(tx: Connection, vim: str, hosts: Collection[str]) -> None:
    """Remember a VIM's hosts. Raises UsageError where another VIM has one of that name."""
    take_turns(tx, _HOSTS)
    known = hosts_of_vims(tx)
    for other in sorted(known.keys() - {vim}):
        if both := sorted(set(hosts) & set(known[other])):
            raise UsageError(f"host {both[0]} is in VIM {other} already", hint="give each host a name of its own")
    _say_hosts(tx, {**known, vim: sorted(hosts)})


def remove(tx: Connection, kind: EndpointKind, name: str) -> None:
    """Forget an endpoint. Raises UsageError where there is none; whether it is in use is the caller's question."""
    get(tx, kind, name)
    tx.execute(delete(_T).where(_T.c.kind == str(kind), _T.c.name == name))
    if kind is EndpointKind.VIM:
        take_turns(tx, _HOSTS)
        _say_hosts(tx, {vim: hosts for vim, hosts in hosts_of_vims(tx).items() if vim != name})


def _say_hosts(tx: Connection, hosts: Mapping[str, Collection[str]]) -> None:
    tx.execute(text(KEEP_FACT), {"key": _HOSTS, "value": json.dumps(hosts)})
