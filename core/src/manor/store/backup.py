"""A copy of a SQLite database that is in use, by SQLite's own online backup. PostgreSQL has pg_dump."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from manor.errors import StoreError

__all__ = ["backup"]


def backup(source: Path, target: Path) -> int:
    """Copy ``source`` to ``target`` (0600, replaced whole or not at all); its size in bytes.

    Raises StoreError where one of them cannot be read or written.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(partial)) as new,
        ):
            old.backup(new)
        partial.replace(target)
        return target.stat().st_size
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"cannot back up {source} to {target}: {error}", hint="choose another place") from error
