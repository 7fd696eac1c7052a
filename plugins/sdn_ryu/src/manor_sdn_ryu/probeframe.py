"""Frames that prove a chain: real enough that a function lets them by, marked so that nobody takes them for traffic.

The mark is a DSCP value of the pool for local use (RFC 2474 §6); a number that only this agent could have made tells
probes apart. A probe there opens a connection (TCP SYN, echo request), the one back answers it with the numbers
that a stateful function waits for. The library builds the headers and their checksums.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Mapping
from typing import Any

__all__ = ["MARK_DSCP", "Packet", "frame_of", "nonce_of", "reverse"]

MARK_DSCP = 0b111011
"""Pool 2, ``xxxx11``: experimental or local use."""

Packet = Mapping[str, str | int]
_SALT = os.urandom(16)
_ICMP = {4: 1, 6: 58}
_PORTS = {6: "tcp", 17: "udp", 132: "sctp"}
_HOPS = 64
_WINDOW = 64240
_SYN, _SYN_ACK = 0x02, 0x12
_VLAN = 0x8100
_TEXT = b"manor probe "


def reverse(packet: Packet) -> dict[str, str | int]:
    """The same with sources and destinations exchanged."""
    swap = {"src": "dst", "dst": "src"}
    parts = ((name, name.rpartition("_"), value) for name, value in packet.items())
    return {f"{start}_{swap[side]}" if side in swap else name: value for name, (start, _, side), value in parts}


def nonce_of(packet: Packet) -> int:
    """32 bits that stand for this packet's connection and direction, in this process."""
    names = sorted(name for name in packet if name == "ip_proto" or name.endswith(("_src", "_dst")))
    text = ",".join(f"{name}={packet[name]}" for name in names if not name.startswith("eth_"))
    return int.from_bytes(hashlib.sha256(_SALT + text.encode()).digest()[:4], "big")


def frame_of(packet: Packet, datapath: Any, *, answers: bool) -> bytes:
    """The bytes of the frame. ``answers`` on the way back, where it is the answer to what the other end sent.

    Raises ValueError for a packet that is no IP packet.
    """
    ports = _Parts(datapath)
    number = {0x0800: 4, 0x86DD: 6}.get(int(packet.get("eth_type", 0)))
    if number is None:
        raise ValueError("a probe is an IPv4 or IPv6 packet")
    made = ports.of("packet").Packet()
    vlan = int(packet.get("vlan_vid", 0)) & 0xFFF
    ends = {"dst": str(packet["eth_dst"]), "src": str(packet["eth_src"])}
    made.add_protocol(ports.of("ethernet").ethernet(**ends, ethertype=_VLAN if vlan else int(packet["eth_type"])))
    if vlan:
        made.add_protocol(ports.of("vlan").vlan(vid=vlan, ethertype=int(packet["eth_type"])))
    dscp, protocol = int(packet.get("ip_dscp", 0)) << 2, int(packet["ip_proto"])
    source, target = str(packet[f"ipv{number}_src"]), str(packet[f"ipv{number}_dst"])
    if number == 4:
        header = ports.of("ipv4").ipv4(src=source, dst=target, proto=protocol, tos=dscp, ttl=_HOPS)
    else:
        header = ports.of("ipv6").ipv6(src=source, dst=target, nxt=protocol, traffic_class=dscp, hop_limit=_HOPS)
    made.add_protocol(header)
    nonce = nonce_of(packet).to_bytes(4, "big")
    for part in ports.upper(packet, number, protocol, answers=answers) or [_TEXT + nonce]:
        made.add_protocol(part)
    made.serialize()
    return bytes(made.data)


class _Parts:
    """The packet library that came with the controller library."""

    def __init__(self, datapath: Any) -> None:
        self._root = datapath.ofproto_parser.__name__.split(".")[0]

    def of(self, name: str) -> Any:
        return importlib.import_module(f"{self._root}.lib.packet.{name}")

    def upper(self, packet: Packet, number: int, protocol: int, *, answers: bool) -> list[Any]:
        """What follows the IP header, where it is more than bytes."""
        nonce, asked = nonce_of(packet), nonce_of(reverse(packet))
        text = _TEXT + nonce.to_bytes(4, "big")
        if protocol == _ICMP[number]:
            identity = (asked if answers else nonce) >> 16
            if number == 4:
                icmp = self.of("icmp")
                return [icmp.icmp(0 if answers else 8, 0, data=icmp.echo(id_=identity, seq=1, data=text))]
            icmpv6 = self.of("icmpv6")
            return [icmpv6.icmpv6(129 if answers else 128, 0, data=icmpv6.echo(id_=identity, seq=1, data=text))]
        if protocol not in _PORTS:
            return []
        name = _PORTS[protocol]
        ports = {"src_port": int(packet[f"{name}_src"]), "dst_port": int(packet[f"{name}_dst"])}
        if name == "udp":
            return [self.of("udp").udp(**ports), text]
        if name == "tcp":
            bits = {"bits": _SYN_ACK, "ack": (asked + 1) & 0xFFFFFFFF} if answers else {"bits": _SYN}
            return [self.of("tcp").tcp(**ports, seq=nonce, window_size=_WINDOW, **bits)]
        sctp = self.of("sctp")
        return [sctp.sctp(**ports, vtag=nonce, chunks=[sctp.chunk_heartbeat(info=sctp.param_heartbeat(text))])]
