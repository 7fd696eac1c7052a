"""Performance management as ETSI has it: jobs that collect and report, thresholds with hysteresis. Values only.

SOL005 §7.5 and SOL003 §6.5. An object instance is named by its key: a service's id, a VNF's key, a machine's, a
link's or a chain's; what is named stands for everything below it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from manor.api.assure import PerceivedSeverity

__all__ = ["CrossingDirection", "PmEntry", "PmJob", "PmReport", "Threshold", "covers", "object_type"]


class CrossingDirection(StrEnum):
    """crossingDirection (SOL003 §6.6.3.3)."""

    UP = "UP"
    DOWN = "DOWN"


@dataclass(frozen=True, kw_only=True, slots=True)
class PmJob:
    """PmJob: which metrics of which objects are collected and reported, and how often."""

    id: str
    object_instance_id: str
    performance_metrics: tuple[str, ...]
    """Standard names; ``v_cpu_usage_peak_vnf`` is the greatest ``v_cpu_usage_mean_vnf`` within a collection period."""
    sub_object_instance_ids: tuple[str, ...] = ()
    """Connection points and other parts; empty for all."""
    collection_period_s: float
    reporting_period_s: float
    reporting_boundary_s: float = 0.0
    """Seconds since the epoch after which the job collects no more; 0 for never."""
    created_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PmEntry:
    """One metric of one object in a report. What was not measured in a period has no value in it."""

    object_instance_id: str
    sub_object_instance_id: str
    performance_metric: str
    values: tuple[tuple[float, float], ...]
    """(end of the collection period in seconds since the epoch, value), in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PmReport:
    """PerformanceReport of a job."""

    id: str
    job_id: str
    time_s: float
    entries: tuple[PmEntry, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """A simple threshold, and where its metric is above it now."""

    id: str
    object_instance_id: str
    performance_metric: str
    sub_object_instance_ids: tuple[str, ...] = ()
    value: float
    hysteresis: float
    """Crossed upwards at ``value + hysteresis``, downwards at ``value - hysteresis``; not negative."""
    severity: PerceivedSeverity = PerceivedSeverity.WARNING
    """Of the alarm while it is crossed upwards."""
    created_s: float = 0.0
    crossed: tuple[tuple[str, str], ...] = field(default=())
    """(key, part) of the objects that went up and have not come down."""


def covers(object_instance_id: str, key: str) -> bool:
    """Whether a measured thing is the object or belongs to it; an empty one stands for all there is."""
    return not object_instance_id or key == object_instance_id or key.startswith(f"{object_instance_id}/")


def object_type(object_instance_id: str) -> str:
    """objectType of a key."""
    parts = object_instance_id.split("/")
    if len(parts) == 1:
        return "Ns"
    names = {"vnf": "Vnf" if len(parts) == 3 else "Vnfc", "vl": "VirtualLink", "chain": "Vnffg"}
    return names.get(parts[1], "Vnfc")
