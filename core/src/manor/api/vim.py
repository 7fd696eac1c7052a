"""The VIM protocol: five verbs over images, networks, volumes and nodes, and three optional ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from manor.api.context import CallContext
from manor.api.resources import Observed, Query, ResourceRef, ResourceSpec
from manor.api.telemetry import Sample

__all__ = [
    "Capabilities",
    "Console",
    "ConsoleInfo",
    "Eventful",
    "GuestAccess",
    "GuestResult",
    "Host",
    "Metered",
    "Support",
    "Vim",
    "VimCapability",
]


class Support(StrEnum):
    """Whether something can be had. A missing entry reads as UNKNOWN, and UNKNOWN refuses at plan time."""

    FULL = "full"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"


class VimCapability(StrEnum):
    """What a VIM may or may not be able to do. Claimed FULL, the conformance kit tests it."""

    NODE = "node"
    NETWORK = "network"
    VOLUME = "volume"
    IMAGE = "image"
    DIRECT_BOOT = "direct-boot"
    CLOUD_INIT = "cloud-init"
    CONSOLE = "console"
    METERING = "metering"
    GUEST_ACCESS = "guest-access"
    UEFI = "uefi"
    CPU_PINNING = "cpu-pinning"
    HUGEPAGES = "hugepages"
    NUMA = "numa"
    WATCHDOG = "watchdog"
    EVENTS = "events"
    SNAPSHOT = "snapshot"
    SRIOV = "sr-iov"
    """Ports that are a part of the host's network card (``Port.vnic_type`` ``direct``)."""
    NESTED = "nested-virtualization"
    """Machines that can run machines by the hardware's help (``CpuPolicy.nested``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A compute host's size and what is free of it, as observed now.

    Free is what can still be promised. What was promised is not free: memory that a running node has not touched yet,
    all of a node of ours that is off, and what a thin volume may still grow by.
    """

    name: str
    accelerator: str = ""
    """``kvm`` or ``tcg`` as found by trial, else what the platform calls it."""
    vcpus: int = 0
    """Physical CPUs (threads)."""
    vcpus_used: int = 0
    """Virtual CPUs of all running nodes, ours or not, and of ours that are off."""
    vcpus_dedicated: int = 0
    """Physical CPUs that a node each has to itself; ``vcpus_used`` counts them too."""
    memory_bytes: int = 0
    """Without what is set aside as huge pages."""
    memory_free_bytes: int = 0
    storage_bytes: int = 0
    """Of all its disks; 0 with none free where the driver cannot tell, and then no machine is kept off for it."""
    storage_free_bytes: int = 0
    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    reachable: bool = True
    reason: str = ""
    """Why it is not reachable, or what is degraded."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Capabilities that cannot be had on this host, whatever its VIM can do, and why."""
    hugepages_free_bytes: Mapping[int, int] = field(default_factory=dict)
    """Memory that is free of what is set aside as huge pages, by the size of a page in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a connected VIM or controller can do, and its hosts."""

    support: Mapping[str, Support]
    detail: Mapping[str, str] = field(default_factory=dict)
    """Why something is unsupported, by capability, or which hosts are without it."""
    hosts: tuple[Host, ...] = ()

    def has(self, capability: str) -> Support:
        """The support for one capability; UNKNOWN where nothing is said."""
        return self.support.get(capability, Support.UNKNOWN)


class Vim(Protocol):
    """Owns images, networks, volumes and nodes on a set of hosts.

    Every verb is synchronous, bounded by ``ctx.deadline``, and safe to call from several threads.
    """

    def capabilities(self, ctx: CallContext) -> Capabilities:
        """What can be had here and how much is free. Never mutates."""
        ...

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        """All resources of ``query.owner`` that the query admits. Never mutates, never shows a foreign one.

        Raises Unreachable, with what the other hosts have, where hosts that are asked do not answer: what is on them
        must not look as if it were gone.
        """
        ...

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        """Make the resource exist as specified and return it observed. Idempotent by key.

        A changed spec is applied in place or refused with Conflict(replace=True).
        """
        ...

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        """Make the resource not exist, with all that the driver made for it. Absent is success."""
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...


@runtime_checkable
class Metered(Protocol):
    """Optional, with VimCapability.METERING."""

    def samples(self, refs: Collection[ResourceRef], ctx: CallContext) -> Iterable[Sample]:
        """Counters and gauges of these nodes, one call per host whatever their number."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleInfo:
    """How to reach a node's serial console."""

    log_path: str = ""
    """File with everything the console has printed."""
    argv: tuple[str, ...] = ()
    """A command that attaches a terminal to it."""


@runtime_checkable
class Console(Protocol):
    """Optional, with VimCapability.CONSOLE."""

    def console(self, ref: ResourceRef, ctx: CallContext) -> ConsoleInfo:
        """Raises NotFound where the node is not there."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestResult:
    """Outcome of a command inside a guest."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@runtime_checkable
class GuestAccess(Protocol):
    """Optional, with VimCapability.GUEST_ACCESS: a channel to the agent inside a node."""

    def guest_ping(self, ref: ResourceRef, ctx: CallContext) -> bool:
        """Whether the agent inside answers now."""
        ...

    def guest_exec(self, ref: ResourceRef, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        """Run a program in the guest and wait for it. Raises Transient while no agent answers."""
        ...


@runtime_checkable
class Eventful(Protocol):
    """Optional, with VimCapability.EVENTS: hears at once when a node changes by itself, as when it crashes."""

    def await_events(self, after: int, ctx: CallContext) -> int:
        """Wait until more than ``after`` changes of nodes were heard of; how many there were by then.

        Returns at the deadline too, with what it has. Counts from 0 since it was connected, its own changes as well.
        A hint to observe and no more: what it does not hear of is found by observing.
        """
        ...
