"""What may stand in a service's links and paths at all, wherever they come from. Pure.

Readers of descriptors refuse other values with their place in a file; an operator's own elements have no file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from manor.api.resources import Classifier
from manor.model.classify import bits, contradiction
from manor.model.nsd import PRECEDENCE_MAX, Nfpd, NsVirtualLinkDesc, Vnffgd

__all__ = ["MAC", "MOST_BITS", "PROTOCOL", "faults"]

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
"""In lower case."""
PROTOCOL = re.compile(r"[a-z][a-z0-9.+-]{0,30}|\d{1,3}")
"""An IANA keyword in lower case, or a number that has none."""
_LEAST_MTU, _MOST_MTU = 68, 65535
"""RFC 791; the length field of an IP packet."""
MOST_BITS = 4096
"""Of an extended criterion."""


def faults(element: object) -> Iterator[str]:
    """What of a virtual link or a forwarding graph nothing could be made of, each in words."""
    if isinstance(element, NsVirtualLinkDesc):
        yield from _faults_of_link(element)
    elif isinstance(element, Vnffgd):
        yield from (f"path {path.id}: {why}" for path in element.nfpds for why in _faults_of_path(path))


def _faults_of_link(link: NsVirtualLinkDesc) -> Iterator[str]:
    for subnet in link.subnets:
        if why := _none(lambda text: ipaddress.ip_network(text, strict=False), subnet.cidr, "address range"):
            yield f"cidr: {why}"
        elif subnet.gateway and (why := _none(ipaddress.ip_interface, subnet.gateway, "address")):
            yield f"gateway: {why}"
    if link.mtu and not _LEAST_MTU <= link.mtu <= _MOST_MTU:
        yield f"mtu: {link.mtu} is not from {_LEAST_MTU} to {_MOST_MTU}"
    if link.max_bitrate_bps < 0 or link.min_bitrate_bps < 0 or link.max_latency_s < 0:
        yield "a rate or a latency is below 0"


def _faults_of_path(path: Nfpd) -> Iterator[str]:
    if not 0 <= path.precedence <= PRECEDENCE_MAX:
        yield f"precedence: {path.precedence} is not from 0 to {PRECEDENCE_MAX}"
    for position in path.positions:
        if any(weight < 1 for weight in position.weights):
            yield f"position {position.id}: a weight is below 1"
    for number, rule in enumerate(path.rules):
        for why in _faults_of_rule(rule):
            yield f"rule {path.rule_name(number)}: {why}"


def _faults_of_rule(rule: Classifier) -> Iterator[str]:
    for text in filter(None, (rule.source_ip_address_prefix, rule.destination_ip_address_prefix)):
        if why := _none(lambda one: ipaddress.ip_network(one, strict=False), text, "IP prefix"):
            yield why
    for text in filter(None, (rule.ether_source_address, rule.ether_destination_address)):
        if not MAC.fullmatch(text):
            yield f"{text[:60]!r} is no MAC address in lower case, as 02:00:00:00:00:01"
    if rule.ether_type not in ("", "ipv4", "ipv6"):
        yield f"ether_type {rule.ether_type[:60]!r} is neither ipv4 nor ipv6"
    if rule.protocol and not PROTOCOL.fullmatch(rule.protocol):
        yield f"{rule.protocol[:60]!r} is no protocol, as tcp"
    if any(not 0 <= tag <= 4094 for tag in rule.vlan_tag):
        yield "a vlan_tag is not from 0 to 4094"
    for criterion in rule.extended_criteria:
        if criterion[1] > MOST_BITS:
            yield f"an extended criterion of {criterion[1]} bits is longer than {MOST_BITS}"
            return
        if why := _none(lambda one: dict(bits(one)), criterion, "extended criterion"):
            yield why
            return
    if why := contradiction(rule):
        yield f"it matches nothing: {why}"


def _none(read: Callable[..., object], value: object, what: str) -> str:
    """Why a value cannot be read; empty where it can."""
    try:
        read(value)
    except ValueError:
        return f"{str(value)[:60]!r} is no {what}"
    return ""
