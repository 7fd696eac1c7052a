"""Static rules: what is plainly wrong, seen without any learning. Pure: equal sight, equal symptoms.

What cannot be seen is neither well nor broken: its key is *blind*, and its alarms stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from manor.api.assure import PerceivedSeverity
from manor.api.resources import ChainSpec, NodeSpec, Observed, Phase, PowerState, SegmentSpec
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Service, Sight, vnf_of
from manor.model.alarm import EventType, FaultyResourceType

__all__ = ["DEAD", "EMPTIED", "OFF", "Findings", "Rank", "Symptom", "find_symptoms", "measured_on"]

EMPTIED = "host-emptied"
OFF = frozenset({"node-absent", "node-stopped", "crashed"})
"""Causes that say of a machine that it does not run."""
DEAD = OFF | {EMPTIED, "heartbeat-lost"}
"""Causes that need neither learning nor confirmation."""
_MEASURED = NodeSpec | SegmentSpec | ChainSpec


class Rank(IntEnum):
    """What may explain what: a symptom is explained by one of a lower rank only."""

    ENDPOINT = 0
    HOST = 1
    NODE = 2
    GUEST = 3
    LINK = 4
    CHAIN = 5
    THRESHOLD = 6
    LEARNED = 7
    DRIFT = 8
    ALONE = 9
    """What explains nothing but that which ``follows`` it: who measures nothing has killed nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Symptom:
    """One thing that is wrong now."""

    ns_id: str
    managed_object_id: str
    resource_key: str
    cause: str
    rank: Rank
    severity: PerceivedSeverity
    event_type: EventType
    resource_type: FaultyResourceType
    detail: tuple[str, ...] = ()
    explained_by: frozenset[str] = frozenset()
    """Keys of resources, hosts and endpoints whose own fault would be the reason for this one."""
    follows: tuple[str, str] | None = None
    """The fault that this is a part of. It is an alarm beside that one's, for it is what is acted on."""
    confirmations: tuple[str, ...] = ()
    since_s: float = 0.0
    """When it began, where the rule knows; 0 for just now."""
    hold_s: float = 0.0
    """How long it has to last before it is an alarm."""

    @property
    def fault(self) -> tuple[str, str]:
        """As :attr:`manor.model.alarm.AlarmRecord.fault`."""
        return self.resource_key, self.cause


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All symptoms, and the keys that could not be looked at."""

    symptoms: tuple[Symptom, ...] = ()
    blind: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    """Keys of what nobody could see and no operation is changing: since when it is so or gone is still known."""
    deaf: frozenset[str] = frozenset()
    """Keys of machines of which no detector has a word now: their learned alarms stay as they are."""


def find_symptoms(services: Sequence[Service], sight: Sight, settings: AssuranceSettings) -> Findings:
    """What is wrong with services, hosts and endpoints. A service that an operation is changing is left alone."""
    symptoms = [*_endpoints(sight, settings), *_hosts(sight)]
    blind: set[str] = set()
    hidden: set[str] = set()
    for service in services:
        if service.is_changing:
            blind.update((*service.keys(), *service.places()))
            continue
        for endpoint, node in service.nodes():
            if sight.is_hidden(endpoint, node.host) or _unknown(sight.seen(endpoint, node.key)):
                hidden.update((node.key, service.place(endpoint, node.host), f"{endpoint}/{node.host}"))
                blind.update((node.key, service.place(endpoint, node.host)))
            else:
                symptoms += _node(service, endpoint, node, sight, settings)
        flows: list[tuple[str, SegmentSpec | ChainSpec]] = [*service.segments(), *service.chains()]
        for endpoint, spec in flows:
            is_hidden = endpoint not in sight.observed or service.id in sight.outdated
            if is_hidden or _unknown(sight.seen(endpoint, spec.key)):
                hidden.add(spec.key)
                blind.add(spec.key)
            else:
                symptoms += _flow(service, endpoint, spec, sight, settings)
    return Findings(symptoms=tuple(symptoms), blind=frozenset(blind), hidden=frozenset(hidden))


def _unknown(seen: Observed | None) -> bool:
    return seen is not None and seen.phase is Phase.UNKNOWN


def _endpoints(sight: Sight, settings: AssuranceSettings) -> Iterator[Symptom]:
    for endpoint, reason in sight.silent.items():
        yield Symptom(
            ns_id="",
            managed_object_id=endpoint,
            resource_key=endpoint,
            cause="endpoint-silent",
            rank=Rank.ENDPOINT,
            severity=PerceivedSeverity.MAJOR,
            event_type=EventType.COMMUNICATIONS_ALARM,
            resource_type=FaultyResourceType.NETWORK if endpoint.startswith("sdn:") else FaultyResourceType.COMPUTE,
            detail=(reason,),
            explained_by=frozenset(host for host in sight.lost_hosts if host.startswith(f"{endpoint}/")),
            hold_s=settings.degraded_s,
        )
    for source, reason in sight.mute.items():
        yield Symptom(
            ns_id="",
            managed_object_id=source,
            resource_key=source,
            cause="telemetry-silent",
            rank=Rank.ALONE,
            severity=PerceivedSeverity.MINOR,
            event_type=EventType.COMMUNICATIONS_ALARM,
            resource_type=FaultyResourceType.COMPUTE,
            detail=(reason,),
            explained_by=frozenset({source, *(host for host in sight.lost_hosts if host.startswith(f"{source}/"))}),
            hold_s=settings.degraded_s,
        )


def _hosts(sight: Sight) -> Iterator[Symptom]:
    for host, reason in sight.lost_hosts.items():
        yield Symptom(
            ns_id="",
            managed_object_id=host,
            resource_key=host,
            cause="host-lost",
            rank=Rank.HOST,
            severity=PerceivedSeverity.CRITICAL,
            event_type=EventType.EQUIPMENT_ALARM,
            resource_type=FaultyResourceType.COMPUTE,
            detail=(reason,) if reason else (),
        )


def _node(
    service: Service, endpoint: str, node: NodeSpec, sight: Sight, settings: AssuranceSettings
) -> Iterator[Symptom]:
    seen = sight.seen(endpoint, node.key)
    wanted = node.power is PowerState.STARTED
    reason = str(seen.detail.get("reason") or "") if seen else ""
    cause, hold_s = "", 0.0
    if seen is None:
        cause, reason = "node-absent", f"{endpoint} does not have it"
    elif seen.phase is Phase.ERROR and wanted:
        cause = "crashed"
    elif seen.phase is Phase.STOPPED and wanted:
        cause = "node-stopped"
    elif seen.phase is Phase.PENDING:
        # It may be on its way; after its host has booted it is not, and nothing else would start it.
        cause, hold_s = "node-stopped" if wanted else "node-degraded", settings.degraded_s
    elif seen.phase is Phase.DEGRADED:
        cause, hold_s = "node-degraded", settings.degraded_s
    above = _above(service, endpoint, node)
    if cause:
        yield Symptom(
            ns_id=service.id,
            managed_object_id=vnf_of(node.key),
            resource_key=node.key,
            cause=cause,
            rank=Rank.NODE,
            severity=PerceivedSeverity.CRITICAL if cause in DEAD else PerceivedSeverity.MAJOR,
            event_type=EventType.PROCESSING_ERROR_ALARM,
            resource_type=FaultyResourceType.COMPUTE,
            detail=(reason,) if reason else (),
            explained_by=above,
            hold_s=hold_s,
        )
        return
    silent_s = sight.unheard_s.get(node.key, 0.0)
    if wanted and silent_s >= settings.heartbeat_lost_s and node.key in service.guests():
        sends = sight.at_work.get(node.key)
        why = "though the machine runs"
        if sends is not None:
            why = f"but it sends {sends:.0f} packets/s as it usually does: it works, and nobody can look inside"
        yield Symptom(
            ns_id=service.id,
            managed_object_id=vnf_of(node.key),
            resource_key=node.key,
            cause="heartbeat-lost" if sends is None else "agent-silent",
            rank=Rank.GUEST,
            severity=PerceivedSeverity.CRITICAL if sends is None else PerceivedSeverity.MINOR,
            event_type=EventType.COMMUNICATIONS_ALARM,
            resource_type=FaultyResourceType.COMPUTE,
            detail=(f"its guest agent does not answer any more, {why}",),
            explained_by=above,
            since_s=sight.time_s - silent_s,
        )


def _flow(
    service: Service, endpoint: str, spec: SegmentSpec | ChainSpec, sight: Sight, settings: AssuranceSettings
) -> Iterator[Symptom]:
    key = spec.key
    seen = sight.seen(endpoint, key)
    if seen is not None and seen.phase is Phase.ACTIVE:
        return
    is_chain = isinstance(spec, ChainSpec)
    told = seen.detail.get("missing") if seen else None
    missing = [str(item) for item in told] if isinstance(told, list | tuple) else []
    ports = _ports(spec)
    off = {port.device for _, node in service.nodes() if node.power is PowerState.STOPPED for port in node.ports}
    lacking = [item for item in missing if not any(device in item for device in off & ports)]
    if missing and not lacking:
        return  # what an operator stopped has no ports: that is as wished
    lacks = ", ".join(lacking[:5])
    what = "chain" if is_chain else "link"
    yield Symptom(
        ns_id=service.id,
        managed_object_id=service.id,
        resource_key=key,
        cause=f"{what}-degraded" if seen else f"{what}-absent",
        rank=Rank.CHAIN if is_chain else Rank.LINK,
        severity=PerceivedSeverity.MAJOR,
        event_type=EventType.COMMUNICATIONS_ALARM,
        resource_type=FaultyResourceType.NETWORK,
        detail=(f"missing: {lacks}",) if lacks else (),
        explained_by=_above(service, endpoint, spec),
        hold_s=settings.degraded_s,
    )


def measured_on(service: Service, symptom: Symptom) -> Symptom:
    """The symptom as one of what is measured on its resource: explained by a fault of that, or of what it stands on."""
    key = symptom.resource_key
    specs = ((one.endpoint, one.spec) for one in service.desired.resources if one.spec.key == key)
    above = (_above(service, endpoint, spec) for endpoint, spec in specs if isinstance(spec, _MEASURED))
    return replace(symptom, explained_by=frozenset({key}).union(*above))


def _above(service: Service, endpoint: str, spec: NodeSpec | SegmentSpec | ChainSpec) -> frozenset[str]:
    """Keys of what a resource stands on: its endpoint, hosts, and the machines and the link that it joins."""
    if isinstance(spec, NodeSpec):
        return frozenset({endpoint, f"{endpoint}/{spec.host}", service.place(endpoint, spec.host)})
    ports = _ports(spec)
    joined = [(vim, node) for vim, node in service.nodes() if any(port.device in ports for port in node.ports)]
    keys = {key for vim, node in joined for key in (node.key, f"{vim}/{node.host}")}
    return frozenset({endpoint, *keys, *([spec.segment] if isinstance(spec, ChainSpec) else [])})


def _ports(spec: SegmentSpec | ChainSpec) -> frozenset[str]:
    """Devices that a link or chain names."""
    if isinstance(spec, SegmentSpec):
        return frozenset(port.device for port in spec.ports)
    functions = [port for hop in spec.positions for e in hop.elements for port in (e.ingress, e.egress)]
    return frozenset(port.device for port in (*spec.sources, *spec.destinations, *functions))
