"""Probes over fake switches: what a controller would see of marked frames, from walking them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from manor.api import ChainSpec, Probe, ProbeHop, ProbeVerdict, SdnPort
from manor.errors import NotFound
from manor.fakes.openflow import Fabric

__all__ = ["walked"]


def walked(spec: ChainSpec, fabric: Fabric, packet: Mapping[str, str | int], keepers: Collection[str]) -> Probe:
    """The hops of one frame (see :class:`manor.api.Probed`). Raises NotFound where the chain has no such port."""
    out = {
        into.device: (into, element_out)
        for position in spec.positions
        for element in position.elements
        for into, element_out in ((element.ingress, element.egress), (element.egress, element.ingress))
    }
    ends = {port.device: port for port in (*spec.sources, *spec.destinations)}
    into = str(packet.get("into", ""))
    device = into or str(packet.get("in_port", spec.sources[0].device))
    if device not in out and (into or device not in ends):
        raise NotFound(f"chain {spec.name} has no port {device}")
    if into:
        return Probe(packet=packet, hops=(_through(out[into][0], keepers),))
    start = ends[device] if device in ends else out[device][0]
    frame = {name: value for name, value in packet.items() if name not in ("in_port", "into")}
    walk = fabric.send(start.host, start.device, frame)
    hops = [_hop(start, ProbeVerdict.PASSED if walk.through or walk.arrivals else ProbeVerdict.LOST)]
    for passed in walk.through:
        if passed not in out:
            note = "the rules of another chain take it"
            hops.append(ProbeHop(key="", host="", device=passed, verdict=ProbeVerdict.LOST, note=note))
            return Probe(packet=packet, hops=tuple(hops))
        hops.append(_through(out[passed][0], keepers))
        if hops[-1].verdict is ProbeVerdict.KEPT:
            return Probe(packet=packet, hops=tuple(hops))
    arrived = [ends[arrival.device] for arrival in walk.arrivals if arrival.device in ends]
    hops += [_hop(port, ProbeVerdict.PASSED) for port in arrived[:1]]
    if not arrived and hops[0].verdict is ProbeVerdict.PASSED:
        hops.append(ProbeHop(key="", host="", device="", verdict=ProbeVerdict.LOST, note="; ".join(walk.lost)))
    return Probe(packet=packet, hops=tuple(hops))


def _through(port: SdnPort, keepers: Collection[str]) -> ProbeHop:
    keeps = port.device in keepers or not set(port.key.split("/")).isdisjoint(keepers)
    return _hop(port, ProbeVerdict.KEPT if keeps else ProbeVerdict.PASSED)


def _hop(port: SdnPort, verdict: ProbeVerdict) -> ProbeHop:
    latency_s = 0.0 if verdict is ProbeVerdict.PASSED else None
    return ProbeHop(key=port.key, host=port.host, device=port.device, verdict=verdict, latency_s=latency_s)
