"""What the queue writes to the log, less what we tell ourselves: that the database is away.

Each of DBOS's threads says so every second, some with a traceback that is longer than a screen. Who follows an
operation is told by its command, in one line, and a node's log by its housekeeping.
"""

from __future__ import annotations

import logging

from manor.errors import StoreError

__all__ = ["hush"]

_AWAY = tuple(
    f"(psycopg.{name})"
    for name in ("OperationalError", "errors.AdminShutdown", "errors.CannotConnectNow", "errors.CrashShutdown")
)
"""How the error of a server that is away begins where it is told as text. A full disk, or a table that is missing, is
another matter."""


def hush(name: str) -> None:
    """Keep errors of a database that is away out of this logger. Twice is once."""
    log = logging.getLogger(name)
    if _is_news not in log.filters:
        log.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    if any(error in record.getMessage() for error in _AWAY):
        return False
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        if isinstance(error, StoreError):
            return False
        error = error.__cause__ or error.__context__
    return True
