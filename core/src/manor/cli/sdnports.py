"""Whose a switch's port is, from what every service is meant to be."""

from __future__ import annotations

from dataclasses import dataclass

from manor.cli.session import Session

__all__ = ["Device", "devices_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Whose a switch's port is."""

    service: str
    vnf: str
    vnfc: str
    port: str
    mac: str
    addresses: tuple[str, ...]


def devices_of(s: Session) -> dict[str, Device]:
    """Every port of every service, by device."""
    from manor.api import NodeSpec
    from manor.store import instances

    found: dict[str, Device] = {}
    with s.runtime.store.read() as tx:
        states = [instances.desired(tx, ns.id) for ns in instances.all_of(tx)]
    for state in filter(None, states):
        for node in (resource.spec for resource in state.resources if isinstance(resource.spec, NodeSpec)):
            labels = dict(node.labels)
            for port in node.ports:
                found[port.device] = Device(
                    service=state.service_name,
                    vnf=labels.get("vnf", node.name),
                    vnfc=labels.get("vnfc", node.name),
                    port=port.name,
                    mac=port.mac,
                    addresses=port.addresses,
                )
    return found
