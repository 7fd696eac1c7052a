"""The hooks of plugin API v1. A plugin module implements any of them with ``@hookimpl``.

Provider hooks are called once, when the host starts, in the main ``manor`` process; no order is promised. Review
hooks all run and fail closed. Event hooks run after commit, best effort. No hook is a coroutine or a wrapper.
Hooks never fire in a controller's own process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from manor.api import assure, plan, records

__all__ = ["ENTRY_POINT_GROUP", "EventSpecs", "ProviderSpecs", "ReviewSpecs", "hookimpl", "hookspec"]

ENTRY_POINT_GROUP = "manor.plugins.v1"
"""Its number is the major version of this API."""

hookspec = pluggy.HookspecMarker("manor")
hookimpl = pluggy.HookimplMarker("manor")


class ProviderSpecs:
    """Each returns records; collected, type-checked and stamped with their plugin."""

    @hookspec
    def manor_vim_drivers(self) -> Iterable[records.VimDriver]:
        """Kinds of VIM."""
        yield from ()

    @hookspec
    def manor_vnfm_drivers(self) -> Iterable[records.VnfmDriver]:
        """Kinds of VNF manager."""
        yield from ()

    @hookspec
    def manor_sdn_drivers(self) -> Iterable[records.SdnDriver]:
        """Kinds of SDN controller."""
        yield from ()

    @hookspec
    def manor_placement_policies(self) -> Iterable[records.PlacementPolicyType]:
        """Ways to choose hosts."""
        yield from ()

    @hookspec
    def manor_telemetry_sources(self) -> Iterable[records.TelemetrySourceType]:
        """Where samples come from."""
        yield from ()

    @hookspec
    def manor_detectors(self) -> Iterable[records.DetectorType]:
        """Ways to tell abnormal from normal."""
        yield from ()

    @hookspec
    def manor_heal_policies(self) -> Iterable[records.HealPolicyType]:
        """Ways to decide what an alarm calls for."""
        yield from ()

    @hookspec
    def manor_descriptor_formats(self) -> Iterable[records.DescriptorFormat]:
        """Descriptor languages beside the built-in ones."""
        yield from ()

    @hookspec
    def manor_cli_commands(self) -> Iterable[records.CliCommand]:
        """Command groups of the CLI."""
        yield from ()

    @hookspec
    def manor_doctor_checks(self) -> Iterable[records.DoctorCheck]:
        """Checks for ``manor doctor``."""
        yield from ()


class ReviewSpecs:
    """Each returns findings; an ERROR refuses, and so does an implementation that raises."""

    @hookspec
    def manor_review_descriptor(self, descriptor: Mapping[str, Any]) -> Iterable[records.Finding]:
        """Look at a VNFD or NSD (the information model as JSON values) before it is on-boarded."""
        yield from ()

    @hookspec
    def manor_review_plan(self, plan: plan.Plan, service: assure.ServiceView) -> Iterable[records.Finding]:
        """Look at a plan before it is applied: the ETSI grant."""
        yield from ()


class EventSpecs:
    """Told after commit; what they return or raise changes nothing."""

    @hookspec
    def manor_operation_event(self, event: plan.OperationEvent) -> None:
        """An operation changed its state."""

    @hookspec
    def manor_alarm_event(self, event: assure.Alarm) -> None:
        """An alarm was raised, changed or cleared."""
