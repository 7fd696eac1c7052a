"""What is told of a plugin that was found: what it provides, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from manor.errors import PluginConflict
from manor.plugin.calling import Outcome, unique

__all__ = ["PluginInfo", "PluginState", "conflicts_of"]


class PluginState(StrEnum):
    """What became of a plugin that was found."""

    READY = "ready"
    QUARANTINED = "quarantined"
    """It cannot import, lies about a hook, raised, or clashes; ``PluginInfo.error`` says which."""
    DISABLED = "disabled"
    """The operator's settings keep it out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginInfo:
    """One line of ``manor plugin list``."""

    name: str
    distribution: str
    version: str
    api: str
    """Major version of the plugin API that it was found under."""
    builtin: bool
    state: PluginState
    provides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of records by provider hook; hooks that return none of those are there with nothing."""
    error: str = ""
    hint: str = ""
    isolated: bool = False
    """What it connects runs in a process of its own."""
    notices: tuple[str, ...] = ()
    """What it uses that is on its way out."""


def conflicts_of(hook: str, outcomes: Sequence[Outcome]) -> dict[str, PluginConflict]:
    """The conflict of one hook, by each plugin that takes part in it."""
    try:
        unique(hook, outcomes)
    except PluginConflict as conflict:
        names = [p.record.name for outcome in outcomes for p in outcome.value]
        twice = {name for name in names if names.count(name) > 1}
        return {p.plugin: conflict for o in outcomes for p in o.value if p.record.name in twice}
    return {}
