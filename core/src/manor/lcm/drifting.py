"""What it means that a resource is as it should be, and what of a service is not. Pure.

:func:`manor.lcm.diff.diff` makes steps of what differs. A snapshot that is lost differs too, and no plan does anything
about that: taken again it would be of another moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from manor.api.resources import NodeSpec, Observed, Phase, PowerState, ResourceKind, ResourceSpec, VolumeSpec
from manor.api.specs import spec_hash
from manor.model.desired import DesiredResource, DesiredState

__all__ = ["Drift", "Drifted", "drifted", "is_as_wanted", "is_elsewhere", "is_lost", "is_well", "lost_snapshots"]


class Drift(StrEnum):
    """In which way a resource differs."""

    MISSING = "missing"
    BROKEN = "broken"
    """It is there as specified, and not at work."""
    ALTERED = "altered"
    """It is there with another spec."""
    ELSEWHERE = "elsewhere"
    """It is on another host."""
    LEFT_OVER = "left over"
    """It carries the service's key, and the service should not have it."""
    TWICE = "there a second time"
    """At a place where the service does not want it."""
    LOST = "lost"
    """A snapshot that nothing brings back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drifted:
    """One resource that is not as it should be."""

    key: str
    kind: ResourceKind
    endpoint: str
    host: str
    drift: Drift
    reason: str = ""
    """What the driver says of it."""
    holds_data: bool = False
    """It is a disk, and what it held nothing brings back."""
    runs: bool = False
    """It is a machine that was left over, or a second one, and runs: what took its place may have its addresses."""

    def words(self, service_id: str) -> str:
        """For people, as ``volume vnf/web/main-0/data is missing on kvm1``."""
        place = f" on {self.host}" if self.host else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.kind} {self.key.removeprefix(service_id + '/')} is {self.drift}{place}{why}"


def drifted(
    desired: DesiredState,
    observed: Mapping[str, Observed],
    found_at: Mapping[str, str] | None = None,
    twice: Iterable[tuple[str, Observed]] = (),
) -> tuple[Drifted, ...]:
    """All that differs. ``found_at`` gives the endpoint of what was observed under the service's id, by key; ``twice``
    is what was observed beside that, each with its endpoint.

    Of what is UNKNOWN, as on a host that cannot be asked, nobody can say that it differs.
    """
    found = []
    wanted = {resource.spec.key: resource for resource in desired.resources}
    for key, resource in wanted.items():
        spec, seen = resource.spec, observed.get(key)
        if seen is not None and (seen.phase is Phase.UNKNOWN or is_well(resource, seen)):
            continue
        if is_lost(spec, seen):
            drift = Drift.LOST
        elif seen is None:
            drift = Drift.MISSING
        elif is_elsewhere(spec, seen):
            drift = Drift.ELSEWHERE
        else:
            drift = Drift.BROKEN if seen.spec_hash == spec_hash(spec) else Drift.ALTERED
        found.append(
            Drifted(
                key=key,
                kind=spec.kind,
                endpoint=resource.endpoint,
                host=(seen.ref.host if seen else "") or getattr(spec, "host", ""),
                drift=drift,
                reason=str(seen.detail.get("reason") or "") if seen else "",
                holds_data=isinstance(spec, VolumeSpec) and not spec.image,
            )
        )
    for key, endpoint in sorted((found_at or {}).items()):
        if key not in wanted and key in observed:
            found.append(_spare(Drift.LEFT_OVER, endpoint, observed[key]))
    found += [_spare(Drift.TWICE, endpoint, one) for endpoint, one in twice]
    return tuple(found)


def _spare(drift: Drift, endpoint: str, seen: Observed) -> Drifted:
    runs = seen.ref.kind is ResourceKind.NODE and seen.phase in (Phase.ACTIVE, Phase.DEGRADED)
    return Drifted(
        key=seen.ref.key,
        kind=seen.ref.kind,
        endpoint=endpoint,
        host=seen.ref.host,
        drift=drift,
        reason="it runs, maybe with the addresses of what took its place" if runs else "",
        runs=runs,
    )


def lost_snapshots(desired: DesiredState | None, observed: Mapping[str, Observed]) -> tuple[str, ...]:
    """Keys of snapshots that should be there and are not, or not whole."""
    return tuple(
        resource.spec.key
        for resource in (desired.resources if desired else ())
        if resource.spec.kind is ResourceKind.SNAPSHOT and is_lost(resource.spec, observed.get(resource.spec.key))
    )


def is_as_wanted(spec: ResourceSpec, seen: Observed) -> bool:
    """Whether what was seen is the resource as specified and at work.

    What is PENDING is not: nothing says that it comes any further without being ensured again, as a machine that was
    defined and never started, or has been off since its host was, and an image whose upload was cut short.
    """
    if seen.spec_hash != spec_hash(spec) or is_elsewhere(spec, seen):
        return False
    if seen.phase is Phase.STOPPED:
        return isinstance(spec, NodeSpec) and spec.power is PowerState.STOPPED
    return seen.phase is Phase.ACTIVE


def is_well(resource: DesiredResource, seen: Observed) -> bool:
    """As :func:`is_as_wanted`, or as little of it as there can be while VNFs are stopped."""
    halved = resource.may_degrade and seen.phase is Phase.DEGRADED and seen.spec_hash == spec_hash(resource.spec)
    return halved or is_as_wanted(resource.spec, seen)


def is_elsewhere(spec: ResourceSpec, seen: Observed) -> bool:
    """Whether it is on another host than it should be."""
    host = getattr(spec, "host", "")
    return bool(host and seen.ref.host and host != seen.ref.host)


def is_lost(spec: ResourceSpec, seen: Observed | None) -> bool:
    """Whether it is a snapshot that was there and is not, or not whole: taken again it would be of another moment."""
    is_whole = seen is not None and seen.phase in (Phase.ACTIVE, Phase.UNKNOWN)
    return spec.kind is ResourceKind.SNAPSHOT and not is_whole
