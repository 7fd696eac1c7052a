from collections.abc import Iterator

import pytest

from manor.testing.postgresql import binaries, new_database, private_postgresql


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
