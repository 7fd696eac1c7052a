"""From the NSD's forwarding graphs to chains of real ports (etsi.md's NFP → positions → elements → CP pairs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from manor.api.resources import ChainElement, ChainPosition, ChainSpec, Classifier, ElementMode, SdnPort
from manor.errors import PlanRefused
from manor.model.nsd import CpRef, Nfpd, NfpPosition, NfpPositionElement
from manor.nfvo.request import ServiceRequest
from manor.vnfm.members import Vnf, VnfcPort, slug

__all__ = ["Path", "chains"]

_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """A forwarding path as a chain of real ports."""

    spec: ChainSpec
    passed: tuple[str, ...]
    """Keys of the running VNFs that it passes."""
    dead: tuple[str, ...] = ()
    """Ends and positions whose VNFs are all stopped: they stand in the chain, which is DEGRADED by them."""


def chains(request: ServiceRequest, vnfs: Sequence[Vnf], sdn_ports: Mapping[str, SdnPort]) -> tuple[Path, ...]:
    """Each NFP that is not switched off. Stopped VNFs are left out where others do their work.

    ``sdn_ports`` are the service's ports by key. Raises PlanRefused for a path that cannot be steered.
    """
    result = []
    seen: set[str] = set()
    for graph in request.nsd.vnffgds:
        for nfp in graph.nfpds:
            if nfp.id in seen:
                raise PlanRefused(f"NSD {request.nsd.id}: two forwarding paths are called {nfp.id}")
            seen.add(nfp.id)
            if nfp.id not in request.chains_off:
                result.append(_chain(request, nfp, vnfs, sdn_ports))
    return tuple(result)


def _chain(request: ServiceRequest, nfp: Nfpd, vnfs: Sequence[Vnf], sdn_ports: Mapping[str, SdnPort]) -> Path:
    if len(nfp.positions) < 3:
        raise PlanRefused(
            f"forwarding path {nfp.id} has {len(nfp.positions)} positions",
            hint="it needs where traffic starts, at least one function, and where traffic ends",
        )
    by_profile: dict[str, list[Vnf]] = {}
    for vnf in vnfs:
        by_profile.setdefault(vnf.profile.id, []).append(vnf)
    first, *functions, last = nfp.positions
    dead: list[str] = []
    sources, destinations = (_end(nfp, position, by_profile, dead) for position in (first, last))
    links = {port.link for port in (*sources, *destinations)}
    if len(links) != 1:
        raise PlanRefused(
            f"forwarding path {nfp.id} starts and ends on different links: {', '.join(sorted(links))}",
            hint="put both ends on one virtual link; functions may be on others",
        )
    spec = ChainSpec(
        key=f"{request.ns.id}/chain/{slug(nfp.id)}",
        owner=request.owner,
        name=nfp.id,
        segment=links.pop(),
        classifiers=nfp.rules or (Classifier(),),
        sources=tuple(sdn_ports[port.key] for port in sources),
        destinations=tuple(sdn_ports[port.key] for port in destinations),
        positions=tuple(_position(nfp, position, by_profile, sdn_ports, dead) for position in functions),
        symmetric=nfp.symmetric,
        precedence=nfp.precedence,
    )
    profiles = {cp.constituent for position in nfp.positions for element in position.elements for cp in element.cps}
    passed = tuple(vnf.key for vnf in vnfs if vnf.profile.id in profiles and not vnf.is_stopped)
    return Path(spec=spec, passed=passed, dead=tuple(dead))


def _running(parts: Sequence[tuple[Vnf, _Part]], name: str, dead: list[str]) -> tuple[_Part, ...]:
    """The parts of running VNFs; where none is, all of them, and ``name`` is noted as dead."""
    running = tuple(part for vnf, part in parts if not vnf.is_stopped)
    if not running:
        dead.append(name)
    return running or tuple(part for _, part in parts)


def _end(
    nfp: Nfpd, position: NfpPosition, by_profile: Mapping[str, list[Vnf]], dead: list[str]
) -> tuple[VnfcPort, ...]:
    ports = [
        (vnf, port)
        for element in position.elements
        for cp in element.cps
        for vnf in _vnfs(nfp, cp, by_profile)
        for port in _ports(nfp, vnf, cp)
    ]
    return _running(ports, position.id, dead)


def _position(
    nfp: Nfpd,
    position: NfpPosition,
    by_profile: Mapping[str, list[Vnf]],
    sdn_ports: Mapping[str, SdnPort],
    dead: list[str],
) -> ChainPosition:
    elements: list[tuple[Vnf, ChainElement]] = []
    for number, element in enumerate(position.elements):
        weight = position.weights[number] if number < len(position.weights) else 1
        elements += _elements(nfp, element, weight, by_profile, sdn_ports)
    return ChainPosition(
        name=position.id,
        elements=_running(elements, position.id, dead),
        distribution=position.distribution,
        fail_mode=position.fail_mode,
    )


def _elements(
    nfp: Nfpd,
    element: NfpPositionElement,
    weight: int,
    by_profile: Mapping[str, list[Vnf]],
    sdn_ports: Mapping[str, SdnPort],
) -> list[tuple[Vnf, ChainElement]]:
    """One chain element for each machine behind the element's CPs."""
    into, out = element.cps[0], element.cps[-1]
    if into.constituent != out.constituent:
        raise PlanRefused(
            f"forwarding path {nfp.id}, element {element.id}: its two CPs belong to "
            f"{into.constituent} and {out.constituent}; they must be one VNF's"
        )
    result = []
    for vnf in _vnfs(nfp, into, by_profile):
        pairs = zip(_ports(nfp, vnf, into), _ports(nfp, vnf, out), strict=True)
        for ingress, egress in pairs:
            port_in, port_out = sdn_ports[ingress.key], sdn_ports[egress.key]
            if ingress.key == egress.key:
                mode = ElementMode.ONE_ARMED
            elif port_in.transparent and port_out.transparent:
                mode = ElementMode.TRANSPARENT
            else:
                mode = ElementMode.ROUTED
            result.append((vnf, ChainElement(ingress=port_in, egress=port_out, mode=mode, weight=weight)))
    return result


def _vnfs(nfp: Nfpd, cp: CpRef, by_profile: Mapping[str, list[Vnf]]) -> list[Vnf]:
    vnfs = by_profile.get(cp.constituent)
    if not vnfs:
        raise PlanRefused(
            f"forwarding path {nfp.id} needs {cp.constituent}, and this service has none",
            hint=f"it has: {', '.join(by_profile)}; a path is switched off with: manor chain disable NS/{nfp.id}",
        )
    return vnfs


def _ports(nfp: Nfpd, vnf: Vnf, cp: CpRef) -> tuple[VnfcPort, ...]:
    ports = vnf.ports_of(cp.cpd)
    if not ports:
        raise PlanRefused(f"forwarding path {nfp.id}: {vnf.name} has no connected port at {cp.cpd or 'its only CP'}")
    return ports
