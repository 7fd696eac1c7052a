"""What the controller says to a plan's links and chains, asked while nothing has been done yet.

A controller's compiler is pure, so that a chain that it cannot steer is refused with the plan, with the line of the
descriptor that wants it, instead of half-way through an operation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from manor.api import (
    CallContext,
    Capabilities,
    ChainSpec,
    ElementMode,
    Finding,
    SdnCapability,
    SdnPort,
    SegmentSpec,
    Severity,
    Support,
    Topology,
)
from manor.errors import Permanent, PlanRefused, Unsupported
from manor.lcm.runtime import Runtime
from manor.lcm.world import OBSERVE_S
from manor.model.desired import DesiredState
from manor.model.nsd import Nfpd
from manor.nfvo.request import ServiceRequest

__all__ = ["refuse_unsteerable"]


def refuse_unsteerable(rt: Runtime, wish: ServiceRequest, state: DesiredState, stored: DesiredState | None) -> None:
    """Raise PlanRefused where the controller cannot have a segment or chain of ``state``.

    What stands in ``stored`` as it is has been had before, and is not asked about again.
    """
    known = {resource.spec for resource in stored.resources} if stored else set()
    specs = [
        resource.spec
        for resource in state.resources
        if isinstance(resource.spec, SegmentSpec | ChainSpec) and resource.spec not in known
    ]
    if not specs or not wish.sdn:
        return
    driver = rt.driver(f"sdn:{wish.sdn}")
    support: Capabilities = driver.capabilities(CallContext.within(OBSERVE_S))
    topology: Topology = driver.topology(CallContext.within(OBSERVE_S))
    findings: list[Finding] = []
    for spec in specs:
        findings += [_finding(wish, spec, message) for message in _lacking(wish.sdn, spec, support)]
        findings += [_finding(wish, spec, *told) for told in _unplugged(spec, topology)]
        try:
            driver.compile(spec, topology)
        except (Permanent, Unsupported) as error:
            findings.append(_finding(wish, spec, error.message, error.hint))
    findings += _taken(rt, wish, specs)
    if findings:
        place = f"{findings[0].file}:{findings[0].line}: " if findings[0].file else ""
        raise PlanRefused(f"{place}{findings[0].message}", findings=findings, hint=findings[0].hint)


def _finding(wish: ServiceRequest, spec: SegmentSpec | ChainSpec, message: str, hint: str = "") -> Finding:
    nfps: list[Nfpd] = [nfp for graph in wish.nsd.vnffgds for nfp in graph.nfpds if nfp.id == spec.name]
    place = nfps[0].place if nfps and isinstance(spec, ChainSpec) else None
    return Finding(
        severity=Severity.ERROR,
        code=f"{spec.kind}-refused",
        message=message,
        file=place.file if place else "",
        line=place.line if place else 0,
        hint=hint,
    )


def _lacking(controller: str, spec: SegmentSpec | ChainSpec, support: Capabilities) -> Iterator[str]:
    """What the controller does not claim and the spec needs."""
    for capability in _needs(spec):
        if support.has(capability) is not Support.FULL:
            why = support.detail.get(capability)
            yield f"{spec.name} needs {capability}, which the controller {controller} has not" + (
                f": {why}" if why else ""
            )


def _needs(spec: SegmentSpec | ChainSpec) -> Iterator[SdnCapability]:
    ports = spec.ports if isinstance(spec, SegmentSpec) else (*spec.sources, *spec.destinations)
    if any(_is_outside(port) for port in ports):
        yield SdnCapability.EXTERNAL_PORT
    if isinstance(spec, SegmentSpec):
        return
    yield SdnCapability.CHAIN
    if spec.symmetric:
        yield SdnCapability.CHAIN_SYMMETRIC
    if any(len(position.elements) > 1 for position in spec.positions):
        yield SdnCapability.LOAD_BALANCING
    if any(element.mode is ElementMode.NSH for position in spec.positions for element in position.elements):
        yield SdnCapability.NSH


def _is_outside(port: SdnPort) -> bool:
    return not port.transparent and (not port.mac or bool(port.vlan))


def _unplugged(spec: SegmentSpec | ChainSpec, topology: Topology) -> Iterator[tuple[str, str]]:
    """Ports to the outside that are on no switch: nobody but the operator can bring them."""
    if isinstance(spec, ChainSpec):
        return
    switches = {switch.host: switch for switch in topology.switches}
    for port in spec.ports:
        if "/sap/" not in port.key:
            continue
        switch = switches.get(port.host)
        if switch is None:
            yield f"SAP {_sap(port)}: the controller has no switch on host {port.host}", "manor sdn show NAME"
        elif switch.connected and port.device not in switch.ports:
            hint = f"on {port.host}: ovs-vsctl add-port BRIDGE {port.device}"
            yield f"SAP {_sap(port)}: the switch of {port.host} has no port {port.device}", hint


def _is_whole(port: SdnPort) -> bool:
    """Whether the SAP has the port with all its VLANs: one machine is there, and no VLAN is said."""
    return bool(port.mac) and not port.vlan


def _sap(port: SdnPort) -> str:
    return port.key.rpartition("/")[2]


def _taken(rt: Runtime, wish: ServiceRequest, specs: Sequence[SegmentSpec | ChainSpec]) -> Iterator[Finding]:
    """SAPs at a port and VLAN that another link, of this service or another, has already.

    So no two services have a port in common, and no frame is of the links of two.
    """
    from manor.store import instances

    segments = [spec for spec in specs if isinstance(spec, SegmentSpec)]
    outside = [(spec, port) for spec in segments for port in spec.ports if "/sap/" in port.key]
    if not outside:
        return
    with rt.store.read() as tx:
        states = [(ns.name, instances.desired(tx, ns.id)) for ns in instances.all_of(tx) if ns.id != wish.ns.id]
    others = [
        (f"service {name}", port)
        for name, state in states
        for resource in (state.resources if state else ())
        if isinstance(resource.spec, SegmentSpec)
        for port in resource.spec.ports
    ]
    others += [(f"link {spec.name}", port) for spec in segments for port in spec.ports]
    for spec, port in outside:
        for whose, other in others:
            same = (other.host, other.device) == (port.host, port.device) and other.key != port.key
            if same and (other.vlan == port.vlan or _is_whole(port) or _is_whole(other)):
                vlan = f" (VLAN {port.vlan})" if port.vlan else ""
                message = f"SAP {_sap(port)}: {port.device} on {port.host}{vlan} is {whose}'s already"
                yield _finding(wish, spec, message, "give each a port, or a VLAN, of its own")
