"""Asking guests for their own KPIs and their VNF's indicators, beside the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from manor.api import CallContext, GuestAccess, GuestResult, Observed, Phase, ResourceKind, ResourceRef, Sample, Verb
from manor.assure.beside import Answers, Beside
from manor.assure.sight import Service
from manor.assure.unheard import Unheard
from manor.errors import ManorError, Transient
from manor.lcm.runtime import Runtime
from manor.model.instance import PackageKind
from manor.telemetry.guests import GuestTarget, Indicator, admitted, ask_guest, asked_of, indicators_in
from manor.telemetry.kpis import KpiRow, Subject, kpi_rows
from manor.telemetry.rates import Rates
from manor.telemetry.scrape import place_of

__all__ = ["Guests"]

_CALL_S = 5.0
_THREADS = 4
_FORGET_S = 3600.0
_log = logging.getLogger("manor.assure")


class Guests:
    """The newest word of each guest, by machine. One thread at a time calls it."""

    def __init__(self, rt: Runtime, *, clock: Callable[[], float]) -> None:
        self._rt = rt
        self._clock = clock
        self._rates = Rates()
        self._declared: dict[str, tuple[Indicator, ...]] = {}
        """By VNFD."""
        self._named: dict[str, dict[tuple[str, str], float]] = {}
        """By machine, the names that it gave its figures, and when last."""
        self._beside = Beside("manor-guests", clock=clock)
        self.unheard = Unheard()

    def tick(
        self,
        services: Sequence[Service],
        running: Mapping[str, Mapping[str, Observed]],
        subjects: Sequence[Subject],
        period_s: float,
        *,
        scrape: bool = False,
    ) -> None:
        """Begin a round where one is due, of exporters too with ``scrape``. Does not wait."""
        if self._beside.is_due():
            targets = [target for service in services for target in self._targets(service, running, scrape)]
            self.unheard.keep({target.ref.key for target in targets})
            if targets:
                known = list(subjects)
                self._beside.begin(lambda: self._ask(targets, known, period_s), period_s)

    def wait(self, timeout_s: float) -> None:
        """Until the round that runs, if any, has ended."""
        self._beside.wait(timeout_s)

    def add_to(self, rows: Sequence[KpiRow], subjects: Iterable[Subject], now_s: float) -> list[KpiRow]:
        """The rows with what the guests among these subjects said; what was measured from outside goes first."""
        return self._beside.add_to(rows, subjects, now_s)

    def close(self) -> None:
        """Begin no more rounds."""
        self._beside.close()

    def _targets(
        self, service: Service, running: Mapping[str, Mapping[str, Observed]], scrape: bool
    ) -> Iterator[GuestTarget]:
        """Machines that run and have an agent inside, or an exporter at an address."""
        nodes = {node.key: (endpoint, node) for endpoint, node in service.nodes()}
        for check in service.desired.checks if not service.is_changing else ():
            if check.kind != "vnf" or check.verb is not Verb.VERIFY:
                continue
            indicators = self._of(str(check.view.get("vnfd_id", "")))
            is_scraped = scrape and any(place_of(one.command) for one in indicators)
            for vnfc in check.view.get("vnfcs", ()):
                key, has_agent = vnfc["key"], vnfc["key"] in check.nodes
                if key not in nodes or not (has_agent or is_scraped):
                    continue
                endpoint, node = nodes[key]
                seen = running.get(endpoint, {}).get(key)
                if seen is None or seen.phase is not Phase.ACTIVE:
                    continue
                yield GuestTarget(
                    ref=ResourceRef(kind=ResourceKind.NODE, key=key, host=seen.ref.host),
                    endpoint=endpoint,
                    indicators=indicators,
                    has_agent=has_agent,
                    address=service.address_of(node) if scrape else "",
                )

    def _of(self, vnfd_id: str) -> tuple[Indicator, ...]:
        """The indicators that a VNFD declares; they do not change while it is in use."""
        if vnfd_id not in self._declared:
            from manor.store import packages

            with self._rt.store.read() as tx:
                package = packages.by_descriptor(tx, PackageKind.VNF, vnfd_id)
                vnfd = packages.descriptor(tx, package.id) if package is not None else {}
            self._declared[vnfd_id] = tuple(
                Indicator(id=str(item["id"]), command=tuple(item["command"]))
                for item in vnfd.get("indicators", ())
                if item.get("command")
            )
        return self._declared[vnfd_id]

    def _ask(self, targets: Sequence[GuestTarget], subjects: Sequence[Subject], period_s: float) -> Answers:
        self._named = {target.ref.key: self._named.get(target.ref.key, {}) for target in targets}
        with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="manor-guest") as pool:
            samples = [sample for found in pool.map(self._one, targets) for sample in found]
        self._rates.expect(period_s)
        self._rates.forget(self._clock() - _FORGET_S)
        return {row.subject.key: row.values for row in kpi_rows(subjects, samples, self._rates)}

    def _one(self, target: GuestTarget) -> list[Sample]:
        closing = self._beside.closing
        try:
            if closing.is_set():
                return []
            vim = self._rt.driver(target.endpoint)
            if not isinstance(vim, GuestAccess):
                target = replace(target, has_agent=False)

            answered: set[tuple[str, ...]] = set()

            def run(argv: Sequence[str]) -> GuestResult:
                if closing.is_set():
                    raise Transient("no longer asked for: the process stops")
                ctx = replace(CallContext.within(_CALL_S), is_cancelled=closing.is_set)
                result: GuestResult = vim.guest_exec(target.ref, argv, ctx)
                answered.add(tuple(argv))
                return result

            said = ask_guest(target, run, self._clock)
            self.unheard.take(target.ref.key, asked_of(target, answered), indicators_in(said), self._clock())
            return admitted(said, self._named[target.ref.key])
        except ManorError as error:
            _log.debug("no word of guest %s: %s", target.ref.key, error.message)
            return []
