"""The checks of ``manor doctor`` that need no plugin: Python, the home, the database, the plugins themselves."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from manor.api import CallContext, DoctorCheck, Finding, Severity
from manor.cli.burial import burial_check
from manor.cli.keptchecks import is_damaged, kept_checks
from manor.cli.render.steps import size
from manor.cli.session import Session
from manor.errors import StoreError

__all__ = ["core_checks"]

_LOW_SPACE_BYTES = 5 * 1024**3


def core_checks(s: Session, reserved: frozenset[str]) -> list[DoctorCheck]:
    """Core's own checks; ``reserved`` are the names of the built-in commands."""
    return [
        DoctorCheck(name="python", summary="the Python that runs Manor", check=_python),
        DoctorCheck(
            name="home",
            summary=f"the home {s.home} is ours alone and has room",
            check=lambda _: _home(s.home),
            fix=lambda _: _make_home(s.home),
        ),
        DoctorCheck(
            name="database", summary="the database opens", check=lambda _: _database(s), fix=lambda _: _upgrade(s)
        ),
        DoctorCheck(name="serve", summary="the long-running process", check=lambda _: _serving(s.home)),
        DoctorCheck(name="plugins", summary="every plugin runs", check=lambda _: _plugins(s, reserved)),
        *kept_checks(s),
        burial_check(),
    ]


def _say(severity: Severity, code: str, message: str, hint: str = "") -> Finding:
    return Finding(severity=severity, code=code, message=message, hint=hint)


def _python(_: CallContext) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield _say(Severity.INFO, "python", f"Python {version} at {sys.executable}")


def _home(home: Path) -> Iterator[Finding]:
    if not home.is_dir():
        yield _say(Severity.INFO, "home-missing", f"{home} is not there yet; the first command that needs it makes it")
        return
    if not os.access(home, os.W_OK):
        yield _say(
            Severity.ERROR,
            "home-readonly",
            f"{home} cannot be written",
            f"chown {os.geteuid()} {home}, or set MANOR_HOME",
        )
    if stat.S_IMODE(home.stat().st_mode) & 0o077:
        yield _say(Severity.WARNING, "home-open", f"others may look into {home}", f"chmod 700 {home}")
    free = shutil.disk_usage(home).free
    low = free < _LOW_SPACE_BYTES
    yield _say(
        Severity.WARNING if low else Severity.INFO,
        "home-space",
        f"{size(free)} free in {home}",
        "images and disks go there: free some space, or set MANOR_HOME" if low else "",
    )


def _make_home(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)


def _database(s: Session) -> Iterator[Finding]:
    from manor.store.database import Database, must_not_be_lost, normal_url, sqlite_path
    from manor.store.migrations import check

    path = None
    try:
        path = sqlite_path(normal_url(s.url))
        if path is not None:
            must_not_be_lost(path)
        if path is not None and not (path.exists() and path.stat().st_size):
            yield _say(Severity.INFO, "db-none", f"there is no database at {s.url} yet; the first command makes it")
            return
        database = Database.connect(s.url)
        try:
            version = database.schema_version()
            if path is not None:
                must_not_be_lost(path, lambda: version)
            check(version)
            database.must_be_whole()
            kind = "SQLite" if path else "PostgreSQL"
            yield _say(Severity.INFO, "db", f"{kind}, schema version {version}")
        finally:
            database.close()
    except StoreError as error:
        hint = error.hint
        if "doctor" in hint and path is not None and is_damaged(error):
            hint = f"move {path} away with what begins with its name, then manor db restore FILE"
        elif "doctor" in hint:
            hint = "manor db show" if path else "is the server up, and MANOR_DB right? (manor db show)"
        yield _say(Severity.ERROR, "db-unusable", error.message, hint)


def _upgrade(s: Session) -> None:
    from manor.store.database import Database, must_not_be_lost, normal_url, sqlite_path

    path = sqlite_path(normal_url(s.url))
    if path is not None:
        must_not_be_lost(path)
    database = Database.connect(s.url)
    try:
        if path is not None:
            must_not_be_lost(path, database.schema_version)
        database.upgrade()
    finally:
        database.close()


def _serving(home: Path) -> Iterator[Finding]:
    from manor.serve import alive

    pid = alive(home)
    words = f"process {pid} works off operations" if pid else "none runs; each command works off its own operation"
    yield _say(Severity.INFO, "serve", words)


def _plugins(s: Session, reserved: frozenset[str]) -> Iterator[Finding]:
    listing = s.runtime.plugins.listing()
    for info in listing:
        if info.state == "quarantined":
            who = f"{info.name} ({info.distribution} {info.version})"
            yield _say(Severity.ERROR, "plugin-quarantined", f"{who}: {info.error}", info.hint)
        for name in info.provides.get("manor_cli_commands", ()):
            if name in reserved:
                yield _say(
                    Severity.WARNING,
                    "plugin-command",
                    f"the command '{name}' of {info.name} is hidden by Manor's own",
                    f"ask its author for another name, or pip uninstall {info.distribution}",
                )
    ready = [info.name for info in listing if info.state == "ready" and not info.builtin]
    yield _say(Severity.INFO, "plugins", f"{len(ready)} installed: {', '.join(ready) or 'none'}")
