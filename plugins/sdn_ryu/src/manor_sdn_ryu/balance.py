"""Sharing a position's traffic over its elements, by rules instead of by a select group.

An OpenFlow 1.3 select group leaves the hash to the switch. Open vSwitch then hashes both ends' ports, so the way
back of a connection may meet another element than the way there, and a stateful function drops it. Here the low
bits of one field choose: the source's IP address (SOURCE_IP_HASH), or the source's transport port where the
classifier gives a protocol with ports (ROUND_ROBIN: a client counts its ports up, so connections go round). A
connection always has the same source, so it sticks; on the way back the field is the destination's. Every share is
a rule with its own counters, the same in every switch and every release. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from manor.api import ChainElement, ChainPosition, Distribution
from manor_sdn_ryu.fields import Field, Match, merge

__all__ = ["SLOTS_MAX", "shares", "slots"]

SLOTS_MAX = 64
_FAMILY = {0x0800: "ipv4_src", 0x86DD: "ipv6_src"}
_PORTS = {6: "tcp_src", 17: "udp_src", 132: "sctp_src"}


def slots(weights: Sequence[int]) -> list[int]:
    """How many of 1, 2, 4 … 64 equal slots each weight gets (largest remainder, at least one)."""
    total = sum(weights)
    count = 1
    while count < SLOTS_MAX and any(weight * count % total for weight in weights):
        count *= 2
    exact = [weight * count / total for weight in weights]
    given = [max(1, int(share)) if weight else 0 for share, weight in zip(exact, weights, strict=True)]
    order = sorted(range(len(weights)), key=lambda i: (given[i] - exact[i], i))
    while sum(given) < count:
        given[order[0]] += 1
        order.append(order.pop(0))
    while sum(given) > count:
        given[max(range(len(given)), key=lambda i: (given[i] > 1, given[i] - exact[i], i))] -= 1
    return given


def shares(
    position: ChainPosition, elements: Sequence[ChainElement], clause: Match
) -> list[tuple[dict[str, Field], ChainElement]]:
    """What to add to ``clause`` for each element. What has no field to choose by all goes to the first element."""
    name = _field(position.distribution, clause)
    if len(elements) == 1 or not name:
        return [({}, elements[0])]
    given = slots([max(element.weight, 0) for element in elements])
    count = sum(given)
    found: list[tuple[dict[str, Field], ChainElement]] = []
    start = 0
    for element, width in zip(elements, given, strict=True):
        for value, mask in _blocks(start, start + width, count):
            extra = {name: (value, mask)}
            if merge(clause, extra) is not None:
                found.append((extra, element))
        start += width
    return found


def _field(distribution: Distribution, clause: Match) -> str:
    protocol = clause.get("ip_proto", (0, 0))[0]
    if distribution is Distribution.ROUND_ROBIN and protocol in _PORTS:
        return _PORTS[protocol]
    return _FAMILY.get(clause.get("eth_type", (0, 0))[0], "")


def _blocks(start: int, stop: int, count: int) -> list[Field]:
    """The slots from ``start`` up to ``stop`` as masks over the low bits; ``count`` is a power of two."""
    found = []
    while start < stop:
        size = start & -start or count
        while start + size > stop:
            size >>= 1
        found.append((start, (count - 1) & ~(size - 1)))
        start += size
    return found
