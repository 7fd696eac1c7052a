"""libvirt's event loop and what it told: one loop a process, the last events of each domain kept.

libvirt needs its event loop registered before the first connection, for keepalive, for noticing a dead peer at once,
and for lifecycle events.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["DomainEvent", "EventLog", "start_event_loop"]

_lock = threading.Lock()
_running = False

_EVENTS = {0: "defined", 1: "undefined", 2: "started", 3: "suspended", 4: "resumed", 5: "stopped", 6: "shutdown",
           7: "pmsuspended", 8: "crashed"}  # fmt: skip
_STOPPED = {0: "shutdown", 1: "destroyed", 2: "crashed", 3: "migrated", 4: "saved", 5: "failed", 6: "from-snapshot"}


def start_event_loop() -> None:
    """Register and run libvirt's default loop on a daemon thread, once a process."""
    global _running
    import libvirt

    with _lock:
        if _running:
            return
        # libvirt prints each error to stderr by default; ours go through exceptions.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_loop, name="libvirt-events", daemon=True).start()
        _running = True


def _loop() -> None:
    import libvirt

    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            time.sleep(0.1)  # a failed poll; spinning on it would eat a CPU


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainEvent:
    """One lifecycle event."""

    time_s: float
    uuid: str
    event: str
    detail: str = ""
    """Why a domain stopped: ``shutdown``, ``destroyed``, ``crashed``, ``failed`` …"""


class EventLog:
    """The last events of each domain of one connection; bounded, safe from any thread."""

    def __init__(self, *, domains: int = 4096, each: int = 16) -> None:
        self._events: OrderedDict[str, deque[DomainEvent]] = OrderedDict()
        self._domains = domains
        self._each = each
        self._changed = threading.Condition()
        self.heard: Callable[[], None] = lambda: None
        """Called after each event."""

    def __call__(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        word = _EVENTS.get(event, str(event))
        why = _STOPPED.get(detail, str(detail)) if word == "stopped" else ""
        self.add(DomainEvent(time_s=time.time(), uuid=domain.UUIDString(), event=word, detail=why))

    def add(self, event: DomainEvent) -> None:
        """Keep one event."""
        with self._changed:
            self._events.setdefault(event.uuid, deque(maxlen=self._each)).append(event)
            self._events.move_to_end(event.uuid)
            while len(self._events) > self._domains:
                self._events.popitem(last=False)
            self._changed.notify_all()
        self.heard()

    def recent(self, uuid: str) -> tuple[DomainEvent, ...]:
        """Events of one domain, oldest first."""
        with self._changed:
            return tuple(self._events.get(uuid, ()))

    def wait_stopped(self, uuid: str, timeout_s: float, *, since_s: float = 0.0) -> DomainEvent | None:
        """Wait until the domain has stopped after ``since_s`` (epoch); None when it did not in time."""

        def stopped() -> DomainEvent | None:
            events = self._events.get(uuid, ())
            return next((item for item in events if item.event == "stopped" and item.time_s >= since_s), None)

        with self._changed:
            self._changed.wait_for(lambda: stopped() is not None, timeout_s)
            return stopped()
