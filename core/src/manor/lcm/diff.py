"""Desired against observed → plan. Pure: no I/O, no clock, equal input gives an equal plan.

What is absent is made, what has another spec is changed in place or replaced, what is broken is ensured again, what
only the previous desired state has is removed in the reverse order of its dependencies. Shared resources (images) are
ensured and never removed. What an operation that did not complete left behind, and is wanted now, is adopted: it is the
plan's to take back. Checks run again when something they depend on is touched, and always on instantiate.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum

from manor.api.plan import OperationKind, Plan, Step, Undo, Verb
from manor.api.resources import (
    Observed,
    ResourceKind,
    ResourceSpec,
    VolumeSpec,
    spec_hash,
    spec_to_json,
)
from manor.lcm import turns, vanished
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
    differ = _Differ(
        desired, observed, previous, operation, replace_on or {}, found_at or {}, recreate, left_over, patience_s
    )
    differ.rollout = rollout
    plan = differ.plan()
    return dataclasses.replace(plan, steps=tuple(turns.patient(step, patience_s) for step in plan.steps))


def changed_fields(before: ResourceSpec, after: ResourceSpec) -> frozenset[str]:
    """Names of the fields that differ, as ``node.memory_bytes``."""
    return frozenset(
        f"{after.kind}.{field.name}"
        for field in dataclasses.fields(after)
        if getattr(before, field.name) != getattr(after, field.name)
    )


class _Differ:
    """One run of :func:`diff`: the input, and the steps as they come to be."""

    def __init__(
        self,
        desired: DesiredState,
        observed: Mapping[str, Observed],
        previous: DesiredState | None,
        operation: OperationKind,
        replace_on: Mapping[str, frozenset[str]],
        found_at: Mapping[str, str],
        recreate: frozenset[str],
        left_over: frozenset[str],
        patience_s: float | None,
    ) -> None:
        self.desired = desired
        self.observed = observed
        self.operation = operation
        self.replace_on = replace_on
        self.found_at = found_at
        self.recreate = recreate
        self.left_over = left_over
        self.patience_s = patience_s
        self.rollout: Rollout | None = None
        self.wanted = {resource.spec.key: resource for resource in desired.resources}
        self.before = {resource.spec.key: resource for resource in (previous.resources if previous else ())}
        self.checks_before = {check.key: check for check in (previous.checks if previous else ())}
        self.vanished = vanished.disks(self.wanted, self.before, observed)
        self.changes = self._classify()
        self.steps: dict[str, Step] = {}
        self.ensured: dict[str, tuple[str, ...]] = {}
        """Ids of the steps that make a key true, by key; what depends on the key waits for the last of them."""
        self.removed: dict[str, str] = {}
        """Id of the removing step, by key."""
        self.soft: dict[str, list[str]] = {}
        """Further dependencies, for make before break: given up where they would close a circle."""

    def plan(self) -> Plan:
        self._add_removals()
        for item in in_order(self.desired):
            if isinstance(item, DesiredResource):
                self._add_resource(item)
            else:
                self._add_check(item)
        self._order_removals()
        turns.stopped_after(self.wanted, self.before, self.ensured, self.soft)
        turns.ports_let_go(self.wanted, self.before, self.ensured, self.removed, self.soft)
        drained: frozenset[tuple[str, str]] = frozenset()
        if self.operation is OperationKind.UPDATE:
            drained = turns.one_by_one(
                self.desired.checks,
                self.steps,
                self.ensured,
                self.removed,
                self.soft,
                self.rollout,
                self.wanted,
                self.changes,
            )
            turns.beside(self.rollout, self.wanted, self.desired.checks, self.steps, self.removed, self.soft)
        if self.operation in (OperationKind.HEAL, OperationKind.REPAIR):
            drained = mended_in_turn(
                self.desired.checks, self.wanted, self.observed, self.steps, self.ensured, self.removed, self.soft
            )
        turns.drained_first(self.checks_before.values(), self.observed, self.steps, self.soft, self.patience_s)
        turns.disks_last(self.steps, self.soft, self.wanted)
        vanished.disks_first(self.vanished, self.wanted, self.ensured, self.removed, self.soft)
        return Plan(
            operation=self.operation,
            service_id=self.desired.service_id,
            service_name=self.desired.service_name,
            steps=in_turn(self.steps, self.soft),
            unchanged=tuple(key for key in self.wanted if key not in self.changes),
            notes=(
                *self.desired.notes,
                *turns.standstills(self.wanted, self.removed.keys() & self.ensured, drained),
                *vanished.notes(self.vanished, self.wanted, self.removed),
            ),
            placement=self.desired.placement,
        )

    def _classify(self) -> dict[str, _Change]:
        changes: dict[str, _Change] = {}
        for key, resource in self.wanted.items():
            change = self._change_of(resource)
            above = [
                self.wanted[name].spec.kind for name in resource.depends_on if changes.get(name) is _Change.REPLACE
            ]
            # A machine cannot keep running while its disk or network is taken from under it, or has vanished.
            bereft = ResourceKind.VOLUME in above or ResourceKind.NETWORK in above
            bereft = bereft or not self.vanished.isdisjoint(resource.depends_on)
            if bereft and resource.spec.kind is ResourceKind.NODE and key in self.observed:
                change = _Change.REPLACE
            if change is not None:
                changes[key] = change
        return changes

    def _change_of(self, resource: DesiredResource) -> _Change | None:
        spec, seen = resource.spec, self.observed.get(resource.spec.key)
        if spec.key in self.before and not self._is_left_over(resource) and is_lost(spec, seen):
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
        old = self.before.get(spec.key)
        fixed = self.replace_on.get(resource.endpoint, frozenset())
        return _Change.REPLACE if old and changed_fields(old.spec, spec) & fixed else _Change.UPDATE

    def _is_left_over(self, resource: DesiredResource) -> bool:
        return resource.spec.key in self.left_over and not resource.shared

    def _is_otherwise(self, spec: ResourceSpec) -> bool:
        """Whether it was there, of another spec than it is to be."""
        old = self.before.get(spec.key)
        return old is not None and old.spec != spec

    # removals

    def _add_removals(self) -> None:
        for key, resource in reversed(self.before.items()):
            if (key not in self.wanted and not resource.shared) or self.changes.get(key) is _Change.REPLACE:
                self._remove(key, resource.spec.kind, resource.endpoint, self._host_of(key, resource.spec), resource)
        for key, seen in sorted(self.observed.items()):
            replaced = self.changes.get(key) is _Change.REPLACE and key not in self.removed
            if replaced or (key in self.found_at and key not in self.wanted and key not in self.before):
                endpoint = self.wanted[key].endpoint if replaced else self.found_at[key]
                self._remove(key, seen.ref.kind, endpoint, seen.ref.host, None)

    def _host_of(self, key: str, spec: ResourceSpec) -> str:
        seen = self.observed.get(key)
        return (seen.ref.host if seen else "") or getattr(spec, "host", "")

    def _remove(self, key: str, kind: str, endpoint: str, host: str, old: DesiredResource | None) -> None:
        is_there, has_vanished = key in self.observed, key in self.vanished
        # What replaces a disk that came from an image comes from it too; all other content is gone with the disk.
        new = self.wanted[key].spec if key in self.wanted else None
        is_remade = isinstance(new, VolumeSpec) and bool(new.image) and not new.snapshot
        has_data = kind in (ResourceKind.VOLUME, ResourceKind.SNAPSHOT) and not has_vanished and not is_remade
        undo = Undo.NONE
        if old and (is_there or has_vanished):
            undo = Undo.IMPOSSIBLE if has_data else Undo.RESTORE
        gone, loss = "" if is_there else " (already gone)", ", with its data" if undo is Undo.IMPOSSIBLE else ""
        self.removed[key] = step_id = f"remove {kind} {key}"
        self.steps[step_id] = Step(
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
        """A resource goes after all that used it went, or stopped using it."""
        users: dict[str, list[str]] = {}
        uses = [(key, resource.depends_on) for key, resource in self.before.items()]
        uses += [(key, check.depends_on) for key, check in self.checks_before.items()]
        for key, names in uses:
            for name in names:
                users.setdefault(name, []).append(key)
        for key, step_id in self.removed.items():
            hard, soft = self._freed_by(key, users, {key})
            self.steps[step_id] = dataclasses.replace(self.steps[step_id], depends_on=tuple(dict.fromkeys(hard)))
            if key not in self.wanted:
                self.soft[step_id] = soft
        turns.found_in_order(self.steps, self.removed, self.before)

    def _freed_by(self, key: str, users: Mapping[str, list[str]], seen: set[str]) -> tuple[list[str], list[str]]:
        hard: list[str] = []
        soft: list[str] = []
        for user in users.get(key, ()):
            if user in seen:
                continue
            seen.add(user)
            if user in self.removed:
                hard.append(self.removed[user])
            else:
                if user in self.wanted:
                    soft.extend(self.ensured.get(user, ())[:1])
                more_hard, more_soft = self._freed_by(user, users, seen)
                hard.extend(more_hard)
                soft.extend(more_soft)
        return hard, soft

    # what is made

    def _after(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Ids of the steps to wait for; a key that no step touches stands for what it depends on."""
        found: dict[str, None] = {}
        for key in keys:
            if key in self.ensured:
                found[self.ensured[key][-1]] = None
            elif key in self.wanted:
                found.update(dict.fromkeys(self._after(self.wanted[key].depends_on)))
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
            self.ensured[key] = tuple(ids)

    def _ensure(self, resource: DesiredResource, change: _Change, waits: tuple[str, ...]) -> str:
        spec, key = resource.spec, resource.spec.key
        old = self.before.get(key)
        seen = self.observed.get(key)
        before = None
        undo = Undo.NONE
        # A machine that a rollback brings back stands on the new disk, where that is as the vanished one was.
        stays = resource.shared or (key in self.vanished and not self._is_otherwise(spec))
        is_new = change in (_Change.CREATE, _Change.REPLACE) and not stays
        if is_new or self._is_left_over(resource):
            undo = Undo.REMOVE
        elif change is _Change.UPDATE and old and seen and seen.spec_hash == spec_hash(old.spec):
            undo, before = Undo.RESTORE, spec_to_json(old.spec)
        if key in self.removed:
            waits = (*waits, self.removed[key])
        phase = f" ({seen.phase})" if seen and change is _Change.REPAIR else ""
        step_id = f"ensure {spec.kind} {key}"
        self.steps[step_id] = Step(
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
        self.steps[step_id] = Step(
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
        old = self.checks_before.get(check.key)
        same = old is not None and _said(old) == _said(check)
        if not waits and same and self.operation is not OperationKind.INSTANTIATE:
            return
        step_id = f"{check.verb} {check.kind} {check.key}"
        resource = self.wanted.get(str(check.view.get("resource", ""))) if check.kind != "vnf" else None
        if resource is not None:
            self._verify_resource(step_id, resource, f"prove{_because(check.why)}", waits)
        else:
            self.steps[step_id] = Step(
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
        self.ensured[check.key] = (step_id,)


def _said(check: DesiredCheck) -> str:
    """All that the check says, the same before and after it was kept as JSON."""
    return json.dumps([check.view, check.nodes, check.verb], sort_keys=True)


def _because(why: str) -> str:
    return f": {why}" if why else ""
