"""Deliver notifications to subscribers, each in order and at its own pace, from ``manor serve``.

At least once: a subscriber's place is written after it said that it has one, so one may come twice, with the same
``id``, after a crash between the two. A subscriber that is away is tried again with growing pauses and holds up no
other; nothing is passed over until it is a week old. A notification that is refused for good (4xx) is passed over, and
said in ``manor subscription list``.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from manor.errors import DriverError, Permanent, StoreError, Transient
from manor.model.notification import Notification, Subscription
from manor.notify.webhook import send
from manor.store import leases, notifications

__all__ = ["Delivery", "Place"]

_POLL_S = 0.5
_PAUSE_FIRST_S = 0.5
_PAUSE_MOST_S = 300.0
_LEASE_S = 3.0
"""How long the one that delivers may be silent before another does: as long as operations wait for a node."""
_PRUNE_EVERY_S = 3600.0
_log = logging.getLogger("manor.notify")


class Place(Protocol):
    """Where notifications are kept: a :class:`~manor.store.database.Database`."""

    @property
    def installation_id(self) -> str:
        """12 hexadecimal digits."""
        ...

    @property
    def is_sqlite(self) -> bool:
        """Whether one process at a time serves it."""
        ...

    def begin(self) -> Any:
        """A write transaction."""
        ...

    def read(self) -> Any:
        """A consistent view."""
        ...


class Delivery:
    """One thread a subscriber, and one that looks for new subscribers. Of several processes one delivers at a time."""

    def __init__(self, database: Place, *, send: Callable[..., None] = send, poll_s: float = _POLL_S) -> None:
        self._database = database
        self._who = uuid.uuid4().hex[:12]
        self._fresh_until_s = 0.0
        self._lease = threading.Lock()
        self._send = send
        self._poll_s = poll_s
        self._end = threading.Event()
        self._running: dict[str, threading.Thread] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._thread = threading.Thread(target=self._watch, name="manor-notify", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 15.0) -> None:
        """End after the present attempt; what is not told yet is told by the next one that serves."""
        self._end.set()
        until_s = time.monotonic() + timeout_s
        for thread in (self._thread, *self._running.values()):
            if thread is not None:
                thread.join(max(until_s - time.monotonic(), 0.0))
        if not self._database.is_sqlite:
            with suppress(StoreError), self._database.begin() as tx:  # the lease says it a little later
                leases.leave(tx, "notify", self._who)

    def _watch(self) -> None:
        pruned_s = 0.0
        while not self._end.is_set():
            try:
                if self._leads():
                    for subscription in self._subscriptions():
                        self._follow(subscription.id)
                    if time.monotonic() - pruned_s > _PRUNE_EVERY_S:
                        pruned_s = time.monotonic()
                        with self._database.begin() as tx:
                            notifications.prune(tx, time.time() - notifications.KEPT_S)
            except StoreError as error:
                _log.warning("notifications wait: %s", error.message)
            except Exception:  # a mistake of ours may cost a round, and not all that is to be told from then on
                _log.exception("notifications wait")
            self._end.wait(self._poll_s)

    def _leads(self) -> bool:
        """Whether this process delivers; what was found holds for a third of the lease."""
        with self._lease:
            now_s = time.monotonic()
            if self._database.is_sqlite or now_s < self._fresh_until_s:
                return True
            with self._database.begin() as tx:
                leads = leases.lead(tx, "notify", self._who, _LEASE_S)
            self._fresh_until_s = now_s + _LEASE_S / 3 if leads else 0.0
            return leads

    def _subscriptions(self) -> tuple[Subscription, ...]:
        with self._database.read() as tx:
            return notifications.subscriptions(tx)

    def _follow(self, subscription_id: str) -> None:
        thread = self._running.get(subscription_id)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(
                target=self._tell, args=(subscription_id,), name=f"manor-notify-{subscription_id[:6]}", daemon=True
            )
            self._running[subscription_id] = thread
            thread.start()

    def _tell(self, subscription_id: str) -> None:
        """Tell one subscriber everything that it has not been told; then end, until there is more."""
        try:
            while not self._end.is_set() and self._leads():
                found = [s for s in self._subscriptions() if s.id == subscription_id]
                if not found:
                    return
                subscription = found[0]
                with self._database.read() as tx:
                    waiting = notifications.after(tx, subscription.cursor)
                if not waiting:
                    return
                self._deliver(subscription, waiting)
        except StoreError as error:
            _log.warning("subscriber %s waits: %s", subscription_id, error.message)

    def _deliver(self, subscription: Subscription, waiting: tuple[Notification, ...]) -> None:
        now = subscription
        for notification in waiting:
            if subscription.wants(notification):
                if not self._leads():
                    return
                error = self._deliver_one(now, notification)
                if error is None:
                    return
                now = replace(now, cursor=notification.seq, failures=0, error=error)
                self._progress(now)
            else:
                now = replace(now, cursor=notification.seq)
        self._progress(now)

    def _deliver_one(self, subscription: Subscription, notification: Notification) -> str | None:
        """What was wrong with it, empty for nothing; None where it waits, for we stop or the subscriber is gone."""
        import tenacity

        document = notification.document(self._database.installation_id, subscription.id)

        def failed(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            said = error.message if isinstance(error, DriverError) else str(error)
            _log.info("subscriber %s was not told, attempt %d: %s", subscription.id, state.attempt_number, said)
            self._progress(replace(subscription, failures=subscription.failures + state.attempt_number, error=said))

        def given_up(_state: tenacity.RetryCallState) -> bool:
            return (
                self._end.is_set() or not self._leads() or all(s.id != subscription.id for s in self._subscriptions())
            )

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            wait=tenacity.wait_random_exponential(multiplier=_PAUSE_FIRST_S, max=_PAUSE_MOST_S),
            stop=given_up,
            before_sleep=failed,
            sleep=tenacity.sleep_using_event(self._end),
            reraise=True,
        )
        try:
            retrying(self._send, subscription.callback_uri, document, secret_file=subscription.secret_file)
        except Transient:
            return None
        except Permanent as error:
            _log.warning("subscriber %s refuses %s: %s", subscription.id, document["id"], error.message)
            return f"refused {document['id']}: {error.message}"
        return ""

    def _progress(self, subscription: Subscription) -> None:
        with self._database.begin() as tx:
            notifications.progress(tx, subscription)
