"""Notifications as ETSI names them, made from what changed; pure, so each can be compared with the specification.

A notification is written in the transaction of its change: what was committed is told, what was not is never told.
``subscriptionId`` is added when it is delivered, for one notification goes to several subscribers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from manor.model.alarm import AlarmRecord
from manor.model.instance import NsInstance, PackageInfo, PackageKind

__all__ = [
    "Notification",
    "NotificationType",
    "Subscription",
    "alarm_changed",
    "iso",
    "ns_identifier",
    "package_changed",
    "vnf_identifier",
]


class NotificationType(StrEnum):
    """notificationType (SOL005 §5.5.2, §6.5.2, §8.5.2; SOL003 §5.5.2, §10.5.2)."""

    NS_LCM_OPERATION_OCCURRENCE = "NsLcmOperationOccurrenceNotification"
    VNF_LCM_OPERATION_OCCURRENCE = "VnfLcmOperationOccurrenceNotification"
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
    times = {
        "alarmChangedTime": alarm.alarm_changed_time_s,
        "alarmAcknowledgedTime": alarm.alarm_acknowledged_time_s,
        "alarmClearedTime": alarm.alarm_cleared_time_s,
    }
    body = {
        "alarm": {
            "id": alarm.id,
            "managedObjectId": alarm.managed_object_id,
            "rootCauseFaultyResource": {
                "faultyResource": {"resourceId": alarm.resource_key},
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
            **{name: iso(time_s) for name, time_s in times.items() if time_s},
        }
    }
    return Notification(type=NotificationType.ALARM, ns_id=alarm.ns_id, body=body)


def iso(time_s: float) -> str:
    """A time as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
