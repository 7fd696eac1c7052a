"""The default placement policy: quick where that is as good, exact where it is not.

Quick is largest first, onto the emptiest host that the rules allow; then machines leave the fullest host as long as
that makes it emptier. Its result is kept where all found a place and no placement could leave the fullest host emptier
by more than a twentieth. Else, for services of ordinary size, the solver is asked. Memory is never promised twice; CPUs
may be, up to the overcommit ratio.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from manor.api.hooks import hookimpl
from manor.api.placement import Candidate, Demand, Placement, PlacementRule
from manor.api.records import PlacementPolicyType
from manor.nfvo import exact
from manor.nfvo.answer import unsound
from manor.nfvo.hosts import Board, Room, because, ordinary_bytes
from manor.nfvo.levelling import levelled

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Balanced", "fullest", "manor_placement_policies"]

_GIB = 1 << 30
_GOOD_ENOUGH = 1.05
_LEVEL_UP_TO = 5000
"""Machines times hosts, up to which the fullest host is looked at again."""
_FEW = 16
"""Places that are sooner sorted than picked out of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Balanced:
    """Spreads VNFCs over hosts by free memory."""

    cpu_overcommit: float = 8.0
    """Virtual CPUs per physical one."""
    exact_up_to: int = 5000
    """Machines times hosts, up to which the solver is asked; 0 for never."""

    def place(
        self,
        demands: Sequence[Demand],
        rules: Sequence[PlacementRule],
        candidates: Sequence[Candidate],
        fixed: Mapping[str, tuple[str, str]],
    ) -> Placement:
        """Place every demand, or say for those that find no host what each host lacks and the least that would help."""
        quick = self.quick(demands, rules, candidates, fixed)
        pending = [demand for demand in demands if demand.key not in fixed]
        rooms = self._rooms(candidates)
        if not pending or len(rooms) < 2 or len(pending) * len(rooms) > self.exact_up_to or not exact.is_available():
            return quick
        if not quick.refused and _is_good(quick, pending, rooms):
            return quick
        if any(not self._fits_somewhere(demand, rooms) for demand in pending):
            return quick
        found = exact.solve(pending, rules, rooms, fixed, demands)
        if found is None:
            return quick
        if not quick.refused and fullest(found, pending, rooms) <= fullest(quick.hosts, pending, rooms):
            return quick
        return Placement(
            hosts={**fixed, **found}, reasons=_reasons(found, pending, rooms, "chosen with all others at once")
        )

    def quick(
        self,
        demands: Sequence[Demand],
        rules: Sequence[PlacementRule],
        candidates: Sequence[Candidate],
        fixed: Mapping[str, tuple[str, str]],
    ) -> Placement:
        """One after the other; at ordinary sizes the fullest host is then relieved of what others can take."""
        found = self._one_by_one(demands, rules, candidates, fixed)
        pending = [demand for demand in demands if demand.key not in fixed]
        rooms = self._rooms(candidates)
        if not pending or found.refused or len(pending) * len(rooms) > _LEVEL_UP_TO or _is_good(found, pending, rooms):
            return found

        def is_sound(hosts: Mapping[str, tuple[str, str]]) -> bool:
            answer = Placement(hosts=hosts)
            return not unsound(answer, demands, rules, candidates, fixed, cpu_overcommit=self.cpu_overcommit)

        hosts = levelled(found.hosts, pending, rules, rooms, is_sound)
        why = "so that the fullest host stays emptier"
        moved = {
            key: reason
            for key, reason in _reasons(hosts, pending, rooms, why).items()
            if hosts[key] != found.hosts[key]
        }
        return replace(found, hosts=hosts, reasons={**found.reasons, **moved})

    def _one_by_one(
        self,
        demands: Sequence[Demand],
        rules: Sequence[PlacementRule],
        candidates: Sequence[Candidate],
        fixed: Mapping[str, tuple[str, str]],
    ) -> Placement:
        rooms = self._rooms(candidates)
        board = Board.of(rooms, rules, demands, fixed)
        emptiest = sorted(_rank(room, number) for number, room in enumerate(rooms))
        numbers = {room.place: number for number, room in enumerate(rooms)}
        reasons: dict[str, str] = {}
        refused: dict[str, str] = {}
        told: dict[tuple[Demand, int], str] = {}
        pending = [demand for demand in demands if demand.key not in fixed]
        # Sorting is stable, so equal demands keep their order and the result does not depend on chance.
        for demand in sorted(pending, key=lambda d: (-d.memory_bytes, -d.vcpus)):
            # Who wants the same as one that was refused, with nothing placed since, is told the same.
            wish = (demand if demand.key in board.rules else replace(demand, key=""), len(board.hosts))
            if wish in told:
                refused[demand.key] = told[wish]
                continue
            left = board.left(demand)
            if left is None:
                ranks: Iterable[tuple[int, float, int, int]] = emptiest
            elif len(left) <= _FEW:
                ranks = sorted(_rank(board.rooms[at], numbers[at]) for at in left)
            else:
                ranks = (rank for rank in emptiest if rooms[rank[-1]].place in left)
            fitting = (rank for rank in ranks if not any(board.objections(demand, rooms[rank[-1]])))
            chosen = next(fitting, None)
            if chosen is None:
                whys = {room.place: list(board.objections(demand, room)) for room in rooms}
                refused[demand.key] = told[wish] = because(whys)
                continue
            is_only = next(fitting, None) is None
            best = rooms[chosen[-1]]
            board.put(demand, best)
            del emptiest[bisect.bisect_left(emptiest, chosen)]
            bisect.insort(emptiest, _rank(best, chosen[-1]))
            reasons[demand.key] = (
                "the only host that fits" if is_only else f"{best.memory_bytes / _GIB:.1f} GiB stay free"
            )
        return Placement(hosts=board.hosts, reasons=reasons, refused=refused)

    def _rooms(self, candidates: Sequence[Candidate]) -> list[Room]:
        return [Room(candidate=candidate, overcommit=self.cpu_overcommit) for candidate in candidates]

    def _fits_somewhere(self, demand: Demand, rooms: Sequence[Room]) -> bool:
        alone = Board.of(rooms, (), (), {})
        return any(not any(alone.objections(demand, room)) for room in rooms)


def fullest(hosts: Mapping[str, tuple[str, str]], demands: Iterable[Demand], rooms: Iterable[Room]) -> float:
    """Memory that stays free on the fullest host that takes any of these, in bytes: what a placement is judged by."""
    free = {room.place: room.memory_bytes for room in rooms}
    used: set[tuple[str, str]] = set()
    for demand in demands:
        place = hosts[demand.key]
        free[place] -= ordinary_bytes(demand)
        used.add(place)
    return float(min(free[place] for place in used))


def _is_good(quick: Placement, pending: Sequence[Demand], rooms: Sequence[Room]) -> bool:
    """Whether no placement could be better by more than we care for: cost is what the emptiest host loses."""
    most = max(room.memory_bytes for room in rooms)
    cost = most - fullest(quick.hosts, pending, rooms)
    return cost <= _GOOD_ENOUGH * (most - exact.emptiest_possible(pending, rooms))


def _reasons(
    found: Mapping[str, tuple[str, str]], pending: Sequence[Demand], rooms: Sequence[Room], why: str
) -> Mapping[str, str]:
    free = {room.place: room.memory_bytes for room in rooms}
    for demand in pending:
        free[found[demand.key]] -= ordinary_bytes(demand)
    return {demand.key: f"{why}; {free[found[demand.key]] / _GIB:.1f} GiB stay free" for demand in pending}


def _rank(room: Room, number: int) -> tuple[int, float, int, int]:
    """Sorts the emptiest first; among equals the one that was named first."""
    return -room.memory_bytes, -room.vcpus, room.taken, number


def _config() -> type[BaseModel]:
    from pydantic import BaseModel, Field

    class BalancedConfig(BaseModel, frozen=True, extra="forbid"):
        """Settings of the balanced policy."""

        cpu_overcommit: float = Field(default=8.0, ge=1.0)
        exact_up_to: int = Field(default=5000, ge=0, description="machines times hosts; 0: never ask the solver")

    return BalancedConfig


@hookimpl
def manor_placement_policies() -> Iterable[PlacementPolicyType]:
    """The default policy, by the same door as any other."""
    yield PlacementPolicyType(
        name="balanced",
        summary="largest first onto the emptiest host; a solver where that is not good enough",
        config=_config(),
        create=lambda config: Balanced(cpu_overcommit=config.cpu_overcommit, exact_up_to=config.exact_up_to),
    )
