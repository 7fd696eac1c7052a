"""Following a packet of a chain hop by hop, as the switches' own tables decide it.

Each passage through a switch is asked of that switch (``ofproto/trace``); what a function does with a packet no
switch knows, so it is taken to come out of the function's other port unchanged. The answer is in the operator's
words: the note of each rule that the packet met, and where and why it stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from manor.api import CallContext, ChainSpec, Observed, SdnPort, Topology, TraceHop
from manor.errors import Permanent
from manor_sdn_ryu.fields import BITS, Field, exact, parse, render

__all__ = ["flow_text", "read_trace", "trace_chain"]

_OVS_NAMES = {
    "ipv4_src": "nw_src", "ipv4_dst": "nw_dst", "ip_proto": "nw_proto", "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code", "ipv6_nd_target": "nd_target", "ipv6_nd_sll": "nd_sll", "ipv6_nd_tll": "nd_tll",
    "tunnel_id": "tun_id", "eth_type": "dl_type",
}  # fmt: skip
_RULE = re.compile(r"^\s*(\d+)\. (.*?),? ?priority (\d+)(?:, cookie (0x[0-9a-f]+))?$")
_MISS = re.compile(r"^\s*(\d+)\. No match")
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


def read_trace(text: str) -> tuple[list[tuple[int, int, str]], list[str]]:
    """The rules met, as (table, priority, match), priority -1 for no match; and the devices it goes out of."""
    rules: list[tuple[int, int, str]] = []
    outcome: list[str] = []
    for line in text.splitlines():
        if found := _RULE.match(line):
            rules.append((int(found[1]), int(found[3]), found[2]))
        elif found := _MISS.match(line):
            rules.append((int(found[1]), -1, ""))
        elif found := _OUTCOME.match(line):
            flat = re.sub(r"\w+\((?:[^()]|\([^()]*\))*\)", "", found[1])
            outcome = [name for name in flat.split(",") if name and name != "drop"]
    return rules, outcome


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
    ports = {switch.host: switch.ports for switch in topology.switches}
    hops: list[TraceHop] = []
    waiting = [(start.host, start.device)]
    for _ in range(_HOPS_MAX):
        if not waiting:
            return hops
        ctx.check("tracing")
        host, device = waiting.pop(0)
        number = ports.get(host, {}).get(device)
        if number is None:
            hops.append(_stop(host, device, f"port {device} is not on the switch of {host}"))
            continue
        met, outputs = read_trace(ask(host, flow_text(number, fields)))
        hops += [_hop(host, device, rule, notes, fields) for rule in met]
        if not outputs:
            hops.append(_stop(host, device, f"stops here: {hops[-1].note if met else 'no rule'}"))
        for name in outputs:
            into = through.get((host, name))
            if into is None:
                hops.append(_stop(host, name, f"delivered to {name}"))
            else:
                hops.append(_stop(host, name, f"into the function at {name}, out of it at {into.device}"))
                waiting.append((into.host, into.device))
    hops.append(_stop("", "", f"stops here: more than {_HOPS_MAX} passages, it circles"))
    return hops


def _entry(spec: ChainSpec, packet: Mapping[str, str | int]) -> tuple[SdnPort, Packet]:
    """The port that the packet enters by, and the packet with what the chain's ends say of it."""
    try:
        given = {name: exact(name, value) for name, value in packet.items()}
    except (KeyError, ValueError) as error:
        raise Permanent(f"not a packet: {error}", hint=f"known fields: {', '.join(sorted(BITS))}") from error
    source, target = spec.sources[0], spec.destinations[0]
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
