import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.testing.postgresql import binaries, new_database, private_postgresql

_LIFECYCLE = Path(__file__).parents[2] / "core" / "tests" / "lcm"
sys.path.insert(0, str(_LIFECYCLE))  # lcm_world.py, the stage
sys.path.insert(0, str(Path(__file__).parent))  # processes.py


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL prefix of a private PostgreSQL server."""
    if binaries() is None:
        pytest.skip("needs root and Debian's postgresql package")
    with private_postgresql() as server:
        yield server


@pytest.fixture
def new_postgresql(postgresql: str) -> str:
    """URL of a new empty database."""
    return new_database(postgresql)
