"""The one object that core asks for drivers, reviews and observers. It imports plugins when first asked, not before."""

from __future__ import annotations

import difflib
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pluggy

from manor import api
from manor.api import DriverEnvironment, Finding, Severity, deprecations
from manor.errors import PluginConflict, PluginError
from manor.plugin.calling import Implementation, Outcome, Provided, call_all, unique
from manor.plugin.connecting import connect
from manor.plugin.counters import Counters
from manor.plugin.discovery import API_VERSION, BUILTIN, Candidate, PluginSettings, find, load
from manor.plugin.events import Observers
from manor.plugin.guard import describe
from manor.plugin.listing import PluginInfo, PluginState, conflicts_of
from manor.plugin.validation import PROVIDERS, REVIEWS, implemented, validate

__all__ = ["Plugins"]

_log = logging.getLogger("manor.plugin")


class Plugins:
    """The plugins of this process.

    ``builtin`` are modules that core provides itself; tests give ``extra`` plugins by name, in place of installing
    a distribution, and ``entry_points=False`` to see no installed ones.
    """

    def __init__(
        self,
        *,
        builtin: Iterable[str] = BUILTIN,
        extra: Mapping[str, object] | None = None,
        entry_points: bool = True,
        settings: PluginSettings | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.settings = PluginSettings.read(os.environ) if settings is None else settings
        self.counters = counters or Counters()
        self._builtin = tuple(builtin)
        self._extra = dict(extra or {})
        self._entry_points = entry_points
        self._lock = threading.RLock()
        self._candidates: list[Candidate] | None = None
        self._loaded = False
        self._errors: dict[tuple[str, str], PluginError] = {}
        """Why a plugin is quarantined, by name and distribution."""
        self._hooks: dict[str, list[Implementation]] = {}
        self._unheard_reviews: dict[str, list[Candidate]] = {}
        self._outcomes: dict[str, list[Outcome]] = {}
        self._observers = Observers(self._implementations, self.counters)

    # finding and loading

    def names(self) -> tuple[str, ...]:
        """Names of everything that may run, without importing any of it (for help and completion)."""
        return tuple(c.name for c in self._found() if not self.settings.refuses(c))

    def load(self) -> None:
        """Import and register all plugins, each inside its own guard. Done once; every other method does it by need.

        Raises PluginError for the first quarantined plugin in strict mode.
        """
        with self._lock:
            if self._loaded:
                return
            self._loaded = True
            manager = pluggy.PluginManager("manor")
            for specs in (api.ProviderSpecs, api.ReviewSpecs, api.EventSpecs):
                manager.add_hookspecs(specs)
            candidates = self._found()
            for candidate in candidates:
                if self.settings.refuses(candidate):
                    continue
                try:
                    _alone(candidate, candidates)
                    plugin = load(candidate)
                    if plugin is not None:
                        self._register(manager, candidate, plugin)
                except PluginError as error:
                    self._quarantine(candidate, error)
            for implementations in self._hooks.values():
                implementations.sort(key=lambda i: i.candidate.name)

    def _found(self) -> list[Candidate]:
        with self._lock:
            if self._candidates is None:
                found = find(self._builtin) if self._entry_points else find(self._builtin, group=None)
                found += [
                    Candidate(
                        name=name,
                        distribution=name,
                        version="",
                        target=name,
                        fetch=lambda plugin=plugin: plugin,  # type: ignore[misc]
                    )
                    for name, plugin in self._extra.items()
                ]
                self._candidates = found
            return self._candidates

    def _register(self, manager: pluggy.PluginManager, candidate: Candidate, plugin: object) -> None:
        try:
            hooks = validate(plugin)
            manager.register(plugin, name=candidate.target)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            manager.unregister(name=candidate.target)
            raise PluginError(f"refused: {describe(error)}") from error
        except PluginError:
            for hook in set(implemented(plugin)) & set(REVIEWS):
                self._unheard_reviews.setdefault(hook, []).append(candidate)
            raise
        for hook, function in hooks.items():
            self._hooks.setdefault(hook, []).append(Implementation(candidate=candidate, function=function))

    def _quarantine(self, candidate: Candidate, error: PluginError) -> None:
        self._errors.setdefault((candidate.name, candidate.distribution), error)
        if self.settings.strict:
            raise PluginError(
                f"plugin {candidate.name} ({candidate.provenance}): {error.message}", hint=error.hint
            ) from error
        _log.info("plugin %s (%s) is quarantined: %s", candidate.name, candidate.provenance, error)

    def _implementations(self, hook: str) -> Sequence[Implementation]:
        self.load()
        return self._hooks.get(hook, ())

    # calling

    def call(self, hook: str, **arguments: Any) -> list[Outcome]:
        """Run every implementation of ``hook``, each in its own guard, and report on each, sorted by plugin.

        TypeError where the arguments are not exactly the hook's. For a provider hook PluginConflict where two plugins
        provide one name.
        """
        outcomes = call_all(hook, self._implementations(hook), arguments, self.counters)
        if hook in PROVIDERS:
            unique(hook, outcomes)
        return outcomes

    def _collect(self, hook: str) -> list[Outcome]:
        """Outcomes of a provider hook, which is called once; failures go to the quarantine list."""
        with self._lock:
            if hook not in self._outcomes:
                self._outcomes[hook] = call_all(hook, self._implementations(hook), {}, self.counters)
                for candidate in self._found():
                    for outcome in self._outcomes[hook]:
                        mine = (outcome.plugin, outcome.distribution) == (candidate.name, candidate.distribution)
                        if mine and outcome.error is not None:
                            self._quarantine(candidate, outcome.error)
            return self._outcomes[hook]

    # providers, by name

    def _provided(self, hook: str) -> dict[str, Provided[Any]]:
        return unique(hook, self._collect(hook))

    def vim_drivers(self) -> Mapping[str, Provided[api.VimDriver]]:
        """Kinds of VIM."""
        return self._provided("manor_vim_drivers")

    def vnfm_drivers(self) -> Mapping[str, Provided[api.VnfmDriver]]:
        """Kinds of VNF manager."""
        return self._provided("manor_vnfm_drivers")

    def sdn_drivers(self) -> Mapping[str, Provided[api.SdnDriver]]:
        """Kinds of SDN controller."""
        return self._provided("manor_sdn_drivers")

    def placement_policies(self) -> Mapping[str, Provided[api.PlacementPolicyType]]:
        """Ways to choose hosts."""
        return self._provided("manor_placement_policies")

    def telemetry_sources(self) -> Mapping[str, Provided[api.TelemetrySourceType]]:
        """Where samples come from."""
        return self._provided("manor_telemetry_sources")

    def detectors(self) -> Mapping[str, Provided[api.DetectorType]]:
        """Ways to tell abnormal from normal."""
        return self._provided("manor_detectors")

    def heal_policies(self) -> Mapping[str, Provided[api.HealPolicyType]]:
        """Ways to decide what an alarm calls for."""
        return self._provided("manor_heal_policies")

    def descriptor_formats(self) -> Mapping[str, Provided[api.DescriptorFormat]]:
        """Descriptor languages beside the built-in ones."""
        return self._provided("manor_descriptor_formats")

    def cli_commands(self) -> Mapping[str, Provided[api.CliCommand]]:
        """Command groups of the CLI; their targets are not imported."""
        return self._provided("manor_cli_commands")

    def doctor_checks(self) -> Mapping[str, Provided[api.DoctorCheck]]:
        """Checks of the machine."""
        return self._provided("manor_doctor_checks")

    def choose(self, hook: str, name: str) -> Provided[Any]:
        """The record ``name`` of a provider hook. PluginError where there is none, naming what is near and what is
        quarantined, for the one wanted may be in there."""
        provided = self._provided(hook)
        if name in provided:
            return provided[name]
        what = hook.removeprefix("manor_").replace("_", " ")
        close = difflib.get_close_matches(name, provided, n=1)
        broken = ", ".join(sorted({plugin for plugin, _ in self._errors}))
        hints = [
            f"did you mean {close[0]}?" if close else f"there are: {', '.join(provided) or 'none'}",
            f"quarantined: {broken} (manor plugin list)" if broken else "",
        ]
        raise PluginError(f"no {name!r} among the {what}", hint="; ".join(filter(None, hints)))

    # connections

    def connect_vim(self, kind: str, config: Mapping[str, Any], environment: DriverEnvironment) -> api.Vim:
        """A guarded connection to a VIM of this kind. UsageError where ``config`` is not what its driver takes."""
        driver: api.Vim = self._connect("manor_vim_drivers", kind, config, environment)
        return driver

    def connect_sdn(self, kind: str, config: Mapping[str, Any], environment: DriverEnvironment) -> api.Sdn:
        """A guarded connection to a controller of this kind. UsageError where ``config`` is not what it takes."""
        driver: api.Sdn = self._connect("manor_sdn_drivers", kind, config, environment)
        return driver

    def connect_vnfm(self, kind: str, config: Mapping[str, Any], environment: DriverEnvironment) -> api.Vnfm:
        """A guarded VNF manager of this kind. UsageError where ``config`` is not what it takes."""
        driver: api.Vnfm = self._connect("manor_vnfm_drivers", kind, config, environment)
        return driver

    def connect_telemetry(
        self, kind: str, config: Mapping[str, Any], environment: DriverEnvironment
    ) -> api.TelemetrySource:
        """A guarded telemetry source of this kind. UsageError where ``config`` is not what it takes."""
        source: api.TelemetrySource = self._connect("manor_telemetry_sources", kind, config, environment)
        return source

    def _connect(self, hook: str, kind: str, config: Mapping[str, Any], environment: DriverEnvironment) -> Any:
        provided = self.choose(hook, kind)
        start = partial(self._isolated, hook) if provided.plugin in self.settings.isolate else None
        return connect(provided, config, environment, self.counters, start=start)

    def _isolated(
        self, hook: str, provided: Provided[Any], config: Mapping[str, Any], environment: DriverEnvironment
    ) -> object:
        from manor.plugin import isolation

        target = next(c.target for c in self._found() if c.name == provided.plugin)
        return isolation.isolated(provided, hook, target, config, environment)

    # reviews

    def review_descriptor(self, descriptor: Mapping[str, Any]) -> tuple[Finding, ...]:
        """What all reviews find in a descriptor. A review that could not be heard is an ERROR finding."""
        return self._review("manor_review_descriptor", descriptor=descriptor)

    def review_plan(self, plan: api.Plan, service: api.ServiceView) -> tuple[Finding, ...]:
        """The grant: what all reviews find in a plan. A review that could not be heard is an ERROR finding."""
        return self._review("manor_review_plan", plan=plan, service=service)

    def _review(self, hook: str, **arguments: Any) -> tuple[Finding, ...]:
        findings: list[Finding] = []
        for outcome in self.call(hook, **arguments):
            findings += [provided.record for provided in outcome.value]
            if outcome.error is not None:
                findings.append(_unheard(outcome.plugin, str(outcome.error)))
        for candidate in self._unheard_reviews.get(hook, ()):
            error = self._errors[candidate.name, candidate.distribution]
            findings.append(_unheard(candidate.name, f"{candidate.name} is quarantined: {error}"))
        return tuple(findings)

    # events

    def emit_operation_event(self, event: api.OperationEvent) -> None:
        """Tell the observers, after commit. Returns at once, whatever they do."""
        self._observers.emit("manor_operation_event", event)

    def emit_alarm_event(self, event: api.Alarm) -> None:
        """Tell the observers, after commit. Returns at once, whatever they do."""
        self._observers.emit("manor_alarm_event", event)

    def close(self, timeout_s: float = 2.0) -> bool:
        """Let observers hear what is queued, for at most ``timeout_s`` seconds; False where they were still busy."""
        return self._observers.close(timeout_s)

    # reports

    def listing(self) -> tuple[PluginInfo, ...]:
        """Every plugin that was found, with what it provides or what is wrong with it. Never raises for a plugin."""
        self.load()
        conflicts: dict[str, PluginConflict] = {}
        provides: dict[str, dict[str, tuple[str, ...]]] = {}
        for hook, implementations in self._hooks.items():
            for implementation in implementations:
                provides.setdefault(implementation.candidate.name, {})[hook] = ()
            if hook not in PROVIDERS:
                continue
            outcomes = self._collect(hook)
            for outcome in outcomes:
                provides[outcome.plugin][hook] = tuple(p.record.name for p in outcome.value)
            conflicts |= conflicts_of(hook, outcomes)
        return tuple(
            self._info(candidate, provides.get(candidate.name, {}), conflicts.get(candidate.name))
            for candidate in self._found()
            if not candidate.builtin or candidate.name in provides or self._trouble(candidate)
        )

    def _trouble(self, candidate: Candidate) -> bool:
        key = (candidate.name, candidate.distribution)
        return key in self._errors or bool(self.settings.refuses(candidate))

    def _info(
        self,
        candidate: Candidate,
        provides: Mapping[str, tuple[str, ...]],
        conflict: PluginConflict | None,
    ) -> PluginInfo:
        refused = self.settings.refuses(candidate)
        error = self._errors.get((candidate.name, candidate.distribution)) or conflict
        state = PluginState.QUARANTINED if error else PluginState.READY
        return PluginInfo(
            name=candidate.name,
            distribution=candidate.distribution,
            version=candidate.version,
            api=API_VERSION,
            builtin=candidate.builtin,
            state=PluginState.DISABLED if refused else state,
            provides=provides,
            error=refused or (str(error) if error else ""),
            hint=error.hint if error and not refused else "",
            isolated=candidate.name in self.settings.isolate,
            notices=tuple(str(known) for hook in sorted(provides) if (known := deprecations.find(hook))),
        )


def _alone(candidate: Candidate, candidates: Sequence[Candidate]) -> None:
    """Raise PluginConflict where another distribution has an entry point of this name: neither may run."""
    same = [other for other in candidates if other.name == candidate.name]
    if len(same) > 1:
        who = " and ".join(sorted(other.provenance for other in same))
        raise PluginConflict(f"plugin name {candidate.name!r} is claimed by {who}", hint="uninstall one of them")


def _unheard(plugin: str, why: str) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="review-failed",
        message=f"a review could not be heard, so nothing is granted: {why}",
        hint=f"mend the plugin, or leave it out: MANOR_PLUGINS_DENY={plugin}",
    )
