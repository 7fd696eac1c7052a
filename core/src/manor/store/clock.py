"""The database's own clock: machines disagree about the time, it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, literal_column

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

__all__ = ["now"]


def now(tx: Connection) -> ColumnElement[float]:
    """Seconds since the epoch, for use in a statement."""
    if tx.dialect.name == "sqlite":
        return literal_column("((julianday('now') - 2440587.5) * 86400.0)")
    return func.extract("epoch", func.clock_timestamp())
