"""The measuring half of the loop: KPIs collected, kept and judged once a period, guests asked for their heartbeat.

It shares what it found with the deciding half by replacing whole values, never by changing them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manor.api import Observed, Phase, ResourceKind, ResourceRef
from manor.assure.confirming import Flows
from manor.assure.guests import Guests
from manor.assure.learning import Learning
from manor.assure.looking import Heartbeats, Looking, Seen
from manor.assure.performance import Performance
from manor.assure.probing import Probing
from manor.assure.settings import AssuranceSettings, Targets
from manor.assure.sight import Service
from manor.assure.subjects import passed_on, sent, subjects_of, targets_of
from manor.assure.targets import target_groups, write_targets
from manor.errors import ManorError, StoreError
from manor.lcm.runtime import Runtime
from manor.model.instance import EndpointKind
from manor.plugin.connecting import made, validated
from manor.store.history import History
from manor.telemetry.collect import collect, flow_samples
from manor.telemetry.kpis import KpiRow, kpi_rows
from manor.telemetry.rates import Rates

__all__ = ["HISTORY", "Measuring"]

HISTORY = "history.db"
_TIDY_S = 60.0
_FORGET_S = 3600.0
_PATIENCE_S = 0.2
_log = logging.getLogger("manor.assure")

Observation = Mapping[str, Mapping[str, Observed]]


class Measuring:
    """One thread at a time calls :meth:`round`; any may read what it left."""

    def __init__(self, rt: Runtime, *, clock: Callable[[], float]) -> None:
        self._rt = rt
        self._clock = clock
        self._history: History | None = None
        self._rates = Rates()
        self._learning: Learning | None = None
        self._made_of: tuple[Any, ...] = ()
        self._sources: dict[str, Any] = {}
        self._lacking: dict[str, str] = {}
        """Why a source could not be connected."""
        self._tidied_s = self._heartbeat_s = clock()
        self._gave: set[str] = set()
        self._looking = Looking(rt)
        self.heartbeats = Heartbeats(rt)
        self._hearing: threading.Thread | None = None
        self.guests = Guests(rt, clock=clock)
        self.probing = Probing(rt, clock=clock)
        self.performance = Performance(rt, clock=clock)
        self.flows = Flows()
        self._sent = Flows()
        self.flow_sight = Seen()
        """Links and chains as their controllers showed them last."""
        self.rows: dict[str, KpiRow] = {}
        """The newest row of each subject."""
        self.mute: dict[str, str] = {}
        self.leads = True
        """Whether this process is the one of several that reports and judges thresholds."""
        self.samples = 0
        self.collect_s = 0.0

    def round(self, services: Sequence[Service], running: Observation, settings: AssuranceSettings) -> None:
        """Measure everything once. ``running`` is the last observation of the machines, by endpoint."""
        now_s = self._clock()
        self._make(settings)
        if settings.targets is not None:
            self._tell_prometheus(services, settings.targets)
        subjects = subjects_of(services)
        self.flow_sight = self._looking.look(
            (e for service in services for e, _ in (*service.segments(), *service.chains())),
            {service.id: service for service in services},
        )
        flows = [seen for found in self.flow_sight.observed.values() for seen in found.values()]
        vims: dict[str, list[ResourceRef]] = {}
        for service in services:
            for endpoint, node in service.nodes():
                seen = running.get(endpoint, {}).get(node.key)
                if seen is not None and seen.phase is Phase.ACTIVE:
                    ref = ResourceRef(kind=ResourceKind.NODE, key=node.key, host=node.host)
                    vims.setdefault(endpoint, []).append(ref)
        found = collect(vims, self._rt.driver, sources=self._sources, targets=targets_of(services))
        self._hear(vims, {sample.key for sample in found.samples}, found.silent)
        self._rates.expect(settings.collect_s)
        rows = kpi_rows(subjects, (*found.samples, *flow_samples(flows, now_s)), self._rates)
        self.guests.tick(services, running, subjects, settings.guest_s, scrape=settings.scrape)
        self.probing.tick(services, settings.probe_s)
        on = {ref.key for refs in vims.values() for ref in refs}
        there = [subject for subject in subjects if subject.kind != "vnfc" or subject.key in on]
        rows = self.probing.add_to(self.guests.add_to(rows, there, now_s), there, now_s)
        self.rows = {row.subject.key: row for row in rows}
        self.samples += sum(len(row.values) for row in rows)
        self.collect_s = found.seconds
        if tidy := now_s - self._tidied_s >= _TIDY_S:
            self._tidied_s = now_s
            self._rates.forget(now_s - _FORGET_S)
        if not settings.prometheus:
            self._keep(rows, now_s, tidy=tidy)
        if self.leads:
            self.performance.take(subjects, rows)
        self.flows.take(passed_on(services, self.rows), now_s)
        self._sent.take(sent(rows), now_s)
        if self._learning is not None:
            self._learning.take(services, self.rows, now_s)
        if now_s - self._heartbeat_s >= settings.heartbeat_s and not (self._hearing and self._hearing.is_alive()):
            self._heartbeat_s = now_s
            # Who hangs must not hold up what is measured; who answers does so at once.
            arguments = (services, running, self._clock)
            self._hearing = threading.Thread(target=self.heartbeats.ask, args=arguments, daemon=True)
            self._hearing.start()
            self._hearing.join(_PATIENCE_S)

    @property
    def at_work(self) -> dict[str, float]:
        """Packets per second that machines send which send about as much as they usually do."""
        return {key: flow.out_of for key, flow in self._sent.now.items() if flow.is_at_work}

    @property
    def load(self) -> dict[str, float]:
        """How many times the usual traffic a machine sends."""
        return {key: flow.load for key, flow in self._sent.now.items() if flow.load is not None}

    @property
    def suspected(self) -> frozenset[str]:
        """VNFs that a detector finds odd."""
        return frozenset(self._learning.suspicions) if self._learning is not None else frozenset()

    @property
    def learning(self) -> Learning | None:
        """The detectors, where there are any."""
        return self._learning

    def close(self) -> None:
        """Keep what was learned, and let go."""
        if self._learning is not None:
            self._learning.save()
        self._looking.close()
        self.guests.close()
        self.probing.close()
        for source in self._sources.values():
            source.close()
        if self._history is not None:
            self._history.close()

    def _make(self, settings: AssuranceSettings) -> None:
        """Detector and sources as the settings have them; made anew when these change."""
        wanted = (settings.detector, settings.detector_settings, settings.sources)
        if wanted == self._made_of:
            return
        if self._learning is not None:
            self._learning.save()
        for source in self._sources.values():
            source.close()
        self._made_of, self._learning, self._sources, self._lacking = wanted, None, {}, {}
        plugins = self._rt.plugins
        try:
            if settings.detector:
                chosen = plugins.choose("manor_detectors", settings.detector)
                validated(chosen, settings.detector_settings)
                self._learning = Learning(
                    self._rt.home / "detectors" / settings.detector,
                    lambda: made(chosen, settings.detector_settings, plugins.counters),
                )
        except ManorError as error:
            _log.warning("goes on without: %s", error.with_hint)
        for name, values in settings.sources.items():
            try:
                # A source is no endpoint: it gets a directory of its own beside theirs.
                environment = self._rt.environment(EndpointKind.VNFM, f"telemetry-{name}")
                self._sources[name] = plugins.connect_telemetry(name, values, environment)
            except ManorError as error:
                self._lacking[name] = error.message

    @staticmethod
    def _tell_prometheus(services: Sequence[Service], targets: Targets) -> None:
        try:
            write_targets(targets.file, target_groups(services, targets.listen, targets.exporter))
        except OSError as error:
            _log.warning("%s is not kept fresh: %s", targets.file, error.strerror)

    def _hear(self, vims: Mapping[str, Sequence[ResourceRef]], heard: set[str], silent: Mapping[str, str]) -> None:
        """Sources that used to give samples and give none though what they measure runs."""
        mute = {**self._lacking, **silent}
        for endpoint, refs in vims.items():
            if any(ref.key in heard for ref in refs):
                self._gave.add(endpoint)
            elif endpoint in self._gave and endpoint not in mute:
                mute[endpoint] = f"no KPI of {len(refs)} machines that run"
        self.mute = mute

    def _keep(self, rows: Sequence[KpiRow], now_s: float, *, tidy: bool) -> None:
        try:
            if self._history is None:
                self._history = History.open(self._rt.home / HISTORY)
            self._history.add((r.subject.key, r.subject.kind, r.subject.labels, r.time_s, r.values) for r in rows)
            if tidy:
                self._history.tidy(now_s)
        except StoreError as error:
            _log.warning("the history misses this period: %s", error.message)
