"""A PostgreSQL server of a test's own, because "the same on PostgreSQL" must be shown on PostgreSQL.

Needs root (the server refuses to run as root, so it is run as ``postgres``) and Debian's package ``postgresql``.
Nothing of it is durable, and nothing stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["binaries", "new_database", "private_postgresql"]


def binaries() -> Path | None:
    """Where the newest server's programs are; None where there is none, or we are not root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found and os.geteuid() == 0 else None


@contextlib.contextmanager
def private_postgresql() -> Iterator[str]:
    """The URL of a fresh server, to be followed by ``/`` and a database's name; the user may do everything."""
    programs = binaries()
    if programs is None:
        raise RuntimeError("needs root and Debian's postgresql package")
    home = Path(tempfile.mkdtemp(prefix="manor-pg-"))
    shutil.chown(home, "postgres")
    data, port = home / "data", _free_port()
    init = [programs / "initdb", "-D", data, "-A", "trust", "-U", "manor", "--no-sync"]
    # It ends with the thread that started it: a run that is killed leaves no server.
    serve = [
        "setpriv",
        "--pdeathsig",
        "INT",
        programs / "postgres",
        "-D",
        data,
        "-k",
        home,
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
    ]
    serve += ["-c", "fsync=off", "-c", "max_connections=300"]
    as_postgres = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": home}
    try:
        subprocess.run(init, check=True, capture_output=True, **as_postgres)  # type: ignore[call-overload]  # noqa: S603
        with (home / "log").open("wb") as log:
            server = subprocess.Popen(serve, stdout=log, stderr=log, **as_postgres)  # type: ignore[call-overload]  # noqa: S603
        try:
            _await(programs, port, server, home / "log")
            yield f"postgresql://manor@127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGINT)  # the fast way: it does not wait for clients
            server.wait(60)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def new_database(server: str, *, like: str = "template1") -> str:
    """URL of a new database on the server, a copy of ``like``."""
    import psycopg

    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{like}"'.encode())
    return f"{server}/{name}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(programs: Path, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30.0
    ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready, capture_output=True, check=False).returncode:  # noqa: S603
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"PostgreSQL did not come up: {log.read_text(errors='replace')[-1000:]}")
        time.sleep(0.05)
