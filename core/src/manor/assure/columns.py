"""What a detector is shown of a VNF: one row, a column for each KPI of each machine, and what change of it means
anything. Pure.

A guest names its own figures, the indicators, so they are counted here: a detector never forgets a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from manor.api.assure import SampleBatch
from manor.assure.declared import is_indicator, notable_indicator
from manor.assure.sight import Declared
from manor.telemetry.kpis import KpiRow, notable_of

__all__ = ["batch_of", "follow"]

_OF_THE_HOST = frozenset({"v_memory_resident"})
"""KPIs that tell of the hypervisor's process and not of the VNF: another after each start."""
_MOST_INDICATORS = 256
"""Figures of its own that one VNF is judged by, the first that it gave."""
_GAIN = 0.002
"""How far what an indicator usually is follows each of its values: half of the way in some 350 rows."""


def follow(usual: dict[str, float], vnf: str, rows: Sequence[KpiRow]) -> None:
    """Have ``usual`` follow the VNF's indicators; no more of them than may be judged come into it."""
    for name, kpi, value in _measured(vnf, rows):
        if is_indicator(kpi) and (name in usual or len(usual) < _MOST_INDICATORS):
            before = usual.get(name, abs(value))
            usual[name] = before + _GAIN * (abs(value) - before)


def batch_of(
    vnf: str, said: Declared, rows: Sequence[KpiRow], now_s: float, usual: Mapping[str, float]
) -> SampleBatch | None:
    """One row of the VNF: what its machines measured in this round. None where they measured nothing."""
    found = {name: (kpi, value) for name, kpi, value in _measured(vnf, rows) if name in usual or not is_indicator(kpi)}
    if not found:
        return None
    names = tuple(sorted(found))
    values = [found[name][1] for name in names]
    kpis = ((name, found[name][0]) for name in names)
    notable = tuple(
        notable_indicator(said, kpi, usual[name]) if is_indicator(kpi) else notable_of(kpi) for name, kpi in kpis
    )
    return SampleBatch(names=names, times_s=(now_s,), values=(values,), notable=notable)


def _measured(vnf: str, rows: Sequence[KpiRow]) -> Iterator[tuple[str, str, float]]:
    """Column, KPI and value of all that the machines of a VNF measured in this round."""
    for row in rows:
        machine = row.subject.key.removeprefix(f"{vnf}/")
        for kpi, value in row.values.items():
            if kpi not in _OF_THE_HOST:
                yield f"{machine}|{kpi}", kpi, value
