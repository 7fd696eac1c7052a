"""Commands that plugins bring. Their names stand in a small cache, so that help and completion import no plugin."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manor.errors import PluginError

__all__ = ["help_lines", "import_target"]

_SWITCHES = ("MANOR_PLUGINS_ALLOW", "MANOR_PLUGINS_DENY", "MANOR_PLUGINS_SAFE_MODE")


def _fingerprint() -> list[Any]:
    """What changes when a distribution is installed, upgraded or removed: cheap to read, no metadata is parsed."""
    places = [[path, os.stat(path).st_mtime_ns] for path in sys.path if path and os.path.isdir(path)]
    return [sys.version, sys.prefix, [os.environ.get(name) for name in _SWITCHES], places]


def _cache_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "manor" / "commands.json"


def help_lines(*, reserved: frozenset[str]) -> Mapping[str, str]:
    """Help line by name of each command of a plugin; none with a name of core's (``doctor`` reports that)."""
    fingerprint = _fingerprint()
    try:
        cached = json.loads(_cache_file().read_text())
        if cached["fingerprint"] == fingerprint and _unchanged(cached["modules"]):
            return {str(name): str(line) for name, line in cached["lines"].items() if name not in reserved}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # no cache, or an old or broken one: made anew below
    lines, modules = _ask()
    _keep({"fingerprint": fingerprint, "lines": lines, "modules": modules})
    return {name: line for name, line in lines.items() if name not in reserved}


def _ask() -> tuple[dict[str, str], dict[str, int]]:
    from importlib.metadata import entry_points

    from manor.api import ENTRY_POINT_GROUP
    from manor.plugin import Plugins

    try:
        lines = {name: provided.record.help for name, provided in Plugins().cli_commands().items()}
    except PluginError:
        lines = {}  # a conflict: `manor plugin list` shows it; help has to work all the same
    entered = (sys.modules.get(point.module) for point in entry_points(group=ENTRY_POINT_GROUP))
    files = sorted({module.__file__ for module in entered if module and module.__file__})
    return lines, {path: os.stat(path).st_mtime_ns for path in files}


def _unchanged(modules: Mapping[str, int]) -> bool:
    return all(os.stat(path).st_mtime_ns == mtime for path, mtime in modules.items())


def _keep(value: object) -> None:
    target = _cache_file()
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = target.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(value))
        partial.replace(target)
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else


def import_target(name: str) -> Any:
    """The Typer application of the plugin command ``name``. Raises PluginError where it cannot be had."""
    from manor.plugin import Plugins

    provided = Plugins().choose("manor_cli_commands", name)
    module, _, attribute = provided.record.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute or "app")
    except KeyboardInterrupt:
        raise
    # A stranger's code: whatever goes wrong in it is told as the plugin's fault.
    except BaseException as error:
        raise PluginError(
            f"the command '{name}' of {provided.plugin} ({provided.provenance}) cannot be loaded: {error}",
            hint="manor plugin list",
        ) from error
