"""Room that is promised but not taken yet: what keeps two services from planning for the same last place.

A plan is made beside others: first what operations under way have still to create is set aside, and what is left when
the plan is accepted is asked again, in the transaction that accepts it. So of two that want the last place one has it,
and the other is told before anything is done. There it is counted, and no placement policy asked: nobody else is
accepted meanwhile, and a stranger's code may take its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from manor.api import (
    Candidate,
    Demand,
    Finding,
    Host,
    ResourceKind,
    Severity,
    SiteLink,
    Step,
    Verb,
    VimCapability,
)
from manor.errors import PlanRefused
from manor.lcm.sites import spent
from manor.nfvo.hosts import because, is_dedicated, lacking, short, with_on

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from manor.api import Plan

__all__ = ["Held", "Seen", "held", "needed", "refuse_lost_host", "refuse_outgrown", "require_room", "set_aside"]

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
    cpu_overcommit: float | None = None
    """Virtual CPUs per physical one, as the placement policy has it; None where it does not say."""
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Capabilities that machines want, by key."""
    counted: frozenset[str] = frozenset()
    """Operations whose claims are taken off already."""
    ways: Mapping[tuple[str, str], SiteLink] = field(default_factory=dict)
    """Between sites, whole."""
    spent: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """bit/s of them that others held."""


def needed(steps: Sequence[Step]) -> dict[Place, list[Demand]]:
    """What these steps take of each host when they are done: all of what they create, of what they change the rest."""
    found: dict[Place, list[Demand]] = {}
    for place, new, old in _taking(steps):
        found.setdefault(place, []).append(_rest(new, old))
    return found


def _kept(steps: Sequence[Step]) -> dict[Place, list[Demand]]:
    """What others leave of each host until these steps are done, beside what is taken there already.

    Of a machine that changes its CPUs from shared to dedicated ones or back that is the greater, the dedicated ones:
    while it has them, and before it has them, it needs no others, and comes back to what it had within them.
    """
    found: dict[Place, list[Demand]] = {}
    for place, new, old in _taking(steps):
        rest = _rest(new, old)
        if old is not None and is_dedicated(old) and not is_dedicated(new):
            rest = replace(rest, vcpus=max(0, new.vcpus - old.vcpus))
        found.setdefault(place, []).append(rest)
        if old is not None and is_dedicated(new) and not is_dedicated(old):
            found[place].append(_given_back(old))
    return found


def _given_back(old: Demand) -> Demand:
    """CPUs that a machine has, as something to put on its host that takes less than nothing."""
    return Demand(key=old.key, vcpus=-old.vcpus, memory_bytes=0, needs=old.needs)


def _returned(steps: Sequence[Step]) -> dict[str, Demand]:
    """CPUs that a machine gives back before it takes others, shared for dedicated ones or these for those, by key."""
    return {
        new.key: _given_back(old)
        for _, new, old in _taking(steps)
        if old is not None and is_dedicated(old) != is_dedicated(new)
    }


def _taking(steps: Sequence[Step]) -> Iterator[tuple[Place, Demand, Demand | None]]:
    """What is put where, and what it takes there already."""
    before = {
        (step.endpoint, step.host, step.key): step.before
        for step in steps
        if step.before is not None and step.verb in (Verb.REMOVE, Verb.ENSURE)
    }
    for step in steps:
        if step.verb is not Verb.ENSURE or step.change not in _TAKES or step.spec is None:
            continue
        old = before.get((step.endpoint, step.host, step.key))
        demand = _demand(step.spec)
        if demand is None or (step.change == "update" and old is None):
            continue
        place = step.endpoint.partition(":")[2], step.host
        yield place, demand, _demand(old) if step.change != "create" and old is not None else None


_TAKES = ("create", "update", "replace")


def _demand(spec: Mapping[str, Any]) -> Demand | None:
    """What a resource takes of its host; None for one that takes nothing that is counted."""
    plain = Demand(key=spec["key"], vcpus=0, memory_bytes=0)
    if spec["kind"] == ResourceKind.NODE:
        return replace(
            plain,
            vcpus=spec["vcpus"],
            memory_bytes=spec["memory_bytes"],
            hugepage_bytes=spec["cpu"]["hugepage_bytes"],
            needs=(VimCapability.CPU_PINNING,) if spec["cpu"]["dedicated"] else (),
        )
    return replace(plain, storage_bytes=spec["size_bytes"]) if spec["kind"] == ResourceKind.VOLUME else None


def _rest(new: Demand, old: Demand | None) -> Demand:
    """What ``new`` takes beyond what ``old`` has."""
    if old is None:
        return new
    same_pages, same_cpus = new.hugepage_bytes == old.hugepage_bytes, is_dedicated(new) == is_dedicated(old)
    memory_bytes = max(0, new.memory_bytes - old.memory_bytes) if same_pages else new.memory_bytes
    return replace(
        new,
        vcpus=max(0, new.vcpus - old.vcpus) if same_cpus else new.vcpus,
        memory_bytes=memory_bytes,
        hugepage_bytes=new.hugepage_bytes if memory_bytes else 0,
        storage_bytes=max(0, new.storage_bytes - old.storage_bytes),
    )


def held(tx: Connection, *, but_ns: str) -> Held:
    """What the operations of other services have still to create."""
    from manor.store import operations

    demands: dict[Place, list[Demand]] = {}
    ids = set()
    for operation, steps in operations.unfinished(tx):
        if operation.ns_id == but_ns:
            continue
        ids.add(operation.id)
        for place, wanted in _kept(steps).items():
            demands.setdefault(place, []).extend(wanted)
    return Held(demands=demands, operations=frozenset(ids))


def set_aside(candidates: Iterable[Candidate], demands: Mapping[Place, Sequence[Demand]]) -> tuple[Candidate, ...]:
    """The hosts with what is left of them."""
    return tuple(
        replace(one, host=reduce(with_on, demands.get((one.vim, one.host.name), ()), one.host)) for one in candidates
    )


def refuse_outgrown(plan: Plan, seen: Seen) -> None:
    """Raise PlanRefused where a machine that is changed where it is finds no room there, or not what it needs now."""
    changed = {step.key: (step.endpoint.partition(":")[2], step.host) for step in plan.steps if step.change in _CHANGED}
    mine, returned = needed(plan.steps), _returned(plan.steps)
    tight: dict[str, str] = {}
    without: dict[str, str] = {}
    nowhere = False
    for place in mine.keys() & set(changed.values()) & seen.hosts.keys():
        changing = [one for one in mine[place] if one.key in changed]
        # What is new was given its room by the policy, with this host as it is: who outgrows that is who changes.
        (left,) = set_aside([seen.hosts[place]], {place: [one for one in mine[place] if one.key not in changed]})
        tight |= _refused(changing, returned, left, seen)
        for one in changing:
            wanted = replace(one, needs=seen.needs.get(one.key, ()))
            if whys := list(lacking(wanted, left)):
                without[one.key] = because({place: whys})
                nowhere = nowhere or all(any(lacking(wanted, host)) for host in seen.hosts.values())
    if without:
        hint = "no host has it: ask for less in the package (manor vim show NAME)" if nowhere else _ELSEWHERE
        _refuse(plan, without, "needs what cannot be had where it is", others="and so do", code="no-host", hint=hint)
    if tight:
        hint = f"free something there, or {_ELSEWHERE}"
        _refuse(plan, tight, "would not fit where it is any more", others="nor do", code="no-room", hint=hint)


def refuse_lost_host(plan: Plan, candidates: Iterable[Candidate]) -> None:
    """Raise PlanRefused where a host would not hold what a heal brings back on it even if it were empty.

    What is free there now is the VIM's to say: much of it may be the dead machine's own, and no heal waits for a sum.
    """
    whole = {(one.vim, one.host.name): replace(one, host=_emptied(one.host)) for one in candidates}
    lost: dict[str, str] = {}
    for step in plan.steps:
        place = step.endpoint.partition(":")[2], step.host
        demand = _demand(step.spec) if step.verb is Verb.ENSURE and step.change in _COMES_BACK and step.spec else None
        if demand is None or place not in whole or not whole[place].host.reachable:
            continue
        if whys := [*lacking(demand, whole[place]), *short(demand, whole[place], None)]:
            lost[step.key] = because({place: whys})
    if lost:
        hint = f"give the host back what it had, or {_ELSEWHERE}"
        _refuse(plan, lost, "cannot come back on its host", others="nor can", code="no-room", hint=hint)


_COMES_BACK = ("create", "repair", "replace", "update")
_UNTOLD = 1 << 60


def _emptied(host: Host) -> Host:
    """The host with nothing on it; what its driver does not tell the size of is without bound."""
    return replace(
        host,
        vcpus=host.vcpus or _UNTOLD,
        vcpus_used=0,
        vcpus_dedicated=0,
        memory_free_bytes=host.memory_bytes or _UNTOLD,
        storage_free_bytes=host.storage_bytes or _UNTOLD,
        hugepages_free_bytes=dict.fromkeys(host.hugepages_free_bytes, _UNTOLD),
    )


_ELSEWHERE = "move it to another host first: manor vnf move {} VIM/HOST"


def _refuse(plan: Plan, whys: Mapping[str, str], what: str, *, others: str, code: str, hint: str) -> None:
    names = [key.split("/", 2)[-1] for key in sorted(whys)]
    more = f", {others} {len(names) - 1} more" if len(names) > 1 else ""
    raise PlanRefused(
        f"{names[0]} of {plan.service_name} {what}{more}",
        findings=[
            Finding(severity=Severity.ERROR, code=code, message=f"{key.split('/', 2)[-1]}: {why}")
            for key, why in sorted(whys.items())
        ],
        hint=hint.format(f"{plan.service_name}/{names[0].partition('/')[0]}"),
    )


def _refused(
    wanted: Iterable[Demand], returned: Mapping[str, Demand], candidate: Candidate, seen: Seen
) -> dict[str, str]:
    """What finds too little room on a host, one after the other, and why."""
    refused = {}
    for demand in wanted:
        before = candidate
        if demand.key in returned:
            candidate = replace(candidate, host=with_on(candidate.host, returned[demand.key]))
        if whys := list(short(demand, candidate, seen.cpu_overcommit)):
            refused[demand.key] = because({(candidate.vim, candidate.host.name): whys})
            candidate = before
        else:
            candidate = replace(candidate, host=with_on(candidate.host, demand))
    return refused


_CHANGED = ("update", "replace")


def require_room(tx: Connection, plan: Plan, seen: Seen, spans: Mapping[str, int]) -> None:
    """Raise PlanRefused where what was accepted since leaves too little; nobody else is accepted meanwhile.

    ``spans`` are bit/s of the ways between sites that the service holds then, by ``<site> <site>``.
    """
    from manor.store import operations

    mine, returned = needed(plan.steps), _returned(plan.steps)
    if not mine and not spans:
        return
    taken: dict[Place, list[Demand]] = {}
    by: dict[Place, str] = {}
    for operation, steps in operations.accepted_since(tx, seen.time_s, but_ns=plan.service_id):
        if operation.id in seen.counted:
            continue
        for place, demands in _kept(steps).items():
            taken.setdefault(place, []).extend(demands)
            by[place] = f"{operation.operation} {operation.id} of {operation.ns_name}"
    hint = f"plan again: manor ns plan {plan.service_name}"
    for place in mine.keys() & taken.keys() & seen.hosts.keys():
        (left,) = set_aside([seen.hosts[place]], taken)
        for why in _refused(mine[place], returned, left, seen).values():
            raise PlanRefused(f"{why}: {by[place]} was accepted since the plan was made", hint=hint)
    others = spent(tx, but_ns=plan.service_id) if spans else {}
    for way, bps in spans.items():
        one, _, two = way.partition(" ")
        held = others.get((one, two), 0)
        free = seen.ways[one, two].bandwidth_bps - held if (one, two) in seen.ways else bps
        if bps > free and held > seen.spent.get((one, two), 0):
            raise PlanRefused(
                f"{bps / 1e6:g} Mbit/s wanted from {one} to {two}, {max(0, free) / 1e6:g} left: "
                "another service was given some since the plan was made",
                hint=hint,
            )
