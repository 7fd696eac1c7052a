"""A service as people look at it: what should be there, beside what is. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manor.api import ChainSpec, Classifier, NodeSpec, Observed, PortRange, ResourceKind, SegmentSpec
from manor.lcm.runtime import Runtime
from manor.lcm.world import NOT_CONNECTED, observe
from manor.model.desired import DesiredResource, DesiredState
from manor.model.instance import NsInstance, VnfInstance
from manor.model.topology import (
    ServiceTopology,
    TopologyChain,
    TopologyElement,
    TopologyHop,
    TopologyLink,
    TopologyPort,
    TopologyVnf,
    TopologyVnfc,
)

__all__ = ["classifier_text", "service_topology", "topology"]


def topology(rt: Runtime, name_or_id: str, *, look: bool = True) -> ServiceTopology:
    """The service as it should be, each part with the state it is observed in; without states where a VIM or
    controller cannot be asked, or where ``look`` says that they do not matter."""
    from manor.store import instances

    with rt.store.read() as tx:
        ns = instances.get(tx, name_or_id)
        vnfs = instances.vnfs(tx, ns.id)
        desired = instances.desired(tx, ns.id)
    observed: Mapping[str, Observed] | None = None
    if look:
        try:
            observed = observe(rt, ns.id, desired).observed
        except NOT_CONNECTED:
            pass  # the picture is of use without states too
    return service_topology(ns, vnfs, desired, observed)


def service_topology(
    ns: NsInstance,
    vnfs: tuple[VnfInstance, ...],
    desired: DesiredState | None,
    observed: Mapping[str, Observed] | None,
) -> ServiceTopology:
    """Pure: the picture of these values. ``observed`` None means that nothing could be asked."""
    resources = desired.resources if desired else ()
    state = {r.spec.key: _state(r.spec.key, observed) for r in resources}
    nodes = [r for r in resources if isinstance(r.spec, NodeSpec)]
    links_of_network = {
        r.spec.key: r.spec.segment or r.spec.key.partition("@")[0]
        for r in resources
        if r.spec.kind is ResourceKind.NETWORK and hasattr(r.spec, "segment")
    }
    return ServiceTopology(
        id=ns.id,
        name=ns.name,
        nsd_id=ns.nsd_id,
        state=ns.state,
        vnfs=tuple(
            TopologyVnf(
                id=vnf.id,
                name=vnf.name,
                vnfd_id=vnf.vnfd_id,
                vnfm=vnf.vnfm,
                state=vnf.instantiation_state,
                vnfcs=tuple(_vnfc(r, links_of_network, state) for r in nodes if r.spec.key.startswith(f"{vnf.id}/")),
            )
            for vnf in vnfs
        ),
        links=tuple(
            TopologyLink(
                key=r.spec.key,
                name=r.spec.name,
                sdn=r.endpoint.partition(":")[2],
                subnets=r.spec.subnets,
                mtu=r.spec.mtu,
                state=state[r.spec.key],
            )
            for r in resources
            if isinstance(r.spec, SegmentSpec)
        ),
        chains=tuple(
            _chain(r.spec, state[r.spec.key], (observed or {}).get(r.spec.key))
            for r in resources
            if isinstance(r.spec, ChainSpec)
        ),
    )


def _state(key: str, observed: Mapping[str, Observed] | None) -> str:
    if observed is None:
        return ""
    return str(observed[key].phase) if key in observed else "absent"


def _vnfc(resource: DesiredResource, links: Mapping[str, str], state: Mapping[str, str]) -> TopologyVnfc:
    spec = resource.spec
    assert isinstance(spec, NodeSpec)
    labels = dict(spec.labels)
    return TopologyVnfc(
        key=spec.key,
        name=labels.get("vnfc", spec.name),
        vdu_id=labels.get("vdu", ""),
        vim=resource.endpoint.partition(":")[2],
        host=spec.host,
        state=state[spec.key],
        ports=tuple(
            TopologyPort(
                key=port.key,
                name=port.name,
                link=links.get(port.network, port.network),
                mac=port.mac,
                addresses=port.addresses,
                device=port.device,
            )
            for port in spec.ports
        ),
    )


def _chain(spec: ChainSpec, state: str, seen: Observed | None) -> TopologyChain:
    rules: Any = seen.detail.get("rules", ()) if seen is not None else ()
    counters: dict[str, int] = {}
    for rule in rules:
        note = str(rule.get("note") or "")
        if note:
            counters[note] = counters.get(note, 0) + int(rule.get("packets", 0))
    return TopologyChain(
        key=spec.key,
        name=spec.name,
        link=spec.segment,
        match=tuple(classifier_text(classifier) for classifier in spec.classifiers),
        sources=tuple(port.key for port in spec.sources),
        hops=tuple(
            TopologyHop(
                name=position.name,
                elements=tuple(
                    TopologyElement(ingress=e.ingress.key, egress=e.egress.key, weight=e.weight)
                    for e in position.elements
                ),
            )
            for position in spec.positions
        ),
        destinations=tuple(port.key for port in spec.destinations),
        outside={
            port.key: f"{port.host}/{port.device}"
            for port in (*spec.sources, *spec.destinations)
            if "/sap/" in port.key
        },
        symmetric=spec.symmetric,
        precedence=spec.precedence,
        state=state,
        counters=counters,
    )


def classifier_text(rule: Classifier) -> str:
    """A classifier in a few words, as ``tcp to 10.0.0.2/32 port 80``."""
    words = [rule.protocol or rule.ether_type or "anything"]
    if rule.source_ip_address_prefix or rule.source_port_range or rule.ether_source_address:
        words += ["from", rule.source_ip_address_prefix or rule.ether_source_address]
        words += _ports(rule.source_port_range)
    if rule.destination_ip_address_prefix or rule.destination_port_range or rule.ether_destination_address:
        words += ["to", rule.destination_ip_address_prefix or rule.ether_destination_address]
        words += _ports(rule.destination_port_range)
    if rule.vlan_tag:
        words += ["vlan", ",".join(map(str, rule.vlan_tag))]
    if rule.dscp is not None:
        words += ["dscp", str(rule.dscp)]
    return " ".join(word for word in words if word)


def _ports(ports: PortRange | None) -> list[str]:
    if ports is None:
        return []
    return ["port", str(ports.lower) if ports.lower == ports.upper else f"{ports.lower}-{ports.upper}"]
