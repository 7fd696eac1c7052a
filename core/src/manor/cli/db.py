"""``manor db``: where the one thing to back up is, and how to bring it to this release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manor.cli.render.steps import size
from manor.cli.session import new_app, session
from manor.errors import UsageError

__all__ = ["app"]

app = new_app("The database: where it is, its version, upgrade, backup, restore.")


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
    """Copy the database while it is in use: SQLite by itself, PostgreSQL by pg_dump."""
    from manor.store.backup import backup as copy
    from manor.store.database import normal_url, sqlite_path

    s = session(ctx)
    url = normal_url(s.url)
    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise UsageError(f"there is no database at {path}", hint="nothing to back up; manor db show")
    if target.exists() and not force:
        raise UsageError(f"{target} is there already", hint="choose another name, or add --force")
    written = copy(url, target)
    done = {"source": str(path or _shown_url(url)), "target": str(target), "size_bytes": written}
    s.out.result(done, lambda: s.out.line(f"{target}, {size(written)}"))


@app.command()
def restore(
    ctx: typer.Context, source: Annotated[Path, typer.Argument(help="File that manor db backup wrote.")]
) -> None:
    """Make an empty database what it was when it was backed up; operations that ran then go on.

    Only one may live on: never start the old one again beside it.
    """
    from manor.cli.keptchecks import without_files
    from manor.store import migrations, operations
    from manor.store.backup import restore as put_back
    from manor.store.database import Database

    s = session(ctx)
    s.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = put_back(s.url, source)
    with Database.open(s.url, create=False) as database, database.read() as tx:
        running = [operation.id for operation in operations.at_work(tx)]
        missing = without_files(s, tx)
        installation = database.installation_id
    done = {
        "source": str(source),
        "installation_id": installation,
        "schema_version": migrations.SCHEMA_VERSION,
        "schema_before": before,
        "operations_at_work": running,
        "packages_without_files": missing,
    }

    def human() -> None:
        s.out.line(f"installation {installation} is restored, schema {migrations.SCHEMA_VERSION}")
        if running:
            s.out.line(f"{len(running)} operations go on with the next worker: manor serve")

    for name in missing:
        s.out.warn(f"files of package {name} are not here: bring back packages/, or manor package onboard PATH")
    s.out.result(done, human)
