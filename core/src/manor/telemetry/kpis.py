"""From a driver's raw samples to KPIs under their standard names, per VNFC, virtual link and chain. Pure but for rates.

Names are SOL001's performance metrics where there is one (``v_cpu_usage_mean_vnf``,
``byte_incoming_vnf_ext_cp``); what ETSI has no name for keeps the VIM's. A KPI of a part (a port, a function's device)
carries the part after a colon: ``byte_incoming_vnf_ext_cp:eth0``. Counters become rates: bytes and packets per second.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from manor.api.resources import Observed
from manor.api.telemetry import Sample, SampleKind
from manor.telemetry.rates import Rates

__all__ = ["KpiRow", "Subject", "kpi_rows", "notable_of", "rule_samples", "split", "unit_of"]

_PARTS = frozenset({"device", "part"})
"""Labels that tell parts of one subject: ``device`` is mapped to its name, ``part`` is one."""
_MOST_PARTS = 64
"""Parts of one subject that are told apart; the rest is left out, so that no switch can flood the history."""
_WORDS = {
    "usage": ("%", 2.0),
    "byte": ("By/s", 10_000.0),
    "packet": ("{packet}/s", 20.0),
    "request": ("{request}/s", 20.0),
    "loss": ("%", 1.0),
    "latency": ("s", 0.002),
}
"""Unit, and least change that means anything, by a word of a metric's name: the first that is in it."""
_NOTABLE_CPU, _NOTABLE_LOAD = 5.0, 0.5
_OUTPUT = re.compile(r"\boutput:([^,\s]+)")
_IN_PORT = re.compile(r"\bin_port=([^,\s]+)")
_NET = re.compile(r"v_net_(byte|packet)_(incoming|outgoing)(_dropped)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What KPIs are about."""

    key: str
    kind: str
    """``vnfc``, ``link`` or ``chain``."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """``service``, ``vnf``, ``vnfc``, ``vdu`` or ``link`` or ``chain``: names for people, few values each."""
    group: str = ""
    """Key of the VNF instance, of a VNFC."""
    vcpus: int = 0
    memory_bytes: int = 0
    parts: Mapping[str, str] = field(default_factory=dict)
    """What a device of it is called: a connection point."""
    internal: frozenset[str] = frozenset()
    """Devices on a link inside the VNF (int_cp); others are ext_cp."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KpiRow:
    """The KPIs of one subject at one time. What could not be measured is not in it."""

    subject: Subject
    time_s: float
    """Seconds since the epoch."""
    values: Mapping[str, float]


def split(kpi: str) -> tuple[str, str]:
    """Metric and part of a KPI's name; no part is empty."""
    metric, _, part = kpi.partition(":")
    return metric, part


def unit_of(kpi: str) -> str:
    """The KPI's unit, as UCUM has it; ``1`` where it has none."""
    metric = split(kpi)[0]
    if (known := _by_word(metric)) is not None:
        return known[0]
    return "By" if metric.startswith("v_memory_") else "1"


def notable_of(kpi: str) -> float:
    """The least change of it that means anything to whoever runs the VNF, in the KPI's unit; 0 where nobody knows.

    What is smaller is an idle guest's own stir: a timer that ran, a neighbour that asked for an address.
    """
    metric = split(kpi)[0]
    if metric == "v_guest_load":
        return _NOTABLE_LOAD
    words = metric.split("_")
    if "cpu" in words:
        return _NOTABLE_CPU if "usage" in words else 0.0  # else it is a time, or a share from 0 to 1
    known = _by_word(metric)
    return known[1] if known is not None else 0.0


def _by_word(metric: str) -> tuple[str, float] | None:
    words = metric.split("_")
    return next((known for word, known in _WORDS.items() if word in words), None)


def kpi_rows(subjects: Iterable[Subject], samples: Iterable[Sample], rates: Rates) -> list[KpiRow]:
    """One row a subject that anything was measured of, at the time of its newest sample."""
    by_key: dict[str, list[Sample]] = {}
    for sample in samples:
        if math.isfinite(sample.value):
            by_key.setdefault(sample.key, []).append(sample)
    rows = []
    for subject in subjects:
        mine = by_key.get(subject.key, ())
        values = _node_values(subject, mine, rates) if subject.kind == "vnfc" else _flow_values(subject, mine, rates)
        if values:
            rows.append(KpiRow(subject=subject, time_s=max(sample.time_s for sample in mine), values=values))
    return rows


def rule_samples(seen: Observed, time_s: float) -> Iterable[Sample]:
    """Counters of a segment or chain from its rules: in all, dropped, and for each device into it and out of it.

    Of a device that one of its rules counts nothing for, as one that is not in its switch, that way is not known.
    """
    total: dict[tuple[str, str], float] = {}
    unknown: set[tuple[str, str]] = set()
    counted = False
    rules = seen.detail.get("rules")
    for rule in rules if isinstance(rules, list | tuple) else ():
        if not isinstance(rule, Mapping):
            continue
        packets = _number(rule, "packets") if rule.get("state") != "missing" else None
        counted = counted or packets is not None
        actions, match = str(rule.get("actions", "")), str(rule.get("match", ""))
        if "decap" in actions:
            continue  # the frame goes on without its header, and is counted by the rule that it meets next
        ways = []
        if str(seen.ref.kind) == "chain":
            ways += [("packet_incoming", device) for device in _OUTPUT.findall(actions)]
            ways += [("packet_outgoing", device) for device in _IN_PORT.findall(match)]
        if packets is None:
            unknown.update(ways)
            continue
        verdict = "dropped" if actions.startswith("drop") else "forwarded"
        _add(total, f"packet_{verdict}", "", packets)
        if (size := _number(rule, "bytes")) is not None:
            _add(total, f"byte_{verdict}", "", size)
        for metric, device in ways:
            _add(total, metric, device, packets)
    if not counted:
        return
    known = [(place, value) for place, value in total.items() if place not in unknown]
    for (metric, device), value in known[: 4 + 2 * _MOST_PARTS]:
        labels = {"device": device} if device else {}
        unit = "By" if metric.startswith("byte") else "{packet}"
        yield Sample(
            metric=metric, value=value, unit=unit, key=seen.ref.key, time_s=time_s, kind=SampleKind.COUNTER,
            labels=labels,
        )  # fmt: skip


def _number(rule: Mapping[str, Any], name: str) -> float | None:
    value = rule.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _add(total: dict[tuple[str, str], float], metric: str, device: str, value: float) -> None:
    total[metric, device] = total.get((metric, device), 0.0) + value


def _flow_values(subject: Subject, samples: Iterable[Sample], rates: Rates) -> dict[str, float]:
    values = {}
    for sample in samples:
        part = _part(subject, sample)
        if part is None:
            continue
        value = _value(sample, rates)
        if value is not None:
            values[_named(sample.metric, part)] = value
    return values


def _node_values(subject: Subject, samples: Iterable[Sample], rates: Rates) -> dict[str, float]:
    values: dict[str, float] = {}
    gauges: dict[str, float] = {}
    summed: dict[str, float] = {}
    for sample in samples:
        device = sample.labels.get("device", "")
        value = _value(sample, rates)
        if sample.kind is SampleKind.GAUGE and not sample.labels.keys() & _PARTS:
            gauges[sample.metric] = sample.value
        if value is None:
            continue
        network = _NET.fullmatch(sample.metric)
        if network is not None:
            what, way, dropped = network.groups()
            side = "int" if device in subject.internal else "ext"
            part = _part(subject, sample)
            if part is not None:
                values[_named(f"{what}_{way}{dropped or ''}_vnf_{side}_cp", part)] = value
        elif "part" in sample.labels:
            values[_named(sample.metric, sample.labels["part"])] = value
        elif sample.kind is SampleKind.COUNTER:
            summed[sample.metric] = summed.get(sample.metric, 0.0) + value
        elif not device and sample.metric not in _INPUTS:
            values[_STANDARD.get(sample.metric, sample.metric)] = value
    count = gauges.get("v_cpu_count", subject.vcpus)
    if "v_cpu_time" in summed and count > 0:
        values["v_cpu_usage_mean_vnf"] = 100.0 * summed["v_cpu_time"] / count
    values.update((metric, value) for metric, value in summed.items() if metric not in _INPUTS)
    used = _memory_used(gauges, subject.memory_bytes)
    if used is not None:
        values["v_memory_usage_mean_vnf"] = used
    return values


_STANDARD = {
    "v_cpu_usage_mean": "v_cpu_usage_mean_vnf",
    "v_memory_usage_mean": "v_memory_usage_mean_vnf",
    "v_disk_usage_mean": "v_disk_usage_mean_vnf",
}
"""A VIM's names of what is measured of one VNFC, and the VNFC's."""
_INPUTS = frozenset(
    {
        "v_up", "v_cpu_count", "v_cpu_time", "v_cpu_user_time", "v_cpu_system_time",
        "v_memory_size", "v_memory_unused", "v_memory_usable",
    }
)  # fmt: skip
"""What a KPI is made from, or what never moves while a machine runs."""


def _memory_used(gauges: Mapping[str, float], memory_bytes: int) -> float | None:
    """Percent of the guest's memory in use; None where the guest does not say (its balloon has no statistics)."""
    size = gauges.get("v_memory_size", float(memory_bytes))
    free = gauges.get("v_memory_usable", gauges.get("v_memory_unused"))
    if free is None or size <= 0:
        return None
    return 100.0 * min(1.0, max(0.0, 1.0 - free / size))


def _value(sample: Sample, rates: Rates) -> float | None:
    if sample.kind is SampleKind.GAUGE:
        return sample.value
    series = (sample.key, sample.metric, sample.labels.get("device", "") or sample.labels.get("part", ""))
    return rates.rate(series, sample.value, sample.time_s)


def _part(subject: Subject, sample: Sample) -> str | None:
    """What a sample's device is called; None for one that the subject does not have."""
    device = sample.labels.get("device", "")
    return subject.parts.get(device) if device else ""


def _named(metric: str, part: str) -> str:
    return f"{metric}:{part}" if part else metric
