"""PostgreSQL's own programs for a copy of a database: pg_dump reads one consistent moment, whoever writes meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from manor.errors import StoreError

__all__ = ["dump", "load", "version"]

_VERSION = "schema_version\t"


def dump(url: str, target: Path) -> None:
    """Write the database to a file, in PostgreSQL's own format. Raises StoreError."""
    _run("pg_dump", ["--format=custom", "--lock-wait-timeout=30s", f"--file={target}"], url)


def load(url: str, source: Path) -> None:
    """Bring a file's content into an empty database, in one transaction. Raises StoreError."""
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    _run("pg_restore", [*options, str(source)], url)


def version(source: Path) -> int | None:
    """The schema's version in a file; None where it is not Manor's. Raises StoreError where it cannot be read."""
    said = _run("pg_restore", ["--data-only", "--table=manor_meta", "--file=-", str(source)])
    found = [line.removeprefix(_VERSION) for line in said.splitlines() if line.startswith(_VERSION)]
    return int(found[0]) if found and found[0].isdigit() else None


def _reaching(url: str) -> tuple[list[str], dict[str, str]]:
    """Options and environment to reach a database: any user can see a command line, so a password is not on it."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parts = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    password = parts.pop("password", None)
    named = make_conninfo("", **{key: str(value) for key, value in parts.items()})
    return ["--no-password", f"--dbname={named}"], {"PGPASSWORD": str(password)} if password else {}


def _run(program: str, options: Sequence[str], url: str = "") -> str:
    path = shutil.which(program)
    if path is None:
        raise StoreError(f"there is no {program} here", hint="apt-get install postgresql-client")
    reaching, environment = _reaching(url) if url else ([], {})
    done = subprocess.run(  # noqa: S603 - a list, no shell
        [path, *reaching, *options],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise StoreError(f"{lines[0] if lines else program + ' failed'}"[:300], hint="look at the database's own log")
    return done.stdout.decode(errors="replace")
