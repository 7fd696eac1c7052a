"""What exists: hosts, natives (resources as the platform has them) and the faults that lie in wait.

Drivers hold no state of their own. :meth:`World.change` is the only way in: one thread, and with a state file one
process, at a time; the file is replaced atomically, so that a kill leaves the world before or after a change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.api import (
    CallContext,
    FlowProgram,
    Phase,
    ResourceKind,
    ResourceRef,
    ResourceSpec,
    spec_from_json,
    spec_to_json,
)
from manor.fakes.faults import MUTATING, Action, Boundary, Fault, Moment, When, carry_out

__all__ = ["FakeHost", "Native", "State", "World", "name_of", "ref_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeHost:
    """A compute host of a fake world."""

    name: str
    vcpus: int = 64
    memory_bytes: int = 256 << 30
    storage_bytes: int = 4 << 40
    zone: str = ""
    reachable: bool = True
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Capabilities that cannot be had on it, and why."""
    hugepages_bytes: Mapping[int, int] = field(default_factory=lambda: {2 << 20: 16 << 30})
    """Memory set aside as huge pages, beside ``memory_bytes``, by the size of a page."""
    outside: tuple[str, ...] = ()
    """Devices of its switch behind which the outside is."""


@dataclass(kw_only=True, slots=True)
class Native:
    """A resource as the platform has it. Change it inside :meth:`World.change` only."""

    spec: ResourceSpec
    spec_hash: str
    native_id: str
    phase: Phase
    born_s: float
    """World time of its last start."""
    program: FlowProgram | None = None
    ran: list[list[str]] = field(default_factory=list)
    """Every argv that ran in the guest."""
    unplugged: bool = False
    """Whether its ports are off the switch, while it runs."""


def name_of(spec: ResourceSpec) -> tuple[str, str, str, str]:
    """What a native is kept under."""
    return spec.owner, str(spec.kind), spec.key, getattr(spec, "host", "")


def ref_of(spec: ResourceSpec) -> ResourceRef:
    """How core refers to a native."""
    return ResourceRef(kind=spec.kind, key=spec.key, host=getattr(spec, "host", ""))


@dataclass(slots=True)
class State:
    natives: dict[tuple[str, str, str, str], Native] = field(default_factory=dict)
    """By owner, kind, key and host, so that a resource doubled on two hosts shows."""
    hosts: tuple[FakeHost, ...] = (FakeHost(name="host-1"),)
    faults: list[Fault] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    """Matching calls so far, by fault."""
    serial: int = 0
    """Numbers given out, for native ids and switch ports."""
    ports: dict[str, int] = field(default_factory=dict)
    """OpenFlow port number by ``host/device``."""

    def number_port(self, host: str, device: str) -> int:
        """The port number of an interface, given out when first asked."""
        name = f"{host}/{device}"
        if name not in self.ports:
            self.serial += 1
            self.ports[name] = self.serial
        return self.ports[name]


class World:
    """A fake platform, shared by any number of drivers, threads and (with ``state_file``) processes."""

    def __init__(
        self,
        *,
        hosts: Iterable[FakeHost] | None = None,
        state_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        boundary: Boundary | None = None,
    ) -> None:
        self.clock = clock
        self.sleep = sleep
        self.boundary = boundary
        self.calls: deque[Moment] = deque(maxlen=10_000)
        """The last mutating calls that had their effect, by this process."""
        self.metrics: dict[str, dict[str, float]] = {}
        """What nodes measure, by key and metric name; for this process only."""
        self._file = state_file
        self._seen: tuple[int, int, int] | None = None
        self._lock = threading.RLock()
        self._depth = 0
        self._state = State()
        if hosts is not None:
            self._state.hosts = tuple(hosts)

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """The state, for reading and changing, with everybody else kept out. What raises inside is kept as well."""
        with self._lock:
            if self._file is None or self._depth:
                yield self._state
                return
            self._depth += 1
            try:
                with _locked(self._file):
                    self._refresh(self._file)
                    try:
                        yield self._state
                    finally:
                        self._save(self._file)
            finally:
                self._depth -= 1

    @contextlib.contextmanager
    def look(self) -> Iterator[State]:
        """The state, for reading."""
        with self._lock:
            if self._file is not None and not self._depth:
                with _locked(self._file):
                    self._refresh(self._file)
            yield self._state

    def inject(self, *faults: Fault) -> None:
        """Let these befall calls from now on, of every process that shares the world."""
        with self.change() as state:
            state.faults += faults
            state.hits += [0] * len(faults)

    def heal(self) -> None:
        """Take back every fault."""
        with self.change() as state:
            state.faults.clear()
            state.hits.clear()

    def natives(self, owner: str | None = None) -> tuple[Native, ...]:
        """What exists, of one owner or of all."""
        with self.look() as state:
            return tuple(n for (who, *_), n in state.natives.items() if owner in (None, who))

    def destroy(self, key: str) -> None:
        """Out-of-band damage: what has this key is gone, and no driver is told."""
        with self.change() as state:
            for name in [name for name in state.natives if name[2] == key]:
                del state.natives[name]

    def stop(self, key: str) -> None:
        """Out-of-band damage: the node with this key crashes and stays off."""
        with self.change() as state:
            for native in state.natives.values():
                if native.spec.key == key and native.spec.kind is ResourceKind.NODE:
                    native.phase = Phase.STOPPED

    def unplug(self, key: str) -> None:
        """Out-of-band damage: the ports of the node with this key are taken off the switch."""
        with self.change() as state:
            for native in state.natives.values():
                native.unplugged |= native.spec.key == key and native.spec.kind is ResourceKind.NODE

    def set_hosts(self, *hosts: FakeHost) -> None:
        """Replace the hosts, as when one is lost or grows. Natives stay."""
        with self.change() as state:
            state.hosts = hosts

    def strike(self, moment: Moment, ctx: CallContext) -> None:
        """Let befall this call what lies in wait for it. Called outside of any lock, for a fault may hang."""
        if self.boundary is not None and moment.verb in MUTATING:
            self.boundary(moment)
        with self.look() as state:
            if not any(fault.matches(moment) for fault in state.faults):
                return
        befalling = []
        with self.change() as state:
            for index, fault in enumerate(state.faults):
                if fault.matches(moment):
                    if fault.strikes(state.hits[index]):
                        befalling.append(fault)
                    state.hits[index] += 1
        for fault in befalling:
            carry_out(fault, moment, ctx, self.sleep)

    # the state file

    def _refresh(self, path: Path) -> None:
        try:
            stat = path.stat()
        except FileNotFoundError:
            return
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            self._state = _from_json(json.loads(path.read_text()))
            self._seen = seen

    def _save(self, path: Path) -> None:
        temporary = path.with_name(f"{path.name}.new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(_to_json(self._state)))  # not dump(), which leaves C and is ten times slower
        temporary.replace(path)
        stat = path.stat()
        self._seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out. The lock is a file of its own, for the state file is replaced at each change."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _to_json(state: State) -> dict[str, Any]:
    return {
        "natives": [
            {
                "spec": spec_to_json(native.spec),
                "spec_hash": native.spec_hash,
                "native_id": native.native_id,
                "phase": native.phase,
                "born_s": native.born_s,
                "program": native.program and dataclasses.asdict(native.program),
                "ran": native.ran,
                "unplugged": native.unplugged,
            }
            for native in state.natives.values()
        ],
        "hosts": [dataclasses.asdict(host) for host in state.hosts],
        "faults": [dataclasses.asdict(fault) for fault in state.faults],
        "hits": state.hits,
        "serial": state.serial,
        "ports": state.ports,
    }


@functools.cache
def _programs() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(FlowProgram)


def _from_json(data: dict[str, Any]) -> State:
    natives = {}
    for item in data["natives"]:
        spec = spec_from_json(item["spec"])
        program = item["program"] and _programs().validate_python(item["program"])
        natives[name_of(spec)] = Native(**{**item, "spec": spec, "phase": Phase(item["phase"]), "program": program})
    faults = [Fault(**{**f, "action": Action(f["action"]), "when": When(f["when"])}) for f in data["faults"]]
    return State(
        natives=natives,
        hosts=tuple(_host_from_json(host) for host in data["hosts"]),
        faults=faults,
        hits=data["hits"],
        serial=data["serial"],
        ports=data["ports"],
    )


def _host_from_json(data: dict[str, Any]) -> FakeHost:
    data["outside"] = tuple(data.get("outside", ()))
    if "hugepages_bytes" in data:
        data["hugepages_bytes"] = {int(size): pages for size, pages in data["hugepages_bytes"].items()}
    return FakeHost(**data)
