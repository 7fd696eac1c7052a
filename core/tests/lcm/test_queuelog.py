"""What the queue logs: not that the server is away, which is told elsewhere; all else."""

from __future__ import annotations

import logging

import pytest

from manor.errors import StoreError
from manor.lcm.queuelog import hush


@pytest.fixture
def log() -> logging.Logger:
    hush("manor.test.queue")
    return logging.getLogger("manor.test.queue")


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("(psycopg.OperationalError) connection refused", False),
        ("(psycopg.errors.AdminShutdown) terminating connection", False),
        ("(psycopg.errors.DiskFull) could not extend file", True),
        ("(psycopg.errors.UndefinedTable) no such relation", True),
        ("(sqlite3.OperationalError) database or disk is full", True),
    ],
)
def test_only_a_server_that_is_away_is_hushed(
    log: logging.Logger, caplog: pytest.LogCaptureFixture, text: str, is_told: bool
) -> None:
    log.warning("the queue: %s", text)
    assert bool(caplog.records) == is_told


def test_a_traceback_of_ours_is_hushed(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError from StoreError("away")
    except RuntimeError:
        log.exception("it ended")
    assert not caplog.records
