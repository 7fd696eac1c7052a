"""How a step is called in front of people: its service's id is the same in every line and is left out."""

from __future__ import annotations

from manor.api.plan import Step, Verb

__all__ = ["seconds", "short_key", "size", "step_name"]


def short_key(key: str, service_id: str) -> str:
    """``key`` without the service's id and without the shape that all keys share, as ``client/main-0``."""
    short = key.removeprefix(f"{service_id}/").removeprefix(f"{service_id}@")
    for prefix in ("vnf/", "vl/", "chain/", "image/"):
        short = short.removeprefix(prefix)
    return short


def step_name(step: Step, service_id: str) -> str:
    """Kind and key; the verb too where the step does not make its resource."""
    name = f"{step.kind} {short_key(step.key, service_id)}"
    return name if step.verb is Verb.ENSURE else f"{step.verb} {name}"


def seconds(value_s: float) -> str:
    """A duration for people."""
    if value_s < 0.9995:
        return f"{value_s * 1000:.0f} ms"
    if value_s < 10:
        return f"{value_s:.1f} s"
    if value_s < 120:
        return f"{value_s:.0f} s"
    minutes, rest = divmod(round(value_s), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def size(value_bytes: int) -> str:
    """A size for people, in binary units."""
    value = float(value_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or value.is_integer() else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
