"""From a driver's record to a live, guarded connection: settings checked first, then ``connect`` inside the guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from manor import api
from manor.api import DriverEnvironment
from manor.errors import Indeterminate, ManorError, Permanent, PluginError, UsageError
from manor.plugin.calling import Provided
from manor.plugin.counters import Counters
from manor.plugin.guard import describe, guard, verbs

__all__ = ["connect", "made", "validated"]

_SERVES: Mapping[type[Any], Any] = {
    api.VimDriver: api.Vim,
    api.SdnDriver: api.Sdn,
    api.VnfmDriver: api.Vnfm,
    api.TelemetrySourceType: api.TelemetrySource,
    api.DetectorType: api.Detector,
    api.HealPolicyType: api.HealPolicy,
    api.PlacementPolicyType: api.PlacementPolicy,
}
"""What the thing behind a record has to be."""


def validated(provided: Provided[Any], config: Mapping[str, Any]) -> Any:
    """The driver's own settings object. Raises UsageError naming each wrong setting, never its value."""
    from pydantic import ValidationError

    try:
        return provided.record.config.model_validate(dict(config))
    except ValidationError as error:
        # A value may be a password: only its place and what is wrong with it are shown.
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)
        )
        known = ", ".join(provided.record.config.model_fields) or "none"
        raise UsageError(f"{provided.record.name}: {wrong}", hint=f"its settings: {known}") from None


def connect(
    provided: Provided[Any],
    config: Mapping[str, Any],
    environment: DriverEnvironment,
    counters: Counters,
    *,
    start: Callable[[Provided[Any], Mapping[str, Any], DriverEnvironment], Any] | None = None,
) -> Any:
    """The driver's connection, guarded. An unknown exception out of ``connect`` is Indeterminate, as of a verb.

    ``start`` connects it elsewhere, once its settings are known to be right; what that returns has the name of the
    driver's class as ``gave``.
    """
    settings = validated(provided, config)
    try:
        with counters.timing(provided.plugin, "connect", subject=environment.name):
            if start is None:
                driver = provided.record.connect(settings, environment)
            else:
                driver = start(provided, config, environment)
    except ManorError:
        raise
    # A stranger's code may raise anything, and even try to exit.
    except (Exception, SystemExit) as error:
        raise Indeterminate(
            f"{provided.plugin}: connect {environment.name}: {describe(error)}",
            hint=f"check the endpoint {environment.name} and its settings",
        ) from error
    gave = type(driver).__name__ if start is None else driver.gave
    return guard(_whole(driver, gave, provided), name=provided.plugin, counters=counters)


def _whole(thing: Any, gave: str, provided: Provided[Any]) -> Any:
    """What a record gave. Raises PluginError naming the verbs that it lacks."""
    protocol = next(served for record, served in _SERVES.items() if isinstance(provided.record, record))
    lacks = [verb for verb in verbs(protocol) if not callable(getattr(thing, verb, None))]
    if lacks:
        # It may hold a process or a connection; what goes wrong in closing it matters less than what it lacks.
        with suppress(Exception):
            thing.close()
        raise PluginError(
            f"{provided.plugin}: {provided.record.name} gave a {gave} without {', '.join(lacks)}",
            hint=f"that is no {protocol.__name__}: report it to {provided.plugin} ({provided.provenance})",
        )
    return thing


def made(provided: Provided[Any], config: Mapping[str, Any], counters: Counters) -> Any:
    """What the record of a detector or of a policy creates, guarded. An unknown exception is Permanent."""
    settings = validated(provided, config)
    try:
        with counters.timing(provided.plugin, "create"):
            thing = provided.record.create(settings)
    except ManorError:
        raise
    # A stranger's code may raise anything, and even try to exit.
    except (Exception, SystemExit) as error:
        raise Permanent(
            f"{provided.plugin}: create {provided.record.name}: {describe(error)}",
            hint=f"report it to {provided.plugin}",
        ) from error
    return guard(_whole(thing, type(thing).__name__, provided), name=provided.plugin, counters=counters)
