"""What is measured of services, under which names, and what of it tells how much traffic a machine passes on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manor.api import Target
from manor.api.resources import NodeSpec
from manor.assure.sight import Service, vnf_of
from manor.lcm.draining import nodes_of
from manor.telemetry.kpis import KpiRow, Subject, split

__all__ = ["passed_on", "sent", "subjects_of", "targets_of"]

Traffic = dict[str, tuple[float, float]]
"""Packets per second into and out of machines, by their key."""


def subjects_of(services: Sequence[Service]) -> list[Subject]:
    """Machines, links and chains."""
    subjects = []
    for service in services:
        for _, node in service.nodes():
            inside = f"{vnf_of(node.key)}/vl/"
            subjects.append(
                Subject(
                    key=node.key,
                    kind="vnfc",
                    labels={"service": service.name, **dict(node.labels)},
                    group=vnf_of(node.key),
                    vcpus=node.vcpus,
                    memory_bytes=node.memory_bytes,
                    parts=_parts(node),
                    internal=frozenset(port.device for port in node.ports if port.network.startswith(inside)),
                )
            )
        names = _names(service)
        subjects += [
            Subject(key=s.key, kind="link", labels={"service": service.name, "link": s.name}, parts=names)
            for _, s in service.segments()
        ]
        subjects += [
            Subject(key=c.key, kind="chain", labels={"service": service.name, "chain": c.name}, parts=names)
            for _, c in service.chains()
        ]
    return subjects


def targets_of(services: Sequence[Service]) -> tuple[Target, ...]:
    """Machines as further telemetry sources see them."""
    return tuple(
        Target(
            key=node.key,
            kind="node",
            address=service.address_of(node),
            labels=dict(node.labels),
        )
        for service in services
        for _, node in service.nodes()
    )


def passed_on(services: Sequence[Service], rows: Mapping[str, KpiRow]) -> Traffic:
    """Of each machine that is a function of a chain, as the switches count it.

    One of whose ways only one end was counted is left out: what is not known to come out is not lost.
    """
    counts: Traffic = {}
    halves: set[str] = set()
    for service in services:
        names = _names(service)
        for _, chain in service.chains():
            values = rows[chain.key].values if chain.key in rows else {}
            for element in (element for hop in chain.positions for element in hop.elements):
                node, ends = min(nodes_of(element)), (element.ingress.device, element.egress.device)
                for there, back in {ends, ends[::-1]}:
                    into = values.get(f"packet_incoming:{names.get(there)}")
                    out_of = values.get(f"packet_outgoing:{names.get(back)}")
                    if into is not None and out_of is not None:
                        before = counts.get(node, (0.0, 0.0))
                        counts[node] = before[0] + into, before[1] + out_of
                    elif into is not None or out_of is not None:
                        halves.add(node)
    return {node: count for node, count in counts.items() if node not in halves}


def sent(rows: Sequence[KpiRow]) -> Traffic:
    """Of each machine all of whose ports were counted, as its host counts them."""
    counts = {}
    for row in rows:
        into, out_of = (
            {split(kpi)[1]: value for kpi, value in row.values.items() if kpi.startswith(f"packet_{way}_vnf_")}
            for way in ("incoming", "outgoing")
        )
        all_of_it = ({""}, set(row.subject.parts.values()))  # a VIM need not tell its ports apart
        if into and into.keys() == out_of.keys() and into.keys() in all_of_it:
            counts[row.subject.key] = sum(into.values()), sum(out_of.values())
    return counts


def _parts(node: NodeSpec) -> dict[str, str]:
    """Names of a machine's ports, by device."""
    return {port.device: port.name or port.key.rpartition("/")[2] for port in node.ports}


def _names(service: Service) -> dict[str, str]:
    """Names of all its ports with their machine's, by device."""
    return {
        device: f"{dict(node.labels).get('vnfc', node.name)}:{part}"
        for _, node in service.nodes()
        for device, part in _parts(node).items()
    }
