"""Work that one process of many does at a time: whoever holds the lease, taken over from one that has gone silent.

By the database's clock, so that a lease is as long for every machine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from manor.store.clock import now

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["lead", "leave"]

_READ = text("SELECT value FROM manor_meta WHERE key = :k")
_MAKE = text("INSERT INTO manor_meta (key, value) VALUES (:k, :v) ON CONFLICT (key) DO NOTHING")
_TAKE = text("UPDATE manor_meta SET value = :v WHERE key = :k AND value = :was")


def lead(tx: Connection, what: str, who: str, lease_s: float) -> bool:
    """Whether ``who`` is the one process that does ``what``, until the lease runs out."""
    key = _key(what)
    now_s = float(tx.execute(select(now(tx))).scalar_one())
    found = tx.execute(_READ, {"k": key}).scalar()
    value = json.dumps({"who": who, "until_s": now_s + lease_s})
    if found is None:
        tx.execute(_MAKE, {"k": key, "v": value})
        found = tx.execute(_READ, {"k": key}).scalar_one()
    held = json.loads(found)
    if held["who"] != who and held["until_s"] > now_s:
        return False
    return bool(tx.execute(_TAKE, {"k": key, "v": value, "was": found}).rowcount)


def leave(tx: Connection, what: str, who: str) -> None:
    """Let another do it at once, where ``who`` is the one that does."""
    found = tx.execute(_READ, {"k": _key(what)}).scalar()
    if found is not None and json.loads(found)["who"] == who:
        value = json.dumps({"who": who, "until_s": 0.0})
        tx.execute(_TAKE, {"k": _key(what), "v": value, "was": found})


def _key(what: str) -> str:
    return f"{what}_leader"
