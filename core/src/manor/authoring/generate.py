"""Writes the repository of a new plugin from templates: it installs, passes its tests and can be published at once.

Files common to all kinds lie in ``templates/common``, the rest in a folder of the kind's name; a kind's file wins.
``PACKAGE`` in a path stands for the import package; every template ends in ``.j2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from manor.api import ENTRY_POINT_GROUP, is_legal_name
from manor.errors import UsageError

__all__ = ["KINDS", "Kind", "new_plugin"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What the templates have to know of a kind of plugin."""

    hook: str
    record: str
    protocol: str
    module: str
    """Where the author's own work lives, in the new package."""
    maker: str
    """The record's field that makes the object: ``connect`` (with an environment) or ``create``; empty for neither."""
    title: str
    kit: str
    """Class of the conformance kit."""
    specs: str
    """Class of what the kit is told."""


KINDS: Mapping[str, Kind] = {
    "vim": Kind(
        hook="manor_vim_drivers", record="VimDriver", protocol="Vim", module="driver", maker="connect",
        title="A VIM", kit="VimConformance", specs="VimSpecs",
    ),
    "sdn": Kind(
        hook="manor_sdn_drivers", record="SdnDriver", protocol="Sdn", module="driver", maker="connect",
        title="An SDN controller", kit="SdnConformance", specs="SdnSpecs",
    ),
    "vnfm": Kind(
        hook="manor_vnfm_drivers", record="VnfmDriver", protocol="Vnfm", module="manager", maker="connect",
        title="A VNF manager", kit="VnfmConformance", specs="VnfmSpecs",
    ),
    "detector": Kind(
        hook="manor_detectors", record="DetectorType", protocol="Detector", module="detector", maker="create",
        title="A detector", kit="DetectorConformance", specs="DetectorSpecs",
    ),
    "heal-policy": Kind(
        hook="manor_heal_policies", record="HealPolicyType", protocol="HealPolicy", module="policy", maker="create",
        title="A heal policy", kit="HealPolicyConformance", specs="HealPolicySpecs",
    ),
    "telemetry": Kind(
        hook="manor_telemetry_sources", record="TelemetrySourceType", protocol="TelemetrySource", module="source",
        maker="connect", title="A telemetry source", kit="TelemetryConformance", specs="TelemetrySpecs",
    ),
    "placement": Kind(
        hook="manor_placement_policies", record="PlacementPolicyType", protocol="PlacementPolicy", module="policy",
        maker="create", title="A placement policy", kit="PlacementConformance", specs="PlacementSpecs",
    ),
    "format": Kind(
        hook="manor_descriptor_formats", record="DescriptorFormat", protocol="", module="language", maker="",
        title="A descriptor format", kit="FormatConformance", specs="FormatSpecs",
    ),
}  # fmt: skip
"""What ``manor plugin new`` can write."""


def new_plugin(kind: str, name: str, directory: Path) -> tuple[Path, ...]:
    """Write the repository ``manor-<kind>-<name>`` into ``directory``; the files written, the folder first.

    Raises UsageError for an unknown kind, a name that may not be, or a folder that is there and not empty.
    """
    values = _values(kind, name)
    root = directory / values["distribution"]
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise UsageError(f"{root} is there already", hint="choose another name, or --dir")
        written = [root]
        for relative, text in _files(kind, values):
            target = root / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            written.append(target)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or root}: {error.strerror}", hint="choose --dir") from error
    return tuple(written)


def _values(kind: str, name: str) -> dict[str, Any]:
    known = KINDS.get(kind)
    if known is None:
        raise UsageError(f"no plugin can be of the kind {kind!r}", hint=f"kinds: {', '.join(KINDS)}")
    plugin = f"{kind}-{name}"
    if not is_legal_name(name) or not is_legal_name(plugin) or name.endswith("-") or "--" in name:
        raise UsageError(
            f"a plugin cannot be called {name!r}", hint=f"lower case letters, digits and dashes; {plugin} up to 39"
        )
    core = version("manor")
    major, minor = re.findall(r"\d+", core)[:2]
    return {
        "kind": kind,
        "name": name,
        "plugin": plugin,
        "distribution": f"manor-{plugin}",
        "package": f"manor_{plugin.replace('-', '_')}",
        "cls": "".join(part.capitalize() for part in name.split("-")),
        "group": ENTRY_POINT_GROUP,
        "core": f">={major}.{minor},<{major}.{int(minor) + 1}",
        "oldest": f"{major}.{minor}.0",
        "of": known,
    }


def _files(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - it writes Python and TOML from names that were checked, no HTML
    )
    templates = resources.files("manor.authoring") / "templates"
    found = {**_walk(templates / "common"), **_walk(templates / kind)}
    for path, template in sorted(found.items()):
        target = path.removesuffix(".j2").replace("PACKAGE", values["package"])
        yield Path(target), environment.from_string(template.read_text(encoding="utf-8")).render(values)


def _walk(folder: Traversable, prefix: str = "") -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".j2"):
            found[f"{prefix}{entry.name}"] = entry
    return found
