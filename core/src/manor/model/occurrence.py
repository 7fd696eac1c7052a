"""What is told of an operation on a service, and of what it is to each of its VNFs, as ETSI names it. Pure.

A service's operation begins before those of its VNFs, and rests once they do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from manor.api.plan import OperationKind, Step, Verb
from manor.api.resources import ResourceKind
from manor.model.instance import NsLcmOpOcc, StepRecord, StepState
from manor.model.notification import Notification, NotificationType, vnf_identifier
from manor.model.vnfoperation import VnfLcmOpOcc, VnfOperation, VnfOperationState, is_touching, occurrences, stands

__all__ = ["accepted", "passed", "unmade"]

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
    told = tuple(_of_vnf(operation, one) for one in vnfs)
    of_ns = _of_ns(operation, records, vnfs)
    return (of_ns, *told) if operation.state in _GOES_ON else (*told, of_ns)


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
        body.update(vnf.resource_changes)
        body.update(_error(vnf.error))
    kind = NotificationType.VNF_LCM_OPERATION_OCCURRENCE
    return Notification(type=kind, time_s=vnf.state_entered_s, ns_id=operation.ns_id, body=body)


def _of_ns(operation: NsLcmOpOcc, records: Iterable[StepRecord], vnfs: Iterable[VnfLcmOpOcc]) -> Notification:
    """NsLcmOperationOccurrenceNotification (SOL005 §6.5.2.5)."""
    body: dict[str, Any] = {
        "nsInstanceId": operation.ns_id,
        "nsInstanceName": operation.ns_name,
        "nsLcmOpOccId": operation.id,
        "operation": str(_TYPE.get(operation.operation, operation.operation)),
        "notificationStatus": "START" if operation.state in _GOES_ON else "RESULT",
        "operationState": str(operation.state),
        "isAutomaticInvocation": operation.is_automatic,
    }
    if operation.state not in _GOES_ON:
        body.update(_affected(operation, records, vnfs))
        body.update(_error(operation.error))
    kind = NotificationType.NS_LCM_OPERATION_OCCURRENCE
    return Notification(type=kind, time_s=operation.state_entered_s, ns_id=operation.ns_id, body=body)


def _error(error: str) -> dict[str, Any]:
    return {"error": {"status": 500, "detail": error}} if error else {}


def _affected(
    operation: NsLcmOpOcc, records: Iterable[StepRecord], vnfs: Iterable[VnfLcmOpOcc]
) -> dict[str, list[dict[str, Any]]]:
    """affectedVnf, affectedVl, affectedVnffg and affectedSap, each once, in the order of the plan; of the service's own
    those that were begun."""
    own: dict[str, list[StepRecord]] = {}
    saps: dict[str, dict[str, Any]] = {}
    for record in records:
        parts = record.step.key.partition("@")[0].split("/")
        if parts[1:2] in (["vl"], ["chain"]):
            own.setdefault("/".join(parts[:3]), []).append(record)
        for key, change in _sap_changes(record.step) if record.attempt else ():
            sap = {"sapInstanceId": key, "sapName": key.rpartition("/")[2], "changeType": change}
            saps[key] = {**sap, "changeResult": _outcome([record])["changeResult"]}
    changed = {key: outcome for key, steps in own.items() if (outcome := _outcome(steps))}
    found = {
        "affectedVnf": [
            {
                "vnfInstanceId": vnf.vnf_id,
                "changeType": _vnf_change(operation, vnf.operation),
                "changeResult": _CHANGE_RESULT.get(vnf.state, "FAILED"),
            }
            for vnf in vnfs
        ],
        "affectedVl": [{"id": key, **outcome} for key, outcome in changed.items() if "/vl/" in key],
        "affectedVnffg": [{"vnffgInstanceId": key, **outcome} for key, outcome in changed.items() if "/chain/" in key],
        "affectedSap": list(saps.values()),
    }
    return {name: items for name, items in found.items() if items}


def _outcome(records: Collection[StepRecord]) -> dict[str, str]:
    """changeType and changeResult of what these steps did to one link or path; nothing where none was begun.

    What is on a host that does not answer is left: what is to go has not gone then, all else does without it.
    """
    touching = [record for record in records if is_touching(record.step)]
    begun = [record for record in touching if record.attempt]
    if not begun:
        return {}
    changes = {_CHANGE.get(record.step.change, "MODIFY") for record in touching}
    change = changes.pop() if len(changes) == 1 else "MODIFY"
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
