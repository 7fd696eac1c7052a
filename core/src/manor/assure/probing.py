"""Active probes: frames along every chain of services that no operation changes, beside the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from manor.api import CallContext, ChainSpec, Probed
from manor.assure.beside import Answers, Beside
from manor.assure.sight import Service
from manor.errors import ManorError
from manor.lcm.chainprobe import probe_chain, probes
from manor.lcm.runtime import Runtime
from manor.telemetry.kpis import KpiRow, Subject
from manor.telemetry.probes import probe_kpis

__all__ = ["Probing"]

_CALL_S = 15.0
_log = logging.getLogger("manor.assure")


class Probing:
    """The last probes' outcome by chain. One thread at a time calls it."""

    def __init__(self, rt: Runtime, *, clock: Callable[[], float]) -> None:
        self._rt = rt
        self._beside = Beside("manor-probes", clock=clock)

    def tick(self, services: Sequence[Service], period_s: float) -> None:
        """Begin a round where one is due and ``period_s`` is not 0. Does not wait."""
        if period_s and self._beside.is_due():
            chains = [chain for service in services if not service.is_changing for chain in service.chains()]
            if chains:
                self._beside.begin(lambda: self._probe(chains), period_s)

    def wait(self, timeout_s: float) -> None:
        """Until the round that runs, if any, has ended."""
        self._beside.wait(timeout_s)

    def add_to(self, rows: Sequence[KpiRow], subjects: Iterable[Subject], now_s: float) -> list[KpiRow]:
        """The rows with what probes found of the chains among these subjects."""
        return self._beside.add_to(rows, subjects, now_s)

    def close(self) -> None:
        """Begin no more rounds."""
        self._beside.close()

    def _probe(self, chains: Sequence[tuple[str, ChainSpec]]) -> Answers:
        can: dict[str, bool] = {}
        found = {}
        for endpoint, chain in chains:
            if self._beside.closing.is_set():
                break
            try:
                driver = self._rt.driver(endpoint)
                if endpoint not in can:
                    can[endpoint] = probes(driver, CallContext.within(_CALL_S))
                if can[endpoint] and isinstance(driver, Probed):
                    found[chain.key] = probe_kpis(probe_chain(driver, chain, CallContext.within(_CALL_S)))
            except ManorError as error:
                can.setdefault(endpoint, False)  # it does not answer now: not every chain waits for that anew
                _log.debug("chain %s is not probed: %s", chain.key, error.message)
        return found
