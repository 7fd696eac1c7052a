"""What a real platform would refuse, as pure functions over the fake world's state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from manor.api import (
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    ResourceKind,
    ResourceSpec,
    SnapshotSpec,
    VimCapability,
    VolumeSpec,
)
from manor.errors import Conflict, NotFound, QuotaExceeded, Transient, Unsupported
from manor.fakes.world import FakeHost, Native, State, name_of

__all__ = ["IN_PLACE", "REPLACE_ON", "VimSpec", "changed", "refuse_unsound", "used", "users"]

VimSpec = ImageSpec | NetworkSpec | VolumeSpec | NodeSpec | SnapshotSpec

IN_PLACE = {
    ResourceKind.IMAGE: frozenset({"name", "source"}),
    ResourceKind.NETWORK: frozenset({"name", "segment", "mtu", "subnets"}),
    ResourceKind.VOLUME: frozenset({"name", "size_bytes", "snapshot"}),
    ResourceKind.NODE: frozenset({"name", "power", "labels"}),
    ResourceKind.SNAPSHOT: frozenset({"name"}),
}
"""Fields that the fake VIM changes on a living resource."""

_IDENTITY = frozenset({"key", "owner", "host"})

REPLACE_ON = frozenset(
    f"{cls.kind}.{name}"
    for cls in (ImageSpec, NetworkSpec, VolumeSpec, NodeSpec, SnapshotSpec)
    for name in cls.__dataclass_fields__
    if name not in IN_PLACE[cls.kind] | _IDENTITY | {"kind"}
)
"""Fields whose change means remove and create."""


def changed(old: ResourceSpec, new: ResourceSpec) -> tuple[str, ...]:
    """Names of the fields that differ."""
    return tuple(f for f in type(new).__dataclass_fields__ if f != "kind" and getattr(old, f) != getattr(new, f))


def refuse_unsound(spec: VimSpec, state: State) -> None:
    """Raise what a real platform would, where this spec cannot be had in this state."""
    host = next((h for h in state.hosts if h.name == spec.host), None)
    if host is None:
        raise NotFound(f"{spec.key}: there is no host {spec.host!r}")
    if not host.reachable:
        raise Transient(f"{spec.key}: host {spec.host} does not answer", retry_after_s=0.01)
    is_new = name_of(spec) not in state.natives
    for kind, key in (*needs(spec), *(sources(spec) if is_new else ())):
        if (spec.owner, str(kind), key, spec.host) not in state.natives:
            raise NotFound(f"{spec.kind} {spec.key} needs the {kind} {key}, which is not on {spec.host}")
    if isinstance(spec, NodeSpec):
        _refuse_device_twice(spec, state)
    _refuse_no_room(spec, host, state)


def needs(spec: ResourceSpec) -> Iterator[tuple[ResourceKind, str]]:
    """Kind and key of all that this one stands on."""
    if isinstance(spec, VolumeSpec) and spec.image:
        yield ResourceKind.IMAGE, spec.image
    if isinstance(spec, NodeSpec):
        yield from ((ResourceKind.IMAGE, key) for key in (spec.boot.kernel, spec.boot.initramfs) if key)
        yield from ((ResourceKind.VOLUME, disk.volume) for disk in spec.disks)
        yield from ((ResourceKind.NETWORK, port.network) for port in spec.ports)


def sources(spec: ResourceSpec) -> Iterator[tuple[ResourceKind, str]]:
    """Kind and key of what is needed to make it, and not any more once it is made."""
    if isinstance(spec, VolumeSpec) and spec.snapshot:
        yield ResourceKind.SNAPSHOT, spec.snapshot
    if isinstance(spec, SnapshotSpec):
        yield ResourceKind.NODE, spec.node
        yield from ((ResourceKind.VOLUME, key) for key in spec.volumes)


def users(spec: ResourceSpec, state: State) -> list[str]:
    """Keys of what stands on this one."""
    mine = (spec.kind, spec.key)
    return [
        native.spec.key
        for native in state.natives.values()
        if native.spec.owner == spec.owner
        and getattr(native.spec, "host", "") == getattr(spec, "host", "")
        and mine in needs(native.spec)
    ]


@dataclass(kw_only=True, slots=True)
class Taken:
    """What of a host is promised."""

    vcpus: int = 0
    vcpus_dedicated: int = 0
    memory_bytes: int = 0
    storage_bytes: int = 0
    hugepages_bytes: dict[int, int] = field(default_factory=dict)
    """By the size of a page."""

    def add(self, spec: ResourceSpec) -> None:
        """Count this one too, running or not."""
        if isinstance(spec, NodeSpec):
            self.vcpus += spec.vcpus
            self.vcpus_dedicated += spec.vcpus if spec.cpu.dedicated else 0
            if size := spec.cpu.hugepage_bytes:
                pages = -(-spec.memory_bytes // size) * size
                self.hugepages_bytes[size] = self.hugepages_bytes.get(size, 0) + pages
            else:
                self.memory_bytes += spec.memory_bytes
        elif isinstance(spec, VolumeSpec | ImageSpec):
            self.storage_bytes += spec.size_bytes


def used(host: str, state: State, *, but: Native | None = None) -> Taken:
    """What is taken of a host, by whomever; ``but`` what this one takes."""
    taken = Taken()
    for native in state.natives.values():
        if native is not but and getattr(native.spec, "host", "") == host:
            taken.add(native.spec)
    return taken


def _refuse_device_twice(spec: NodeSpec, state: State) -> None:
    mine = {port.device for port in spec.ports}
    for native in state.natives.values():
        other = native.spec
        if isinstance(other, NodeSpec) and other.host == spec.host and name_of(other) != name_of(spec):
            for port in other.ports:
                if port.device in mine:
                    raise Conflict(
                        f"node {spec.key}: interface {port.device} belongs to {other.key}",
                        replace=False,
                        fields=("ports",),
                    )


def _refuse_no_room(spec: VimSpec, host: FakeHost, state: State) -> None:
    taken = used(host.name, state, but=state.natives.get(name_of(spec)))
    taken.add(spec)
    if isinstance(spec, NodeSpec):
        _refuse_no_room_inside(spec, host, taken)
    if isinstance(spec, VolumeSpec | ImageSpec) and taken.storage_bytes > host.storage_bytes:
        raise QuotaExceeded(f"{spec.kind} {spec.key}: {host.name} has no {spec.size_bytes} bytes of disk left")


def _refuse_no_room_inside(spec: NodeSpec, host: FakeHost, taken: Taken) -> None:
    size = spec.cpu.hugepage_bytes
    if size and size not in host.hugepages_bytes:
        why = f"node {spec.key}: {host.name} has set aside no pages of {size} bytes"
        raise Unsupported(why, capability=VimCapability.HUGEPAGES)
    memory_bytes, whole = taken.memory_bytes, host.memory_bytes
    if size:
        memory_bytes, whole = taken.hugepages_bytes[size], host.hugepages_bytes[size]
    if memory_bytes > whole:
        pages = f" in pages of {size} bytes" if size else ""
        raise QuotaExceeded(f"node {spec.key}: {host.name} has no {spec.memory_bytes} bytes of memory{pages} left")
    if spec.cpu.dedicated and taken.vcpus_dedicated > host.vcpus:
        raise QuotaExceeded(f"node {spec.key}: {host.name} has no {spec.vcpus} CPUs left to dedicate")
