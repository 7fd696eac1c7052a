"""A real switch, a real agent, and namespaces as machines."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from manor.api import (
    CallContext,
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    DriverEnvironment,
    Observed,
    Query,
    ResourceRef,
    SdnPort,
    SegmentSpec,
)
from manor.testing.ovs import Netns, OvsHost, PrivateOvs, missing_for_ovs
from manor_sdn_ryu.config import RyuConfig
from manor_sdn_ryu.driver import RyuSdn

OWNER = "manor/test"
BRIDGE = "br-t"
_OUTGOING = 4
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 1 << 24
_BEHIND_S = 0.01
_LATE_S = 30.0


class Rig:
    """One host ``h1``: a private switch, a driver and its agent."""

    def __init__(
        self, directory: Path, ovs: PrivateOvs, runtime: str, settle_s: float = 0.05, audit_s: float = 0.0
    ) -> None:
        self.ovs = ovs
        self.directory = directory
        self.config = RyuConfig.model_validate(
            {
                "host": "h1", "ovsdb": ovs.ovsdb, "bridge": BRIDGE, "runtime": runtime, "settle_s": settle_s,
                "audit_s": audit_s,
            }
        )  # fmt: skip
        self.environment = DriverEnvironment(
            name="t", owner=OWNER, state_dir=directory / "state", runtime_dir=directory / "run"
        )
        self.driver = RyuSdn(self.config, self.environment)

    # --- the world

    def machine(self, number: int, *, device: str = "", **more: Any) -> tuple[OvsHost, SdnPort]:
        """A machine at 10.0.0.<number> and its port."""
        device = device or f"p{number}"
        mac = f"02:00:00:00:00:{number:02x}"
        host = self.ovs.add_host(
            BRIDGE, device, mac=mac, cidrs=[f"10.0.0.{number}/24", f"fd00::{number:x}/64"], device=device
        )
        addresses = (f"10.0.0.{number}", f"fd00::{number:x}")
        return host, SdnPort(key=device, host="h1", device=device, mac=mac, addresses=addresses, **more)

    def bump(self, label: str) -> tuple[OvsHost, ChainElement]:
        """A transparent function and its ports."""
        host = self.ovs.add_bump(BRIDGE, label)
        ports = [SdnPort(key=d, host="h1", device=d, mac="", transparent=True) for d in host.devices]
        return host, ChainElement(ingress=ports[0], egress=ports[1])

    # --- the driver

    def ctx(self, seconds: float = 30.0) -> CallContext:
        return CallContext.within(seconds)

    def apply(self, spec: SegmentSpec | ChainSpec) -> Observed:
        return self.driver.apply(self.driver.compile(spec, self.driver.topology(self.ctx())), self.ctx())

    def steer(self, spec: SegmentSpec | ChainSpec) -> Observed:
        """Apply, and empty the switch's cache: where frames go is tried, not how soon the cache follows the rules."""
        applied = self.apply(spec)
        self.ovs.appctl("revalidator/purge")
        return applied

    def remove(self, *specs: SegmentSpec | ChainSpec) -> None:
        for spec in specs:
            self.driver.remove(ResourceRef(kind=spec.kind, key=spec.key), self.ctx())

    def observe(self, key: str) -> Observed:
        (found,) = self.driver.observe(Query(owner=OWNER, keys=frozenset({key})), self.ctx())
        return found

    def packets(self, key: str, word: str) -> int:
        """Packets of all rules of ``key`` with ``word`` in their note."""
        return sum(rule["packets"] for rule in self.observe(key).detail["rules"] if word in rule["note"])

    def flows(self) -> list[str]:
        return self.ovs.flows(BRIDGE)

    @property
    def agent_pid(self) -> int:
        return int((self.environment.runtime_dir / "agent.pid").read_text())

    def kill_agent(self) -> None:
        pid = self.agent_pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not _runs(self.environment, pid), "the agent is dead")

    def end(self) -> None:
        end_agent(self.environment)


def end_agent(environment: DriverEnvironment) -> None:
    """End the agent that an endpoint started, if it runs."""
    try:
        pid = int((environment.runtime_dir / "agent.pid").read_text())
    except FileNotFoundError:
        return
    if _runs(environment, pid):
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not _runs(environment, pid), "the agent has ended")


def _runs(environment: DriverEnvironment, pid: int) -> bool:
    """Whether the process is this endpoint's agent; the number of a dead one may be another's by now."""
    try:
        return os.fsencode(environment.state_dir) in Path(f"/proc/{pid}/cmdline").read_bytes()  # a zombie's is empty
    except OSError:
        return False


def goes_first(thread: int = 0) -> None:
    """This thread (0: the caller) does not wait for what the machine does besides, which is not what is tried."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))


def forwards_first(*switches: PrivateOvs) -> None:
    """What a switch's full queues drop while it waits for a processor is not what is tried."""
    for ovs in switches:
        for thread in Path(f"/proc/{ovs.pid('ovs-vswitchd')}/task").iterdir():
            goes_first(int(thread.name))


def receiver(netns: Netns) -> socket.socket:
    """A UDP socket with room for all that comes while nobody reads."""
    opened = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    return opened


class Pace:
    """Even sending. Who was not run for a while does not make up for it: a burst would fill the switch's queue."""

    def __init__(self, per_second: float) -> None:
        self._pause_s = 1 / per_second
        self._due = time.monotonic()

    def wait(self) -> None:
        self._due = max(self._due + self._pause_s, time.monotonic() - _BEHIND_S)
        time.sleep(max(0.0, self._due - time.monotonic()))


def eventually(what: Callable[[], Any], why: str, within_s: float = 60.0) -> Any:
    """Wait for something to become true; returns it."""
    until = time.monotonic() + within_s
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < until, f"not within {within_s} s: {why}"
        time.sleep(0.02)


def segment(*ports: SdnPort, key: str = "s/vl/lan") -> SegmentSpec:
    return SegmentSpec(key=key, owner=OWNER, name=key.rpartition("/")[2], ports=ports)


def chain(
    source: SdnPort,
    target: SdnPort,
    *elements: ChainElement,
    key: str = "s/chain/web",
    classifiers: tuple[Classifier, ...] = (Classifier(protocol="udp"), Classifier(protocol="icmp")),
    **more: Any,
) -> ChainSpec:
    positions = tuple(ChainPosition(name=e.ingress.device[1:-1], elements=(e,)) for e in elements)
    return ChainSpec(
        key=key, owner=OWNER, name=key.rpartition("/")[2], segment="s/vl/lan", classifiers=classifiers,
        sources=(source,), destinations=(target,), positions=positions, **more,
    )  # fmt: skip


class Tap:
    """Sees frames that come in by an interface, with the kernel's time of arrival."""

    def __init__(self, netns: Netns, interface: str) -> None:
        self.socket = netns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((interface, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def sees(self, payload: bytes, within_s: float = 60.0) -> float:
        """When a frame with the payload came in; 0 when none did. Of what is not to come, say how long to look."""
        until = time.monotonic() + within_s
        # What is there already counts, however late it is looked at.
        while select.select([self.socket], [], [], max(0.0, until - time.monotonic()))[0]:
            frame, more, _, address = self.socket.recvmsg(4096, 256)
            if payload in frame and address[2] != _OUTGOING:
                stamp = next(data for _, kind, data in more if kind == _SO_TIMESTAMPNS)
                seconds, nanos = (int.from_bytes(stamp[i : i + 8], "little") for i in (0, 8))
                return seconds + nanos / 1e9
        return 0.0

    def send(self, frame: bytes) -> None:
        self.socket.send(frame)

    def close(self) -> None:
        self.socket.close()


class Stream:
    """Numbered datagrams one way, counted at the other end. The receiver listens before the first is sent, and after
    the last for as long as one is missing."""

    def __init__(self, source: Netns, target: Netns, address: str, *, per_second: int = 200, port: int = 5000) -> None:
        self._to = (address, port)
        self._source = source
        self._receiver = receiver(target)
        self._receiver.bind(self._to)
        self._receiver.settimeout(0.1)
        self._sender = source.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._per_second = per_second
        self._stop = threading.Event()
        self._until = float("inf")
        self.sent_s: list[float] = []
        self.received: list[int] = []
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    def __enter__(self) -> Stream:
        eventually(lambda: self._source.pings(self._to[0]), "the neighbour is known")
        for thread in reversed(self._threads):
            thread.start()
        try:
            eventually(lambda: len(self.received) > 10, "the stream flows")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        sending, receiving = self._threads
        sending.join()
        self._until = time.monotonic() + _LATE_S
        receiving.join()
        self._sender.close()
        self._receiver.close()

    @property
    def sent(self) -> int:
        return len(self.sent_s)

    @property
    def lost(self) -> int:
        return self.sent - len(set(self.received))

    def _send(self) -> None:
        goes_first()
        pace = Pace(self._per_second)
        while not self._stop.is_set():
            number = self.sent
            self.sent_s.append(time.monotonic())
            self._sender.sendto(number.to_bytes(8, "big"), self._to)
            pace.wait()

    def _receive(self) -> None:
        goes_first()
        while self._until == float("inf") or (self.lost and time.monotonic() < self._until):
            with contextlib.suppress(TimeoutError):
                self.received.append(self._take())

    def _take(self) -> int:
        """The next one's number. Raises TimeoutError."""
        return int.from_bytes(self._receiver.recv(64)[:8], "big")


@pytest.fixture(params=["ryu", "os-ken"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """On both libraries."""
    yield from standing(tmp_path, request.param)


@pytest.fixture
def one_rig(tmp_path: Path) -> Iterator[Rig]:
    """Where the library makes no difference."""
    yield from standing(tmp_path, "os-ken")


def standing(directory: Path, runtime: str) -> Iterator[Rig]:
    """A rig for as long as it is iterated over."""
    if reason := missing_for_ovs():
        pytest.skip(reason)
    with PrivateOvs() as ovs:
        ovs.add_bridge(BRIDGE)
        made = Rig(directory, ovs, runtime)
        try:
            yield made
        finally:
            made.end()
