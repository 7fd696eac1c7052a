"""``pytest -p on_postgresql …``: every database file that a test opens is a PostgreSQL database instead.

A server of the run's own stands behind it. What is about SQLite's file itself, and what hands the file to another
process, is marked ``sqlite`` and left out; tests of the command line name :func:`another` in ``MANOR_DB``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from manor.lcm import engine
from manor.store import database
from manor.store.database import Database
from manor.testing.postgresql import new_database, private_postgresql

__all__ = ["another"]

_open = ExitStack()
_plain = database.normal_url
_place: list[str] = []
"""The server, and the database that others are copies of."""
_made: list[str] = []
"""Databases of the file under test: each is 8 MB."""

IDLE_TRANSACTION_S = 60.0
"""On a busy machine a test's thread may be still for as long as a node that is frozen."""


def another() -> str:
    """URL of a database with empty tables."""
    server, template = _place
    url = _plain(new_database(server, like=template.rpartition("/")[2]))
    _made.append(url.rpartition("/")[2])
    return url


def pytest_configure(config: pytest.Config) -> None:
    is_controller = not hasattr(config, "workerinput") and config.getoption("numprocesses", None)
    if is_controller:
        return  # the workers have servers of their own
    database.IDLE_TRANSACTION_S = engine.IDLE_TRANSACTION_S = IDLE_TRANSACTION_S
    server = _open.enter_context(private_postgresql())
    template = _plain(new_database(server))
    with Database.open(template) as made:
        queue = engine.DbosEngine(made)
        queue.prepare()  # or each test that runs an operation would make the queue's tables
        queue.close()
    _place[:] = server, template
    database.normal_url = _redirected()


def pytest_unconfigure() -> None:
    _open.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    yield
    if nextitem is None or nextitem.path != item.path:  # whatever fixtures a file shares are gone too
        with psycopg.connect(f"{_place[0]}/postgres", autocommit=True) as connection:
            for name in _made:
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        _made.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("sqlite"):
            item.add_marker(pytest.mark.skip(reason="is about SQLite"))


def _redirected() -> Callable[[str | Path], str]:
    urls: dict[str, str] = {}

    def normal_url(url: str | Path) -> str:
        normal = _plain(url)
        if not normal.startswith("sqlite:"):
            return normal
        if normal not in urls:
            urls[normal] = another()
        return urls[normal]

    return normal_url
