"""The default placement policy: largest first, onto the emptiest host that the rules allow.

Pure and quick. Memory is never promised twice; CPUs may be, up to the overcommit ratio.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from manor.api.hooks import hookimpl
from manor.api.placement import AffinityScope, Candidate, Demand, Placement, PlacementRule
from manor.api.records import PlacementPolicyType

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Balanced", "manor_placement_policies"]

_GIB = 1 << 30


@dataclass(kw_only=True, slots=True)
class _Room:
    """What is left on a candidate while placing."""

    candidate: Candidate
    vcpus: float
    memory_bytes: int
    storage_bytes: int
    taken: int = 0

    @property
    def place(self) -> tuple[str, str]:
        return self.candidate.vim, self.candidate.host.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Balanced:
    """Spreads VNFCs over hosts by free memory."""

    cpu_overcommit: float = 8.0
    """Virtual CPUs per physical one."""
    sites: Mapping[str, str] = field(default_factory=dict)
    """NFVI-PoP by VIM name, for the widest scope; a VIM is its own PoP where nothing is said."""

    def place(
        self,
        demands: Sequence[Demand],
        rules: Sequence[PlacementRule],
        candidates: Sequence[Candidate],
        fixed: Mapping[str, tuple[str, str]],
    ) -> Placement:
        """Place every demand or say for each that found no host what every host lacks."""
        rooms = [self._room(candidate) for candidate in candidates]
        by_place = {room.place: room for room in rooms}
        hosts = dict(fixed)
        reasons: dict[str, str] = {}
        refused: dict[str, str] = {}
        pending = [demand for demand in demands if demand.key not in fixed]
        # Sorting is stable, so equal demands keep their order and the result does not depend on chance.
        for demand in sorted(pending, key=lambda d: (-d.memory_bytes, -d.vcpus)):
            objections = {room.place: self._objection(demand, room, rules, hosts, by_place) for room in rooms}
            able = [room for room in rooms if not objections[room.place]]
            if not able:
                refused[demand.key] = _because(objections)
                continue
            best = max(able, key=lambda room: (room.memory_bytes, room.vcpus, -room.taken))
            best.memory_bytes -= demand.memory_bytes
            best.storage_bytes -= demand.storage_bytes
            best.vcpus -= demand.vcpus
            best.taken += 1
            hosts[demand.key] = best.place
            reasons[demand.key] = (
                f"{best.memory_bytes / _GIB:.1f} GiB stay free" if len(able) > 1 else "the only host that fits"
            )
        return Placement(hosts=hosts, reasons=reasons, refused=refused)

    def _room(self, candidate: Candidate) -> _Room:
        host = candidate.host
        return _Room(
            candidate=candidate,
            vcpus=host.vcpus * self.cpu_overcommit - host.vcpus_used,
            memory_bytes=host.memory_free_bytes,
            storage_bytes=host.storage_free_bytes,
        )

    def _objection(
        self,
        demand: Demand,
        room: _Room,
        rules: Sequence[PlacementRule],
        hosts: Mapping[str, tuple[str, str]],
        by_place: Mapping[tuple[str, str], _Room],
    ) -> str:
        """Why this host cannot take the demand; empty where it can."""
        host, vim = room.candidate.host, room.candidate.vim
        if not host.reachable:
            return host.reason or "not reachable"
        if demand.wanted_vim and demand.wanted_vim != vim:
            return f"not in VIM {demand.wanted_vim}"
        if demand.wanted_host and demand.wanted_host != host.name:
            return f"not host {demand.wanted_host}"
        missing = [need for need in demand.needs if room.candidate.support.get(need) != "full"]
        if missing:
            return f"VIM {vim} cannot do {', '.join(missing)}"
        if demand.memory_bytes > room.memory_bytes:
            return f"memory: {demand.memory_bytes >> 20} MiB wanted, {max(0, room.memory_bytes) >> 20} MiB free"
        if demand.vcpus > room.vcpus:
            return f"CPU: {demand.vcpus} wanted, {max(0, int(room.vcpus))} left at overcommit {self.cpu_overcommit:g}"
        if demand.storage_bytes > room.storage_bytes:
            return f"storage: {demand.storage_bytes >> 20} MiB wanted, {max(0, room.storage_bytes) >> 20} MiB free"
        here = self._scopes(room.candidate)
        for rule in rules:
            if demand.key not in rule.keys:
                continue
            for other in rule.keys:
                placed = by_place.get(hosts[other]) if other in hosts and other != demand.key else None
                if placed is None:
                    continue
                together = self._scopes(placed.candidate)[rule.scope] == here[rule.scope]
                if together == rule.anti:
                    word = "anti-affinity" if rule.anti else "affinity"
                    return f"{word} {rule.name or rule.scope} with {other.rsplit('/', 1)[-1]}"
        return ""

    def _scopes(self, candidate: Candidate) -> dict[AffinityScope, tuple[str, ...]]:
        node = (candidate.vim, candidate.host.name)
        pop = (self.sites.get(candidate.vim, candidate.vim),)
        zone = (*pop, candidate.host.zone)
        return {
            AffinityScope.NFVI_NODE: node,
            AffinityScope.NETWORK_LINK_AND_NODE: node,
            AffinityScope.ZONE: zone,
            AffinityScope.ZONE_GROUP: (*pop, candidate.host.labels.get("zone-group", candidate.host.zone)),
            AffinityScope.NFVI_POP: pop,
        }


def _because(objections: Mapping[tuple[str, str], str]) -> str:
    if not objections:
        return "no VIM is registered"
    return "; ".join(f"{vim}/{host}: {why}" for (vim, host), why in sorted(objections.items()))


def _config() -> type[BaseModel]:
    from pydantic import BaseModel, Field

    class BalancedConfig(BaseModel, frozen=True, extra="forbid"):
        """Settings of the balanced policy."""

        cpu_overcommit: float = Field(default=8.0, ge=1.0)
        sites: dict[str, str] = Field(default_factory=dict)

    return BalancedConfig


@hookimpl
def manor_placement_policies() -> Iterable[PlacementPolicyType]:
    """The default policy, by the same door as any other."""
    yield PlacementPolicyType(
        name="balanced",
        summary="largest first onto the emptiest host",
        config=_config(),
        create=lambda config: Balanced(cpu_overcommit=config.cpu_overcommit, sites=config.sites),
    )
