"""What a placement policy answers, weighed before anything is made of it.

A policy may be a stranger's: it may forget a machine, invent a host, or pass over a rule that the descriptor gave.
What :mod:`manor.nfvo.hosts` has against a host when it is chosen, it has against one that was chosen too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from manor.api.placement import Candidate, Demand, Placement, PlacementRule
from manor.nfvo.hosts import Board, Room

__all__ = ["unsound"]


def unsound(
    answer: Any,
    demands: Sequence[Demand],
    rules: Sequence[PlacementRule],
    candidates: Sequence[Candidate],
    fixed: Mapping[str, tuple[str, str]],
    *,
    cpu_overcommit: float | None = None,
) -> str:
    """What is wrong with the answer, naming the machine; empty where nothing is.

    CPUs that are shared are weighed where ``cpu_overcommit`` says how many virtual ones share one.
    """
    said = (answer.hosts, answer.reasons, answer.refused) if isinstance(answer, Placement) else (None,)
    if not all(isinstance(one, Mapping) for one in said):
        return "it answered with something else than a Placement"
    rooms = [Room(candidate=one, overcommit=cpu_overcommit or math.inf) for one in candidates]
    board = Board.of(rooms, rules, demands, fixed)
    for demand in demands:
        key, machine = demand.key, demand.key.split("/", 2)[-1]
        place = answer.hosts.get(key)
        if place is None and key in answer.refused:
            continue
        if place is None:
            return f"{machine} is neither placed nor refused"
        if not (isinstance(place, tuple) and len(place) == 2 and all(isinstance(name, str) for name in place)):
            return f"{machine} is placed on {place!r:.100}, which is no VIM and host"
        where = "/".join(place)
        if key in fixed:
            if place != fixed[key]:
                return f"{machine} is placed on {where}, and it is on {'/'.join(fixed[key])} and stays"
        elif place not in board.rooms:
            return f"{machine} is placed on {where}, and there is no such host"
        elif objection := next(board.objections(demand, board.rooms[place]), None):
            return f"{machine} is placed on {where}: {objection.why}"
        else:
            board.put(demand, board.rooms[place])
    return ""
