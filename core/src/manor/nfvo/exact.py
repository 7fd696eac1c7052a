"""The exact placement: every rule as a constraint, and the fullest host left as empty as can be (CP-SAT of OR-tools).

For what the quick policy finds no place for, or places unevenly: it decides one machine at a time and never takes one
back. Deterministic: one worker, a fixed seed, and a limit counted in work, not in seconds.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from manor.api.placement import Demand, PlacementRule
from manor.nfvo.hosts import MILLI, Board, Room, huge_bytes, is_dedicated, ordinary_bytes, scopes

__all__ = ["emptiest_possible", "is_available", "solve"]

_MIB = 1 << 20
_EFFORT = 2.0
"""Of the solver's own deterministic time, about as many seconds."""


def is_available() -> bool:
    """Whether the solver is installed; it is not loaded for this."""
    return find_spec("ortools") is not None


def emptiest_possible(demands: Sequence[Demand], rooms: Sequence[Room]) -> float:
    """The most memory that can stay free on the fullest host in use, by whatever placement: a bound, in bytes.

    As if memory were poured over the emptiest hosts; and the largest machine has to stand somewhere.
    """
    total = sum(map(ordinary_bytes, demands))
    free = sorted((room.memory_bytes for room in rooms if room.candidate.host.reachable), reverse=True)
    if not free or not total:
        return float(free[0]) if free else 0.0
    level, poured = float(free[0]), 0.0
    for number, below in enumerate([*free[1:], 0], start=1):
        if poured + (level - below) * number >= total:
            level -= (total - poured) / number
            break
        poured += (level - below) * number
        level = float(below)
    return min(level, free[0] - max(map(ordinary_bytes, demands)))


def solve(
    demands: Sequence[Demand],
    rules: Sequence[PlacementRule],
    rooms: Sequence[Room],
    fixed: Mapping[str, tuple[str, str]],
    everyone: Sequence[Demand],
) -> Mapping[str, tuple[str, str]] | None:
    """A place for each of ``demands``, or None where there is none or none was found with reasonable effort.

    ``everyone`` adds those that stand already (``fixed``), whose links and rules bind the others.
    """
    from ortools.sat.python import cp_model

    alone = Board.of(rooms, (), everyone, {})
    model = cp_model.CpModel()
    at: dict[tuple[str, int], Any] = {}
    for demand in demands:
        fitting = [n for n, room in enumerate(rooms) if not any(alone.objections(demand, room))]
        if not fitting:
            return None
        for n in fitting:
            at[demand.key, n] = model.new_bool_var("")
        model.add_exactly_one(at[demand.key, n] for n in fitting)
    stands = {key: n for key, place in fixed.items() for n, room in enumerate(rooms) if room.place == place}
    _room(model, demands, rooms, at)
    _rules(model, rules, rooms, at, stands)
    _ways(model, everyone, rooms, at, stands)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = _EFFORT
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return {key: rooms[n].place for (key, n), chosen in at.items() if solver.boolean_value(chosen)}


def _room(model: Any, demands: Sequence[Demand], rooms: Sequence[Room], at: Mapping[tuple[str, int], Any]) -> None:
    """What is promised fits, and the least memory left on a host in use is as much as can be."""
    here: dict[int, list[tuple[Demand, Any]]] = defaultdict(list)
    by_key = {demand.key: demand for demand in demands}
    for (key, n), chosen in at.items():
        here[n].append((by_key[key], chosen))
    most = max(room.memory_bytes for room in rooms) // _MIB
    left = model.new_int_var(0, max(most, 0), "")
    for n, wishes in here.items():
        room = rooms[n]
        # Rounded against us, so that what fits in MiB fits in bytes.
        used = sum(-(-ordinary_bytes(demand) // _MIB) * chosen for demand, chosen in wishes)
        free = room.memory_bytes // _MIB
        model.add(used <= free)
        cpus = sum(demand.vcpus * (room.whole if is_dedicated(demand) else MILLI) * chosen for demand, chosen in wishes)
        model.add(cpus <= room.cpus * room.whole - room.shared * MILLI)
        if any(demand.storage_bytes for demand, _ in wishes):
            stored = sum(-(-demand.storage_bytes // _MIB) * chosen for demand, chosen in wishes)
            model.add(stored <= room.storage_bytes // _MIB)
        pages = room.candidate.host.hugepages_free_bytes
        for size in {demand.hugepage_bytes for demand, _ in wishes} - {0}:
            of_size = ((demand, chosen) for demand, chosen in wishes if demand.hugepage_bytes == size)
            model.add(
                sum(huge_bytes(demand) // size * chosen for demand, chosen in of_size) <= pages.get(size, 0) // size
            )
        in_use = model.new_bool_var("")
        for _, chosen in wishes:
            model.add_implication(chosen, in_use)
        model.add(left <= free - used).only_enforce_if(in_use)
    model.maximize(left)


def _rules(
    model: Any,
    rules: Sequence[PlacementRule],
    rooms: Sequence[Room],
    at: Mapping[tuple[str, int], Any],
    stands: Mapping[str, int],
) -> None:
    where = [scopes(room.candidate) for room in rooms]
    for rule in rules:
        groups: dict[Hashable, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for key, n in [*at, *stands.items()]:
            if key in rule.keys:
                # One that stands is there for sure.
                groups[where[n][rule.scope]][key].append(1 if stands.get(key) == n else at[key, n])
        movable = [key for key in rule.keys if any(key in members for members in groups.values())]
        for members in groups.values():
            if rule.anti:
                standing = sum(key in stands for key in members)  # what stands against the rule binds nobody else
                model.add(sum(sum(choices) for choices in members.values()) <= max(1, standing))
            else:
                for one, other in itertools.pairwise(movable):
                    model.add(sum(members.get(one, [0])) == sum(members.get(other, [0])))


def _ways(
    model: Any,
    everyone: Sequence[Demand],
    rooms: Sequence[Room],
    at: Mapping[tuple[str, int], Any],
    stands: Mapping[str, int],
) -> None:
    """A link reaches two sites only where the way between them is known, quick and wide enough."""
    sites: dict[str, list[int]] = defaultdict(list)
    for n, room in enumerate(rooms):
        sites[room.candidate.pop].append(n)
    if len(sites) < 2:
        return
    needs = {need.name: need for demand in everyone for need in demand.links}
    spent: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for name, need in needs.items():
        keys = [demand.key for demand in everyone if any(one.name == name for one in demand.links)]
        reaches: dict[str, Any] = {}
        for site, numbers in sites.items():
            reaches[site] = model.new_bool_var("")
            for key in keys:
                for n in numbers:
                    if stands.get(key) == n:
                        model.add(reaches[site] == 1)
                    elif (key, n) in at:
                        model.add_implication(at[key, n], reaches[site])
        for one, other in itertools.combinations(sorted(sites), 2):
            way = rooms[sites[one][0]].candidate.site_links.get(other)
            if way is None or (need.latency_s and way.latency_s > need.latency_s):
                model.add(reaches[one] + reaches[other] <= 1)
            elif need.bitrate_bps:
                both = model.new_bool_var("")
                model.add(both >= reaches[one] + reaches[other] - 1)
                spent[one, other].append(need.bitrate_bps * both)
    for (one, other), uses in spent.items():
        model.add(sum(uses) <= rooms[sites[one][0]].candidate.site_links[other].bandwidth_bps)
