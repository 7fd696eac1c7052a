"""Programs that a package brings along: lifecycle scripts around an operation, and named actions of day 2.

A script runs inside the machines, through the VNF's manager; on this host nothing but a playbook that the operator
allowed (:mod:`manor.lcm.playbooks`). ``<operation>_start`` runs before anything of the VNF is touched,
``<operation>_end`` after all of it, each as a step that the journal knows. Chains turn to new machines after that, and
machines that others replace beside them go after it. Where the VNF may be dead or goes anyway
(heal, terminate, a forceful stop), a start script that fails holds up nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manor.api import Plan, ResourceKind, Script, Scripted, Step, Undo, Verb
from manor.errors import ManorError, PlanRefused, UsageError
from manor.lcm.choosing import must_be_known
from manor.lcm.order import in_turn
from manor.lcm.playbooks import is_playbook, why_not
from manor.lcm.wishes import Wishes
from manor.model.desired import DesiredCheck, DesiredState

if TYPE_CHECKING:
    from manor.lcm.runtime import Runtime
    from manor.model.instance import VnfInstance
    from manor.model.vnfd import Vnfd

__all__ = ["Brought", "Side", "actions", "script_from_json", "scripted", "side"]

_SCRIPT_S = 300.0
_MOST_BYTES = 64 << 10
_KIN = {"scale_to_level": "scale"}
"""By operation, another one whose scripts run where the package has none for it."""
_NO_WAY_IN = "none of its machines runs that can be looked into"
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A VNF before an operation, or after it."""

    name: str
    vnfd_id: str
    check: DesiredCheck | None
    """Its proof, which has the way into its machines; None where none runs that can be looked into."""
    is_stopped: bool = False


def side(state: DesiredState | None, vnfs: Iterable[VnfInstance]) -> Mapping[str, Side]:
    """The VNFs of a service on one side of an operation, by key."""
    checks = _checks(state)
    return {
        vnf.id: Side(
            name=vnf.name, vnfd_id=vnf.vnfd_id, check=checks.get(vnf.id), is_stopped=vnf.vnf_state == "STOPPED"
        )
        for vnf in vnfs
    }


def scripted(rt: Runtime, plan: Plan, wishes: Wishes, *, before: Mapping[str, Side], after: Mapping[str, Side]) -> Plan:
    """The plan with the scripts around what it does to each VNF, and with the action that was asked for.

    Raises UsageError for an action or a parameter that there is not, PlanRefused where it cannot be run.
    """
    brought = _brought(rt, {vnf.vnfd_id for vnf in (*before.values(), *after.values())})
    if not brought and not wishes.action:
        return plan
    vnfs, touched = {**before, **after}, _touched(plan)
    concerned = [key for key, vnf in vnfs.items() if key in touched or vnf.name in wishes.vnf_operations]
    planned = {step.id: step for step in plan.steps}
    steps = dict(planned)
    soft: dict[str, list[str]] = {}
    notes: list[str] = []
    for key in concerned:
        old, new = before.get(key), after.get(key)
        operation = _operation(wishes, old, new)
        around = [step.id for step in touched.get(key, ())]
        for moment, vnf in (("start", old), ("end", new)):
            script = _script_for(brought, vnf, operation, moment) if vnf else None
            if script is None or vnf is None:
                continue
            forgiving = script.name in _FORGIVING or (moment == "start" and wishes.patience_s == 0)
            if vnf.check is None or (why := _why_not(rt, vnf.check, script, forgiving=forgiving)):
                notes.append(f"{vnf.name}: {script.name} is not run: {why if vnf.check else _NO_WAY_IN}")
                continue
            own = _step(vnf.check, script, after=around if moment == "end" else (), forgiving=forgiving)
            if moment == "start":
                for step_id in around:
                    step = steps[step_id]
                    steps[step_id] = dataclasses.replace(step, depends_on=(*step.depends_on, own.id))
                around.append(own.id)
            elif operation == "change_current_package":
                own = _before_the_old_go(own, planned, soft)
            if moment == "end":
                _before_chains_turn(own, plan, soft)
            steps[own.id] = own
    if wishes.action:
        own = _action(rt, wishes, after, brought, plan)
        steps[own.id] = own
    starts = {step.id: step for step in steps.values() if step.id not in planned and not step.depends_on}
    ordered = in_turn({**starts, **steps}, soft)
    return dataclasses.replace(plan, steps=ordered, notes=(*plan.notes, *notes))


def _before_the_old_go(own: Step, planned: Mapping[str, Step], soft: dict[str, list[str]]) -> Step:
    """The script, which machines that others replace beside them wait for: where it fails, these are still there."""
    goes = [name for name in own.depends_on if name in planned and planned[name].verb is Verb.REMOVE]
    for step_id in goes:
        soft.setdefault(step_id, []).append(own.id)
    return dataclasses.replace(own, depends_on=tuple(name for name in own.depends_on if name not in goes))


def _before_chains_turn(own: Step, plan: Plan, soft: dict[str, list[str]]) -> None:
    """Chains turn to machines once the script has configured these."""
    for step in plan.steps:
        is_chain = step.kind == ResourceKind.CHAIN and step.verb is Verb.ENSURE
        if is_chain and not set(own.depends_on).isdisjoint(step.depends_on):
            soft.setdefault(step.id, []).append(own.id)


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


def _touched(plan: Plan) -> dict[str, list[Step]]:
    """By VNF key, the steps about a VNF of which something changes, or a snapshot is taken; a mere look is none."""
    found: dict[str, list[Step]] = {}
    for step in plan.steps:
        of = str((step.spec or step.before or {}).get("node", "")) if step.kind == ResourceKind.SNAPSHOT else step.key
        found.setdefault("/".join(of.split("/")[:3]), []).append(step)
    changes = (Verb.ENSURE, Verb.REMOVE)
    return {key: steps for key, steps in found.items() if any(step.verb in changes for step in steps)}


def _operation(wishes: Wishes, old: Side | None, new: Side | None) -> str:
    """What is done to a VNF, by the name that its interface has for it; empty where it has none."""
    if old is None:
        return "instantiate"
    if new is None:
        return "terminate"
    if new.name in wishes.vnf_operations:
        return wishes.vnf_operations[new.name]
    if old.vnfd_id != new.vnfd_id:
        return "change_current_package"
    # Nobody asked for it: it follows from parameters, or something of it was broken.
    return "modify_information" if wishes.parameters else "heal"


def _script_for(brought: Mapping[str, Brought], vnf: Side, operation: str, moment: str) -> Script | None:
    known = brought[vnf.vnfd_id].scripts if vnf.vnfd_id in brought else {}
    has_own = any(f"{operation}_{each}" in known for each in ("start", "end"))
    return known.get(f"{operation if has_own else _KIN.get(operation)}_{moment}")


def _why_not(rt: Runtime, check: DesiredCheck, script: Script, *, forgiving: bool = False) -> str:
    meant = {vnfc["key"] for vnfc in check.view["vnfcs"] if script.vdu_id in ("", vnfc["vdu_id"])}
    ways = {key: way for key, way in check.nodes.items() if key in meant}
    if not ways:
        return f"it has no machine of VDU {script.vdu_id} that can be looked into"
    if not script.content:
        return _NO_FILE
    if is_playbook(script):
        return why_not(rt, str(check.view["vnfd_id"]), ways)
    try:
        manager = rt.vnfm(check.endpoint.partition(":")[2])
    except ManorError as error:
        if not forgiving:
            raise
        return error.message
    if not isinstance(manager, Scripted) or not manager.runs(script.kind):
        return f"{check.endpoint} runs no {script.kind or 'script of unknown kind'}"
    return ""


def _step(
    check: DesiredCheck, script: Script, *, after: Iterable[str], word: str = "script", forgiving: bool = False
) -> Step:
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
            "forgiving": forgiving,
        },
        undo=Undo.NONE,
        deadline_s=_SCRIPT_S,
    )


def _action(
    rt: Runtime,
    wishes: Wishes,
    vnfs: Mapping[str, Side],
    brought: Mapping[str, Brought],
    plan: Plan,
) -> Step:
    name, asked = str(wishes.action["vnf"]), str(wishes.action["name"])
    vnf = next((vnf for vnf in vnfs.values() if vnf.name == name), None)
    check = vnf.check if vnf else None
    if vnf and vnf.is_stopped:
        raise PlanRefused(
            f"{name} is stopped: no action runs in it", hint=f"manor vnf start {plan.service_name}/{name}"
        )
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
    return _step(
        check, dataclasses.replace(script, parameters=values), after=[each.id for each in plan.steps], word="action"
    )


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
