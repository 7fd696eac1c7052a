"""Desired against observed → plan. Pure: no I/O, no clock, equal input gives an equal plan.

What is absent is made, what has another spec is changed in place or replaced, what is broken is ensured again, what
only the previous desired state has is removed in the reverse order of its dependencies. Shared resources (images) are
ensured and never removed. What an operation that did not complete left behind, and is wanted now, is adopted: it is the
plan's to take back. Proofs run again when something they depend on is touched, what configures when a machine of it is
changed, and both always on instantiate.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from manor.api.plan import OperationKind, Plan, Step, Undo, Verb
from manor.api.resources import (
    Observed,
    ResourceKind,
    ResourceSpec,
    VolumeSpec,
)
from manor.api.specs import spec_hash, spec_to_json
from manor.lcm import turns, vanished
from manor.lcm.draft import Draft
from manor.lcm.drifting import is_elsewhere, is_lost, is_well
from manor.lcm.mending import mended_in_turn
from manor.lcm.order import in_order, in_turn
from manor.lcm.rollout import Rollout
from manor.model.desired import DesiredCheck, DesiredResource, DesiredState

__all__ = ["DEADLINES_S", "changed_fields", "diff"]

DEADLINES_S: Mapping[str, float] = {
    ResourceKind.IMAGE: 900.0,
    ResourceKind.VOLUME: 300.0,
    ResourceKind.SNAPSHOT: 900.0,
    ResourceKind.NODE: 180.0,
    "configure": 300.0,
    "verify": 300.0,
}
"""Seconds that a step may take, by kind for ensure and remove; 120 for all else."""


class _Change(StrEnum):
    CREATE = "create"
    ADOPT = "adopt"
    UPDATE = "update"
    REPLACE = "replace"
    REPAIR = "repair"
    REMOVE = "remove"
    CHECK = "check"


def diff(
    desired: DesiredState,
    observed: Mapping[str, Observed],
    previous: DesiredState | None,
    operation: OperationKind,
    *,
    replace_on: Mapping[str, frozenset[str]] | None = None,
    found_at: Mapping[str, str] | None = None,
    recreate: frozenset[str] = frozenset(),
    left_over: frozenset[str] = frozenset(),
    patience_s: float | None = None,
    rollout: Rollout | None = None,
) -> Plan:
    """The plan that leads from ``observed`` (by key) to ``desired``.

    ``replace_on`` are the spec fields (``node.firmware``), by endpoint, that cannot change in place. ``found_at`` gives
    the endpoint, by key, of observed resources of this service that neither state names: leftovers, to be removed.
    ``recreate`` are keys to replace although they are as specified, where they are there. ``left_over`` are keys that
    are there and that the service was not to have until now. ``patience_s`` is how long a node that is turned off is
    asked to shut down. ``rollout`` is how an update goes from machine to machine. Raises PlanRefused where dependencies
    form a circle.
    """
    draft = Draft.of(desired, previous, observed)
    differ = _Differ(
        draft=draft,
        operation=operation,
        replace_on=replace_on or {},
        found_at=found_at or {},
        recreate=recreate,
        left_over=left_over,
        vanished=vanished.disks(draft),
    )
    differ.fill(in_order(desired))
    turns.stopped_after(draft)
    turns.ports_let_go(draft)
    turns.in_start_order(draft)
    drained: frozenset[tuple[str, str]] = frozenset()
    if operation is OperationKind.UPDATE:
        drained = turns.one_by_one(draft, rollout, differ.changes)
        turns.beside(draft, rollout)
    if operation in (OperationKind.HEAL, OperationKind.REPAIR):
        drained = mended_in_turn(draft)
    turns.drained_first(draft, patience_s)
    turns.disks_last(draft)
    vanished.disks_first(draft, differ.vanished)
    return Plan(
        operation=operation,
        service_id=desired.service_id,
        service_name=desired.service_name,
        steps=tuple(turns.patient(step, patience_s) for step in in_turn(draft.steps, draft.soft)),
        unchanged=tuple(key for key in draft.wanted if key not in differ.changes),
        notes=(
            *desired.notes,
            *turns.standstills(draft, drained),
            *vanished.notes(draft, differ.vanished),
        ),
        placement=desired.placement,
    )


def changed_fields(before: ResourceSpec, after: ResourceSpec) -> frozenset[str]:
    """Names of the fields that differ, as ``node.memory_bytes``."""
    return frozenset(
        f"{after.kind}.{field.name}"
        for field in dataclasses.fields(after)
        if getattr(before, field.name) != getattr(after, field.name)
    )


@dataclass(kw_only=True, slots=True)
class _Differ:
    """What becomes of each resource, and the steps for it."""

    draft: Draft
    operation: OperationKind
    replace_on: Mapping[str, frozenset[str]]
    found_at: Mapping[str, str]
    recreate: frozenset[str]
    left_over: frozenset[str]
    vanished: frozenset[str]
    changes: Mapping[str, _Change] = field(init=False)

    def __post_init__(self) -> None:
        self.changes = self._classify()

    def fill(self, items: Iterable[DesiredResource | DesiredCheck]) -> None:
        """Make the steps; ``items`` are in the order of their dependencies."""
        self._add_removals()
        for item in items:
            if isinstance(item, DesiredResource):
                self._add_resource(item)
            else:
                self._add_check(item)
        self._order_removals()

    def _classify(self) -> dict[str, _Change]:
        changes: dict[str, _Change] = {}
        for key, resource in self.draft.wanted.items():
            change = self._change_of(resource)
            above = [
                self.draft.wanted[name].spec.kind
                for name in resource.depends_on
                if changes.get(name) is _Change.REPLACE
            ]
            # A machine cannot keep running while its disk or network is taken from under it, or has vanished.
            bereft = ResourceKind.VOLUME in above or ResourceKind.NETWORK in above
            bereft = bereft or not self.vanished.isdisjoint(resource.depends_on)
            if bereft and resource.spec.kind is ResourceKind.NODE and key in self.draft.observed:
                change = _Change.REPLACE
            if change is not None:
                changes[key] = change
        return changes

    def _change_of(self, resource: DesiredResource) -> _Change | None:
        spec, seen = resource.spec, self.draft.observed.get(resource.spec.key)
        if spec.key in self.draft.before and not self._is_left_over(resource) and is_lost(spec, seen):
            return None
        if seen is None:
            return _Change.REPLACE if spec.key in self.vanished and self._is_otherwise(spec) else _Change.CREATE
        if spec.key in self.recreate and not resource.shared:
            return _Change.REPLACE
        as_it_is = _Change.ADOPT if self._is_left_over(resource) else None
        if is_well(resource, seen):
            return as_it_is
        if is_elsewhere(spec, seen):
            return _Change.REPLACE
        if seen.spec_hash == spec_hash(spec):
            return _Change.REPAIR
        old = self.draft.before.get(spec.key)
        fixed = self.replace_on.get(resource.endpoint, frozenset())
        return _Change.REPLACE if old and changed_fields(old.spec, spec) & fixed else _Change.UPDATE

    def _is_left_over(self, resource: DesiredResource) -> bool:
        return resource.spec.key in self.left_over and not resource.shared

    def _is_otherwise(self, spec: ResourceSpec) -> bool:
        """Whether it was there, of another spec than it is to be."""
        old = self.draft.before.get(spec.key)
        return old is not None and old.spec != spec

    # removals

    def _add_removals(self) -> None:
        for key, resource in reversed(self.draft.before.items()):
            if (key not in self.draft.wanted and not resource.shared) or self.changes.get(key) is _Change.REPLACE:
                self._remove(key, resource.spec.kind, resource.endpoint, self._host_of(key, resource.spec), resource)
        for key, seen in sorted(self.draft.observed.items()):
            replaced = self.changes.get(key) is _Change.REPLACE and key not in self.draft.removed
            if replaced or (key in self.found_at and key not in self.draft.wanted and key not in self.draft.before):
                endpoint = self.draft.wanted[key].endpoint if replaced else self.found_at[key]
                self._remove(key, seen.ref.kind, endpoint, seen.ref.host, None)

    def _host_of(self, key: str, spec: ResourceSpec) -> str:
        seen = self.draft.observed.get(key)
        return (seen.ref.host if seen else "") or getattr(spec, "host", "")

    def _remove(self, key: str, kind: str, endpoint: str, host: str, old: DesiredResource | None) -> None:
        is_there, has_vanished = key in self.draft.observed, key in self.vanished
        # What replaces a disk that came from an image comes from it too; all other content is gone with the disk.
        new = self.draft.wanted[key].spec if key in self.draft.wanted else None
        is_remade = isinstance(new, VolumeSpec) and bool(new.image) and not new.snapshot
        has_data = kind in (ResourceKind.VOLUME, ResourceKind.SNAPSHOT) and not has_vanished and not is_remade
        undo = Undo.NONE
        if old and (is_there or has_vanished):
            undo = Undo.IMPOSSIBLE if has_data else Undo.RESTORE
        gone, loss = "" if is_there else " (already gone)", ", with its data" if undo is Undo.IMPOSSIBLE else ""
        self.draft.removed[key] = step_id = f"remove {kind} {key}"
        self.draft.steps[step_id] = Step(
            id=step_id,
            verb=Verb.REMOVE,
            kind=kind,
            key=key,
            endpoint=endpoint,
            host=host,
            summary=f"remove {kind}{_because(old.why if old else 'left over')}{gone}{loss}",
            change=self.changes.get(key, _Change.REMOVE),
            before=spec_to_json(old.spec) if old else None,
            undo=undo,
            deadline_s=DEADLINES_S.get(kind, 120.0),
        )

    def _order_removals(self) -> None:
        """A resource goes after all that used it went, or stopped using it.

        Who only starts after it is proven goes before it where it goes for good, and not where it comes back.
        """
        uses = [(key, resource.depends_on) for key, resource in self.draft.before.items()]
        starts = [(key, check.depends_on) for key, check in self.draft.checks_before.items()]
        users, all_users = _users(uses), _users([*uses, *starts])
        for key, step_id in self.draft.removed.items():
            if key in self.draft.wanted:
                self.draft.wait(step_id, self._freed_by(key, users, {key})[0])
                continue
            hard, soft = self._freed_by(key, all_users, {key})
            self.draft.wait(step_id, hard)
            self.draft.wait_softly(step_id, soft)
        turns.found_in_order(self.draft)

    def _freed_by(self, key: str, users: Mapping[str, list[str]], seen: set[str]) -> tuple[list[str], list[str]]:
        hard: list[str] = []
        soft: list[str] = []
        for user in users.get(key, ()):
            if user in seen:
                continue
            seen.add(user)
            if user in self.draft.removed:
                hard.append(self.draft.removed[user])
            else:
                if user in self.draft.wanted:
                    soft.extend(self.draft.ensured.get(user, ())[:1])
                more_hard, more_soft = self._freed_by(user, users, seen)
                hard.extend(more_hard)
                soft.extend(more_soft)
        return hard, soft

    # what is made

    def _after(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Ids of the steps to wait for; a key that no step touches stands for what it depends on."""
        found: dict[str, None] = {}
        for key in keys:
            if key in self.draft.ensured:
                found[self.draft.ensured[key][-1]] = None
            elif key in self.draft.wanted:
                found.update(dict.fromkeys(self._after(self.draft.wanted[key].depends_on)))
        return tuple(found)

    def _add_resource(self, resource: DesiredResource) -> None:
        spec, key = resource.spec, resource.spec.key
        waits = self._after(resource.depends_on)
        change = self.changes.get(key)
        ids: list[str] = []
        if change is not None:
            ids.append(self._ensure(resource, change, waits))
        if resource.verify and (ids or waits or self.operation is OperationKind.INSTANTIATE):
            ids.append(f"verify {spec.kind} {key}")
            why = f"prove that the {spec.kind} is at work{_because(resource.why)}"
            self._verify_resource(ids[-1], resource, why, (ids[0],) if change is not None else waits)
        if ids:
            self.draft.ensured[key] = tuple(ids)

    def _ensure(self, resource: DesiredResource, change: _Change, waits: tuple[str, ...]) -> str:
        spec, key = resource.spec, resource.spec.key
        old = self.draft.before.get(key)
        seen = self.draft.observed.get(key)
        before = None
        undo = Undo.NONE
        # A machine that a rollback brings back stands on the new disk, where that is as the vanished one was.
        stays = resource.shared or (key in self.vanished and not self._is_otherwise(spec))
        is_new = change in (_Change.CREATE, _Change.REPLACE) and not stays
        if is_new or self._is_left_over(resource):
            undo = Undo.REMOVE
        elif change is _Change.UPDATE and old and seen and seen.spec_hash == spec_hash(old.spec):
            undo, before = Undo.RESTORE, spec_to_json(old.spec)
        if key in self.draft.removed:
            waits = (*waits, self.draft.removed[key])
        phase = f" ({seen.phase})" if seen and change is _Change.REPAIR else ""
        step_id = f"ensure {spec.kind} {key}"
        self.draft.steps[step_id] = Step(
            id=step_id,
            verb=Verb.ENSURE,
            kind=spec.kind,
            key=key,
            endpoint=resource.endpoint,
            host=getattr(spec, "host", ""),
            summary=f"{change} {spec.kind}{_because(resource.why)}{phase}",
            change=change,
            depends_on=waits,
            spec=spec_to_json(spec),
            before=before,
            undo=undo,
            deadline_s=DEADLINES_S.get(spec.kind, 120.0),
        )
        return step_id

    def _verify_resource(self, step_id: str, resource: DesiredResource, why: str, waits: tuple[str, ...]) -> None:
        self.draft.steps[step_id] = Step(
            id=step_id,
            verb=Verb.VERIFY,
            kind=resource.spec.kind,
            key=resource.spec.key,
            endpoint=resource.endpoint,
            host=getattr(resource.spec, "host", ""),
            summary=why,
            change=_Change.CHECK,
            depends_on=waits,
            spec=spec_to_json(resource.spec),
            deadline_s=DEADLINES_S["verify"],
        )

    def _add_check(self, check: DesiredCheck) -> None:
        waits = self._after(check.depends_on)
        old = self.draft.checks_before.get(check.key)
        same = old is not None and _said(old) == _said(check)
        # To be proven anew, as for a neighbour on its link, makes no machine one that has yet to be configured.
        is_proof = check.verb is not Verb.CONFIGURE
        is_due = bool(waits) if is_proof else not self.changes.keys().isdisjoint(check.depends_on)
        if not is_due and same and self.operation is not OperationKind.INSTANTIATE:
            return
        step_id = f"{check.verb} {check.kind} {check.key}"
        resource = self.draft.wanted.get(str(check.view.get("resource", ""))) if check.kind != "vnf" else None
        if resource is not None:
            self._verify_resource(step_id, resource, f"prove{_because(check.why)}", waits)
        else:
            self.draft.steps[step_id] = Step(
                id=step_id,
                verb=check.verb,
                kind=check.kind,
                key=check.key,
                endpoint=check.endpoint,
                summary=f"{'prove' if check.verb is Verb.VERIFY else 'configure'}{_because(check.why)}",
                change=_Change.CHECK,
                depends_on=waits,
                spec={"view": dict(check.view), "nodes": dict(check.nodes)},
                deadline_s=DEADLINES_S[str(check.verb)],
            )
        self.draft.ensured[check.key] = (step_id,)


def _users(uses: Iterable[tuple[str, Iterable[str]]]) -> dict[str, list[str]]:
    """Who depends on each key."""
    users: dict[str, list[str]] = {}
    for key, names in uses:
        for name in names:
            users.setdefault(name, []).append(key)
    return users


def _said(check: DesiredCheck) -> str:
    """All that the check says, the same before and after it was kept as JSON."""
    return json.dumps([check.view, check.nodes, check.verb], sort_keys=True)


def _because(why: str) -> str:
    return f": {why}" if why else ""
