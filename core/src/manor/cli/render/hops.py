"""A chain's counters hop by hop: what went in, what came out again, and how fast. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manor.model.topology import ServiceTopology, TopologyChain

__all__ = ["HopCount", "goes_on", "hop_counts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HopCount:
    """Traffic on its way from one stop of a chain to the next."""

    way: str
    """``there`` or ``back``."""
    hop: int
    """1 is out of where the traffic starts."""
    path: str
    packets: int
    bytes: int
    packets_per_s: float | None = None
    bits_per_s: float | None = None
    lost: int | None = None
    """Packets that went into the function before this hop and did not come out of it; None for the first hop."""
    latency_s: float | None = None
    """How long the last probes were in the function before this hop, the slowest of its elements."""


def hop_counts(
    picture: ServiceTopology,
    chain: TopologyChain,
    rules: Iterable[Mapping[str, Any]],
    before: Sequence[HopCount] = (),
    elapsed_s: float = 0.0,
    latencies: Mapping[str, float] | None = None,
) -> list[HopCount]:
    """Counts by hop of the rules that a controller observed; with ``before`` (``elapsed_s`` ago) also rates.

    ``latencies`` are those of probes in seconds, by the key of the port that they went into.
    """
    ports = picture.ports()

    def devices(keys: Collection[str]) -> frozenset[str]:
        found = {ports[key][2].device for key in keys if key in ports}
        return frozenset(found | {chain.outside[key].partition("/")[2] for key in keys if key in chain.outside})

    def names(keys: Iterable[str]) -> str:
        return "|".join(dict.fromkeys(name(key) for key in keys))

    def name(key: str) -> str:
        if key in ports:
            return ports[key][0].name
        return key.rpartition("/")[2] if key in chain.outside else "outside"

    stops = [
        (chain.sources, chain.sources),
        *((tuple(e.ingress for e in h.elements), tuple(e.egress for e in h.elements)) for h in chain.hops),
        (chain.destinations, chain.destinations),
    ]
    seen = [(_in_port(rule), str(rule.get("note", "")), rule) for rule in rules if not goes_on(rule)]
    old = {(count.way, count.hop): count for count in before}
    found: list[HopCount] = []
    for way in ("there", "back") if chain.symmetric else ("there",):
        ordered = stops if way == "there" else [(out, into) for into, out in reversed(stops)]
        upstream: int | None = None
        for number, (stop, following) in enumerate(itertools.pairwise(ordered), start=1):
            into, out = stop
            left = devices(out)
            # A function with one port sends both ways by it: then the note tells which.
            either = devices(into) == left
            own = [r for device, note, r in seen if device in left and (number == 1 or not either or _is(way, note))]
            packets, octets = (sum(int(rule.get(name, 0)) for rule in own) for name in ("packets", "bytes"))
            was = old.get((way, number))
            rate = elapsed_s > 0 and was is not None and packets >= was.packets
            found.append(
                HopCount(
                    way=way,
                    hop=number,
                    path=f"{names(out)} > {names(following[0])}",
                    packets=packets,
                    bytes=octets,
                    packets_per_s=(packets - was.packets) / elapsed_s if rate and was else None,
                    bits_per_s=8 * (octets - was.bytes) / elapsed_s if rate and was else None,
                    lost=None if upstream is None else upstream - packets,
                    latency_s=max((seconds for key, seconds in (latencies or {}).items() if key in into), default=None),
                )
            )
            upstream = packets
    return found


def goes_on(rule: Mapping[str, Any]) -> bool:
    """Whether the rule only takes a frame's header off: another one sends the frame on, and counts it."""
    return "decap" in str(rule.get("actions", ""))


def _is(way: str, note: str) -> bool:
    return (" back" in note) == (way == "back")


def _in_port(rule: Mapping[str, Any]) -> str:
    for part in str(rule.get("match", "")).split(","):
        name, _, value = part.partition("=")
        if name == "in_port":
            return value
    return ""
