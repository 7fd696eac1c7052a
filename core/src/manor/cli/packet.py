"""A packet as people write it, ``tcp,dst_port=80``, as match fields for a trace."""

from __future__ import annotations

from collections.abc import Mapping

from manor.errors import UsageError

__all__ = ["packet_fields"]

_WORDS: Mapping[str, Mapping[str, int]] = {
    "ip": {"eth_type": 0x0800}, "ipv4": {"eth_type": 0x0800}, "ipv6": {"eth_type": 0x86DD}, "arp": {"eth_type": 0x0806},
    "tcp": {"eth_type": 0x0800, "ip_proto": 6}, "tcp6": {"eth_type": 0x86DD, "ip_proto": 6},
    "udp": {"eth_type": 0x0800, "ip_proto": 17}, "udp6": {"eth_type": 0x86DD, "ip_proto": 17},
    "icmp": {"eth_type": 0x0800, "ip_proto": 1}, "icmp6": {"eth_type": 0x86DD, "ip_proto": 58},
    "sctp": {"eth_type": 0x0800, "ip_proto": 132},
}  # fmt: skip
_TRANSPORT = {6: "tcp", 17: "udp", 132: "sctp"}
_NAMES = {"src_mac": "eth_src", "dst_mac": "eth_dst", "proto": "ip_proto", "dscp": "ip_dscp"}
_EXAMPLE = "for example --packet tcp,dst_port=80 or --packet udp,src=10.0.0.5,dst_port=53"


def packet_fields(text: str) -> dict[str, str | int]:
    """The fields that ``text`` gives: a protocol word, and ``name=value`` pairs: ``src``, ``dst`` (IP addresses),
    ``src_port``, ``dst_port``, ``src_mac``, ``dst_mac``, ``proto``, ``dscp``, ``vlan``, or any field's OXM name.

    Raises UsageError where something is not understood.
    """
    fields: dict[str, str | int] = {}
    later: list[tuple[str, str]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals and name.lower() in _WORDS:
            fields |= _WORDS[name.lower()]
        elif equals and value:
            later.append((name, value))
        else:
            raise UsageError(f"'{part}' is no protocol and no name=value", hint=_EXAMPLE)
    for name, value in later:
        key, number = _field(name, value, fields)
        fields[key] = number
    return fields


def _field(name: str, value: str, fields: Mapping[str, str | int]) -> tuple[str, str | int]:
    number: str | int = int(value, 0) if value.isdecimal() or value.startswith("0x") else value
    if name in ("src_port", "dst_port"):
        protocol = _TRANSPORT.get(int(fields.get("ip_proto", 0)))
        if protocol is None:
            raise UsageError(f"{name} needs tcp, udp or sctp", hint=_EXAMPLE)
        return f"{protocol}_{name[:3]}", number
    if name in ("src", "dst"):
        return f"ipv{6 if ':' in value else 4}_{name}", value
    if name == "vlan":
        if not isinstance(number, int):
            raise UsageError(f"vlan={value} is no VLAN", hint="vlan=100")
        return "vlan_vid", 0x1000 | number
    return _NAMES.get(name, name), number
