"""From the NSD's forwarding graphs to chains of real ports (etsi.md's NFP → positions → elements → CP pairs)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from manor.api.records import Finding, Severity
from manor.api.resources import ChainElement, ChainPosition, ChainSpec, Classifier, ElementMode, SdnPort
from manor.errors import PlanRefused
from manor.model.classify import contradiction
from manor.model.nsd import CpRef, Nfpd, NfpPosition, NfpPositionElement, Nsd, Place, Sapd
from manor.nfvo.overlap import refuse_overlaps
from manor.nfvo.request import ServiceRequest
from manor.vnfm.members import Vnf, VnfcPort, slug

__all__ = ["HEADER_BYTES", "Path", "chains", "encapsulated"]

_Part = TypeVar("_Part")
HEADER_BYTES = 38
"""What stands before a frame that comes with NSH: Ethernet, and the header with its context (RFC 8300 §2.4)."""
_LINK_LOCAL = ipaddress.ip_network("fe80::/10")


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """A forwarding path as a chain of real ports."""

    spec: ChainSpec
    passed: tuple[str, ...]
    """Keys of the running VNFs that it passes."""
    dead: tuple[str, ...] = ()
    """Ends and positions whose VNFs are all stopped: they stand in the chain, which is DEGRADED by them."""


def chains(
    request: ServiceRequest,
    vnfs: Sequence[Vnf],
    sdn_ports: Mapping[str, SdnPort],
    saps: Mapping[str, SdnPort] | None = None,
) -> tuple[Path, ...]:
    """Each NFP that is not switched off. Stopped VNFs are left out where others do their work.

    ``sdn_ports`` are the service's ports by key, ``saps`` those of its attached SAPs by SAP id. Raises PlanRefused,
    with file and line, for a path that cannot be steered, and for two that want the same packets.
    """
    by_profile: dict[str, list[Vnf]] = {}
    for vnf in vnfs:
        by_profile.setdefault(vnf.profile.id, []).append(vnf)
    sapds = {sapd.id: sapd for sapd in request.nsd.sapds}
    result: list[tuple[Nfpd, Path]] = []
    seen: dict[str, Nfpd] = {}
    for graph in request.nsd.vnffgds:
        for nfp in graph.nfpds:
            if nfp.id in seen and nfp != seen[nfp.id]:
                raise _refused(nfp, f"NSD {request.nsd.id}: two forwarding paths are called {nfp.id}")
            if nfp.id not in seen and nfp.id not in request.chains_off:
                result.append((nfp, _Draft(request, nfp, vnfs, by_profile, sdn_ports, sapds, saps or {}).path()))
            seen[nfp.id] = nfp
    refuse_overlaps([(nfp, path.spec) for nfp, path in result])
    return tuple(path for _, path in result)


def encapsulated(nsd: Nsd, vnfs: Sequence[Vnf]) -> frozenset[str]:
    """Keys of the ports where frames come with a network service header, whether their path is on or not."""
    sapds = {sapd.id: sapd.cpd for sapd in nsd.sapds}
    named = [
        sapds.get(cp.constituent) or cp
        for graph in nsd.vnffgds
        for nfp in graph.nfpds
        for position in nfp.positions
        if position.encapsulation == "nsh"
        for element in position.elements
        for cp in element.cps
    ]
    return frozenset(
        port.key for cp in named for vnf in vnfs if vnf.profile.id == cp.constituent for port in vnf.ports_of(cp.cpd)
    )


def _refused(nfp: Nfpd, message: str, *, hint: str = "", place: Place | None = None) -> PlanRefused:
    """The refusal of a path, with where it stands."""
    at = place if place is not None and place.file else nfp.place
    finding = Finding(
        severity=Severity.ERROR, code="path-refused", message=message, file=at.file, line=at.line, hint=hint
    )
    return PlanRefused(f"{at}: {message}" if at.file else message, findings=[finding], hint=hint)


@dataclass(frozen=True)
class _Draft:
    """One path and all that it may lead over."""

    request: ServiceRequest
    nfp: Nfpd
    vnfs: Sequence[Vnf]
    by_profile: Mapping[str, list[Vnf]]
    sdn_ports: Mapping[str, SdnPort]
    sapds: Mapping[str, Sapd]
    saps: Mapping[str, SdnPort]

    def path(self) -> Path:
        nfp, request = self.nfp, self.request
        if len(nfp.positions) < 3:
            raise _refused(
                nfp,
                f"forwarding path {nfp.id} has {len(nfp.positions)} positions",
                hint="it needs where traffic starts, at least one function, and where traffic ends",
            )
        first, *functions, last = nfp.positions
        dead: list[str] = []
        sources, destinations = (self.end(position, dead) for position in (first, last))
        links = {link for link, _ in (*sources, *destinations)}
        if len(links) != 1:
            names = ", ".join(sorted(link.rpartition("/")[2] for link in links))
            raise _refused(
                nfp,
                f"forwarding path {nfp.id} starts and ends on different links: {names}",
                hint="put both ends on one virtual link; functions may be on others",
            )
        spec = ChainSpec(
            key=f"{request.ns.id}/chain/{slug(nfp.id)}",
            owner=request.owner,
            name=nfp.id,
            segment=links.pop(),
            classifiers=nfp.rules or (Classifier(),),
            sources=tuple(port for _, port in sources),
            destinations=tuple(port for _, port in destinations),
            positions=tuple(self.position(position, dead) for position in functions),
            symmetric=nfp.symmetric,
            precedence=nfp.precedence,
        )
        self.refuse_circles(spec)
        refuse_empty(nfp, spec)
        profiles = {self.cp(cp).constituent for p in nfp.positions for element in p.elements for cp in element.cps}
        passed = tuple(vnf.key for vnf in self.vnfs if vnf.profile.id in profiles and not vnf.is_stopped)
        return Path(spec=spec, passed=passed, dead=tuple(dead))

    # --- its ends

    def end(self, position: NfpPosition, dead: list[str]) -> tuple[tuple[str, SdnPort], ...]:
        """(link, port) of everything at an end of the path."""
        outside: list[tuple[str, SdnPort]] = []
        ports: list[tuple[Vnf, tuple[str, SdnPort]]] = []
        for cp in (cp for element in position.elements for cp in element.cps):
            sapd = self.sapds.get(cp.constituent)
            if sapd is not None and sapd.cpd is None:
                outside.append(self.sap(sapd, position))
                continue
            own = self.cp(cp)
            for vnf in self.found(own, position):
                ports += [(vnf, (port.link, self.sdn_ports[port.key])) for port in self.ports(vnf, own, position)]
        if not outside and not ports:
            raise self.refused(position, f"position {position.id} names nothing that traffic could start or end at")
        return (*outside, *_running(ports, position.id, dead)) if ports else tuple(outside)

    def cp(self, cp: CpRef) -> CpRef:
        """The VNF's connection point that a SAP stands for, or the point itself."""
        sapd = self.sapds.get(cp.constituent)
        return sapd.cpd if sapd is not None and sapd.cpd is not None else cp

    def sap(self, sapd: Sapd, position: NfpPosition) -> tuple[str, SdnPort]:
        port = self.saps.get(sapd.id)
        if port is None:
            what = f"the SAP {sapd.id}, which is attached to nothing"
            hint = f"manor ns create … --param sap.{sapd.id}.host=HOST --param sap.{sapd.id}.device=DEVICE"
            raise self.refused(position, f"forwarding path {self.nfp.id} starts or ends at {what}", hint=hint)
        return f"{self.request.ns.id}/vl/{slug(sapd.virtual_link)}", port

    # --- its functions

    def position(self, position: NfpPosition, dead: list[str]) -> ChainPosition:
        elements: list[tuple[Vnf, ChainElement]] = []
        for number, element in enumerate(position.elements):
            weight = position.weights[number] if number < len(position.weights) else 1
            elements += self.elements(element, position, weight)
        if not elements:
            raise self.refused(position, f"position {position.id} names no function")
        if len(position.weights) > len(position.elements):
            many = f"{len(position.weights)} weights for {len(position.elements)} elements"
            raise self.refused(position, f"position {position.id} has {many}")
        return ChainPosition(
            name=position.id,
            elements=_running(elements, position.id, dead),
            distribution=position.distribution,
            fail_mode=position.fail_mode,
            may_keep=position.may_keep,
        )

    def elements(
        self, element: NfpPositionElement, position: NfpPosition, weight: int
    ) -> list[tuple[Vnf, ChainElement]]:
        """One chain element for each machine behind the element's CPs."""
        if any(cp.constituent in self.sapds and self.sapds[cp.constituent].cpd is None for cp in element.cps):
            raise self.refused(position, f"position {position.id} is a SAP: a path only starts or ends at one")
        if not element.cps:
            raise self.refused(position, f"element {element.id} of position {position.id} names no connection point")
        into, out = self.cp(element.cps[0]), self.cp(element.cps[-1])
        if into.constituent != out.constituent:
            raise self.refused(
                position,
                f"forwarding path {self.nfp.id}, element {element.id}: its two CPs belong to "
                f"{into.constituent} and {out.constituent}; they must be one VNF's",
            )
        result = []
        for vnf in self.found(into, position):
            ways_in, ways_out = self.ports(vnf, into, position), self.ports(vnf, out, position)
            if len(ways_in) != len(ways_out):
                raise self.refused(
                    position,
                    f"forwarding path {self.nfp.id}, element {element.id}: {vnf.name} has {len(ways_in)} machines at "
                    f"{into.cpd} and {len(ways_out)} at {out.cpd}",
                    hint="name two connection points of one VDU, or of two with as many machines",
                )
            for ingress, egress in zip(ways_in, ways_out, strict=True):
                ports = self.sdn_ports[ingress.key], self.sdn_ports[egress.key]
                mode = _mode(*ports, position)
                result.append((vnf, ChainElement(ingress=ports[0], egress=ports[1], mode=mode, weight=weight)))
        return result

    def found(self, cp: CpRef, position: NfpPosition) -> list[Vnf]:
        vnfs = self.by_profile.get(cp.constituent)
        if not vnfs:
            raise self.refused(
                position,
                f"forwarding path {self.nfp.id} needs {cp.constituent}, and this service has none",
                hint=f"it has: {', '.join(self.by_profile)}; a path is switched off with:"
                f" manor chain disable NS/{self.nfp.id}",
            )
        return vnfs

    def ports(self, vnf: Vnf, cp: CpRef, position: NfpPosition) -> tuple[VnfcPort, ...]:
        ports = vnf.ports_of(cp.cpd)
        if not ports:
            raise self.refused(
                position,
                f"forwarding path {self.nfp.id}: {vnf.name} has no connected port at {cp.cpd or 'its only CP'}",
                hint="no virtual link joins it: connect the point to a link, or take the position out of the path",
            )
        return ports

    # --- what cannot be

    def refused(self, position: NfpPosition, message: str, *, hint: str = "") -> PlanRefused:
        return _refused(self.nfp, message, hint=hint, place=position.place)

    def refuse_circles(self, spec: ChainSpec) -> None:
        """A port met twice would send its traffic round and round."""
        places = {position.id: position for position in self.nfp.positions[1:-1]}
        seen = {port.key: "where the path ends" for port in (*spec.sources, *spec.destinations)}
        for position in spec.positions:
            met = {port.key for element in position.elements for port in (element.ingress, element.egress)}
            for key in sorted(met & seen.keys()):
                raise self.refused(
                    places[position.name],
                    f"forwarding path {spec.name}: {key.split('/', 2)[-1]} stands at {position.name} and"
                    f" {seen[key] if seen[key].startswith('where') else 'at ' + seen[key]}: its traffic would circle",
                    hint="give each position functions of its own",
                )
            seen |= dict.fromkeys(met, position.name)


def refuse_empty(nfp: Nfpd, spec: ChainSpec) -> None:
    """Raise PlanRefused for a rule that nothing which the path's ends may send can match."""
    for number, rule in enumerate(nfp.rules):
        why = contradiction(rule) or _never_sent(rule, spec)
        if why:
            message = f"forwarding path {nfp.id}: rule {nfp.rule_name(number)} matches nothing: {why}"
            hint = "compare its addresses with those of the path's ends"
            raise _refused(nfp, message, hint=hint, place=nfp.rule_place(number))


def _never_sent(rule: Classifier, spec: ChainSpec) -> str:
    """Why no source may send what the rule wants: a port sends from its own MAC and addresses alone."""
    macs = {port.mac for port in spec.sources}
    if rule.ether_source_address and "" not in macs and rule.ether_source_address not in macs:
        return f"no source has the MAC address {rule.ether_source_address}"
    macs = {port.mac for port in spec.destinations}
    if rule.ether_destination_address and "" not in macs and rule.ether_destination_address not in macs:
        return f"no destination has the MAC address {rule.ether_destination_address}"
    if rule.source_ip_address_prefix and all(port.addresses for port in spec.sources):
        network = ipaddress.ip_network(rule.source_ip_address_prefix, strict=False)
        addresses = [ipaddress.ip_address(text) for port in spec.sources for text in port.addresses]
        # A port may always speak from its link-local address too.
        if not any(address in network for address in addresses) and not network.overlaps(_LINK_LOCAL):
            return f"no source has an address in {network}"
    return ""


def _mode(ingress: SdnPort, egress: SdnPort, position: NfpPosition) -> ElementMode:
    if position.encapsulation == "nsh":
        return ElementMode.NSH
    if ingress.key == egress.key:
        return ElementMode.ONE_ARMED
    return ElementMode.TRANSPARENT if ingress.transparent and egress.transparent else ElementMode.ROUTED


def _running(parts: Sequence[tuple[Vnf, _Part]], name: str, dead: list[str]) -> tuple[_Part, ...]:
    """The parts of running VNFs; where none is, all of them, and ``name`` is noted as dead."""
    running = tuple(part for vnf, part in parts if not vnf.is_stopped)
    if not running:
        dead.append(name)
    return running or tuple(part for _, part in parts)
