"""How an upgrade goes from machine to machine: rolling, as a canary first, or all beside the old ones (blue-green),
each held to health and to a gate of KPIs. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from manor.errors import UsageError

__all__ = ["Condition", "Rollout", "Strategy", "parse_condition", "rollout_of", "worst"]


class Strategy(StrEnum):
    """Ways to replace machines."""

    ROLLING = "rolling"
    """One after the other, each under the same key, proven before the next one goes."""
    CANARY = "canary"
    """The same, and the first few have to stand the gate before the others go."""
    BLUE_GREEN = "blue-green"
    """All new ones beside the old; links turn to them once they are healthy, and the old go last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A bound on a KPI's mean over the soak time, as ``v_cpu_usage_mean<80``."""

    metric: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.operator}{self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether the value is within the bound."""
        below, equal = self.operator[0] == "<", self.operator.endswith("=")
        return (equal and value == self.bound) or (value < self.bound if below else value > self.bound)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One upgrade's way."""

    strategy: Strategy
    vnfs: tuple[str, ...]
    """Keys of the VNFs, in the order in which they are upgraded."""
    fraction: float = 0.0
    """Of the machines, those that go first as the canary; at least one."""
    conditions: tuple[Condition, ...] = ()
    soak_s: float = 0.0

    @property
    def is_beside(self) -> bool:
        """Whether new machines come beside the old ones."""
        return self.strategy is Strategy.BLUE_GREEN

    def gates(self, number: int) -> frozenset[int]:
        """After which of ``number`` machines replaced in turn, counted from 0, the gate has to be stood."""
        if not number or self.is_beside:
            return frozenset()
        if self.strategy is Strategy.CANARY:
            first = max(1, math.ceil(self.fraction * number))
            return frozenset({first - 1, *([number - 1] if self.conditions else [])})
        return frozenset(range(number)) if self.conditions else frozenset()


def rollout_of(data: Mapping[str, Any], service_id: str) -> Rollout | None:
    """A wish's rollout; None where it says nothing. Raises UsageError for what cannot be meant."""
    if not data:
        return None
    try:
        strategy = Strategy(data.get("strategy") or Strategy.ROLLING)
    except ValueError:
        raise UsageError(f"there is no strategy {data['strategy']}", hint=f"one of: {', '.join(Strategy)}") from None
    fraction, soak_s = float(data.get("fraction") or 0.0), float(data.get("soak_s") or 0.0)
    if not 0 <= fraction <= 1:
        raise UsageError(f"a fraction of {fraction:g} of the machines", hint="a number from 0 to 1")
    if not 0 <= soak_s <= 86_400:
        raise UsageError(f"a gate cannot last {soak_s:g} s", hint="0 to 86400 seconds")
    return Rollout(
        strategy=strategy,
        vnfs=tuple(f"{service_id}/vnf/{name}" for name in data.get("vnfs", ())),
        fraction=fraction,
        conditions=tuple(parse_condition(text) for text in data.get("gate", ())),
        soak_s=soak_s,
    )


_CONDITION = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.:/-]*)\s*(<=|>=|<|>)\s*(-?[0-9]+(?:\.[0-9]+)?)\s*")


def parse_condition(text: str) -> Condition:
    """``METRIC<NUMBER`` and the like. Raises UsageError for anything else."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(f"a gate cannot be {text!r}", hint="METRIC<NUMBER, as v_cpu_usage_mean<80; also <=, > and >=")
    return Condition(metric=found[1], operator=found[2], bound=float(found[3]))


def worst(conditions: Sequence[Condition], means: Mapping[str, float | None]) -> str:
    """What is wrong with one machine's means, in words; empty where nothing is."""
    for condition in conditions:
        mean = means.get(condition.metric)
        if mean is None:
            return f"{condition.metric} was not measured"
        if not condition.holds(mean):
            return f"{condition.metric} is {mean:.4g}, and the gate wants {condition}"
    return ""
