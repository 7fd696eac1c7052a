"""Asking guests for their own KPIs, beside the loop: an agent that hangs for seconds must not hold up what is measured.

One round at a time runs in a thread of its own. What it brought is good for two periods and then missing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from manor.api import CallContext, GuestAccess, GuestResult, Observed, Phase, ResourceKind, ResourceRef, Sample
from manor.assure.sight import Service
from manor.errors import ManorError
from manor.lcm.runtime import Runtime
from manor.model.instance import PackageKind
from manor.telemetry.guests import GuestTarget, Indicator, ask_guest
from manor.telemetry.kpis import KpiRow, Subject, kpi_rows
from manor.telemetry.rates import Rates

__all__ = ["Guests"]

_CALL_S = 5.0
_THREADS = 4
_FORGET_S = 600.0
_log = logging.getLogger("manor.assure")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heard:
    values: Mapping[str, float]
    until_s: float


class Guests:
    """The newest word of each guest, by machine. One thread at a time calls it."""

    def __init__(self, rt: Runtime, *, clock: Callable[[], float]) -> None:
        self._rt = rt
        self._clock = clock
        self._rates = Rates()
        self._indicators: dict[str, tuple[Indicator, ...]] = {}
        self._heard: dict[str, _Heard] = {}
        self._lock = threading.Lock()
        self._next_s = 0.0
        self._round: Future[None] | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="manor-guests")

    def tick(
        self,
        services: Sequence[Service],
        running: Mapping[str, Mapping[str, Observed]],
        subjects: Sequence[Subject],
        period_s: float,
    ) -> None:
        """Begin a round where the period is over and the last one has ended. Does not wait."""
        now_s = self._clock()
        if now_s < self._next_s or (self._round is not None and not self._round.done()):
            return
        targets = [target for service in services for target in self._targets(service, running)]
        if targets:
            self._next_s = now_s + period_s
            self._round = self._pool.submit(self._ask, targets, list(subjects), period_s)

    def wait(self, timeout_s: float) -> None:
        """Until the round that runs, if any, has ended."""
        if self._round is not None:
            self._round.result(timeout_s)

    def add_to(self, rows: Sequence[KpiRow], now_s: float) -> list[KpiRow]:
        """The rows with what their guests said; what was measured from outside goes first."""
        with self._lock:
            self._heard = {key: heard for key, heard in self._heard.items() if heard.until_s > now_s}
            heard = dict(self._heard)
        return [
            KpiRow(
                subject=row.subject, time_s=row.time_s, values={**heard[row.subject.key].values, **row.values}
            )
            if row.subject.key in heard
            else row
            for row in rows
        ]  # fmt: skip

    def close(self) -> None:
        """Begin no more rounds."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _targets(self, service: Service, running: Mapping[str, Mapping[str, Observed]]) -> list[GuestTarget]:
        found = []
        for check in service.desired.checks if not service.is_changing else ():
            indicators = self._of(str(check.view.get("vnfd_id", ""))) if check.kind == "vnf" else ()
            for key, endpoint in check.nodes.items() if check.kind == "vnf" else ():
                seen = running.get(endpoint, {}).get(key)
                if seen is not None and seen.phase is Phase.ACTIVE:
                    ref = ResourceRef(kind=ResourceKind.NODE, key=key, host=seen.ref.host)
                    found.append(GuestTarget(ref=ref, endpoint=endpoint, indicators=indicators))
        return found

    def _of(self, vnfd_id: str) -> tuple[Indicator, ...]:
        """Indicators of a VNFD that name a command; a VNFD does not change while it is in use."""
        if vnfd_id not in self._indicators:
            from manor.store import packages

            with self._rt.store.read() as tx:
                package = packages.by_descriptor(tx, PackageKind.VNF, vnfd_id)
                descriptor = packages.descriptor(tx, package.id) if package is not None else {}
            self._indicators[vnfd_id] = tuple(
                Indicator(id=str(item["id"]), command=tuple(item["command"]))
                for item in descriptor.get("indicators", ())
                if item.get("command")
            )
        return self._indicators[vnfd_id]

    def _ask(self, targets: Sequence[GuestTarget], subjects: Sequence[Subject], period_s: float) -> None:
        with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="manor-guest") as pool:
            samples = [sample for found in pool.map(self._one, targets) for sample in found]
        rows = kpi_rows(subjects, samples, self._rates)
        now_s = self._clock()
        self._rates.forget(now_s - _FORGET_S)
        with self._lock:
            for row in rows:
                self._heard[row.subject.key] = _Heard(values=row.values, until_s=now_s + 2 * period_s)

    def _one(self, target: GuestTarget) -> list[Sample]:
        try:
            vim = self._rt.driver(target.endpoint)
            if not isinstance(vim, GuestAccess):
                return []

            def run(argv: Sequence[str]) -> GuestResult:
                return vim.guest_exec(target.ref, argv, CallContext.within(_CALL_S))

            return ask_guest(target, run, self._clock)
        except ManorError as error:
            _log.debug("no word of guest %s: %s", target.ref.key, error.message)
            return []
