"""From an alarm to a ruling: what the policy asks for, and whether the budget, the mode and the facts allow it. Pure.

Every no has its reason in words, because «why was it not healed» is asked as often as «why was it».
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from manor.api.assure import Alarm, HealAction, HealDecision, HealRecord
from manor.api.resources import Observed, Phase, VolumeSpec
from manor.assure.declared import forbidden
from manor.assure.drift import LinksAlone
from manor.assure.settings import AssuranceSettings, Mode
from manor.assure.sight import Service, vnf_of
from manor.lcm.draining import nodes_of
from manor.model.alarm import AlarmRecord, Outcome, Ruling, to_event

__all__ = ["Situation", "Verdict", "as_of_now", "budget", "decide", "heal_records", "recreate_keys"]

_HOUR_S = 3600.0
_REPAIRS = frozenset({HealAction.RESTART, HealAction.RECREATE, HealAction.REPAIR})
_ACTS = _REPAIRS | {HealAction.SCALE_OUT, HealAction.REROUTE}
_OFF = frozenset({Phase.STOPPED, Phase.ERROR, Phase.PENDING})
"""What comes up by being ensured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """All that a decision about one alarm depends on."""

    alarm: AlarmRecord
    service: Service
    seen: Mapping[str, Observed]
    """The service's machines, by key; those that are not there are not in it."""
    heals: Sequence[Ruling]
    """Decisions that became operations, of all services, over the last day at least."""
    settings: AssuranceSettings
    now_s: float
    held_since_s: float = 0.0
    """Since when a heal of it is held back; 0 where none is."""
    sites: Mapping[str, Set[str]] = field(default_factory=dict)
    """VIMs that hold a service's machines, by the service's id."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """Ids of alarms that follow from an emptied host's, with that one's: see :func:`_events`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is to be done about an alarm, and why, or why not."""

    action: HealAction
    outcome: Outcome
    reason: str
    targets: tuple[str, ...] = field(default=())
    aspect: str = ""
    """What to scale out by; empty for one more VNF."""
    is_locked: bool = False
    """Whether it is a person's own word that holds it: a lock, or a window of maintenance."""
    is_of_links: bool = False
    """Whether nothing but links, chains and where ports are plugged may change with it."""

    @property
    def is_repair(self) -> bool:
        """Whether machines are brought back; several of these are one operation."""
        return self.action in _REPAIRS


def as_of_now(alarm: AlarmRecord, now_s: float) -> Alarm:
    """The alarm for the policy, as if it were raised now, so that heals since it was raised count as history."""
    return replace(to_event(alarm), alarm_raised_time_s=now_s)


def heal_records(heals: Sequence[Ruling]) -> tuple[HealRecord, ...]:
    """The history as policies see it."""
    return tuple(
        HealRecord(
            time_s=heal.time_s,
            resource_key=heal.resource_key,
            action=heal.action,
            succeeded=heal.succeeded is not False and heal.helped is not False,
            probable_cause=heal.probable_cause,
        )
        for heal in heals
    )


def decide(situation: Situation, decision: HealDecision, *, aspect: str = "") -> Verdict:
    """What becomes of a policy's or a rule's decision. STARTED says that it is to be done now."""
    alarm, settings, name = situation.alarm, situation.settings, situation.service.name
    action, reason = decision.action, decision.reason
    # A place stands for all that the service has on a host.
    targets = tuple(machine for key in decision.targets for machine in situation.service.machines(key))

    def verdict(outcome: Outcome, why: str) -> Verdict:
        of_links = isinstance(decision, LinksAlone)
        return Verdict(action=action, outcome=outcome, reason=why, targets=targets, aspect=aspect, is_of_links=of_links)

    if action is HealAction.NONE:
        return verdict(Outcome.NOTHING, reason)
    if action is HealAction.ESCALATE:
        return verdict(Outcome.ESCALATED, reason)
    if action not in _ACTS:
        return verdict(Outcome.ESCALATED, f"{reason}; a person has to {action}: this release cannot")
    nodes = {node.key for _, node in situation.service.nodes()}
    stranger = next((key for key in targets if key not in nodes), None)
    if action is not HealAction.REPAIR and (stranger is not None or not targets):
        what = stranger or "nothing"
        return verdict(Outcome.ESCALATED, f"{reason}; {what} is no machine of {name}, so it cannot be {action}ed")
    mode = settings.mode(name, learned=alarm.learned)
    if mode is Mode.OFF:
        return verdict(Outcome.NOTHING, f"healing is off for {name}")
    if said := forbidden(situation.service, action, targets):
        return verdict(Outcome.ESCALATED, f"{reason}; {said}: a person has to {action}")
    if alarm.learned and not alarm.confirmations:
        return verdict(Outcome.NOTHING, "a detector alone never acts: no independent sign confirms it")
    if locked := settings.hold(name, situation.now_s):
        return replace(verdict(Outcome.HELD, f"{reason}; held: {locked}"), is_locked=True)
    held = budget(situation, targets)
    if not held and action in _REPAIRS:
        held = _blast(situation, targets)
    held = held or _watched(situation, action)
    if held and situation.held_since_s and situation.now_s - situation.held_since_s >= settings.held_s:
        yours = f"manor heal approve {situation.roots.get(alarm.id, alarm.id)}"
        told = f"held for more than {settings.held_s:g} s: {held}; do it yourself: {yours}"
        return verdict(Outcome.ESCALATED, f"{reason}; {told}")
    if held:
        return verdict(Outcome.HELD, f"{reason}; held: {held}")
    useless = _useless(situation, action)
    if useless:
        return verdict(Outcome.ESCALATED, f"{reason}; {useless}: a person has to look")
    if mode is Mode.SHADOW:
        return verdict(Outcome.SHADOW, reason)
    if mode is Mode.ASK:
        return verdict(Outcome.ASK, reason)
    return verdict(Outcome.STARTED, reason)


def budget(situation: Situation, targets: Sequence[str]) -> str:
    """Why a heal has to wait; empty where it may begin."""
    settings, service, now_s = situation.settings, situation.service, situation.now_s
    if service.is_changing:
        return "an operation is changing the service"
    if service.held_by:
        return f"operation {service.held_by} stopped and waits for a person: manor op show {service.held_by}"
    recent = [heal for heal in situation.heals if now_s - _HOUR_S < heal.time_s <= now_s]
    own = [(h, {h.resource_key, *service.machines(h.resource_key)}) for h in recent if h.ns_id == service.id]
    for key in dict.fromkeys((situation.alarm.resource_key, *targets)):
        mine = [heal for heal, healed in own if key in healed]
        rest_s = settings.cool_down_s - (now_s - max((heal.ended_s or heal.time_s for heal in mine), default=-math.inf))
        if rest_s > 0:
            return f"it was healed less than {settings.cool_down_s:g} s ago"
        if len(mine) >= settings.heals_per_resource_hour:
            return (
                f"it was healed {len(mine)} times within the hour, and {settings.heals_per_resource_hour} are allowed"
            )
    vnfs = {vnf_of(key) for key in targets}
    sites = {endpoint for endpoint, node in service.nodes() if node.key in targets or not targets}
    event, events = _events(situation)
    counted = (
        (
            "its VNF",
            settings.heals_per_vnf_hour,
            {h.operation_id for h, healed in own if vnfs & {*map(vnf_of, healed)}},
        ),
        (service.name, settings.heals_per_service_hour, {h.operation_id for h, _ in own}),
        (
            ", ".join(sorted(sites)),
            settings.heals_per_site_hour,
            {events[h.alarm_id, h.operation_id] for h in recent if situation.sites.get(h.ns_id, sites) & sites},
        ),
        ("this installation", settings.heals_per_hour, {events[h.alarm_id, h.operation_id] for h in recent}),
    )
    for what, allowed, heals in counted:
        if len(heals) >= allowed and event not in heals:
            return f"{what} had {len(heals)} heals within the hour, and {allowed} are allowed"
    return ""


def _events(situation: Situation) -> tuple[str, dict[tuple[str, str], str]]:
    """What a heal that begins now counts as where those of several services are counted, and by alarm and operation
    what each did.

    Of one root the first of each service are one event. So are the second, and no part of the first: the root stays
    for as long as one of its services is not healed, and its host may be rebooted meanwhile.
    """
    times: dict[tuple[str, str], dict[str, int]] = {}
    events = {}
    for heal in situation.heals:
        event = heal.operation_id
        if root := situation.roots.get(heal.alarm_id):
            mine = times.setdefault((root, heal.ns_id), {})
            event = f"{root} {mine.setdefault(heal.operation_id, len(mine))}"
        events[heal.alarm_id, heal.operation_id] = event
    root = situation.roots.get(situation.alarm.id)
    return (f"{root} {len(times.get((root, situation.service.id), ()))}" if root else ""), events


def _blast(situation: Situation, targets: Sequence[str]) -> str:
    """Why none of these live machines may go: too few of those that stand in for it would be at work. Those that go
    take turns, and so it is one at a time; the dead cost nothing more."""
    for what, members in _stand_ins(situation.service):
        out = [key for key in members if key not in targets and not _at_work(situation, key)]
        allowed = max(1, math.floor(len(members) * situation.settings.blast_radius))
        if len(out) >= allowed and any(key in targets and _at_work(situation, key) for key in members):
            return (
                f"{len(out)} of {len(members)} machines of {what} are out of service, "
                f"and no more than {allowed} may be at once"
            )
    return ""


def _stand_ins(service: Service) -> Iterator[tuple[str, Collection[str]]]:
    """Machines that stand in for each other, and what they are together: a VDU, a position of a chain."""
    for (_, vdu), members in service.groups().items():
        yield vdu or "its group", members
    for _, chain in service.chains():
        for position in chain.positions:
            yield position.name, {node for element in position.elements for node in nodes_of(element)}


def _at_work(situation: Situation, key: str) -> bool:
    seen = situation.seen.get(key)
    return seen is not None and seen.phase is Phase.ACTIVE


def _watched(situation: Situation, action: HealAction) -> str:
    """Why what was done for this very alarm, or to grow its VNF, comes first: nobody knows yet whether it helped."""
    alarm = situation.alarm
    for heal in situation.heals:
        grew = action is heal.action is HealAction.SCALE_OUT and vnf_of(heal.resource_key) == vnf_of(alarm.resource_key)
        if heal.helped is None and (heal.alarm_id == alarm.id or grew):
            return f"it is watched whether the last {heal.action} helps"
    return ""


def _useless(situation: Situation, action: HealAction) -> str:
    """What was tried for this very alarm and did not help is not tried again."""
    tried = [heal for heal in situation.heals if heal.alarm_id == situation.alarm.id and heal.action is action]
    if any(heal.succeeded and heal.helped is False for heal in tried):
        return f"a {action} was done for this alarm and did not help"
    return ""


def recreate_keys(
    service: Service, seen: Mapping[str, Observed], action: HealAction, targets: Sequence[str]
) -> tuple[str, ...]:
    """What has to be removed and made anew, for those of the targets that are there; nothing for a REPAIR.

    A machine that is dead comes back by being ensured; one that runs and is sick has to go first. RECREATE renews the
    disks made from an image too, and leaves every other disk, which holds the VNF's data, as it is.
    """
    if action is HealAction.REPAIR:
        return ()
    gone: list[str] = []
    volumes = {r.spec.key: r.spec for r in service.desired.resources if isinstance(r.spec, VolumeSpec)}
    for _, node in service.nodes():
        if node.key not in targets:
            continue
        there = seen.get(node.key)
        if action is HealAction.RECREATE:
            gone += [disk.volume for disk in node.disks if disk.volume in volumes and volumes[disk.volume].image]
        if there is not None and (action is HealAction.RECREATE or there.phase not in _OFF):
            gone.append(node.key)
    return tuple(gone)
