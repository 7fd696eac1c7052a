"""What a machine says of itself: memory, load, file systems by the agent inside, and its VNF's indicators.

Everything here was written by a guest, so it is bounded and parsed, never trusted: an answer is cut off at a size, a
command at its time, an indicator at a number of values, and no answer can take the name of a KPI that Manor measures.
What does not parse is missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from manor.api.resources import ResourceRef
from manor.api.telemetry import Sample, SampleKind
from manor.api.vim import GuestResult
from manor.errors import ManorError
from manor.telemetry.scrape import place_of, scrape

__all__ = [
    "MOST_BYTES",
    "MOST_DISKS",
    "MOST_INDICATORS",
    "MOST_SERIES",
    "GuestTarget",
    "Indicator",
    "Run",
    "admitted",
    "ask_guest",
    "asked_of",
    "indicators_in",
    "read_indicator",
    "read_system",
]

MOST_BYTES = 256 << 10
"""Longest answer of one command that is read."""
MOST_INDICATORS = 16
"""Indicators of one machine that are read."""
MOST_DISKS = 8
"""File systems of one machine that are named, the fullest."""
MOST_SERIES = 64
"""Values of one indicator; further ones are left out."""
_MOST_NAMES = MOST_INDICATORS * MOST_SERIES + MOST_DISKS
_NAMED_S = 86400.0
"""A machine names so much at most within so long, for each name costs room where it is kept."""
_SCRAPE_S = 5.0
_SYSTEM = ("cat", "/proc/meminfo", "/proc/loadavg", "/proc/mounts")
_DISKS = ("df", "-kP")
_LOAD = re.compile(r"^(\d+\.\d+) \d+\.\d+ \d+\.\d+ \d+/\d+ \d+$", re.M)
_MEMORY = re.compile(r"^(MemTotal|MemAvailable): +(\d+) kB$", re.M)
_DISK = re.compile(r"^/dev/\S+ +\d+ +(\d+) +(\d+) +\d+% +(/.*)$", re.M)
_READ_ONLY = re.compile(r"^\S+ (/\S*) \S+ ro[, ]", re.M)
"""As those made from an image are, which are always full."""
_NEARLY_FULL = 90.0
"""Usage (%) from which on a file system is named."""
_FOREIGN = re.compile(r"[^A-Za-z0-9_.,=/-]")
_METRIC = "vnf_indicator"
_WORDS = {"true": 1.0, "false": 0.0}

Run = Callable[[Sequence[str]], GuestResult]
"""Runs a program in the guest; raises ManorError where that cannot be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Indicator:
    """A VnfIndicator that the VNFD says how to read."""

    id: str
    command: tuple[str, ...]
    """A program in the guest with its arguments, or ``http://:PORT/PATH`` at its management address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestTarget:
    """A machine to ask."""

    ref: ResourceRef
    endpoint: str
    indicators: tuple[Indicator, ...] = ()
    has_agent: bool = True
    address: str = ""
    """Where its exporter is asked; empty where it has none."""


def ask_guest(target: GuestTarget, run: Run, clock: Callable[[], float]) -> list[Sample]:
    """Samples of one guest. A command that fails costs its own values only."""
    samples: list[Sample] = []
    key = target.ref.key
    if target.has_agent:
        system = [_said(run, argv) for argv in (_SYSTEM, _DISKS)]
        samples += read_system(key, "\n".join(text for text in system if text), clock())
    for indicator in target.indicators[:MOST_INDICATORS]:
        text = _indicated(target, indicator, run)
        if text:
            samples += read_indicator(key, indicator.id, text, clock())
    return samples


def asked_of(target: GuestTarget, answered: Collection[tuple[str, ...]]) -> set[str]:
    """Indicators, as KPIs name them, that were asked for over the network or by a command that was ``answered``."""
    return {
        _FOREIGN.sub("_", one.id)[:64]
        for one in target.indicators[:MOST_INDICATORS]
        if (target.address if place_of(one.command) else one.command in answered)
    }


def indicators_in(said: Iterable[Sample]) -> set[str]:
    """Indicators that gave any value."""
    return {sample.labels["part"].partition("/")[0] for sample in said if sample.metric == _METRIC}


def admitted(samples: Iterable[Sample], named: dict[tuple[str, str], float]) -> list[Sample]:
    """Those of one guest under names that it gave before, and under new ones while there is room for them.

    ``named`` has when it last gave each.
    """
    found = []
    for sample in samples:
        name = sample.metric, sample.labels.get("part", "")
        if name not in named and len(named) >= _MOST_NAMES:
            for old in [one for one, last_s in named.items() if last_s <= sample.time_s - _NAMED_S]:
                del named[old]
        if name in named or len(named) < _MOST_NAMES:
            named[name] = sample.time_s
            found.append(sample)
    return found


def read_system(key: str, text: str, time_s: float) -> Iterator[Sample]:
    """Memory and disks in use (%) and the load, from ``/proc/meminfo``, ``/proc/loadavg`` and ``df -kP``."""

    def gauge(metric: str, value: float, unit: str) -> Sample:
        return Sample(metric=metric, value=value, unit=unit, key=key, time_s=time_s)

    memory = {name: float(kib) for name, kib in _MEMORY.findall(text)}
    if memory.get("MemTotal", 0.0) > 0 and "MemAvailable" in memory:
        free = min(1.0, memory["MemAvailable"] / memory["MemTotal"])
        yield gauge("v_memory_usage_mean", 100.0 * (1.0 - free), "%")
    load = _LOAD.search(text)
    if load:
        yield gauge("v_guest_load", float(load[1]), "1")
    # Used over used and free, as df counts: what is kept for root is neither.
    fixed = set(_READ_ONLY.findall(text))
    disks = [(float(used), float(used) + float(free), at) for used, free, at in _DISK.findall(text) if at not in fixed]
    disks = [(used, room, at) for used, room, at in disks if room > 0]
    if disks:
        mean = sum(used for used, _, _ in disks) / sum(room for _, room, _ in disks)
        fullest = sorted(((100.0 * used / room, _FOREIGN.sub("_", at)[:64]) for used, room, at in disks), reverse=True)
        yield gauge("v_disk_usage_mean", 100.0 * mean, "%")
        yield gauge("v_guest_disk_fullest_usage", fullest[0][0], "%")
        for usage, at in fullest[:MOST_DISKS]:
            if usage >= _NEARLY_FULL:
                yield replace(gauge("v_guest_disk_usage", usage, "%"), labels={"part": at})


def read_indicator(key: str, indicator: str, text: str, time_s: float) -> Iterator[Sample]:
    """One value for a number (or true, false) alone; else one for each line of Prometheus's text format."""
    name = _FOREIGN.sub("_", indicator)[:64]
    word = text.strip()
    value = _number(word)
    if value is not None:
        yield _value(key, name, value, time_s, SampleKind.GAUGE)
        return
    if len(word) < 32 and "\n" not in word and " " not in word:
        return  # a word: an indicator may be one, a KPI may not
    for series, number, kind in list(_exposed(text))[:MOST_SERIES]:
        yield _value(key, f"{name}/{series}"[:160], number, time_s, kind)


def _exposed(text: str) -> Iterator[tuple[str, float, SampleKind]]:
    from prometheus_client.parser import text_string_to_metric_families

    count = 0
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.endswith(("_bucket", "_created")) or "quantile" in sample.labels:
                    continue  # a distribution by its count and sum only
                count += 1
                if count > MOST_SERIES:
                    return
                if math.isfinite(sample.value):
                    labels = ",".join(f"{label}={value}" for label, value in sorted(sample.labels.items()))
                    counts = family.type == "counter" or sample.name.endswith(("_count", "_sum"))
                    kind = SampleKind.COUNTER if counts else SampleKind.GAUGE
                    yield _FOREIGN.sub("_", f"{sample.name}{',' if labels else ''}{labels}"), float(sample.value), kind
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return  # the parser is no validator: what was read before the nonsense is kept


def _value(key: str, part: str, value: float, time_s: float, kind: SampleKind) -> Sample:
    return Sample(metric=_METRIC, value=value, unit="1", key=key, time_s=time_s, kind=kind, labels={"part": part})


def _number(word: str) -> float | None:
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    try:
        value = float(word) if len(word) < 64 else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _indicated(target: GuestTarget, indicator: Indicator, run: Run) -> str:
    place = place_of(indicator.command)
    if place is None:
        return _said(run, indicator.command) if target.has_agent else ""
    if not target.address:
        return ""
    try:
        return scrape(target.address, place, most_bytes=MOST_BYTES, within_s=_SCRAPE_S).decode(errors="replace")
    except ManorError:
        return ""


def _said(run: Run, argv: Sequence[str]) -> str:
    try:
        result = run(argv)
    except ManorError:
        return ""
    if len(result.stdout) > MOST_BYTES or (result.exit_code and argv is not _DISKS):
        return ""
    return result.stdout.decode(errors="replace")
