import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_LIFECYCLE = Path(__file__).parents[2] / "core" / "tests" / "lcm"
sys.path.insert(0, str(_LIFECYCLE))  # lcm_world.py, the stage
sys.path.insert(0, str(Path(__file__).parent))  # processes.py


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL prefix of a private PostgreSQL server; it runs as the user postgres, for it refuses root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or os.geteuid() != 0:
        pytest.skip("needs root and Debian's postgresql package")
    binaries = found[-1].parent
    home = Path(tempfile.mkdtemp(prefix="manor-pg-"))
    shutil.chown(home, "postgres")
    user = pwd.getpwnam("postgres").pw_name
    port = _free_port()
    data = home / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-A", "trust", "-U", "manor", "--no-sync"],
        user=user,
        group="postgres",
        extra_groups=[],
        check=True,
        capture_output=True,
        cwd=home,
    )
    log = (home / "log").open("wb")
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-k", home, "-p", str(port), "-c", "listen_addresses=127.0.0.1"],
        user=user,
        group="postgres",
        extra_groups=[],
        stdout=log,
        stderr=log,
        cwd=home,
    )
    try:
        for _ in range(200):
            ready = subprocess.run(
                [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], capture_output=True, check=False
            )
            if ready.returncode == 0:
                break
            assert server.poll() is None, (home / "log").read_text()
            server.poll()
            import time

            time.sleep(0.05)
        yield f"postgresql://manor@127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def new_postgresql(postgresql: str, request: pytest.FixtureRequest) -> str:
    """URL of a new empty database."""
    import psycopg

    name = f"t{os.urandom(4).hex()}"
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"{postgresql}/{name}"
