"""A node that tells subscribers is killed: another tells them what comes next, as soon as operations are taken over."""

from __future__ import annotations

import queue
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from servers import Node, until

from manor.model.notification import Subscription, vnf_identifier
from manor.notify.delivery import Delivery
from manor.store import notifications
from manor.store.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.real]

PATIENCE_S = 60.0
SOON_S = 12.0
"""Of which the lease is three."""


def subscriber(database: Database) -> Subscription:
    with database.read() as tx:
        return notifications.subscriptions(tx)[0]


def test_who_is_told_by_a_node_that_is_killed_is_told_by_another(new_postgresql: str, tmp_path: Path) -> None:
    told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def send(_uri: str, document: dict[str, Any], **_: Any) -> None:
        told.put(document)

    def happens(name: str) -> None:
        with database.begin() as tx:
            notifications.add(tx, [vnf_identifier(name, "demo", created=True)])

    node = Node(tmp_path / "home", new_postgresql, "node")
    with Database.open(new_postgresql) as database:
        with database.begin() as tx:
            # Where nobody listens: whatever is told here is told by the one below.
            notifications.add_subscription(tx, Subscription(id="s", callback_uri="http://127.0.0.1:9/"))
        node.serve()
        until("it delivers", lambda: database.fact("notify_leader"))
        beside = Delivery(database, send=send)
        beside.start()
        try:
            happens("while-it-lives")
            until("the node tries to tell it", lambda: subscriber(database).failures)
            assert told.empty()
            node.stop(signal.SIGKILL)
            killed_s = time.monotonic()
            happens("afterwards")
            names = [told.get(timeout=PATIENCE_S)["vnfInstanceId"] for _ in range(2)]
            took_s = time.monotonic() - killed_s
        finally:
            beside.stop()
            node.stop(signal.SIGTERM)
        print(f"a killed node's subscribers were told by another in {took_s:.1f} s")
        assert names == ["while-it-lives", "afterwards"]
        assert took_s <= SOON_S
