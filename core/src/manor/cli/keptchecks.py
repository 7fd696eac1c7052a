"""Checks of ``manor doctor`` that look at what the home holds, and at who is registered: else whatever of it is lost or
damaged is told by the one command that needs it, at night."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from manor.api import DoctorCheck, Finding, Severity
from manor.cli.session import Session
from manor.errors import ManorError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["kept_checks", "without_files"]


def kept_checks(s: Session) -> list[DoctorCheck]:
    """A check each of the operator's settings, of packages' files, of the KPI history and of the VIMs."""
    return [
        DoctorCheck(name="settings", summary="the settings in the home are meant", check=lambda _: _settings(s)),
        DoctorCheck(name="packages", summary="packages have their files", check=lambda _: _packages(s)),
        DoctorCheck(name="history", summary="the history of KPIs can be read", check=lambda _: _history(s)),
        DoctorCheck(name="endpoints", summary="VIMs answer", check=lambda _: _endpoints(s)),
    ]


def without_files(s: Session, tx: Connection) -> list[str]:
    """Names of packages whose files this home lacks."""
    from manor.catalog.contents import artifact_path
    from manor.store import packages

    def is_here(sha256: str) -> bool:
        path = artifact_path(s.home, sha256)
        return path.is_file() and path.stat().st_size > 0

    return [info.name for info in packages.all_of(tx) if not all(map(is_here, info.artifacts.values()))]


def _wrong(code: str, message: str, hint: str = "") -> Finding:
    return Finding(severity=Severity.ERROR, code=code, message=message, hint=hint)


def _has_database(s: Session) -> bool:
    """Whether there is one with tables: to open any other would make it."""
    from manor.store.database import Database, normal_url, sqlite_path

    path = sqlite_path(normal_url(s.url))
    if path is not None and not (path.exists() and path.stat().st_size):
        return False
    with Database.connect(s.url) as database:
        return database.schema_version() is not None


def _settings(s: Session) -> Iterator[Finding]:
    from manor.assure.settings import read_settings
    from manor.lcm.sites import read_placement, read_sites

    readers: tuple[Callable[..., object], ...] = (read_settings, read_sites, read_placement)
    for read in readers:
        try:
            read(s.home)
        except ManorError as error:
            yield _wrong("settings-wrong", error.message, error.hint or "correct it: docs/operating.md")


def _packages(s: Session) -> Iterator[Finding]:
    if not _has_database(s):
        return
    with s.runtime.store.read() as tx:
        missing = without_files(s, tx)
    for name in missing:
        hint = "bring back packages/ from a backup, or manor package onboard PATH"
        yield _wrong("package-files", f"files of package {name} are not in {s.home / 'packages'}", hint)


def _history(s: Session) -> Iterator[Finding]:
    from manor.store.history import subjects

    path = s.home / "history.db"
    if path.exists():
        path.open("rb").close()  # where we may not read it, it is no worse for that
    try:
        subjects(path)
    except ManorError as error:
        hint = error.hint if "doctor" not in error.hint else f"move it away: {path}; manor serve makes a new one"
        yield _wrong("history-unusable", error.message, hint)


def _endpoints(s: Session) -> Iterator[Finding]:
    from concurrent.futures import ThreadPoolExecutor

    from manor.cli.endpoints import look, registered
    from manor.model.instance import EndpointKind

    if not _has_database(s):
        return
    known = registered(s, EndpointKind.VIM)  # to ask a controller starts its agent: manor sdn check
    with ThreadPoolExecutor(8) as pool:
        for view in pool.map(lambda endpoint: look(s, endpoint), known):
            if not view.ok:
                word = "answers, but" if view.capabilities else "does not answer:"
                hint = view.hint or f"manor {view.kind} check {view.name}"
                yield _wrong("endpoint-away", f"{view.kind} {view.name} {word} {view.problem}", hint)
    names = ", ".join(endpoint.name for endpoint in known)
    yield Finding(severity=Severity.INFO, code="endpoints", message=f"{len(known)} registered: {names or 'none'}")
