"""Notifications as ETSI names them, made from what changed; pure, so each can be compared with the specification.

A notification is written in the transaction of its change: what was committed is told, what was not is never told.
``subscriptionId`` is added when it is delivered, for one notification goes to several subscribers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from manor.api.plan import OperationKind
from manor.api.resources import ResourceKind
from manor.model.alarm import AlarmRecord
from manor.model.instance import NsInstance, NsLcmOpOcc, OperationState, PackageInfo, PackageKind

__all__ = [
    "Notification",
    "NotificationType",
    "Subscription",
    "Touched",
    "alarm_changed",
    "iso",
    "ns_identifier",
    "occurrence",
    "package_changed",
    "vnf_identifier",
]


class NotificationType(StrEnum):
    """notificationType (SOL005 §5.5.2, §6.5.2, §8.5.2; SOL003 §5.5.2, §10.5.2)."""

    NS_LCM_OPERATION_OCCURRENCE = "NsLcmOperationOccurrenceNotification"
    NS_IDENTIFIER_CREATION = "NsIdentifierCreationNotification"
    NS_IDENTIFIER_DELETION = "NsIdentifierDeletionNotification"
    VNF_IDENTIFIER_CREATION = "VnfIdentifierCreationNotification"
    VNF_IDENTIFIER_DELETION = "VnfIdentifierDeletionNotification"
    VNF_PACKAGE_ONBOARDING = "VnfPackageOnboardingNotification"
    VNF_PACKAGE_CHANGE = "VnfPackageChangeNotification"
    NSD_ONBOARDING = "NsdOnBoardingNotification"
    NSD_CHANGE = "NsdChangeNotification"
    NSD_DELETION = "NsdDeletionNotification"
    ALARM = "AlarmNotification"
    ALARM_CLEARED = "AlarmClearedNotification"
    THRESHOLD_CROSSED = "ThresholdCrossedNotification"
    PM_AVAILABLE = "PerformanceInformationAvailableNotification"


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """One thing that happened. ``seq`` grows in the order of commits; 0 before it was written."""

    type: NotificationType
    time_s: float = 0.0
    """0 for the moment it is written."""
    ns_id: str = ""
    """The service it is about; empty for packages and alarms on hosts."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """As on the wire, without ``id``, ``notificationType``, ``timeStamp`` and ``subscriptionId``."""
    seq: int = 0

    def document(self, installation: str, subscription_id: str = "") -> dict[str, Any]:
        """The whole document for a subscriber; ``id`` is equal however often it is delivered."""
        head = {
            "id": f"{installation}-{self.seq}",
            "notificationType": str(self.type),
            "timeStamp": iso(self.time_s),
        }
        return {**head, **({"subscriptionId": subscription_id} if subscription_id else {}), **self.body}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """Who wants to be told of what (LccnSubscription, FmSubscription and the like in one)."""

    id: str
    callback_uri: str
    types: tuple[NotificationType, ...] = ()
    """Empty for all."""
    ns_id: str = ""
    """Empty for all services."""
    secret_file: str = ""
    """Where the key of the signature is; the key itself is never kept."""
    created_s: float = 0.0
    cursor: int = 0
    """``seq`` of the last one that was delivered, or was not wanted."""
    failures: int = 0
    """Attempts since the last success."""
    error: str = ""

    def wants(self, notification: Notification) -> bool:
        """Whether this one is for this subscriber."""
        return (not self.types or notification.type in self.types) and self.ns_id in ("", notification.ns_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Touched:
    """A resource that an operation's steps touch: ``key`` as in the plan, ``change`` as its steps say."""

    key: str
    change: str
    saps: Mapping[str, Any] = field(default_factory=dict)
    """A link's ports to the outside, by key, as they are to be; with ``saps_before``, as they were."""
    saps_before: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def by(cls, step: Mapping[str, Any]) -> Touched:
        """What a step touches, from its JSON."""
        now, before = (_ports_outside(step.get(name) or {}) for name in ("spec", "before"))
        if step.get("before") is None and step.get("change") != "create":
            now = {}  # what they were before, nobody says
        return cls(key=step["key"], change=step.get("change", ""), saps=now, saps_before=before)


def _ports_outside(spec: Mapping[str, Any]) -> dict[str, Any]:
    ports = spec.get("ports", ()) if spec.get("kind") == ResourceKind.SEGMENT else ()
    return {port["key"]: port for port in ports if port["key"].split("/")[1:2] == ["sap"]}


_RESULT = frozenset(
    {
        OperationState.COMPLETED,
        OperationState.PARTIALLY_COMPLETED,
        OperationState.FAILED_TEMP,
        OperationState.FAILED,
        OperationState.ROLLED_BACK,
    }
)
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
    OperationKind.INSTANTIATE: "INSTANTIATE",
    OperationKind.TERMINATE: "TERMINATE",
    OperationKind.SCALE: "SCALE",
    OperationKind.HEAL: "HEAL",
    OperationKind.OPERATE: "OPERATE",
    OperationKind.REPAIR: "HEAL",
}
_OF_VNF = {
    "operate": "OPERATE",
    "scale": "SCALE",
    "scale_to_level": "SCALE",
    "change_flavour": "CHANGE_FLAVOUR",
    "change_external_connectivity": "CHANGE_EXTERNAL_VNF_CONNECTIVITY",
    "change_current_package": "CHANGE_VNFPKG",
}
"""By operation of the VNF's interface; what is not here only changes what is known of it."""
_CHANGE_RESULT = {OperationState.COMPLETED: "COMPLETED", OperationState.ROLLED_BACK: "ROLLED_BACK"}


def occurrence(
    operation: NsLcmOpOcc, state: OperationState, time_s: float, touched: Iterable[Touched] = ()
) -> Notification:
    """NsLcmOperationOccurrenceNotification (SOL005 §6.5.2.5): START where it goes on, RESULT where it rests."""
    body: dict[str, Any] = {
        "nsInstanceId": operation.ns_id,
        "nsInstanceName": operation.ns_name,
        "nsLcmOpOccId": operation.id,
        "operation": str(_TYPE.get(operation.operation, operation.operation)),
        "notificationStatus": "RESULT" if state in _RESULT else "START",
        "operationState": str(state),
        "isAutomaticInvocation": operation.is_automatic,
    }
    if state in _RESULT:
        body.update(_affected(operation, state, tuple(touched)))
        if operation.error:
            body["error"] = {"status": 500, "detail": operation.error}
    return Notification(
        type=NotificationType.NS_LCM_OPERATION_OCCURRENCE, time_s=time_s, ns_id=operation.ns_id, body=body
    )


def ns_identifier(ns: NsInstance, *, created: bool) -> Notification:
    """NsIdentifierCreationNotification or NsIdentifierDeletionNotification (SOL005 §6.5.2.6, §6.5.2.7)."""
    kind = NotificationType.NS_IDENTIFIER_CREATION if created else NotificationType.NS_IDENTIFIER_DELETION
    return Notification(type=kind, ns_id=ns.id, body={"nsInstanceId": ns.id, "nsInstanceName": ns.name})


def vnf_identifier(vnf_id: str, ns_id: str, *, created: bool) -> Notification:
    """VnfIdentifierCreationNotification or VnfIdentifierDeletionNotification (SOL003 §5.5.2.18, §5.5.2.19)."""
    kind = NotificationType.VNF_IDENTIFIER_CREATION if created else NotificationType.VNF_IDENTIFIER_DELETION
    return Notification(type=kind, ns_id=ns_id, body={"vnfInstanceId": vnf_id})


def package_changed(package: PackageInfo, change: str) -> Notification:
    """What became of a package; ``change`` is ``onboarded``, ``changed`` or ``deleted`` (SOL005 §5.5.2, §9.5.2)."""
    is_vnf = package.kind is PackageKind.VNF
    kind = {
        "onboarded": NotificationType.VNF_PACKAGE_ONBOARDING if is_vnf else NotificationType.NSD_ONBOARDING,
        "changed": NotificationType.VNF_PACKAGE_CHANGE if is_vnf else NotificationType.NSD_CHANGE,
        "deleted": NotificationType.VNF_PACKAGE_CHANGE if is_vnf else NotificationType.NSD_DELETION,
    }[change]
    body = (
        {"vnfPkgId": package.id, "vnfdId": package.descriptor_id}
        if is_vnf
        else {"nsdInfoId": package.id, "nsdId": package.descriptor_id}
    )
    if is_vnf and change != "onboarded":
        body["changeType"] = "PKG_DELETE" if change == "deleted" else "OP_STATE_CHANGE"
        body["operationalState"] = str(package.operational_state)
    elif change == "changed":
        body["nsdOperationalState"] = str(package.operational_state)
    return Notification(type=kind, body=body)


def alarm_changed(alarm: AlarmRecord, *, clears: bool = True) -> Notification:
    """AlarmNotification, or AlarmClearedNotification where it ``clears`` by this (SOL005 §8.5.2.5, §8.5.2.6)."""
    if not alarm.is_active and clears:
        body: dict[str, Any] = {"alarmId": alarm.id, "alarmClearedTime": iso(alarm.alarm_cleared_time_s)}
        return Notification(type=NotificationType.ALARM_CLEARED, ns_id=alarm.ns_id, body=body)
    told = alarm.told()
    body = {
        "alarm": {
            "id": alarm.id,
            "managedObjectId": alarm.managed_object_id,
            "rootCauseFaultyResource": {
                "faultyResource": alarm.resource_key,
                "faultyResourceType": str(alarm.faulty_resource_type),
            },
            "alarmRaisedTime": iso(alarm.alarm_raised_time_s),
            "eventTime": iso(alarm.event_time_s),
            "ackState": str(alarm.ack_state),
            "perceivedSeverity": str(told.perceived_severity),
            "eventType": str(alarm.event_type),
            "faultType": "learned" if alarm.learned else "observed",
            "probableCause": alarm.probable_cause,
            "isRootCause": alarm.is_root_cause,
            "correlatedAlarmIds": list(alarm.correlated_alarm_ids),
            "faultDetails": list(told.fault_details),
            **({} if alarm.is_active else {"alarmClearedTime": iso(alarm.alarm_cleared_time_s)}),
        }
    }
    return Notification(type=NotificationType.ALARM, ns_id=alarm.ns_id, body=body)


def iso(time_s: float) -> str:
    """A time as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _affected(operation: NsLcmOpOcc, state: OperationState, touched: tuple[Touched, ...]) -> dict[str, Any]:
    """affectedVnf, affectedVl, affectedVnffg and affectedSap, each resource once, in the order of the plan."""
    result = _CHANGE_RESULT.get(state, "FAILED")
    named: Mapping[str, str] = operation.params.get("wishes", {}).get("vnf_operations", {})
    done: dict[str, set[str]] = {f"{operation.ns_id}/vnf/{name}": set() for name in named}
    """By VNF, what becomes of its resources."""
    kinds = ("affectedVnf", "affectedVl", "affectedVnffg", "affectedSap")
    found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in kinds}
    for one in touched:
        parts = one.key.split("/")
        if len(parts) < 3 or one.change == "check":
            continue
        change = _CHANGE.get(one.change, "MODIFY")
        if parts[1] == "vnf":
            done.setdefault("/".join(parts[:3]), set()).add(change)
        elif parts[1] == "vl":
            name = parts[2].partition("@")[0]
            found["affectedVl"].setdefault(
                name, {"id": f"{parts[0]}/vl/{name}", "changeType": change, "changeResult": result}
            )
            for key, sap_change in _sap_changes(one):
                sap = {"sapInstanceId": key, "sapName": key.rpartition("/")[2], "changeType": sap_change}
                found["affectedSap"][key] = {**sap, "changeResult": result}
        elif parts[1] == "chain":
            found["affectedVnffg"][one.key] = {
                "vnffgInstanceId": one.key,
                "changeType": change,
                "changeResult": result,
            }
    for vnf_id, changes in done.items():
        change = _vnf_change(operation, named.get(vnf_id.rpartition("/")[2]), changes)
        found["affectedVnf"][vnf_id] = {"vnfInstanceId": vnf_id, "changeType": change, "changeResult": result}
    return {name: list(items.values()) for name, items in found.items() if items}


def _sap_changes(link: Touched) -> Iterator[tuple[str, str]]:
    """changeType (ADD, REMOVE, MODIFY) of the SAPs at a link that are not as they were."""
    for key in sorted(link.saps.keys() | link.saps_before.keys()):
        now, before = link.saps.get(key), link.saps_before.get(key)
        if now != before:
            yield key, "ADD" if before is None else "REMOVE" if now is None else "MODIFY"


def _vnf_change(operation: NsLcmOpOcc, wanted: str | None, changes: Collection[str]) -> str:
    """changeType of a VNF: what the operation is to it where it is named, else what became of its resources."""
    if wanted is not None:
        return _OF_VNF.get(wanted, "MODIFY_INFORMATION")
    if operation.operation is not OperationKind.UPDATE:
        return _VNF_CHANGE[operation.operation]
    if changes == {"ADD"}:
        return "ADD" if operation.params.get("updateType") == "ADD_VNF" else "INSTANTIATE"
    return "REMOVE" if changes == {"DELETE"} else "MODIFY_INFORMATION"
