"""One passage of a packet through one switch, as Open vSwitch's own tracer (``ofproto/trace``) tells it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from manor_sdn_ryu.fields import Field, render

__all__ = ["Passage", "flow_text", "read_trace"]

_OVS_NAMES = {
    "ipv4_src": "nw_src", "ipv4_dst": "nw_dst", "ip_proto": "nw_proto", "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code", "ipv6_nd_target": "nd_target", "ipv6_nd_sll": "nd_sll", "ipv6_nd_tll": "nd_tll",
    "tunnel_id": "tun_id", "eth_type": "dl_type",
}  # fmt: skip
_RULE = re.compile(r"^\s*(\d+)\. (.*?),? ?priority (\d+)(?:, cookie (0x[0-9a-f]+))?$")
_MISS = re.compile(r"^\s*(\d+)\. No match")
_BRIDGE = re.compile(r'^bridge\("(.*)"\)$')
_TUNNEL_ID = re.compile(r"^\s+set_field:(0x[0-9a-f]+|\d+)->tun_id$")
_SET = re.compile(r"^\s+set_field:(0x[0-9a-f]+|\d+)(?:/\S+)?->(metadata|nsh_spi|nsh_si)$")
_DECAP = re.compile(r"^\s+decap\(\)$")
_OUTPUT = re.compile(r'^\s+output:"?([^"]+)"?$')
_TUNNELLED = re.compile(r"^\s+-> output to \w+ tunnel")
_OUTCOME = re.compile(r"^Datapath actions: (.*)$")


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
    header: tuple[int, int] | None = None
    """(service path, index) of the network service header that it leaves with."""
    bared: int | None = None
    """The metadata that it goes on with in INNER, its header having been taken off: what is inside, no tracer knows."""


def read_trace(text: str) -> Passage:
    """Read what ``ofproto/trace`` prints; of a bridge under a tunnel nothing, since it does not steer."""
    rules: list[tuple[int, int, str]] = []
    sent: list[str] = []
    outcome: list[str] = []
    tunnels: list[tuple[str, int]] = []
    tunnel_id, ours, here = 0, "", ""
    written: dict[str, int] = {}
    bare = False
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
        elif found := _SET.match(line):
            written[found[2]] = int(found[1], 0)
        elif _DECAP.match(line):
            bare = True
        elif found := _OUTPUT.match(line):
            sent.append(found[1])
        elif sent and _TUNNELLED.match(line):
            tunnels.append((sent.pop(), tunnel_id))
    # The datapath's own words tell what really leaves; of a tunnel they tell only what leaves beneath it.
    return Passage(
        rules=tuple(rules),
        outputs=() if bare else tuple(sent if tunnels else outcome),
        tunnels=tuple(tunnels),
        header=(written["nsh_spi"], written["nsh_si"]) if "nsh_si" in written else None,
        bared=written.get("metadata", 0) if bare else None,
    )
