"""What is done about the alarms that are roots, or parts of one: each is decided on, and what a service needs is one
operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from manor.api import HealAction, HealDecision, HealPolicy, HealRecord, Observed, ServiceView
from manor.assure.deciding import Situation, Verdict, as_of_now, decide, heal_records
from manor.assure.declared import by_trigger
from manor.assure.drift import Compared, by_drift
from manor.assure.emptied import followers
from manor.assure.healing import Said, held, refused, start_heal
from manor.assure.recording import Recording
from manor.assure.rules import aspect_of, by_rule
from manor.assure.settings import FILE, AssuranceSettings, read_settings
from manor.assure.sight import Service, Sight
from manor.errors import ManorError, PluginError
from manor.lcm.runtime import Runtime
from manor.model.alarm import AlarmRecord, Outcome, Ruling
from manor.plugin.connecting import made

__all__ = ["Acting"]

_FRESH_S = 2.0
"""For how long one sight is acted on: a heal may be long in planning, and what is so after it has to be seen anew."""


class Acting:
    """One thread at a time calls it."""

    def __init__(self, rt: Runtime, recording: Recording, clock: Callable[[], float]) -> None:
        self._rt = rt
        self._recording = recording
        self._clock = clock
        self.next = ""
        """Id of the service that the last sight was too old for, and that the next one begins with."""
        self._policy: tuple[tuple[str, str], HealPolicy] | None = None

    def act(
        self,
        services: Sequence[Service],
        sight: Sight,
        alarms: Sequence[AlarmRecord],
        heals: Sequence[Ruling],
        compared: Mapping[str, Compared],
        settings: AssuranceSettings,
    ) -> None:
        """Decide on each of these alarms that is about a service at rest and a root, or its part of a host that was
        emptied, and begin what is to be done. What this sight is too old for by then is left to the next."""
        now_s, began_s = sight.time_s, self._clock()
        parts = {one.id: root.id for root in alarms for one in followers(root, alarms)}
        own = [alarm for alarm in alarms if alarm.is_root_cause or alarm.id in parts]
        roots = {**self._recording.roots, **parts}
        history = heal_records(heals)
        sites = {service.id: {endpoint for endpoint, _ in service.nodes()} for service in services}
        first = next((number for number, service in enumerate(services) if service.id == self.next), 0)
        self.next = ""
        for service in (*services[first:], *services[:first]):
            mine = [alarm for alarm in own if alarm.ns_id == service.id]
            if service.is_changing or not mine:
                continue
            if self._clock() - began_s > _FRESH_S:
                self.next = service.id
                return
            seen = {key: one for endpoint, node in service.nodes() if (one := sight.seen(endpoint, key := node.key))}
            wanted: list[tuple[AlarmRecord, Verdict]] = []
            for alarm in mine:
                if self._recording.rests(alarm, now_s, settings.cool_down_s):
                    continue
                situation = Situation(
                    alarm=alarm,
                    service=service,
                    seen=seen,
                    heals=heals,
                    settings=settings,
                    now_s=now_s,
                    held_since_s=self._recording.held_since_s(alarm),
                    sites=sites,
                    roots=roots,
                )
                decision, aspect = self._decision(situation, compared.get(service.id), history)
                verdict = decide(situation, decision, aspect=aspect)
                if verdict.outcome is Outcome.STARTED:
                    wanted.append((alarm, verdict))
                else:
                    self._recording.add(alarm, verdict, now_s)
            # Machines are brought back together and first; what else there is to do comes alone, after them.
            repairs = [pair for pair in wanted if pair[1].is_repair]
            if wanted:  # and what is begun counts for the services after this one
                heals = (*heals, *self._begin(service, seen, repairs or wanted[:1], settings, now_s))

    def _decision(
        self, situation: Situation, compared: Compared | None, history: Sequence[HealRecord]
    ) -> tuple[HealDecision, str]:
        """What is asked for, by the first of those who have a say; and the aspect to scale out by."""
        alarm, service, settings = situation.alarm, situation.service, situation.settings
        decision, aspect = by_rule(alarm, service, settings.rules), aspect_of(alarm, service, settings.rules)
        if decision is None:
            decision, aspect = by_trigger(alarm, service)
        decision = decision or by_drift(alarm, service, compared, settings, situation.seen)
        if decision is None:
            view = ServiceView(
                id=service.id,
                name=service.name,
                nsd_id=service.nsd_id,
                state="INSTANTIATED",
                resources=(*service.keys(), *service.places()),
                labels=service.labels,
            )
            decision = self._asked(situation, view, history)
        return decision, aspect

    def _asked(self, situation: Situation, view: ServiceView, history: Sequence[HealRecord]) -> HealDecision:
        """The policy's word. One that fails leaves this alarm to a person, and the others as they are."""
        policy, alarm = situation.settings.policy, situation.alarm
        try:
            decision = self._chosen_policy(situation.settings).decide(as_of_now(alarm, situation.now_s), view, history)
            if not isinstance(decision, HealDecision):
                raise PluginError(f"it gave a {type(decision).__name__} for a decision")
        except ManorError as error:
            reason = f"policy {policy} failed: {error.message}"
            return HealDecision(action=HealAction.ESCALATE, targets=(alarm.resource_key,), reason=reason)
        return decision

    def _chosen_policy(self, settings: AssuranceSettings) -> HealPolicy:
        made_of = settings.policy, repr(sorted(settings.policy_settings.items()))
        if self._policy is None or self._policy[0] != made_of:
            chosen = self._rt.plugins.choose("manor_heal_policies", settings.policy)
            self._policy = made_of, made(chosen, settings.policy_settings, self._rt.plugins.counters)
        return self._policy[1]

    def _begin(
        self,
        service: Service,
        seen: Mapping[str, Observed],
        wanted: Sequence[tuple[AlarmRecord, Verdict]],
        settings: AssuranceSettings,
        now_s: float,
    ) -> Sequence[Ruling]:
        """Begin the operation; what is said with it. Where all is whole by now nothing is, and the alarms clear."""
        verdicts = [verdict for _, verdict in wanted]
        said = Said(wanted, now_s, lambda: self._hold(service, settings))
        try:
            start_heal(self._rt, service, seen, verdicts, said.beside)
        except ManorError as error:
            after = held(said.held, verdicts) if said.held else refused(error, verdicts)
            for (alarm, _), verdict in zip(wanted, after, strict=True):
                self._recording.add(alarm, verdict, now_s)
            return ()
        for ruling, changed in said.told:
            self._recording.begun(ruling, changed)
        return [ruling for ruling, _ in said.told]

    def _hold(self, service: Service, before: AssuranceSettings) -> str:
        """Why nothing may be begun now, by what an operator has written since; empty where it may."""
        try:
            settings = read_settings(self._rt.home)
        except ManorError:
            settings = before  # as long as there is a mistake in them
        return settings.hold(service.name, self._clock()) if settings.enabled else f"enabled is false in {FILE}"
