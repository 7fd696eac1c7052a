"""What happened, in the order of commits, and who is told of it.

A notification is a row written in the transaction of its change. Subscribers and ``manor events`` each read on from
where they are, so what was committed is told at least once, whichever process made the change and whenever it died.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from manor.model.notification import Notification, NotificationType, Subscription
from manor.store.asking import every, only
from manor.store.database import AtEnd, at_end, take_turns
from manor.store.tables import NotificationRow, SubscriptionRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "KEPT_S",
    "add",
    "add_subscription",
    "after",
    "last",
    "prune",
    "progress",
    "remove_subscription",
    "subscriptions",
]

KEPT_S = 7 * 86400.0
"""How long a subscriber may be away without missing anything."""

_N = NotificationRow.__table__  # type: ignore[attr-defined]
_S = SubscriptionRow.__table__  # type: ignore[attr-defined]
_INSERT = insert(_N)
_PROGRESS = ("cursor", "failures", "error")


def add(tx: Connection, notifications: Iterable[Notification]) -> None:
    """Have notifications of changes that this transaction makes written at its end."""
    values = [
        {"type": str(n.type), "time_s": n.time_s or time.time(), "ns_id": n.ns_id, "body": dict(n.body)}
        for n in notifications
    ]
    if values:
        at_end(tx, AtEnd.TELL, partial(_write, values=values))


def _write(tx: Connection, *, values: Sequence[Mapping[str, Any]]) -> None:
    # Numbers are given at the insert, seen at the commit: one at a time, or a reader passes over a late one.
    take_turns(tx, "manor-notifications")
    tx.execute(_INSERT, list(values))


def after(tx: Connection, seq: int, *, limit: int = 200) -> tuple[Notification, ...]:
    """The next ones after ``seq``, in order."""
    query = select(_N).where(_N.c.seq > seq).order_by(_N.c.seq).limit(limit)
    return every(tx, query, lambda row: Notification(**{**row, "type": NotificationType(row["type"])}))


def last(tx: Connection) -> int:
    """``seq`` of the newest one, 0 where nothing has happened yet."""
    return int(tx.execute(select(func.coalesce(func.max(_N.c.seq), 0))).scalar_one())


def prune(tx: Connection, before_s: float) -> int:
    """Forget what is older; how many went."""
    return int(tx.execute(delete(_N).where(_N.c.time_s < before_s)).rowcount)


def add_subscription(tx: Connection, subscription: Subscription) -> None:
    """Keep a new subscription."""
    values = dataclasses.asdict(subscription)
    tx.execute(insert(_S).values({**values, "types": [str(kind) for kind in subscription.types]}))


def subscriptions(tx: Connection) -> tuple[Subscription, ...]:
    """All of them, the oldest first."""
    query = select(_S).order_by(_S.c.created_s, _S.c.id)
    return every(
        tx, query, lambda row: Subscription(**{**row, "types": tuple(NotificationType(kind) for kind in row["types"])})
    )


def remove_subscription(tx: Connection, subscription_id: str) -> str:
    """Forget a subscription by its id or the unique start of one; its id.

    Raises UsageError where none or several fit.
    """
    query = select(_S.c.id)
    found = only(tx, query, _S.c.id, subscription_id, what="subscription", listing="manor subscription list")
    tx.execute(delete(_S).where(_S.c.id == found["id"]))
    return str(found["id"])


def progress(tx: Connection, subscription: Subscription) -> None:
    """Write how far a subscriber has been told; nothing where it is gone, or has been told more by another process."""
    values = {name: getattr(subscription, name) for name in _PROGRESS}
    tx.execute(update(_S).where(_S.c.id == subscription.id, _S.c.cursor <= subscription.cursor).values(values))
