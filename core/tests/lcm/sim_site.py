"""An installation on the fakes, lived in simulated time: its processes crash, its drivers fail, its world stays.

Planner, store, journal, state machine, apply and drivers are the product's own. Only the durable queue is left out (it
has tests with real processes): what is at work is run here, as a worker does that has just started.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from in_memory import directory
from lcm_world import InlineEngine
from pydantic import BaseModel
from service_world import FILES, as_json, hash_of
from simulated import Scheduler
from sqlmodel import SQLModel

from manor.api import CallContext, DriverEnvironment, SdnDriver, VimDriver, hookimpl
from manor.api.resources import ResourceKind
from manor.errors import UsageError
from manor.fakes import Crash, FakeHost, FakeSdn, FakeVim, Moment, World
from manor.fakes.rules import REPLACE_ON
from manor.fakes.world import State
from manor.lcm import endpoints
from manor.lcm.apply import Apply, Progress
from manor.lcm.driving import Driving
from manor.lcm.journal import Journal
from manor.lcm.operations import Operations
from manor.lcm.runtime import Runtime
from manor.model.desired import DesiredState
from manor.model.instance import (
    EndpointKind,
    NsInstance,
    NsLcmOpOcc,
    OperationalState,
    PackageInfo,
    PackageKind,
    StepRecord,
)
from manor.model.notification import Notification
from manor.model.nsd import Nsd
from manor.model.vnfd import Vnfd
from manor.plugin import Plugins, PluginSettings
from manor.store import instances, notifications, operations, packages
from manor.store.database import Database

__all__ = ["Doom", "SimSite", "Snapshot", "opened"]

_WORLD = "sim"
_WORLDS: dict[str, World] = {}


class _World(BaseModel):
    world: str


class _SimPlugin:
    """Drivers on a world that lives in this test's memory."""

    @hookimpl
    def manor_vim_drivers(self) -> Iterable[VimDriver]:
        def connect(settings: _World, env: DriverEnvironment) -> FakeVim:
            return FakeVim(_WORLDS[settings.world], owner=env.owner)

        yield VimDriver(name="sim", summary="", config=_World, connect=connect, replace_on=REPLACE_ON)

    @hookimpl
    def manor_sdn_drivers(self) -> Iterable[SdnDriver]:
        def connect(settings: _World, env: DriverEnvironment) -> FakeSdn:
            return FakeSdn(_WORLDS[settings.world], owner=env.owner, follow_nodes=True)

        yield SdnDriver(name="sim", summary="", config=_World, connect=connect)


_PLUGINS: list[Plugins] = []


def _plugins() -> Plugins:
    """Found and imported once: thousands of processes share them."""
    if not _PLUGINS:
        _PLUGINS.append(Plugins(extra={"sim": _SimPlugin()}, entry_points=False, settings=PluginSettings()))
    return _PLUGINS[0]


class Doom:
    """Dies at the ``at``-th boundary, journal's or driver's, and from then on everywhere in the process."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.names: list[str] = []

    @property
    def passed(self) -> int:
        """Number of boundaries so far."""
        return len(self.names)

    def pass_by(self, name: str) -> None:
        """Note it, or die."""
        self.names.append(name)
        if self.at is not None and self.passed > self.at:
            raise Crash(name)


class _Operations(Operations):
    """Whoever watches an operation has it worked off first: waiting is for real workers."""

    def __init__(self, site: SimSite, database: Database) -> None:
        super().__init__(database, InlineEngine(), clock=lambda: site.scheduler.now_s)  # type: ignore[arg-type]
        self._site = site

    def watch(self, operation_id: str, **how: Any) -> Iterator[Progress]:
        self._site.work()
        return super().watch(operation_id, **how)


class _Worker:
    """What a runtime needs of one; the site runs what is at work."""

    def __init__(self, site: SimSite, rt: Runtime) -> None:
        self._site = site
        self.operations = _Operations(site, rt.store)
        self.is_working = True

    def start(self) -> bool:
        self._site.work()
        return True

    def close(self) -> None:
        """Nothing runs between calls."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that outlives a process: the database, the platform, the time."""

    restore: Callable[[], None]
    """Puts the database back."""
    state: State
    now_s: float


class SimSite:
    """One world and one database; processes on it come and go. ``path`` should be in memory.

    One site at a time, for its drivers find its world by a fixed name.
    """

    def __init__(self, path: Path, *, hosts: int = 1) -> None:
        self.path = path
        self.scheduler = Scheduler(0)
        self.parallelism = 8
        self.database = Database.open(path / "manor.db")
        self.world = World(
            hosts=[FakeHost(name=f"host-{n}", outside=("eth7",)) for n in range(1, hosts + 1)],
            clock=lambda: self.scheduler.clock(),
            sleep=lambda seconds: self.scheduler.sleep(seconds),
        )
        self.world.boundary = self._boundary
        _WORLDS[_WORLD] = self.world
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(CallContext, "within", self._within)
        self._patch.setattr("manor.lcm.world._at_once", lambda ask, subjects: [ask(one) for one in subjects])
        self.rt = self._process()

    def _within(self, seconds: float, *, operation: str = "", attempt: int = 1) -> CallContext:
        """What the planner gives a call: so much simulated time."""
        deadline = self.scheduler.clock() + seconds
        return CallContext(deadline=deadline, operation=operation, attempt=attempt, clock=self.scheduler.clock)

    def _process(self) -> Runtime:
        self.doom = Doom()
        self.calls: list[Moment] = []
        """Both sides of every mutating call of this process."""
        self.hung: dict[Any, Any] = {}
        self._interruption: tuple[int, Callable[[], object]] | None = None
        rt = Runtime(home=self.path, plugins=_plugins())
        rt._store = self.database
        rt._worker = _Worker(self, rt)  # type: ignore[assignment]
        return rt

    def restart(self) -> None:
        """The process ends; the next one finds what it left."""
        self.scheduler.kill()
        self.rt = self._process()

    def snapshot(self) -> Snapshot:
        """To come back to."""
        restore = self._copied_file() if self.database.is_sqlite else self._copied_rows()
        with self.world.look() as state:
            return Snapshot(restore=restore, state=_copied(state), now_s=self.scheduler.now_s)

    def rewind(self, to: Snapshot, seed: int = 0) -> None:
        """As it was then, with new dice and a new process."""
        self.scheduler.kill()
        self.scheduler = Scheduler(seed)
        self.scheduler.now_s = to.now_s
        to.restore()
        with self.world.change() as state:
            fresh = _copied(to.state)
            for name in State.__slots__:
                setattr(state, name, getattr(fresh, name))
        self.world.calls.clear()
        self.rt = self._process()

    def _copied_file(self) -> Callable[[], None]:
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        self._sqlite(lambda live: live.backup(copy))
        return lambda: self._sqlite(copy.backup)

    def _copied_rows(self) -> Callable[[], None]:
        tables = [table for table in SQLModel.metadata.sorted_tables if table.name.startswith("manor_")]
        with self.database.read() as tx:
            kept = [(table, [dict(row) for row in tx.execute(table.select()).mappings()]) for table in tables]

        def restore() -> None:
            with self.database.begin() as tx:
                for table in reversed(tables):
                    tx.execute(table.delete())
                for table, rows in kept:
                    if rows:
                        tx.execute(table.insert(), rows)

        return restore

    def _sqlite(self, do: Callable[[Any], None]) -> None:
        live = self.database.engine.raw_connection()
        try:
            do(live.driver_connection)
        finally:
            live.close()

    def close(self) -> None:
        """Let go of the database."""
        self.scheduler.kill()
        self.database.close()
        self._patch.undo()

    # preparing

    def register(self) -> None:
        """A VIM and a controller on the world."""
        for kind, name in ((EndpointKind.VIM, "lab"), (EndpointKind.SDN, "net")):
            endpoints.add(self.rt, kind, name, driver="sim", config={"world": _WORLD})

    def onboard(self, descriptor: Nsd | Vnfd) -> None:
        """Keep a package with this descriptor."""
        kind = PackageKind.NS if isinstance(descriptor, Nsd) else PackageKind.VNF
        files = {} if kind is PackageKind.NS else {f: hash_of(descriptor.id + f) for f in FILES}
        info = PackageInfo(
            id=f"pkg-{descriptor.id}",
            kind=kind,
            descriptor_id=descriptor.id,
            name=descriptor.id,
            operational_state=OperationalState.ENABLED,
            artifacts=files,
        )
        with self.rt.store.begin() as tx:
            packages.add(tx, info, descriptor=as_json(descriptor))

    def create(self, nsd: Nsd, name: str, sid: str) -> None:
        """A service that does not run yet."""
        with self.rt.store.begin() as tx:
            package = packages.get(tx, nsd.id, kind=PackageKind.NS)
            instances.add(tx, NsInstance(id=sid, name=name, nsd_id=nsd.id, nsd_package=package.id, flavour_id=""))

    # working

    def apply(self) -> Apply:
        """As a process that starts now would have it."""
        return Apply(
            journal=Journal(self.rt.store),
            executor=Driving(rt=self.rt, sleep=self.scheduler.sleep),
            parallelism=self.parallelism,
            poll_s=20.0,
            moment=self._moment,
            pause=self.scheduler.pause,
            clock=self.scheduler.clock,
            lanes=self.scheduler,
            hung=self.hung,
        )

    def work(self) -> None:
        """Run all that is at work to where it rests. Raises Crash where doom strikes."""
        with self.rt.store.read() as tx:
            waiting = operations.at_work(tx)
        for operation in sorted(waiting, key=lambda one: one.ns_id):  # their own ids are drawn anew each time
            self.apply().run(operation.id)

    def _moment(self, moment: str, step: str) -> None:
        self.doom.pass_by(f"{moment} {step}")
        if moment == "after call" and self._interruption and self.doom.passed > self._interruption[0]:
            (_, act), self._interruption = self._interruption, None
            with contextlib.suppress(UsageError):
                act()
        if moment in ("before call", "after call"):
            self.scheduler.turn()

    def _boundary(self, moment: Moment) -> None:
        self.calls.append(moment)
        self.doom.pass_by(f"{moment.when} {moment.verb} {moment.key}")
        self.scheduler.turn()

    def interrupt(self, at: int, act: Callable[[], object]) -> None:
        """Let somebody do this in the middle of the work, once so many boundaries are passed."""
        self._interruption = at, act

    def survive(self, doom: Doom, *, goes_on: bool = True) -> None:
        """Work under this doom; where it strikes, be a new process, and work to the end where that one ``goes_on``."""
        self.doom = doom
        try:
            self.work()
        except Crash:
            self.restart()
            if goes_on:
                self.work()
        self.doom = Doom()

    # looking

    def operation(self, operation_id: str) -> NsLcmOpOcc:
        """The operation as the journal has it."""
        with self.rt.store.read() as tx:
            return operations.get(tx, operation_id)

    def steps(self, operation_id: str) -> tuple[StepRecord, ...]:
        """Its journal."""
        with self.rt.store.read() as tx:
            return operations.steps(tx, operation_id)

    def told_after(self, seq: int) -> tuple[Notification, ...]:
        """What subscribers were told since."""
        found: list[Notification] = []
        with self.rt.store.read() as tx:
            while page := notifications.after(tx, found[-1].seq if found else seq):
                found += page
        return tuple(found)

    def last(self, name: str) -> NsLcmOpOcc | None:
        """The service's last operation."""
        ns_now = self.ns(name)
        return self.operation(ns_now.last_operation) if ns_now.last_operation else None

    def ns(self, name: str) -> NsInstance:
        """The service as the store has it."""
        with self.rt.store.read() as tx:
            return instances.get(tx, name)

    def desired(self, name: str) -> DesiredState | None:
        """What should be there of it."""
        with self.rt.store.read() as tx:
            return instances.desired(tx, instances.get(tx, name).id)

    def hosts(self) -> tuple[FakeHost, ...]:
        """The hosts as they are."""
        with self.world.look() as state:
            return state.hosts

    def there(self, name: str = "") -> Counter[str]:
        """Keys of all that exists and is not an image, with how often; of one service, or of all."""
        prefix = f"{self.ns(name).id}/" if name else ""
        return Counter(
            native.spec.key
            for native in self.world.natives()
            if native.spec.kind is not ResourceKind.IMAGE and native.spec.key.startswith(prefix)
        )

    def wanted(self, name: str) -> Counter[str]:
        """Keys of all that should exist and is not an image."""
        state = self.desired(name)
        return Counter(r.spec.key for r in state.resources if not r.shared) if state else Counter()


def _copied(state: State) -> State:
    natives = {name: replace(native, ran=list(native.ran)) for name, native in state.natives.items()}
    return replace(state, natives=natives, faults=list(state.faults), hits=list(state.hits), ports=dict(state.ports))


@contextlib.contextmanager
def opened(*descriptors: Nsd | Vnfd, hosts: int = 1) -> Iterator[SimSite]:
    """A site with a VIM, a controller and these packages, in memory where there is one: nothing here tests a disk."""
    with directory() as path, pytest.MonkeyPatch.context() as patch:
        image = path / "image"
        image.write_bytes(b"content")
        patch.setattr("manor.catalog.contents.artifact_path", lambda _home, _sha256: image)
        site = SimSite(path / "home", hosts=hosts)
        try:
            site.register()
            for descriptor in descriptors:
                site.onboard(descriptor)
            yield site
        finally:
            site.close()
