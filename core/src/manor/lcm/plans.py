"""Plans as data: JSON for people and files, a digest for approval, and the difference between two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from manor.api.plan import OperationKind, Plan, Step
from manor.api.records import Finding, Severity
from manor.errors import PlanRefused, UsageError
from manor.store.rows import step_from_json, step_to_json

__all__ = ["differences", "plan_digest", "plan_from_json", "plan_to_json", "require_same"]

_FOR_PEOPLE = ("summary", "change", "deadline_s", "patience_s")


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values with its digest, to be read back by :func:`plan_from_json`."""
    return {
        "operation": str(plan.operation),
        "service_id": plan.service_id,
        "service_name": plan.service_name,
        "digest": plan_digest(plan),
        "steps": [step_to_json(step) for step in plan.steps],
        "unchanged": list(plan.unchanged),
        "notes": list(plan.notes),
        "placement": dict(plan.placement),
    }


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """Read a saved plan. Raises UsageError where it is not one, or was changed after it was made."""
    try:
        plan = Plan(
            operation=OperationKind(data["operation"]),
            service_id=str(data["service_id"]),
            service_name=str(data["service_name"]),
            steps=tuple(step_from_json(item) for item in data["steps"]),
            unchanged=tuple(data["unchanged"]),
            notes=tuple(data["notes"]),
            placement=dict(data["placement"]),
        )
        intact = data["digest"] == plan_digest(plan)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError("this is not a saved plan", hint="make one: manor --json ns plan NAME > FILE") from error
    if not intact:
        raise UsageError("the saved plan was changed after it was made", hint="make it anew: manor ns plan NAME")
    return plan


def plan_digest(plan: Plan) -> str:
    """16 hexadecimal digits over all that the plan does, and nothing that is only said about it."""
    content = [str(plan.operation), plan.service_id, [_deed(step) for step in plan.steps]]
    return hashlib.sha256(_canonical(content).encode()).hexdigest()[:16]


def differences(approved: Plan, fresh: Plan) -> tuple[str, ...]:
    """One line for each step that only one of the plans has, or that they have in two ways."""
    before = {step.id: _canonical(_deed(step)) for step in approved.steps}
    now = {step.id: _canonical(_deed(step)) for step in fresh.steps}
    return (
        *(f"no longer needed: {name}" for name in before if name not in now),
        *(f"needed now too: {name}" for name in now if name not in before),
        *(f"different now: {name}" for name in now if name in before and before[name] != now[name]),
    )


def require_same(approved: Plan, fresh: Plan) -> None:
    """Raise PlanRefused, naming the steps that differ, where the world has changed what was approved."""
    if plan_digest(approved) == plan_digest(fresh):
        return
    changed = differences(approved, fresh) or ("the order of the steps",)
    raise PlanRefused(
        f"the world has changed since the plan for {fresh.service_name} was approved: {changed[0]}"
        + (f" and {len(changed) - 1} more" if len(changed) > 1 else ""),
        findings=[Finding(severity=Severity.ERROR, code="plan-changed", message=line) for line in changed],
        hint=f"look at it again: manor ns plan {fresh.service_name}",
    )


def _deed(step: Step) -> dict[str, Any]:
    return {name: value for name, value in step_to_json(step).items() if name not in _FOR_PEOPLE}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
