"""Decisions as they are kept: each is written once for as long as it stays the same, with what became of it."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from manor.api import HealAction
from manor.assure.deciding import Verdict
from manor.assure.healing import followed_up, operation_state, ruling_of
from manor.assure.symptoms import EMPTIED
from manor.lcm.runtime import Runtime
from manor.model.alarm import AlarmRecord, EventType, Outcome, Ruling, to_event

__all__ = ["Recording"]

_DAY_S = 86400.0
_MEASURED = frozenset({EventType.QOS_ALARM, EventType.COMMUNICATIONS_ALARM})
"""What machines do, and links and chains, is looked at by the thread that measures."""
_log = logging.getLogger("manor.assure")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Last:
    """What was decided last about an alarm."""

    said: tuple[HealAction, Outcome, str] | None = None
    held_since_s: float = 0.0
    failed_s: float = 0.0
    """When it could not be begun."""

    def then(self, ruling: Ruling, *, is_locked: bool = False) -> _Last:
        """With one more; a hold that a person wants (``is_locked``) is never held for too long."""
        held_since_s = 0.0
        if ruling.outcome is Outcome.HELD and not is_locked:
            held_since_s = self.held_since_s or ruling.time_s
        elif ruling.outcome is Outcome.ESCALATED:
            held_since_s = self.held_since_s
        failed_s = ruling.time_s if ruling.outcome is Outcome.FAILED else 0.0
        return _Last(said=(ruling.action, ruling.outcome, ruling.reason), held_since_s=held_since_s, failed_s=failed_s)


class Recording:
    """One thread at a time calls it."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._last: dict[str, _Last] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        """Decisions since the start, by action and outcome."""
        self.roots: dict[str, str] = {}
        """Of alarms that were healed within the last day and follow from an emptied host's: its id, by their own."""

    def heals(
        self, active: Collection[str], present: Sequence[AlarmRecord], now_s: float, *, helped_within_s: float
    ) -> tuple[Ruling, ...]:
        """The heals of the last day, with what became by now of those that were still open.

        ``active`` are ids of the alarms that are up; ``present`` are those whose fault is seen now.
        """
        from manor.store import alarms

        self._last = {alarm_id: last for alarm_id, last in self._last.items() if alarm_id in active}
        with self._rt.store.read() as tx:
            heals = list(alarms.heals(tx, since_s=now_s - _DAY_S))
            self.roots = alarms.roots(tx, cause=EMPTIED, since_s=now_s - _DAY_S) if heals else {}
            states = {r.operation_id: operation_state(tx, r.operation_id) for r in heals if r.helped is None}
        # What a machine is, is seen at once; how well it does is measured over some time, and may be an old word.
        again = {alarm.id for alarm in present if alarm.event_type not in _MEASURED}
        changed = []
        for index, ruling in enumerate(heals):
            state = states.get(ruling.operation_id)
            if state is None or ruling.helped is not None:
                continue
            after = followed_up(
                ruling,
                state,
                cleared=ruling.alarm_id not in active,
                again=ruling.alarm_id in again,
                now_s=now_s,
                helped_within_s=helped_within_s,
            )
            if after != ruling:
                heals[index] = after
                changed.append(after)
        if changed:
            with self._rt.store.begin() as tx:
                for ruling in changed:
                    alarms.save_ruling(tx, ruling)
        return tuple(heals)

    def held_since_s(self, alarm: AlarmRecord) -> float:
        """Since when a heal of it is held back; 0 where none is."""
        return self._of(alarm).held_since_s

    def rests(self, alarm: AlarmRecord, now_s: float, rest_s: float) -> bool:
        """Whether a heal of it could not be begun so lately that nobody is asked again."""
        return now_s - self._of(alarm).failed_s < rest_s

    def add(self, alarm: AlarmRecord, verdict: Verdict, now_s: float) -> None:
        """Write down a verdict by which nothing is begun, unless it is what was decided last."""
        from manor.store import alarms

        ruling, last = ruling_of(alarm, verdict, now_s), self._of(alarm)
        then = last.then(ruling, is_locked=verdict.is_locked)
        if then.said != last.said:
            with self._rt.store.begin() as tx:
                changed = alarms.add_ruling(tx, ruling)
            self._tell(ruling, changed)
        self._last[alarm.id] = then

    def begun(self, ruling: Ruling, changed: AlarmRecord | None) -> None:
        """Take up a ruling that was written down with its operation, and its alarm where that has ``changed`` too."""
        self._tell(ruling, changed)
        self._last[ruling.alarm_id] = self._last.get(ruling.alarm_id, _Last()).then(ruling)

    def _tell(self, ruling: Ruling, changed: AlarmRecord | None) -> None:
        if changed is not None:
            self._rt.plugins.emit_alarm_event(to_event(changed))
        self.counts[str(ruling.action), str(ruling.outcome)] += 1
        level = logging.WARNING if ruling.is_a_persons else logging.INFO
        _log.log(level, "alarm %s: %s %s: %s", ruling.alarm_id, ruling.action, ruling.outcome, ruling.reason)

    def _of(self, alarm: AlarmRecord) -> _Last:
        """What was decided last, also by a process before this one."""
        from manor.store import alarms

        if alarm.id not in self._last:
            with self._rt.store.read() as tx:
                self._last[alarm.id] = functools.reduce(_Last.then, alarms.rulings(tx, alarm.id), _Last())
        return self._last[alarm.id]
