"""Triggers of a VnfIndicator policy: what a VNF's author wants done when an indicator passes a value (SOL001 annex A).

    triggers:
      too_many:
        event: tosca.interfaces.nfv.VnfIndicator.sessions
        condition:
          - sessions: [greater_or_equal: 800]
        action:
          - call_operation:
              operation: Vnflcm.scale
              inputs: {type: {value: scale_out}, aspect: {value: workers}}

What cannot be followed is said, and the alarm is left to the operator's own rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from manor.catalog.reading import Reading
from manor.model.vnfd import Comparison, IndicatorTrigger

__all__ = ["read_triggers"]

_OPERATIONS = {"vnflcm.scale": "scale", "vnflcm.heal": "heal"}


def read_triggers(policy: Reading) -> Iterator[IndicatorTrigger]:
    """The triggers of one policy that can be followed; a WARNING for each other."""
    for name, reading in policy.get("triggers").entries():
        try:
            yield _trigger(name, reading.value())
        except ValueError as error:
            hint = "conditions compare one indicator with numbers; actions call Vnflcm.scale (out) or Vnflcm.heal"
            reading.warning("trigger-unknown", f"trigger {name[:80]} is not followed: {error}", hint)


def _trigger(name: str, given: Any) -> IndicatorTrigger:
    """Pure. Raises ValueError saying what is not understood."""
    if not isinstance(given, dict):
        raise ValueError("it is no map")
    indicator, conditions = _condition(given.get("condition"))
    operation, inputs = _action(given.get("action"))
    if operation == "scale" and _text(inputs, "type", "scale_out").lower() != "scale_out":
        raise ValueError("of scaling it can do SCALE_OUT")
    aspect = _text(inputs, "aspect", "") or _text(inputs, "aspect_id", "")
    return IndicatorTrigger(name=name, indicator=indicator, conditions=conditions, operation=operation, aspect=aspect)


def _condition(given: Any) -> tuple[str, tuple[tuple[Comparison, float], ...]]:
    """One indicator, and what its value is compared with."""
    clauses = given if isinstance(given, list) else [given]
    if len(clauses) != 1 or not isinstance(clauses[0], dict) or len(clauses[0]) != 1:
        raise ValueError("its condition is about more or less than one indicator")
    ((indicator, asked),) = clauses[0].items()
    found = []
    for one in asked if isinstance(asked, list) else [asked]:
        if not isinstance(one, dict) or len(one) != 1:
            raise ValueError(f"its condition on {indicator} is no comparison")
        ((word, limit),) = one.items()
        if word not in set(Comparison) or not isinstance(limit, int | float) or isinstance(limit, bool):
            raise ValueError(f"its condition on {indicator} is no comparison with a number")
        found.append((Comparison(word), float(limit)))
    if not found:
        raise ValueError(f"its condition on {indicator} is empty")
    return str(indicator), tuple(found)


def _action(given: Any) -> tuple[str, Mapping[str, Any]]:
    """The one operation that it calls, with its inputs."""
    actions = given if isinstance(given, list) else [given]
    if len(actions) != 1 or not isinstance(actions[0], dict):
        raise ValueError("it calls more or less than one operation")
    call = actions[0].get("call_operation")
    said = call if isinstance(call, dict) else {"operation": call}
    operation = _OPERATIONS.get(str(said.get("operation", "")).removeprefix("tosca.interfaces.nfv.").lower())
    inputs = said.get("inputs") or {}
    if operation is None or not isinstance(inputs, dict):
        raise ValueError("its action is no call of Vnflcm.scale or Vnflcm.heal")
    return operation, inputs


def _text(inputs: Mapping[str, Any], name: str, default: str) -> str:
    """An input, given plainly or as TOSCA's parameter assignment ``{value: …}``."""
    given = inputs.get(name, default)
    return str(given.get("value", default) if isinstance(given, dict) else given)
