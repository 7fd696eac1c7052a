"""One process's view of an installation: its state directory, database, plugins and live connections.

Made once, passed around, closed at the end. Nothing heavy happens until something is asked for: the database is
opened and a driver connected at first use.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from manor.api import CallContext, DriverEnvironment, OperationEvent, Script, Sdn, Vim, Vnfm, VnfView
from manor.errors import NotFound, StoreError
from manor.lcm.rundir import RunDir
from manor.model.instance import Endpoint, EndpointKind
from manor.plugin import Plugins

if TYPE_CHECKING:
    from manor.lcm.apply import Hung, Progress
    from manor.lcm.operations import Operations
    from manor.lcm.worker import Worker
    from manor.store.database import Database

__all__ = ["FRESH_S", "Runtime", "endpoint_id", "open_runtime"]

FRESH_S = 1.0
"""How long a registration is taken to be as it was: another process may forget the endpoint, or register it anew."""


def endpoint_id(kind: EndpointKind, name: str) -> str:
    """How steps name an endpoint, as ``vim:lab``."""
    return f"{kind}:{name}"


class Runtime:
    """An open installation. Threads may share it."""

    def __init__(self, *, home: Path, db: str = "", plugins: Plugins | None = None) -> None:
        self.home = home
        self._run = RunDir(home)
        self._url = db or str(home / "manor.db")
        self._plugins = plugins
        self._store: Database | None = None
        self._is_closed = False
        self._lock = threading.RLock()
        self._connected: dict[str, Any] = {}
        self._known: dict[str, tuple[Endpoint, float]] = {}
        """What is connected, and when it was last seen to be registered so."""
        self._doors: dict[str, threading.RLock] = {}
        self._worker: Worker | None = None
        self._hung: Hung = {}
        """What one worker of this process has given up, for the next one not to overtake."""
        self.watchers: list[Callable[[Progress], None]] = []
        """Told of every change of an operation or step that this process makes, after its commit."""

    @property
    def url(self) -> str:
        """The database's path or URL."""
        return self._url

    @property
    def store(self) -> Database:
        """The database, made ready at first use. Raises StoreError where it cannot be."""
        with self._lock:
            if self._is_closed:
                raise StoreError("this installation is closed")  # a thread that is late would open it anew, for ever
            if self._store is None:
                from manor.store.database import Database

                self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._store = Database.open(self._url)
            return self._store

    @property
    def plugins(self) -> Plugins:
        """The plugin host; imports plugins at first use."""
        with self._lock:
            if self._plugins is None:
                self._plugins = Plugins()
            return self._plugins

    @property
    def owner(self) -> str:
        """The installation's owner tag, on every native object."""
        return self.store.owner

    @property
    def worker(self) -> Worker:
        """What submits operations and, once started, runs them; brings the durable queue, which takes a second."""
        with self._lock:
            if self._worker is None:
                from manor.lcm.driving import Driving
                from manor.lcm.playplace import sweep
                from manor.lcm.worker import Worker

                sweep(self.home)  # what a playbook's process that was killed has left
                self._worker = Worker(self.store, Driving(rt=self), on_progress=self._tell, hung=self._hung)
            return self._worker

    @property
    def operations(self) -> Operations:
        """Submitting and steering of operations."""
        return self.worker.operations

    def release_worker(self) -> None:
        """Stop working at the next step and let go of the queue, so that another process can be the worker."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _tell(self, progress: Progress) -> None:
        """Let observers know of an operation's new state, after it was committed."""
        for watcher in self.watchers:
            watcher(progress)
        if progress.step is None:
            operation = progress.operation
            self.plugins.emit_operation_event(
                OperationEvent(
                    operation_id=operation.id,
                    operation=operation.operation,
                    service_id=operation.ns_id,
                    state=operation.state,
                    time_s=operation.state_entered_s,
                    error=operation.error,
                )
            )

    def environment(self, kind: EndpointKind, name: str) -> DriverEnvironment:
        """Directories of one endpoint's own, made where they are missing (0700)."""
        part = f"{kind}-{name}"
        state = self.home / "endpoints" / part
        owner = self.owner
        for directory in (self.home, state.parent, state):
            # One by one: mkdir's mode is for the last of a path only.
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return DriverEnvironment(name=name, owner=owner, state_dir=state, runtime_dir=self._run.make(part))

    @property
    def runtime_dir(self) -> Path:
        """Where sockets go: below the home, or below /run where the home's path is too long for a socket's."""
        return self._run.path

    def vim(self, name: str) -> Vim:
        """The guarded connection to a registered VIM. Raises UsageError where none has this name."""
        return cast(Vim, self._connect(EndpointKind.VIM, name))

    def sdn(self, name: str) -> Sdn:
        """The guarded connection to a registered controller."""
        return cast(Sdn, self._connect(EndpointKind.SDN, name))

    def vnfm(self, name: str) -> Vnfm:
        """The guarded VNF manager of this name: a registered one, or a driver that needs no settings."""
        return cast(Vnfm, self._connect(EndpointKind.VNFM, name))

    def play(self, view: VnfView, guests: Mapping[str, Any], script: Script, ctx: CallContext) -> None:
        """Run a playbook against a VNF's machines, where the operator allowed its package to."""
        from manor.lcm.playbooks import run_playbook

        run_playbook(self, view, guests, script, ctx)

    def tokens_given(self, operation_id: str) -> frozenset[str]:
        """Tokens of secrets that the operator gave for this operation and its service."""
        from manor.lcm.tokens import tokens_given

        return tokens_given(self, operation_id)

    def driver(self, endpoint: str) -> Any:
        """The connection for a step's endpoint, as ``vim:lab``."""
        kind, _, name = endpoint.partition(":")
        try:
            return self._connect(EndpointKind(kind), name)
        except ValueError as error:
            raise NotFound(f"no such kind of endpoint: {endpoint}") from error

    def endpoint(self, kind: EndpointKind, name: str) -> Endpoint:
        """What is registered under this name. Raises UsageError naming what there is."""
        from manor.store import endpoints

        with self.store.read() as tx:
            if kind is EndpointKind.VNFM:
                return endpoints.find(tx, kind, name) or Endpoint(kind=kind, name=name, driver=name)
            return endpoints.get(tx, kind, name)

    def _door(self, key: str) -> threading.RLock:
        with self._lock:
            return self._doors.setdefault(key, threading.RLock())

    def _connect(self, kind: EndpointKind, name: str) -> Any:
        key = endpoint_id(kind, name)
        with self._door(key):  # of this endpoint alone: one that hangs must not keep others from theirs
            known, seen_s = self._known.get(key, (None, 0.0))
            if known is None or time.monotonic() > seen_s + FRESH_S:
                try:
                    found = self.endpoint(kind, name)
                except StoreError:
                    if known is None:
                        raise
                    found = known  # a step does not fail because the database is away for a moment
                if known != found:
                    self.disconnect(kind, name)
                self._known[key] = found, time.monotonic()
            if key not in self._connected:
                found = self._known[key][0]
                connect = {
                    EndpointKind.VIM: self.plugins.connect_vim,
                    EndpointKind.SDN: self.plugins.connect_sdn,
                    EndpointKind.VNFM: self.plugins.connect_vnfm,
                }[kind]
                self._connected[key] = connect(found.driver, found.config, self.environment(kind, name))
            return self._connected[key]

    def disconnect(self, kind: EndpointKind, name: str) -> None:
        """Let go of one connection; the next use connects anew."""
        with self._door(endpoint_id(kind, name)):
            driver = self._connected.pop(endpoint_id(kind, name), None)
            self._known.pop(endpoint_id(kind, name), None)
        if driver is not None:
            driver.close()

    def close(self) -> None:
        """Let go of every connection and the database."""
        self.release_worker()
        with self._lock:
            self._is_closed = True
            connected, self._connected = self._connected, {}
            store, self._store = self._store, None
        for driver in connected.values():
            driver.close()
        if self._plugins is not None:
            self._plugins.close()
        if store is not None:
            store.close()
        self._run.leave()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def open_runtime(home: Path, db: str = "", plugins: Plugins | None = None) -> Runtime:
    """An installation whose state is in ``home``, its database at the URL ``db`` or in a file there."""
    return Runtime(home=home, db=db, plugins=plugins)
