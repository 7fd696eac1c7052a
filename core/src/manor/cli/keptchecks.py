"""Checks of ``manor doctor`` that look at what the home holds, and at who is registered: else whatever of it is lost or
damaged is told by the one command that needs it, at night."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from manor.api import CallContext, DoctorCheck, Finding, Severity
from manor.cli.session import Session
from manor.errors import ManorError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from manor.cli.endpoints import View
    from manor.model.instance import Endpoint

__all__ = ["is_damaged", "kept_checks", "without_files"]

_ITS_SHARE = 0.9


def kept_checks(s: Session) -> list[DoctorCheck]:
    """A check each of the operator's settings, of packages' files, of the KPI history and of the VIMs."""
    return [
        DoctorCheck(name="settings", summary="the settings in the home are meant", check=lambda _: _settings(s)),
        DoctorCheck(name="packages", summary="packages have their files", check=lambda _: _packages(s)),
        DoctorCheck(name="history", summary="the history of KPIs can be read", check=lambda _: _history(s)),
        DoctorCheck(name="endpoints", summary="VIMs answer", check=lambda ctx: _endpoints(s, ctx)),
    ]


def without_files(s: Session, tx: Connection) -> list[str]:
    """Names of packages whose files this home lacks."""
    from manor.catalog.contents import artifact_path
    from manor.store import packages

    def is_here(sha256: str) -> bool:
        path = artifact_path(s.home, sha256)
        return path.is_file() and path.stat().st_size > 0

    return [info.name for info in packages.all_of(tx) if not all(map(is_here, info.artifacts.values()))]


def is_damaged(error: StoreError) -> bool:
    """Whether it tells of a file that is no good any more, and not of one that cannot be had now."""
    return any(word in error.message for word in ("damaged", "malformed", "not a database"))


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
    except StoreError as error:
        hint = error.hint
        if "doctor" in hint and is_damaged(error):
            hint = f"move {path} away; manor serve makes a new one"
        elif "doctor" in hint:
            hint = f"see whose it is, and what else is there: ls -l {path}*"
        yield _wrong("history-unusable", error.message, hint)


def _endpoints(s: Session, ctx: CallContext) -> Iterator[Finding]:
    from manor.cli.endpoints import registered
    from manor.model.instance import EndpointKind

    if not _has_database(s):
        return
    known = registered(s, EndpointKind.VIM)  # to ask a controller starts its agent: manor sdn check
    views = _answers(s, known, ctx)
    for endpoint in known:
        view = views.get(endpoint.name)
        if view is None:
            said, hint = "has not answered in time", ""
        elif not view.ok:
            said = f"{'answers, but' if view.capabilities else 'does not answer:'} {view.problem}"
            hint = view.hint
        else:
            continue
        hint = hint or f"manor {endpoint.kind} check {endpoint.name}"
        yield _wrong("endpoint-away", f"{endpoint.kind} {endpoint.name} {said}", hint)
    names = ", ".join(endpoint.name for endpoint in known)
    yield Finding(severity=Severity.INFO, code="endpoints", message=f"{len(known)} registered: {names or 'none'}")


def _answers(s: Session, known: Collection[Endpoint], ctx: CallContext) -> dict[str, View]:
    """What each endpoint says, by name, all asked at once. One that hangs, whatever it was told, is left to hang."""
    from manor.cli.endpoints import look

    told: SimpleQueue[View | Exception] = SimpleQueue()
    # A driver that keeps to its time has its own words for what it waited for, and is to be heard.
    its_time = CallContext.within(ctx.remaining_s() * _ITS_SHARE)

    def ask(endpoint: Endpoint) -> None:
        try:
            told.put(look(s, endpoint, its_time))
        except Exception as error:  # raised again by whoever waits here
            told.put(error)

    for endpoint in known:
        threading.Thread(target=ask, args=(endpoint,), name=f"manor-check {endpoint.name}", daemon=True).start()
    found: dict[str, View] = {}
    with suppress(Empty):
        while len(found) < len(known):
            answer = told.get(timeout=ctx.remaining_s())
            if isinstance(answer, Exception):
                raise answer
            found[answer.name] = answer
    return found
