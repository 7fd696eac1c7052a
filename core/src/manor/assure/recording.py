"""Decisions as they are kept: each is written once for as long as it stays the same, with what became of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence

from manor.assure.deciding import Verdict
from manor.assure.healing import followed_up, operation_state, ruling_of
from manor.lcm.runtime import Runtime
from manor.model.alarm import AlarmRecord, EventType, Outcome, Ruling

__all__ = ["Recording"]

_DAY_S = 86400.0
_MEASURED = frozenset({EventType.QOS_ALARM, EventType.COMMUNICATIONS_ALARM})
"""What machines do, and links and chains, is looked at by the thread that measures."""
_log = logging.getLogger("manor.assure")


class Recording:
    """One thread at a time calls it."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._last: dict[str, tuple[str, str, str]] = {}
        """What was decided last, by alarm."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Decisions since the start, by action and outcome."""

    def heals(
        self, active: Collection[str], present: Sequence[AlarmRecord], now_s: float, *, helped_within_s: float
    ) -> tuple[Ruling, ...]:
        """The heals of the last day, with what became by now of those that were still open.

        ``active`` are ids of the alarms that are up; ``present`` are those whose fault is seen now.
        """
        from manor.store import alarms

        self._last = {alarm_id: said for alarm_id, said in self._last.items() if alarm_id in active}
        with self._rt.store.read() as tx:
            heals = list(alarms.heals(tx, since_s=now_s - _DAY_S))
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

    def add(self, alarm: AlarmRecord, verdict: Verdict, now_s: float, operation_id: str = "") -> None:
        """Write a verdict down, unless it is what was decided last."""
        from manor.store import alarms

        said = str(verdict.action), str(verdict.outcome), verdict.reason
        if not operation_id and said == self._said(alarm):
            return
        self._last[alarm.id] = said
        self.counts[str(verdict.action), str(verdict.outcome)] += 1
        with self._rt.store.begin() as tx:
            alarms.add_ruling(tx, ruling_of(alarm, verdict, now_s, operation_id))
        level = logging.WARNING if verdict.outcome in (Outcome.ESCALATED, Outcome.FAILED) else logging.INFO
        _log.log(level, "alarm %s: %s %s: %s", alarm.id, verdict.action, verdict.outcome, verdict.reason)

    def _said(self, alarm: AlarmRecord) -> tuple[str, str, str] | None:
        """What was decided last, also by a process before this one."""
        from manor.store import alarms

        if alarm.id not in self._last:
            with self._rt.store.read() as tx:
                before = alarms.rulings(tx, alarm.id)
            if not before:
                return None
            self._last[alarm.id] = str(before[-1].action), str(before[-1].outcome), before[-1].reason
        return self._last[alarm.id]
