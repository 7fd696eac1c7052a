"""The fake VIM: the five verbs over a :class:`~manor.fakes.world.World`, as strict as a real platform.

What depends on something absent is refused, what is in use is not removed, and a host has only so much room: a wrong
order of steps shows here, not first on real machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from manor.api import (
    CallContext,
    Capabilities,
    ConsoleInfo,
    Firmware,
    GuestResult,
    Host,
    NodeSpec,
    Observed,
    Phase,
    PowerState,
    Query,
    ResourceKind,
    ResourceRef,
    ResourceSpec,
    Sample,
    Support,
    VimCapability,
    VolumeSpec,
    spec_hash,
)
from manor.errors import Conflict, NotFound, Permanent, Transient, Unreachable, Unsupported
from manor.fakes.faults import Moment, When
from manor.fakes.rules import IN_PLACE, VimSpec, changed, refuse_unsound, used, users
from manor.fakes.world import FakeHost, Native, State, World, name_of, ref_of

__all__ = ["FakeVim", "GuestScript"]

GuestScript = Callable[[str, Sequence[str], bytes], GuestResult]
"""What a guest does: (node key, argv, stdin) → result."""

_KINDS = {
    ResourceKind.NODE: VimCapability.NODE,
    ResourceKind.NETWORK: VimCapability.NETWORK,
    ResourceKind.VOLUME: VimCapability.VOLUME,
    ResourceKind.IMAGE: VimCapability.IMAGE,
    ResourceKind.SNAPSHOT: VimCapability.SNAPSHOT,
}


_AWAY = "it does not answer"


def _echo(_key: str, argv: Sequence[str], stdin: bytes) -> GuestResult:
    return GuestResult(exit_code=0, stdout=stdin or (" ".join(argv) + "\n").encode(), stderr=b"")


class FakeVim:
    """A VIM whose machines are entries in ``world``. It writes and removes only what is of ``owner``.

    ``unsupported`` capabilities are refused; ``boot_s`` is how long a node takes until its guest answers.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        owner: str = "manor/test",
        unsupported: Iterable[str] = (),
        boot_s: float = 0.0,
        guest_script: GuestScript = _echo,
    ) -> None:
        self.world = world or World()
        self._owner = owner
        self._unsupported = frozenset(unsupported) | {VimCapability.EVENTS}
        self._boot_s = boot_s
        self._guest_script = guest_script

    def capabilities(self, ctx: CallContext) -> Capabilities:
        """Every capability FULL but the unsupported ones, and the hosts with what is free of them."""
        self._begin("capabilities", "", "", ctx)
        with self.world.look() as state:
            hosts = tuple(_host(host, state) for host in state.hosts)
        return Capabilities(
            support={str(c): Support.UNSUPPORTED if c in self._unsupported else Support.FULL for c in VimCapability},
            detail={str(c): "this fake VIM is without it" for c in sorted(self._unsupported)},
            hosts=hosts,
        )

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        """What the world holds for this owner. Raises Unreachable where a host cannot be reached."""
        self._begin("observe", "", query.prefix, ctx)
        with self.world.look() as state:
            away = [host.name for host in state.hosts if not host.reachable and query.asks(host.name)]
            found = [
                self._observed(native)
                for native in state.natives.values()
                if native.spec.owner == query.owner
                and native.spec.kind in _KINDS
                and query.admits(ref_of(native.spec))
                and _reachable(native.spec, state)
            ]
        if away:
            raise Unreachable(
                f"{', '.join(away)} cannot be looked at: {_AWAY}",
                hosts=dict.fromkeys(away, _AWAY),
                found=found,
                retry_after_s=0.01,
            )
        return found

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        """Create, change in place, start again, or refuse with what a real platform would say."""
        if not isinstance(spec, VimSpec):
            raise Unsupported(f"a VIM has no {spec.kind}s ({spec.key})", capability=str(spec.kind))
        if spec.owner != self._owner:
            raise Permanent(f"{spec.kind} {spec.key} is of {spec.owner}, this connection of {self._owner}")
        self._refuse_unsupported(spec)
        self._begin("ensure", spec.kind, spec.key, ctx)
        with self.world.change() as state:
            _refuse_lacking(spec, state)
            native = self._put(spec, state)
            observed = self._observed(native)
        self._end("ensure", spec.kind, spec.key, ctx)
        return observed

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        """Remove from ``ref.host``, or wherever it is. Raises Conflict while something uses it."""
        self._begin("remove", ref.kind, ref.key, ctx)
        with self.world.change() as state:
            if _may_be_away(ref, state):
                raise Transient(f"{ref.kind} {ref.key}: its host: {_AWAY}", retry_after_s=0.01)
            for native in _find(ref, self._owner, state):
                if using := users(native.spec, state):
                    raise Conflict(f"{ref.kind} {ref.key} is in use by {', '.join(using)}", replace=False)
                del state.natives[name_of(native.spec)]
        self._end("remove", ref.kind, ref.key, ctx)

    def close(self) -> None:
        """Nothing to let go of: the world stays."""

    # optional protocols

    def samples(self, refs: Collection[ResourceRef], ctx: CallContext) -> Iterable[Sample]:
        """Metrics of the running nodes among ``refs``, as ``world.metrics`` has them."""
        self._needs(VimCapability.METERING)
        self._begin("samples", ResourceKind.NODE, "", ctx)
        now_s = time.time()
        with self.world.look() as state:
            found = [native for ref in refs for native in _find(ref, self._owner, state)]
            running = [n for n in found if n.phase is Phase.ACTIVE and _reachable(n.spec, state)]
        return [
            Sample(metric=metric, value=value, unit="%", key=native.spec.key, time_s=now_s)
            for native in running
            for metric, value in self.world.metrics.get(native.spec.key, IDLE).items()
        ]

    def console(self, ref: ResourceRef, ctx: CallContext) -> ConsoleInfo:
        """A command that prints what ran in the guest."""
        self._needs(VimCapability.CONSOLE)
        self._begin("console", ref.kind, ref.key, ctx)
        with self.world.look() as state:
            ran = [" ".join(argv) for native in self._nodes(ref, state) for argv in native.ran]
        return ConsoleInfo(argv=("printf", "%s\n", *ran))

    def guest_ping(self, ref: ResourceRef, ctx: CallContext) -> bool:
        """True once the node is up for ``boot_s`` and has an agent."""
        self._needs(VimCapability.GUEST_ACCESS)
        self._begin("guest_ping", ref.kind, ref.key, ctx)
        with self.world.look() as state:
            return all(self._answers(native) for native in self._nodes(ref, state))

    def guest_exec(self, ref: ResourceRef, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        """Ask the guest script, and remember that this ran. Raises Transient while the guest boots."""
        self._needs(VimCapability.GUEST_ACCESS)
        self._begin("guest_exec", ref.kind, ref.key, ctx)
        with self.world.change() as state:
            for native in self._nodes(ref, state):
                if not self._answers(native):
                    raise Transient(f"node {ref.key}: no agent answers yet", retry_after_s=0.01)
                native.ran.append(list(argv))
        result = self._guest_script(ref.key, argv, stdin)
        self._end("guest_exec", ref.kind, ref.key, ctx)
        return result

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

    def _put(self, spec: VimSpec, state: State) -> Native:
        name = name_of(spec)
        native = state.natives.get(name)
        refuse_unsound(spec, state)
        phase = _wanted_phase(spec)
        if native is None:
            state.serial += 1
            native = state.natives[name] = Native(
                spec=spec,
                spec_hash=spec_hash(spec),
                native_id=f"{spec.kind}-{state.serial}",
                phase=phase,
                born_s=self.world.clock(),
            )
        elif native.spec != spec or native.spec_hash != spec_hash(spec):  # an older release may hash otherwise
            _refuse_replacement(native.spec, spec)
            native.spec, native.spec_hash = spec, spec_hash(spec)
        if native.phase is not phase:
            native.phase, native.born_s = phase, self.world.clock()
        native.unplugged = False
        if isinstance(spec, NodeSpec):
            for port in spec.ports:
                state.number_port(spec.host, port.device)
        return native

    def _observed(self, native: Native) -> Observed:
        spec = native.spec
        detail: dict[str, object] = {}
        phase = native.phase
        if isinstance(spec, NodeSpec):
            if native.unplugged and phase is Phase.ACTIVE:
                phase, detail["unplugged"] = Phase.DEGRADED, [port.device for port in spec.ports]
            detail["ports"] = [port.device for port in spec.ports]
            detail["guest"] = self._answers(native)
        return Observed(
            ref=ref_of(spec),
            owner=spec.owner,
            native_id=native.native_id,
            phase=phase,
            spec_hash=native.spec_hash,
            addresses=tuple(a for p in spec.ports for a in p.addresses) if isinstance(spec, NodeSpec) else (),
            detail=detail,
        )

    def _answers(self, native: Native) -> bool:
        spec = native.spec
        return (
            isinstance(spec, NodeSpec)
            and spec.guest_agent
            and native.phase is Phase.ACTIVE
            and self.world.clock() >= native.born_s + self._boot_s
        )

    def _nodes(self, ref: ResourceRef, state: State) -> list[Native]:
        found = _find(ref, self._owner, state)
        if not found and _may_be_away(ref, state):
            raise Transient(f"{ref.kind} {ref.key}: whether it is there: {_AWAY}", retry_after_s=0.01)
        if not found:
            raise NotFound(f"{ref.kind} {ref.key} is not there")
        at_hand = [native for native in found if _reachable(native.spec, state)]
        if not at_hand:
            raise Transient(f"{ref.kind} {ref.key}: its host: {_AWAY}", retry_after_s=0.01)
        return at_hand

    def _needs(self, capability: VimCapability) -> None:
        if capability in self._unsupported:
            raise Unsupported(f"this fake VIM is without {capability}", capability=capability)

    def _refuse_unsupported(self, spec: VimSpec) -> None:
        self._needs(_KINDS[spec.kind])
        for capability in _asked(spec):
            self._needs(capability)


IDLE: Mapping[str, float] = {"v_cpu_usage_mean": 1.0, "v_memory_usage_mean": 20.0}
"""What a node measures that ``world.metrics`` says nothing about."""


def _asked(spec: VimSpec) -> list[VimCapability]:
    """Capabilities that a node wants beyond being one."""
    if not isinstance(spec, NodeSpec):
        return []
    wishes = {
        VimCapability.DIRECT_BOOT: bool(spec.boot.kernel),
        VimCapability.CLOUD_INIT: bool(spec.user_data),
        VimCapability.UEFI: spec.firmware is Firmware.UEFI,
        VimCapability.CPU_PINNING: spec.cpu.dedicated,
        VimCapability.HUGEPAGES: spec.cpu.hugepage_bytes > 0,
        VimCapability.NUMA: spec.cpu.numa_nodes > 0,
        VimCapability.WATCHDOG: spec.watchdog,
        VimCapability.SRIOV: any(port.vnic_type for port in spec.ports),
        VimCapability.NESTED: spec.cpu.nested,
    }
    return [capability for capability, wanted in wishes.items() if wanted]


def _lacks(host: FakeHost) -> Mapping[str, str]:
    return host.lacks if host.hugepages_bytes else {VimCapability.HUGEPAGES: "it set none aside", **host.lacks}


def _refuse_lacking(spec: VimSpec, state: State) -> None:
    lacks = next((_lacks(host) for host in state.hosts if host.name == spec.host), {})
    for capability in (_KINDS[spec.kind], *_asked(spec)):
        if capability in lacks:
            why = f"{spec.kind} {spec.key} cannot have {capability} on host {spec.host}: {lacks[capability]}"
            raise Unsupported(why, capability=capability)


def _refuse_replacement(old: ResourceSpec, new: VimSpec) -> None:
    fixed = tuple(f for f in changed(old, new) if f not in IN_PLACE[new.kind])
    if isinstance(old, VolumeSpec) and isinstance(new, VolumeSpec) and new.size_bytes < old.size_bytes:
        fixed = (*fixed, "size_bytes")
    if fixed:
        raise Conflict(f"{new.kind} {new.key} cannot change {', '.join(fixed)} in place", fields=fixed)


def _wanted_phase(spec: VimSpec) -> Phase:
    stopped = isinstance(spec, NodeSpec) and spec.power is PowerState.STOPPED
    return Phase.STOPPED if stopped else Phase.ACTIVE


def _find(ref: ResourceRef, owner: str, state: State) -> list[Native]:
    if ref.host:
        native = state.natives.get((owner, str(ref.kind), ref.key, ref.host))
        return [native] if native else []
    return [n for name, n in state.natives.items() if name[:3] == (owner, str(ref.kind), ref.key)]


def _reachable(spec: ResourceSpec, state: State) -> bool:
    host = getattr(spec, "host", "")
    return any(h.reachable for h in state.hosts if h.name == host)


def _may_be_away(ref: ResourceRef, state: State) -> bool:
    """Whether a host that cannot be reached may have it."""
    return any(not host.reachable and ref.host in ("", host.name) for host in state.hosts)


def _host(host: FakeHost, state: State) -> Host:
    taken = used(host.name, state)
    return Host(
        name=host.name,
        accelerator="fake",
        vcpus=host.vcpus,
        vcpus_used=taken.vcpus,
        vcpus_dedicated=taken.vcpus_dedicated,
        memory_bytes=host.memory_bytes,
        memory_free_bytes=host.memory_bytes - taken.memory_bytes,
        storage_bytes=host.storage_bytes,
        storage_free_bytes=host.storage_bytes - taken.storage_bytes,
        zone=host.zone,
        reachable=host.reachable,
        reason="" if host.reachable else _AWAY,
        lacks=_lacks(host),
        hugepages_free_bytes={
            size: total - taken.hugepages_bytes.get(size, 0) for size, total in host.hugepages_bytes.items()
        },
    )
