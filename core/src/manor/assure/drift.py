"""Drift to alarms and decisions: what nobody else tells of, and what the operator's policy makes of it. Pure.

A machine that is dead, a link or a chain that is degraded has an alarm of its own. All else of a service that differs
is one alarm, and stands behind what is dead: a heal brings back the rest too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from manor.api.assure import HealAction, HealDecision, PerceivedSeverity
from manor.api.resources import Observed, Phase, ResourceKind
from manor.assure.settings import AssuranceSettings, DriftPolicy
from manor.assure.sight import Service
from manor.assure.symptoms import DEAD, Findings, Rank, Symptom
from manor.lcm.drifting import Drift, Drifted
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType

__all__ = ["DRIFTED", "LOST", "Compared", "LinksAlone", "broken", "by_drift", "flows_of", "unplugged", "with_drift"]

DRIFTED, LOST = "drift", "snapshot-lost"
_OWN = frozenset({ResourceKind.NODE, ResourceKind.SEGMENT, ResourceKind.CHAIN})
_TOLD = frozenset({Drift.MISSING, Drift.BROKEN})
_OTHERS = frozenset({"node-degraded", "link-absent", "link-degraded", "chain-absent", "chain-degraded"})
"""Causes of alarms that a repair does something about; what is dead is healed."""
_FLOWS = _OTHERS - {"node-degraded"}
_NOTHING_SEEN: Mapping[str, Observed] = {}
_TYPES = {
    ResourceKind.NODE: FaultyResourceType.COMPUTE,
    ResourceKind.VOLUME: FaultyResourceType.STORAGE,
    ResourceKind.IMAGE: FaultyResourceType.STORAGE,
    ResourceKind.SNAPSHOT: FaultyResourceType.STORAGE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One service beside what is real, when its last operation was the one that is named."""

    last_operation: str
    since_s: Mapping[tuple[str, Drift], float] = field(default_factory=dict)
    """What differs, by key and in which way, and when it did first."""
    standing: tuple[Drifted, ...] = ()
    """What differs for long enough."""
    is_whole: bool = True
    """All that it has could be looked at."""

    def is_of(self, service: Service) -> bool:
        """Whether it says something of the service as it is now."""
        return not service.is_changing and not service.held_by and self.last_operation == service.last_operation


@dataclass(frozen=True, kw_only=True, slots=True)
class LinksAlone(HealDecision):
    """A repair that may change links and chains, put ports back into the switch, and do nothing else, also of what was
    not yet seen when it was decided."""


def broken(findings: Findings) -> frozenset[str]:
    """Keys of what is seen to be wrong in a way that a comparison shows too, and a repair puts right."""
    return frozenset(symptom.resource_key for symptom in findings.symptoms if symptom.cause in _OTHERS)


def flows_of(service: Service) -> frozenset[str]:
    """Keys of its links and chains."""
    return frozenset(spec.key for _, spec in service.segments()) | {spec.key for _, spec in service.chains()}


def unplugged(seen: Mapping[str, Observed]) -> frozenset[str]:
    """Keys of machines that have nothing wrong but ports that are off the switch: to ensure one changes no more."""
    return frozenset(key for key, one in seen.items() if one.phase is Phase.DEGRADED and one.detail.get("unplugged"))


def with_drift(
    findings: Findings, services: Sequence[Service], compared: Mapping[str, Compared], settings: AssuranceSettings
) -> Findings:
    """The findings with a symptom for each service that has drifted."""
    symptoms, blind = list(findings.symptoms), set(findings.blind)
    for service in services:
        if settings.drift_of(service.name) is DriftPolicy.IGNORE:
            continue
        now = compared.get(service.id)
        if now is None or not now.is_of(service):
            blind.add(service.id)
            continue
        if not now.is_whole or len(now.standing) < len(now.since_s):
            blind.add(service.id)  # what has to last before it counts may be what there is an alarm for
        lost = [one for one in now.standing if one.drift is Drift.LOST]
        rest = [one for one in now.standing if one.drift is not Drift.LOST and not _has_alarm(one)]
        dead = {one.resource_key for one in findings.symptoms if one.ns_id == service.id and one.cause in DEAD}
        symptoms += [_symptom(service, DRIFTED, rest, dead)] if rest else []
        symptoms += [_symptom(service, LOST, lost, set())] if lost else []
    return replace(findings, symptoms=tuple(symptoms), blind=frozenset(blind))


def _has_alarm(one: Drifted) -> bool:
    return one.kind in _OWN and one.drift in _TOLD


def _symptom(service: Service, cause: str, items: Sequence[Drifted], dead: set[str]) -> Symptom:
    is_grave = any(one.runs or one.drift in (Drift.MISSING, Drift.BROKEN, Drift.LOST) for one in items)
    return Symptom(
        ns_id=service.id,
        managed_object_id=service.id,
        resource_key=service.id,
        cause=cause,
        rank=Rank.DRIFT,
        severity=PerceivedSeverity.MAJOR if is_grave else PerceivedSeverity.MINOR,
        event_type=EventType.PROCESSING_ERROR_ALARM,
        resource_type=_TYPES.get(items[0].kind, FaultyResourceType.NETWORK),
        detail=tuple(one.words(service.id) for one in sorted(items, key=lambda one: not one.runs)),
        explained_by=frozenset(dead),
    )


def by_drift(
    alarm: AlarmRecord,
    service: Service,
    now: Compared | None,
    settings: AssuranceSettings,
    seen: Mapping[str, Observed] = _NOTHING_SEEN,
) -> HealDecision | None:
    """What the policy of the service, whose machines are ``seen`` so, says about an alarm; None where others say it."""
    name, policy = service.name, settings.drift_of(service.name)
    if alarm.probable_cause == LOST:
        reason = f"nothing brings a lost snapshot back; be without it: manor vnf snapshot delete {name} NAME"
        return HealDecision(action=HealAction.NONE, reason=reason)
    if alarm.probable_cause not in (*_OTHERS, DRIFTED):
        return None
    is_link = alarm.probable_cause in _FLOWS or alarm.resource_key in unplugged(seen)
    if is_link and policy is DriftPolicy.REPORT:
        return _put_in_anew(alarm, service, now, seen)
    if policy is not DriftPolicy.REPAIR:
        reason = f"drift of {name} is reported, not repaired: manor ns drift {name} --repair"
        return HealDecision(action=HealAction.NONE, reason=reason) if alarm.probable_cause == DRIFTED else None
    items = now.standing if now is not None and now.is_of(service) else ()
    if alarm.probable_cause in _OTHERS and alarm.resource_key not in {one.key for one in items if _has_alarm(one)}:
        reason = f"{alarm.probable_cause} on {alarm.resource_key}: it is repaired if the next comparison shows it too"
        return HealDecision(action=HealAction.NONE, reason=reason)
    if now is None or not now.is_whole:
        return HealDecision(action=HealAction.NONE, reason=f"not all of {name} can be seen: its repair waits")
    said = "; ".join(one.words(service.id) for one in items[:3])
    reason = f"drift of {name}: {said}" + ("; …" if len(items) > 3 else "")
    if data := next((one for one in items if one.holds_data), None):
        reason += f"; a new {data.key.rpartition('/')[2]} would be empty: manor ns drift {name} --repair"
        return HealDecision(action=HealAction.ESCALATE, reason=reason)
    return HealDecision(action=HealAction.REPAIR, targets=_machines(service, items), reason=reason)


def _put_in_anew(
    alarm: AlarmRecord, service: Service, now: Compared | None, seen: Mapping[str, Observed]
) -> HealDecision:
    """A link, a chain or a port that is down is healed as a machine is, where its repair changes nothing else."""
    what, name = f"{alarm.probable_cause} on {alarm.resource_key}", service.name
    if now is None or not now.is_of(service):
        return HealDecision(action=HealAction.NONE, reason=f"{what}: its repair waits until {name} has been compared")
    flows, plugs = flows_of(service), {(key, Drift.BROKEN) for key in unplugged(seen)}
    if other := next((one[0] for one in now.since_s if one[0] not in flows and one not in plugs), None):
        reason = f"{what}; a repair would change {other} too: manor ns drift {name} --repair"
        return HealDecision(action=HealAction.ESCALATE, reason=reason)
    targets = () if alarm.resource_key in flows else (alarm.resource_key,)
    return LinksAlone(action=HealAction.REPAIR, targets=targets, reason=what)


def _machines(service: Service, items: Sequence[Drifted]) -> tuple[str, ...]:
    """Those that a repair may take down for a while: they differ themselves, or stand on a disk that does."""
    keys = {one.key for one in items}
    return tuple(node.key for _, node in service.nodes() if keys & {node.key, *(disk.volume for disk in node.disks)})
