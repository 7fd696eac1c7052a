"""The loop in ``manor serve``: look, judge, raise, decide, act. It is thin: all that it decides is decided elsewhere.

Four threads. One looks at the machines every second, and at once where a VIM tells of an event, and raises alarms; one
decides and acts on them, for a heal may be long in planning; one measures; one compares all that there is with what
should be. All go on after any error, for a loop that ended on one would leave every service alone.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from manor.api import Observed
from manor.assure.acting import Acting
from manor.assure.alarming import Alarming
from manor.assure.comparing import Comparing
from manor.assure.drift import Compared, broken
from manor.assure.judging import judge
from manor.assure.listening import Listening
from manor.assure.looking import Looking, Seen, Services
from manor.assure.measuring import Measuring
from manor.assure.recording import Recording
from manor.assure.settings import AssuranceSettings, SettingsFile
from manor.assure.sight import Service, Sight
from manor.errors import ManorError
from manor.lcm.runtime import Runtime
from manor.model.alarm import AlarmRecord
from manor.telemetry.families import AssuranceFigures

__all__ = ["Assurance", "rest_s"]

_DAY_S = 86400.0
_TIDY_S = 3600.0
_LEASE_S = 15.0
_LOAD = 0.1
"""Most of one thread's time that may go into looking while no event calls for it."""
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.05, 5.0
"""For the sake of that; ``observe_s`` may be longer."""
_COMPARES = "manor-drift"
_log = logging.getLogger("manor.assure")


def rest_s(took_s: float, observe_s: float) -> float:
    """Pure: from the end of a pause as long as a round took to the next round, where no event calls for one sooner."""
    return max(observe_s - 2 * took_s, min(took_s * (1 / _LOAD - 2), _MOST_PAUSE_S), 0.0)


def _is_outdated(service: Service, flows: Seen) -> bool:
    """Pure: whether an operation has changed a service since a controller was asked for its links and chains."""
    endpoints = {endpoint for endpoint, _ in (*service.segments(), *service.chains())}
    known = [flows.services[endpoint].get(service.id) for endpoint in endpoints & flows.services.keys()]
    return any(one is None or one.is_changing or one.last_operation != service.last_operation for one in known)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Round:
    """What one round has seen and raised, for those who act on it."""

    services: Sequence[Service]
    sight: Sight
    compared: Mapping[str, Compared]
    active: Collection[str]
    """Ids of all alarms that are active."""
    present: Sequence[AlarmRecord]
    """Those whose fault is seen now. What is going away by itself, or cannot be seen just now, is not acted on."""
    settings: AssuranceSettings


class Assurance:
    """Watches the services of one installation, in the process that runs operations."""

    def __init__(
        self, rt: Runtime, *, clock: Callable[[], float] = time.time, watches_as: Callable[[], str] | None = None
    ) -> None:
        self._rt = rt
        self._clock = clock
        own = uuid.uuid4().hex[:12]
        self._watches_as = watches_as or (lambda: own)
        """By what name this process watches, and writes its home's files; empty while another of its home does."""
        self._settings = SettingsFile(rt.home)
        self._services = Services(rt)
        self._measured_services = Services(rt)
        self._woken = threading.Event()
        self._looking = Looking(rt, self._woken.is_set)
        self._measuring = Measuring(rt, clock=clock)
        self._comparing = Comparing(rt)
        self._alarming = Alarming(rt)
        self._recording = Recording(rt)
        self._acting = Acting(rt, self._recording, clock)
        self._running: Mapping[str, Mapping[str, Observed]] = {}
        self._silent: Collection[str] = ()
        self._tidied_s = 0.0
        self._seen: _Round | None = None
        self._handed = threading.Event()
        """Set while what was seen waits to be acted on, or is."""
        self._end = threading.Event()
        self._listening = Listening(rt, self._woken)
        self._threads: list[threading.Thread] = []

    # the threads

    def start(self) -> None:
        """Begin, in threads of its own."""
        works = {
            "manor-assure": self._watch,
            "manor-heal": self._heal,
            "manor-telemetry": self._measure,
            _COMPARES: self._compare,
        }
        for name, work in works.items():
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the present round, and keep what was learned. A round that hangs is not waited for."""
        self._end.set()
        self._listening.stop()
        self._woken.set()
        self._handed.set()
        self._comparing.wanted.set()
        until_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        self._looking.close()
        # Who compares may wait for an endpoint for longer, and needs nothing of what is closed here.
        if not any(thread.is_alive() for thread in self._threads if thread.name != _COMPARES):
            self._measuring.close()

    def _watch(self) -> None:
        is_woken = False
        while not self._end.is_set():
            took_s = self._guarded(self._look_out)
            pause_s = max(min(took_s, _MOST_PAUSE_S), _LEAST_PAUSE_S)
            if is_woken:  # one event is followed at once; a storm of them takes half of the time, not all of it
                self._end.wait(pause_s)
                pause_s = 0.0
            is_woken = self._woken.wait(pause_s + rest_s(took_s, self._settings.now.observe_s))
            self._woken.clear()

    def _look_out(self) -> None:
        # What was seen before the last heal was begun says nothing of what that changes.
        is_free = not self._handed.is_set()
        seen = self._raise()
        if is_free and seen is not None:
            self._seen = seen
            self._handed.set()

    def _heal(self) -> None:
        while not self._end.is_set():
            self._handed.wait()
            if not self._end.is_set():
                self._guarded(lambda: self._follow(self._seen))
            self._handed.clear()
            if self._acting.next:
                self._woken.set()

    def _measure(self) -> None:
        while not self._end.is_set():
            took_s = self._guarded(self.measure)
            self._end.wait(max(self._settings.now.collect_s - took_s, 0.05))

    def _compare(self) -> None:
        while not self._end.is_set():
            took_s = self._guarded(self.compare)
            if not self._end.wait(self._comparing.least_pause_s(took_s)):
                self._comparing.wanted.wait(self._comparing.pause_s(self._settings.now, took_s))

    @staticmethod
    def _guarded(work: Callable[[], None]) -> float:
        """Do it, whatever comes of it; the seconds that it took."""
        began_s = time.monotonic()
        try:
            work()
        except ManorError as error:
            _log.warning("this round is lost: %s", error.message)
        except Exception:  # the loop has to outlive any mistake of ours, and say it
            _log.exception("this round is lost")
        return time.monotonic() - began_s

    # one round of each

    def measure(self) -> None:
        """Collect, keep and judge KPIs once. What is suspected newly is told at once."""
        if not (self._settings.now.enabled and self._watches_as()):
            return
        before = self._measuring.suspected
        self._measuring.round(self._measured_services.read(), self._running, self._settings.now)
        if self._measuring.suspected - before:
            self._woken.set()

    def compare(self) -> None:
        """Compare what should be with what is, once."""
        if self._settings.now.enabled and self._measuring.leads and self._watches_as():
            self._comparing.round(self._settings.now, self._silent, self._clock())
        else:
            self._comparing.forget()

    def round(self) -> None:
        """Look at everything once, and do what follows from it."""
        self._follow(self._raise())

    def _raise(self) -> _Round | None:
        """Look at everything once, and raise, change and clear alarms; None where another process does."""
        settings = self._settings.read()
        self._measuring.leads = settings.enabled and self._leads()
        if not self._measuring.leads:
            self._looking.forget()
            return None
        services, sight = self._look()
        compared = self._comparing.now  # one and the same for all of this round
        findings = judge(services, sight, compared, self._measuring, settings, active=self._alarming.read())
        self._comparing.want(services, settings, broken(findings), sight.time_s, lost=sight.lost_hosts)
        self._alarming.take(services, findings, sight.time_s, clear_s=settings.clear_s)
        return _Round(
            services=services,
            sight=sight,
            compared=compared,
            active={alarm.id for alarm in self._alarming.active},
            present=self._alarming.present(findings),
            settings=settings,
        )

    def _follow(self, seen: _Round | None) -> None:
        """Do what follows from a round."""
        if seen is None:
            return
        now_s, settings = seen.sight.time_s, seen.settings
        heals = self._recording.heals(seen.active, seen.present, now_s, helped_within_s=settings.helped_within_s)
        self._acting.act(seen.services, seen.sight, seen.present, heals, seen.compared, settings)
        self._tidy(now_s)

    def figures(self) -> AssuranceFigures:
        """What there is to export now."""
        measuring = self._measuring
        return AssuranceFigures(
            rows=tuple(measuring.rows.values()),
            alarms=dict(self._alarming.counts),
            rulings=dict(self._recording.counts),
            samples=measuring.samples,
            collect_s=measuring.collect_s,
            detector_lag_s=measuring.learning.lag_s if measuring.learning else 0.0,
            detectors=measuring.learning.states if measuring.learning else {},
            silent=len(self._silent),
        )

    # its parts

    def _leads(self) -> bool:
        """Whether this process is the one of all homes that raises and heals; on SQLite there is only one."""
        if not (name := self._watches_as()):
            return False
        if self._rt.store.is_sqlite:
            return True
        from manor.store import leases

        lease_s = max(_LEASE_S, 3 * self._settings.now.observe_s)
        with self._rt.store.begin() as tx:
            return leases.lead(tx, "assurance", name, lease_s)

    def _look(self) -> tuple[Sequence[Service], Sight]:
        """The services that there are, and what is seen of them."""
        before = {service.id: service for service in self._services.read()}
        vims = {service.id: {endpoint for endpoint, _ in service.nodes()} for service in before.values()}
        asked = frozenset[str]().union(*vims.values())
        self._listening.to(asked)
        found = self._looking.look(asked, before)
        after = {service.id: service for service in self._services.read()}

        def is_steady(service: Service) -> bool:
            looks = (found.services[endpoint] for endpoint in vims[service.id] & found.services.keys())
            return all(known.get(service.id) == service for known in (after, *looks))

        # What an operation changed since a look began, also in a round before, is neither as it was nor as it will be.
        services = [
            service if is_steady(service) else replace(service, is_changing=True)
            for service in before.values()
            if service.id in after
        ]
        late = asked - found.observed.keys() - found.silent.keys()  # of these the last word holds
        self._running = {**{name: self._running[name] for name in late & self._running.keys()}, **found.observed}
        flows = self._measuring.flow_sight
        sight = Sight(
            time_s=self._clock(),  # what is seen is so now, and was perhaps not when the look began
            observed={**found.observed, **flows.observed},
            silent={**found.silent, **flows.silent},
            outdated=frozenset(service.id for service in services if _is_outdated(service, flows)),
            lost_hosts=found.lost_hosts,
            mute=self._measuring.mute,
            unheard_s=self._measuring.heartbeats.unheard_s(),
            at_work=self._measuring.at_work,
        )
        self._silent = frozenset(sight.silent)
        return services, sight

    def _tidy(self, now_s: float) -> None:
        if now_s - self._tidied_s < _TIDY_S:
            return
        from manor.store import alarms

        self._tidied_s = now_s
        with self._rt.store.begin() as tx:
            alarms.prune(tx, now_s - self._settings.now.keep_days * _DAY_S)
