"""Which processes run operations, by the database's own clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from manor.store.clock import now
from manor.store.tables import WorkerRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["beat", "live", "sign_off"]

_T = WorkerRow.__table__  # type: ignore[attr-defined]


def beat(tx: Connection, worker: str, place: str) -> None:
    """Say that this worker lives."""
    beat_s = now(tx)
    if not tx.execute(update(_T).where(_T.c.id == worker).values(beat_s=beat_s)).rowcount:
        tx.execute(insert(_T).values(id=worker, beat_s=beat_s, started_s=beat_s, place=place))


def live(tx: Connection, lease_s: float) -> tuple[str, ...]:
    """Workers that have beaten within the lease; those long silent are forgotten."""
    tx.execute(delete(_T).where(_T.c.beat_s < now(tx) - 20 * lease_s))
    query = select(_T.c.id).where(_T.c.beat_s >= now(tx) - lease_s).order_by(_T.c.id)
    return tuple(tx.execute(query).scalars())


def sign_off(tx: Connection, worker: str) -> None:
    """Say that this worker goes in good order, so that nobody waits for its lease to end."""
    tx.execute(delete(_T).where(_T.c.id == worker))
