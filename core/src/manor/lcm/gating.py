"""A gate of KPIs: new machines have to keep within bounds for a while before an upgrade goes on.

What was measured comes from Manor's history, which ``manor serve`` writes, and from the VIM, which is asked for gauges
meanwhile. A gate that nothing was measured for has not been stood.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manor.api import CallContext, Metered, ResourceKind, ResourceRef, SampleKind, Step
from manor.errors import DriverError, Permanent, StoreError, Transient
from manor.lcm.rollout import parse_condition, worst

__all__ = ["stand"]

_LOOKS = 10
"""How often the VIM is asked during the soak time."""
_HISTORY = "history.db"


def stand(rt: Any, step: Step, ctx: CallContext, sleep: Callable[[float], None]) -> None:
    """Hold the step's machines to its conditions. Raises Permanent naming the machine and the KPI that broke one,
    Transient where the operation is cancelled meanwhile.
    """
    spec: Mapping[str, Any] = step.spec or {}
    nodes: Mapping[str, str] = spec.get("nodes", {})
    conditions = [parse_condition(text) for text in spec.get("conditions", ())]
    soak_s = float(spec.get("soak_s", 0.0))
    began_s, end = time.time(), ctx.clock() + soak_s
    seen: dict[str, dict[str, list[float]]] = {key: {} for key in nodes}
    metrics = {condition.metric for condition in conditions}
    while True:
        if conditions:
            _ask(rt, nodes, metrics, seen, ctx)
        left_s = end - ctx.clock()
        if ctx.is_cancelled():
            raise Transient(f"{step.id}: cancelled", retry_after_s=0.0)
        if left_s <= 0:
            break
        sleep(min(left_s, max(soak_s / _LOOKS, 0.2)))
    for key in nodes:
        means: dict[str, float | None] = {}
        kept = _history(rt, key, began_s) if conditions else {}
        for metric in metrics:
            values = kept.get(metric) or seen[key].get(metric)
            means[metric] = sum(values) / len(values) if values else None
        if wrong := worst(conditions, means):
            name = key.partition("/vnf/")[2] or key
            raise Permanent(
                f"{name}: {wrong}", hint="manor metrics show; measured by manor serve, or by the VIM itself"
            )


def _ask(
    rt: Any, nodes: Mapping[str, str], metrics: set[str], seen: dict[str, dict[str, list[float]]], ctx: CallContext
) -> None:
    """Add the gauges that the VIMs measure now; a VIM that cannot say adds none."""
    for endpoint in dict.fromkeys(nodes.values()):
        if endpoint.startswith("ssh://"):
            continue  # a way in alone: what is measured of such a machine is in the history
        vim = rt.driver(endpoint)
        if not isinstance(vim, Metered):
            continue
        refs = [ResourceRef(kind=ResourceKind.NODE, key=key) for key, place in nodes.items() if place == endpoint]
        try:
            samples = list(vim.samples(refs, ctx))
        except DriverError:
            continue
        for sample in samples:
            if sample.kind is SampleKind.GAUGE and sample.metric in metrics and sample.key in seen:
                seen[sample.key].setdefault(sample.metric, []).append(sample.value)


def _history(rt: Any, key: str, since_s: float) -> dict[str, list[float]]:
    """What was kept of the machine since then, by metric."""
    from manor.store import history

    home = getattr(rt, "home", None)
    if home is None:
        return {}
    try:
        rows = history.read(Path(home) / _HISTORY, key, since_s=since_s)
    except StoreError:
        return {}
    found: dict[str, list[float]] = {}
    for row in rows:
        for metric, value in row.values.items():
            found.setdefault(metric, []).append(value)
    return found
