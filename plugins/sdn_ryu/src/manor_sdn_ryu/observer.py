"""What the switches hold of each program. Reads, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from manor.api import FlowProgram, Phase, Query, ResourceKind, ResourceRef
from manor.errors import DriverError
from manor_sdn_ryu.audit import Repairs
from manor_sdn_ryu.deadlines import ANSWER_S, left_s
from manor_sdn_ryu.desired import Desired
from manor_sdn_ryu.facts import cookie_of, hosts_of, machine_devices
from manor_sdn_ryu.inherited import name_of
from manor_sdn_ryu.pipeline import ALL_BITS, OWNER_MASK, cookie, owner_bits
from manor_sdn_ryu.report import Report
from manor_sdn_ryu.switches import Switches

__all__ = ["Observer"]

_ONE_BY_ONE = 16
"""Up to so many programs are read by their own cookies; above, all of an owner at once."""
_KINDS = (ResourceKind.SEGMENT, ResourceKind.CHAIN)
_Records = Mapping[str, Mapping[int, list[Any]] | DriverError]
"""Of the hosts that were there to be read, by cookie; or why one of them could not be."""


class Observer:
    """Programs against the entries in the switches."""

    def __init__(self, desired: Desired, switches: Switches, repairs: Repairs) -> None:
        self._desired = desired
        self._switches = switches
        self._repairs = repairs
        self._probed: dict[int, dict[str, Any]] = {}
        """What the last probes measured, by cookie."""

    def probed(self, number: int, latencies: Mapping[str, float]) -> None:
        """Keep what probes of this cookie found, for whoever looks at its counters."""
        before = self._probed.get(number, {}).get("latency_s", {})
        held = self._desired.programs.cookies()
        self._probed = {cookie: told for cookie, told in self._probed.items() if cookie in held}
        self._probed[number] = {"time_s": time.time(), "latency_s": {**before, **latencies}}

    def all(self, query: Query, deadline: float) -> list[dict[str, Any]]:
        """What the switches hold of the resources asked for."""
        self._switches.await_tried(deadline, most_s=ANSWER_S)
        found = [
            program
            for program in self._desired.programs
            if program.owner == query.owner and query.admits(ResourceRef(kind=program.kind, key=program.key))
        ]
        together = self._read_owner(query.owner, deadline) if len(found) > _ONE_BY_ONE else None
        told = [self.one(program, deadline, together) for program in found]
        return told + [self._unknown(ref, query.owner, number, deadline) for number, ref in self._named(query).items()]

    def _named(self, query: Query) -> dict[int, ResourceRef]:
        """What is asked for of that which no program has, by cookie."""
        kept = self._desired.inherited.of(query.owner) - self._desired.programs.cookies()
        refs = [ResourceRef(kind=kind, key=key) for key in query.keys or () for kind in _KINDS] if kept else []
        named = {number: ResourceRef(kind=ResourceKind.SEGMENT, key=name_of(number)) for number in kept}
        named |= {number: ref for ref in refs if (number := cookie(query.owner, ref.kind, ref.key)) in kept}
        return {number: ref for number, ref in named.items() if query.admits(ref)}

    def _unknown(self, ref: ResourceRef, owner: str, number: int, deadline: float) -> dict[str, Any]:
        report = Report()
        report.notes.append("the controller was never told what these rules are for, and keeps them")
        for host in sorted(self._desired.inherited.hosts(number)):
            try:
                session = self._switches.session(host)
                report.add_unknown(host, session.ports, session.flows(number, ALL_BITS, left_s(deadline)))
            except DriverError as error:
                report.unreachable.append(str(error))
        detail = {"name": ref.key.rpartition("/")[2], **vars(report)}
        return _told(ref, owner, number, Phase.DEGRADED, detail)

    def one(self, program: FlowProgram, deadline: float, together: _Records | None = None) -> dict[str, Any]:
        """One program."""
        number = cookie_of(program)
        report = Report()
        effective = self._desired.effective(program)
        for host in sorted(hosts_of(program)):
            try:
                session = self._switches.session(host)
                read = together.get(host) if together is not None else None
                if isinstance(read, DriverError):
                    raise read
                if read is not None:
                    records = read.get(number, [])
                else:  # also of one that was away a moment ago
                    records = session.flows(number, ALL_BITS, left_s(deadline))
                report.add(host, program, effective, session.ports, records, session.able)
                down = machine_devices(program, host) & {*session.down}
                report.missing += [f"port {device} on {host} (set down)" for device in sorted(down)]
            except DriverError as error:
                report.unreachable.append(str(error))
        phase = Phase.DEGRADED if report.missing or report.extra else Phase.ACTIVE
        if report.unreachable:
            phase = Phase.UNKNOWN
        known = {"repairs": self._repairs.of(number), "probed": self._probed.get(number, {})}
        detail = {"name": program.name, "mtu": program.spec.get("mtu"), **vars(report), **known}
        ref = ResourceRef(kind=program.kind, key=program.key)
        return _told(ref, program.owner, number, phase, detail, program.spec_hash)

    def _read_owner(self, owner: str, deadline: float) -> _Records:
        found: dict[str, Mapping[int, list[Any]] | DriverError] = {}
        for host in self._switches.ready(self._switches.hosts()):
            by_cookie: dict[int, list[Any]] = {}
            try:
                for record in self._switches.session(host).flows(owner_bits(owner), OWNER_MASK, left_s(deadline)):
                    by_cookie.setdefault(record.cookie, []).append(record)
            except DriverError as error:
                found[host] = error
            else:
                found[host] = by_cookie
        return found


def _told(
    ref: ResourceRef, owner: str, number: int, phase: Phase, detail: Mapping[str, Any], spec_hash: str = ""
) -> dict[str, Any]:
    return {
        "kind": ref.kind, "key": ref.key, "owner": owner, "native_id": f"0x{number:016x}", "phase": phase,
        "spec_hash": spec_hash, "detail": detail,
    }  # fmt: skip
