"""Telemetry: one measured value, and the protocol of those who measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from manor.api.context import CallContext

__all__ = ["Sample", "SampleKind", "Target", "TelemetrySource"]


class SampleKind(StrEnum):
    """A counter only grows until it resets; a gauge is a value now."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One value of one metric. Metric names as in ETSI where there is one, with the unit in ``unit``."""

    metric: str
    value: float
    unit: str
    key: str
    """Key of the resource it is about."""
    time_s: float
    """Seconds since the epoch, when it was measured."""
    kind: SampleKind = SampleKind.GAUGE
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Something to measure."""

    key: str
    kind: str
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class TelemetrySource(Protocol):
    """Collects samples of targets. Missing is missing: a value that could not be read is left out, never zero."""

    def collect(self, targets: Sequence[Target], ctx: CallContext) -> Iterable[Sample]:
        """The newest samples of these targets."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
