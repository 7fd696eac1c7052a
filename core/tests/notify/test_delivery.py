"""Who delivers goes on, whatever it meets."""

import threading
import time
from pathlib import Path
from typing import Any

from manor.model.notification import Notification, NotificationType, Subscription
from manor.notify.delivery import Delivery
from manor.store import notifications
from manor.store.database import Database


class Stumbling:
    """A database that has something nobody reckoned with, once."""

    is_sqlite = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self.has_stumbled = False

    @property
    def installation_id(self) -> str:
        return self._database.installation_id

    def begin(self) -> Any:
        return self._database.begin()

    def read(self) -> Any:
        if not self.has_stumbled:
            self.has_stumbled = True
            raise ValueError("a row of a later release")
        return self._database.read()


def test_what_nobody_reckoned_with_ends_no_delivery(tmp_path: Path) -> None:
    told = threading.Event()
    with Database.open(tmp_path / "manor.db") as database:
        with database.begin() as tx:
            notifications.add_subscription(tx, Subscription(id="s", callback_uri="http://x", created_s=time.time()))
            news = Notification(type=NotificationType.ALARM, time_s=time.time(), ns_id="n", body={})
            notifications.add(tx, [news])
        place = Stumbling(database)
        delivery = Delivery(place, send=lambda *_, **__: told.set(), poll_s=0.01)
        delivery.start()
        try:
            assert told.wait(30)
        finally:
            delivery.stop()
    assert place.has_stumbled
