"""What a VNF's descriptor says about being healed and scaled by itself, and what its operator changed of that.

``is_autoheal_enabled`` and ``is_autoscale_enabled`` (SOL001; SOL003 and SOL006 spell them otherwise) are configurable
properties: the descriptor has the default, ``manor vnf modify --property`` the last word. A trigger of an indicator
says what is done when its value passes a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manor.api.assure import HealAction, HealDecision, PerceivedSeverity
from manor.assure.sight import Declared, Service, vnf_of
from manor.assure.symptoms import Rank, Symptom
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType
from manor.model.vnfd import Comparison, IndicatorTrigger
from manor.telemetry.kpis import KpiRow, split

__all__ = ["CAUSE", "by_trigger", "crossed", "declared", "forbidden", "is_indicator", "notable_indicator"]

CAUSE = "indicator"
_INDICATOR = "vnf_indicator"
_NOTABLE = 0.05
"""Part of an indicator's limit, or of what it usually is, below which no change means anything, as of a CPU's hundred
points it is five."""
_HEAL = ("isautohealenabled",)
_SCALE = ("isautoscaleenabled", "isautoscalableenabled")
_SCALES = frozenset({HealAction.SCALE_OUT})
_HEALS = frozenset({HealAction.RESTART, HealAction.RECREATE, HealAction.REROUTE, HealAction.REPAIR})


def declared(vnfd: Mapping[str, Any], information: Mapping[str, Any]) -> Declared:
    """Of a VNFD as it is kept, and what the operator says of the instance (vnfConfigurableProperties). Pure."""
    said = {_plain(name): value for name, value in dict(vnfd.get("configurable_properties") or {}).items()}
    said |= {_plain(name): value for name, value in dict(information.get("vnfConfigurableProperties") or {}).items()}
    aspects = [a["id"] for df in vnfd.get("flavours", ())[:1] for a in df.get("scaling_aspects", ())]
    return Declared(
        autoheal=_flag(said, _HEAL),
        autoscale=_flag(said, _SCALE),
        triggers=tuple(
            IndicatorTrigger(
                name=str(one["name"]),
                indicator=str(one["indicator"]),
                conditions=tuple((Comparison(word), float(limit)) for word, limit in one["conditions"]),
                operation=str(one["operation"]),
                aspect=str(one.get("aspect") or (aspects[0] if len(aspects) == 1 else "")),
            )
            for one in vnfd.get("triggers", ())
        ),
        management=frozenset(
            cp["int_cpd"] for cp in vnfd.get("ext_cpds", ()) if cp.get("management") and cp.get("int_cpd")
        ),
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in str(name).lower() if letter.isalnum())


def _flag(said: Mapping[str, Any], names: Sequence[str]) -> bool | None:
    value = next((said[name] for name in names if name in said), None)
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def crossed(services: Sequence[Service], rows: Mapping[str, KpiRow], hold_s: float) -> tuple[Symptom, ...]:
    """A symptom for each trigger whose conditions hold on a machine. Pure."""
    found = []
    for service in services:
        if service.is_changing:
            continue
        for _, node in service.nodes():
            row = rows.get(node.key)
            for trigger in service.declared_of(node.key).triggers if row is not None else ():
                value = _value(row, trigger) if row is not None else None
                if value is not None:
                    found.append(_symptom(service, node.key, trigger, value, hold_s))
    return tuple(found)


def _value(row: KpiRow, trigger: IndicatorTrigger) -> float | None:
    """The first value of the indicator, or of one of its series, for which all conditions hold."""
    for kpi, value in row.values.items():
        holds = (comparison.holds(value, limit) for comparison, limit in trigger.conditions)
        if _is_of(kpi, trigger) and all(holds):
            return value
    return None


def _is_of(kpi: str, trigger: IndicatorTrigger) -> bool:
    metric, part = split(kpi)
    return metric == _INDICATOR and trigger.indicator in (part, part.partition("/")[0])


def is_indicator(kpi: str) -> bool:
    """Whether it is a VNF's own figure, and not one that Manor names. Pure."""
    return split(kpi)[0] == _INDICATOR


def notable_indicator(said: Declared, kpi: str, usual: float) -> float:
    """The least change of an indicator that means anything, by the limits that its VNFD's triggers name, or by how
    large it usually is where they name none. Pure."""
    limits = (abs(limit) for trigger in said.triggers if _is_of(kpi, trigger) for _, limit in trigger.conditions)
    return _NOTABLE * min((limit for limit in limits if limit), default=usual)


def _symptom(service: Service, key: str, trigger: IndicatorTrigger, value: float, hold_s: float) -> Symptom:
    said = " and ".join(f"{word.replace('_', ' ')} {limit:g}" for word, limit in trigger.conditions)
    return Symptom(
        ns_id=service.id,
        managed_object_id=vnf_of(key),
        resource_key=key,
        cause=f"{CAUSE} {trigger.name}",
        rank=Rank.THRESHOLD,
        severity=PerceivedSeverity.WARNING if trigger.operation == "scale" else PerceivedSeverity.MAJOR,
        event_type=EventType.QOS_ALARM,
        resource_type=FaultyResourceType.COMPUTE,
        detail=(f"indicator {trigger.indicator} is {value:g}: {said}, as the VNFD's trigger {trigger.name} has it",),
        hold_s=hold_s,
    )


def by_trigger(alarm: AlarmRecord, service: Service) -> tuple[HealDecision | None, str]:
    """What the VNFD wants done about an alarm of one of its triggers, and the aspect to scale by. Pure."""
    for trigger in service.declared_of(alarm.resource_key).triggers:
        if alarm.probable_cause == f"{CAUSE} {trigger.name}":
            action = HealAction.SCALE_OUT if trigger.operation == "scale" else HealAction.RESTART
            reason = f"{alarm.probable_cause} on {alarm.resource_key}: the VNFD says {action}"
            return HealDecision(action=action, targets=(alarm.resource_key,), reason=reason), trigger.aspect
    return None, ""


def forbidden(service: Service, action: HealAction, targets: Sequence[str]) -> str:
    """Why one of these machines may not be healed or scaled by itself; empty where all may. Pure."""
    for key in targets:
        said = service.declared_of(key)
        vnf = vnf_of(key).rpartition("/")[2]
        if action in _HEALS and said.autoheal is False:
            return f"auto-heal is off for {vnf} (is_autoheal_enabled)"
        if action in _SCALES and said.autoscale is False:
            return f"auto-scale is off for {vnf} (is_autoscale_enabled)"
    return ""
