"""Alarms as they come and go: what a round's findings change is written, and told to observers after the commit."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from manor.assure.raising import Changes, Memory, transition, with_present_signs
from manor.assure.sight import Service
from manor.assure.symptoms import Findings
from manor.lcm.runtime import Runtime
from manor.model.alarm import AlarmRecord, to_event

__all__ = ["Alarming"]

_PERSONS = ("ack_state", "alarm_acknowledged_time_s", "judged_true", "escalated")
"""What others write of an alarm that is there."""
_log = logging.getLogger("manor.assure")


class Alarming:
    """The active alarms; one thread at a time takes findings."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._memory = Memory()
        self.active: tuple[AlarmRecord, ...] = ()
        self.counts: Mapping[tuple[str, str], int] = {}
        """How many are active, by severity and by whether they are ``learned`` or ``static``."""

    def read(self) -> tuple[AlarmRecord, ...]:
        """Those that are active now, also by the word of another process."""
        from manor.store import alarms

        with self._rt.store.read() as tx:
            self.active = alarms.active(tx)
        return self.active

    def take(self, services: Sequence[Service], findings: Findings, now_s: float, *, clear_s: float) -> None:
        """Raise, change and clear what these findings call for, among those that were read."""
        known = self.active
        changes = transition(known, findings, self._memory, now_s, clear_s=clear_s)
        self._memory = changes.memory
        # What is gone for good takes its alarms along.
        there = {"", *(service.id for service in services)}
        lost = (
            replace(alarm, alarm_cleared_time_s=now_s, alarm_changed_time_s=now_s)
            for alarm in known
            if alarm.ns_id not in there
        )
        cleared = (*(alarm for alarm in changes.cleared if alarm.ns_id in there), *lost)
        changes = replace(changes, cleared=cleared)
        if changes.raised or changes.changed or changes.cleared:
            self._keep(changes)
        origin = {True: "learned", False: "static"}
        self.counts = Counter((str(alarm.perceived_severity), origin[alarm.learned]) for alarm in self.active)

    def present(self, findings: Findings) -> list[AlarmRecord]:
        """Those active ones whose fault these findings show, with the signs that are there now."""
        now = {symptom.fault: symptom for symptom in findings.symptoms}
        return [with_present_signs(alarm, now[alarm.fault]) for alarm in self.active if alarm.fault in now]

    def _keep(self, changes: Changes) -> None:
        from manor.store import alarms

        written = (*changes.changed, *changes.cleared)
        with self._rt.store.begin() as tx:
            now = alarms.held(tx, [alarm.id for alarm in written])
            # An operator may have acknowledged or approved it since it was read, another process have cleared it.
            written = tuple(
                replace(alarm, **{name: getattr(now[alarm.id], name) for name in _PERSONS})
                for alarm in written
                if alarm.id in now and now[alarm.id].is_active
            )
            raised = tuple(alarm for alarm in changes.raised if alarms.add(tx, alarm))
            for alarm in written:
                alarms.save(tx, alarm)
        self.read()
        for alarm in (*raised, *written):
            self._rt.plugins.emit_alarm_event(to_event(alarm))
        for alarm in raised:
            _log.warning("alarm %s: %s on %s", alarm.id, alarm.probable_cause, alarm.resource_key)
        for alarm in (one for one in written if not one.is_active):
            _log.info("alarm %s is cleared: %s on %s", alarm.id, alarm.probable_cause, alarm.resource_key)
