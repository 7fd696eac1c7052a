"""KPIs, alarms and heals as Prometheus families, with names and units as Prometheus wants them and bounded labels.

A KPI's family is made from its standard name: ``v_cpu_usage_mean_vnf`` in % becomes
``manor_v_cpu_usage_mean_vnf_ratio``. Labels are service, vnf, vnfc, link, chain and part: as many values as there are
resources, and never an address, a path or anything that a guest says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from manor.api.assure import HealAction
from manor.model.alarm import Outcome
from manor.telemetry.kpis import KpiRow, split, unit_of

__all__ = ["KPI_LABELS", "MOST_SERIES", "OWN", "AssuranceFigures", "Assured", "family_of", "kpi_of"]

MOST_SERIES = 50_000
"""KPI series in one scrape; what is over is counted and left out."""
OWN = frozenset(
    {
        "alarms", "build_info", "detector_lag_seconds", "detectors", "heal_decisions", "operation_duration_seconds",
        "operations", "operations_ended", "plugin_call_errors", "plugin_call_seconds", "plugin_calls",
        "plugin_calls_stuck", "services", "step_duration_seconds", "telemetry_collect_seconds", "telemetry_samples",
        "telemetry_series_left_out", "telemetry_silent_endpoints",
    }
)  # fmt: skip
"""Families of Manor itself, without ``manor_`` and ``_total``."""
_TOLD = "vnf_indicator:"
"""What guests say of themselves is left out before anything that was measured."""
KPI_LABELS = ("service", "vnf", "vnfc", "link", "chain", "part")
_SUFFIX = {
    "%": ("ratio", 0.01),
    "s": ("seconds", 1.0),
    "By": ("bytes", 1.0),
    "By/s": ("bytes_per_second", 1.0),
    "{packet}/s": ("packets_per_second", 1.0),
    "{request}/s": ("requests_per_second", 1.0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AssuranceFigures:
    """What the assurance loop counts, at one moment."""

    rows: tuple[KpiRow, ...] = ()
    """The newest row of each subject."""
    alarms: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Active alarms by (perceived severity, ``learned`` or ``static``)."""
    rulings: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Decisions since the start by (action, outcome)."""
    samples: int = 0
    """Values collected since the start."""
    collect_s: float = 0.0
    """Time the last collection took."""
    detector_lag_s: float = 0.0
    """From the last row's measurement to its score."""
    detectors: Mapping[str, int] = field(default_factory=dict)
    """How many have seen enough to judge (``watching``), and how many have not (``learning``)."""
    silent: int = 0
    """Endpoints that did not answer when last asked."""


@lru_cache(maxsize=4096)
def family_of(kpi: str) -> tuple[str, float]:
    """Name of the KPI's family, and what its value is multiplied by. None has the name of a family of Manor's own."""
    metric = re.sub(r"[^a-z0-9_]", "_", split(kpi)[0].lower())
    suffix, factor = _SUFFIX.get(unit_of(kpi), ("", 1.0))
    stem = f"{metric}_{suffix}" if suffix else metric
    return f"manor_{'kpi_' if stem in OWN or stem.startswith('kpi_') else ''}{stem}", factor


def kpi_of(family: str) -> tuple[str, float]:
    """The KPI that a family was made from, and what its value was multiplied by: :func:`family_of` backwards."""
    stem = family.removeprefix("manor_").removeprefix("kpi_")
    for suffix, factor in _SUFFIX.values():
        kpi = stem.removesuffix(f"_{suffix}")
        if kpi != stem and family_of(kpi) == (family, factor):
            return kpi, factor
    return stem, 1.0


class Assured:
    """A collector as prometheus-client wants it: asked anew at each scrape."""

    def __init__(self, figures: Callable[[], AssuranceFigures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Any]:
        """The metric families."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        now = self._figures()
        families, left_out = _kpi_families(now.rows)
        yield from families
        alarms = GaugeMetricFamily("manor_alarms", "Active alarms.", labels=["severity", "origin"])
        for (severity, origin), number in sorted(now.alarms.items()):
            alarms.add_metric([severity, origin], number)
        yield alarms
        rulings = CounterMetricFamily(
            "manor_heal_decisions", "What was decided about alarms.", labels=["action", "outcome"]
        )
        counted = {(str(action), str(outcome)): 0 for action in HealAction for outcome in Outcome} | dict(now.rulings)
        for (action, outcome), number in sorted(counted.items()):
            rulings.add_metric([action, outcome], number)
        yield rulings
        detectors = GaugeMetricFamily(
            "manor_detectors", "Detectors that watch, and that still learn.", labels=["state"]
        )
        for state, number in sorted(now.detectors.items()):
            detectors.add_metric([state], number)
        yield detectors
        samples = CounterMetricFamily("manor_telemetry_samples", "Values collected.")
        samples.add_metric([], now.samples)
        yield samples
        for name, text, value in (
            ("manor_telemetry_collect_seconds", "Time that the last collection took.", now.collect_s),
            ("manor_telemetry_silent_endpoints", "Endpoints that did not answer when last asked.", now.silent),
            ("manor_telemetry_series_left_out", "KPI series beyond the limit of one scrape.", left_out),
            ("manor_detector_lag_seconds", "From the last measurement to its score.", now.detector_lag_s),
        ):
            gauge = GaugeMetricFamily(name, text)
            gauge.add_metric([], value)
            yield gauge


def _kpi_families(rows: Iterable[KpiRow]) -> tuple[list[Any], int]:
    from prometheus_client.core import GaugeMetricFamily

    made: dict[str, Any] = {}
    series = left_out = 0
    told: list[tuple[KpiRow, str, float]] = []

    def add(row: KpiRow, kpi: str, value: float) -> None:
        nonlocal series, left_out
        if series >= MOST_SERIES:
            left_out += 1
            return
        series += 1
        metric, part = split(kpi)
        name, factor = family_of(metric)
        if name not in made:
            made[name] = GaugeMetricFamily(name, f"KPI {metric}.", labels=KPI_LABELS)
        known = row.subject.labels
        made[name].add_metric([*(known.get(label, "") for label in KPI_LABELS[:-1]), part], value * factor)

    for row in rows:
        for kpi, value in row.values.items():
            if kpi.startswith(_TOLD):
                told.append((row, kpi, value))
            else:
                add(row, kpi, value)
    for row, kpi, value in told:
        add(row, kpi, value)
    return [made[name] for name in sorted(made)], left_out
