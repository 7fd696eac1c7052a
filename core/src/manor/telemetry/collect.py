"""Asking every source once: one call per VIM (which asks each host once), whatever the number of machines.

A source that does not answer costs its own samples only, and is named, for silence is an alarm of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from manor.api import CallContext, Metered, Observed, ResourceRef, Sample, Target, TelemetrySource
from manor.errors import ManorError, Unsupported
from manor.telemetry.kpis import rule_samples

__all__ = ["CALL_S", "Collected", "collect", "flow_samples"]

CALL_S = 10.0
"""Time for one source to answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """What all sources said, and why one said nothing, by its name."""

    samples: tuple[Sample, ...] = ()
    silent: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def collect(
    vims: Mapping[str, Sequence[ResourceRef]],
    driver: Callable[[str], Any],
    *,
    sources: Mapping[str, TelemetrySource] | None = None,
    targets: Sequence[Target] = (),
    call_s: float = CALL_S,
) -> Collected:
    """Samples of the nodes, by endpoint (``vim:lab``), and of further telemetry sources, each asked once."""
    started_s = time.monotonic()
    silent: dict[str, str] = {}

    def ask(subject: tuple[str, Any]) -> list[Sample]:
        name, refs = subject
        ctx = CallContext.within(call_s)
        try:
            if refs is None:
                assert sources is not None
                return list(sources[name].collect(targets, ctx))
            vim = driver(name)
            return list(vim.samples(refs, ctx)) if isinstance(vim, Metered) else []
        except Unsupported:
            return []  # it has no metering, and said so at the start: that is no fault
        except ManorError as error:
            silent[name] = error.message
            return []

    asked: list[tuple[str, Any]] = [(name, refs) for name, refs in vims.items() if refs]
    asked += [(name, None) for name in sources or ()]
    samples = tuple(sample for found in _at_once(ask, asked) for sample in found)
    return Collected(samples=samples, silent=silent, seconds=time.monotonic() - started_s)


def flow_samples(observed: Sequence[Observed], time_s: float) -> tuple[Sample, ...]:
    """Counters of segments and chains, from an observation that was made anyway."""
    return tuple(sample for seen in observed for sample in rule_samples(seen, time_s))


def _at_once(ask: Callable[[Any], list[Sample]], subjects: list[Any]) -> list[list[Sample]]:
    if len(subjects) < 2:
        return [ask(subject) for subject in subjects]
    with ThreadPoolExecutor(max_workers=min(8, len(subjects))) as pool:
        return list(pool.map(ask, subjects))
