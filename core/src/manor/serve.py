"""The long-running process: it works off operations, does the housekeeping, and stops without losing any of them.

On PostgreSQL several share a home. All work off operations; the one that holds the home's lock file watches over the
services and writes the home's files, and when it dies, however it dies, the kernel gives the lock to the next. On
SQLite one works at a time: a second one is refused, and a command that is just working off its own operation is waited
for. It tells systemd when it is ready, that it is alive and that it stops, where systemd asks to be told.
"""

from __future__ import annotations

import faulthandler
import fcntl
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from manor.errors import StoreError, UsageError

if TYPE_CHECKING:
    from manor.assure.loop import Assurance
    from manor.lcm.runtime import Runtime

__all__ = ["STOP_S", "alive", "leave_within", "notify", "serve"]

_AGAIN_S = 0.5
STOP_S = 30.0
"""Longer than stopping takes, unless the database neither answers nor refuses, or a hypervisor hangs."""
_AWAKE_S = 1.0
"""A signal that another thread takes in is seen when this one wakes."""
_LOOKS, _LOOK_S = 10, 0.05
"""Who only looks whether somebody serves holds the lock for a moment too."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger("manor.serve")


def serve(rt: Runtime, stop: threading.Event, *, metrics: tuple[str, int] | None = None) -> None:
    """Work until ``stop`` is set; then finish at the next step and let go.

    ``metrics`` is the address to answer Prometheus at. Raises UsageError where another one serves this home already,
    on SQLite or from another database.
    """
    from manor.assure.loop import Assurance
    from manor.notify.delivery import Delivery

    place = _Place(rt.home, rt.store.installation_id, is_shared=not rt.store.is_sqlite)
    delivery = Delivery(rt.store)
    assurance = Assurance(rt, watches_as=lambda: place.name)
    with place, _metrics(rt, metrics, assurance):
        waited = False
        while not stop.is_set() and not rt.worker.start():
            if not waited:
                _log.info("another command is working off its operation; waiting for it")
                waited = True
            stop.wait(_AGAIN_S)
        if stop.is_set():
            return  # told to end before it had begun
        _log.info("serving %s as process %d%s", rt.home, os.getpid(), place.beside())
        assurance.start()
        delivery.start()
        notify("READY=1", f"MAINPID={os.getpid()}")
        try:
            while not stop.wait(min(_watchdog_s() or _AWAKE_S, _AWAKE_S)):
                notify("WATCHDOG=1")
                if not place.name and place.take():
                    _log.info("the one that watched is gone: this process watches over the services now")
        finally:
            notify("STOPPING=1")
            _log.info("stopping at the next step; what is not finished is resumed later")
            delivery.stop()
            assurance.stop()
            place.leave()  # the next one watches while calls that run are waited for here
            rt.release_worker()


def alive(home: Path) -> int:
    """The process id of the one that serves this home, of several the one that watches; 0 where none does."""
    try:
        with open(home / "serve.lock", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.readline().strip() or 0)
    except (OSError, ValueError):
        pass
    return 0


def notify(*messages: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell systemd, where it wants to be told (sd_notify). Never fails: it is news, not work."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.sendto("\n".join(messages).encode(), f"\0{address[1:]}" if address[0] == "@" else address)
    except OSError as error:
        _log.debug("systemd was not told: %s", error)


def _watchdog_s() -> float | None:
    """How often to say that we are alive: half of what systemd allows; None where it does not ask."""
    given = os.environ.get("WATCHDOG_USEC", "")
    return int(given) / 2e6 if given.isdigit() and int(given) else None


def leave_within(seconds: float) -> None:
    """End the process as a crash would where it is not over by then, and say what hung.

    The journal is made for that, and waiting helps nobody: a call into a hypervisor that hangs cannot be interrupted,
    and Python waits for it to the end.
    """

    def leave() -> None:
        _log.warning("something hangs; leaving what is not finished to the next process. What the threads do:")
        faulthandler.dump_traceback(all_threads=True)
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


class _Place:
    """One process's place among those that serve a home: the first one holds its lock."""

    def __init__(self, home: Path, installation: str, *, is_shared: bool) -> None:
        self._home = home
        self._installation = installation
        self._is_shared = is_shared
        self.name = ""
        """The lock's own, which no other home has: who is the first here goes on at once where the one before had to
        stop, with no lease to wait for. Empty while another process is the first."""

    def __enter__(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._home / "serve.lock"
        try:
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open {path}: {error.strerror}", hint="check MANOR_HOME") from error
        self._file = os.fdopen(opened, "r+", encoding="ascii")
        for _ in range(_LOOKS):
            if self.take():
                return
            time.sleep(_LOOK_S)
        who, installation = self._said()
        if not self._is_shared or installation not in ("", self._installation):
            with self._file:
                other = "" if installation == self._installation else " from another database"
                raise UsageError(f"{self._home} is served already{other}, by process {who}", hint="stop that one first")

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let another one be the first."""
        self.name = ""
        self._file.close()

    def take(self) -> bool:
        """Become the first one where no other is; whether this is it now."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        lock = os.fstat(self._file.fileno())
        self.name = f"{_BOOT_ID.read_text().strip()}/{lock.st_dev}/{lock.st_ino}"
        try:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(f"{os.getpid()}\n{self._installation}\n")
            self._file.flush()
        except OSError as error:
            _log.warning("cannot write to %s who serves: %s", self._file.name, error.strerror)
        return True

    def beside(self) -> str:
        """For the log: beside whom."""
        return "" if self.name else f", beside process {self._said()[0]}, which watches"

    def _said(self) -> tuple[str, str]:
        """Process and installation of the one that is the first; the latter empty where it has not said yet."""
        self._file.seek(0)
        who, _, installation = self._file.read().strip().partition("\n")
        return who or "of another command", installation


@contextmanager
def _metrics(rt: Runtime, address: tuple[str, int] | None, assurance: Assurance) -> Iterator[None]:
    if address is None:
        yield
        return
    from prometheus_client import start_http_server

    from manor.store import instances, operations
    from manor.telemetry.export import registry
    from manor.telemetry.families import Assured
    from manor.telemetry.work import WorkFigures

    def counted(read: Callable[[], Iterator[str]]) -> Callable[[], Mapping[str, int]]:
        return lambda: Counter(read())

    def operation_states() -> Iterator[str]:
        with rt.store.read() as tx:
            yield from (str(operation.state) for operation in operations.at_work(tx))

    def service_states() -> Iterator[str]:
        with rt.store.read() as tx:
            yield from (str(ns.state) for ns in instances.all_of(tx))

    made = registry(
        version=version("manor"),
        calls=rt.plugins.counters.snapshot,
        stuck=lambda: len(rt.plugins.counters.in_flight(overdue=True)),
        operations=counted(operation_states),
        services=counted(service_states),
        more=[Assured(assurance.figures)],
    )
    took = WorkFigures(made)
    rt.watchers.append(lambda p: took.operation(p.operation) if p.step is None else took.step(p.step))
    host, port = address
    try:
        server, thread = start_http_server(port, addr=host, registry=made)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}:{port}: {error.strerror}", hint="choose another --metrics"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
