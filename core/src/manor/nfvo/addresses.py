"""Addresses, MACs and interface names: made by core, equal at every re-plan, so that drivers need not invent any."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from manor.api.resources import Subnet
from manor.errors import PlanRefused

__all__ = ["allocate", "default_subnet", "device_name", "mac_address"]

_FIRST = 10
"""Offset of the first address given out in a range of ordinary size; the ones below are for infrastructure."""


def mac_address(owner: str, port_key: str) -> str:
    """A stable, locally administered unicast MAC for a port."""
    digest = hashlib.sha256(f"{owner}\0{port_key}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))


def device_name(owner: str, port_key: str) -> str:
    """A stable host-side interface name: 13 characters, below Linux's limit of 15."""
    return "m" + hashlib.sha256(f"{owner}\0{port_key}".encode()).hexdigest()[:12]


def default_subnet(ordinal: int) -> Subnet:
    """The subnet of a link that wants addresses and gives no range; ``ordinal`` counts such links of a service."""
    return Subnet(cidr=f"10.{64 + (ordinal >> 8) % 128}.{ordinal & 255}.0/24")


def allocate(
    link: str,
    subnets: Sequence[Subnet],
    ports: Sequence[tuple[str, Sequence[str]]],
    held: Mapping[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """Addresses with prefix length by port key, one per subnet and port.

    ``ports`` are (key, addresses that the descriptor fixes); ``held`` are addresses given before, which stay.
    Raises PlanRefused where a range is used up, or a fixed address is outside every range or given twice.
    """
    networks = [ipaddress.ip_network(subnet.cidr, strict=False) for subnet in subnets]
    taken = {
        ipaddress.ip_interface(subnet.gateway.split("/")[0]).ip: "the gateway" for subnet in subnets if subnet.gateway
    }
    result: dict[str, list[str]] = {key: [] for key, _ in ports}
    for key, fixed in ports:
        for text in held.get(key, ()):
            kept = ipaddress.ip_interface(text)
            if any(kept.ip in network for network in networks) and kept.ip not in taken:
                result[key].append(text)
                taken[kept.ip] = key
        for text in fixed:
            address = ipaddress.ip_interface(text).ip
            inside = next((network for network in networks if address in network), None)
            if inside is None:
                raise PlanRefused(f"link {link}: address {text} of {key} is outside {_ranges(networks)}")
            if taken.setdefault(address, key) != key:
                raise PlanRefused(f"link {link}: address {text} of {key} is that of {taken[address]} already")
            if f"{address}/{inside.prefixlen}" not in result[key]:
                result[key].append(f"{address}/{inside.prefixlen}")
    for network in networks:
        free = _free(network, taken)
        for key, _ in ports:
            if any(ipaddress.ip_interface(text).ip in network for text in result[key]):
                continue
            chosen = next(free, None)
            if chosen is None:
                raise PlanRefused(
                    f"link {link}: no address left in {network} for {key}", hint="widen the cidr in the descriptor"
                )
            taken[chosen] = key
            result[key].append(f"{chosen}/{network.prefixlen}")
    return {key: tuple(addresses) for key, addresses in result.items()}


def _free(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    taken: Mapping[ipaddress.IPv4Address | ipaddress.IPv6Address, str],
) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    start = _FIRST if network.num_addresses >= 32 else 1
    last = network.num_addresses - (1 if network.version == 4 and network.num_addresses > 2 else 0)
    for offset in range(start, last):
        address = network[offset]
        if address not in taken:
            yield address


def _ranges(networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> str:
    return ", ".join(str(network) for network in networks) or "any range: the link has none"
