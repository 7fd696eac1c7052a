"""Loss and latency of a chain, from marked frames that were really sent along it. Pure.

``probe_loss`` is the part of the ways (each classifier, there and back) on which a probe stopped without leave, and
with a function's name after a colon, where it stopped in any, the part of those that came to the function;
``probe_latency`` the time that the slowest whole way took, and with a function's name after a colon the time in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

__all__ = ["Hop", "Way", "probe_kpis"]

_MOST_HOPS = 64


class Hop(Protocol):
    """One part of a probe's way."""

    @property
    def name(self) -> str:
        """The function's, in people's words."""
        ...

    @property
    def latency_s(self) -> float | None:
        """Time in it, where that was measured."""
        ...

    @property
    def is_fault(self) -> bool:
        """Whether the probe stopped here without leave."""
        ...


class Way(Protocol):
    """What became of one probe."""

    @property
    def ok(self) -> bool:
        """Whether nothing on it proves the chain wrong."""
        ...

    @property
    def hops(self) -> Sequence[Hop]:
        """In order."""
        ...


def probe_kpis(ways: Iterable[Way]) -> Mapping[str, float]:
    """KPIs of one chain; nothing where no probe could be sent."""
    sent = list(ways)
    if not sent:
        return {}
    values = {"probe_loss": 100.0 * sum(not way.ok for way in sent) / len(sent)}
    whole = [[hop.latency_s for hop in way.hops if hop.latency_s is not None] for way in sent if way.ok]
    if any(whole):
        values["probe_latency"] = max(sum(times) for times in whole)
    parts: dict[str, float] = {}
    for way in sent:
        for hop in way.hops:
            if hop.latency_s is not None:
                parts[hop.name] = max(parts.get(hop.name, 0.0), hop.latency_s)
    values.update((f"probe_latency:{name}", time_s) for name, time_s in list(parts.items())[:_MOST_HOPS])
    met = [hop for way in sent for hop in way.hops if hop.is_fault or hop.latency_s is not None]
    for name in list(dict.fromkeys(hop.name for hop in met if hop.is_fault))[:_MOST_HOPS]:
        faults = [hop.is_fault for hop in met if hop.name == name]
        values[f"probe_loss:{name}"] = 100.0 * sum(faults) / len(faults)
    return values
