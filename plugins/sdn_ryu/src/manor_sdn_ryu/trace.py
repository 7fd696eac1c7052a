"""Following a packet of a chain hop by hop, as the switches' own tables decide it.

Each passage through a switch is asked of that switch (``ofproto/trace``); what a function does with a packet no
switch knows, so it is taken to come out of the function's other port unchanged. The answer is in the operator's
words: the note of each rule that the packet met, and where and why it stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manor.api import CallContext, ChainSpec, Observed, SdnPort, Topology, TraceHop
from manor.errors import NotFound, Permanent
from manor_sdn_ryu.fields import BITS, Field, exact, parse, render
from manor_sdn_ryu.names import word

__all__ = ["Passage", "flow_text", "read_trace", "trace_chain"]

_OVS_NAMES = {
    "ipv4_src": "nw_src", "ipv4_dst": "nw_dst", "ip_proto": "nw_proto", "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code", "ipv6_nd_target": "nd_target", "ipv6_nd_sll": "nd_sll", "ipv6_nd_tll": "nd_tll",
    "tunnel_id": "tun_id", "eth_type": "dl_type",
}  # fmt: skip
_RULE = re.compile(r"^\s*(\d+)\. (.*?),? ?priority (\d+)(?:, cookie (0x[0-9a-f]+))?$")
_MISS = re.compile(r"^\s*(\d+)\. No match")
_BRIDGE = re.compile(r'^bridge\("(.*)"\)$')
_TUNNEL_ID = re.compile(r"^\s+set_field:(0x[0-9a-f]+|\d+)->tun_id$")
_OUTPUT = re.compile(r'^\s+output:"?([^"]+)"?$')
_TUNNELLED = re.compile(r"^\s+-> output to \w+ tunnel")
_OUTCOME = re.compile(r"^Datapath actions: (.*)$")
_HOPS_MAX = 64

Packet = dict[str, Field]
Asked = Callable[[str, str], str]
"""(host, flow text) → what ``ofproto/trace`` prints."""


def flow_text(in_port: int, packet: Mapping[str, Field]) -> str:
    """A packet as Open vSwitch's flow syntax. Prerequisites come first, as it wants them."""
    order = ["eth_type", "ip_proto", *sorted(packet.keys() - {"eth_type", "ip_proto"})]
    texts = [f"{_OVS_NAMES.get(name, name)}={render(name, packet[name])}" for name in order if name in packet]
    return ",".join([f"in_port={in_port}", *texts])


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """What one switch does with a packet."""

    rules: tuple[tuple[int, int, str], ...]
    """(table, priority, match) of the rules met, in order; priority -1 for no match."""
    outputs: tuple[str, ...]
    """Devices that it goes out of, tunnels left out."""
    tunnels: tuple[tuple[str, int], ...]
    """(device, tunnel id) of the tunnels that it goes into."""


def read_trace(text: str) -> Passage:
    """Read what ``ofproto/trace`` prints; of a bridge under a tunnel nothing, since it does not steer."""
    rules: list[tuple[int, int, str]] = []
    sent: list[str] = []
    outcome: list[str] = []
    tunnels: list[tuple[str, int]] = []
    tunnel_id, ours, here = 0, "", ""
    for line in text.splitlines():
        if found := _BRIDGE.match(line):
            here, ours = found[1], ours or found[1]
        elif found := _OUTCOME.match(line):
            flat = re.sub(r"\w+\((?:[^()]|\([^()]*\))*\)", "", found[1])
            outcome = [name for name in flat.split(",") if name and name != "drop"]
        elif here != ours:
            continue
        elif found := _RULE.match(line):
            rules.append((int(found[1]), int(found[3]), found[2]))
        elif found := _MISS.match(line):
            rules.append((int(found[1]), -1, ""))
        elif found := _TUNNEL_ID.match(line):
            tunnel_id = int(found[1], 0)
        elif found := _OUTPUT.match(line):
            sent.append(found[1])
        elif sent and _TUNNELLED.match(line):
            tunnels.append((sent.pop(), tunnel_id))
    # The datapath's own words tell what really leaves; of a tunnel they tell only what leaves beneath it.
    return Passage(rules=tuple(rules), outputs=tuple(sent if tunnels else outcome), tunnels=tuple(tunnels))


def trace_chain(
    spec: ChainSpec,
    observed: Sequence[Observed],
    packet: Mapping[str, str | int],
    topology: Topology,
    ask: Asked,
    ctx: CallContext,
) -> list[TraceHop]:
    """Every step of the packet until it is delivered or stops. Raises Permanent for a packet that is none."""
    start, fields = _entry(spec, packet)
    notes = [rule for one in observed for rule in one.detail.get("rules", ())]
    through = {
        (into.host, into.device): out
        for position in spec.positions
        for element in position.elements
        for into, out in ((element.ingress, element.egress), (element.egress, element.ingress))
    }
    words = {(port.host, port.device): word(port) for port in (*spec.sources, *spec.destinations, *through.values())}
    ports = {switch.host: switch.ports for switch in topology.switches}
    hops: list[TraceHop] = []
    over = {(link.host, link.device): link.peer for link in topology.links}
    entered = {(link.peer, link.host): link.device for link in topology.links}
    waiting: list[tuple[str, str, int]] = [(start.host, start.device, 0)]
    for _ in range(_HOPS_MAX):
        if not waiting:
            return hops
        ctx.check("tracing")
        host, device, tunnel_id = waiting.pop(0)
        number = ports.get(host, {}).get(device)
        if number is None:
            hops.append(_stop(host, device, f"port {device} is not on the switch of {host}"))
            continue
        seen = {**fields, "tunnel_id": exact("tunnel_id", tunnel_id)} if tunnel_id else fields
        passed = read_trace(ask(host, flow_text(number, seen)))
        hops += [_hop(host, device, rule, notes, seen) for rule in passed.rules]
        if not passed.outputs and not passed.tunnels:
            hops.append(_stop(host, device, f"stops here: {hops[-1].note if passed.rules else 'no rule'}"))
        for name, number in passed.tunnels:
            peer = over.get((host, name), "")
            hops.append(_stop(host, name, f"through the tunnel to host {peer or '(unknown)'}"))
            if peer:
                waiting.append((peer, entered.get((host, peer), ""), number))
        for name in passed.outputs:
            into = through.get((host, name))
            if into is None:
                hops.append(_stop(host, name, f"delivered to {words.get((host, name), name)}"))
            else:
                what = words.get((host, name), name)
                hops.append(_stop(host, name, f"into the function {what}, out of it at {into.device}"))
                waiting.append((into.host, into.device, 0))
    hops.append(_stop("", "", f"stops here: more than {_HOPS_MAX} passages, it circles"))
    return hops


def _entry(spec: ChainSpec, packet: Mapping[str, str | int]) -> tuple[SdnPort, Packet]:
    """The port that the packet enters by (``in_port`` may name it), and the packet with what the chain's ends say."""
    try:
        given = {name: exact(name, value) for name, value in packet.items() if name != "in_port"}
    except (KeyError, ValueError) as error:
        raise Permanent(f"not a packet: {error}", hint=f"known fields: {', '.join(sorted(BITS))}") from error
    source, target = spec.sources[0], spec.destinations[0]
    if "in_port" in packet:
        source, target = _from_port(spec, str(packet["in_port"]))
    for one in spec.sources:
        for other in spec.destinations:
            if given.get("eth_src") == exact("eth_src", other.mac) and spec.symmetric:
                source, target = other, one
            elif given.get("eth_src") == exact("eth_src", one.mac):
                source, target = one, other
    filled: Packet = {"eth_src": exact("eth_src", source.mac), "eth_dst": exact("eth_dst", target.mac)}
    kind = given.get("eth_type", exact("eth_type", 0x0800))
    family = {0x0800: "ipv4", 0x86DD: "ipv6"}.get(kind[0], "")
    for port, side in ((source, "src"), (target, "dst")):
        address = next((a for a in port.addresses if (":" in a) == (family == "ipv6")), "")
        if family and address:
            filled[f"{family}_{side}"] = exact(f"{family}_{side}", address)
    return source, {**filled, "eth_type": kind, **given}


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
