"""What an operation that did not complete may have left behind, beside what the service should have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from manor.api import Observed, Phase, Plan, Step, Undo, Verb
from manor.lcm.away import leave
from manor.lcm.order import in_turn
from manor.lcm.turns import above
from manor.model.desired import DesiredState
from manor.model.instance import NsLcmOpOcc, OperationState

__all__ = [
    "for_good",
    "gone_for",
    "left_behind",
    "left_over",
    "merged",
    "second_ones",
    "still_left",
    "told_of",
    "where_left",
    "with_these",
    "without_absent",
]


def left_behind(tx: Any, last: NsLcmOpOcc | None) -> DesiredState | None:
    """What a service's last operation meant to make, where it did not complete: it may have left some of it."""
    from manor.model.desired import desired_from_json
    from manor.store import operations

    if last is None or last.state is OperationState.COMPLETED:
        return None
    wanted = operations.target(tx, last.id).get("desired")
    return desired_from_json(wanted) if wanted else None


def where_left(tx: Any, last: NsLcmOpOcc | None) -> frozenset[str]:
    """Endpoints that the last operation was at, where it did not complete: a service that has nothing any more may have
    something there still."""
    from manor.store import operations

    if last is None or last.state is OperationState.COMPLETED:
        return frozenset()
    steps = (row.step for row in operations.steps(tx, last.id))
    return frozenset(step.endpoint for step in steps if step.verb in (Verb.ENSURE, Verb.REMOVE))


def still_left(tx: Any, last: NsLcmOpOcc | None, stored: DesiredState | None) -> tuple[Step, ...]:
    """What the last operation told as orphans, to be told again by the next one for as long as nobody can go for it;
    never what the service has, which may have been made elsewhere under the same key."""
    from manor.store import operations

    if last is None or not last.orphans:
        return ()
    own = {(r.endpoint, r.spec.key, getattr(r.spec, "host", "")) for r in (stored.resources if stored else ())}
    steps = (row.step for row in operations.steps(tx, last.id) if row.step.key in last.orphans)
    left = {(s.endpoint, s.key, s.host): s for s in steps if s.verb in (Verb.ENSURE, Verb.REMOVE)}
    return tuple(leave(s.kind, s.key, s.endpoint, s.host) for place, s in left.items() if place not in own)


def gone_for(told: Iterable[Step], twice: Iterable[tuple[str, Observed]]) -> list[Step]:
    """Removals of what the last operation left (``told``) on hosts that answer again, and what has been made elsewhere
    since under the same key (``twice``, each with its endpoint)."""
    left = {(step.key, step.endpoint, step.host) for step in told}
    return [
        Step(
            id=f"remove {one.ref.kind} {one.ref.key} {one.ref.host}",
            verb=Verb.REMOVE,
            kind=one.ref.kind,
            key=one.ref.key,
            endpoint=endpoint,
            host=one.ref.host,
            summary=f"{one.ref.kind} that was left while its host did not answer",
            change="remove",
        )
        for endpoint, one in twice
        if (one.ref.key, endpoint, one.ref.host) in left
    ]


def second_ones(goes: Iterable[Step], twice: Iterable[tuple[str, Observed]]) -> tuple[tuple[str, Observed], ...]:
    """Those ``twice``, each with its endpoint, that do not go. Nobody knows how they came to be, and who registers one
    host under two names sees everything twice: an operator has to look first."""
    known = {(step.key, step.endpoint, step.host) for step in goes}
    return tuple(pair for pair in twice if (pair[1].ref.key, pair[0], pair[1].ref.host) not in known)


def told_of(second: tuple[str, Observed], observed: Mapping[str, Observed]) -> str:
    """For people, what is there a second time, given with its endpoint; or alone, the first not being ``observed``."""
    endpoint, one = second
    where = f"{endpoint.partition(':')[2]}/{one.ref.host}".rstrip("/")
    what = f"{one.ref.kind} {one.ref.key.partition('/')[2]}"
    if one.ref.key in observed:
        return f"{what} is there a second time, at {where}; to be rid of it: manor vim orphans --remove"
    return f"{what} is at {where}, and not seen where it should be: look which is the right one before you remove any"


def with_these(plan: Plan, goes: Sequence[Step]) -> Plan:
    """The plan with these removals too: before them goes what may stand on it there, and after them comes all that is
    about what has the same key."""

    def behind(step: Step) -> Step:
        if step.verb is not Verb.REMOVE:
            about = {step.key, *(step.spec or {}).get("nodes", ())}
            waits = [one.id for one in goes if one.key in about]
        else:
            waits = [one.id for one in goes if one.kind in above(step.kind) and one.host == step.host]
        return dataclasses.replace(step, depends_on=tuple(dict.fromkeys((*step.depends_on, *waits))))

    if not goes:
        return plan
    return dataclasses.replace(plan, steps=in_turn({step.id: behind(step) for step in (*goes, *plan.steps)}, {}))


def left_over(
    target: DesiredState | None, stored: DesiredState | None, observed: Mapping[str, Observed]
) -> frozenset[str]:
    """Keys of what the service is to have, has not had until now, and yet is there."""
    kept = {resource.spec.key for resource in stored.resources} if stored else set()
    return frozenset(r.spec.key for r in (target.resources if target else ()) if r.spec.key in observed) - kept


def merged(*states: DesiredState | None) -> DesiredState | None:
    """One state with everything that any of them has; the first that knows a key wins."""
    known = [state for state in states if state is not None]
    if not known:
        return None
    resources = {resource.spec.key: resource for state in reversed(known) for resource in state.resources}
    return dataclasses.replace(known[0], resources=tuple(resources.values()))


def for_good(plan: Plan, stored: DesiredState | None) -> Plan:
    """The plan, in which what the service was never to have is removed for good: no rollback brings it back."""
    kept = {resource.spec.key for resource in stored.resources} if stored else set()
    return dataclasses.replace(
        plan,
        steps=tuple(
            dataclasses.replace(step, undo=Undo.NONE, before=None)
            if step.verb is Verb.REMOVE and step.key not in kept
            else step
            for step in plan.steps
        ),
    )


def without_absent(
    state: DesiredState | None, stored: DesiredState | None, observed: Mapping[str, Observed]
) -> DesiredState | None:
    """Without what only an operation that did not complete knows of, and what it took back itself."""
    if state is None:
        return None
    kept = {resource.spec.key for resource in stored.resources} if stored else set()
    there = {key for key, seen in observed.items() if seen.phase is not Phase.UNKNOWN}
    return dataclasses.replace(
        state, resources=tuple(r for r in state.resources if r.spec.key in kept or r.spec.key in there)
    )
