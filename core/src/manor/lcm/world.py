"""The world as the drivers see it: what is there of one service, and where there is room. Never mutates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from manor.api import CallContext, Candidate, Host, NetworkSpec, NodeSpec, Observed, Query, ResourceKind, Subnet
from manor.errors import DriverError, ManorError
from manor.lcm.runtime import Runtime
from manor.model.desired import DesiredState
from manor.model.instance import EndpointKind
from manor.vnfm.members import identity

__all__ = ["OBSERVE_S", "addresses", "candidates", "endpoints_of", "observe", "registered", "subnets"]

OBSERVE_S = 30.0
"""Time for one look at one endpoint."""
_BY_KEY = frozenset({ResourceKind.IMAGE, ResourceKind.SEGMENT, ResourceKind.CHAIN})


def endpoints_of(*states: DesiredState | None) -> frozenset[str]:
    """Every VIM and controller that these states have resources on."""
    return frozenset(resource.endpoint for state in states if state for resource in state.resources)


def observe(
    rt: Runtime,
    service_id: str,
    *states: DesiredState | None,
    also: frozenset[str] = frozenset(),
    tolerant: bool = False,
) -> tuple[dict[str, Observed], dict[str, str]]:
    """What is there of a service: everything under its id, the shared images that the states name, and their links and
    chains that a controller knows when asked by key alone.

    Looked for where the states have something, and at the endpoints ``also``.

    The second value is the endpoint of what was found under the service's id, by key. Raises DriverError where an
    endpoint cannot be asked: a plan from half a view would be a guess. ``tolerant`` passes over such an endpoint, for a
    forced removal, which tries what it knows of anyway.
    """
    named: dict[str, set[str]] = {}
    for state in states:
        for resource in state.resources if state else ():
            if resource.spec.kind in _BY_KEY:
                named.setdefault(resource.endpoint, set()).add(resource.spec.key)

    def look(endpoint: str) -> tuple[list[Observed], list[Observed]]:
        try:
            driver = rt.driver(endpoint)
            ctx = CallContext.within(OBSERVE_S)
            own = driver.observe(Query(owner=rt.owner, prefix=f"{service_id}/"), ctx)
            keys = named.get(endpoint, set()) - {one.ref.key for one in own}
            return own, driver.observe(Query(owner=rt.owner, keys=frozenset(keys)), ctx) if keys else []
        except ManorError:
            if not tolerant:
                raise
            return [], []

    asked = sorted(endpoints_of(*states) | also)
    observed: dict[str, Observed] = {}
    found_at: dict[str, str] = {}
    for endpoint, (own, shared) in zip(asked, _at_once(look, asked), strict=True):
        observed.update((one.ref.key, one) for one in (*own, *shared))
        found_at.update((one.ref.key, endpoint) for one in own)
    return observed, found_at


def candidates(rt: Runtime, vims: Iterable[str]) -> tuple[Candidate, ...]:
    """Every host of these VIMs with its room. A VIM that cannot be asked is a host that is not reachable."""

    def ask(name: str) -> list[Candidate]:
        try:
            capabilities = rt.vim(name).capabilities(CallContext.within(OBSERVE_S))
        except DriverError as error:
            return [Candidate(vim=name, host=Host(name="*", reachable=False, reason=error.message))]
        support = {capability: str(level) for capability, level in capabilities.support.items()}
        return [Candidate(vim=name, host=host, support=support) for host in capabilities.hosts]

    return tuple(candidate for found in _at_once(ask, list(vims)) for candidate in found)


def registered(rt: Runtime, kind: EndpointKind) -> tuple[str, ...]:
    """Names of the endpoints of a kind."""
    from manor.store import endpoints

    with rt.store.read() as tx:
        return tuple(one.name for one in endpoints.all_of(tx, kind))


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
    return {
        identity(port.key): port.addresses
        for resource in (state.resources if state else ())
        if isinstance(resource.spec, NodeSpec)
        for port in resource.spec.ports
    }
