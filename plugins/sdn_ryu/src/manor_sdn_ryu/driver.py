"""The Sdn protocol over the agent: the driver compiles and asks, the agent keeps it true."""

from __future__ import annotations

import threading
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
from manor.errors import DriverError, Permanent
from manor_sdn_ryu.compile import compile_spec
from manor_sdn_ryu.config import RyuConfig
from manor_sdn_ryu.link import AgentLink
from manor_sdn_ryu.ovsdb import Ovsdb
from manor_sdn_ryu.store import program_to_json

__all__ = ["RyuSdn"]

_FULL = (
    SdnCapability.SEGMENT, SdnCapability.CHAIN, SdnCapability.CHAIN_SYMMETRIC, SdnCapability.LOAD_BALANCING,
    SdnCapability.CONNTRACK, SdnCapability.TRACE,
)  # fmt: skip
_LACKING = {
    SdnCapability.OVERLAY: "tunnels between hosts' switches are not built yet",
    SdnCapability.METERING: "rate limits are not enforced yet",
    SdnCapability.NSH: "the userspace datapath's NSH is not used",
}


class RyuSdn:
    """A connected controller. Nothing is started before the first verb that needs it."""

    def __init__(self, config: RyuConfig, environment: DriverEnvironment) -> None:
        self._config = config
        self._owner = environment.owner
        self._agent = AgentLink(config, environment)
        self._databases = {switch.host: Ovsdb(switch) for switch in config.switches}
        self._bridged: set[str] = set()
        self._lock = threading.Lock()

    def capabilities(self, ctx: CallContext) -> Capabilities:
        """What this controller can do, and which switches answer it."""
        ctx.check("capabilities")
        support = {str(name): Support.FULL for name in _FULL} | {str(name): Support.UNSUPPORTED for name in _LACKING}
        hosts = tuple(
            Host(name=switch["host"], reachable=switch["connected"], reason=switch["reason"])
            for switch in self._agent.ask("switches", ctx)
        )
        return Capabilities(support=support, detail={str(k): v for k, v in _LACKING.items()}, hosts=hosts)

    def topology(self, ctx: CallContext) -> Topology:
        """The switches and their ports as the agent sees them now."""
        return Topology(
            switches=tuple(
                Switch(host=s["host"], datapath_id=s["datapath_id"], connected=s["connected"], ports=s["ports"])
                for s in self._agent.ask("switches", ctx)
            )
        )

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        """See :mod:`manor_sdn_ryu.pipeline` for what comes out."""
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
        return _observed(self._agent.ask("apply", ctx, program=program_to_json(program)))

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        """Take the rules out of every switch; returns when the switches have said so."""
        ctx.check(f"removing {ref.key}")
        self._agent.ask("remove", ctx, owner=self._owner, kind=str(ref.kind), key=ref.key)

    def trace(self, key: str, packet: Mapping[str, str | int], ctx: CallContext) -> Sequence[TraceHop]:
        """Follow a packet of the chain ``key`` through the switches' own tables."""
        from manor_sdn_ryu.trace import trace_chain

        spec = spec_from_json(self._agent.ask("spec", ctx, owner=self._owner, kind=str(ResourceKind.CHAIN), key=key))
        if not isinstance(spec, ChainSpec):
            raise Permanent(f"{key} is no chain")
        observed = self.observe(Query(owner=self._owner, keys=frozenset({key, spec.segment})), ctx)

        def ask(host: str, flow: str) -> str:
            return self._databases[host].trace(ctx, flow)

        return trace_chain(spec, observed, packet, self.topology(ctx), ask, ctx)

    def shutdown(self, ctx: CallContext) -> bool:
        """End the agent, as when this endpoint is removed. False (and it goes on) while it holds any program.

        Not part of the Sdn protocol: core calls it, where a driver has it, before it forgets an endpoint.
        """
        return self._agent.shutdown(min(10.0, ctx.remaining_s()))

    def close(self) -> None:
        """Let go. The agent and the rules stay: traffic does not depend on ``manor``."""

    def _ensure_bridges(self, hosts: set[str], ctx: CallContext) -> None:
        with self._lock:
            for host in sorted(hosts & self._databases.keys() - self._bridged):
                self._databases[host].ensure_bridge(self._owner, ctx)
                self._bridged.add(host)


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
