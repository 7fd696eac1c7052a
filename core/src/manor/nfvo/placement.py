"""The default placement policy: largest first, onto the emptiest host that the rules allow.

Pure and quick. Memory is never promised twice; CPUs may be, up to the overcommit ratio.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from manor.api.hooks import hookimpl
from manor.api.placement import AffinityScope, Candidate, Demand, Placement, PlacementRule
from manor.api.records import PlacementPolicyType

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Balanced", "manor_placement_policies"]

_MIB, _GIB = 1 << 20, 1 << 30


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
class _Objection:
    """Why a host cannot take a demand, and what would have to give for it."""

    why: str
    relaxed: str = ""
    """Empty where nothing that an operator could allow would help."""
    cost: float = 0.0
    """How much of a concession that is, to compare hosts by: a whole rule given up counts 1."""


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
        """Place every demand, or say for those that find no host what each host lacks and the least that would help."""
        rooms = [self._room(candidate) for candidate in candidates]
        emptiest = sorted(_rank(room, place) for place, room in enumerate(rooms))
        rules_of: dict[str, list[PlacementRule]] = {}
        for rule in rules:
            for key in rule.keys:
                rules_of.setdefault(key, []).append(rule)
        by_place = {room.place: room for room in rooms}
        hosts = dict(fixed)
        reasons: dict[str, str] = {}
        refused: dict[str, str] = {}
        pending = [demand for demand in demands if demand.key not in fixed]
        # Sorting is stable, so equal demands keep their order and the result does not depend on chance.
        for demand in sorted(pending, key=lambda d: (-d.memory_bytes, -d.vcpus)):
            mine = rules_of.get(demand.key, ())
            fitting = (
                rank for rank in emptiest if not any(self._objections(demand, rooms[rank[-1]], mine, hosts, by_place))
            )
            chosen = next(fitting, None)
            if chosen is None:
                whys = {room.place: list(self._objections(demand, room, mine, hosts, by_place)) for room in rooms}
                refused[demand.key] = _because(whys)
                continue
            is_only = next(fitting, None) is None
            best = rooms[chosen[-1]]
            best.memory_bytes -= demand.memory_bytes
            best.storage_bytes -= demand.storage_bytes
            best.vcpus -= demand.vcpus
            best.taken += 1
            del emptiest[bisect.bisect_left(emptiest, chosen)]
            bisect.insort(emptiest, _rank(best, chosen[-1]))
            hosts[demand.key] = best.place
            reasons[demand.key] = (
                "the only host that fits" if is_only else f"{best.memory_bytes / _GIB:.1f} GiB stay free"
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

    def _objections(
        self,
        demand: Demand,
        room: _Room,
        rules: Sequence[PlacementRule],
        hosts: Mapping[str, tuple[str, str]],
        by_place: Mapping[tuple[str, str], _Room],
    ) -> Iterator[_Objection]:
        """Everything that speaks against this host, by the demand's own ``rules``; the first is the plainest."""
        host, (vim, name) = room.candidate.host, room.place
        if not host.reachable:
            yield _Objection(why=host.reason or "not reachable")
            return
        if demand.wanted_vim and demand.wanted_vim != vim:
            yield _Objection(why=f"not in VIM {demand.wanted_vim}", relaxed=f"allowed in VIM {vim}", cost=1.0)
        if demand.wanted_host and demand.wanted_host != name:
            yield _Objection(why=f"not host {demand.wanted_host}", relaxed=f"allowed on host {name}", cost=1.0)
        missing = ", ".join(need for need in demand.needs if room.candidate.support.get(need) != "full")
        if missing:
            yield _Objection(why=f"VIM {vim} cannot do {missing}", relaxed=f"asking for no {missing}", cost=2.0)
        for what, wanted, free in (
            ("memory", demand.memory_bytes, room.memory_bytes),
            ("storage", demand.storage_bytes, room.storage_bytes),
        ):
            if wanted > free:
                why = f"{what}: {wanted >> 20} MiB wanted, {max(0, free) >> 20} MiB free"
                short = -(-(wanted - free) // _MIB)
                yield _Objection(why=why, relaxed=f"{short} MiB more {what} free", cost=(wanted - free) / wanted)
        if demand.vcpus > room.vcpus:
            left = max(0, int(room.vcpus))
            why = f"CPU: {demand.vcpus} wanted, {left} left at overcommit {self.cpu_overcommit:g}"
            short = math.ceil(demand.vcpus - room.vcpus)
            yield _Objection(why=why, relaxed=f"{short} more virtual CPUs free", cost=short / demand.vcpus)
        here = self._scopes(room.candidate) if rules else {}
        for rule in rules:
            others = [(other, hosts[other]) for other in rule.keys if other in hosts and other != demand.key]
            placed = ((other, by_place[place]) for other, place in others if place in by_place)
            for other, there in placed:
                if (self._scopes(there.candidate)[rule.scope] == here[rule.scope]) == rule.anti:
                    what = f"{'anti-affinity' if rule.anti else 'affinity'} {rule.name or rule.scope}"
                    why = f"{what} with {other.rsplit('/', 1)[-1]}"
                    yield _Objection(why=why, relaxed=f"no {what}", cost=1.0)
                    break

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


def _rank(room: _Room, place: int) -> tuple[int, float, int, int]:
    """Sorts the emptiest first; among equals the one that was named first."""
    return -room.memory_bytes, -room.vcpus, room.taken, place


def _because(objections: Mapping[tuple[str, str], Sequence[_Objection]]) -> str:
    """Each host with its reason, and the least that would have to give for one of them to do."""
    if not objections:
        return "no VIM is registered"
    reasons = "; ".join(f"{vim}/{host}: {whys[0].why}" for (vim, host), whys in sorted(objections.items()))
    able = [place for place, whys in objections.items() if all(why.relaxed for why in whys)]
    if not able:
        return reasons
    nearest = min(able, key=lambda place: (sum(why.cost for why in objections[place]), place))
    relaxed = " and ".join(dict.fromkeys(why.relaxed for why in objections[nearest]))
    return f"{reasons}; nearest: {'/'.join(nearest)}, with {relaxed}"


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
