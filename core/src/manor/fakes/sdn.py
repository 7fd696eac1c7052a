"""The fake controller: programs are kept in a :class:`~manor.fakes.world.World`, and packets can walk them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from manor.api import (
    CallContext,
    Capabilities,
    ChainSpec,
    FlowProgram,
    FlowRule,
    NodeSpec,
    Observed,
    Phase,
    Probe,
    Query,
    ResourceKind,
    ResourceRef,
    SdnCapability,
    SegmentSpec,
    Support,
    Switch,
    SwitchLink,
    Topology,
    TraceHop,
    spec_from_json,
)
from manor.errors import NotFound, Permanent, Unreachable, Unsupported
from manor.fakes.compiler import compile_chain, compile_segment
from manor.fakes.faults import Moment, When
from manor.fakes.openflow import Fabric, Value
from manor.fakes.probes import walked
from manor.fakes.world import Native, State, World, name_of, ref_of

__all__ = ["FakeSdn"]

_KINDS = {ResourceKind.SEGMENT: SdnCapability.SEGMENT, ResourceKind.CHAIN: SdnCapability.CHAIN}
_LINK = "link-to-"
"""How the devices of links are called; longer than a node's may be."""
_MISSING = (SdnCapability.CONNTRACK, SdnCapability.NSH)


class FakeSdn:
    """A controller of one switch on every host of ``world``, each linked to each.

    With ``follow_nodes`` (the world is shared with a :class:`~manor.fakes.vim.FakeVim`) a switch has the ports of the
    nodes that run there, and those to the outside that its host has; without, it has every port that a program names.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        owner: str = "manor/test",
        unsupported: Iterable[str] = (),
        follow_nodes: bool = False,
    ) -> None:
        self.world = world or World()
        self._owner = owner
        self._unsupported = frozenset(unsupported) | frozenset(_MISSING)
        self._follow_nodes = follow_nodes
        self.keepers: set[str] = set()
        """VNFs, or devices, that let no probe out again."""

    def capabilities(self, ctx: CallContext) -> Capabilities:
        """Every capability FULL but the unsupported ones and what no fake has."""
        self._begin("capabilities", "", "", ctx)
        return Capabilities(
            support={str(c): Support.UNSUPPORTED if c in self._unsupported else Support.FULL for c in SdnCapability},
            detail={str(c): "this fake controller is without it" for c in sorted(self._unsupported)},
        )

    def topology(self, ctx: CallContext) -> Topology:
        """One switch a host, and links between all of them."""
        self._begin("topology", "", "", ctx)
        with self.world.look() as state:
            return self._topology(state)

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        """Pure; see :mod:`manor.fakes.compiler`."""
        if _KINDS[spec.kind] in self._unsupported:
            raise Unsupported(f"this fake controller is without {spec.kind}s", capability=str(spec.kind))
        if isinstance(spec, SegmentSpec):
            return compile_segment(spec, topology)
        if spec.symmetric and SdnCapability.CHAIN_SYMMETRIC in self._unsupported:
            raise Unsupported(f"{spec.key}: chains go one way only", capability="chain-symmetric")
        if any(len(p.elements) > 1 for p in spec.positions) and SdnCapability.LOAD_BALANCING in self._unsupported:
            raise Unsupported(f"{spec.key}: a position takes one element only", capability="load-balancing")
        return compile_chain(spec, topology)

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        """Segments and chains; DEGRADED while a port that they name is not there."""
        self._begin("observe", "", query.prefix, ctx)
        with self.world.look() as state:
            there = self._ports(state)
            return [
                _observed(native, there)
                for native in state.natives.values()
                if native.spec.owner == query.owner and native.program and query.admits(ref_of(native.spec))
            ]

    def apply(self, program: FlowProgram, ctx: CallContext) -> Observed:
        """Replace what is under the key by this program, in one go."""
        if program.owner != self._owner:
            raise Permanent(f"{program.kind} {program.key} is of {program.owner}, this connection of {self._owner}")
        if _KINDS[program.kind] in self._unsupported:
            raise Unsupported(f"this fake controller is without {program.kind}s", capability=str(program.kind))
        self._begin("apply", program.kind, program.key, ctx)
        spec = spec_from_json(program.spec)
        with self.world.change() as state:
            name = name_of(spec)
            native = state.natives.get(name)
            if native is None:
                state.serial += 1
                native = state.natives[name] = Native(
                    spec=spec,
                    spec_hash=program.spec_hash,
                    native_id=f"cookie-{state.serial}",
                    phase=Phase.ACTIVE,
                    born_s=self.world.clock(),
                )
            native.spec, native.spec_hash, native.program = spec, program.spec_hash, program
            for host, device in sorted(_named(program)):
                state.number_port(host, device)
            observed = _observed(native, self._ports(state))
        self._end("apply", program.kind, program.key, ctx)
        return observed

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        """Forget the program. Absent is success."""
        self._begin("remove", ref.kind, ref.key, ctx)
        with self.world.change() as state:
            native = state.natives.pop((self._owner, str(ref.kind), ref.key, ""), None)
            named = {host for host, _ in _named(native.program)} if native and native.program else set()
            away = sorted(host.name for host in state.hosts if host.name in named and not host.reachable)
        if away:
            why = f"{ref.kind} {ref.key}: its rules go as soon as {', '.join(away)} is back"
            raise Unreachable(why, hosts=dict.fromkeys(away, "the fake's host is down"), retry_after_s=0.01)
        self._end("remove", ref.kind, ref.key, ctx)

    def close(self) -> None:
        """Nothing to let go of: the rules stay."""

    def trace(self, key: str, packet: Mapping[str, str | int], ctx: CallContext) -> Sequence[TraceHop]:
        """Follow a frame of the chain or segment ``key``, from the port that its ``in_port`` names, else from a chain's
        first source."""
        if SdnCapability.TRACE in self._unsupported:
            raise Unsupported("this fake controller cannot trace", capability="trace")
        self._begin("trace", ResourceKind.CHAIN, key, ctx)
        with self.world.look() as state:
            kinds = (ResourceKind.CHAIN, ResourceKind.SEGMENT)
            found = [state.natives.get((self._owner, str(kind), key, "")) for kind in kinds]
        specs = [native.spec for native in found if native is not None]
        if not specs or not isinstance(specs[0], ChainSpec | SegmentSpec):
            raise NotFound(f"no chain or segment {key} is there")
        spec = specs[0]
        sources = (*spec.sources, *spec.destinations) if isinstance(spec, ChainSpec) else spec.ports
        wanted = packet.get("in_port", sources[0].device if isinstance(spec, ChainSpec) else "")
        start = next((port for port in sources if port.device == wanted), None)
        if start is None:
            raise NotFound(f"{spec.kind} {key} has no port {wanted}")
        fields: dict[str, Value] = {name: value for name, value in packet.items() if name != "in_port"}
        walk = self.fabric().send(start.host, start.device, fields)
        hops = [
            TraceHop(
                host=visit.host,
                device=str(dict(visit.rule.match).get("in_port", "")),
                table=visit.table,
                rule=f"priority={visit.rule.priority} {visit.rule.match}",
                note=visit.rule.note,
            )
            for visit in walk.visits
        ]
        hops += [TraceHop(host=a.host, device=a.device, table=None, rule="", note="arrives") for a in walk.arrivals]
        return hops

    def probe(self, key: str, packets: Sequence[Mapping[str, str | int]], ctx: CallContext) -> Sequence[Probe]:
        """Walk frames over the programs; what goes into one of ``keepers`` stays there."""
        if SdnCapability.PROBE in self._unsupported:
            raise Unsupported("this fake controller cannot probe", capability="probe")
        self._begin("probe", ResourceKind.CHAIN, key, ctx)
        with self.world.look() as state:
            native = state.natives.get((self._owner, str(ResourceKind.CHAIN), key, ""))
        if native is None or not isinstance(native.spec, ChainSpec):
            raise NotFound(f"chain {key} is not there")
        return [walked(native.spec, self.fabric(), packet, self.keepers) for packet in packets]

    def fabric(self) -> Fabric:
        """The switches with everything that is in them, functions included, for walking packets."""
        with self.world.look() as state:
            natives = [native for native in state.natives.values() if native.program]
            links = self._topology(state).links
        return Fabric(
            [native.program for native in natives if native.program],
            links=links,
            functions=functions(native.spec for native in natives if isinstance(native.spec, ChainSpec)),
        )

    # beneath the verbs

    def _begin(self, verb: str, kind: str, key: str, ctx: CallContext) -> None:
        what = f"{verb} {kind} {key}".strip()
        ctx.check(what)
        self.world.strike(Moment(verb=verb, kind=kind, key=key, when=When.BEFORE), ctx)
        ctx.check(what)

    def _end(self, verb: str, kind: str, key: str, ctx: CallContext) -> None:
        moment = Moment(verb=verb, kind=kind, key=key, when=When.AFTER)
        self.world.calls.append(moment)
        self.world.strike(moment, ctx)

    def _topology(self, state: State) -> Topology:
        names = [host.name for host in state.hosts]
        ports = {
            host: {device: state.ports.get(f"{host}/{device}", 0) for device in sorted(devices)}
            for host, devices in self._ports(state).items()
        }
        return Topology(
            switches=tuple(
                Switch(
                    host=host.name,
                    datapath_id=f"{index:016x}",
                    connected=host.reachable,
                    ports={
                        device: state.ports.get(f"{host.name}/{device}", 0)
                        for device in sorted(ports.get(host.name, ()))
                    },
                )
                for index, host in enumerate(state.hosts, start=1)
            ),
            links=tuple(
                SwitchLink(host=host, peer=peer, device=f"{_LINK}{peer}")
                for host in names
                for peer in names
                if host != peer
            ),
        )

    def _ports(self, state: State) -> dict[str, set[str]]:
        """Interfaces that are there, by host that answers."""
        there: dict[str, set[str]] = {host.name: set(host.outside) for host in state.hosts if host.reachable}
        for native in state.natives.values():
            spec = native.spec
            if isinstance(spec, NodeSpec) and native.phase is Phase.ACTIVE:
                there.get(spec.host, set()).update(port.device for port in spec.ports)
            elif not self._follow_nodes and native.program:
                for host, device in _named(native.program):
                    there.get(host, set()).add(device)
        return there


def _observed(native: Native, there: Mapping[str, Collection[str]]) -> Observed:
    """A program as it works with the interfaces that are there, by host."""
    assert native.program is not None
    missing = sorted(device for host, device in _named(native.program) if device not in there.get(host, ()))
    return Observed(
        ref=ref_of(native.spec),
        owner=native.spec.owner,
        native_id=native.native_id,
        phase=Phase.DEGRADED if missing else native.phase,
        spec_hash=native.spec_hash,
        detail={"missing": missing, "rules": [_told(rule) for rule in native.program.rules]},
    )


def _told(rule: FlowRule) -> dict[str, str | int]:
    """A rule as ``Observed.detail`` has it. Nothing flows here, so the counters stay at zero."""
    return {
        "host": rule.host,
        "table": rule.table,
        "priority": rule.priority,
        "match": ",".join(f"{name}={value}" for name, value in rule.match),
        "actions": ",".join(f"{name}:{value}" for name, value in rule.actions),
        "note": rule.note,
        "state": "active",
        "packets": 0,
        "bytes": 0,
    }


def functions(chains: Iterable[object]) -> dict[str, tuple[str, str]]:
    """Where frames come out again, (host, device), by the device of a function that they go into; both ways."""
    through = {}
    for chain in chains:
        if isinstance(chain, ChainSpec):
            for element in (element for position in chain.positions for element in position.elements):
                one, other = element.ingress, element.egress
                through[one.device] = (other.host, other.device)
                through[other.device] = (one.host, one.device)
    return through


def _named(program: FlowProgram) -> set[tuple[str, str]]:
    """The interfaces of nodes, (host, device), that a program's rules name."""
    return {
        (rule.host, str(value))
        for rule in program.rules
        for name, value in (*rule.match, *rule.actions)
        if name in ("in_port", "output") and not str(value).startswith(_LINK)
    }
