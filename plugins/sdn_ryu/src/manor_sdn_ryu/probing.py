"""Sends probes along a chain and sees where they come by: puts the siblings in, the frames, and takes all out again.

The siblings have a cookie of their own under our owner's bits, and a short life in the switch itself; whatever dies
in between, they are gone a few seconds later, and a resynchronisation sweeps them too.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manor.api import FlowProgram, Topology
from manor.errors import DriverError, Permanent, Transient
from manor_sdn_ryu.changes import Change
from manor_sdn_ryu.deadlines import left_s
from manor_sdn_ryu.entries import TO_US, Entry, actions_of, resolve
from manor_sdn_ryu.facts import spec_of
from manor_sdn_ryu.probeframe import frame_of, nonce_of
from manor_sdn_ryu.proberoute import Leg, Route, probe_cookie, route, siblings
from manor_sdn_ryu.session import Session, Shown

__all__ = ["Probing"]

_WAIT_S = 3.0
"""How long a probe may take; a machine that is only emulated is slow."""
_AGAIN_S = 0.4
_DRAIN_S = 0.5
_SETTLE_S = 0.05
"""A switch keeps what it decided for a flow until it has looked through its cache after a change of rules. OpenFlow
has no word for the end of that; on a calm switch it is a few milliseconds."""
_LIFE_S = 15
_ATTEMPTS_MAX = 256


class Probing:
    """The probes of one call. Not shared between threads."""

    def __init__(
        self,
        chain: FlowProgram,
        segment: FlowProgram | None,
        topology: Topology,
        session: Callable[[str], Session],
        deadline: float,
    ) -> None:
        """``session`` gives the line to a host's switch, and raises Transient where there is none."""
        self._chain = chain
        self._segment = segment
        self._topology = topology
        self._session = session
        self._deadline = deadline
        self._routes: list[Route] = []
        self._seen: list[dict[int, float]] = []
        self._first_sent: list[float] = []
        self._sent: list[int] = []
        self._ended: list[int] = []
        """How many copies of each were seen where its way ends."""
        self._stages: dict[tuple[str, bytes, int, int], list[tuple[int, int]]] = {}
        """(number of the probe, of the stage) by host, nonce, table and port: equal packets are equal probes."""
        self._news = threading.Condition()

    def run(self, packets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What became of each packet. Raises Permanent for one that is none."""
        spec = spec_of(self._chain)
        if spec is None or len(packets) > _ATTEMPTS_MAX:
            raise Permanent(f"{self._chain.key}: no chain, or more than {_ATTEMPTS_MAX} probes at once")
        self._routes = [route(spec, self._chain, self._segment, packet, self._topology) for packet in packets]  # type: ignore[arg-type]
        self._seen = [{} for _ in self._routes]
        self._sent = [0] * len(self._routes)
        self._ended = [0] * len(self._routes)
        self._first_sent = [0.0] * len(self._routes)
        hosts = sorted({stage.host for way in self._routes for stage in way.stages} | {w.host for w in self._routes})
        sessions = {host: self._session(host) for host in hosts}
        rules = siblings(self._chain.owner, self._chain.key, self._routes)
        entries = {host: resolve(rules, host, session.ports).entries.values() for host, session in sessions.items()}
        self._expect(sessions)
        with contextlib.ExitStack() as undo:
            for host, session in sessions.items():
                undo.enter_context(session.watching(self._watcher(host)))
                undo.callback(self._sweep, session, [entry for entry, _ in entries[host]])
                session.send(
                    [Change(entry=entry) for entry, _ in entries[host]], left_s(self._deadline), lifetime_s=_LIFE_S
                )
            threading.Event().wait(min(_SETTLE_S, left_s(self._deadline)))
            self._fly(sessions)
            self._drain()
        return [self._told(number) for number in range(len(self._routes))]

    def latencies(self) -> dict[str, float]:
        """Seconds that probes spent in each function, by the key of the port that they went into."""
        told = (hop for number in range(len(self._routes)) for hop in self._told(number)["hops"])
        functions = {leg.key for way in self._routes for leg in way.legs if leg.function}
        return {hop["key"]: hop["latency_s"] for hop in told if hop["key"] in functions and hop["latency_s"]}

    def _expect(self, sessions: Mapping[str, Session]) -> None:
        for number, way in enumerate(self._routes):
            nonce = nonce_of(way.packet).to_bytes(4, "big")
            for count, stage in enumerate(way.stages):
                port = sessions[stage.host].ports.get(stage.device, 0)
                self._stages.setdefault((stage.host, nonce, int(stage.rule.table), port), []).append((number, count))

    def _watcher(self, host: str) -> Callable[[Shown], None]:
        cookie = probe_cookie(self._chain.owner, self._chain.key)
        nonces = {key[1] for key in self._stages}

        def shown(what: Shown) -> None:
            if what.cookie != cookie:
                return
            for nonce in nonces:
                found = self._stages.get((host, nonce, what.table, what.in_port), ())
                if found and nonce in what.frame:
                    with self._news:
                        for number, count in found:
                            self._seen[number].setdefault(count, what.time_s)
                            self._ended[number] += count == len(self._routes[number].stages) - 1
                        self._news.notify()

        return shown

    def _fly(self, sessions: Mapping[str, Session]) -> None:
        until = min(self._deadline, time.monotonic() + _WAIT_S)
        while (now := time.monotonic()) < until and (missing := self._missing()):
            for number in missing:
                self._inject(number, sessions[self._routes[number].host])
            with self._news:
                self._news.wait_for(lambda: not self._missing(), max(0.0, min(until, now + _AGAIN_S) - now))

    def _drain(self) -> None:
        """Copies that are still under way are waited for a little."""
        with self._news:
            self._news.wait_for(self._none_left, min(_DRAIN_S, left_s(self._deadline)))

    def _none_left(self) -> bool:
        return all(sent <= ended for sent, ended in zip(self._sent, self._ended, strict=True))

    def _missing(self) -> list[int]:
        """Those whose end was not seen, of those that can be seen anywhere."""
        ends = [len(way.stages) - 1 for way in self._routes]
        return [number for number, end in enumerate(ends) if end >= 0 and end not in self._seen[number]]

    def _inject(self, number: int, session: Session) -> None:
        way = self._routes[number]
        if way.device not in session.ports or not way.stages:
            return
        try:
            frame = frame_of(way.packet, session.datapath, answers=way.answers)
        except (ValueError, KeyError) as error:
            raise Permanent(f"not a packet: {error}") from error
        self._sent[number] += 1
        self._first_sent[number] = self._first_sent[number] or time.monotonic()
        if way.into:
            session.put_out(frame, way.device, actions_of(way.dress), left_s(self._deadline))
        else:
            session.put_in(frame, way.device, way.behind, left_s(self._deadline))

    def _sweep(self, session: Session, entries: Sequence[Entry]) -> None:
        """Take the siblings out. While a copy may still be inside a function, what keeps it from an end stays, until
        its life in the switch is over."""
        gone = [entry for entry in entries if self._none_left() or entry.actions[-1] != TO_US]
        with contextlib.suppress(DriverError):  # they die by themselves
            session.send([Change(entry=entry, delete=True) for entry in gone], max(1.0, left_s(self._deadline)))

    # --- the outcome

    def _told(self, number: int) -> dict[str, Any]:
        way, seen = self._routes[number], self._seen[number]
        farthest = max(seen, default=-1)
        hops = []
        before = self._first_sent[number]
        for count, leg in enumerate(way.legs):
            at = seen.get(count)
            measured = self._sent[number] == 1 and at is not None and before
            hops.append(
                {
                    "key": leg.key, "host": leg.host, "device": leg.device, "note": self._note(leg),
                    "verdict": _verdict(leg, count, farthest),
                    "latency_s": max(0.0, at - before) if measured and at is not None else None,
                }
            )  # fmt: skip
            before = at or 0.0
        return {"hops": hops}

    def _note(self, leg: Leg) -> str:
        with contextlib.suppress(Transient):
            if leg.device and leg.device not in self._session(leg.host).ports and leg.function:
                return f"{leg.note}: port {leg.device} is not on the switch of {leg.host}"
        return leg.note


def _verdict(leg: Leg, number: int, farthest: int) -> str:
    if number <= farthest:
        return "passed"
    if number > farthest + 1:
        return "unseen"
    return "kept" if leg.function else "lost"
