"""``manor db``: where the one thing to back up is, and how to bring it to this release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manor.cli.render.steps import size
from manor.cli.session import Session, new_app, session
from manor.errors import UsageError

__all__ = ["app"]

app = new_app("The database: where it is, its version, upgrade, backup.")


def _shown_url(url: str) -> str:
    """Without the password."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@", 1) if parts.password else url


@app.command()
def show(ctx: typer.Context) -> None:
    """Show where the database is, its schema version and what this release needs."""
    from manor.store.database import Database, normal_url, sqlite_path
    from manor.store.migrations import SCHEMA_VERSION

    s = session(ctx)
    url = normal_url(s.url)
    path = sqlite_path(url)
    there = path is None or path.exists()
    version, installation = None, ""
    if there:
        database = Database.connect(url)
        try:
            version = database.schema_version()
            installation = database.installation_id if version is not None else ""
        finally:
            database.close()
    facts = {
        "home": str(s.home),
        "url": _shown_url(url),
        "exists": there,
        "size_bytes": path.stat().st_size if path and there else None,
        "schema_version": version,
        "schema_needed": SCHEMA_VERSION,
        "installation_id": installation,
    }

    def human() -> None:
        s.out.fields(
            [
                ("home", facts["home"]),
                ("url", facts["url"]),
                ("size", size(path.stat().st_size) if path and there else ""),
                ("schema", f"{version} (this release: {SCHEMA_VERSION})" if there else "not made yet"),
                ("installation", installation),
            ]
        )

    s.out.result(facts, human)


@app.command()
def upgrade(ctx: typer.Context) -> None:
    """Make the database, or bring it to this release's schema."""
    from manor.store.database import Database

    s = session(ctx)
    s.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database.connect(s.url)
    try:
        before = database.schema_version()
        after = database.upgrade()
    finally:
        database.close()
    words = (
        "is up to date" if before == after else f"went from {before} to {after}" if before else f"made, version {after}"
    )
    s.out.result({"before": before, "after": after}, lambda: s.out.line(f"schema {words}"))


@app.command()
def backup(
    ctx: typer.Context,
    target: Annotated[Path, typer.Argument(help="File to write; must not be there yet.")],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Copy a SQLite database while it is in use. PostgreSQL has pg_dump for this."""
    from manor.store.backup import backup as copy

    s = session(ctx)
    source = _sqlite_file(s)
    if target.exists() and not force:
        raise UsageError(f"{target} is there already", hint="choose another name, or add --force")
    written = copy(source, target)
    done = {"source": str(source), "target": str(target), "size_bytes": written}
    s.out.result(done, lambda: s.out.line(f"{target}, {size(written)}"))


def _sqlite_file(s: Session) -> Path:
    from manor.store.database import normal_url, sqlite_path

    path = sqlite_path(normal_url(s.url))
    if path is None:
        raise UsageError("the database is PostgreSQL", hint="back it up with pg_dump")
    if not path.exists():
        raise UsageError(f"there is no database at {path}", hint="nothing to back up; manor db show")
    return path
