"""Independent signs that agree with a learned alarm. Pure.

A detector sees KPIs alone, and no detector that sees KPIs alone is precise enough to reboot a firewall. So somebody
else has to agree: the VIM, the guest, the switches that count what goes into and comes out of a function, or its own
peers. A flash crowd moves the KPIs of all of a group and is confirmed by none of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from manor.api.resources import Phase
from manor.assure.sight import Service, Sight
from manor.telemetry.kpis import KpiRow, split

__all__ = ["Flow", "Flows", "confirm", "peers_of"]

_SILENT_S = 15.0
_LEAST_PPS = 2.0
_LOSS = 0.2
"""Part of its usual throughput that a function has to lose before the switches' counters count as a sign."""
_ALONE = 3.0
"""How many times its peers' median a machine's KPI has to be, or that part of it, to stand alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """What the switches sent into a machine and took out of it on its chains, in packets per second."""

    into: float
    out_of: float
    usual: float | None = None
    """The part that usually comes out again, where enough was seen."""

    @property
    def loss(self) -> float | None:
        """Part of the usual throughput that is lost now; None where too little goes in to say."""
        if self.into < _LEAST_PPS or self.usual is None or self.usual <= 0.05:
            return None
        return 1.0 - (self.out_of / self.into) / self.usual


@dataclass(kw_only=True, slots=True)
class Flows:
    """What part of its traffic each machine usually passes on, followed slowly and not while it loses some."""

    weight: float = 0.05
    rows_needed: int = 12
    now: dict[str, Flow] = field(default_factory=dict)
    _usual: dict[str, tuple[float, int]] = field(default_factory=dict)

    def take(self, counts: Mapping[str, tuple[float, float]]) -> None:
        """Packets per second (into, out of) by machine."""
        self.now = {}
        for key, (into, out_of) in counts.items():
            usual, rows = self._usual.get(key, (0.0, 0))
            flow = Flow(into=into, out_of=out_of, usual=usual if rows >= self.rows_needed else None)
            self.now[key] = flow
            if into >= _LEAST_PPS and (flow.loss is None or flow.loss < _LOSS / 2):
                share = min(2.0, out_of / into)
                weight = max(self.weight, 1.0 / (rows + 1))
                self._usual[key] = (usual + weight * (share - usual), rows + 1)


def confirm(
    service: Service,
    key: str,
    blamed: Sequence[str],
    *,
    sight: Sight,
    flows: Mapping[str, Flow],
    rows: Mapping[str, KpiRow],
) -> tuple[str, ...]:
    """Signs, in words, that the machine ``key`` is sick; ``blamed`` are its own KPIs, most suspect first."""
    signs = []
    nodes = {node.key: (endpoint, node) for endpoint, node in service.nodes()}
    if key not in nodes:
        return ()
    endpoint, _ = nodes[key]
    seen = sight.seen(endpoint, key)
    if endpoint in sight.observed and (seen is None or seen.phase not in (Phase.ACTIVE, Phase.PENDING, Phase.UNKNOWN)):
        signs.append(f"VIM: it is {seen.phase if seen else 'absent'}")
    if sight.unheard_s.get(key, 0.0) >= _SILENT_S:
        signs.append(f"guest agent: no answer for {sight.unheard_s[key]:.0f} s")
    flow = flows.get(key)
    loss = flow.loss if flow else None
    if flow is not None and loss is not None and loss >= _LOSS:
        signs.append(f"chain counters: of {flow.into:.0f} packets/s into it {flow.out_of:.0f} come out")
    signs += _stands_alone(key, blamed, peers_of(service, key), rows)
    return tuple(signs)


def peers_of(service: Service, key: str) -> tuple[str, ...]:
    """Other machines of the same VDU of the same VNF."""

    def group(node_key: str, labels: tuple[tuple[str, str], ...]) -> tuple[str, str]:
        return node_key.rpartition("/")[0], dict(labels).get("vdu", "")

    groups = {node.key: group(node.key, node.labels) for _, node in service.nodes()}
    return tuple(other for other, of in groups.items() if other != key and of == groups.get(key))


def _stands_alone(key: str, blamed: Sequence[str], peers: Sequence[str], rows: Mapping[str, KpiRow]) -> list[str]:
    """The first blamed KPI by which the machine differs from at least two peers that agree with each other."""
    if key not in rows:
        return []
    for kpi in blamed[:3]:
        mine = rows[key].values.get(kpi)
        theirs = [rows[peer].values[kpi] for peer in peers if peer in rows and kpi in rows[peer].values]
        if mine is None or len(theirs) < 2:
            continue
        middle = statistics.median(theirs)
        agree = middle > 0 and all(middle / _ALONE < value < middle * _ALONE for value in theirs)
        if agree and not middle / _ALONE <= mine <= middle * _ALONE:
            return [f"peers: {split(kpi)[0]} is {mine:.3g} here and {middle:.3g} with its {len(theirs)} peers"]
    return []
