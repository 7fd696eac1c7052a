"""For ``manor ns drift``: which flow rules of a service differ in the switches, and which were put right already."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manor.cli.session import Session
from manor.errors import DriverError

if TYPE_CHECKING:
    from manor.api import Observed

__all__ = ["FlowDrift", "FlowRepair", "Flows", "drift_lines", "flows_of", "read_flows"]

_LOOK_S = 30.0
_RECENT_S = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowDrift:
    """One rule that is not as it should be."""

    of: str
    """The link or chain, as ``chain path``."""
    host: str
    state: str
    """``missing``, ``altered``, or ``foreign``: under our cookie and not ours."""
    rule: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRepair:
    """Rules that the controller put right by itself."""

    of: str
    host: str
    time_s: float
    rules: int
    what: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Flows:
    """A service's rules in the switches, as far as they differ or did."""

    drift: tuple[FlowDrift, ...] = ()
    repairs: tuple[FlowRepair, ...] = field(default=())
    """Of the last day, the newest first."""
    unseen: tuple[str, ...] = ()
    """Why some could not be looked at."""


def flows_of(s: Session, ns_id: str) -> Flows:
    """Ask the controllers of a service's links and chains."""
    from manor.api import CallContext, ChainSpec, Query, SegmentSpec
    from manor.store import instances

    with s.runtime.store.read() as tx:
        state = instances.desired(tx, ns_id)
    resources = state.resources if state else ()
    endpoints = sorted({r.endpoint for r in resources if isinstance(r.spec, SegmentSpec | ChainSpec)})
    seen: list[Observed] = []
    unseen: list[str] = []
    for endpoint in endpoints:
        try:
            query = Query(owner=s.runtime.owner, prefix=f"{ns_id}/")
            seen += s.runtime.driver(endpoint).observe(query, CallContext.within(_LOOK_S))
        except DriverError as error:
            unseen.append(f"{endpoint.partition(':')[2]}: {error.message}")
    return read_flows(seen, unseen, now_s=time.time())


def read_flows(seen: Iterable[Observed], unseen: Iterable[str] = (), *, now_s: float) -> Flows:
    """What the controllers' observations say of single rules. Pure."""
    drift: list[FlowDrift] = []
    repairs: list[FlowRepair] = []
    for one in sorted(seen, key=lambda one: one.ref.key):
        of = f"{'link' if one.ref.kind == 'segment' else one.ref.kind} {one.ref.key.rpartition('/')[2]}"
        drift += _drift(of, one.detail)
        for repair in one.detail.get("repairs", ()):
            if now_s - float(repair["time_s"]) < _RECENT_S:
                repairs.append(FlowRepair(of=of, **{**repair, "what": tuple(repair["what"])}))
    repairs.sort(key=lambda repair: -repair.time_s)
    return Flows(drift=tuple(drift), repairs=tuple(repairs), unseen=tuple(unseen))


def _drift(of: str, detail: Mapping[str, Any]) -> Iterator[FlowDrift]:
    for rule in detail.get("rules", ()):
        if rule.get("state", "active") != "active":
            yield FlowDrift(of=of, host=str(rule["host"]), state=str(rule["state"]), rule=str(rule["note"]))
    for rule in detail.get("extra", ()):
        if isinstance(rule, Mapping):
            words = f"table {rule['table']}, priority {rule['priority']}, {rule['match'] or 'any frame'}"
            yield FlowDrift(of=of, host=str(rule["host"]), state="foreign", rule=words)


def drift_lines(flows: Flows, now_s: float) -> list[str]:
    """The same for people."""
    lines = [f"  {one.state:<8} {one.of} on {one.host}: {one.rule}" for one in flows.drift]
    if lines:
        lines.insert(0, "rules in the switches:")
    for repair in flows.repairs[:5]:
        ago = now_s - repair.time_s
        when = f"{ago:.0f} s" if ago < 120 else f"{ago / 60:.0f} min" if ago < 7200 else f"{ago / 3600:.0f} h"
        lines.append(
            f"put right by the controller {when} ago: {repair.of} on {repair.host}, {repair.rules} of its rules"
            f" ({'; '.join(repair.what[:3])}{'; …' if len(repair.what) > 3 else ''})"
        )
    return lines + [f"rules not seen: {why}" for why in flows.unseen]
