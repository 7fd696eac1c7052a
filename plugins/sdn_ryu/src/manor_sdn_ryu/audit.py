"""Looks again and again whether the switches hold what is desired, since no switch tells what was done to it by hand.

What differs is put right by itself: the difference and nothing else, under our cookies and nobody else's. Each repair
is logged, and kept for people who ask later what happened.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from manor.api import FlowProgram, FlowRule
from manor.errors import DriverError
from manor_sdn_ryu.converger import Converger
from manor_sdn_ryu.deadlines import ANSWER_S, left_s
from manor_sdn_ryu.desired import Desired
from manor_sdn_ryu.entries import Entry, Identity, resolve
from manor_sdn_ryu.facts import cookie_of, hosts_of
from manor_sdn_ryu.pipeline import OWNER_MASK, owner_bits
from manor_sdn_ryu.session import Session
from manor_sdn_ryu.switches import Switches
from manor_sdn_ryu.turns import Turns
from manor_sdn_ryu.wire import entry_of, is_lasting

__all__ = ["Auditor", "Repairs", "differences"]

_LOG = logging.getLogger("manor.sdn.audit")
_SHARE = 0.05
"""The most of one core's time that looking may take: thousands of rules are looked at less often than tens."""
_KEPT = 20
_NAMED = 10
Held = Mapping[Identity, Entry]


class Repairs:
    """What was put right, the newest last, by cookie; for as long as the agent lives."""

    def __init__(self) -> None:
        self._kept: dict[int, deque[dict[str, Any]]] = {}

    def add(self, number: int, host: str, what: list[str]) -> None:
        """On this host these differences were repaired just now."""
        kept = self._kept.setdefault(number, deque(maxlen=_KEPT))
        more = [f"and {len(what) - _NAMED} more"] if len(what) > _NAMED else []
        kept.append({"time_s": time.time(), "host": host, "rules": len(what), "what": what[:_NAMED] + more})

    def of(self, number: int) -> list[dict[str, Any]]:
        """Those of one cookie."""
        return list(self._kept.get(number, ()))

    def keep(self, numbers: set[int]) -> None:
        """Those of these cookies, and no others."""
        for number in self._kept.keys() - numbers:
            del self._kept[number]


def differences(held: Held, wanted: Mapping[Identity, tuple[Entry, FlowRule]]) -> list[str]:
    """What differs and can be put right, in words: rules missing, altered, and too much."""
    found = []
    for identity, (entry, rule) in wanted.items():
        there = held.get(identity)
        if there != entry:
            found.append(f"{'missing' if there is None else 'altered'}: {rule.note}")
    strange = [entry for identity, entry in held.items() if identity not in wanted and entry.is_sendable]
    return found + [f"foreign: a rule of priority {e.priority} in table {e.table} under our cookie" for e in strange]


class Auditor:
    """One thread over all switches."""

    def __init__(
        self, desired: Desired, switches: Switches, converger: Converger, repairs: Repairs, *, audit_s: float
    ) -> None:
        self._desired = desired
        self._switches = switches
        self._converger = converger
        self._repairs = repairs
        self._audit_s = audit_s

    def start(self) -> None:
        """Begin, unless the period is 0."""
        if self._audit_s > 0:
            threading.Thread(target=self._go_on, name="audit", daemon=True).start()

    def _go_on(self) -> None:
        pause = threading.Event()
        while True:
            hosts = self._switches.ready(self._switches.hosts())
            for host in hosts:
                # What it waited for a switch, or for a busy machine, is no work of its own.
                began, worked_s = time.monotonic(), time.process_time()
                self._guarded(host)
                worked_s = min(time.process_time() - worked_s, time.monotonic() - began)
                pause.wait(max(self._audit_s / len(hosts), worked_s / _SHARE))
            self._repairs.keep(self._desired.programs.cookies())
            if not hosts:
                pause.wait(self._audit_s)

    def _guarded(self, host: str) -> None:
        try:
            self.look(host, time.monotonic() + ANSWER_S)
        except DriverError as error:
            _LOG.warning("host %s: could not be audited: %s", host, error)
        except Exception:  # the audit has to outlive any mistake, which the trace tells of
            _LOG.exception("host %s: could not be audited", host)

    def look(self, host: str, deadline: float) -> None:
        """Compare everything of ours on a host's switch, and put right what differs."""
        session = self._switches.session(host)
        held: dict[int, dict[Identity, Entry]] = {}
        for owner in self._desired.all_owners():
            for record in session.flows(owner_bits(owner), OWNER_MASK, left_s(deadline)):
                if is_lasting(record):
                    entry = entry_of(record)
                    held.setdefault(entry.cookie, {})[entry.identity] = entry
        turns = Turns()
        for program in self._desired.programs:
            turns.give()
            theirs = held.pop(cookie_of(program), {})
            if host not in hosts_of(program) or not self._desired.stays(program):
                continue
            if self._differing(program, session, host, theirs):
                self._put_right(program, host, deadline)
        for number in held:
            if self._converger.clear(number, host, deadline):
                _LOG.warning("host %s: rules of ours that nobody desires were taken away: 0x%016x", host, number)

    def _differing(self, program: FlowProgram, session: Session, host: str, held: Held) -> list[str]:
        wanted = resolve(self._desired.effective(program), host, session.ports, **session.able).entries
        return differences(held, wanted)

    def _put_right(self, program: FlowProgram, host: str, deadline: float) -> None:
        """It was read without the lock; with it, what was there is taken anew: no change under way is disturbed, and
        what is told is all that is put right."""
        number = cookie_of(program)
        with self._converger.lock:
            if self._converger.is_changing(number) or self._desired.programs.get(number) is not program:
                return
            held = self._converger.swap(program, host, deadline)
            if held is None:
                return
            what = self._differing(program, self._switches.session(host), host, held)
        if not what:  # only as a port's number changed meanwhile
            return
        self._repairs.add(number, host, what)
        _LOG.warning("host %s: %s %s put right: %s", host, program.kind, program.key, "; ".join(what[:_NAMED]))
