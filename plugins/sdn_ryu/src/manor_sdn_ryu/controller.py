"""The agent's verbs: what drivers ask for, done by the parts that keep, send and look."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from manor.api import ChainSpec, FlowProgram, Query, ResourceKind, ResourceRef, SwitchLink, spec_to_json
from manor.errors import NotFound, Permanent, Unreachable, Unsupported
from manor_sdn_ryu import changes
from manor_sdn_ryu.audit import Auditor, Repairs
from manor_sdn_ryu.converger import Converger
from manor_sdn_ryu.deadlines import check
from manor_sdn_ryu.desired import Desired
from manor_sdn_ryu.facts import cookie_of, devices_of, hosts_of, hosts_wrapping, spec_of
from manor_sdn_ryu.inherited import name_of
from manor_sdn_ryu.keeper import Address, Keeper
from manor_sdn_ryu.nsh import NO_NSH
from manor_sdn_ryu.observer import Observer
from manor_sdn_ryu.pipeline import cookie
from manor_sdn_ryu.probe import prove
from manor_sdn_ryu.probing import Probing
from manor_sdn_ryu.runtime import Library
from manor_sdn_ryu.store import Store
from manor_sdn_ryu.switches import Switches

__all__ = ["Controller"]

_PROVE_S = 5.0


class Controller:
    """Safe to use from several threads."""

    def __init__(self, store: Store, library: Library, *, settle_s: float = 0.3, audit_s: float = 0.0) -> None:
        self._store = store
        self.switches = Switches(library, self._changed)
        self._desired = Desired(store, self.switches)
        self._converger = Converger(self._desired, self.switches, settle_s=settle_s)
        self._repairs = Repairs()
        self._auditor = Auditor(self._desired, self.switches, self._converger, self._repairs, audit_s=audit_s)
        self._observer = Observer(self._desired, self.switches, self._repairs)
        self._lock = self._converger.lock

    # --- settings

    def start(self) -> None:
        """Take up what is stored, and dial."""
        settings = self._store.settings()
        self._desired.owners = set(settings.get("owners", ()))
        self._desired.links = tuple(SwitchLink(**link) for link in settings.get("links", ()))
        self._desired.programs.load(self._desired.topology())
        self.switches.dial([Address(**switch) for switch in settings.get("switches", ())])
        self._auditor.start()

    def configure(self, owner: str, switches: Iterable[Address], links: Iterable[SwitchLink]) -> None:
        """Keep exactly these switches; one that is no longer named is let go as it is."""
        with self._lock:
            wanted = list(switches)
            self._desired.relink(tuple(links))
            self._desired.owners.add(owner)
            self._remember(wanted)
            self.switches.dial(wanted)
            self._desired.inherited.keep({switch.host for switch in wanted})

    def _remember(self, switches: Iterable[Address]) -> None:
        self._store.put_settings(
            {
                "owners": sorted(self._desired.owners),
                "switches": [asdict(switch) for switch in switches],
                "links": [{"host": k.host, "peer": k.peer, "device": k.device} for k in self._desired.links],
            }
        )

    def _changed(self, keeper: Keeper, devices: set[str] | None) -> None:
        self._converger.converge_switch(keeper, devices)

    # --- verbs

    def apply(self, program: FlowProgram, deadline: float) -> dict[str, Any]:
        """Make this program true. ``deadline`` is monotonic. Returns it as observed."""
        self.switches.await_ready(hosts_of(program), deadline)
        self._refuse_unable(program)
        with self._converger.changing(cookie_of(program)):
            program = self._apply(program, deadline)
        return self._observer.one(program, deadline)

    def _refuse_unable(self, program: FlowProgram) -> None:
        """Raise Unsupported where a switch is not known to put on and take off the headers that the program wants."""
        for host in self.switches.ready(hosts_wrapping(program)):
            if not self.switches.session(host).is_userspace:
                raise Unsupported(f"{program.key}: {NO_NSH} on {host}", capability="nsh")

    def _apply(self, program: FlowProgram, deadline: float) -> FlowProgram:
        number, desired = cookie_of(program), self._desired
        with self._lock:
            check(deadline, program.key)
            before = desired.programs.get(number)
            program = desired.programs.put(program, desired.topology())
            desired.leaving.discard(number)
            if program.owner not in desired.owners:
                desired.owners.add(program.owner)
                self._remember(keeper.address for keeper in self.switches)
            new, old = spec_of(program), spec_of(before)
            shut = isinstance(new, ChainSpec) and changes.reorders(old if isinstance(old, ChainSpec) else None, new)
            hosts = hosts_of(program) | hosts_of(before) | desired.inherited.hosts(number)
        try:
            self._converger.converge(number, hosts, deadline, shut=shut)
        except Permanent:
            # What a switch refuses is not desired: else every later resynchronisation would fail by it.
            with self._lock:
                if before is not None:
                    desired.programs.put(before, desired.topology())
                else:
                    desired.programs.drop(number)
            # What was there before this agent, nobody could put back: such a host is left as it is.
            self._converger.converge(number, hosts - desired.inherited.hosts(number), deadline, kind=program.kind)
            raise
        with self._lock:
            desired.inherited.settle(number)
        self._converger.tidy_meters(hosts, deadline)  # also of the rules that were replaced
        return program

    def remove(self, owner: str, ref: ResourceRef, deadline: float) -> None:
        """Take every entry of this resource out of every switch, and answer when they are out."""
        unknown = {name_of(number): number for number in self._desired.inherited.of(owner)}
        number = unknown.get(ref.key) or cookie(owner, ref.kind, ref.key)
        with self._converger.changing(number):
            self._remove(number, ref, deadline)

    def _remove(self, number: int, ref: ResourceRef, deadline: float) -> None:
        with self._lock:
            check(deadline, ref.key)
            before = self._desired.programs.get(number)
            self._desired.leaving.add(number)
        hosts = (hosts_of(before) or self.switches.hosts()) & self.switches.hosts()
        gone: set[str] = set()
        if at_hand := self.switches.ready(hosts):
            self._converger.converge(number, at_hand, deadline, kind=ref.kind)
        if late := hosts.difference(at_hand):
            gone = self.switches.without_bridge(late, deadline)
            self.switches.await_ready(late - gone, deadline)
            self._converger.converge(number, late - gone, deadline, kind=ref.kind)
            hosts -= gone
        away = sorted(hosts - set(self.switches.ready(hosts)))
        if away:
            why = {host: keeper.reason if (keeper := self.switches.get(host)) else "let go of" for host in away}
            raise Unreachable(
                f"{ref.kind} {ref.key}: the switch of host {', '.join(away)} is not connected;"
                " its rules go as soon as it is back",
                hosts=why,
                hint=next(iter(why.values())),
            )
        with self._lock:
            self._desired.bury(gone)
        self._converger.tidy_meters(hosts, deadline)

    def observe(self, query: Query, deadline: float) -> list[dict[str, Any]]:
        """What the switches hold of the resources asked for."""
        return self._observer.all(query, deadline)

    def around(self, owner: str, key: str) -> list[dict[str, Any]]:
        """The specs of a chain or segment, of its segment, and of all chains on that. Raises NotFound."""
        own = {
            program.key: spec
            for program in self._desired.programs
            if program.owner == owner and (spec := spec_of(program)) is not None
        }
        if key not in own:
            raise NotFound(f"the controller has no chain or segment {key}")
        asked = own[key]
        link = asked.segment if isinstance(asked, ChainSpec) else key
        near = [s for s in own.values() if s.key in (key, link) or (isinstance(s, ChainSpec) and s.segment == link)]
        return [spec_to_json(spec) for spec in near]

    def prove(self, sender: tuple[str, str], receiver: tuple[str, str], mtu: int, deadline: float) -> None:
        """A frame gets from one end of a tunnel to the other; ends are (host, device). Raises Transient."""
        (host, device), (peer, peer_device) = sender, receiver
        ends = [self.switches.session(name) for name in (host, peer)]
        prove(ends[0], device, ends[1], peer_device, mtu=mtu, deadline=min(deadline, time.monotonic() + _PROVE_S))

    def probe(
        self, owner: str, key: str, packets: Sequence[Mapping[str, Any]], deadline: float
    ) -> list[dict[str, Any]]:
        """Marked frames along a chain, and where each was seen (see :mod:`manor_sdn_ryu.probing`). Raises NotFound."""
        program = self._desired.programs.find(owner, ResourceKind.CHAIN, key)
        spec = spec_of(program)
        if program is None or not isinstance(spec, ChainSpec):
            raise NotFound(f"the controller has no chain {key}")
        self.switches.await_ready(hosts_of(program), deadline)
        segment = self._desired.programs.find(owner, ResourceKind.SEGMENT, spec.segment)
        effective = self._desired.effective(program)
        probing = Probing(effective, segment, self._desired.topology(), self.switches.session, deadline)
        outcome = probing.run(packets)
        self._observer.probed(cookie_of(program), probing.latencies())
        return outcome

    def devices(self) -> dict[str, list[str]]:
        """Every device that the rules of any program name, by host; what others name may be any port."""
        unknown = [k for k in self.switches if not self._desired.inherited.has_none(k.address.host)]
        found = {keeper.address.host: set(keeper.ports) for keeper in unknown}
        for program in self._desired.programs:
            for host, device in devices_of(program):
                found.setdefault(host, set()).add(device)
        return {host: sorted(names) for host, names in found.items()}

    def shutdown(self) -> bool:
        """Whether the agent may end: nothing is left that it keeps true."""
        return len(self._desired.programs) == 0 and not self._desired.inherited
