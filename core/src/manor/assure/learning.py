"""One detector a VNF: fed with its KPIs row by row, its word turned into a symptom, its state kept as a file.

A detector belongs to a VNF, not to a machine, so that what moves together is judged together. Its columns are the KPIs
of all machines of the VNF: ``main-0|v_cpu_usage_mean_vnf``. It never acts; it says that something is odd, what, and
since when.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manor.api.assure import Detector, Evidence, PerceivedSeverity, SampleBatch, Score, Verdict
from manor.assure.columns import batch_of, follow
from manor.assure.sight import Service, vnf_of
from manor.assure.symptoms import Rank, Symptom
from manor.errors import ManorError, PluginError
from manor.lcm.draining import nodes_of
from manor.model.alarm import EventType, FaultyResourceType
from manor.telemetry.kpis import KpiRow, unit_of

__all__ = ["CAUSE", "Learning", "Suspicion", "symptom_of"]

CAUSE = "kpi-anomaly"
_BUSY = 1.5
"""Times its usual traffic from which on a machine is called busy."""
_YOUNG_S = 3 * 86400.0
"""For how long a detector has seen too little for its false alarms to be as rare as they are to be."""
_SAVE_S = 900.0
_MOST_BYTES = 64 << 20
_log = logging.getLogger("manor.assure")


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspicion:
    """A detector's present word on a VNF."""

    ns_id: str
    vnf: str
    resource_key: str
    """The machine that most of the score comes from."""
    kpis: tuple[str, ...]
    """That machine's own suspect KPIs, the first most."""
    detail: tuple[str, ...]
    since_s: float


class Learning:
    """The detectors of all VNFs. One thread at a time calls it."""

    def __init__(self, directory: Path, make: Callable[[], Detector], *, save_s: float = _SAVE_S) -> None:
        self._directory = directory
        self._make = make
        self._save_s = save_s
        self._detectors: dict[str, Detector] = {}
        self._saved_s: dict[str, float] = {}
        self.suspicions: dict[str, Suspicion] = {}
        """By VNF key; a VNF that is thought to be well is not in it."""
        self.deaf: frozenset[str] = frozenset()
        """Machines of VNFs whose detector had nothing new to judge in the last round."""
        self.lag_s = 0.0
        self._began_s: dict[str, float] = {}
        """When each began to learn, also under a process before this one."""
        self._usual: dict[str, dict[str, float]] = {}
        """How large each indicator is as a rule, by VNF and column: its VNFD need not say what a change of it means."""
        self._watching: set[str] = set()
        """VNFs whose detector has ever had a word on them: it has seen enough."""

    @property
    def states(self) -> dict[str, int]:
        """How many detectors are ``watching``, and how many are still ``learning``."""
        watching = len(self._watching)
        return {"learning": len(self._detectors) - watching, "watching": watching}

    def take(self, services: Sequence[Service], rows: Mapping[str, KpiRow], now_s: float) -> None:
        """Score the newest rows (by machine). A VNF that an operation changes is not judged, nor learned from."""
        deaf: set[str] = set()
        alive: set[str] = set()
        for service in services:
            vnfs: dict[str, list[str]] = {}
            for _, node in service.nodes():
                vnfs.setdefault(vnf_of(node.key), []).append(node.key)
            alive.update(vnfs)
            for vnf, keys in vnfs.items():
                mine, said = [rows[key] for key in keys if key in rows], service.declared_of(keys[0])
                follow(usual := self._usual.setdefault(vnf, {}), vnf, mine)
                batch = None if service.is_changing else batch_of(vnf, said, mine, now_s, usual)
                if batch is None or not self._judge(service, vnf, batch, now_s):
                    deaf.update(keys)
        for vnf in (self._detectors.keys() | self._usual.keys()) - alive:
            self._forget(vnf)
        self.deaf = frozenset(deaf)

    def save(self) -> None:
        """Write every detector's state."""
        for vnf in list(self._detectors):
            self._dump(vnf, time.time())

    def _judge(self, service: Service, vnf: str, batch: SampleBatch, now_s: float) -> bool:
        """Whether the detector had a word on it."""
        try:
            scores = self._detector(vnf, now_s).score(batch)
            if not (isinstance(scores, Sequence) and scores and isinstance(score := scores[-1], Score)):
                raise PluginError(f"it gave {scores!r:.80} for scores")
            self.lag_s = max(0.0, time.time() - batch.times_s[-1]) if now_s > 1e9 else 0.0
            if now_s - self._saved_s.setdefault(vnf, now_s) >= self._save_s:
                self._dump(vnf, now_s)
        except ManorError as error:
            _log.warning("the detector of %s gives no score: %s", vnf, error)
            return False
        if score.verdict is Verdict.UNKNOWN:
            return vnf not in self.suspicions
        if vnf not in self._watching:
            self._watching.add(vnf)
            _log.info("the detector of %s has learned what is usual, and watches", vnf)
        if score.verdict is Verdict.OK:
            self.suspicions.pop(vnf, None)
        else:
            watched_s = now_s - self._began_s[vnf]
            self.suspicions[vnf] = _suspicion(service.id, vnf, score, self.suspicions.get(vnf), watched_s)
        return True

    def _detector(self, vnf: str, now_s: float) -> Detector:
        if vnf not in self._detectors:
            detector = self._make()
            path, is_new = self._path(vnf), True
            if path.exists():
                try:
                    if path.stat().st_size > _MOST_BYTES:
                        raise ManorError(f"{path} is too large")
                    detector.load(path.read_bytes())
                    is_new = False
                except (ManorError, OSError) as error:
                    _log.warning("the detector of %s learns anew: %s", vnf, error)
                    detector = self._make()
            self._began_s[vnf] = now_s if is_new else self._began_before_s(vnf)
            if is_new:
                self._keep(vnf, self._path(vnf, "began"), str(now_s).encode())
            self._detectors[vnf] = detector
        return self._detectors[vnf]

    def _began_before_s(self, vnf: str) -> float:
        try:
            return float(self._path(vnf, "began").read_text())
        except (OSError, ValueError):
            return 0.0  # by an earlier release: long ago

    def _path(self, vnf: str, sort: str = "state") -> Path:
        return self._directory / f"{hashlib.sha256(vnf.encode()).hexdigest()[:32]}.{sort}"

    def _dump(self, vnf: str, now_s: float) -> None:
        self._saved_s[vnf] = now_s
        try:
            data = self._detectors[vnf].dump()
        except ManorError as error:
            _log.warning("the state of the detector of %s is not kept: %s", vnf, error)
        else:
            self._keep(vnf, self._path(vnf), data)

    def _keep(self, vnf: str, path: Path, data: bytes) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = path.with_suffix(".new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
            new.replace(path)
        except OSError as error:
            _log.warning("%s of the detector of %s is not kept: %s", path.suffix[1:], vnf, error)

    def _forget(self, vnf: str) -> None:
        self._detectors.pop(vnf, None)
        self._saved_s.pop(vnf, None)
        self.suspicions.pop(vnf, None)
        self._watching.discard(vnf)
        self._began_s.pop(vnf, None)
        self._usual.pop(vnf, None)
        for sort in ("state", "began"):
            self._path(vnf, sort).unlink(missing_ok=True)


def symptom_of(
    service: Service, suspicion: Suspicion, confirmations: tuple[str, ...], *, load: float | None = None
) -> Symptom:
    """A suspicion as a symptom: MINOR by itself, MAJOR once somebody independent agrees.

    A machine that sends ``load`` times what it usually does is busy: that is a WARNING, where nobody says more.
    """
    key = suspicion.resource_key
    severity, detail = PerceivedSeverity.MINOR, suspicion.detail
    if confirmations:
        severity = PerceivedSeverity.MAJOR
    elif load is not None and load >= _BUSY:
        severity = PerceivedSeverity.WARNING
        detail = (*detail, f"it sends {load:.1f} times its usual traffic, and nobody misses any: load, and no fault")
    together = {node.key for _, node in service.nodes() if vnf_of(node.key) == suspicion.vnf}
    for _, chain in service.chains():
        on = {port.key.rpartition("/")[0] for port in (*chain.sources, *chain.destinations)}
        on |= {node for hop in chain.positions for element in hop.elements for node in nodes_of(element)}
        if on & together:
            together |= on | {chain.key, chain.segment}
    places = {place for endpoint, node in service.nodes() for place in (endpoint, f"{endpoint}/{node.host}")}
    return Symptom(
        ns_id=service.id,
        managed_object_id=suspicion.vnf,
        resource_key=key,
        cause=CAUSE,
        rank=Rank.LEARNED,
        severity=severity,
        event_type=EventType.QOS_ALARM,
        resource_type=FaultyResourceType.COMPUTE,
        detail=detail,
        explained_by=frozenset(together | places),
        confirmations=confirmations,
        since_s=suspicion.since_s,
    )


def _suspicion(ns_id: str, vnf: str, score: Score, before: Suspicion | None, watched_s: float) -> Suspicion:
    """A machine that is suspected stays the suspected one, or one fault would become several alarms."""
    evidence = score.evidence or tuple(
        Evidence(metric=metric, share=share, seen=math.nan, expected=math.nan, detector="")
        for metric, share in score.blame
    )
    if before is not None and (not evidence or score.value <= score.threshold):
        return before  # it fades: what was wrong stays told, also after a heal
    shares: dict[str, float] = {}
    for item in evidence:
        machine = item.metric.partition("|")[0]
        shares[machine] = shares.get(machine, 0.0) + item.share
    worst = max(shares, key=lambda machine: (shares[machine], machine)) if shares else ""
    if before is not None:
        worst = before.resource_key.removeprefix(vnf).removeprefix("/")
    return Suspicion(
        ns_id=ns_id,
        vnf=vnf,
        resource_key=f"{vnf}/{worst}" if worst else vnf,
        kpis=tuple(item.metric.partition("|")[2] for item in evidence if item.metric.startswith(f"{worst}|")),
        detail=(
            f"score {score.value:.3g} over a threshold of {score.threshold:.3g}",
            *(_told(item) for item in evidence[:5]),
            *([_young(watched_s)] if watched_s < _YOUNG_S else []),
        ),
        since_s=score.since_s or score.time_s,
    )


def _young(watched_s: float) -> str:
    took = f"{watched_s / 3600:.0f} h" if watched_s >= 3600 else f"{max(watched_s, 0.0) / 60:.0f} min"
    return f"it has watched for {took} only: expect more false alarms than the budget"


def _told(item: Evidence) -> str:
    machine, _, kpi = item.metric.partition("|")
    unit = "" if (unit := unit_of(kpi)) == "1" else f" {unit}"
    seen = f"{item.seen:.4g}{unit}" if math.isfinite(item.seen) else "not measured"
    expected = f", expected {item.expected:.4g}{unit}" if math.isfinite(item.expected) else ""
    who = f" ({item.detector})" if item.detector else ""
    return f"{kpi} of {machine} is {seen}{expected}: {100 * item.share:.0f} % of it{who}"
