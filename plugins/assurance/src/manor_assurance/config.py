"""Settings of the detectors and the policy; the defaults are one set for every VNF and period."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CautiousConfig", "CombinedConfig", "LimitsConfig"]

ChannelName = Literal["median", "forecast", "factors", "season", "level"]


class CombinedConfig(BaseModel):
    """Settings of the ``combined`` detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_per_day: float = Field(default=1.0, gt=0, le=48)
    """False alarms allowed per VNF and day: a ceiling, not a target. One a week is 0.143."""
    margin: float = Field(default=1.3, ge=1.1, le=10)
    """How far above the level that keeps the budget in the past the score has to be."""
    floor: float = Field(default=3.0, ge=0)
    """Least threshold, in e-foldings of exceedance over all KPIs."""
    young_floor: float = Field(default=5.0, ge=0)
    """The same while too little was seen to hold one false alarm."""
    smooth: int = Field(default=3, ge=1, le=60)
    """Rows whose scores are averaged: one wild row alone seldom raises."""
    clear_ratio: float = Field(default=0.7, gt=0, le=1)
    """An alarm clears when the score is below this part of the threshold..."""
    clear_s: float = Field(default=180.0, ge=0)
    """... for so many seconds."""
    relearn_s: float = Field(default=7200.0, gt=0)
    """What is abnormal for longer than this is the new normal, and is learned."""
    warmup_rows: int = Field(default=64, ge=16)
    """Rows and ..."""
    warmup_s: float = Field(default=600.0, ge=0)
    """... seconds before the first verdict other than UNKNOWN; so many rows, or a quarter of all, before a KPI counts.
    """
    refit_s: float = Field(default=21600.0, gt=0)
    """Longest time between two fits; a young detector fits at each doubling of its age."""
    threshold_days: int = Field(default=21, ge=1, le=90)
    usual: float = Field(default=0.99, gt=0.5, lt=1)
    """A residual counts from this quantile of its last week on..."""
    rare: float = Field(default=0.95, gt=0, lt=1)
    """... and again, more heavily, from this quantile of its six-hour maxima of the last four weeks on."""
    rare_weight: float = Field(default=2.0, ge=0)
    cap: float = Field(default=6.0, gt=0)
    """Most e-foldings that one KPI in one channel adds."""
    channels: tuple[ChannelName, ...] = ("median", "forecast", "factors", "season", "level")
    """Views that are combined."""


class LimitsConfig(BaseModel):
    """Settings of the ``limits`` detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    above: dict[str, float] = Field(default_factory=dict)
    """Upper limit by KPI name; crossing it is abnormal."""
    below: dict[str, float] = Field(default_factory=dict)
    """Lower limit by KPI name."""
    hysteresis: float = Field(default=0.05, ge=0, lt=1)
    """Part of the limit by which a KPI has to come back before the alarm clears."""
    rows: int = Field(default=1, ge=1)
    """Rows in a row that have to be beyond the limit."""


class CautiousConfig(BaseModel):
    """Settings of the ``cautious`` heal policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flap_window_s: float = Field(default=3600.0, gt=0)
    """Heals of one resource within this time before the alarm are counted."""
    max_heals: int = Field(default=3, ge=1)
    """With so many of them the policy hands over to a person."""
    settle_s: float = Field(default=120.0, ge=0)
    """Time that a heal is given to show its effect before another is asked for."""
    dead_settle_s: float = Field(default=15.0, ge=0)
    """The same for what is plainly dead, which no waiting mends."""
    dead_causes: tuple[str, ...] = (
        "crashed",
        "domain-crashed",
        "heartbeat-lost",
        "host-emptied",
        "host-lost",
        "node-absent",
        "node-down",
        "node-stopped",
        "probe-failed",
        "vm-down",
    )
    """Probable causes that need no learning: the resource is plainly dead."""
