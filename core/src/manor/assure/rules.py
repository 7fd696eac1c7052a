"""The operator's own rules: what to do about which alarm, asked before any policy is. Pure.

A rule is an explicit order, so it may ask for what no policy does by itself: to scale out, to lead traffic around a
function. Modes, budgets, locks and windows hold for it as for everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from manor.api.assure import HealAction, HealDecision
from manor.assure.settings import FILE, Rule
from manor.assure.sight import Service
from manor.model.alarm import AlarmRecord

__all__ = ["aspect_of", "by_rule"]

_HANDS_OFF = frozenset({HealAction.ESCALATE, HealAction.NONE})


def by_rule(alarm: AlarmRecord, service: Service, rules: Sequence[Rule]) -> HealDecision | None:
    """What the first rule that fits asks for; None where none does."""
    number, rule = _fitting(alarm, service, rules)
    if rule is None:
        return None
    reason = f"{alarm.probable_cause} on {alarm.resource_key}: rule {number} of {FILE} says {rule.action}"
    return HealDecision(action=rule.action, targets=(alarm.resource_key,), reason=reason)


def aspect_of(alarm: AlarmRecord, service: Service, rules: Sequence[Rule]) -> str:
    """The scaling aspect that the rule names; empty for one more VNF of the kind."""
    _, rule = _fitting(alarm, service, rules)
    return rule.aspect if rule else ""


def _fitting(alarm: AlarmRecord, service: Service, rules: Sequence[Rule]) -> tuple[int, Rule | None]:
    machines = service.machines(alarm.resource_key)
    vnfs = {dict(node.labels).get("vnf", "") for _, node in service.nodes() if node.key in machines} or {""}
    for number, rule in enumerate(rules, 1):
        # Of several machines together: what is wanted of all of them, and hands off any is hands off all.
        of = any if rule.action in _HANDS_OFF else all
        fits = fnmatchcase(service.name, rule.service) and of(fnmatchcase(vnf, rule.vnf) for vnf in vnfs)
        if fits and fnmatchcase(alarm.probable_cause, rule.cause):
            return number, rule
    return 0, None
