"""One hypervisor as the verbs see it: connections that come back, locks by key, facts found once.

A connection serves one thread at a time: a guest that does not answer, or an upload, holds up nobody else. Nor could it
be shared: where keepalive gives a daemon up that hangs, libvirt 9 crashes with two calls that wait on one connection.
For the same reason a dead connection is never closed, but let go of; it goes with the last call that uses it.

A daemon that hangs accepts a connection and says nothing more, and keepalive begins only behind that. So connections
are opened by threads of their own, for which a call waits so long and no longer.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from typing import Any, TypeVar

from manor.api import CallContext
from manor.errors import DeadlineExceeded, DriverError, Indeterminate, Transient
from manor_vim_libvirt.config import HostConfig
from manor_vim_libvirt.events import EventLog, start_event_loop
from manor_vim_libvirt.faults import is_lost_connection, translate

__all__ = ["Link"]

T = TypeVar("T")
_OPEN_S = 10.0
"""How long a call waits for a connection."""
_CLOSE_S = 2.0
"""How long the end of a link waits for a hypervisor that may hang."""
_MOST_IDLE = 8
"""Connections that are kept for the next call."""


class _Lock:
    """A lock that can be referred to weakly, so that locks of keys long gone vanish."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


class _Lease:
    """A connection, and the handles that were got by it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.pools: dict[str, Any] = {}


class _Mine(threading.local):
    """What the present thread has."""

    def __init__(self) -> None:
        self.lease: _Lease | None = None
        self.runs = 0
        """How deep in runs it is."""
        self.used: list[Any] = []
        """Connections of the present run."""


class Link:
    """Connections to one host."""

    def __init__(self, config: HostConfig, *, keepalive_s: int = 5) -> None:
        self.config = config
        self.name = config.name
        self.events = EventLog()
        self.generation = 0
        """Grows whenever the hypervisor was away; facts of an older one may be stale."""
        self.pool_guard = threading.RLock()
        """Held while a pool is made, started or removed."""
        self._keepalive_s = keepalive_s
        self._mine = _Mine()
        self._idle: list[_Lease] = []
        self._ears: Any = None
        """The connection that events come by, and that tells by its death that the hypervisor is away."""
        self._callback = -1
        self._opening: Future[Any] | None = None
        """Of the ears."""
        self._is_closed = False
        self._locks: weakref.WeakValueDictionary[str, _Lock] = weakref.WeakValueDictionary()
        self._guard = threading.Lock()

    @property
    def is_up(self) -> bool:
        """Whether the hypervisor is connected now, as far as is known without asking."""
        ears = self._ears
        return ears is not None and _is_alive(ears)

    def connection(self) -> Any:
        """This thread's live connection, opened anew where it is dead.

        Raises Transient where the hypervisor does not answer and Unauthorized where it refuses.
        """
        mine = self._mine
        if mine.lease is None or not _is_alive(mine.lease.connection):
            mine.lease = None
            self._listen()
            mine.lease = self._take_idle() or _Lease(self._opened(self._begin(self._open)))
            mine.used.append(mine.lease.connection)
        return mine.lease.connection

    @property
    def pools(self) -> dict[str, Any]:
        """Handles of storage pools of this thread's connection, by UUID; one that is stale fails at its next use."""
        self.connection()
        lease = self._mine.lease
        assert lease is not None
        return lease.pools

    def _take_idle(self) -> _Lease | None:
        with self._guard:
            self._idle = [lease for lease in self._idle if _is_alive(lease.connection)]
            return self._idle.pop() if self._idle else None

    def _listen(self) -> None:
        """Have live ears: while the hypervisor is away, everybody waits for one and the same connection."""
        with self._guard:
            if self._ears is not None and _is_alive(self._ears):
                return
            deaf, self._ears = self._ears, None
            if self._opening is None:
                self._opening = self._begin(self._open_ears)
            opening = self._opening
        if deaf is not None:
            self._deafen(deaf)
        self._opened(opening)

    def _open_ears(self) -> Any:
        import libvirt

        try:
            ears = self._open()
            if self._is_closed:
                return ears  # it took too long: nobody listens any more
            try:
                kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
                callback = ears.domainEventRegisterAny(None, kind, self.events, None)
            except libvirt.libvirtError:
                callback = -1  # a driver without events is observed like any other
            with self._guard:
                self._ears, self._callback = ears, callback
                self.generation += 1
        finally:
            with self._guard:
                self._opening = None
        return ears

    def _deafen(self, ears: Any) -> None:
        """Take back the callback, which would hold the connection for ever."""
        import libvirt

        try:
            if self._callback >= 0:
                ears.domainEventDeregisterAny(self._callback)
        except libvirt.libvirtError:
            pass  # nobody is there to be told; on our side it is taken back

    @staticmethod
    def _begin(open_: Callable[[], Any]) -> Future[Any]:
        """Open a connection in a thread that nobody has to wait for."""
        opening: Future[Any] = Future()

        def work() -> None:
            try:
                opening.set_result(open_())
            except BaseException as error:  # whatever it is, who waits has to have it
                opening.set_exception(error)

        threading.Thread(target=work, name="libvirt-open", daemon=True).start()
        return opening

    def _opened(self, opening: Future[Any]) -> Any:
        import libvirt

        try:
            return opening.result(_OPEN_S)
        except FutureTimeout:
            message = f"host {self.name} takes connections to {self.config.uri} and says nothing"
            raise Transient(message, retry_after_s=2.0, hint="is libvirtd stuck there? restart it") from None
        except libvirt.libvirtError as error:
            raise _cannot_connect(error, self.name, self.config.uri) from error

    def _open(self) -> Any:
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
        return connection

    def _answer(self, credentials: list[list[Any]], _opaque: Any) -> int:
        import libvirt

        for credential in credentials:
            is_user = credential[0] == libvirt.VIR_CRED_AUTHNAME
            credential[4] = self.config.username if is_user else self.config.password()
        return 0

    def run(self, call: Callable[[], T], *, key: str, doing: str, effect: bool, once: bool = False) -> T:
        """Run a verb's work; once more on a new connection if the old one was lost under it.

        That is safe because each verb looks by key before it changes anything; ``once`` is for what does not.
        """
        import libvirt

        for attempt in (2,) if once else (1, 2):
            try:
                with self._leased():
                    return call()
            except libvirt.libvirtError as error:
                if not any(is_lost_connection(error, one) for one in self._mine.used):
                    raise translate(error, key=key, host=self.name, doing=doing, effect=effect) from error
                if attempt == 2:
                    raise _lost_twice(error, key, self.name, doing, effect) from error
            except Transient as error:
                if attempt == 2 and effect:
                    raise Indeterminate(f"{doing} {key}: {error.message}", hint=error.hint) from error
                raise
        raise AssertionError("unreachable")

    @contextmanager
    def _leased(self) -> Iterator[None]:
        """Give the thread's connection back at the end of its outermost run."""
        mine = self._mine
        if not mine.runs:
            mine.used = [mine.lease.connection] if mine.lease is not None else []
        mine.runs += 1
        try:
            yield
        finally:
            mine.runs -= 1
            if not mine.runs and mine.lease is not None:
                lease, mine.lease = mine.lease, None
                with self._guard:
                    if not self._is_closed and len(self._idle) < _MOST_IDLE:
                        self._idle.append(lease)

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
        """Let go of every connection. A hypervisor that hangs is not waited for: keepalive ends what is under way."""
        with self._guard:
            self._is_closed = True
            idle, self._idle = self._idle, []
            ears, self._ears = self._ears, None

        def let_go() -> None:
            if ears is not None:
                self._deafen(ears)
            idle.clear()

        last = threading.Thread(target=let_go, name="libvirt-close", daemon=True)
        last.start()
        last.join(_CLOSE_S)


def _is_alive(connection: Any) -> bool:
    import libvirt

    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _cannot_connect(error: Any, host: str, uri: str) -> DriverError:
    fault = translate(error, key="", host=host, doing=f"connecting to {uri}", effect=False)
    if isinstance(fault, Transient) and not fault.hint:
        return Transient(fault.message, retry_after_s=2.0, hint="is libvirtd running there? manor doctor --fix")
    return fault


def _lost_twice(error: Any, key: str, host: str, doing: str, effect: bool) -> DriverError:
    message = f"{doing} {key} on host {host}: the connection was lost: {error}"
    return Indeterminate(message) if effect else Transient(message, retry_after_s=2.0)
