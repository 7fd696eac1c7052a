"""Makes the switches hold what is desired, and tells what they hold.

Level-triggered: whatever happened (a program came, a port got another number, a switch or this process died), the
answer is to read the entries under our cookies, compare with what is wanted now, and send the difference.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from manor.api import ChainSpec, FlowProgram, Phase, Query, ResourceKind, ResourceRef, SwitchLink, Topology
from manor.errors import DeadlineExceeded, DriverError, NotFound, Permanent, Transient
from manor_sdn_ryu import changes
from manor_sdn_ryu.entries import METERS, Entry, Identity, resolve
from manor_sdn_ryu.keeper import Address, Keeper
from manor_sdn_ryu.pipeline import ALL_BITS, OWNER_MASK, cookie, owner_bits
from manor_sdn_ryu.probe import prove
from manor_sdn_ryu.programs import Programs, cookie_of, devices_of, hosts_of, spec_of
from manor_sdn_ryu.report import Report
from manor_sdn_ryu.runtime import Library
from manor_sdn_ryu.session import Session
from manor_sdn_ryu.store import Store
from manor_sdn_ryu.wire import entry_of

__all__ = ["Controller"]

_LOG = logging.getLogger("manor.sdn.controller")
_ANSWER_S = 20.0
_PROVE_S = 5.0
_ONE_BY_ONE = 16
"""Up to so many programs are read by their own cookies; above, all of an owner at once."""


class Controller:
    """The agent's state and verbs. Safe to use from several threads."""

    def __init__(self, store: Store, library: Library, *, settle_s: float = 0.3) -> None:
        self._store = store
        self._library = library
        self._settle_s = settle_s
        self._programs = Programs(store)
        self._lock = threading.RLock()
        """Held while switches are being changed; never while waiting for frames to settle."""
        self._settling: dict[int, float] = {}
        self._leaving: set[int] = set()
        """Programs that are to go, and stay known (and observed) until every switch has let go of them."""
        self._keepers: dict[str, Keeper] = {}
        self._links: tuple[SwitchLink, ...] = ()
        self._owners: set[str] = set()

    # --- settings and switches

    def start(self) -> None:
        """Take up what is stored, and dial."""
        settings = self._store.settings()
        self._owners = set(settings.get("owners", ()))
        self._links = tuple(SwitchLink(**link) for link in settings.get("links", ()))
        self._programs.load(self.topology())
        self._dial([Address(**switch) for switch in settings.get("switches", ())])

    def configure(self, owner: str, switches: Iterable[Address], links: Iterable[SwitchLink]) -> None:
        """Keep exactly these switches; one that is no longer named is let go as it is."""
        with self._lock:
            wanted = list(switches)
            self._links = tuple(links)
            self._owners.add(owner)
            self._remember(wanted)
            self._dial(wanted)

    def _remember(self, switches: Iterable[Address]) -> None:
        self._store.put_settings(
            {
                "owners": sorted(self._owners),
                "switches": [{"host": s.host, "openflow": s.openflow, "datapath_id": s.datapath_id} for s in switches],
                "links": [{"host": link.host, "peer": link.peer, "device": link.device} for link in self._links],
            }
        )

    def _dial(self, switches: Iterable[Address]) -> None:
        wanted = {switch.host: switch for switch in switches}
        for host, keeper in list(self._keepers.items()):
            if wanted.get(host) != keeper.address:
                keeper.stop()
                del self._keepers[host]
        for host, address in wanted.items():
            if host not in self._keepers:
                self._keepers[host] = Keeper(address, self._library, self._converge_switch)
                self._keepers[host].start()

    def switch_up(self, session: Session) -> None:
        """A switch finished its handshake; its address is its host's name."""
        keeper = self._keepers.get(session.address)
        if keeper is None:
            session.hang_up()
        else:
            keeper.up(session)

    def switch_down(self, session: Session) -> None:
        """A switch went away."""
        keeper = self._keepers.get(session.address)
        if keeper is not None:
            keeper.down(session)

    def switches(self, deadline: float) -> list[dict[str, Any]]:
        """Every switch as it is now; one that was never tried is given a moment to answer."""
        for keeper in list(self._keepers.values()):
            keeper.tried.wait(min(2.0, max(0.0, deadline - time.monotonic())))
        return [keeper.status() for _, keeper in sorted(self._keepers.items())]

    def topology(self) -> Topology:
        """For the compiler, which asks for links only."""
        return Topology(switches=(), links=self._links)

    # --- verbs

    def apply(self, program: FlowProgram, deadline: float) -> dict[str, Any]:
        """Make this program true. ``deadline`` is monotonic. Returns it as observed."""
        number = cookie_of(program)
        self._await_switches(hosts_of(program), deadline)
        with self._lock:
            self._check(deadline, program.key)
            before = self._programs.get(number)
            self._programs.put(program)
            self._leaving.discard(number)
            if program.owner not in self._owners:
                self._owners.add(program.owner)
                self._remember(keeper.address for keeper in self._keepers.values())
            new, old = spec_of(program), spec_of(before)
            shut = isinstance(new, ChainSpec) and changes.reorders(old if isinstance(old, ChainSpec) else None, new)
        hosts = hosts_of(program) | hosts_of(before)
        try:
            self._converge([number], hosts, deadline, shut=shut)
        except Permanent:
            # What a switch refuses is not desired: else every later resynchronisation would fail by it.
            with self._lock:
                if before is not None:
                    self._programs.put(before)
                else:
                    self._programs.drop(number)
            self._converge([number], hosts, deadline, kind=program.kind)
            raise
        return self.observe_one(program, deadline)

    def remove(self, owner: str, ref: ResourceRef, deadline: float) -> None:
        """Take every entry of this resource out of every switch, and answer when they are out."""
        number = cookie(owner, ref.kind, ref.key)
        with self._lock:
            self._check(deadline, ref.key)
            before = self._programs.find(owner, ref.kind, ref.key)
            if before is not None:
                self._leaving.add(number)
        hosts = hosts_of(before) or set(self._keepers)
        self._await_switches(hosts, deadline)
        self._converge([number], hosts, deadline, kind=ref.kind)
        away = [host for host in sorted(hosts) if host in self._keepers and not self._keepers[host].ready.is_set()]
        if away:
            raise Transient(
                f"{ref.kind} {ref.key}: the switch of host {', '.join(away)} is not connected;"
                " its rules go as soon as it is back",
                hint=self._keepers[away[0]].reason,
            )
        self._bury()
        with self._lock:
            self._tidy_meters([host for host in sorted(hosts) if host in self._keepers], deadline)

    def _bury(self) -> None:
        """Forget the leaving programs whose every switch is here: converging took their rules out."""
        with self._lock:
            for number in list(self._leaving):
                keepers = [self._keepers.get(host) for host in hosts_of(self._programs.get(number))]
                if all(keeper is None or keeper.ready.is_set() for keeper in keepers):
                    self._leaving.discard(number)
                    self._programs.drop(number)

    def observe(self, query: Query, deadline: float) -> list[dict[str, Any]]:
        """What the switches hold of the resources asked for."""
        found = [
            program
            for program in self._programs
            if program.owner == query.owner and query.admits(ResourceRef(kind=program.kind, key=program.key))
        ]
        together = self._read_owner(query.owner, deadline) if len(found) > _ONE_BY_ONE else None
        return [self.observe_one(program, deadline, together) for program in found]

    def spec(self, owner: str, kind: ResourceKind, key: str) -> dict[str, Any]:
        """The spec that a program was compiled from. Raises NotFound."""
        program = self._programs.find(owner, kind, key)
        if program is None:
            raise NotFound(f"the controller has no {kind} {key}")
        return dict(program.spec)

    def prove(self, sender: tuple[str, str], receiver: tuple[str, str], mtu: int, deadline: float) -> None:
        """A frame gets from one end of a tunnel to the other; ends are (host, device). Raises Transient."""
        (host, device), (peer, peer_device) = sender, receiver
        ends = [self._keepers[name].session for name in (host, peer)]
        prove(ends[0], device, ends[1], peer_device, mtu=mtu, deadline=min(deadline, time.monotonic() + _PROVE_S))

    def devices(self) -> dict[str, list[str]]:
        """Every device that the rules of any program name, by host."""
        found: dict[str, set[str]] = {}
        for program in self._programs:
            for host, device in devices_of(program):
                found.setdefault(host, set()).add(device)
        return {host: sorted(names) for host, names in found.items()}

    def tidy(self, deadline: float) -> None:
        """Take away what no program needs any more besides rules: meters."""
        with self._lock:
            self._tidy_meters([host for host, keeper in self._keepers.items() if keeper.ready.is_set()], deadline)

    def shutdown(self) -> bool:
        """Whether the agent may end: nothing is left that it keeps true."""
        return len(self._programs) == 0

    # --- observing

    def observe_one(
        self, program: FlowProgram, deadline: float, together: Mapping[tuple[str, int], list[Any]] | None = None
    ) -> dict[str, Any]:
        """One program against the entries in the switches."""
        number = cookie_of(program)
        report = Report()
        effective = self._effective(program)
        for host in sorted(hosts_of(program)):
            keeper = self._keepers.get(host)
            try:
                if keeper is None:
                    raise Transient(f"host {host} has no switch at this controller")
                session = keeper.session
                if together is None:
                    records = session.flows(number, ALL_BITS, self._left(deadline))
                else:
                    records = together.get((host, number), [])
                report.add(host, program, effective, session.ports, records, metering=session.metering)
            except DriverError as error:
                report.unreachable.append(str(error))
        phase = Phase.DEGRADED if report.missing or report.extra else Phase.ACTIVE
        return {
            "kind": program.kind,
            "key": program.key,
            "owner": program.owner,
            "native_id": f"0x{number:016x}",
            "phase": Phase.UNKNOWN if report.unreachable else phase,
            "spec_hash": program.spec_hash,
            "detail": {"name": program.name, "mtu": program.spec.get("mtu"), **vars(report)},
        }

    def _read_owner(self, owner: str, deadline: float) -> dict[tuple[str, int], list[Any]]:
        found: dict[tuple[str, int], list[Any]] = {}
        for host, keeper in self._keepers.items():
            if keeper.ready.is_set():
                for record in keeper.session.flows(owner_bits(owner), OWNER_MASK, self._left(deadline)):
                    found.setdefault((host, record.cookie), []).append(record)
        return found

    def _effective(self, program: FlowProgram) -> FlowProgram:
        known: set[str] = set()
        for host in hosts_of(program):
            keeper = self._keepers.get(host)
            if keeper is None or not keeper.ready.is_set():
                return program
            known |= keeper.ports.keys()
        named = {device for _, device in devices_of(program)}
        return self._programs.effective(program, self.topology(), named - known)

    # --- converging

    def _await_switches(self, hosts: Iterable[str], deadline: float) -> None:
        for host in hosts:
            keeper = self._keepers.get(host)
            if keeper is not None:
                keeper.ready.wait(min(10.0, max(0.0, deadline - time.monotonic() - 0.5)))

    def _converge(
        self,
        cookies: Iterable[int],
        hosts: Iterable[str],
        deadline: float,
        *,
        kind: ResourceKind | None = None,
        shut: bool = False,
    ) -> None:
        """Bring some cookies on some hosts to what is desired, without a gap."""
        hosts = [host for host in sorted(hosts) if host in self._keepers and self._keepers[host].ready.is_set()]
        for number in cookies:
            while True:
                settle = self._converge_once(number, hosts, deadline, kind, shut)
                if settle is None:
                    break
                shut = False
                self._settling[number] = time.monotonic() + self._settle_s
                threading.Event().wait(min(self._settle_s, self._left(deadline)))
                self._settling.pop(number, None)
        with self._lock:
            self._tidy_meters(hosts, deadline)

    def _converge_once(
        self, number: int, hosts: list[str], deadline: float, kind: ResourceKind | None, shut: bool
    ) -> bool | None:
        """Do the phases up to the next pause. None when nothing is left to do."""
        with self._lock:
            program = self._programs.get(number)
            kind = program.kind if program else kind or ResourceKind.CHAIN
            installed: dict[str, dict[Identity, Entry]] = {}
            wanted: dict[str, dict[Identity, Entry]] = {}
            effective = self._effective(program) if program and number not in self._leaving else None
            for host in hosts:
                session = self._keepers[host].session
                records = session.flows(number, ALL_BITS, self._left(deadline))
                installed[host] = {entry.identity: entry for entry in map(entry_of, records)}
                if effective is not None:
                    wanted[host] = self._wanted(session, host, effective, deadline)
            steps = changes.phases(kind, installed, wanted, shut=shut)
            settled = number in self._settling
            for count, step in enumerate(steps):
                if count and step.settle and not settled:
                    return True
                for host, sent in step.changes.items():
                    self._check(deadline, f"cookie 0x{number:016x}")
                    self._keepers[host].session.send(sent, self._left(deadline))
        return None

    def _converge_switch(self, keeper: Keeper, devices: set[str] | None) -> None:
        """After a switch came (``devices`` None) or ports of these names changed."""
        deadline = time.monotonic() + _ANSWER_S
        host = keeper.address.host
        with self._lock:
            if devices is None:
                self._resync(keeper, deadline)
                self._bury()
                self._tidy_meters([host], deadline)
                programs = [p for p in self._programs if isinstance(spec_of(p), ChainSpec) and len(hosts_of(p)) > 1]
            else:
                programs = [program for program in self._programs if _names(program, devices)]
            for program in programs:
                for where in hosts_of(program) if len(hosts_of(program)) > 1 else {host}:
                    self._swap(program, where, deadline)

    def _swap(self, program: FlowProgram, host: str, deadline: float) -> None:
        """Bring one program on one switch to what is desired, at once."""
        keeper = self._keepers.get(host)
        if keeper is None or not keeper.ready.is_set() or host not in hosts_of(program):
            return
        session = keeper.session
        records = session.flows(cookie_of(program), ALL_BITS, self._left(deadline))
        installed = {entry.identity: entry for entry in map(entry_of, records)}
        leaving = cookie_of(program) in self._leaving
        wanted = {} if leaving else self._wanted(session, host, self._effective(program), deadline)
        sent = changes.difference(installed, wanted)
        if cookie_of(program) in self._settling:
            sent = [change for change in sent if not change.delete]
        session.send(sent, self._left(deadline))

    def _resync(self, keeper: Keeper, deadline: float) -> None:
        """Everything of ours on one switch, in one reading and one bundle; what nobody desires any more goes."""
        host, session = keeper.address.host, keeper.session
        installed: dict[Identity, Entry] = {}
        owners = {*self._owners, *(program.owner for program in self._programs)}
        for owner in sorted(owners):
            records = session.flows(owner_bits(owner), OWNER_MASK, self._left(deadline))
            installed |= {entry.identity: entry for entry in map(entry_of, records)}
        wanted: dict[Identity, Entry] = {}
        for program in self._programs:
            time.sleep(0)  # as in Session: let the door answer meanwhile
            if host in hosts_of(program) and cookie_of(program) not in self._leaving:
                wanted |= self._wanted(session, host, self._effective(program), deadline)
        sent = changes.difference(installed, wanted)
        try:
            session.send(sent, self._left(deadline))
        except Permanent as error:
            _LOG.error("host %s: %s; going on program by program", host, error)
            session.send([change for change in sent if change.delete], self._left(deadline))
            for program in self._programs:
                try:
                    self._swap(program, host, deadline)
                except Permanent as refusal:
                    _LOG.error("host %s: %s cannot be put back: %s", host, program.key, refusal)
        self._tidy_meters([host], deadline)
        if sent:
            _LOG.info("host %s: resynchronised, %d changes", host, len(sent))

    def _wanted(self, session: Session, host: str, effective: FlowProgram, deadline: float) -> dict[Identity, Entry]:
        """The program's entries on this switch, whose meters are there from now on."""
        resolved = resolve(effective, host, session.ports, metering=session.metering)
        session.set_meters(resolved.meters, self._left(deadline))
        return {identity: entry for identity, (entry, _) in resolved.entries.items()}

    def _tidy_meters(self, hosts: Iterable[str], deadline: float) -> None:
        """Meters that no program asks for any more go, after the flows that named them."""
        for host in hosts:
            session = self._keepers[host].session
            if session.meters:
                used = {METERS.start + session.ports.get(device, 0) for device in self._programs.metered(host)}
                session.keep_meters(used, self._left(deadline))

    # --- time

    def _left(self, deadline: float) -> float:
        return max(0.05, min(_ANSWER_S, deadline - time.monotonic()))

    def _check(self, deadline: float, doing: str) -> None:
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(f"no time left for {doing}")


def _names(program: FlowProgram, devices: set[str]) -> bool:
    return any(device in devices for _, device in devices_of(program))
