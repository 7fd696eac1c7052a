"""How soon the dead are noticed, by the living nodes' own clock: their heartbeat.

A machine that is ten times as slow beats ten times as slowly.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

from sqlalchemy import select

from manor.lcm.recovery import BEAT_S
from manor.store.database import Database
from manor.store.tables import WorkerRow

__all__ = ["assert_taken_over"]

TAKEN_OVER_S = 15.0


def assert_taken_over(what: str, database: Database, is_left: Callable[[], bool], killed_s: float) -> None:
    """Wait until nothing is left as it was when its node died, and say in what time; it has to be in time."""
    before, heard = _heartbeats(database), set()
    while is_left():
        assert time.monotonic() < killed_s + 600.0, what
        heard |= _heartbeats(database) - before
        time.sleep(0.05)
    took_s, beats = time.monotonic() - killed_s, max(Counter(node for node, _ in heard).values(), default=0)
    print(
        f"{what} were taken over in {took_s:.1f} s, {beats} heartbeats, "
        f"{os.getloadavg()[0] / (os.cpu_count() or 1):.1f} wanting each core"
    )
    assert beats * BEAT_S <= TAKEN_OVER_S
    assert beats or took_s <= TAKEN_OVER_S, "the nodes that live beat"


def _heartbeats(database: Database) -> set[tuple[str, float]]:
    """Which nodes have beaten, and when they did last."""
    table = WorkerRow.__table__  # type: ignore[attr-defined]
    with database.read() as tx:
        return {(node, at) for node, at in tx.execute(select(table.c.id, table.c.beat_s))}
