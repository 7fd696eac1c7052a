"""Indicators of VNFs that have fallen silent: a figure that is missing crosses no limit, so somebody has to say it.

Only one that gave a value can fall silent, and it is asked twice before that is said. A question that the guest agent
left unanswered says nothing of the indicator: that is the agent's own silence.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from manor.api.assure import PerceivedSeverity
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Service, vnf_of
from manor.assure.symptoms import Rank, Symptom
from manor.model.alarm import EventType, FaultyResourceType

__all__ = ["CAUSE", "Unheard", "unheard"]

CAUSE = "indicator-silent"
_QUESTIONS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heard:
    since_s: float = 0.0
    """When it first gave none..."""
    questions: int = 0
    """... for so many questions in a row."""

    def missed(self, time_s: float) -> _Heard:
        """After another one."""
        return _Heard(since_s=self.since_s if self.questions else time_s, questions=self.questions + 1)


class Unheard:
    """Since when which indicator of which machine has given no value. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, dict[str, _Heard]] = {}

    def keep(self, machines: Collection[str]) -> None:
        """Forget all others: one that was off, or changed, has first to say something again."""
        with self._lock:
            self._heard = {key: known for key, known in self._heard.items() if key in machines}

    def take(self, machine: str, asked: Collection[str], gave: Collection[str], time_s: float) -> None:
        """What a machine was asked for, where an answer came or should have; and what gave a value."""
        with self._lock:
            known = self._heard.get(machine, {})
            self._heard[machine] = {
                name: known[name].missed(time_s) if name in known and name in asked and name not in gave else _Heard()
                for name in {*known, *gave}
            }

    def since_s(self) -> dict[str, dict[str, float]]:
        """By machine, the indicators that are silent, and since when."""
        with self._lock:
            found = {
                machine: {name: one.since_s for name, one in known.items() if one.questions >= _QUESTIONS}
                for machine, known in self._heard.items()
            }
        return {machine: names for machine, names in found.items() if names}


def unheard(
    services: Sequence[Service], silent: Mapping[str, Mapping[str, float]], now_s: float, settings: AssuranceSettings
) -> tuple[Symptom, ...]:
    """A symptom for each machine with indicators that have been ``silent`` for long. Pure."""
    found = []
    for service in services:
        for _, node in service.nodes() if not service.is_changing else ():
            known = silent.get(node.key, {})
            long = {name: since_s for name, since_s in known.items() if now_s - since_s >= settings.heartbeat_lost_s}
            if long:
                found.append(
                    Symptom(
                        ns_id=service.id,
                        managed_object_id=vnf_of(node.key),
                        resource_key=node.key,
                        cause=CAUSE,
                        rank=Rank.THRESHOLD,
                        severity=PerceivedSeverity.MINOR,
                        event_type=EventType.COMMUNICATIONS_ALARM,
                        resource_type=FaultyResourceType.COMPUTE,
                        detail=(f"no value any more of {', '.join(sorted(long))}: its triggers see nothing",),
                        since_s=min(long.values()),
                    )
                )
    return tuple(found)
