"""One hypervisor as the verbs see it: connections that come back, locks by key, facts found once.

libvirtd serves five calls of one client at a time. A guest that does not answer, or an upload, would hold up the rest;
so each kind of traffic has its own connection, a *lane*, opened when first used.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

from manor.api import CallContext
from manor.errors import DeadlineExceeded, DriverError, Indeterminate, Transient
from manor_vim_libvirt.config import HostConfig
from manor_vim_libvirt.events import EventLog, start_event_loop
from manor_vim_libvirt.faults import is_lost_connection, translate

__all__ = ["Lane", "Link"]

T = TypeVar("T")


class Lane(StrEnum):
    """Kinds of traffic that must not wait for one another."""

    CONTROL = "control"
    BULK = "bulk"
    GUEST = "guest"


class _Lock:
    """A lock that can be referred to weakly, so that locks of keys long gone vanish."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


class Link:
    """Connections to one host."""

    def __init__(self, config: HostConfig, *, keepalive_s: int = 5) -> None:
        self.config = config
        self.name = config.name
        self.events = EventLog()
        self.generation = 0
        """Grows with each new control connection; facts of an older one may be stale."""
        self.pools: dict[tuple[Lane, str], Any] = {}
        """Handles of storage pools by lane and UUID; one that is stale fails at its next use and is dropped."""
        self.pool_guard = threading.RLock()
        """Held while a pool is made, started or removed."""
        self._keepalive_s = keepalive_s
        self._lanes: dict[Lane, Any] = {}
        self._opening = {lane: threading.Lock() for lane in Lane}
        self._locks: weakref.WeakValueDictionary[str, _Lock] = weakref.WeakValueDictionary()
        self._guard = threading.Lock()

    def lane(self, lane: Lane = Lane.CONTROL) -> Any:
        """The live connection of a lane, opened anew where it is dead.

        Raises Transient where the hypervisor does not answer and Unauthorized where it refuses.
        """
        import libvirt

        with self._opening[lane]:
            connection = self._lanes.get(lane)
            if connection is not None:
                if self._is_alive(connection):
                    return connection
                self._drop(lane)
            try:
                self._lanes[lane] = connection = self._open(lane)
            except libvirt.libvirtError as error:
                raise _cannot_connect(error, self.name, self.config.uri) from error
            if lane is Lane.CONTROL:
                self.generation += 1
            return connection

    def _open(self, lane: Lane) -> Any:
        import libvirt

        start_event_loop()
        uri = self.config.connect_uri
        if self.config.username:
            asked = [libvirt.VIR_CRED_AUTHNAME, libvirt.VIR_CRED_PASSPHRASE]
            connection = libvirt.openAuth(uri, [asked, self._answer, None], 0)
        else:
            connection = libvirt.open(uri)
        try:
            connection.setKeepAlive(self._keepalive_s, 3)
        except libvirt.libvirtError:
            pass  # an in-process driver has no peer to lose
        if lane is Lane.CONTROL:
            kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
            try:
                connection.domainEventRegisterAny(None, kind, self.events, None)
            except libvirt.libvirtError:
                pass  # a driver without events is observed like any other
        return connection

    def _answer(self, credentials: list[list[Any]], _opaque: Any) -> int:
        import libvirt

        for credential in credentials:
            is_user = credential[0] == libvirt.VIR_CRED_AUTHNAME
            credential[4] = self.config.username if is_user else self.config.password()
        return 0

    @staticmethod
    def _is_alive(connection: Any) -> bool:
        import libvirt

        try:
            return bool(connection.isAlive())
        except libvirt.libvirtError:
            return False

    def _drop(self, lane: Lane) -> None:
        import libvirt

        connection = self._lanes.pop(lane, None)
        for key in [key for key in self.pools if key[0] is lane]:
            self.pools.pop(key, None)
        if connection is not None:
            try:
                connection.close()
            except libvirt.libvirtError:
                pass  # it is dead already

    def run(self, call: Callable[[], T], *, key: str, doing: str, effect: bool, once: bool = False) -> T:
        """Run a verb's work; once more on a new connection if the old one was lost under it.

        That is safe because each verb looks by key before it changes anything; ``once`` is for what does not.
        """
        import libvirt

        for attempt in (2,) if once else (1, 2):
            try:
                return call()
            except libvirt.libvirtError as error:
                if not self._lost(error):
                    raise translate(error, key=key, host=self.name, doing=doing, effect=effect) from error
                if attempt == 2:
                    raise _lost_twice(error, key, self.name, doing, effect) from error
            except Transient as error:
                if attempt == 2 and effect:
                    raise Indeterminate(f"{doing} {key}: {error.message}", hint=error.hint) from error
                raise
        raise AssertionError("unreachable")

    def _lost(self, error: Any) -> bool:
        lanes = list(self._lanes.values())
        return any(is_lost_connection(error, connection) for connection in lanes)

    @contextmanager
    def locked(self, name: str, ctx: CallContext) -> Iterator[None]:
        """Hold the lock of a key (or of the pool, the bridge …) on this host. Raises DeadlineExceeded."""
        with self._guard:
            entry = self._locks.get(name)
            if entry is None:
                entry = self._locks[name] = _Lock()
        if not entry.lock.acquire(timeout=max(ctx.remaining_s(), 0.001)):
            raise DeadlineExceeded(f"{name} on host {self.name} is held by another call", hint="retry")
        try:
            yield
        finally:
            entry.lock.release()

    def close(self) -> None:
        """Close every lane."""
        for lane in Lane:
            self._drop(lane)


def _cannot_connect(error: Any, host: str, uri: str) -> DriverError:
    fault = translate(error, key="", host=host, doing=f"connecting to {uri}", effect=False)
    if isinstance(fault, Transient) and not fault.hint:
        return Transient(fault.message, retry_after_s=2.0, hint="is libvirtd running there? manor doctor --fix")
    return fault


def _lost_twice(error: Any, key: str, host: str, doing: str, effect: bool) -> DriverError:
    message = f"{doing} {key} on host {host}: the connection was lost: {error}"
    return Indeterminate(message) if effect else Transient(message, retry_after_s=2.0)
