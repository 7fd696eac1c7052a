"""The SDN protocol: compile is pure, apply sends, observe looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from manor.api.context import CallContext
from manor.api.resources import ChainSpec, Observed, Query, ResourceKind, ResourceRef, SegmentSpec
from manor.api.vim import Capabilities

__all__ = [
    "FlowProgram",
    "FlowRule",
    "GroupBucket",
    "GroupRule",
    "Probe",
    "ProbeHop",
    "ProbeVerdict",
    "Probed",
    "Sdn",
    "SdnCapability",
    "Switch",
    "SwitchLink",
    "Topology",
    "TraceHop",
    "Traced",
]


class SdnCapability(StrEnum):
    """What a controller may or may not be able to do."""

    SEGMENT = "segment"
    CHAIN = "chain"
    CHAIN_SYMMETRIC = "chain-symmetric"
    LOAD_BALANCING = "load-balancing"
    OVERLAY = "overlay"
    CONNTRACK = "conntrack"
    METERING = "metering"
    TRACE = "trace"
    PROBE = "probe"
    NSH = "nsh"
    EXTERNAL_PORT = "external-port"
    """Ports to the outside (SdnPort without a MAC, or with a VLAN)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """An integration bridge on one host."""

    host: str
    datapath_id: str
    """16 hexadecimal digits."""
    connected: bool
    ports: Mapping[str, int] = field(default_factory=dict)
    """OpenFlow port number by interface name, of the ports that are there now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchLink:
    """A tunnel or cable from one host's switch to another's."""

    host: str
    peer: str
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """What the controller's switches look like."""

    switches: tuple[Switch, ...]
    links: tuple[SwitchLink, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRule:
    """One OpenFlow rule with ports by interface name, so it stays true when a machine restarts.

    ``match`` uses OXM field names (``in_port``, ``eth_type``, ``ipv4_src`` …); ``in_port`` holds an interface name.
    ``actions`` are ``(name, argument)`` pairs: ``("output", device)``, ``("set_field", "field=value")``,
    ``("goto", table)``, ``("group", id)``, ``("drop", "")``. Open vSwitch's own: ``("move", "field->field")``,
    ``("resubmit", table)``, ``("ct", table)`` and ``("ct", "commit")`` in the zone of ``reg1``, and
    ``("set_field", "reg1=@device")`` for the number that a port has. ``("push_vlan", "")`` is followed by a
    ``set_field`` of ``vlan_vid``; ``("pop_vlan", "")``. ``("encap", "nsh")`` and ``("encap", "ethernet")`` put a header
    on, whose fields are set next, ``("decap", "")`` takes the outermost off. ``("meter", bit/s)`` comes first and holds
    what enters by the match's ``in_port`` to a rate; without an ``in_port`` all rules of the program with one are held
    to it together.
    """

    host: str
    table: int
    priority: int
    match: tuple[tuple[str, str | int], ...]
    actions: tuple[tuple[str, str | int], ...]
    note: str = ""
    """What the rule is for, in the operator's words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupBucket:
    """One choice of a select group."""

    weight: int
    actions: tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRule:
    """An OpenFlow select group that shares load."""

    host: str
    group_id: int
    buckets: tuple[GroupBucket, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowProgram:
    """Everything the switches must hold for one segment or chain."""

    kind: ResourceKind
    key: str
    owner: str
    name: str
    spec_hash: str
    rules: tuple[FlowRule, ...]
    groups: tuple[GroupRule, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The spec as JSON (``spec_to_json``), kept by the controller so that it can compile anew by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceHop:
    """One step of a traced packet."""

    host: str
    device: str
    table: int | None
    rule: str
    note: str


class Sdn(Protocol):
    """Forwards segments and steers chains on the hosts' switches.

    Every verb is synchronous, bounded by ``ctx.deadline``, and safe to call from several threads.
    """

    def capabilities(self, ctx: CallContext) -> Capabilities:
        """What this controller and its switches can do. Never mutates."""
        ...

    def topology(self, ctx: CallContext) -> Topology:
        """The switches, their ports and the links between them, as they are now. Never mutates."""
        ...

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        """The rules that make ``spec`` true on ``topology``. Pure: equal input gives equal output, nothing is sent.

        Raises Unsupported or Permanent where the spec cannot be had.
        """
        ...

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        """Segments and chains of ``query.owner`` as the switches hold them. Never mutates.

        ACTIVE means that every rule is in its switch and every port it names is there; DEGRADED that some are
        missing (``detail["missing"]`` names them). ``detail["rules"]`` gives packets and bytes per rule.

        Rules of this owner whose key the driver has lost are told too, with an empty ``spec_hash``: under their key
        where ``query.keys`` names it, else under one of the driver's making, which :meth:`remove` takes as well.
        ``native_id`` is the same both times.
        """
        ...

    def apply(self, program: FlowProgram, ctx: CallContext) -> Observed:
        """Make the switches hold exactly this program under its key. Idempotent; make before break."""
        ...

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        """Take every rule of this key out of every switch. Absent is success.

        Raises Unreachable naming the hosts whose switches are away: it is out of the others by then, and goes out of
        these as soon as they are back.
        """
        ...

    def close(self) -> None:
        """Let go of connections; rules stay in the switches."""
        ...


@runtime_checkable
class Traced(Protocol):
    """Optional, with SdnCapability.TRACE."""

    def trace(self, key: str, packet: Mapping[str, str | int], ctx: CallContext) -> Sequence[TraceHop]:
        """Follow a packet hop by hop through the switches' own tables.

        ``key`` is a chain's or a segment's; ``in_port`` in the packet names the device that it enters by, which for a
        chain may be left out. Raises NotFound.
        """
        ...


class ProbeVerdict(StrEnum):
    """What became of a probe at one hop of its way."""

    PASSED = "passed"
    """It came out of the function, over the link, or to where it was addressed."""
    KEPT = "kept"
    """It went into the function and did not come out; a filter may mean to."""
    LOST = "lost"
    """It did not get there: rules, switches or links are at fault, not a function."""
    UNSEEN = "unseen"
    """Nothing is known: the probe had ended before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeHop:
    """One part of a probe's way: where it starts, a function, a link between hosts, or where it ends."""

    key: str
    """Key of the port that it goes into (of an end, the end's own); empty for a link."""
    host: str
    device: str
    verdict: ProbeVerdict
    latency_s: float | None = None
    """From the sight of it before this part to the sight behind it; None where that was not measured."""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What became of one marked frame."""

    packet: Mapping[str, str | int]
    """As it was asked for."""
    hops: tuple[ProbeHop, ...]

    @property
    def arrived(self) -> bool:
        """Whether it came all the way."""
        return bool(self.hops) and all(hop.verdict is ProbeVerdict.PASSED for hop in self.hops)


@runtime_checkable
class Probed(Protocol):
    """Optional, with SdnCapability.PROBE."""

    def probe(self, key: str, packets: Sequence[Mapping[str, str | int]], ctx: CallContext) -> Sequence[Probe]:
        """Send a real, marked frame for each packet along the installed chain ``key``, and tell where each was seen.

        A packet's fields are OXM names; ``in_port`` names the device out of which the frame seems to come: an end of
        the chain, or a function's port, for the rest of the way. ``into`` instead hands it to the function at that
        device, to be seen behind it and no farther. What an end would receive it never gets. Nothing of it stays in
        the switches, whatever happens.
        Raises NotFound where there is no such chain, Transient where a switch is not there.
        """
        ...
