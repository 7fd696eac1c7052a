"""The world as the drivers see it: what is there of one service, and where there is room. Never mutates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from manor.api import (
    CallContext,
    Candidate,
    Host,
    NetworkSpec,
    NodeSpec,
    Observed,
    Phase,
    Port,
    Query,
    ResourceKind,
    ResourceRef,
    Subnet,
    Support,
)
from manor.errors import DriverError, ManorError, PluginError, Unreachable, UsageError
from manor.lcm.runtime import Runtime, endpoint_id
from manor.model.desired import DesiredResource, DesiredState
from manor.model.instance import EndpointKind
from manor.vnfm.members import identity

__all__ = [
    "NOT_CONNECTED",
    "OBSERVE_S",
    "View",
    "addresses",
    "answered",
    "candidates",
    "cut_off",
    "endpoints_of",
    "every_vim",
    "observe",
    "ordinary",
    "registered",
    "replace_on",
    "subnets",
]

OBSERVE_S = 30.0
"""Time for one look at one endpoint."""
NOT_CONNECTED = (DriverError, PluginError, UsageError)
"""What an endpoint that cannot be asked raises: it is away, its plugin is gone, or takes its settings no more."""
_BY_KEY = frozenset({ResourceKind.IMAGE, ResourceKind.SEGMENT, ResourceKind.CHAIN})


def endpoints_of(*states: DesiredState | None) -> frozenset[str]:
    """Every VIM and controller that these states have resources on."""
    return frozenset(resource.endpoint for state in states if state for resource in state.resources)


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What is there of a service."""

    observed: Mapping[str, Observed] = field(default_factory=dict)
    """By key; UNKNOWN is what should be on a host that does not answer."""
    found_at: Mapping[str, str] = field(default_factory=dict)
    """Endpoint of what was found under the service's id, by key."""
    twice: tuple[tuple[str, Observed], ...] = ()
    """What else there is under a key, each with its endpoint: at a place where the service does not want it."""
    silent: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Why a host does not answer, by endpoint and host."""
    mute: frozenset[str] = frozenset()
    """Endpoints that could not be asked at all, where that is tolerated."""

    def answers(self, endpoint: str, host: str) -> bool:
        """Whether it is known what is there."""
        return endpoint not in self.mute and (endpoint, host) not in self.silent


def observe(
    rt: Runtime,
    service_id: str,
    *states: DesiredState | None,
    also: frozenset[str] = frozenset(),
    at_best: frozenset[str] = frozenset(),
    beside: frozenset[str] = frozenset(),
    tolerant: bool = False,
) -> View:
    """What is there of a service: everything under its id, the shared images that the states name, and their links and
    chains that a controller knows when asked by key alone.

    Looked for where the states have something, and at the endpoints ``also``; ``at_best`` at these, which may be
    silent, or be no more; and ``beside`` at these, of which nothing is expected, and whose silence says nothing. What
    is there twice is taken for the one that is where the first state has it; what is at an endpoint where no state has
    it, or elsewhere while its host is silent, is a second one even if no other is seen. Raises DriverError where
    an endpoint cannot be asked at all: a plan from half a view would be a guess. ``tolerant`` passes over such an
    endpoint, for a forced removal, which tries what it knows of anyway.
    """
    wanted = {r.spec.key: r for state in reversed(states) if state for r in state.resources}
    places: dict[str, set[tuple[str, str]]] = {}
    for resource in (r for state in states if state for r in state.resources):
        places.setdefault(resource.spec.key, set()).add((resource.endpoint, _host(resource)))
    needed = endpoints_of(*states) | also
    mute: set[str] = set()

    def look(endpoint: str) -> tuple[Sequence[Observed], Sequence[Observed], Mapping[str, str]]:
        try:
            driver = rt.driver(endpoint)
            own, silent = answered(driver, Query(owner=rt.owner, prefix=f"{service_id}/"), OBSERVE_S)
            known = {one.ref.key for one in own}
            others = {
                key: _host(one)
                for key, one in wanted.items()
                if one.endpoint == endpoint
                and one.spec.kind in _BY_KEY
                and key not in known
                and _host(one) not in silent
            }
            if not others:
                return own, (), silent
            query = Query(owner=rt.owner, keys=frozenset(others), hosts=frozenset(others.values()) - {""} or None)
            shared, away = answered(driver, query, OBSERVE_S)
            return own, shared, {**silent, **away}
        except ManorError as error:
            if not tolerant and endpoint in needed:
                raise
            if endpoint not in needed and isinstance(error, UsageError):
                return (), (), {}  # it is registered no more, and nobody will ever go there
            mute.add(endpoint)
            return (), (), {}

    asked = sorted(needed | at_best | beside)
    observed: dict[str, Observed] = {}
    found_at: dict[str, str] = {}
    twice: list[tuple[str, Observed]] = []
    silent: dict[tuple[str, str], str] = {}
    answers = dict(zip(asked, _at_once(look, asked), strict=True))
    for endpoint in needed | at_best:
        silent.update(((endpoint, host), why) for host, why in answers[endpoint][2].items())
    for endpoint, (own, shared, _) in answers.items():
        for is_own, one in (*((True, one) for one in own), *((False, one) for one in shared)):
            key, at = one.ref.key, wanted.get(one.ref.key)
            if is_own and _is_second((endpoint, one.ref.host), places.get(key, ()), silent):
                twice.append((endpoint, one))
            elif key not in observed or (at is not None and (at.endpoint, _host(at)) == (endpoint, one.ref.host)):
                if key in found_at:
                    twice.append((found_at[key], observed[key]))
                observed[key] = one
                if is_own:
                    found_at[key] = endpoint
            elif is_own:
                twice.append((endpoint, one))
    unknown = {one.ref.key: one for one in _unseen(states, silent) if one.ref.key not in observed}
    return View(
        observed={**observed, **unknown},
        found_at=found_at,
        twice=tuple(twice),
        silent=silent,
        mute=frozenset(mute),
    )


def _is_second(at: tuple[str, str], places: Collection[tuple[str, str]], silent: Collection[tuple[str, str]]) -> bool:
    """Whether what is there can be no more than a second one of what is to be at these places: at another endpoint, or
    on another host while nobody can say whether the one that is wanted runs."""
    if not places or at in places:
        return False
    return at[0] not in {endpoint for endpoint, _ in places} or any(place in silent for place in places)


def answered(driver: Any, query: Query, seconds: float) -> tuple[Sequence[Observed], Mapping[str, str]]:
    """What the hosts that answer have, and why the others do not. Raises DriverError where nobody can be asked."""
    try:
        return driver.observe(query, CallContext.within(seconds)), {}
    except Unreachable as error:
        return error.found, error.hosts


def _host(resource: DesiredResource) -> str:
    return getattr(resource.spec, "host", "")


def cut_off(rt: Runtime, endpoints: Iterable[str], hosts: Collection[str]) -> Mapping[str, frozenset[str]]:
    """Those of these hosts whose switches do not answer, by controller; all of them where it cannot be asked either."""

    def ask(endpoint: str) -> frozenset[str]:
        try:
            switches = rt.driver(endpoint).topology(CallContext.within(OBSERVE_S)).switches
        except ManorError:
            return frozenset(hosts)
        return frozenset(hosts) - {switch.host for switch in switches if switch.connected}

    asked = sorted(endpoint for endpoint in endpoints if endpoint.startswith("sdn:")) if hosts else []
    return dict(zip(asked, _at_once(ask, asked), strict=True))


def _unseen(states: Iterable[DesiredState | None], silent: Mapping[tuple[str, str], str]) -> Iterator[Observed]:
    """What these states have on hosts that do not answer."""
    for resource in (resource for state in states if state for resource in state.resources):
        spec, host = resource.spec, _host(resource)
        if (why := silent.get((resource.endpoint, host))) is not None:
            yield Observed(
                ref=ResourceRef(kind=spec.kind, key=spec.key, host=host),
                owner=spec.owner,
                native_id="",
                phase=Phase.UNKNOWN,
                spec_hash="",
                detail={"reason": why},
            )


def candidates(rt: Runtime, vims: Iterable[str]) -> tuple[Candidate, ...]:
    """Every host of these VIMs with its room. A VIM that cannot be asked is a host that is not reachable."""

    def ask(name: str) -> list[Candidate]:
        try:
            capabilities = rt.vim(name).capabilities(CallContext.within(OBSERVE_S))
        except NOT_CONNECTED as error:
            return [Candidate(vim=name, host=Host(name="*", reachable=False, reason=error.message))]
        support = {capability: str(level) for capability, level in capabilities.support.items()}
        return [
            Candidate(vim=name, host=host, support=support | dict.fromkeys(host.lacks, Support.UNSUPPORTED))
            for host in capabilities.hosts
        ]

    return tuple(candidate for found in _at_once(ask, list(vims)) for candidate in found)


def registered(rt: Runtime, kind: EndpointKind) -> tuple[str, ...]:
    """Names of the endpoints of a kind."""
    from manor.store import endpoints

    with rt.store.read() as tx:
        return tuple(one.name for one in endpoints.all_of(tx, kind))


def every_vim(rt: Runtime) -> frozenset[str]:
    """Every VIM, as steps name it."""
    return frozenset(endpoint_id(EndpointKind.VIM, name) for name in registered(rt, EndpointKind.VIM))


def _at_once(ask: Any, subjects: list[str]) -> list[Any]:
    if len(subjects) < 2:
        return [ask(subject) for subject in subjects]
    with ThreadPoolExecutor(max_workers=min(8, len(subjects))) as pool:
        return list(pool.map(ask, subjects))


def subnets(state: DesiredState | None) -> Mapping[str, tuple[Subnet, ...]]:
    """Address ranges by link, as given before."""
    return {
        resource.spec.key.partition("@")[0]: resource.spec.subnets
        for resource in (state.resources if state else ())
        if isinstance(resource.spec, NetworkSpec)
    }


def addresses(state: DesiredState | None) -> Mapping[str, tuple[str, ...]]:
    """Addresses by port identity, as given before."""
    return {identity(port.key): port.addresses for port in _ports(state)}


def ordinary(state: DesiredState | None) -> frozenset[str]:
    """Identities of the ports that nothing is asked of."""
    return frozenset(identity(port.key) for port in _ports(state) if not port.vnic_type)


def _ports(state: DesiredState | None) -> Iterator[Port]:
    for resource in state.resources if state else ():
        if isinstance(resource.spec, NodeSpec):
            yield from resource.spec.ports


def replace_on(rt: Runtime, target: DesiredState | None) -> dict[str, frozenset[str]]:
    """Spec fields that cannot change in place, by VIM endpoint, as each driver's record says."""
    drivers = rt.plugins.vim_drivers()
    result = {}
    for endpoint in endpoints_of(target):
        kind, _, name = endpoint.partition(":")
        if kind == EndpointKind.VIM:
            driver = drivers.get(rt.endpoint(EndpointKind.VIM, name).driver)
            result[endpoint] = driver.record.replace_on if driver else frozenset()
    return result
