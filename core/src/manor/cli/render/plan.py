"""A plan for a person to say yes or no to: what changes, where, why, and how much of it there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from manor.api.plan import Plan, Step, Undo, Verb
from manor.cli.render.steps import short_key, size

__all__ = ["Action", "Change", "changes", "counts", "plan_lines"]


class Action(StrEnum):
    """What a plan does to one resource, in the operator's words."""

    CREATE = "create"
    CHANGE = "change"
    REPAIR = "repair"
    REPLACE = "replace"
    REMOVE = "remove"
    LEAVE = "leave"
    CHECK = "check"


_SIGNS = {
    Action.CREATE: "+",
    Action.CHANGE: "~",
    Action.REPAIR: "*",
    Action.REPLACE: "±",
    Action.REMOVE: "-",
    Action.LEAVE: "!",
    Action.CHECK: "?",
}
_ACTIONS = {
    "create": Action.CREATE,
    "adopt": Action.CHANGE,
    "update": Action.CHANGE,
    "repair": Action.REPAIR,
    "replace": Action.REPLACE,
}
"""By ``Step.change``."""
_WORDS = (*_ACTIONS, "remove", "leave", "prove", "configure", "quiesce")
"""First words of summaries, which the sign before a line says already."""
_SHOWN = 4
"""Of the things that come and go, those that are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What becomes of one resource."""

    action: Action
    kind: str
    key: str
    where: str
    why: str
    fields: tuple[str, ...] = ()
    """What differs, as ``memory 512 MiB -> 1 GiB``."""


def changes(plan: Plan) -> list[Change]:
    """The plan's steps as changes: one for each resource, and the checks of what is not made by this plan."""
    removed = {step.key: step for step in plan.steps if step.verb is Verb.REMOVE and step.change != Action.LEAVE}
    ensured = {step.key for step in plan.steps if step.verb is Verb.ENSURE}
    found: list[Change] = []
    for step in plan.steps:
        is_half = step.verb in (Verb.REMOVE, Verb.VERIFY) and step.kind != "kpi" and step.change != Action.LEAVE
        if step.key in ensured and is_half:
            continue  # half of a replacement, or the proof of what is made here anyway
        on_host = step.host and step.endpoint.startswith("vim:")
        old = removed.get(step.key) if step.verb is Verb.ENSURE else None
        before = step.before or (old.before if old else None)
        found.append(
            Change(
                action=_action(step, old is not None),
                kind=step.kind,
                key=step.key,
                where=f"{step.endpoint} on {step.host}" if on_host else step.endpoint,
                why=_why(step),
                fields=(
                    *(
                        _differences(before, step.spec, plan.service_id)
                        if before and step.spec and step.verb is Verb.ENSURE
                        else ()
                    ),
                    *(("what it holds now is lost",) if old and old.undo is Undo.IMPOSSIBLE else ()),
                ),
            )
        )
    return found


def _action(step: Step, also_removed: bool) -> Action:
    if step.verb is Verb.REMOVE:
        return Action.LEAVE if step.change == Action.LEAVE else Action.REMOVE
    if step.verb is not Verb.ENSURE:
        return Action.CHECK
    if also_removed:
        return Action.REPLACE
    return _ACTIONS.get(step.change) or (Action.CHANGE if step.before else Action.CREATE)


def _why(step: Step) -> str:
    """The summary without the words that the sign and the kind say already."""
    first, _, rest = step.summary.partition(f" {step.kind}")
    if first in _WORDS and rest[:1] in ("", ":", " "):
        return rest.lstrip(": ")
    return step.summary


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], service_id: str) -> tuple[str, ...]:
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return tuple(
        f"{name.removesuffix('_bytes')} {_difference(name, before.get(name), after.get(name), service_id)}"
        for name in names
    )


def _difference(name: str, before: Any, after: Any, service_id: str) -> str:
    """From what to what; of many things those that come (+), go (-) and are otherwise (~)."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return ", ".join(f"~{key}" for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key))
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        goes = [_name(item, service_id) for item in before if item not in after]
        comes = [_name(item, service_id) for item in after if item not in before]
        if not all((*goes, *comes)):
            return " ".join(filter(None, (f"+{len(comes)}" if comes else "", f"-{len(goes)}" if goes else "")))
        signed = [f"{'~' if item in goes else '+'}{item}" for item in comes]
        signed += [f"-{item}" for item in goes if item not in comes]
        more = f" and {len(signed) - _SHOWN} more" if len(signed) > _SHOWN else ""
        return " ".join(signed[:_SHOWN]) + more or "in another order"
    old, new = _value(name, before), _value(name, after)
    return f"{old} -> {new}" if old != new else "otherwise"


def _name(item: Any, service_id: str) -> str:
    """What one of several things is called; empty where it has no name."""
    if not isinstance(item, Mapping):
        return ""
    return str(item.get("name") or short_key(str(item.get("key") or item.get("volume") or ""), service_id))


def _value(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, (list, tuple, Mapping)):
        return f"{len(value)} of them"
    text = str(value).replace("\n", " ") if value not in (None, "") else "none"
    return text if len(text) <= 40 else text[:37] + "..."


def counts(found: Sequence[Change]) -> dict[Action, int]:
    """How many of each action, those with none left out."""
    return {action: n for action in Action if (n := sum(change.action is action for change in found))}


def plan_lines(plan: Plan, update_type: str = "") -> list[tuple[str, Action | None]]:
    """The plan as lines, each with the action that gives it its colour; ``update_type`` says what an UPDATE updates."""
    found = changes(plan)
    lines: list[tuple[str, Action | None]] = [
        (f"{plan.operation} {plan.service_name} ({plan.service_id}){update_type and ': '}{update_type}", None),
        ("", None),
    ]
    shown = [(change, short_key(change.key, plan.service_id)) for change in found]
    kinds = max((len(change.kind) for change in found), default=0)
    keys = max((len(key) for _, key in shown), default=0)
    places = max((len(change.where) for change in found), default=0)
    for change, key in shown:
        columns = (change.kind.ljust(kinds), key.ljust(keys), change.where.ljust(places), change.why)
        lines.append((f"  {_SIGNS[change.action]} {'  '.join(columns)}".rstrip(), change.action))
        lines += [(f"      {field}", change.action) for field in change.fields]
    if found:
        lines.append(("", None))
    lines += [(f"  note: {note}", None) for note in plan.notes]
    if plan.notes:
        lines.append(("", None))
    total = ", ".join(f"{number} to {action}" for action, number in counts(found).items())
    same = f"{len(plan.unchanged)} already as they should be" if plan.unchanged else ""
    lines.append(("; ".join(filter(None, (total or "nothing to do", same))), None))
    return lines
