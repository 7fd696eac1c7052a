"""The cautious policy: what is plainly dead is healed, what is only inferred is told.

No detector that sees KPIs alone is precise enough to reboot a firewall; so a learned alarm needs an independent sign
before it leads to an action, and one that keeps coming back goes to a person.
"""

from __future__ import annotations

from collections.abc import Sequence

from manor.api import Alarm, HealAction, HealDecision, HealRecord, PerceivedSeverity, ServiceView
from manor_assurance.config import CautiousConfig

__all__ = ["CautiousPolicy"]

_ACTS = (HealAction.RESTART, HealAction.RECREATE)
_OF_THE_HOST = "host-emptied"
"""All of them off at once, as after a reboot: no fault of what is on their disks."""


class CautiousPolicy:
    """Restart first, recreate when the same came back, then hand over. Keeps no state."""

    def __init__(self, config: CautiousConfig) -> None:
        self.config = config

    def decide(self, alarm: Alarm, service: ServiceView, history: Sequence[HealRecord]) -> HealDecision:
        """Pure: equal input gives an equal decision; history after the alarm does not count."""
        key, raised_s = alarm.resource_key, alarm.alarm_raised_time_s
        if alarm.perceived_severity is PerceivedSeverity.CLEARED:
            return HealDecision(action=HealAction.NONE, reason=f"the alarm on {key} is cleared")
        dead = not alarm.learned and alarm.probable_cause in self.config.dead_causes
        if not dead and not alarm.confirmations:
            return self._tell(alarm)
        if key not in service.resources:
            reason = f"{key} is no resource of {service.name}: a person has to look"
            return HealDecision(action=HealAction.ESCALATE, reason=reason)

        window_s = self.config.flap_window_s
        recent = [
            heal for heal in history
            if heal.resource_key == key and heal.action in _ACTS and raised_s - window_s <= heal.time_s <= raised_s
        ]  # fmt: skip
        why = f"{alarm.probable_cause} on {key}"
        if alarm.confirmations:
            why += ", confirmed by " + " and ".join(alarm.confirmations)
        if len(recent) >= self.config.max_heals:
            reason = f"{why}; it was healed {len(recent)} times within {window_s:g} s: a person has to look"
            return HealDecision(action=HealAction.ESCALATE, targets=(key,), reason=reason)
        settle_s = self.config.dead_settle_s if dead else self.config.settle_s
        if recent and raised_s - max(heal.time_s for heal in recent) < settle_s:
            reason = f"{why}; the last heal is younger than {settle_s:g} s and may still take effect"
            return HealDecision(action=HealAction.NONE, reason=reason)
        if any(heal.action is HealAction.RECREATE and not heal.succeeded for heal in recent):
            reason = f"{why}; recreating it failed: a person has to look"
            return HealDecision(action=HealAction.ESCALATE, targets=(key,), reason=reason)
        before = [heal for heal in recent if heal.probable_cause in ("", alarm.probable_cause)]
        if before and not (alarm.probable_cause == _OF_THE_HOST and before[-1].succeeded):
            reason = f"{why}; a {before[-1].action} did not last"
            return HealDecision(action=HealAction.RECREATE, targets=(key,), reason=reason)
        return HealDecision(action=HealAction.RESTART, targets=(key,), reason=why)

    @staticmethod
    def _tell(alarm: Alarm) -> HealDecision:
        key = alarm.resource_key
        if alarm.learned:
            reason = f"a detector calls {key} abnormal and no independent sign confirms it"
        else:
            reason = f"{alarm.probable_cause} on {key} does not say that it is dead"
        if alarm.perceived_severity in (PerceivedSeverity.CRITICAL, PerceivedSeverity.MAJOR):
            return HealDecision(action=HealAction.ESCALATE, targets=(key,), reason=reason)
        return HealDecision(action=HealAction.NONE, reason=reason)
