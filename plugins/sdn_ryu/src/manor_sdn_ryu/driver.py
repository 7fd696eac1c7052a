"""The Sdn protocol over the agent: the driver compiles and asks, the agent keeps it true."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from manor.api import (
    CallContext,
    Capabilities,
    ChainSpec,
    DriverEnvironment,
    FlowProgram,
    Host,
    Observed,
    Phase,
    Probe,
    ProbeHop,
    ProbeVerdict,
    Query,
    ResourceKind,
    ResourceRef,
    SdnCapability,
    SegmentSpec,
    Support,
    Switch,
    Topology,
    TraceHop,
    spec_from_json,
)
from manor.errors import DriverError, NotFound, Transient
from manor_sdn_ryu.compile import compile_spec
from manor_sdn_ryu.config import RyuConfig
from manor_sdn_ryu.link import AgentLink
from manor_sdn_ryu.nsh import NO_NSH
from manor_sdn_ryu.ovsdb import Ovsdb
from manor_sdn_ryu.store import program_to_json
from manor_sdn_ryu.tunnels import Tunnel, guard, links, mtu_over, named, refuse_mtu, spare, tunnels

__all__ = ["RyuSdn"]

_NO_UNDERLAY = "no two hosts have an underlay address: manor sdn add … (setting underlay)"
_SEEN_S = 5.0
"""How long the agent may take to see a tunnel that was built."""


class RyuSdn:
    """A connected controller. Nothing is started before the first verb that needs it."""

    def __init__(self, config: RyuConfig, environment: DriverEnvironment) -> None:
        self._config = config
        self._owner = environment.owner
        self._name = environment.name
        self._agent = AgentLink(config, environment, self._claim)
        self._databases = {switch.host: Ovsdb(switch) for switch in config.switches}
        self._state_dir = environment.state_dir
        self._tunnels = tunnels(config.switches)
        self._bridged: set[str] = set()
        self._tunnelled: set[str] = set()
        self._lock = threading.Lock()

    def capabilities(self, ctx: CallContext) -> Capabilities:
        """What this controller can do, and which switches answer it."""
        ctx.check("capabilities")
        lacking = {} if self._tunnels else {SdnCapability.OVERLAY: _NO_UNDERLAY}
        switches = self._agent.ask("switches", ctx)
        without = [one["host"] for one in switches if one.get("metering") is False]
        if without:
            lacking[SdnCapability.METERING] = (
                f"no meters in the switch of {', '.join(without)}: limits are not enforced"
            )
        kernel = [one["host"] for one in switches if one.get("userspace") is False]
        if kernel:
            lacking[SdnCapability.NSH] = f"{NO_NSH} on {', '.join(kernel)}"
        support = dict.fromkeys(map(str, SdnCapability), Support.FULL)
        support |= {str(name): Support.UNSUPPORTED for name in lacking}
        hosts = tuple(
            # A host without the bridge is not amiss: the first link makes it.
            Host(name=one["host"], reachable=one["connected"] or one.get("absent", False), reason=one["reason"])
            for one in switches
        )
        return Capabilities(support=support, detail={str(k): v for k, v in lacking.items()}, hosts=hosts)

    def topology(self, ctx: CallContext) -> Topology:
        """The switches and their ports as the agent sees them now."""
        return Topology(
            switches=tuple(
                Switch(host=s["host"], datapath_id=s["datapath_id"], connected=s["connected"], ports=s["ports"])
                for s in self._agent.ask("switches", ctx)
            ),
            links=links(self._config.switches),
        )

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        """See :mod:`manor_sdn_ryu.pipeline` for what comes out."""
        refuse_mtu(spec, self._config.switches)
        return compile_spec(spec, topology)

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        """Segments and chains of the owner, read from the switches."""
        answer = self._agent.ask(
            "observe",
            ctx,
            owner=query.owner,
            kinds=None if query.kinds is None else sorted(map(str, query.kinds)),
            keys=None if query.keys is None else sorted(query.keys),
            prefix=query.prefix,
        )
        return [_observed(item) for item in answer]

    def apply(self, program: FlowProgram, ctx: CallContext) -> Observed:
        """Make the switches hold exactly this program under its key."""
        ctx.check(f"applying {program.key}")
        self._ensure_bridges({rule.host for rule in program.rules}, ctx)
        needed = named(program, self._tunnels)
        try:
            with guard(self._state_dir, ctx, exclusive=False) if needed else contextlib.nullcontext():
                self._ensure_tunnels(needed, ctx)
                observed = _observed(self._agent.ask("apply", ctx, program=program_to_json(program)))
        except DriverError:
            # A tunnel that was not proven to carry must not look like one that was.
            with contextlib.suppress(DriverError):
                self._remove_spare_tunnels(ctx)
            raise
        self._remove_spare_tunnels(ctx)
        return observed

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        """Take the rules out of every switch; returns when the switches have said so."""
        ctx.check(f"removing {ref.key}")
        self._agent.ask("remove", ctx, owner=self._owner, kind=str(ref.kind), key=ref.key)
        self._remove_spare_tunnels(ctx)

    def trace(self, key: str, packet: Mapping[str, str | int], ctx: CallContext) -> Sequence[TraceHop]:
        """Follow a packet of the chain (or segment) ``key`` through the switches' own tables."""
        from manor_sdn_ryu.trace import follow, into_chain, into_segment

        told = self._agent.ask("around", ctx, owner=self._owner, key=key)
        found = {spec.key: spec for spec in map(spec_from_json, told)}
        chains = {spec.key: spec for spec in found.values() if isinstance(spec, ChainSpec)}
        segment = next((spec for spec in found.values() if isinstance(spec, SegmentSpec)), None)
        if key in chains:
            start = into_chain(chains[key], packet)
        elif segment is not None:
            start = into_segment(segment, packet)
        else:
            raise NotFound(f"the controller has no chain or segment {key}")
        observed = self.observe(Query(owner=self._owner, keys=frozenset(found)), ctx)

        def ask(host: str, flow: str, table: int) -> str:
            return self._databases[host].trace(ctx, flow, table)

        return follow(start, segment, list(chains.values()), observed, self.topology(ctx), ask, ctx)

    def probe(self, key: str, packets: Sequence[Mapping[str, str | int]], ctx: CallContext) -> Sequence[Probe]:
        """Send a marked frame a packet along the chain ``key``, and tell where each was seen."""
        answer = self._agent.ask("probe", ctx, owner=self._owner, key=key, packets=[dict(one) for one in packets])
        return [
            Probe(
                packet=packet,
                hops=tuple(ProbeHop(**{**hop, "verdict": ProbeVerdict(hop["verdict"])}) for hop in told["hops"]),
            )
            for packet, told in zip(packets, answer, strict=True)
        ]

    def shutdown(self, ctx: CallContext, *, force: bool = False) -> bool:
        """End the agent, as when this endpoint is removed. False (and it goes on) while it holds any program, unless
        by ``force``: then what it could not take out of a switch stays there.

        Not part of the Sdn protocol: core calls it, where a driver has it, before it forgets an endpoint.
        """
        if not self._agent.shutdown(min(10.0, ctx.remaining_s()), force=force):
            return False
        for database in self._databases.values():
            with contextlib.suppress(Transient):  # a switch that is down keeps a claim that nobody makes use of
                database.release(self._owner, self._name, ctx)
        return True

    def close(self) -> None:
        """Let go. The agent and the rules stay: traffic does not depend on ``manor``."""

    def _claim(self, ctx: CallContext) -> None:
        for database in self._databases.values():
            database.claim(self._owner, self._name, ctx)

    def _ensure_bridges(self, hosts: set[str], ctx: CallContext) -> None:
        with self._lock:
            for host in sorted(hosts & self._databases.keys() - self._bridged):
                self._databases[host].ensure_bridge(self._owner, ctx)
                self._databases[host].claim(self._owner, self._name, ctx)
                self._bridged.add(host)

    # --- tunnels

    def _ports(self, ctx: CallContext) -> dict[str, set[str]]:
        return {switch["host"]: set(switch["ports"]) for switch in self._agent.ask("switches", ctx)}

    def _ensure_tunnels(self, needed: Sequence[Tunnel], ctx: CallContext) -> None:
        """They are built, the agent has seen them, and they carry."""
        there = self._ports(ctx) if needed else {}
        new = [tunnel for tunnel in needed if tunnel.device not in there.get(tunnel.host, ())]
        for tunnel in needed:
            if tunnel in new or tunnel.device not in self._tunnelled:
                self._databases[tunnel.host].ensure_tunnel(tunnel, self._owner, ctx)
                self._tunnelled.add(tunnel.device)
        until = time.monotonic() + min(_SEEN_S, ctx.remaining_s())
        while unseen := [tunnel for tunnel in new if tunnel.device not in there.get(tunnel.host, ())]:
            if time.monotonic() > until:
                which = ", ".join(f"from {tunnel.host} to {tunnel.peer}" for tunnel in unseen)
                raise Transient(f"the switch does not show the tunnels that it was given: {which}")
            time.sleep(0.02)
            there = self._ports(ctx)
        ends = {(tunnel.host, tunnel.peer): tunnel for tunnel in needed}
        switches = {switch.host: switch for switch in self._config.switches}
        for tunnel in new:
            if (back := ends.get((tunnel.peer, tunnel.host))) is not None:
                self._agent.ask(
                    "prove", ctx, sender=[tunnel.host, tunnel.device], receiver=[back.host, back.device],
                    mtu=mtu_over(switches[tunnel.host], switches[tunnel.peer]),
                )  # fmt: skip

    def _remove_spare_tunnels(self, ctx: CallContext) -> None:
        """Tunnels that no program uses any more go."""
        if not self._tunnels or not spare(self._ports(ctx), self._agent.ask("devices", ctx)):
            return
        with guard(self._state_dir, ctx, exclusive=True):
            for host, devices in spare(self._ports(ctx), self._agent.ask("devices", ctx)).items():
                if host in self._databases:
                    self._databases[host].remove_tunnels(devices, self._owner, ctx)


def _observed(item: Mapping[str, Any]) -> Observed:
    try:
        return Observed(
            ref=ResourceRef(kind=ResourceKind(item["kind"]), key=item["key"]),
            owner=item["owner"],
            native_id=item["native_id"],
            phase=Phase(item["phase"]),
            spec_hash=item["spec_hash"],
            detail=item["detail"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DriverError(f"the SDN agent's answer is not understood: {error}") from error
