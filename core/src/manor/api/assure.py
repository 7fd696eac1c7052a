"""Assurance protocols: a detector scores, a policy decides, core alone acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

__all__ = [
    "Alarm",
    "Detector",
    "Evidence",
    "HealAction",
    "HealDecision",
    "HealPolicy",
    "HealRecord",
    "PerceivedSeverity",
    "SampleBatch",
    "Score",
    "ServiceView",
    "Verdict",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleBatch:
    """Values of one VNF's KPIs on a common time axis."""

    names: tuple[str, ...]
    times_s: tuple[float, ...]
    values: Sequence[Sequence[float]]
    """One row a time, one column a name; NaN where nothing was measured."""
    notable: tuple[float, ...] = ()
    """The least change of each KPI that means anything to whoever runs the VNF, in the KPI's own unit; 0 where nobody
    knows. Empty: nobody knows of any."""


class Verdict(StrEnum):
    """UNKNOWN means that not enough has been seen, and is never an alarm."""

    OK = "ok"
    ANOMALY = "anomaly"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Why one KPI is blamed: what was seen, what was expected instead, and who says so."""

    metric: str
    share: float
    """Part of the score, 0 to 1."""
    seen: float
    expected: float
    """In the KPI's own unit, as ``seen``; NaN where nothing definite was expected."""
    detector: str
    """The view or rule that weighs most for this KPI."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A detector's word on one row."""

    time_s: float
    verdict: Verdict
    value: float = 0.0
    threshold: float = 0.0
    blame: tuple[tuple[str, float], ...] = ()
    """KPI names with their share of the score, largest first."""
    evidence: tuple[Evidence, ...] = ()
    """The blamed KPIs in detail, in the same order; empty unless the verdict is ANOMALY."""
    since_s: float | None = None
    """When the present excursion began; None while there is none."""


class Detector(Protocol):
    """Learns what is normal for one VNF. It never acts."""

    def fit(self, window: SampleBatch) -> None:
        """Learn from what is taken to be normal."""
        ...

    def score(self, batch: SampleBatch) -> Sequence[Score]:
        """One score a row, in order; may learn from rows that it calls normal."""
        ...

    def dump(self) -> bytes:
        """The learned state as data that cannot execute."""
        ...

    def load(self, data: bytes) -> None:
        """Take a state that :meth:`dump` wrote. Raises PluginError on a foreign or broken one."""
        ...


class PerceivedSeverity(StrEnum):
    """ETSI SOL002 §7.5.4.3."""

    CRITICAL = "CRITICAL"
    MAJOR = "MAJOR"
    MINOR = "MINOR"
    WARNING = "WARNING"
    INDETERMINATE = "INDETERMINATE"
    CLEARED = "CLEARED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """Something is wrong with a managed object. Attributes as in ETSI SOL005 §8.5.2.4."""

    id: str
    managed_object_id: str
    resource_key: str
    perceived_severity: PerceivedSeverity
    probable_cause: str
    alarm_raised_time_s: float
    learned: bool
    """True where a detector inferred it; such an alarm alone never changes the world."""
    confirmations: tuple[str, ...] = ()
    """Independent signs that agree, in words."""
    fault_details: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceView:
    """A network service, for reading by policies and reviews."""

    id: str
    name: str
    nsd_id: str
    state: str
    resources: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """What its operator says of it, as ``manor ns create --param labels.tier=gold``."""


class HealAction(StrEnum):
    """What a policy may ask for; a closed set in v1."""

    NONE = "none"
    RESTART = "restart"
    RECREATE = "recreate"
    SCALE_OUT = "scale-out"
    REROUTE = "reroute"
    ESCALATE = "escalate"
    REPAIR = "repair"
    """Bring back all of the service that differs from what should be, as ``manor ns drift --repair`` does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HealRecord:
    """A heal of the past."""

    time_s: float
    resource_key: str
    action: HealAction
    succeeded: bool
    probable_cause: str = ""
    """Of the alarm that it was for; empty where nobody knows any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HealDecision:
    """What a policy asks core to do, and why."""

    action: HealAction
    targets: tuple[str, ...] = ()
    """Resource keys."""
    reason: str = ""


class HealPolicy(Protocol):
    """Decides; core checks the budget, plans, reviews, journals and applies."""

    def decide(self, alarm: Alarm, service: ServiceView, history: Sequence[HealRecord]) -> HealDecision:
        """Pure: equal input gives an equal decision."""
        ...
