"""KPIs over time as values, wherever they are kept: Manor's own history or a Prometheus server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["HistoryRow", "Series"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryRow:
    """What was measured of one subject at one time. What was not is not in it."""

    time_s: float
    values: Mapping[str, float]
    peaks: Mapping[str, float] = field(default_factory=dict)
    """The greatest value where several were averaged; empty where none were."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A subject that there is a history of."""

    key: str
    kind: str
    """``vnfc``, ``link`` or ``chain``."""
    labels: Mapping[str, str]
    last_s: float
    """When it was last measured; 0 where that is not known."""

    @property
    def name(self) -> str:
        """As a person types it: ``demo/main-0``."""
        labels = self.labels
        what = labels.get("vnfc") or labels.get("link") or labels.get("chain") or self.key
        return f"{labels.get('service', '')}/{what}"
