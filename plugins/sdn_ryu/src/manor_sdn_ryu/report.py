"""What a switch holds of a program, in words: each rule with its counters, what is missing, what is too much. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from manor.api import FlowProgram, FlowRule
from manor_sdn_ryu.entries import Entry, resolve
from manor_sdn_ryu.fields import render
from manor_sdn_ryu.wire import entry_of

__all__ = ["Report"]


class Report:
    """Gathers the hosts of one program."""

    def __init__(self) -> None:
        self.rules: list[dict[str, Any]] = []
        self.missing: list[str] = []
        self.extra: list[dict[str, Any]] = []
        self.unreachable: list[str] = []
        self.notes: list[str] = []

    def add(
        self,
        host: str,
        program: FlowProgram,
        effective: FlowProgram,
        ports: Mapping[str, int],
        records: Iterable[Any],
        able: Mapping[str, bool],
    ) -> None:
        """``records`` are the switch's entries under the program's cookie; ``effective`` is what is wanted just now.

        ``able`` is what the switch can do, see :meth:`~manor_sdn_ryu.session.Session.able`.
        """
        full = resolve(program, host, ports, **able)
        self.missing += [f"port {device} on {host}" for device in full.missing]
        why = "is not enforced: its switch has no meters"
        self.notes += [f"the rate limit of {device} on {host} {why}" for device in full.unmetered]
        held = {(entry := entry_of(record)).identity: (entry, record) for record in records}
        for identity, (entry, rule) in resolve(effective, host, ports, **able).entries.items():
            there = held.pop(identity, None)
            state = "missing" if there is None else "active" if there[0] == entry else "altered"
            if state != "active":
                self.missing.append(f"{rule.note} on {host} ({state})")
            self.rules.append(_told(rule, state, there[1] if there else None))
        self._add_extra(host, ports, [entry for entry, _ in held.values()])

    def add_unknown(self, host: str, ports: Mapping[str, int], records: Iterable[Any]) -> None:
        """``records`` are entries that no program is known for."""
        self._add_extra(host, ports, map(entry_of, records))

    def _add_extra(self, host: str, ports: Mapping[str, int], entries: Iterable[Entry]) -> None:
        names = {number: name for name, number in ports.items()}
        for entry in entries:
            match = ",".join(
                f"{name}={names.get(value, value) if name == 'in_port' else render(name, (value, mask))}"
                for name, value, mask in entry.match
            )
            self.extra.append({"host": host, "table": entry.table, "priority": entry.priority, "match": match})


def _told(rule: FlowRule, state: str, record: Any) -> dict[str, Any]:
    return {
        "host": rule.host, "table": int(rule.table), "priority": int(rule.priority),
        "match": ",".join(f"{name}={value}" for name, value in rule.match),
        "actions": ",".join(f"{name}:{value}" if value != "" else name for name, value in rule.actions),
        "note": rule.note, "state": state,
        "packets": record.packet_count if record else 0, "bytes": record.byte_count if record else 0,
    }  # fmt: skip
