"""Proof of an installed chain by frames that are really sent: each is seen to go into and out of every function.

What to send is decided here, and what the outcome means; the controller sends and sees. A classifier that leaves much
open is tried with the traffic that functions mostly let by, one kind after the other, and proven by the first that
comes through: a firewall that lets web traffic pass does its work. What a function keeps does not hide what is behind
it: the probe goes on out of that function.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from manor.api import (
    CallContext,
    ChainSpec,
    Classifier,
    PortRange,
    Probe,
    Probed,
    ProbeHop,
    ProbeVerdict,
    SdnCapability,
    SdnPort,
    Support,
)
from manor.lcm.chainproof import port_name, reply, sample

__all__ = ["ProbedHop", "ProbedWay", "fault", "probe_chain", "probes"]

Packet = Mapping[str, str | int]

_USUAL: Mapping[str, tuple[int, ...]] = {"tcp": (80, 443, 22), "udp": (53, 443, 123), "sctp": (9,)}
"""Destination ports that functions are most likely to let by, likeliest first."""
_KINDS = ("tcp", "icmp", "udp")
_PAIRS_MAX = 16
_EPHEMERAL = range(49152, 65536)
_NUMBERS = {1: "icmp", 58: "icmp", 6: "tcp", 17: "udp", 132: "sctp"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbedHop:
    """One part of a probe's way, in people's words."""

    name: str
    host: str
    verdict: ProbeVerdict
    latency_s: float | None
    note: str
    may_keep: bool = False
    """Whether what goes in need not come out, as the descriptor says."""

    @property
    def is_fault(self) -> bool:
        """Whether this proves the chain wrong."""
        return self.verdict is ProbeVerdict.LOST or (self.verdict is ProbeVerdict.KEPT and not self.may_keep)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbedWay:
    """What became of one probe."""

    what: str
    """The frame, as ``tcp/80``."""
    way: str
    """``there``, ``back``, or ``into`` for a function alone that no other probe met."""
    path: str
    hops: tuple[ProbedHop, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing on it proves the chain wrong."""
        return not any(hop.is_fault for hop in self.hops)


def probes(driver: object, ctx: CallContext) -> bool:
    """Whether this controller can send probes."""
    if not isinstance(driver, Probed):
        return False
    capabilities = driver.capabilities(ctx)  # type: ignore[attr-defined]
    return bool(capabilities.has(SdnCapability.PROBE) is Support.FULL)


def fault(chain: ChainSpec, ways: Sequence[ProbedWay]) -> str:
    """What is wrong, naming the hop; empty where nothing is."""
    for way in ways:
        for hop in way.hops:
            if hop.is_fault:
                met = "went in and did not come out" if hop.verdict is ProbeVerdict.KEPT else "did not get there"
                where = f"at {hop.name} on {hop.host}" if hop.host else f"at {hop.name}"
                return f"chain {chain.name}: a probe ({way.what}, {way.path}) stops {where}: it {met} ({hop.note})"
    return ""


def probe_chain(driver: Probed, chain: ChainSpec, ctx: CallContext) -> tuple[ProbedWay, ...]:
    """Send probes along every way of the installed chain. Raises DriverError."""
    return _Probing(driver, chain, ctx).run()


def _candidates(classifier: Classifier, source: SdnPort, target: SdnPort, chance: random.Random) -> list[Packet]:
    """Frames that the classifier names, the one that most likely comes through first."""
    found: list[Packet] = []
    if classifier.extended_criteria:
        return found  # bits that no field of a frame here has
    name = classifier.protocol.lower()
    for kind in (name,) if name else _KINDS:
        for port in _ports(kind, classifier.destination_port_range)[: 1 if not name and found else None]:
            narrowed = dataclasses.replace(
                classifier,
                protocol=kind,
                destination_port_range=PortRange(lower=port, upper=port) if port else None,
                source_port_range=_one_of(classifier.source_port_range, chance) if port else None,
            )
            frame = sample(narrowed, source, target)
            if frame is not None:
                found.append(frame)
    return found


def _ports(kind: str, span: PortRange | None) -> list[int]:
    """Destination ports to try, of a span also ones that no narrower chain may have; one 0 where there are none."""
    usual = _USUAL.get(kind)
    if usual is None:
        return [0]
    if span is None:
        return list(usual)
    within = [port for port in usual if span.lower <= port <= span.upper]
    return list(dict.fromkeys([*within, span.lower, span.upper, (span.lower + span.upper) // 2]))


def _one_of(span: PortRange | None, chance: random.Random) -> PortRange:
    port = chance.randint(span.lower, span.upper) if span else chance.choice(_EPHEMERAL)
    return PortRange(lower=port, upper=port)


def _pairs(chain: ChainSpec) -> Iterator[tuple[SdnPort, SdnPort]]:
    """Ends that talk to each other, so that each end is among them."""
    sources, targets = chain.sources, chain.destinations
    for number in range(min(_PAIRS_MAX, max(len(sources), len(targets)))):
        source = sources[number % len(sources)]
        others = [target for target in targets if (target.host, target.device) != (source.host, source.device)]
        if others:
            yield source, others[number % len(others)]


class _Probing:
    def __init__(self, driver: Probed, chain: ChainSpec, ctx: CallContext) -> None:
        self.driver = driver
        self.chain = chain
        self.ctx = ctx
        self.met: set[str] = set()
        """Keys of functions' ports that some probe went into."""
        self.out: dict[str, SdnPort] = {}
        """The port out of a function, by the key of the one into it."""
        self.names = {port.key: port_name(port) for port in (*chain.sources, *chain.destinations)}
        self.keepers: set[str] = set()
        for position in chain.positions:
            names = [port_name(element.ingress) for element in position.elements]
            for element, name in zip(position.elements, names, strict=True):
                for into, out in ((element.ingress, element.egress), (element.egress, element.ingress)):
                    self.out[into.key] = out
                    parts = into.key.split("/")
                    self.names[into.key] = name if names.count(name) == 1 else "/".join(parts[2:4]) or name
                    if position.may_keep:
                        self.keepers.add(into.key)

    def run(self) -> tuple[ProbedWay, ...]:
        chance = random.SystemRandom()
        wanted: list[tuple[SdnPort, SdnPort, list[Packet]]] = []
        for classifier in self.chain.classifiers or (Classifier(),):
            for source, target in _pairs(self.chain):
                candidates = _candidates(classifier, source, target, chance)
                if candidates:
                    wanted.append((source, target, [{**frame, "in_port": source.device} for frame in candidates]))
        sent = self.try_in_turn([frames for _, _, frames in wanted])
        ways = [self.told("there", probe, a, b) for probe, (a, b, _) in zip(sent, wanted, strict=True)]
        if self.chain.symmetric:
            answers = []
            for probe, (_, target, frames) in zip(sent, wanted, strict=True):
                # First the answer to what came through: a stateful function waits for it.
                ordered = [probe.packet, *(frame for frame in frames if frame != probe.packet)]
                answers.append([{**reply(_fields(frame)), "in_port": target.device} for frame in ordered])
            returned = self.try_in_turn(answers)
            ways += [self.told("back", probe, b, a) for probe, (a, b, _) in zip(returned, wanted, strict=True)]
        return (*ways, *self.not_met(sent))

    def try_in_turn(self, tries: Sequence[Sequence[Packet]]) -> list[Probe]:
        """The first of each; where it does not arrive, all its others. The best of each is what counts."""
        best = list(self.send([frames[0] for frames in tries]))
        rest = [(number, frame) for number, frames in enumerate(tries) for frame in frames[1:]]
        rest = [(number, frame) for number, frame in rest if not best[number].arrived]
        for (number, _), probe in zip(rest, self.send([frame for _, frame in rest]), strict=True):
            if _reached(probe) > _reached(best[number]):
                best[number] = probe
        return best

    def send(self, packets: Sequence[Packet]) -> Sequence[Probe]:
        return self.driver.probe(self.chain.key, packets, self.ctx) if packets else []

    def told(self, way: str, probe: Probe, source: SdnPort, target: SdnPort) -> ProbedWay:
        hops = list(probe.hops)
        for _ in self.chain.positions:
            kept = next((hop for hop in hops if hop.verdict is ProbeVerdict.KEPT and hop is _last_known(hops)), None)
            if kept is None or kept.key not in self.out:
                break
            (rest,) = self.send([{**probe.packet, "in_port": self.out[kept.key].device}])
            begun = rest.hops[0].verdict is ProbeVerdict.PASSED
            hops = [*hops[: hops.index(kept) + 1], *rest.hops[1 if begun else 0 :]]
        stops = [self.names.get(hop.key, "") for hop in hops if hop.key in self.out]
        path = " > ".join([self.names[source.key], *stops, self.names[target.key]])
        return ProbedWay(what=_text(probe.packet), way=way, path=path, hops=tuple(map(self.hop, hops)))

    def not_met(self, sent: Sequence[Probe]) -> Iterator[ProbedWay]:
        """Functions of a shared position that none of the probes' addresses led to."""
        if not sent:
            return
        best = max(sent, key=_reached)
        missed = [
            element.ingress
            for position in self.chain.positions
            for element in position.elements
            if element.ingress.key not in self.met and element.egress.key not in self.met and len(position.elements) > 1
        ]
        packets = [{**_fields(best.packet), "into": port.device} for port in missed]
        for port, probe in zip(missed, self.send(packets), strict=True):
            hops = tuple(map(self.hop, probe.hops))
            yield ProbedWay(what=_text(probe.packet), way="into", path=self.names[port.key], hops=hops)

    def hop(self, hop: ProbeHop) -> ProbedHop:
        if hop.verdict is not ProbeVerdict.UNSEEN:
            self.met.add(hop.key)
        return ProbedHop(
            name=self.names.get(hop.key, hop.note or "the switch"),
            host=hop.host,
            verdict=hop.verdict,
            latency_s=hop.latency_s,
            note=hop.note,
            may_keep=hop.key in self.keepers,
        )


def _last_known(hops: Sequence[ProbeHop]) -> ProbeHop | None:
    return next((hop for hop in reversed(hops) if hop.verdict is not ProbeVerdict.UNSEEN), None)


def _reached(probe: Probe) -> int:
    return sum(hop.verdict is ProbeVerdict.PASSED for hop in probe.hops)


def _fields(packet: Packet) -> dict[str, str | int]:
    return {name: value for name, value in packet.items() if name not in ("in_port", "into")}


def _text(packet: Packet) -> str:
    name = _NUMBERS.get(int(packet.get("ip_proto", 0)), f"protocol {packet.get('ip_proto')}")
    ports = [packet[side] for side in (f"{name}_src", f"{name}_dst") if side in packet]
    return f"{name}/{min(map(int, ports))}" if ports else name
