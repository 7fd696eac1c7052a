"""The loop in ``manor serve``: look, judge, raise, decide, act. It is thin: all that it decides is decided elsewhere.

Three threads. One looks at the machines every second, and at once where a VIM tells of an event, and decides; one
measures; one compares all that there is with what should be. All go on after any error, for a loop that ended on one
would leave every service alone.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from manor.api import HealDecision, HealPolicy, Observed, ServiceView
from manor.assure.comparing import Comparing
from manor.assure.confirming import confirm
from manor.assure.deciding import Situation, Verdict, as_of_now, decide, heal_records
from manor.assure.declared import by_trigger
from manor.assure.declared import crossed as indicated
from manor.assure.drift import Compared, by_drift, with_drift
from manor.assure.healing import followed_up, operation_state, refused, ruling_of, start_heal
from manor.assure.learning import symptom_of
from manor.assure.listening import Listening
from manor.assure.looking import Looking, Services
from manor.assure.measuring import Measuring
from manor.assure.raising import Changes, Memory, transition, with_present_signs
from manor.assure.ruling import aspect_of, by_rule
from manor.assure.settings import FILE, AssuranceSettings, read_settings
from manor.assure.sight import Service, Sight
from manor.assure.symptoms import Findings, find_symptoms
from manor.errors import ManorError
from manor.lcm.runtime import Runtime
from manor.model.alarm import AlarmRecord, EventType, Outcome, Ruling, to_event
from manor.plugin.connecting import validated
from manor.telemetry.families import AssuranceFigures

__all__ = ["Assurance"]

_DAY_S = 86400.0
_LEASE_S = 15.0
_LOAD = 0.1
"""Most of one thread's time that may go into looking while no event calls for it."""
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.05, 5.0
_COMPARES = "manor-drift"
_MEASURED = frozenset({EventType.QOS_ALARM, EventType.COMMUNICATIONS_ALARM})
"""What machines do, and links and chains, is looked at by the thread that measures."""
_log = logging.getLogger("manor.assure")


class Assurance:
    """Watches the services of one installation, in the process that runs operations."""

    def __init__(self, rt: Runtime, *, clock: Callable[[], float] = time.time) -> None:
        self._rt = rt
        self._clock = clock
        self._who = uuid.uuid4().hex[:12]
        self._services = Services(rt)
        self._measured_services = Services(rt)
        self._looking = Looking(rt)
        self._measuring = Measuring(rt, clock=clock)
        self._comparing = Comparing(rt)
        self._compared: Mapping[str, Compared] = {}
        self._memory = Memory()
        self._settings = AssuranceSettings()
        self._settings_stamp: tuple[int, int] | None = None
        self._policy: tuple[tuple[str, str], HealPolicy] | None = None
        self._running: Mapping[str, Mapping[str, Observed]] = {}
        self._silent: Collection[str] = ()
        self._ruled: dict[str, tuple[str, str, str]] = {}
        self._counted: Counter[tuple[str, str]] = Counter()
        self._alarms: Mapping[tuple[str, str], int] = {}
        self._pruned_s = 0.0
        self._end = threading.Event()
        self._woken = threading.Event()
        self._listening = Listening(rt, self._woken)
        self._threads: list[threading.Thread] = []

    # the threads

    def start(self) -> None:
        """Begin, in threads of its own."""
        works = (("manor-assure", self._watch), ("manor-telemetry", self._measure), (_COMPARES, self._compare))
        for name, work in works:
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the present round, and keep what was learned. A round that hangs is not waited for."""
        self._end.set()
        self._listening.stop()
        self._woken.set()
        self._comparing.wanted.set()
        until_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        self._looking.close()
        # Who compares may wait for an endpoint for longer, and needs nothing of what is closed here.
        if not any(thread.is_alive() for thread in self._threads if thread.name != _COMPARES):
            self._measuring.close()

    def _watch(self) -> None:
        while not self._end.is_set():
            began_s = time.monotonic()
            self._guarded(self.round)
            took_s = time.monotonic() - began_s
            self._end.wait(
                max(min(took_s, _MOST_PAUSE_S), _LEAST_PAUSE_S)
            )  # a storm of events takes half of the time, not all of it
            rest_s = max(self._settings.observe_s - 2 * took_s, took_s * (1 / _LOAD - 2))
            self._woken.wait(max(0.0, min(rest_s, _MOST_PAUSE_S)))
            self._woken.clear()

    def _measure(self) -> None:
        while not self._end.is_set():
            began_s = time.monotonic()
            self._guarded(self.measure)
            self._end.wait(max(self._settings.collect_s - (time.monotonic() - began_s), 0.05))

    def _compare(self) -> None:
        while not self._end.is_set():
            began_s = time.monotonic()
            self._guarded(self.compare)
            took_s = time.monotonic() - began_s
            if not self._end.wait(self._comparing.least_pause_s(took_s)):
                self._comparing.wanted.wait(self._comparing.pause_s(self._settings, took_s))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ManorError as error:
            _log.warning("this round is lost: %s", error.message)
        except Exception:  # the loop has to outlive any mistake of ours, and say it
            _log.exception("this round is lost")

    # one round of each

    def measure(self) -> None:
        """Collect, keep and judge KPIs once. What is suspected newly is told at once."""
        if not self._settings.enabled:
            return
        before = self._measuring.suspected
        self._measuring.round(self._measured_services.read(), self._running, self._settings)
        if self._measuring.suspected - before:
            self._woken.set()

    def compare(self) -> None:
        """Compare what should be with what is, once."""
        if self._settings.enabled and self._measuring.leads:
            self._comparing.round(self._settings, self._silent, self._clock())
        else:
            self._comparing.forget()

    def round(self) -> None:
        """Look at everything once, and do what follows from it."""
        self._settings = self._fresh_settings()
        if not self._settings.enabled:
            return
        self._measuring.leads = self._leads()
        if not self._measuring.leads:
            return
        before = self._services.read()
        vims = {endpoint for service in before for endpoint, _ in service.nodes()}
        self._listening.to(vims)
        found = self._looking.look(vims)
        # What an operation changed while we looked is neither as it was nor as it will be.
        after = {service.id: service for service in self._services.read()}
        services = [
            service if after.get(service.id) == service else replace(service, is_changing=True)
            for service in before
            if service.id in after
        ]
        now_s = self._clock()  # what is seen is so now, and was perhaps not when the look began
        self._running = found.observed
        flows = self._measuring.flow_sight
        sight = Sight(
            time_s=now_s,
            observed={**found.observed, **flows.observed},
            silent={**found.silent, **flows.silent},
            lost_hosts=found.lost_hosts,
            mute=self._measuring.mute,
            unheard_s=self._measuring.heartbeats.unheard_s(),
            at_work=self._measuring.at_work,
        )
        self._silent = frozenset(sight.silent)
        self._comparing.want(services, self._settings)
        self._compared = self._comparing.now  # one and the same for all of this round
        findings = self._judge(services, sight)
        active, changes = self._raise(services, findings, now_s)
        self._tell(changes)
        # What is going away by itself, or cannot be seen just now, is not acted on.
        now = {symptom.fault: symptom for symptom in findings.symptoms}
        present = [with_present_signs(alarm, now[alarm.fault]) for alarm in active if alarm.fault in now]
        heals = self._follow_up(active, present, now_s)
        self._decide(services, sight, present, heals, now_s)
        self._prune(now_s)

    def figures(self) -> AssuranceFigures:
        """What there is to export now."""
        measuring = self._measuring
        return AssuranceFigures(
            rows=tuple(measuring.rows.values()),
            alarms=dict(self._alarms),
            rulings=dict(self._counted),
            samples=measuring.samples,
            collect_s=measuring.collect_s,
            detector_lag_s=measuring.learning.lag_s if measuring.learning else 0.0,
            silent=len(self._silent),
        )

    # its parts

    def _fresh_settings(self) -> AssuranceSettings:
        try:
            stat = (self._rt.home / FILE).stat()
            stamp: tuple[int, int] | None = (stat.st_mtime_ns, stat.st_size)
        except OSError:
            stamp = (0, 0)
        if stamp == self._settings_stamp:
            return self._settings
        self._settings_stamp = stamp
        try:
            return read_settings(self._rt.home)
        except ManorError as error:
            _log.error("%s; the settings before stay in force", error.message)
            return self._settings

    def _leads(self) -> bool:
        """Whether this process is the one that watches; on SQLite there is only one."""
        if self._rt.store.is_sqlite:
            return True
        from manor.store import leases

        with self._rt.store.begin() as tx:
            return leases.lead(tx, "assurance", self._who, self._clock(), _LEASE_S)

    def _judge(self, services: Sequence[Service], sight: Sight) -> Findings:
        """Static rules, and what detectors suspect with whoever agrees."""
        findings = find_symptoms(services, sight, self._settings)
        findings = with_drift(findings, services, self._compared, self._settings)
        settled = {service.id for service in services if not service.is_changing}
        crossed = [one for one in self._measuring.performance.symptoms if one.ns_id in settled]
        told = indicated(services, self._measuring.rows, self._settings.degraded_s)
        findings = replace(findings, symptoms=(*findings.symptoms, *crossed, *told))
        learning = self._measuring.learning
        if learning is None:
            return findings
        by_id = {service.id: service for service in services}
        inferred = []
        for suspicion in list(learning.suspicions.values()):
            service = by_id.get(suspicion.ns_id)
            if service is None or service.is_changing:
                continue
            signs = confirm(
                service,
                suspicion.resource_key,
                suspicion.kpis,
                sight=sight,
                flows=self._measuring.flows.now,
                rows=self._measuring.rows,
            )
            load = self._measuring.load.get(suspicion.resource_key)
            inferred.append(symptom_of(service, suspicion, signs, load=load))
        changing = {node.key for service in services if service.is_changing for _, node in service.nodes()}
        return replace(findings, symptoms=(*findings.symptoms, *inferred), deaf=learning.deaf | changing)

    def _raise(
        self, services: Sequence[Service], findings: Findings, now_s: float
    ) -> tuple[tuple[AlarmRecord, ...], Changes]:
        """The alarms that are active now, and what changed about them."""
        from manor.store import alarms

        with self._rt.store.read() as tx:
            known = alarms.active(tx)
        changes = transition(known, findings, self._memory, now_s, clear_s=self._settings.clear_s)
        self._memory = changes.memory
        # What is gone for good takes its alarms along.
        there = {service.id for service in services}
        lost = [
            replace(alarm, alarm_cleared_time_s=now_s, alarm_changed_time_s=now_s)
            for alarm in known
            if alarm.ns_id and alarm.ns_id not in there
        ]
        changes = replace(changes, cleared=(*(a for a in changes.cleared if a.ns_id in there or not a.ns_id), *lost))
        if changes.raised or changes.changed or changes.cleared:
            with self._rt.store.begin() as tx:
                raised = tuple(alarm for alarm in changes.raised if alarms.add(tx, alarm))
                for alarm in (*changes.changed, *changes.cleared):
                    # An operator may have acknowledged it since it was read.
                    now = alarms.find(tx, alarm.id) or alarm
                    acked = {
                        name: getattr(now, name) for name in ("ack_state", "alarm_acknowledged_time_s", "judged_true")
                    }
                    alarms.save(tx, replace(alarm, **acked))
                changes = replace(changes, raised=raised)
            with self._rt.store.read() as tx:
                known = alarms.active(tx)
        origin = {True: "learned", False: "static"}
        self._alarms = Counter((str(alarm.perceived_severity), origin[alarm.learned]) for alarm in known)
        return known, changes

    def _follow_up(
        self, active: Sequence[AlarmRecord], present: Sequence[AlarmRecord], now_s: float
    ) -> tuple[Ruling, ...]:
        """The heals of the last day, with what became of those that were still open."""
        from manor.store import alarms

        with self._rt.store.read() as tx:
            heals = list(alarms.heals(tx, since_s=now_s - _DAY_S))
            states = {r.operation_id: operation_state(tx, r.operation_id) for r in heals if r.helped is None}
        ids = {alarm.id for alarm in active}
        # What a machine is, is seen at once; how well it does is measured over some time, and may be an old word.
        again = {alarm.id for alarm in present if alarm.event_type not in _MEASURED}
        changed = []
        for index, ruling in enumerate(heals):
            state = states.get(ruling.operation_id)
            if state is None or ruling.helped is not None:
                continue
            after = followed_up(
                ruling,
                state,
                cleared=ruling.alarm_id not in ids,
                again=ruling.alarm_id in again,
                now_s=now_s,
                helped_within_s=self._settings.helped_within_s,
            )
            if after != ruling:
                heals[index] = after
                changed.append(after)
        if changed:
            with self._rt.store.begin() as tx:
                for ruling in changed:
                    alarms.save_ruling(tx, ruling)
        return tuple(heals)

    def _decide(
        self,
        services: Sequence[Service],
        sight: Sight,
        active: Sequence[AlarmRecord],
        heals: Sequence[Ruling],
        now_s: float,
    ) -> None:
        """Rule on every alarm that is a root; what is to be done for one service is one operation."""
        by_id = {service.id: service for service in services}
        history = heal_records(heals)
        sites = {service.id: {endpoint for endpoint, _ in service.nodes()} for service in services}
        for ns_id in dict.fromkeys(alarm.ns_id for alarm in active if alarm.is_root_cause):
            service = by_id.get(ns_id)
            if service is None or service.is_changing:
                continue
            seen = {key: one for endpoint, node in service.nodes() if (one := sight.seen(endpoint, key := node.key))}
            view = ServiceView(
                id=service.id,
                name=service.name,
                nsd_id=service.nsd_id,
                state="INSTANTIATED",
                resources=(*service.keys(), *service.places()),
                labels=service.labels,
            )
            wanted: list[tuple[AlarmRecord, Verdict]] = []
            for alarm in (alarm for alarm in active if alarm.ns_id == ns_id and alarm.is_root_cause):
                situation = Situation(
                    alarm=alarm,
                    service=service,
                    seen=seen,
                    heals=heals,
                    settings=self._settings,
                    now_s=now_s,
                    sites=sites,
                )
                rules = self._settings.rules
                decision, aspect = by_rule(alarm, service, rules), aspect_of(alarm, service, rules)
                if decision is None:
                    decision, aspect = by_trigger(alarm, service)
                decision = decision or by_drift(alarm, service, self._compared.get(ns_id), self._settings)
                decision = decision or self._ask_policy(alarm, view, history, now_s)
                verdict = decide(situation, decision, aspect=aspect)
                if verdict.outcome is Outcome.STARTED:
                    wanted.append((alarm, verdict))
                else:
                    self._rule(alarm, verdict, now_s)
            # Machines are brought back together and first; what else there is to do comes alone, after them.
            repairs = [pair for pair in wanted if pair[1].is_repair]
            if wanted:
                self._act(service, seen, repairs or wanted[:1], now_s)

    def _ask_policy(
        self, alarm: AlarmRecord, view: ServiceView, history: Sequence[object], now_s: float
    ) -> HealDecision:
        settings = self._settings
        made_of = settings.policy, repr(sorted(settings.policy_settings.items()))
        if self._policy is None or self._policy[0] != made_of:
            chosen = self._rt.plugins.choose("manor_heal_policies", settings.policy)
            self._policy = made_of, chosen.record.create(validated(chosen, settings.policy_settings))
        return self._policy[1].decide(as_of_now(alarm, now_s), view, history)  # type: ignore[arg-type]

    def _act(
        self,
        service: Service,
        seen: Mapping[str, Observed],
        wanted: Sequence[tuple[AlarmRecord, Verdict]],
        now_s: float,
    ) -> None:
        verdicts = [verdict for _, verdict in wanted]
        operation_id = ""
        try:
            operation_id = start_heal(self._rt, service, seen, verdicts)
        except ManorError as error:
            verdicts = refused(error, verdicts)
        else:
            if not operation_id:
                return  # it is whole again by now: the alarm clears by itself
        for (alarm, _), verdict in zip(wanted, verdicts, strict=True):
            self._rule(alarm, verdict, now_s, operation_id)

    def _rule(self, alarm: AlarmRecord, verdict: Verdict, now_s: float, operation_id: str = "") -> None:
        """Write a verdict down, once for as long as it stays the same."""
        from manor.store import alarms

        said = str(verdict.action), str(verdict.outcome), verdict.reason
        if not operation_id and alarm.id not in self._ruled:
            with self._rt.store.read() as tx:
                before = alarms.rulings(tx, alarm.id)
            if before:
                self._ruled[alarm.id] = str(before[-1].action), str(before[-1].outcome), before[-1].reason
        if not operation_id and self._ruled.get(alarm.id) == said:
            return
        self._ruled[alarm.id] = said
        self._counted[str(verdict.action), str(verdict.outcome)] += 1
        with self._rt.store.begin() as tx:
            alarms.add_ruling(tx, ruling_of(alarm, verdict, now_s, operation_id))
        level = logging.WARNING if verdict.outcome in (Outcome.ESCALATED, Outcome.FAILED) else logging.INFO
        _log.log(level, "alarm %s: %s %s: %s", alarm.id, verdict.action, verdict.outcome, verdict.reason)

    def _tell(self, changes: Changes) -> None:
        """Observers, after commit."""
        for alarm in (*changes.raised, *changes.changed, *changes.cleared):
            self._rt.plugins.emit_alarm_event(to_event(alarm))
        for alarm in changes.raised:
            _log.warning("alarm %s: %s on %s", alarm.id, alarm.probable_cause, alarm.resource_key)
        for alarm in changes.cleared:
            self._ruled.pop(alarm.id, None)
            _log.info("alarm %s is cleared: %s on %s", alarm.id, alarm.probable_cause, alarm.resource_key)

    def _prune(self, now_s: float) -> None:
        if now_s - self._pruned_s < 3600.0:
            return
        from manor.store import alarms

        self._pruned_s = now_s
        with self._rt.store.begin() as tx:
            alarms.prune(tx, now_s - self._settings.keep_days * _DAY_S)
