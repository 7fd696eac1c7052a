"""A PostgreSQL server of a test's own, because "the same on PostgreSQL" must be shown on PostgreSQL.

Needs root (the server refuses to run as root, so it is run as ``postgres``) and Debian's package ``postgresql``.
Nothing of it is durable, and nothing stays. A ``conftest.py`` that imports the fixtures ``postgresql`` and
``new_postgresql`` has them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from manor.testing.ports import free_port

__all__ = [
    "PrivatePostgresql",
    "new_database",
    "new_postgresql",
    "postgresql",
    "private_postgresql",
    "stoppable_postgresql",
]

_COME_UP_S = 120.0
_TRIES = 5


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a private server, to be followed by ``/`` and a database's name."""
    if _programs() is None:
        pytest.skip("needs root and Debian's postgresql package")
    with private_postgresql() as server:
        yield server


@pytest.fixture
def new_postgresql(postgresql: str) -> str:
    """URL of a new empty database."""
    return new_database(postgresql)


@dataclass(kw_only=True)
class PrivatePostgresql:
    """A server that may be stopped and started again, with what is in it and at the same address."""

    programs: Path
    home: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """To be followed by ``/`` and a database's name; the user may do everything."""
        return f"postgresql://manor@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, at a port that is free the first time; returns when it answers."""
        for _ in range(_TRIES):  # a port that was free may be another's a moment later
            port = self.port or free_port()
            # It ends with the thread that started it: a run that is killed leaves no server.
            serve = ["setpriv", "--pdeathsig", "INT", self.programs / "postgres", "-D", self.home / "data"]
            serve += ["-k", self.home]
            for setting in (f"port={port}", "listen_addresses=127.0.0.1", "fsync=off", "max_connections=300"):
                serve += ["-c", setting]
            with (self.home / "log").open("ab") as log:
                server = subprocess.Popen(serve, stdout=log, stderr=log, **_as_postgres(self.home))  # type: ignore[call-overload]  # noqa: S603
            # By its own socket: who answers at the port may be somebody else.
            if _answers(server, [self.programs / "pg_isready", "-h", self.home, "-p", str(port)]):
                self.port, self.process = port, server
                return
        log_end = (self.home / "log").read_text(errors="replace")[-1000:]
        raise RuntimeError(f"PostgreSQL did not come up: {log_end}")

    def stop(self) -> None:
        """Stop it the fast way: it does not wait for clients."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None


@contextlib.contextmanager
def stoppable_postgresql() -> Iterator[PrivatePostgresql]:
    """A fresh server, which runs."""
    programs = _programs()
    if programs is None:
        raise RuntimeError("needs root and Debian's postgresql package")
    home = Path(tempfile.mkdtemp(prefix="manor-pg-"))
    try:
        shutil.chown(home, "postgres")
        init = [programs / "initdb", "-D", home / "data", "-A", "trust", "-U", "manor", "--no-sync"]
        subprocess.run(init, check=True, capture_output=True, **_as_postgres(home))  # type: ignore[call-overload]  # noqa: S603
        server = PrivatePostgresql(programs=programs, home=home)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def private_postgresql() -> Iterator[str]:
    """The URL of a fresh server, to be followed by ``/`` and a database's name; the user may do everything."""
    with stoppable_postgresql() as server:
        yield server.url


def new_database(server: str, *, like: str = "template1") -> str:
    """URL of a new database on the server, a copy of ``like``."""
    import psycopg

    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{like}"'.encode())
    return f"{server}/{name}"


def _programs() -> Path | None:
    """Where the newest server's programs are; None where there is none, or we are not root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found and os.geteuid() == 0 else None


def _as_postgres(home: Path) -> dict[str, object]:
    return {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": home}


def _answers(server: subprocess.Popen[bytes], ask: list[Path | str]) -> bool:
    """Whether it does, at once or soon; False where it has ended."""
    until = time.monotonic() + _COME_UP_S
    while subprocess.run(ask, capture_output=True, check=False).returncode:  # noqa: S603
        if server.poll() is not None:
            return False
        if time.monotonic() > until:
            server.kill()
            server.wait()
            return False
        time.sleep(0.05)
    return True
