"""What a service has on hosts that do not answer stays as it is, and everything else goes on. Pure.

Nobody can tell what became of it: it may be gone, or at work where nobody sees it. So no step is planned for it, and it
is not made a second time because it cannot be seen. What is to go from there is *left*: an orphan of the operation,
which is found when the host is back. A plan that would have to change something there is refused.

Links and chains do without the ports on such a host where its switch does not answer either, once they have to change;
until then they stay as they are too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from manor.api.plan import Plan, Step, Undo, Verb
from manor.api.resources import ChainElement, ChainSpec, NodeSpec, Observed, Phase, SegmentSpec
from manor.api.specs import spec_hash, spec_to_json
from manor.errors import PlanRefused
from manor.model.desired import DesiredCheck, DesiredResource, DesiredState

__all__ = ["LEAVE", "Parted", "Silent", "leave", "parted", "with_left"]

LEAVE = "leave"
"""``Step.change`` of what is left on a host that does not answer: nobody goes there."""

Silent = Mapping[tuple[str, str], str]
"""Why a host does not answer, by endpoint and host."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parted:
    """A service without what is on hosts that do not answer."""

    target: DesiredState | None
    previous: DesiredState | None
    observed: Mapping[str, Observed]
    silent: Silent = field(default_factory=dict)
    """The hosts that it has something on."""
    left: tuple[DesiredResource, ...] = ()
    """What should go, and is there or was."""
    cut: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Hosts whose switches do not answer, by the endpoint of their controller."""
    notes: tuple[str, ...] = ()


def parted(
    target: DesiredState | None,
    previous: DesiredState | None,
    observed: Mapping[str, Observed],
    *,
    silent: Silent,
    cut: Mapping[str, frozenset[str]],
    recreate: Collection[str] = (),
) -> Parted:
    """The target, what was before, and what is observed, without what is on hosts that do not answer.

    ``cut`` are hosts whose switches do not answer, by the endpoint of their controller; ``recreate`` are keys to make
    anew. Raises PlanRefused where something is to be made, changed or made anew on such a host.
    """
    if not silent:
        return Parted(target=target, previous=previous, observed=observed)
    before = {one.spec.key: one for one in previous.resources} if previous else {}
    wanted = {one.spec.key: one for one in target.resources} if target else {}
    asked = [
        one
        for key, one in wanted.items()
        if _place(one) in silent and (key in recreate or not _is_same(one, before.get(key)))
    ]
    if asked:
        one = next((one for one in asked if isinstance(one.spec, NodeSpec)), asked[0])
        _refuse(one, silent[_place(one)])
    away = [one for one in before.values() if _place(one) in silent]
    still = {
        key
        for key, one in wanted.items()
        if _misses(one, cut) and (_lessened(one, cut) is None or _hash_of(observed, key) == spec_hash(one.spec))
    }
    less = {key: short for key, one in before.items() if (short := _lessened(one, cut)) is not None}
    seen = {
        # A rollback restores what it was without those ports.
        key: dataclasses.replace(one, spec_hash=spec_hash(less[key].spec))
        if key in less and one.spec_hash == spec_hash(before[key].spec)
        else one
        for key, one in observed.items()
        if key not in still
        and (one.phase is not Phase.UNKNOWN or one.native_id)  # what was seen nowhere is not at another place
        and (getattr(wanted.get(key) or before.get(key), "endpoint", ""), one.ref.host) not in silent
    }
    left = tuple(one for one in away if not one.shared and not _is_same(one, wanted.get(one.spec.key)))
    return Parted(
        target=_without(target, silent, still, cut),
        previous=_without(previous, silent, still, cut),
        observed=seen,
        silent={place: why for place, why in silent.items() if place in {_place(one) for one in away}},
        left=left,
        cut={endpoint: hosts for endpoint, hosts in cut.items() if hosts},
        notes=tuple(_notes(away, left, silent)),
    )


def with_left(plan: Plan, parts: Parted, told: Iterable[Step], stored: DesiredState | None) -> Plan:
    """The plan with what it leaves, and what the last operation left (``told``) and nobody could go for since.

    A removed link or chain is out of the switches that answer; the controller has the others let go of it later.
    """
    kept = {one.spec.key for one in stored.resources} if stored else set()
    own = [leave(one.spec.kind, one.spec.key, *_place(one)) for one in parts.left]
    own = [
        dataclasses.replace(step, before=spec_to_json(one.spec)) if one.spec.key in kept else step
        for step, one in zip(own, parts.left, strict=True)
    ]
    known = {(step.key, step.host) for step in (*plan.steps, *own) if step.verb is Verb.REMOVE}
    again = [step for step in told if (step.key, step.host) not in known]
    steps = (
        dataclasses.replace(step, spec={"without": sorted(parts.cut[step.endpoint])})
        if step.verb is Verb.REMOVE and step.endpoint in parts.cut
        else step
        for step in plan.steps
    )
    return dataclasses.replace(plan, steps=(*steps, *own, *again), notes=(*plan.notes, *parts.notes))


def leave(kind: str, key: str, endpoint: str, host: str) -> Step:
    """The step that nobody takes."""
    return Step(
        id=f"{LEAVE} {kind} {key} {host}",
        verb=Verb.REMOVE,
        kind=kind,
        key=key,
        endpoint=endpoint,
        host=host,
        summary=f"{LEAVE} {kind}: its host does not answer",
        change=LEAVE,
        undo=Undo.NONE,
    )


def _refuse(resource: DesiredResource, why: str) -> None:
    spec, host = resource.spec, _place(resource)[1]
    short = spec.key.partition("/")[2].removeprefix("vnf/")
    labels = dict(spec.labels) if isinstance(spec, NodeSpec) else {}
    moved = f"manor vnf move {labels['service']}/{labels['vnf']} VIM/HOST, or " if "vnf" in labels else ""
    raise PlanRefused(
        f"{spec.kind} {short} would have to change on host {host}, which does not answer: {why}",
        hint=f"{moved}wait until {host} is back",
    )


def _place(resource: DesiredResource) -> tuple[str, str]:
    return resource.endpoint, getattr(resource.spec, "host", "")


def _is_same(one: DesiredResource, other: DesiredResource | None) -> bool:
    return other is not None and (one.endpoint, one.spec) == (other.endpoint, other.spec)


def _hash_of(observed: Mapping[str, Observed], key: str) -> str:
    return observed[key].spec_hash if key in observed else ""


def _without(
    state: DesiredState | None, silent: Silent, still: Collection[str], cut: Mapping[str, frozenset[str]]
) -> DesiredState | None:
    if state is None:
        return None
    gone = {one.spec.key for one in state.resources if _place(one) in silent} | set(still)
    return dataclasses.replace(
        state,
        resources=tuple(_lessened(one, cut) or one for one in state.resources if one.spec.key not in gone),
        checks=tuple(less for check in state.checks if (less := _looked_at(check, gone)) is not None),
    )


def _looked_at(check: DesiredCheck, gone: Collection[str]) -> DesiredCheck | None:
    """The check of what can be looked at; None where nothing is left of it."""
    if "resource" in check.view:
        return None if check.view["resource"] in gone else check
    vnfcs = check.view.get("vnfcs", ())
    seen = [vnfc for vnfc in vnfcs if vnfc["key"] not in gone]
    if len(seen) == len(vnfcs):
        return check
    nodes = {key: way for key, way in check.nodes.items() if key not in gone}
    return dataclasses.replace(check, view={**check.view, "vnfcs": seen}, nodes=nodes) if seen else None


# links and chains


def _misses(resource: DesiredResource, cut: Mapping[str, frozenset[str]]) -> bool:
    """Whether it is a link or chain with a port on a switch that does not answer."""
    hosts, spec = cut.get(resource.endpoint, frozenset()), resource.spec
    if isinstance(spec, SegmentSpec):
        return any(port.host in hosts for port in spec.ports)
    if isinstance(spec, ChainSpec):
        elements = [element for position in spec.positions for element in position.elements]
        ends = any(port.host in hosts for port in (*spec.sources, *spec.destinations))
        return ends or not all(_stands(one, hosts) for one in elements)
    return False


def _stands(element: ChainElement, cut: frozenset[str]) -> bool:
    return element.ingress.host not in cut and element.egress.host not in cut


def _lessened(resource: DesiredResource, cut: Mapping[str, frozenset[str]]) -> DesiredResource | None:
    """The link or chain without those ports; None where it has none, or where nothing would be left at some place."""
    if not _misses(resource, cut):
        return None
    hosts, spec = cut[resource.endpoint], resource.spec
    less: SegmentSpec | ChainSpec
    if isinstance(spec, SegmentSpec):
        less = dataclasses.replace(spec, ports=tuple(port for port in spec.ports if port.host not in hosts))
        return dataclasses.replace(resource, spec=less) if less.ports else None
    assert isinstance(spec, ChainSpec)
    less = dataclasses.replace(
        spec,
        sources=tuple(port for port in spec.sources if port.host not in hosts),
        destinations=tuple(port for port in spec.destinations if port.host not in hosts),
        positions=tuple(
            dataclasses.replace(one, elements=tuple(e for e in one.elements if _stands(e, hosts)))
            for one in spec.positions
        ),
    )
    is_whole = less.sources and less.destinations and all(position.elements for position in less.positions)
    return dataclasses.replace(resource, spec=less) if is_whole else None


# what people should know


def _notes(away: Iterable[DesiredResource], left: Collection[DesiredResource], silent: Silent) -> Iterator[str]:
    left_keys = {one.spec.key for one in left}
    for (endpoint, host), why in silent.items():
        here = [one for one in away if _place(one) == (endpoint, host)]
        nodes = [one for one in here if isinstance(one.spec, NodeSpec)]
        stay = [_name(one) for one in nodes if one.spec.key not in left_keys]
        go = [_name(one) for one in nodes if one.spec.key in left_keys]
        if here:
            yield f"host {host} does not answer: {why}; what is there stays as it is" + _named(stay)
        if left_keys.intersection(one.spec.key for one in here):
            what = f"{', '.join(go)} may run on there, with its addresses" if go else "something is left there"
            yield f"{host}: {what}; once the host is back: manor vim orphans --remove"


def _name(resource: DesiredResource) -> str:
    return resource.spec.key.partition("/vnf/")[2]


def _named(names: Collection[str]) -> str:
    return f": {', '.join(names)}" if names else ""
