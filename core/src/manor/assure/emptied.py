"""Hosts on which nothing runs any more, as after a reboot: one event, whatever their number of services and machines.

Each service is healed by itself, so each has its own alarm, of all that it has on the host. Where several services are
in it together, those alarms follow from one about the host. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from manor.api.assure import PerceivedSeverity
from manor.api.resources import Phase, PowerState
from manor.assure.sight import Service, Sight
from manor.assure.symptoms import EMPTIED, OFF, Findings, Rank, Symptom
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType

__all__ = ["followers", "is_of_all", "with_emptied"]

_RUNS = frozenset({Phase.ACTIVE, Phase.DEGRADED})


def is_of_all(alarm: AlarmRecord) -> bool:
    """Whether it is about an emptied host, and each service on it has an alarm of its own."""
    return alarm.probable_cause == EMPTIED and not alarm.ns_id


def followers(alarm: AlarmRecord, alarms: Sequence[AlarmRecord]) -> tuple[AlarmRecord, ...]:
    """Those of the alarms that an emptied host is the root of, each of which is acted on; none for another alarm."""
    return tuple(one for one in alarms if alarm.id in one.correlated_alarm_ids) if is_of_all(alarm) else ()


def with_emptied(
    findings: Findings, services: Sequence[Service], sight: Sight, active: Sequence[AlarmRecord]
) -> Findings:
    """The findings with a symptom for each host that was emptied, and for what each service had on it.

    The host's stays for as long as an alarm that follows from it is ``active``: what is healed first makes no other
    event of the rest. None begins where a machine runs that an operation is changing.
    """
    known = {root.resource_key: mine for root in active if (mine := followers(root, active))}
    off = {symptom.resource_key: symptom for symptom in findings.symptoms if symptom.cause in OFF}
    events = {host: _of_host(host, "", 0.0) for host in known}
    running = _running(services, sight)
    emptied: dict[tuple[str, str], Symptom] = {}
    for (endpoint, host), there in _machines(services).items():
        key = f"{endpoint}/{host}"
        gone = [(service, keys) for service, keys in there if all(one in off for one in keys)]
        mine = [_of_service(service, endpoint, host, [off[one] for one in keys]) for service, keys in gone]
        is_event = len(gone) == len(there) > 1 and (key in known or key not in running)
        if is_event:
            what = f"none of the {sum(len(keys) for _, keys in gone)} machines of {len(gone)} services on it runs"
            events[key] = _of_host(key, f"{what}, as after a reboot", min(symptom.hold_s for symptom in mine))
        before = {alarm.resource_key for alarm in known.get(key, ())}
        for symptom, (_, keys) in zip(mine, gone, strict=True):
            follows = (key, EMPTIED) if is_event or symptom.resource_key in before else None
            # One machine by itself says nothing of its host, unless it has waited since that booted.
            if follows or len(keys) > 1 or _waits(sight, endpoint, keys[0]):
                emptied[symptom.fault] = replace(symptom, follows=follows)
    others = (symptom for symptom in findings.symptoms if symptom.fault not in emptied)
    return replace(findings, symptoms=(*events.values(), *emptied.values(), *others))


def _machines(services: Sequence[Service]) -> dict[tuple[str, str], list[tuple[Service, list[str]]]]:
    """Keys of those that should run, by host and service; of a service that an operation is changing nobody can say."""
    hosts: dict[tuple[str, str], list[tuple[Service, list[str]]]] = {}
    for service in services:
        mine: dict[tuple[str, str], list[str]] = {}
        for endpoint, node in service.nodes():
            if node.power is PowerState.STARTED and not service.is_changing:
                mine.setdefault((endpoint, node.host), []).append(node.key)
        for place, keys in mine.items():
            hosts.setdefault(place, []).append((service, keys))
    return hosts


def _running(services: Sequence[Service], sight: Sight) -> set[str]:
    """Hosts on which a machine of a service that an operation is changing is seen to run."""
    machines = ((service, endpoint, node) for service in services for endpoint, node in service.nodes())
    return {
        f"{endpoint}/{node.host}"
        for service, endpoint, node in machines
        if service.is_changing and (seen := sight.seen(endpoint, node.key)) and seen.phase in _RUNS
    }


def _waits(sight: Sight, endpoint: str, key: str) -> bool:
    seen = sight.seen(endpoint, key)
    return seen is not None and seen.phase is Phase.PENDING


def _of_host(host: str, what: str, hold_s: float) -> Symptom:
    return Symptom(
        ns_id="",
        managed_object_id=host,
        resource_key=host,
        cause=EMPTIED,
        rank=Rank.ALONE,
        severity=PerceivedSeverity.CRITICAL,
        event_type=EventType.EQUIPMENT_ALARM,
        resource_type=FaultyResourceType.COMPUTE,
        detail=(what,) if what else (),
        explained_by=frozenset({host, host.rpartition("/")[0]}),
        hold_s=hold_s,
    )


def _of_service(service: Service, endpoint: str, host: str, dead: Sequence[Symptom]) -> Symptom:
    """One of all its machines there, which explains each of theirs."""
    none = f"none of its {len(dead)} machines on host {host} runs"
    what = none if len(dead) > 1 else f"its machine on host {host} does not run"
    return Symptom(
        ns_id=service.id,
        managed_object_id=service.id,
        resource_key=service.place(endpoint, host),
        cause=EMPTIED,
        rank=Rank.HOST,
        severity=PerceivedSeverity.CRITICAL,
        event_type=EventType.EQUIPMENT_ALARM,
        resource_type=FaultyResourceType.COMPUTE,
        detail=(f"{what}, as after a reboot",),
        explained_by=frozenset({endpoint, f"{endpoint}/{host}"}),
        # As the slowest of them; then it is an alarm before any of them is.
        hold_s=max(symptom.hold_s for symptom in dead),
    )
