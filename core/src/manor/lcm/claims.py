"""Room that is promised but not taken yet: what keeps two services from planning for the same last place.

A plan is made beside others: first what operations under way have still to create is set aside, and what is left when
the plan is accepted is asked again, in the transaction that accepts it. So of two that want the last place one has it,
and the other is told before anything is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from manor.api import Candidate, ResourceKind, Step, Verb
from manor.errors import PlanRefused

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from manor.api import Plan

__all__ = ["Amount", "Held", "Seen", "held", "needed", "require_room", "set_aside"]

Place = tuple[str, str]
"""(VIM, host)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """Room on one host."""

    vcpus: int = 0
    vcpus_dedicated: int = 0
    """Of these, so many that have a physical CPU each."""
    memory_bytes: int = 0
    storage_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            vcpus=self.vcpus + other.vcpus,
            vcpus_dedicated=self.vcpus_dedicated + other.vcpus_dedicated,
            memory_bytes=self.memory_bytes + other.memory_bytes,
            storage_bytes=self.storage_bytes + other.storage_bytes,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What operations under way have still to create."""

    amounts: Mapping[Place, Amount] = field(default_factory=dict)
    operations: frozenset[str] = frozenset()
    """Their ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The room that a plan was made with."""

    time_s: float
    """Before anything was looked at, seconds since the epoch."""
    free: Mapping[Place, Amount]
    counted: frozenset[str] = frozenset()
    """Operations whose claims are taken off already."""


def needed(steps: Iterable[Step]) -> dict[Place, Amount]:
    """What these steps take of each host when they are done."""
    found: dict[Place, Amount] = {}
    for step in steps:
        if step.verb is not Verb.ENSURE or step.change != "create" or step.spec is None:
            continue
        if step.kind == ResourceKind.NODE:
            vcpus, dedicated = step.spec["vcpus"], step.spec["cpu"]["dedicated"]
            amount = Amount(
                vcpus=vcpus, vcpus_dedicated=vcpus if dedicated else 0, memory_bytes=step.spec["memory_bytes"]
            )
        elif step.kind == ResourceKind.VOLUME:
            amount = Amount(storage_bytes=step.spec["size_bytes"])
        else:
            continue
        place = step.endpoint.partition(":")[2], step.host
        found[place] = found.get(place, Amount()) + amount
    return found


def held(tx: Connection, *, but_ns: str) -> Held:
    """What the operations of other services have still to create."""
    from manor.store import operations

    amounts: dict[Place, Amount] = {}
    ids = set()
    for operation, steps in operations.unfinished(tx):
        if operation.ns_id == but_ns:
            continue
        ids.add(operation.id)
        for place, amount in needed(steps).items():
            amounts[place] = amounts.get(place, Amount()) + amount
    return Held(amounts=amounts, operations=frozenset(ids))


def set_aside(candidates: Iterable[Candidate], held: Held) -> tuple[Candidate, ...]:
    """The hosts with what is left of them."""

    def left(candidate: Candidate) -> Candidate:
        taken = held.amounts.get((candidate.vim, candidate.host.name))
        if taken is None:
            return candidate
        host = candidate.host
        return replace(
            candidate,
            host=replace(
                host,
                vcpus_used=host.vcpus_used + taken.vcpus,
                vcpus_dedicated=host.vcpus_dedicated + taken.vcpus_dedicated,
                memory_free_bytes=host.memory_free_bytes - taken.memory_bytes,
                storage_free_bytes=host.storage_free_bytes - taken.storage_bytes,
            ),
        )

    return tuple(left(candidate) for candidate in candidates)


def require_room(tx: Connection, plan: Plan, seen: Seen) -> None:
    """Raise PlanRefused where what was accepted since leaves too little; nobody else is accepted meanwhile."""
    from manor.store import operations

    mine = needed(plan.steps)
    if not mine:
        return
    taken: dict[Place, Amount] = {}
    by: dict[Place, str] = {}
    for operation, steps in operations.accepted_since(tx, seen.time_s, but_ns=plan.service_id):
        if operation.id in seen.counted:
            continue
        for place, amount in needed(steps).items():
            taken[place] = taken.get(place, Amount()) + amount
            by[place] = f"{operation.operation} {operation.id} of {operation.ns_name}"
    for place, amount in mine.items():
        if place not in taken or place not in seen.free:
            continue
        for what in ("memory_bytes", "storage_bytes"):
            left = getattr(seen.free[place], what) - getattr(taken[place], what)
            if getattr(amount, what) > left:
                raise PlanRefused(
                    f"{'/'.join(place)}: {getattr(amount, what) >> 20} MiB of {what.partition('_')[0]} wanted, "
                    f"{max(left, 0) >> 20} left: {by[place]} was accepted since the plan was made",
                    hint=f"plan again: manor ns plan {plan.service_name}",
                )
