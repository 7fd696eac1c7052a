"""Makes the switches hold what is desired.

Level-triggered: whatever happened (a program came, a port got another number, a switch or this process died, somebody
wrote into a switch by hand), the answer is to read the entries under our cookies, compare with what is wanted now, and
send the difference.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from manor.api import ChainSpec, FlowProgram, ResourceKind
from manor.errors import Permanent
from manor_sdn_ryu import changes
from manor_sdn_ryu.changes import Change
from manor_sdn_ryu.deadlines import ANSWER_S, check, left_s
from manor_sdn_ryu.desired import Desired
from manor_sdn_ryu.entries import Entry, Identity, resolve
from manor_sdn_ryu.facts import cookie_of, devices_of, hosts_of, machine_devices, spec_of
from manor_sdn_ryu.keeper import Keeper
from manor_sdn_ryu.pipeline import ALL_BITS, OWNER_MASK, owner_bits
from manor_sdn_ryu.session import Session
from manor_sdn_ryu.switches import Switches
from manor_sdn_ryu.turns import Turns
from manor_sdn_ryu.wire import entry_of, is_lasting

__all__ = ["Converger"]

_LOG = logging.getLogger("manor.sdn.converger")


class Converger:
    """The one that sends. Safe to use from several threads."""

    def __init__(self, desired: Desired, switches: Switches, *, settle_s: float) -> None:
        self.lock = threading.RLock()
        """Held while what is desired or a switch is being changed; never while waiting for frames to settle."""
        self._desired = desired
        self._switches = switches
        self._settle_s = settle_s
        self._settling: set[int] = set()
        """Cookies whose change waits for frames that are under way: nothing of them is deleted meanwhile."""
        self._changing: Counter[int] = Counter()
        self._bent: set[int] = set()
        """Cookies of chains that some switch may hold as they are while a function is gone."""

    @contextlib.contextmanager
    def changing(self, number: int) -> Iterator[None]:
        """For as long as a verb works on this cookie: its order of steps is the verb's own."""
        with self.lock:
            self._changing[number] += 1
        try:
            yield
        finally:
            with self.lock:
                self._changing[number] -= 1
                if not self._changing[number]:
                    del self._changing[number]

    def is_changing(self, number: int) -> bool:
        """Whether a verb works on this cookie now. Ask with the lock held."""
        return number in self._changing

    def converge(
        self,
        number: int,
        hosts: Iterable[str],
        deadline: float,
        *,
        kind: ResourceKind | None = None,
        shut: bool = False,
    ) -> None:
        """Bring one cookie on some hosts to what is desired, without a gap."""
        hosts = self._switches.ready(hosts)
        while self._goes_on(number, hosts, deadline, kind, shut):
            shut = False
            self._settling.add(number)
            threading.Event().wait(min(self._settle_s, left_s(deadline)))
            self._settling.discard(number)
        self._set_up(number, hosts, deadline)
        self.tidy_meters(hosts, deadline)

    def _set_up(self, number: int, hosts: Iterable[str], deadline: float) -> None:
        """Machines' ports that somebody set down go up as the program is asked for again, not by themselves before."""
        with self.lock:
            program = self._desired.programs.get(number)
            for host in hosts if program and self._desired.stays(program) else ():
                with contextlib.suppress(Permanent):  # it stays down, and is told to be
                    self._switches.session(host).set_up(machine_devices(program, host), left_s(deadline))

    def _goes_on(self, number: int, hosts: list[str], deadline: float, kind: ResourceKind | None, shut: bool) -> bool:
        """Do the phases up to the next pause; whether there is one, and so more to do."""
        with self.lock:
            program = self._desired.programs.get(number)
            kind = program.kind if program else kind or ResourceKind.CHAIN
            installed: dict[str, dict[Identity, Entry]] = {}
            wanted: dict[str, dict[Identity, Entry]] = {}
            effective = self._effective(program) if program and self._desired.stays(program) else None
            for host in hosts:
                session = self._switches.session(host)
                installed[host] = _held(session, number, ALL_BITS, deadline)
                if effective is not None:
                    wanted[host] = self._wanted(session, host, effective, deadline)
            steps = changes.phases(kind, installed, wanted, shut=shut)
            settled = number in self._settling
            for count, step in enumerate(steps):
                if count and step.settle and not settled:
                    return True
                for host, sent in step.changes.items():
                    check(deadline, f"cookie 0x{number:016x}")
                    self._switches.session(host).send(sent, left_s(deadline))
        return False

    def converge_switch(self, keeper: Keeper, devices: set[str] | None) -> None:
        """After a switch came (``devices`` None) or ports of these names changed."""
        deadline = time.monotonic() + ANSWER_S
        host = keeper.address.host
        with self.lock:
            if devices is None:
                self._resync(keeper, deadline)
                self._desired.bury()
                self.tidy_meters([host], deadline)
                programs = [p for p in self._desired.programs if _is_far_chain(p) and host in hosts_of(p)]
            else:
                programs = [program for program in self._desired.programs if _names(program, devices)]
            for program in programs:
                number = cookie_of(program)
                straight = self._effective(program) is program
                if devices is None and straight and number not in self._bent:
                    continue  # every switch holds it as it is
                for where in hosts_of(program) if len(hosts_of(program)) > 1 else {host}:
                    self.swap(program, where, deadline)
                if straight:
                    self._bent.discard(number)

    def _effective(self, program: FlowProgram) -> FlowProgram:
        effective = self._desired.effective(program)
        if effective is not program:
            self._bent.add(cookie_of(program))
        return effective

    def swap(self, program: FlowProgram, host: str, deadline: float) -> dict[Identity, Entry] | None:
        """Bring one program on one switch to what is desired, at once.

        Returns what the switch held before; None where nothing had to be sent.
        """
        number = cookie_of(program)
        with self.lock:
            if not self._switches.ready([host]) or host not in hosts_of(program):
                return None
            session = self._switches.session(host)
            installed = _held(session, number, ALL_BITS, deadline)
            stays = self._desired.stays(program)
            wanted = self._wanted(session, host, self._effective(program), deadline) if stays else {}
            sent = changes.difference(installed, wanted)
            if number in self._settling:
                sent = [change for change in sent if not change.delete]
            session.send(sent, left_s(deadline))
        return installed if sent else None

    def clear(self, number: int, host: str, deadline: float) -> Sequence[Change]:
        """Take away what was left over on a switch under a cookie of ours. Returns what was sent."""
        with self.lock:
            is_known = self._desired.programs.get(number) is not None or self._desired.inherited.keeps(host, number)
            if is_known or self.is_changing(number):
                return ()
            session = self._switches.session(host)
            sent = changes.difference(_held(session, number, ALL_BITS, deadline), {})
            session.send(sent, left_s(deadline))
        return sent

    def _resync(self, keeper: Keeper, deadline: float) -> None:
        """Everything of ours on one switch, in one reading and one bundle; what nobody desires any more goes."""
        host, session, desired = keeper.address.host, keeper.session, self._desired
        records: list[Any] = []
        for owner in desired.all_owners():
            records += session.flows(owner_bits(owner), OWNER_MASK, left_s(deadline))
        known = desired.programs.cookies() | desired.leaving
        desired.inherited.look(host, {record.cookie for record in records if is_lasting(record)} - known)
        if kept := desired.inherited.on(host):
            named = ", ".join(f"0x{number:016x}" for number in sorted(kept))
            _LOG.warning("host %s: kept rules of ours that this agent was never told of: %s", host, named)
        installed = {entry.identity: entry for entry in map(entry_of, records) if entry.cookie not in kept}
        wanted: dict[Identity, Entry] = {}
        turns = Turns()
        for program in desired.programs:
            if host in hosts_of(program) and desired.stays(program):
                turns.give()  # let the door answer meanwhile
                wanted |= self._wanted(session, host, self._effective(program), deadline)
        sent = changes.difference(installed, wanted)
        puts = [change for change in sent if not change.delete]
        try:
            session.send(puts, left_s(deadline))
            if len(puts) < len(sent):
                # Who died amid a change may have left frames inside functions that only an old rule brings out.
                threading.Event().wait(self._settle_s)
            session.send([change for change in sent if change.delete], left_s(deadline))
        except Permanent as error:
            _LOG.error("host %s: %s; going on program by program", host, error)
            session.send([change for change in sent if change.delete], left_s(deadline))
            for program in desired.programs:
                try:
                    self.swap(program, host, deadline)
                except Permanent as refusal:
                    _LOG.error("host %s: %s cannot be put back: %s", host, program.key, refusal)
        if sent:
            _LOG.info("host %s: resynchronised, %d changes", host, len(sent))

    def _wanted(self, session: Session, host: str, effective: FlowProgram, deadline: float) -> dict[Identity, Entry]:
        """The program's entries on this switch, whose meters are there from now on."""
        resolved = resolve(effective, host, session.ports, **session.able)
        session.set_meters(resolved.meters, left_s(deadline))
        return {identity: entry for identity, (entry, _) in resolved.entries.items()}

    def tidy_meters(self, hosts: Iterable[str], deadline: float) -> None:
        """Meters that no program asks for any more go, after the flows that named them: a flow goes with its meter."""
        with self.lock:
            for host in self._switches.ready(hosts):
                session = self._switches.session(host)
                if session.meters and self._desired.inherited.has_none(host):
                    used = self._desired.programs.meters(host, session.ports)
                    session.keep_meters(used, left_s(deadline))


def _held(session: Session, cookie: int, mask: int, deadline: float) -> dict[Identity, Entry]:
    """What a switch holds under a cookie."""
    records = session.flows(cookie, mask, left_s(deadline))
    return {entry.identity: entry for entry in map(entry_of, records)}


def _is_far_chain(program: FlowProgram) -> bool:
    return len(hosts_of(program)) > 1 and isinstance(spec_of(program), ChainSpec)


def _names(program: FlowProgram, devices: set[str]) -> bool:
    return any(device in devices for _, device in devices_of(program))
