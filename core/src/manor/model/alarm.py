"""Alarms as ETSI has them, and what was decided about each: what the store keeps and ``manor alarm`` shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from manor.api.assure import Alarm, HealAction, PerceivedSeverity

__all__ = [
    "AckState",
    "AlarmRecord",
    "EventType",
    "FaultyResourceType",
    "Outcome",
    "Ruling",
    "to_event",
]


class AckState(StrEnum):
    """ackState."""

    UNACKNOWLEDGED = "UNACKNOWLEDGED"
    ACKNOWLEDGED = "ACKNOWLEDGED"


class EventType(StrEnum):
    """eventType (SOL005 §8.5.4.5)."""

    COMMUNICATIONS_ALARM = "COMMUNICATIONS_ALARM"
    PROCESSING_ERROR_ALARM = "PROCESSING_ERROR_ALARM"
    ENVIRONMENTAL_ALARM = "ENVIRONMENTAL_ALARM"
    QOS_ALARM = "QOS_ALARM"
    EQUIPMENT_ALARM = "EQUIPMENT_ALARM"


class FaultyResourceType(StrEnum):
    """faultyResourceType."""

    COMPUTE = "COMPUTE"
    STORAGE = "STORAGE"
    NETWORK = "NETWORK"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmRecord:
    """Alarm (SOL005 §8.5.2.4). Times are seconds since the epoch, 0 for not yet."""

    id: str
    ns_id: str
    """The service; empty for an alarm on a host or an endpoint."""
    managed_object_id: str
    """managedObjectId: the VNF instance, the service, or ``<endpoint>`` or ``<endpoint>/<host>``."""
    resource_key: str
    """rootCauseFaultyResource.faultyResource."""
    faulty_resource_type: FaultyResourceType
    perceived_severity: PerceivedSeverity
    event_type: EventType
    probable_cause: str
    learned: bool = False
    """faultType: whether a detector inferred it."""
    fault_details: tuple[str, ...] = ()
    is_root_cause: bool = True
    correlated_alarm_ids: tuple[str, ...] = ()
    confirmations: tuple[str, ...] = ()
    """Independent signs that agree with a learned alarm, in words."""
    escalated: str = ""
    """Why a person has to look; empty while nobody has to."""
    ack_state: AckState = AckState.UNACKNOWLEDGED
    judged_true: bool | None = None
    """What an operator said of it: that there was a fault, that there was none, or nothing."""
    event_time_s: float = 0.0
    """When the fault was first seen."""
    alarm_raised_time_s: float = 0.0
    alarm_changed_time_s: float = 0.0
    alarm_cleared_time_s: float = 0.0
    alarm_acknowledged_time_s: float = 0.0

    @property
    def fault(self) -> tuple[str, str]:
        """What tells one fault from another: an active alarm is unique in it."""
        return self.resource_key, self.probable_cause

    @property
    def is_active(self) -> bool:
        """Whether it is not cleared."""
        return not self.alarm_cleared_time_s

    def told(self) -> AlarmRecord:
        """The alarm as others see it: with what a person has to know, and CLEARED where it is. It keeps what it was
        raised with."""
        if not self.is_active:
            return replace(self, perceived_severity=PerceivedSeverity.CLEARED)
        said = (f"handed to a person: {self.escalated}",) if self.escalated else ()
        return replace(self, fault_details=(*self.fault_details, *said))


class Outcome(StrEnum):
    """What became of a decision."""

    STARTED = "started"
    """An operation does it."""
    SHADOW = "shadow"
    """It would have been done; the mode only says so."""
    ASK = "ask"
    """It waits for ``manor heal approve``."""
    HELD = "held"
    """A budget, a cool-down or a lock keeps it back for now."""
    NOTHING = "nothing"
    """Nothing is called for."""
    ESCALATED = "escalated"
    """A person has to look."""
    FAILED = "failed"
    """It could not be started: the plan was refused, or could not be made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """One decision about one alarm, with its reason: written when it differs from the one before."""

    id: str
    alarm_id: str
    ns_id: str
    resource_key: str
    time_s: float
    action: HealAction
    outcome: Outcome
    reason: str
    probable_cause: str = ""
    """The alarm's."""
    operation_id: str = ""
    ended_s: float = 0.0
    """When its operation ended."""
    succeeded: bool | None = None
    """Whether its operation completed."""
    helped: bool | None = None
    """Whether the alarm cleared after it."""

    @property
    def is_heal(self) -> bool:
        """Whether the world was changed by it."""
        return bool(self.operation_id)

    @property
    def is_a_persons(self) -> bool:
        """Whether it leaves the alarm to a person."""
        return self.outcome in (Outcome.ESCALATED, Outcome.FAILED)


def to_event(alarm: AlarmRecord) -> Alarm:
    """The alarm as policies and observers see it."""
    told = alarm.told()
    return Alarm(
        id=alarm.id,
        managed_object_id=alarm.managed_object_id,
        resource_key=alarm.resource_key,
        perceived_severity=told.perceived_severity,
        probable_cause=alarm.probable_cause,
        alarm_raised_time_s=alarm.alarm_raised_time_s,
        learned=alarm.learned,
        confirmations=alarm.confirmations,
        fault_details=told.fault_details,
    )
