"""Where plugins come from: core's own modules, and entry points of installed distributions.

Finding is cheap and imports nothing; :func:`load` imports one plugin inside its own guard.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from manor.api import ENTRY_POINT_GROUP, is_legal_name
from manor.errors import PluginError
from manor.plugin.guard import describe

__all__ = ["BUILTIN", "API_VERSION", "Candidate", "PluginSettings", "find", "load"]

API_VERSION = ENTRY_POINT_GROUP.rpartition(".v")[2]

BUILTIN = (
    "manor.fakes.plugin",
    "manor.vnfm.generic",
    "manor.nfvo.placement",
    "manor.telemetry.plugin",
    "manor.assure.plugin",
)
"""Core's own providers, which come in by the same door; one that is not there is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginSettings:
    """Which plugins may run. From the environment by :meth:`read`."""

    allow: frozenset[str] | None = None
    """``MANOR_PLUGINS_ALLOW``: of the installed plugins only these, by name and comma-separated; unset for all."""
    deny: frozenset[str] = frozenset()
    """``MANOR_PLUGINS_DENY``: never these, built-in ones (named by module) included."""
    safe_mode: bool = False
    """``MANOR_PLUGINS_SAFE_MODE``: only built-in plugins are imported; the others are listed, not run."""
    isolate: frozenset[str] = frozenset()
    """``MANOR_PLUGINS_ISOLATE``: what these connect runs in a process of its own, so that its crash is not core's."""
    strict: bool = False
    """``MANOR_PLUGINS_STRICT``: a quarantine is an error instead of a notice."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> PluginSettings:
        """The settings that these environment variables make."""
        allow = environ.get("MANOR_PLUGINS_ALLOW")
        return cls(
            allow=None if allow is None else _names(allow),
            deny=_names(environ.get("MANOR_PLUGINS_DENY", "")),
            safe_mode=_flag(environ.get("MANOR_PLUGINS_SAFE_MODE", "")),
            isolate=_names(environ.get("MANOR_PLUGINS_ISOLATE", "")),
            strict=_flag(environ.get("MANOR_PLUGINS_STRICT", "")),
        )

    def refuses(self, candidate: Candidate) -> str:
        """Why this plugin may not run, or nothing."""
        if candidate.name in self.deny:
            return "denied by MANOR_PLUGINS_DENY"
        if candidate.builtin:
            return ""
        if self.safe_mode:
            return "not loaded in safe mode (MANOR_PLUGINS_SAFE_MODE)"
        if self.allow is not None and candidate.name not in self.allow:
            return "not among MANOR_PLUGINS_ALLOW"
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A plugin that was found, not yet imported."""

    name: str
    distribution: str
    version: str
    target: str
    """``package.module`` or ``package.module:attribute``."""
    builtin: bool = False
    fetch: Callable[[], object]
    """Imports it."""

    @property
    def provenance(self) -> str:
        """Distribution and version, as errors and listings name it."""
        return f"{self.distribution} {self.version}".strip()


def find(builtin: Iterable[str], group: str | None = ENTRY_POINT_GROUP) -> list[Candidate]:
    """All plugins, built-in ones first, else by name. Imports none of them. Without ``group`` only the built-in."""
    from importlib.metadata import entry_points

    version = _own_version()
    found = [
        Candidate(
            name=module,
            distribution="manor",
            version=version,
            target=module,
            builtin=True,
            fetch=partial(importlib.import_module, module),
        )
        for module in builtin
    ]
    installed = []
    for point in entry_points(group=group) if group else ():
        dist = point.dist
        installed.append(
            Candidate(
                name=point.name,
                distribution=dist.name if dist else "?",
                version=dist.version if dist else "",
                target=point.value,
                fetch=point.load,
            )
        )
    return found + sorted(installed, key=lambda c: (c.name, c.distribution))


def load(candidate: Candidate) -> object | None:
    """Import one plugin. None where a built-in module is not part of this installation; PluginError on any fault."""
    if not (candidate.builtin or is_legal_name(candidate.name)):
        raise PluginError(
            f"illegal plugin name {candidate.name!r}", hint="2 to 39 lower case letters, digits and dashes"
        )
    try:
        return candidate.fetch()
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if candidate.builtin and (candidate.target == missing or candidate.target.startswith(f"{missing}.")):
            return None
        raise PluginError(
            f"cannot import {candidate.target}: {describe(error)}",
            hint=f"pip install {missing.partition('.')[0]}, or pip uninstall {candidate.distribution}",
        ) from error
    except KeyboardInterrupt:
        raise
    # Importing runs a stranger's code: whatever it raises, SystemExit too, must cost only this plugin.
    except BaseException as error:
        raise PluginError(
            f"cannot import {candidate.target}: {describe(error)}",
            hint=f"pip install --upgrade {candidate.distribution}, or pip uninstall {candidate.distribution}",
        ) from error


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("manor")
    except PackageNotFoundError:
        return ""


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, (part.strip() for part in text.split(","))))


def _flag(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "no", "off", "false")
