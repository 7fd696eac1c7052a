"""Independent signs that agree with a learned alarm. Pure.

A detector sees KPIs alone, and no detector that sees KPIs alone is precise enough to reboot a firewall. So somebody
else has to agree: the VIM, the guest, the switches that count what goes into and comes out of a function, or its own
peers. A flash crowd moves the KPIs of all of a group and is confirmed by none of them.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from manor.api.resources import Phase
from manor.assure.sight import Service, Sight
from manor.telemetry.kpis import KpiRow, split

__all__ = ["Flow", "Flows", "confirm"]

_SILENT_S = 15.0
_PACKETS, _WINDOW_S = 60.0, 300.0
"""So many packets tell a loss from chance; a slow function takes a while to send them, and older ones do not count."""
_FORGET_S = 3600.0
_AT_WORK = 0.5
"""Part of what it usually sends that a machine still sends which does its work."""
_LOSS = 0.2
"""Part of its usual throughput that a function has to lose before the switches' counters count as a sign."""
_ALONE = 3.0
"""How many times its peers' median a machine's KPI has to be, or that part of it, to stand alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """What the switches sent into a machine and took out of it on its chains of late, in packets per second."""

    into: float
    out_of: float
    packets: float
    """How many went in while these were counted."""
    usual: float | None = None
    """The part that usually comes out again, where enough was seen."""
    usual_out: float = 0.0
    """How much usually comes out."""

    @property
    def loss(self) -> float | None:
        """Part of the usual throughput that is lost now; None where too few went in to say."""
        if self.packets < _PACKETS or self.usual is None or self.usual <= 0.05:
            return None
        return 1.0 - (self.out_of / self.into) / self.usual

    @property
    def is_failing(self) -> bool:
        """Whether it passes on a smaller part than it does usually, and less in all.

        A firewall under attack passes on a smaller part too, but no less in all: it does its work.
        """
        # The first alone would be noise, the second alone a quiet hour.
        return (self.loss or 0.0) >= _LOSS and self.out_of < (1.0 - _LOSS) * self.usual_out

    @property
    def is_at_work(self) -> bool:
        """Whether it sends about as much as it usually does."""
        return self.usual is not None and self.out_of >= max(1.0, _AT_WORK * self.usual_out)

    @property
    def load(self) -> float | None:
        """How many times the usual comes out; None where that is not known."""
        return self.out_of / self.usual_out if self.usual is not None and self.usual_out >= 1.0 else None


@dataclass(kw_only=True, slots=True)
class _Usual:
    """One machine's traffic: the last packets, and what is usual."""

    time_s: float
    window: deque[tuple[float, float, float]] = field(default_factory=deque)
    """Seconds, packets into and out of it."""
    share: float = 0.0
    out_of: float = 0.0
    rows: int = 0


@dataclass(kw_only=True, slots=True)
class Flows:
    """What each machine passes on now, over as many packets as it takes to say, and what it usually does.

    What is usual is followed slowly, and not at all while some is lost.
    """

    usual_s: float = 300.0
    """Time in which what is usual follows."""
    rows_needed: int = 12
    now: dict[str, Flow] = field(default_factory=dict)
    _usual: dict[str, _Usual] = field(default_factory=dict)

    def take(self, counts: Mapping[str, tuple[float, float]], now_s: float) -> None:
        """Packets per second (into, out of) by machine since the last time."""
        now: dict[str, Flow] = {}
        self._usual = {key: usual for key, usual in self._usual.items() if now_s - usual.time_s < _FORGET_S}
        for key, (into, out_of) in counts.items():
            usual = self._usual.setdefault(key, _Usual(time_s=now_s))
            span_s, usual.time_s = now_s - usual.time_s, now_s
            if span_s <= 0:
                continue
            usual.window.append((span_s, into * span_s, out_of * span_s))
            _trim(usual.window)
            seconds, went_in, came_out = (sum(column) for column in zip(*usual.window, strict=True))
            known = usual.rows >= self.rows_needed
            flow = Flow(
                into=went_in / seconds,
                out_of=came_out / seconds,
                packets=went_in,
                usual=usual.share if known else None,
                usual_out=usual.out_of,
            )
            now[key] = flow
            if flow.packets >= _PACKETS and not (known and flow.loss is not None and flow.loss >= _LOSS / 2):
                usual.rows += 1
                weight = max(1.0 - math.exp(-span_s / self.usual_s), 1.0 / usual.rows)
                usual.share += weight * (min(2.0, flow.out_of / flow.into) - usual.share)
                usual.out_of += weight * (flow.out_of - usual.out_of)
        self.now = now


def _trim(window: deque[tuple[float, float, float]]) -> None:
    """Drop what is too old, and what is not needed to have seen enough packets."""
    seconds, went_in = sum(item[0] for item in window), sum(item[1] for item in window)
    while len(window) > 2 and (seconds > _WINDOW_S or went_in - window[0][1] >= _PACKETS):
        old_s, old_in, _ = window.popleft()
        seconds, went_in = seconds - old_s, went_in - old_in


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
    endpoint, node = nodes[key]
    seen = sight.seen(endpoint, key)
    if not sight.is_hidden(endpoint, node.host) and (seen is None or seen.phase not in (Phase.ACTIVE, Phase.UNKNOWN)):
        signs.append(f"VIM: it is {seen.phase if seen else 'absent'}")
    # One that sends what it usually sends is too busy to answer, as under a crowd.
    if sight.unheard_s.get(key, 0.0) >= _SILENT_S and key not in sight.at_work:
        signs.append(f"guest agent: no answer for {sight.unheard_s[key]:.0f} s")
    flow = flows.get(key)
    if flow is not None and flow.is_failing:
        signs.append(f"chain counters: of {flow.into:.0f} packets/s into it {flow.out_of:.0f} come out")
    signs += _stops_probes(service, key, rows)
    peers = next(group for group in service.groups().values() if key in group)
    signs += _stands_alone(key, blamed, [peer for peer in peers if peer != key], rows)
    return tuple(signs)


def _stops_probes(service: Service, key: str, rows: Mapping[str, KpiRow]) -> list[str]:
    """A chain in which the last probes stopped in this very machine."""
    parts = key.split("/")
    names = {parts[2], "/".join(parts[2:4])}  # as probes name it: by its VNF, and its machine where it has several
    for _, chain in service.chains():
        values = rows[chain.key].values if chain.key in rows else {}
        lost = [value for kpi, value in values.items() if split(kpi)[0] == "probe_loss" and split(kpi)[1] in names]
        if any(value > 0 for value in lost):
            return [f"probes: {max(lost):.0f} % of those that went into it on {chain.name} did not come out"]
    return []


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
