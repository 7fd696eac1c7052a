"""Calling a hook: each implementation alone, with only what it asked for, its whole result inside one guard.

pluggy's own loop stops at the first implementation that raises and throws away what the others gave.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from manor import api
from manor.errors import PluginConflict, PluginError
from manor.plugin.counters import Counters
from manor.plugin.discovery import Candidate
from manor.plugin.guard import describe
from manor.plugin.validation import HOOKS, PROVIDERS

__all__ = ["RECORDS", "Implementation", "Outcome", "Provided", "call_all", "unique"]

T_co = TypeVar("T_co", covariant=True)

RECORDS: Mapping[str, type[Any]] = {
    "manor_vim_drivers": api.VimDriver,
    "manor_vnfm_drivers": api.VnfmDriver,
    "manor_sdn_drivers": api.SdnDriver,
    "manor_placement_policies": api.PlacementPolicyType,
    "manor_telemetry_sources": api.TelemetrySourceType,
    "manor_detectors": api.DetectorType,
    "manor_heal_policies": api.HealPolicyType,
    "manor_descriptor_formats": api.DescriptorFormat,
    "manor_cli_commands": api.CliCommand,
    "manor_doctor_checks": api.DoctorCheck,
    "manor_review_descriptor": api.Finding,
    "manor_review_plan": api.Finding,
}
"""What each hook's items must be; event hooks return nothing that counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provided(Generic[T_co]):
    """A record with where it came from."""

    record: T_co
    plugin: str
    distribution: str
    version: str

    @property
    def provenance(self) -> str:
        """Distribution and version."""
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one plugin's implementation of a hook came to: items, or an error that cost only its own items."""

    plugin: str
    distribution: str
    version: str
    value: tuple[Provided[Any], ...] = ()
    error: PluginError | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Implementation:
    """A plugin's function for a hook."""

    candidate: Candidate
    function: Callable[..., Any]


def call_all(
    hook: str,
    implementations: Iterable[Implementation],
    arguments: Mapping[str, Any],
    counters: Counters,
    *,
    deadline_s: float | None = None,
) -> list[Outcome]:
    """Run every implementation and report on each. TypeError where *core* gave wrong arguments.

    One that is not back by ``deadline_s`` (monotonic) is counted as stuck.
    """
    if hook not in HOOKS:
        raise TypeError(f"there is no hook {hook}")
    if set(arguments) != set(HOOKS[hook]):
        raise TypeError(f"{hook} takes ({', '.join(HOOKS[hook])}), not ({', '.join(arguments)})")
    return [_call(hook, implementation, arguments, counters, deadline_s) for implementation in implementations]


def _call(
    hook: str,
    implementation: Implementation,
    arguments: Mapping[str, Any],
    counters: Counters,
    deadline_s: float | None,
) -> Outcome:
    candidate = implementation.candidate
    value: tuple[Provided[Any], ...] = ()
    problem: PluginError | None = None
    started_s = time.monotonic()
    try:
        with counters.timing(candidate.name, hook, deadline_s=deadline_s):
            wanted = inspect.signature(implementation.function).parameters
            result = implementation.function(**{n: v for n, v in arguments.items() if n in wanted})
            value = tuple(
                Provided(
                    record=item,
                    plugin=candidate.name,
                    distribution=candidate.distribution,
                    version=candidate.version,
                )
                for item in _checked(hook, result)
            )
    except KeyboardInterrupt:
        raise
    except PluginError as error:
        problem = PluginError(f"{candidate.name} ({candidate.provenance}): {error.message}", hint=error.hint)
        problem.__cause__ = error
    # A stranger's code: whatever it raises, SystemExit too, must cost only this plugin's own items.
    except BaseException as error:
        problem = PluginError(f"{candidate.name} ({candidate.provenance}): {hook} raised {describe(error)}")
        problem.__cause__ = error
    return Outcome(
        plugin=candidate.name,
        distribution=candidate.distribution,
        version=candidate.version,
        value=value,
        error=problem,
        seconds=time.monotonic() - started_s,
    )


def _checked(hook: str, result: object) -> Iterable[Any]:
    wanted = RECORDS.get(hook)
    if wanted is None or result is None:
        return ()
    if isinstance(result, wanted) or not isinstance(result, Iterable):
        raise PluginError(
            f"{hook} returned a {type(result).__name__}", hint=f"yield {wanted.__name__} records, or return a list"
        )
    items = list(result)
    for item in items:
        if not isinstance(item, wanted):
            raise PluginError(f"{hook} gave a {type(item).__name__} instead of a {wanted.__name__}")
        if hook in PROVIDERS and not (isinstance(item.name, str) and api.is_legal_name(item.name)):
            raise PluginError(
                f"{hook} gave the illegal name {item.name!r}",
                hint="2 to 39 lower case letters, digits and dashes, a letter first",
            )
    return items


def unique(hook: str, outcomes: Iterable[Outcome]) -> dict[str, Provided[Any]]:
    """The records by name, sorted. Raises PluginConflict where a name comes twice, naming who provides it."""
    by_name: dict[str, list[Provided[Any]]] = {}
    for outcome in outcomes:
        for provided in outcome.value:
            by_name.setdefault(provided.record.name, []).append(provided)
    for name, providers in sorted(by_name.items()):
        if len(providers) > 1:
            who = " and ".join(f"{p.plugin} ({p.provenance})" for p in providers)
            what = hook.removeprefix("manor_").replace("_", " ").rstrip("s")
            raise PluginConflict(
                f"{what} {name!r} is provided by {who}",
                hint=f"uninstall one, or set MANOR_PLUGINS_DENY={providers[-1].plugin}",
            )
    return {name: providers[0] for name, providers in sorted(by_name.items())}
