"""Virtual links, addresses and protocols: what VNFDs and NSDs say alike."""

from __future__ import annotations

import ipaddress

from manor.api.resources import PortRange, SecurityRule, Subnet
from manor.catalog.reading import Reading
from manor.catalog.units import bits_per_second, seconds

__all__ = [
    "addresses",
    "bitrate",
    "latency",
    "cidr",
    "gateway",
    "layer_protocols",
    "mac",
    "mtu",
    "port_range",
    "security_rule",
    "subnets",
]


def layer_protocols(properties: Reading) -> tuple[str, ...]:
    """``layer_protocols`` of a CP, in lower case; drafts have ``layer_protocol``."""
    return tuple(text.lower() for text in properties.get("layer_protocols", "layer_protocol").texts())


def cidr(reading: Reading) -> str:
    """An address range, empty where none is given."""
    written = reading.text().strip()
    if not written:
        return ""
    try:
        ipaddress.ip_network(written, strict=False)
    except ValueError:
        reading.error("address-invalid", f"{written[:60]} is not an address range", "as 10.0.0.0/24")
        return ""
    return written


def gateway(reading: Reading) -> str:
    """A gateway's address without prefix length, empty where none is given."""
    written = reading.text().strip()
    if not written:
        return ""
    try:
        return str(ipaddress.ip_interface(written).ip)
    except ValueError:
        reading.error("address-invalid", f"{written[:60]} is not an address")
        return ""


def subnets(profile: Reading, properties: Reading) -> tuple[Subnet, ...]:
    """The address ranges of a link: ``virtual_link_protocol_data`` of its profile, or drafts' keys beside it."""
    found = []
    for data in profile.get("virtual_link_protocol_data").each():
        if not data.is_map:
            continue
        data.get("associated_layer_protocol").value()
        l3 = data.get("l3_protocol_data")
        for key in ("ip_version", "name", "ip_allocation_pools", "ipv6_address_mode", "dhcp_enabled"):
            l3.get(key).value()
        if written := cidr(l3.get("cidr")):
            dhcp = l3.get("dhcp_enabled").flag()
            found.append(Subnet(cidr=written, gateway=gateway(l3.get("gateway_ip")), dhcp=dhcp))
    if not found:
        for place in (profile, properties):
            if place.is_map and (written := cidr(place.get("cidr"))):
                dhcp = place.get("dhcp_enabled", "dhcpEnabled").flag()
                found.append(Subnet(cidr=written, gateway=gateway(place.get("gateway_ip", "gatewayIp")), dhcp=dhcp))
                break
    return tuple(found)


def mtu(profile: Reading) -> int:
    """The MTU that a link's layer 2 data asks for, 0 where it says nothing."""
    for data in profile.get("virtual_link_protocol_data").each():
        if data.is_map and (found := data.get("l2_protocol_data").get("mtu").whole(most=65535)):
            return found
    return 0


def bitrate(profile: Reading, *names: str) -> int:
    """The root bit rate of a profile's requirement, bit/s."""
    requirement = profile.get(*names)
    if not requirement.is_map:
        return bits_per_second(requirement)
    requirement.get("leaf").value()
    return bits_per_second(requirement.get("root"))


def latency(profile: Reading) -> float:
    """The most that a frame may be on its way (``qos.latency``), in seconds; 0 where nothing is said."""
    qos = profile.get("qos")
    return seconds(qos.get("latency")) if qos.is_map else 0.0


def addresses(properties: Reading) -> tuple[str, ...]:
    """Fixed layer 3 addresses of a CP (``protocol/address_data/l3_address_data/fixed_ip_address``)."""
    found = []
    for data in _address_data(properties):
        for item in data.get("l3_address_data").get("fixed_ip_address", "fixed_ip_addresses").each():
            written = item.text().strip()
            try:
                ipaddress.ip_interface(written)
            except ValueError:
                item.error("address-invalid", f"{written[:60]!r} is not an address")
            else:
                found.append(written)
    return tuple(found)


def mac(properties: Reading) -> str:
    """A fixed MAC address of a CP, empty where there is none."""
    for data in _address_data(properties):
        if written := data.get("l2_address_data").get("mac_address").text():
            return written.lower()
    return ""


def _address_data(properties: Reading) -> list[Reading]:
    found = []
    for protocol in properties.get("protocol").each():
        if protocol.is_map:
            found += [data for data in protocol.get("address_data").each() if data.is_map]
    return found


def port_range(reading: Reading) -> PortRange | None:
    """A range of transport ports: a map with ends, ``80-1024``, ``[80, 1024]`` or one port."""
    if not reading:
        return None
    if reading.is_map and not reading.is_open:
        lower = reading.get("lower_port", "lower", "min", "lower_bound")
        upper = reading.get("upper_port", "upper", "max", "upper_bound")
        return PortRange(lower=lower.whole(0, most=65535), upper=upper.whole(65535, most=65535))
    if reading.is_list:
        texts: list[str] = list(reading.texts())
    else:
        texts = reading.text().replace("_", "-").replace(":", "-").split("-")
    texts = [text.strip() for text in texts]
    if len(texts) == 1:
        texts *= 2
    if len(texts) == 2 and all(text.isascii() and text.isdigit() and len(text) < 6 for text in texts):
        lower_port, upper_port = int(texts[0]), int(texts[1])
        if lower_port <= upper_port <= 65535:
            return PortRange(lower=lower_port, upper=upper_port)
    if any(texts):
        reading.error("port-range", f"{'-'.join(texts)[:40]} is not a range of ports", "as 80-443")
    return None


def security_rule(properties: Reading) -> SecurityRule:
    """A SecurityGroupRule policy's properties."""
    low, high = properties.get("port_range_min"), properties.get("port_range_max")
    ports = None
    if low or high:
        ports = PortRange(lower=low.whole(0, most=65535), upper=high.whole(65535, most=65535))
    protocol = properties.get("protocol").text("tcp").lower()
    return SecurityRule(
        direction=properties.get("direction").choice(("ingress", "egress"), "ingress"),
        ether_type=properties.get("ether_type").choice(("ipv4", "ipv6"), "ipv4"),
        protocol="" if protocol == "any" else protocol,
        ports=ports if protocol in ("tcp", "udp", "sctp", "dccp", "udplite") else None,
    )
