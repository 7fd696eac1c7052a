"""What is done about the alarms that are roots: each is decided on, and what a service needs is one operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manor.api import HealDecision, HealPolicy, HealRecord, Observed, ServiceView
from manor.assure.deciding import Situation, Verdict, as_of_now, decide, heal_records
from manor.assure.declared import by_trigger
from manor.assure.drift import Compared, by_drift
from manor.assure.healing import refused, start_heal
from manor.assure.recording import Recording
from manor.assure.rules import aspect_of, by_rule
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Service, Sight
from manor.errors import ManorError
from manor.lcm.runtime import Runtime
from manor.model.alarm import AlarmRecord, Outcome, Ruling
from manor.plugin.connecting import validated

__all__ = ["Acting"]


class Acting:
    """One thread at a time calls it."""

    def __init__(self, rt: Runtime, recording: Recording) -> None:
        self._rt = rt
        self._recording = recording
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
        """Decide on each of these alarms that is a root and about a service at rest, and begin what is to be done."""
        now_s = sight.time_s
        roots = [alarm for alarm in alarms if alarm.is_root_cause]
        history = heal_records(heals)
        sites = {service.id: {endpoint for endpoint, _ in service.nodes()} for service in services}
        for service in services:
            mine = [alarm for alarm in roots if alarm.ns_id == service.id]
            if service.is_changing or not mine:
                continue
            seen = {key: one for endpoint, node in service.nodes() if (one := sight.seen(endpoint, key := node.key))}
            wanted: list[tuple[AlarmRecord, Verdict]] = []
            for alarm in mine:
                situation = Situation(
                    alarm=alarm,
                    service=service,
                    seen=seen,
                    heals=heals,
                    settings=settings,
                    now_s=now_s,
                    held_since_s=self._recording.held_since_s(alarm),
                    sites=sites,
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
                heals = (*heals, *self._begin(service, seen, repairs or wanted[:1], now_s))

    def _decision(
        self, situation: Situation, compared: Compared | None, history: Sequence[HealRecord]
    ) -> tuple[HealDecision, str]:
        """What is asked for, by the first of those who have a say; and the aspect to scale out by."""
        alarm, service, settings = situation.alarm, situation.service, situation.settings
        decision, aspect = by_rule(alarm, service, settings.rules), aspect_of(alarm, service, settings.rules)
        if decision is None:
            decision, aspect = by_trigger(alarm, service)
        decision = decision or by_drift(alarm, service, compared, settings)
        if decision is None:
            view = ServiceView(
                id=service.id,
                name=service.name,
                nsd_id=service.nsd_id,
                state="INSTANTIATED",
                resources=(*service.keys(), *service.places()),
                labels=service.labels,
            )
            decision = self._chosen_policy(settings).decide(as_of_now(alarm, situation.now_s), view, history)
        return decision, aspect

    def _chosen_policy(self, settings: AssuranceSettings) -> HealPolicy:
        made_of = settings.policy, repr(sorted(settings.policy_settings.items()))
        if self._policy is None or self._policy[0] != made_of:
            chosen = self._rt.plugins.choose("manor_heal_policies", settings.policy)
            self._policy = made_of, chosen.record.create(validated(chosen, settings.policy_settings))
        return self._policy[1]

    def _begin(
        self,
        service: Service,
        seen: Mapping[str, Observed],
        wanted: Sequence[tuple[AlarmRecord, Verdict]],
        now_s: float,
    ) -> list[Ruling]:
        verdicts = [verdict for _, verdict in wanted]
        operation_id = ""
        try:
            operation_id = start_heal(self._rt, service, seen, verdicts)
        except ManorError as error:
            verdicts = refused(error, verdicts)
        else:
            if not operation_id:
                return []  # it is whole again by now: the alarm clears by itself
        kept = [
            self._recording.add(alarm, verdict, now_s, operation_id)
            for (alarm, _), verdict in zip(wanted, verdicts, strict=True)
        ]
        return [ruling for ruling in kept if ruling is not None and ruling.is_heal]
