"""Programs that a package brings along: lifecycle scripts around an operation, and named actions of day 2.

A script runs inside the machines, through the VNF's manager; on this host nothing but a playbook that the operator
allowed (:mod:`manor.lcm.playbooks`). ``<operation>_start`` runs before anything of the VNF is touched,
``<operation>_end`` after all of it, each as a step that the journal knows. Where the VNF may be dead or goes anyway
(heal, terminate), a start script that fails holds up nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manor.api import OperationKind, Plan, Script, Scripted, Step, Undo, Verb
from manor.errors import PlanRefused, UsageError
from manor.lcm.choosing import must_be_known
from manor.lcm.playbooks import is_playbook, why_not
from manor.lcm.wishes import Wishes
from manor.model.desired import DesiredCheck, DesiredState

if TYPE_CHECKING:
    from manor.lcm.runtime import Runtime
    from manor.model.vnfd import Vnfd

__all__ = ["Brought", "actions", "script_from_json", "scripted"]

_SCRIPT_S = 300.0
_MOST_BYTES = 64 << 10
_EVENTS = {
    OperationKind.INSTANTIATE: "instantiate",
    OperationKind.TERMINATE: "terminate",
    OperationKind.HEAL: "heal",
    OperationKind.REPAIR: "heal",
    OperationKind.SCALE: "scale",
    OperationKind.OPERATE: "operate",
}
_UPDATES = {
    "CHANGE_VNF_DF": "change_flavour",
    "CHANGE_EXTERNAL_VNF_CONNECTIVITY": "change_external_connectivity",
    "MODIFY_VNF_INFORMATION": "modify_information",
    "CHANGE_VNFPKG": "change_current_package",
}
_NO_FILE = "its file is not in the package"
_FORGIVING = frozenset({"heal_start", "terminate_start"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """What a VNF's package brings along, with the text of each script."""

    scripts: Mapping[str, Script]
    """By event, as ``scale_end``."""
    actions: Mapping[str, Script]


def actions(rt: Runtime, vnfd_id: str) -> Mapping[str, Script]:
    """The named actions of a VNFD, with their parameters' defaults."""
    return _brought(rt, {vnfd_id}).get(vnfd_id, Brought(scripts={}, actions={})).actions


def scripted(
    rt: Runtime,
    plan: Plan,
    wishes: Wishes,
    *,
    before: DesiredState | None,
    after: DesiredState | None,
) -> Plan:
    """The plan with the scripts around what it does to each VNF, and with the action that was asked for.

    Raises UsageError for an action or a parameter that there is not, PlanRefused where it cannot be run.
    """
    old, new = _checks(before), _checks(after)
    wanted = str(wishes.action.get("vnf", ""))
    touched = {key: _steps_of(plan, key) for key in {**old, **new}}
    concerned = {key: check for key, check in {**old, **new}.items() if touched[key] or key.endswith(f"/vnf/{wanted}")}
    if not concerned and not wishes.action:
        return plan
    brought = _brought(rt, {str(check.view["vnfd_id"]) for check in (*old.values(), *new.values())})
    steps = {step.id: step for step in plan.steps}
    notes: list[str] = []
    for key in concerned:
        if not touched[key]:
            continue
        event = _event(plan.operation, wishes, is_new=key not in old, goes=key not in new)
        for moment, check in (("start", old.get(key)), ("end", new.get(key))):
            script = _script_for(brought, check, f"{event}_{moment}") if event and check else None
            if script is None or check is None:
                continue
            if why := _why_not(rt, check, script):
                notes.append(f"{check.view['name']}: {script.name} is not run: {why}")
                continue
            own = _step(check, script, after=[s.id for s in touched[key]] if moment == "end" else [])
            if moment == "start":
                for step in touched[key]:
                    steps[step.id] = dataclasses.replace(steps[step.id], depends_on=(*step.depends_on, own.id))
            steps[own.id] = own
    if wishes.action:
        own = _action(rt, wishes, new, brought, [step.id for step in plan.steps])
        steps[own.id] = own
    starts = [step for step in steps.values() if step.id not in {s.id for s in plan.steps} and not step.depends_on]
    others = [step for step in steps.values() if step not in starts]
    return dataclasses.replace(plan, steps=(*starts, *others), notes=(*plan.notes, *notes))


def script_from_json(data: Mapping[str, Any]) -> Script:
    """The script that a step carries."""
    return Script(**data)


def _checks(state: DesiredState | None) -> dict[str, DesiredCheck]:
    """The proof of each VNF that has machines we can look into."""
    return {
        check.key: check
        for check in (state.checks if state else ())
        if check.kind == "vnf" and check.verb is Verb.VERIFY and "vnfd_id" in check.view and check.nodes
    }


def _steps_of(plan: Plan, key: str) -> list[Step]:
    """Steps that change something of a VNF; a mere look is none."""
    mine = [step for step in plan.steps if step.key == key or step.key.startswith(f"{key}/")]
    return mine if any(step.verb in (Verb.ENSURE, Verb.REMOVE) for step in mine) else []


def _event(operation: OperationKind, wishes: Wishes, *, is_new: bool, goes: bool) -> str:
    if is_new:
        return "instantiate"
    if goes:
        return "terminate"
    if operation is OperationKind.UPDATE:
        return _UPDATES.get(wishes.update_type, "")
    return _EVENTS.get(operation, "")


def _script_for(brought: Mapping[str, Brought], check: DesiredCheck, event: str) -> Script | None:
    own = brought.get(str(check.view["vnfd_id"]))
    return own.scripts.get(event) if own else None


def _why_not(rt: Runtime, check: DesiredCheck, script: Script) -> str:
    if is_playbook(script):
        return why_not(rt, str(check.view["vnfd_id"]), check.nodes) or ("" if script.content else _NO_FILE)
    manager = rt.vnfm(check.endpoint.partition(":")[2])
    if not isinstance(manager, Scripted) or not manager.runs(script.kind):
        return f"{check.endpoint} runs no {script.kind or 'script of unknown kind'}"
    if script.vdu_id and all(vnfc["vdu_id"] != script.vdu_id for vnfc in check.view["vnfcs"]):
        return f"it has no machine of VDU {script.vdu_id}"
    return "" if script.content else _NO_FILE


def _step(check: DesiredCheck, script: Script, *, after: Iterable[str], word: str = "script") -> Step:
    return Step(
        id=f"{word} vnf {check.key} {script.name}",
        verb=Verb.CONFIGURE,
        kind="vnf",
        key=f"{check.key}/{word}/{script.name}",
        endpoint=check.endpoint,
        summary=f"run {script.name} in {check.view['name']}",
        change="check",
        depends_on=tuple(after),
        spec={
            "view": dict(check.view),
            "nodes": dict(check.nodes),
            "script": dataclasses.asdict(script),
            # An action that was asked for is never forgiven, whatever it is called.
            "forgiving": word == "script" and script.name in _FORGIVING,
        },
        undo=Undo.NONE,
        deadline_s=_SCRIPT_S,
    )


def _action(
    rt: Runtime,
    wishes: Wishes,
    checks: Mapping[str, DesiredCheck],
    brought: Mapping[str, Brought],
    after: Iterable[str],
) -> Step:
    name, asked = str(wishes.action["vnf"]), str(wishes.action["name"])
    check = next((check for check in checks.values() if check.view["name"] == name), None)
    if check is None:
        raise PlanRefused(f"{name} has no machine that can be looked into", hint="its image needs a guest agent")
    own = brought.get(str(check.view["vnfd_id"]))
    known = own.actions if own else {}
    must_be_known(asked, sorted(known), whose=name, what="action")
    script = known[asked]
    given = dict(wishes.action.get("parameters", {}))
    for parameter in given:
        if parameter not in script.parameters:
            expected = ", ".join(sorted(script.parameters)) or "none"
            raise UsageError(f"action {asked} has no parameter {parameter}", hint=f"it takes: {expected}")
    values = {**script.parameters, **given}
    missing = sorted(key for key, value in values.items() if value is None)
    if missing:
        raise UsageError(f"action {asked} needs {', '.join(missing)}", hint=f"--param {missing[0]}=VALUE")
    if why := _why_not(rt, check, script):
        raise PlanRefused(f"{name}: action {asked} cannot be run: {why}")
    return _step(check, dataclasses.replace(script, parameters=values), after=after, word="action")


def _brought(rt: Runtime, vnfd_ids: Iterable[str]) -> dict[str, Brought]:
    from manor.lcm.wishes import vnfd_of

    found = {}
    for vnfd_id in sorted(vnfd_ids):
        vnfd, artifacts = vnfd_of(rt, vnfd_id)
        if vnfd is not None and (vnfd.scripts or vnfd.actions):
            found[vnfd_id] = _read(vnfd, artifacts)
    return found


def _read(vnfd: Vnfd, artifacts: Mapping[str, str]) -> Brought:
    def script(name: str, file: str, dsl: str, inputs: Mapping[str, Any]) -> Script:
        values = {key: _default(value) for key, value in inputs.items()}
        vdu_id = values.pop("vdu", None)
        return Script(
            name=name,
            kind=dsl or ("." + file.rpartition(".")[2] if "." in file else ""),
            content=_content(artifacts.get(file, "")),
            parameters=values,
            vdu_id=str(vdu_id or ""),
        )

    return Brought(
        scripts={each.event: script(each.event, each.script, each.dsl, each.inputs) for each in vnfd.scripts},
        actions={each.name: script(each.name, each.script, each.dsl, each.inputs) for each in vnfd.actions},
    )


def _default(value: Any) -> Any:
    """An input's value, or the default of an input that is declared with a type."""
    return value.get("default") if isinstance(value, Mapping) and "type" in value else value


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError):
        return ""
    return text if len(text) <= _MOST_BYTES else ""
