"""Following a packet hop by hop, as the switches' own tables decide it.

Each passage through a switch is asked of that switch (``ofproto/trace``); what a function does with a packet no
switch knows, so it is taken to come out of the function's other port unchanged. The answer is in the operator's
words: the note of each rule that the packet met, and where and why it stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from manor.api import CallContext, ChainSpec, Observed, SdnPort, SegmentSpec, Topology, TraceHop
from manor.errors import NotFound, Permanent
from manor_sdn_ryu.fields import BITS, Field, exact, parse
from manor_sdn_ryu.hops import passages
from manor_sdn_ryu.names import word
from manor_sdn_ryu.nsh import ETHER_TYPE
from manor_sdn_ryu.passage import flow_text, read_trace
from manor_sdn_ryu.pipeline import Table

__all__ = ["follow", "into_chain", "into_segment"]

_HOPS_MAX = 64

Packet = dict[str, Field]
Asked = Callable[[str, str, int], str]
"""(host, flow text, table to begin in) → what ``ofproto/trace`` prints."""


def follow(
    start: tuple[SdnPort, Packet],
    segment: SegmentSpec | None,
    chains: Sequence[ChainSpec],
    observed: Sequence[Observed],
    topology: Topology,
    ask: Asked,
    ctx: CallContext,
) -> list[TraceHop]:
    """Every step of a packet, from the port that it enters by, until it is delivered or stops.

    ``chains`` are all that may steer it; ``observed`` is where rules get their words from.
    """
    entry, fields = start
    notes = [rule for one in observed for rule in one.detail.get("rules", ())]
    through = {(into.host, into.device): out for spec in chains for _, into, out in passages(spec)}
    ends = [
        *(segment.ports if segment else ()),
        *(end for spec in chains for end in (*spec.sources, *spec.destinations)),
    ]
    words = {(port.host, port.device): word(port) for port in (*ends, *through.values())}
    ports = {switch.host: switch.ports for switch in topology.switches}
    hops: list[TraceHop] = []
    over = {(link.host, link.device): link.peer for link in topology.links}
    entered = {(link.peer, link.host): link.device for link in topology.links}
    waiting: list[tuple[str, str, Packet, int]] = [(entry.host, entry.device, fields, 0)]
    for _ in range(_HOPS_MAX):
        if not waiting:
            return hops
        ctx.check("tracing")
        host, device, seen, table = waiting.pop(0)
        number = ports.get(host, {}).get(device)
        if number is None:
            hops.append(_stop(host, device, f"port {device} is not on the switch of {host}"))
            continue
        passed = read_trace(ask(host, flow_text(number, seen), table))
        frame = {name: field for name, field in seen.items() if name != "metadata"}  # which the rules change
        hops += [_hop(host, device, rule, notes, frame) for rule in passed.rules]
        if passed.bared is not None:
            waiting.append((host, device, {**fields, "metadata": exact("metadata", passed.bared)}, Table.INNER))
            continue
        if not passed.outputs and not passed.tunnels:
            hops.append(_stop(host, device, f"stops here: {hops[-1].note if passed.rules else 'no rule'}"))
        for name, number in passed.tunnels:
            peer = over.get((host, name), "")
            hops.append(_stop(host, name, f"through the tunnel to host {peer or '(unknown)'}"))
            if peer:
                over_it = {**fields, "tunnel_id": exact("tunnel_id", number)}
                waiting.append((peer, entered.get((host, peer), ""), over_it, 0))
        for name in passed.outputs:
            into = through.get((host, name))
            if into is None:
                hops.append(_stop(host, name, f"delivered to {words.get((host, name), name)}"))
            else:
                what = words.get((host, name), name)
                given = fields if passed.header is None else _given_back(*passed.header)
                path = "" if passed.header is None else " with service path 0x{:x}, index {}".format(*passed.header)
                hops.append(_stop(host, name, f"into the function {what}{path}, out of it at {into.device}"))
                waiting.append((into.host, into.device, given, 0))
    hops.append(_stop("", "", f"stops here: more than {_HOPS_MAX} passages, it circles"))
    return hops


def into_segment(spec: SegmentSpec, packet: Mapping[str, str | int]) -> tuple[SdnPort, Packet]:
    """The port of a segment that ``in_port`` names, and the packet with what that port usually sends.

    Raises NotFound where there is no such port, Permanent for a packet that is none.
    """
    given = _given(packet)
    device = str(packet.get("in_port", ""))
    source = next((port for port in spec.ports if port.device == device), None)
    if source is None:
        raise NotFound(f"link {spec.name} has no port {device!r}", hint="in_port names the port that it enters by")
    target = next((port for port in spec.ports if given.get("eth_dst") == exact("eth_dst", port.mac or _NO_MAC)), None)
    return source, _filled(source, target, given)


def into_chain(spec: ChainSpec, packet: Mapping[str, str | int]) -> tuple[SdnPort, Packet]:
    """The port that the packet enters by (``in_port`` may name it), and the packet with what the chain's ends say.

    Raises NotFound where there is no such end, Permanent for a packet that is none.
    """
    given = _given(packet)
    source, target = spec.sources[0], spec.destinations[0]
    if "in_port" in packet:
        source, target = _from_port(spec, str(packet["in_port"]))
    for one in spec.sources:
        for other in spec.destinations:
            if given.get("eth_src") == exact("eth_src", other.mac or _NO_MAC) and spec.symmetric:
                source, target = other, one
            elif given.get("eth_src") == exact("eth_src", one.mac or _NO_MAC):
                source, target = one, other
    return source, _filled(source, target, given)


def _given_back(path: int, index: int) -> Packet:
    """What an NSH-aware function gives back, as far as a switch can see."""
    fields = {"eth_type": ETHER_TYPE, "nsh_spi": path, "nsh_si": max(index - 1, 0)}
    return {name: exact(name, value) for name, value in fields.items()}


_NO_MAC = "00:00:00:00:00:00"


def _given(packet: Mapping[str, str | int]) -> Packet:
    try:
        return {name: exact(name, value) for name, value in packet.items() if name != "in_port"}
    except (KeyError, ValueError) as error:
        raise Permanent(f"not a packet: {error}", hint=f"known fields: {', '.join(sorted(BITS))}") from error


def _filled(source: SdnPort, target: SdnPort | None, given: Packet) -> Packet:
    """The packet, with the addresses of its ends where it names none."""
    filled: Packet = {}
    kind = given.get("eth_type", exact("eth_type", 0x0800))
    family = {0x0800: "ipv4", 0x86DD: "ipv6"}.get(kind[0], "")
    for port, side in ((source, "src"), (target, "dst")):
        if port is None:
            continue
        if port.mac:
            filled[f"eth_{side}"] = exact(f"eth_{side}", port.mac)
        address = next((a for a in port.addresses if (":" in a) == (family == "ipv6")), "")
        if family and address:
            filled[f"{family}_{side}"] = exact(f"{family}_{side}", address)
    if source.vlan:
        filled["vlan_vid"] = exact("vlan_vid", 0x1000 | source.vlan)
    return {**filled, "eth_type": kind, **given}


def _from_port(spec: ChainSpec, device: str) -> tuple[SdnPort, SdnPort]:
    for here, there in ((spec.sources, spec.destinations), (spec.destinations, spec.sources)):
        for port in here:
            if port.device == device:
                return port, there[0]
    raise NotFound(f"chain {spec.name} has no end at the port {device}")


def _hop(
    host: str, device: str, rule: tuple[int, int, str], notes: Sequence[Mapping[str, Any]], packet: Packet
) -> TraceHop:
    table, priority, match = rule
    if priority < 0:
        return TraceHop(host=host, device=device, table=table, rule="no match", note="no rule: dropped")
    for told in notes:
        if (told["host"], told["table"], told["priority"]) == (host, table, priority) and _fits(told, device, packet):
            text = f"priority={priority},{told['match']} actions={told['actions']}"
            return TraceHop(host=host, device=device, table=table, rule=text, note=told["note"])
    text = f"priority={priority},{match}"
    return TraceHop(host=host, device=device, table=table, rule=text, note="a rule of somebody else's")


def _fits(told: Mapping[str, Any], device: str, packet: Packet) -> bool:
    for name, value in _pairs(str(told["match"])):
        if name == "in_port":
            if value != device:
                return False
        elif name in packet:
            wanted, mask = parse(name, value)
            if (packet[name][0] ^ wanted) & mask:
                return False
    return True


def _pairs(match: str) -> Iterator[tuple[str, str]]:
    for pair in filter(None, match.split(",")):
        name, _, value = pair.partition("=")
        yield name, value


def _stop(host: str, device: str, note: str) -> TraceHop:
    return TraceHop(host=host, device=device, table=None, rule="", note=note)
