"""Room that is promised but not taken yet: what keeps two services from planning for the same last place.

A plan is made beside others: first what operations under way have still to create is set aside, and what is left when
the plan is accepted is asked again, in the transaction that accepts it. So of two that want the last place one has it,
and the other is told before anything is done. What room is, the placement policy says both times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING

from manor.api import Candidate, Demand, PlacementPolicy, ResourceKind, Step, Verb, VimCapability
from manor.errors import PlanRefused
from manor.nfvo.hosts import with_on

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from manor.api import Plan

__all__ = ["Held", "Seen", "held", "needed", "require_room", "set_aside"]

Place = tuple[str, str]
"""(VIM, host)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What operations under way have still to create."""

    demands: Mapping[Place, Sequence[Demand]] = field(default_factory=dict)
    operations: frozenset[str] = frozenset()
    """Their ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The room that a plan was made with."""

    time_s: float
    """Before anything was looked at, seconds since the epoch."""
    hosts: Mapping[Place, Candidate]
    policy: PlacementPolicy
    counted: frozenset[str] = frozenset()
    """Operations whose claims are taken off already."""


def needed(steps: Iterable[Step]) -> dict[Place, list[Demand]]:
    """What these steps take of each host when they are done."""
    found: dict[Place, list[Demand]] = {}
    for step in steps:
        if step.verb is not Verb.ENSURE or step.change != "create" or step.spec is None:
            continue
        demand = Demand(key=step.key, vcpus=0, memory_bytes=0)
        if step.kind == ResourceKind.NODE:
            cpu = step.spec["cpu"]
            demand = replace(
                demand,
                vcpus=step.spec["vcpus"],
                memory_bytes=step.spec["memory_bytes"],
                hugepage_bytes=cpu["hugepage_bytes"],
                needs=(VimCapability.CPU_PINNING,) if cpu["dedicated"] else (),
            )
        elif step.kind == ResourceKind.VOLUME:
            demand = replace(demand, storage_bytes=step.spec["size_bytes"])
        else:
            continue
        found.setdefault((step.endpoint.partition(":")[2], step.host), []).append(demand)
    return found


def held(tx: Connection, *, but_ns: str) -> Held:
    """What the operations of other services have still to create."""
    from manor.store import operations

    demands: dict[Place, list[Demand]] = {}
    ids = set()
    for operation, steps in operations.unfinished(tx):
        if operation.ns_id == but_ns:
            continue
        ids.add(operation.id)
        for place, wanted in needed(steps).items():
            demands.setdefault(place, []).extend(wanted)
    return Held(demands=demands, operations=frozenset(ids))


def set_aside(candidates: Iterable[Candidate], demands: Mapping[Place, Sequence[Demand]]) -> tuple[Candidate, ...]:
    """The hosts with what is left of them."""
    return tuple(
        replace(one, host=reduce(with_on, demands.get((one.vim, one.host.name), ()), one.host)) for one in candidates
    )


def require_room(tx: Connection, plan: Plan, seen: Seen) -> None:
    """Raise PlanRefused where what was accepted since leaves too little; nobody else is accepted meanwhile."""
    from manor.store import operations

    mine = needed(plan.steps)
    if not mine:
        return
    taken: dict[Place, list[Demand]] = {}
    by: dict[Place, str] = {}
    for operation, steps in operations.accepted_since(tx, seen.time_s, but_ns=plan.service_id):
        if operation.id in seen.counted:
            continue
        for place, demands in needed(steps).items():
            taken.setdefault(place, []).extend(demands)
            by[place] = f"{operation.operation} {operation.id} of {operation.ns_name}"
    for place in mine.keys() & taken.keys() & seen.hosts.keys():
        again = seen.policy.place(mine[place], (), set_aside([seen.hosts[place]], taken), {})
        for why in again.refused.values():
            raise PlanRefused(
                f"{why}: {by[place]} was accepted since the plan was made",
                hint=f"plan again: manor ns plan {plan.service_name}",
            )
