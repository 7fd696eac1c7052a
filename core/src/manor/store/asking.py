"""What every repository function asks: the first row, every one, or the one that an operator means, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from manor.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Executable, Select

__all__ = ["every", "first", "only"]

T = TypeVar("T")
_Build = Callable[[Mapping[str, Any]], T]


def first(tx: Connection, query: Executable, build: _Build[T], **values: Any) -> T | None:
    """The first row, or None."""
    row = tx.execute(query, values).mappings().first()
    return build(row) if row is not None else None  # type: ignore[arg-type]


def every(tx: Connection, query: Executable, build: _Build[T], **values: Any) -> tuple[T, ...]:
    """Every row, in order."""
    return tuple(build(row) for row in tx.execute(query, values).mappings())  # type: ignore[arg-type]


def only(
    tx: Connection, query: Select[Any], column: ColumnElement[str], typed: str, *, what: str, listing: str
) -> Mapping[str, Any]:
    """The one row whose id, in this column, is ``typed`` or alone starts so.

    Raises UsageError where none or several do; ``listing`` is the command that shows them.
    """
    fitting = query.where(column.startswith(typed, autoescape=True)).order_by(column).limit(2)
    found = every(tx, fitting, dict)
    if not typed or not found:
        raise UsageError(f"there is no {what} {typed}", hint=listing)
    if len(found) > 1 and found[0][column.key or ""] != typed:
        raise UsageError(f"several {what}s start with {typed}", hint=f"give more of the id: {listing}")
    return found[0]
