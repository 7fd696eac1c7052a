"""What is told of an operation on a service, and of what it is to each of its VNFs, as ETSI names it. Pure.

A service's operation begins before those of its VNFs, and rests once they do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from manor.api.plan import OperationKind, Step, Verb
from manor.api.resources import ResourceKind
from manor.model.failing import problem_details, told, worst
from manor.model.instance import NsLcmOpOcc, StepRecord, StepState
from manor.model.notification import Notification, NotificationType, iso, vnf_identifier
from manor.model.vnfoperation import VnfLcmOpOcc, VnfOperation, VnfOperationState, is_touching, occurrences
from manor.model.vnfresources import stands

__all__ = ["accepted", "document", "passed", "unmade"]

_GOES_ON = frozenset({"STARTING", "PROCESSING", "ROLLING_BACK"})
_CHANGE = {
    "create": "ADD",
    "adopt": "ADD",
    "remove": "DELETE",
    "leave": "DELETE",
    "update": "MODIFY",
    "repair": "MODIFY",
    "replace": "MODIFY",
}
_TYPE = {OperationKind.OPERATE: OperationKind.UPDATE, OperationKind.REPAIR: OperationKind.HEAL}
"""lcmOperationType of what is Manor's own."""
_VNF_CHANGE = {
    VnfOperation.SCALE_TO_LEVEL: "SCALE",
    VnfOperation.CHANGE_EXT_CONN: "CHANGE_EXTERNAL_VNF_CONNECTIVITY",
    VnfOperation.MODIFY_INFO: "MODIFY_INFORMATION",
    VnfOperation.CREATE_SNAPSHOT: "MODIFY_INFORMATION",
    VnfOperation.REVERT_TO_SNAPSHOT: "MODIFY_INFORMATION",
}
"""changeType of a VNF, where a service has another word for it than the VNF."""
_CHANGED = {"changedInfo": "changedVnfInfo"}
"""What a service's operation calls what else changed of a VNF, where that is otherwise."""
_CHANGE_RESULT = {"COMPLETED": "COMPLETED", "ROLLED_BACK": "ROLLED_BACK"}


def accepted(operation: NsLcmOpOcc) -> tuple[Notification, ...]:
    """What is told of an operation that was accepted.

    Its plan was granted just before, so its VNFs' operations are STARTING for no time at all.
    """
    vnfs = occurrences(operation, ())
    return (
        *(replace(one, time_s=operation.start_s) for one in _identifiers(operation.ns_id, vnfs, created=True)),
        _of_ns(operation, (), ()),
        *(_of_vnf(operation, replace(one, state=VnfOperationState.STARTING)) for one in vnfs),
        *(_of_vnf(operation, one) for one in vnfs),
    )


def passed(operation: NsLcmOpOcc, records: Collection[StepRecord] = ()) -> tuple[Notification, ...]:
    """What is told of an operation that has come to its state, or goes through it: START where it goes on, RESULT where
    it rests. Only a RESULT says what is in the journal."""
    vnfs = occurrences(operation, () if operation.state in _GOES_ON else records)
    of_vnfs = tuple(_of_vnf(operation, one) for one in vnfs)
    of_ns = _of_ns(operation, records, vnfs)
    return (of_ns, *of_vnfs) if operation.state in _GOES_ON else (*of_vnfs, of_ns)


def document(operation: NsLcmOpOcc, records: Collection[StepRecord]) -> dict[str, Any]:
    """NsLcmOpOcc, as on the wire (SOL005 §6.5.2.3)."""
    asked = operation.params.get("asked")
    affected = _affected(operation, records, occurrences(operation, records))
    changes = {f"{name}s": items for name, items in affected.items()}
    return {
        "id": operation.id,
        "operationState": str(operation.state),
        "stateEnteredTime": iso(operation.state_entered_s),
        "nsInstanceId": operation.ns_id,
        "lcmOperationType": _type(operation),
        "startTime": iso(operation.start_s),
        "isAutomaticInvocation": operation.is_automatic,
        **({"operationParams": asked["operationParams"]} if asked else {}),
        "isCancelPending": operation.is_cancel_pending,
        **({"cancelMode": str(operation.cancel_mode)} if operation.is_cancel_pending else {}),
        **_error(operation, records),
        **({"resourceChanges": changes} if changes else {}),
    }


def unmade(operation: NsLcmOpOcc) -> tuple[Notification, ...]:
    """What is told once an operation has ended without the VNFs that it was to make."""
    return tuple(_identifiers(operation.ns_id, occurrences(operation, ()), created=False))


def _identifiers(ns_id: str, vnfs: Iterable[VnfLcmOpOcc], *, created: bool) -> Iterator[Notification]:
    for one in vnfs:
        if one.operation is VnfOperation.INSTANTIATE:
            yield vnf_identifier(one.vnf_id, ns_id, created=created)


def _of_vnf(operation: NsLcmOpOcc, vnf: VnfLcmOpOcc) -> Notification:
    """VnfLcmOperationOccurrenceNotification (SOL003 §5.5.2.17)."""
    body: dict[str, Any] = {
        "vnfInstanceId": vnf.vnf_id,
        "vnfLcmOpOccId": vnf.id,
        "operation": str(vnf.operation),
        "notificationStatus": "START" if vnf.state in _GOES_ON else "RESULT",
        "operationState": str(vnf.state),
        "isAutomaticInvocation": vnf.is_automatic,
    }
    if vnf.state not in _GOES_ON:
        body.update({**vnf.resource_changes, **vnf.changes, **problem_details(vnf.error, vnf.cause, vnf.hint)})
    kind = NotificationType.VNF_LCM_OPERATION_OCCURRENCE
    return Notification(type=kind, time_s=vnf.state_entered_s, ns_id=operation.ns_id, body=body)


def _of_ns(operation: NsLcmOpOcc, records: Iterable[StepRecord], vnfs: Iterable[VnfLcmOpOcc]) -> Notification:
    """NsLcmOperationOccurrenceNotification (SOL005 §6.5.2.5)."""
    body: dict[str, Any] = {
        "nsInstanceId": operation.ns_id,
        "nsInstanceName": operation.ns_name,
        "nsLcmOpOccId": operation.id,
        "operation": _type(operation),
        "notificationStatus": "START" if operation.state in _GOES_ON else "RESULT",
        "operationState": str(operation.state),
        "isAutomaticInvocation": operation.is_automatic,
    }
    if operation.state not in _GOES_ON:
        body.update(_affected(operation, records, vnfs))
        body.update(_error(operation, records))
    kind = NotificationType.NS_LCM_OPERATION_OCCURRENCE
    return Notification(type=kind, time_s=operation.state_entered_s, ns_id=operation.ns_id, body=body)


def _type(operation: NsLcmOpOcc) -> str:
    return str(_TYPE.get(operation.operation, operation.operation))


def _error(operation: NsLcmOpOcc, records: Iterable[StepRecord]) -> dict[str, Any]:
    failed = worst(records)
    cause = failed.error_class if failed and told(failed) == operation.error else ""
    return problem_details(operation.error, cause, operation.hint)


def _affected(
    operation: NsLcmOpOcc, records: Iterable[StepRecord], vnfs: Iterable[VnfLcmOpOcc]
) -> dict[str, list[dict[str, Any]]]:
    """affectedVnf, affectedVl, affectedVnffg and affectedSap, each once, in the order of the plan; of the service's own
    those that were begun. A path whose graph nobody wrote down is told as a graph of its own."""
    elements = operation.params.get("asked", {}).get("elements", {})
    links: dict[str, list[StepRecord]] = {}
    graphs: dict[str, list[StepRecord]] = {}
    saps: dict[str, dict[str, Any]] = {}
    for record in records:
        parts = record.step.key.partition("@")[0].split("/")
        key = "/".join(parts[:3])
        if parts[1:2] == ["vl"]:
            links.setdefault(key, []).append(record)
        elif parts[1:2] == ["chain"]:
            graphs.setdefault(elements.get(key, {}).get("vnffgInstanceId", key), []).append(record)
        for sap, change in _sap_changes(record.step) if record.attempt else ():
            names = {"sapInstanceId": sap, **elements.get(sap, {}), "sapName": sap.rpartition("/")[2]}
            saps[sap] = {**names, "changeType": change, "changeResult": _outcome([record])["changeResult"]}

    def paths(graph: str) -> set[str]:
        return {key for key, names in elements.items() if names.get("vnffgInstanceId") == graph}

    found: dict[str, list[dict[str, Any]]] = {
        "affectedVnf": [
            {
                "vnfInstanceId": vnf.vnf_id,
                **vnf.is_of,
                "vnfName": vnf.vnf_id.rpartition("/")[2],
                "changeType": _vnf_change(operation, vnf.operation),
                "changeResult": _CHANGE_RESULT.get(vnf.state, "FAILED"),
                **({"changedInfo": changes} if (changes := _renamed(vnf.changes, _CHANGED)) else {}),
            }
            for vnf in vnfs
        ],
        "affectedVl": [
            {"nsVirtualLinkInstanceId": link, **_link_desc(steps), **elements.get(link, {}), **outcome}
            for link, steps in links.items()
            if (outcome := _outcome(steps))
        ],
        "affectedVnffg": [
            {"vnffgInstanceId": graph, **elements.get(steps[0].step.key, {}), **outcome}
            for graph, steps in graphs.items()
            if (outcome := _outcome(steps, paths(graph)))
        ],
        "affectedSap": list(saps.values()),
    }
    return {name: items for name, items in found.items() if items}


def _renamed(changes: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): change for name, change in changes.items()}


def _link_desc(records: Iterable[StepRecord]) -> dict[str, str]:
    """Which link of the NSD it is: the segment says."""
    specs = (one.step.spec or one.step.before or {} for one in records if one.step.kind == ResourceKind.SEGMENT)
    return next(({"nsVirtualLinkDescId": spec["name"]} for spec in specs if spec.get("name")), {})


def _outcome(records: Collection[StepRecord], paths: Collection[str] = ()) -> dict[str, str]:
    """changeType and changeResult of what these steps did to one link or graph; nothing where none was begun.

    A graph comes or goes with all of its ``paths``; where only some do, it is modified. What is on a host that does not
    answer is left: what is to go has not gone then, all else does without it.
    """
    touching = [record for record in records if is_touching(record.step)]
    begun = [record for record in touching if record.attempt]
    if not begun:
        return {}
    changes = {_CHANGE.get(record.step.change, "MODIFY") for record in touching}
    is_whole = {record.step.key for record in touching}.issuperset(paths)
    change = changes.pop() if len(changes) == 1 and is_whole else "MODIFY"
    shown = [record for record in records if record.step.verb is Verb.VERIFY or is_touching(record.step)]
    if all(stands(one) for one in shown if one.step.change != "leave" or change == "DELETE"):
        result = "COMPLETED"
    elif all(one.state is StepState.UNDONE for one in begun) and not all(map(stands, begun)):
        result = "ROLLED_BACK"
    else:
        result = "FAILED"
    return {"changeType": change, "changeResult": result}


def _vnf_change(operation: NsLcmOpOcc, what: VnfOperation) -> str:
    """changeType of a VNF."""
    if operation.operation is OperationKind.UPDATE and what is VnfOperation.TERMINATE:
        return "REMOVE"
    if what is VnfOperation.INSTANTIATE and operation.params.get("updateType") == "ADD_VNF":
        return "ADD"
    return _VNF_CHANGE.get(what, str(what))


def _sap_changes(step: Step) -> Iterator[tuple[str, str]]:
    """changeType (ADD, REMOVE, MODIFY) of the SAPs at a link that are not as they were."""
    now, before = _ports_outside(step.spec), _ports_outside(step.before)
    if step.before is None and step.change != "create":
        now = {}  # what they were before, nobody says
    for key in sorted(now.keys() | before.keys()):
        if now.get(key) != before.get(key):
            yield key, "ADD" if key not in before else "REMOVE" if key not in now else "MODIFY"


def _ports_outside(spec: Mapping[str, Any] | None) -> dict[str, Any]:
    ports = (spec or {}).get("ports", ()) if (spec or {}).get("kind") == ResourceKind.SEGMENT else ()
    return {port["key"]: port for port in ports if port["key"].split("/")[1:2] == ["sap"]}
