"""``manor plugin check``: what can be said of a plugin without running its verbs. Needs no test tools."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from manor.api import ENTRY_POINT_GROUP, is_legal_name
from manor.authoring.probe import IMPORT_BUDGET_S, Probe, deprecated_uses, probe, wrong_imports
from manor.errors import PluginError, UsageError
from manor.plugin import PluginInfo, Plugins, PluginSettings

__all__ = ["Checked", "Subject", "check_plugin", "find_subject"]

_FAMILY = ENTRY_POINT_GROUP.rpartition(".v")[0]
_SECRETS = ("password", "secret", "token", "api_key", "private_key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The plugin to check."""

    name: str
    group: str
    target: str
    """Module, or ``module:attribute``."""
    source: Path | None = None
    """Folder to import from, where it is not installed."""

    @property
    def module(self) -> str:
        """What is imported."""
        return self.target.partition(":")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One question and its answer."""

    name: str
    ok: bool
    detail: str


def find_subject(wanted: str) -> Subject:
    """The plugin in the folder ``wanted``, else the installed one of that name. Raises UsageError for neither."""
    folder = Path(wanted)
    if folder.is_dir():
        return _in_folder(folder)
    family = {
        point.name: Subject(name=point.name, group=point.group, target=point.value)
        for distribution in distributions()
        for point in distribution.entry_points
        if point.group.startswith(f"{_FAMILY}.v")
    }
    for name in (wanted, wanted.removeprefix("manor-")):
        if name in family:
            return family[name]
    raise UsageError(
        f"'{wanted}' is neither a folder nor an installed plugin",
        hint=f"installed: {', '.join(sorted(family)) or 'none'}",
    )


def _in_folder(folder: Path) -> Subject:
    project = folder / "pyproject.toml"
    try:
        groups = tomllib.loads(project.read_text())["project"]["entry-points"]
        group, points = next((g, p) for g, p in groups.items() if g.startswith(f"{_FAMILY}.v") and p)
        name, target = next(iter(points.items()))
    except OSError as error:
        raise UsageError(
            f"cannot read {project}: {error.strerror}", hint="name the folder of a distribution"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UsageError(
            f"{project} has no entry point of the group {ENTRY_POINT_GROUP}",
            hint=f'[project.entry-points."{ENTRY_POINT_GROUP}"]',
        ) from error
    source = folder / "src"
    return Subject(name=name, group=group, target=str(target), source=source if source.is_dir() else folder)


def check_plugin(subject: Subject) -> Iterator[Checked]:
    """Each check in turn; the last ones are left out where the plugin does not load."""
    same = subject.group == ENTRY_POINT_GROUP
    yield _said(
        "api version", same, f"group {subject.group}" + ("" if same else f", this core has {ENTRY_POINT_GROUP}")
    )
    yield _said("name", is_legal_name(subject.name), subject.name)
    try:
        imported = probe(subject.module, tries=3, path=[subject.source] if subject.source else ())
    except PluginError as error:
        yield _said("imports", False, error.message)
        return
    yield from _import_checks(imported)
    if subject.source and str(subject.source) not in sys.path:
        sys.path.insert(0, str(subject.source))
    host, info = _loaded(subject)
    yield _said("loads", not info.error, info.error or f"{len(info.provides)} hooks, each known and plain")
    if not info.error:
        yield from _record_checks(host, info)
        files = sorted(Path(str(import_module(subject.module).__file__)).parent.rglob("*.py"))
        wrong = wrong_imports(files)
        yield _said("imports of manor", not wrong, ", ".join(wrong) or "manor.api and manor.errors only")
        old = deprecated_uses(files)
        yield _said("deprecated names", True, "; ".join(old) or "none")


def _import_checks(imported: Probe) -> Iterator[Checked]:
    took = f"{imported.seconds * 1000:.0f} ms of CPU beside manor.api and pydantic"
    yield _said("import time", imported.seconds < IMPORT_BUDGET_S, f"{took}, {IMPORT_BUDGET_S * 1000:.0f} are allowed")
    yield _said("import is light", not imported.heavy, f"loads {', '.join(imported.heavy) or 'nothing heavy'}")
    done = [*imported.written, *(["starts a thread"] if imported.threads else [])]
    yield _said("import does nothing", not done, ", ".join(done) or "no file, connection, process or thread")


def _loaded(subject: Subject) -> tuple[Plugins, PluginInfo]:
    from importlib.metadata import EntryPoint

    point = EntryPoint(name=subject.name, value=subject.target, group=subject.group)
    try:
        plugin = point.load()
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything
        plugin = _Broken(error)
    host = Plugins(builtin=(), extra={subject.name: plugin}, entry_points=False, settings=PluginSettings())
    (info,) = host.listing()
    if isinstance(plugin, _Broken):
        info = PluginInfo(**{**_fields(info), "error": f"cannot load {subject.target}: {plugin.error}"})
    return host, info


class _Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _fields(info: PluginInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in PluginInfo.__dataclass_fields__}


def _record_checks(host: Plugins, info: PluginInfo) -> Iterator[Checked]:
    names = [f"{hook.removeprefix('manor_')}: {', '.join(found)}" for hook, found in info.provides.items() if found]
    yield _said("provides", True, "; ".join(names) or "reviews or events alone")
    for hook in info.provides:
        lister: Callable[[], Mapping[str, Any]] | None = getattr(host, hook.removeprefix("manor_"), None)
        for name, provided in lister().items() if lister and info.provides[hook] else ():
            config = getattr(provided.record, "config", None)
            if config is not None:
                wrong = _settings_trouble(config)
                yield _said(
                    f"settings of {name}", not wrong, wrong or f"{len(config.model_fields)}, their schema renders"
                )


def _settings_trouble(config: Any) -> str:
    try:
        json.dumps(config.model_json_schema())
    except Exception as error:  # pydantic raises many kinds for a model that has no schema
        return f"no JSON schema: {error}"
    for name, field in config.model_fields.items():
        if any(word in name for word in _SECRETS) and not field.is_required():
            default = field.get_default(call_default_factory=False)
            reveal = getattr(default, "get_secret_value", None)
            if reveal() if reveal else default:
                return f"{name} has a secret as its default"
    return ""


def _said(name: str, ok: bool, detail: str) -> Checked:
    return Checked(name=name, ok=ok, detail=detail)
