"""Registering VIMs, controllers and VNF managers, and letting go of them with nothing of ours left behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manor.api import CallContext, Capabilities, Observed, Query, ResourceKind, is_legal_name
from manor.errors import DriverError, UsageError
from manor.lcm.runtime import Runtime, endpoint_id
from manor.lcm.turns import STANDS_ON
from manor.lcm.world import NOT_CONNECTED, answered, endpoints_of, registered
from manor.model.instance import Endpoint, EndpointKind
from manor.nfvo.storage import image_keys
from manor.plugin import unguarded
from manor.plugin.connecting import validated

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["CHECK_S", "Orphan", "add", "check", "forget_images", "orphans", "remove", "remove_orphans"]

CHECK_S = 120.0
"""Time for a first look at an endpoint, which may try out a hypervisor."""
_REMOVE_S = 60.0
_NAMELESS = "unknown/"
"""What a controller's keys begin with that it lost the names of."""
_FLOWS = frozenset({ResourceKind.SEGMENT, ResourceKind.CHAIN})

_HOOKS = {
    EndpointKind.VIM: "manor_vim_drivers",
    EndpointKind.SDN: "manor_sdn_drivers",
    EndpointKind.VNFM: "manor_vnfm_drivers",
}


def add(rt: Runtime, kind: EndpointKind, name: str, *, driver: str, config: Mapping[str, Any]) -> Capabilities:
    """Register an endpoint that answers, and return what it can do.

    Raises UsageError for a bad name or settings, PluginError for an unknown driver, DriverError where the endpoint
    does not answer; nothing is kept then.
    """
    from manor.store import endpoints

    if not is_legal_name(name):
        raise UsageError(
            f"an endpoint cannot be called {name!r}",
            hint="2 to 39 lower case letters, digits and dashes, a letter first",
        )
    validated(rt.plugins.choose(_HOOKS[kind], driver), config)
    with rt.store.begin() as tx:
        endpoints.add(tx, Endpoint(kind=kind, name=name, driver=driver, config=dict(config), created_s=time.time()))
    connected: Any = None
    try:
        connected = rt.driver(endpoint_id(kind, name))
        capabilities = check(rt, kind, name)
        if kind is EndpointKind.VIM:
            # Controllers know hosts by name alone, so a name may stand for one host only.
            with rt.store.begin() as tx:
                endpoints.keep_hosts(tx, name, {host.name for host in capabilities.hosts})
    except BaseException:
        with suppress(Exception):  # a stranger's; why it is not taken is what has to be told
            _is_ended(connected, force=True)
        _forget(rt, kind, name)
        raise
    return capabilities


def check(rt: Runtime, kind: EndpointKind, name: str, ctx: CallContext | None = None) -> Capabilities:
    """What the endpoint can do now, asked within ``CHECK_S`` where no context says otherwise. Raises DriverError where
    it does not answer."""
    rt.endpoint(kind, name)
    driver = rt.driver(endpoint_id(kind, name))
    if kind is EndpointKind.VNFM:
        return Capabilities(support={})
    found: Capabilities = driver.capabilities(ctx or CallContext.within(CHECK_S))
    return found


def remove(rt: Runtime, kind: EndpointKind, name: str, *, force: bool = False) -> tuple[str, ...]:
    """Forget an endpoint, taking what we left there off it and ending what its driver runs.

    Raises UsageError while a service uses it. With ``force`` an endpoint that does not answer, whose plugin is gone or
    takes its settings no more, is forgotten too; keys of what is left behind there are returned.
    """
    rt.endpoint(kind, name)
    users = _users(rt, endpoint_id(kind, name))
    if users:
        raise UsageError(
            f"{kind} {name} is used by {', '.join(users)}", hint=f"terminate first: manor ns terminate {users[0]}"
        )
    left: tuple[str, ...] = ()
    try:
        if kind is not EndpointKind.VNFM:
            ours = _seen(rt, endpoint_id(kind, name))
            left = _taken_off(rt, endpoint_id(kind, name), ours)
            if left and not force:
                raise UsageError(
                    f"{len(left)} of our resources cannot be taken off {name}: {left[0]}",
                    hint=f"manor vim orphans, or manor {kind} remove {name} --force",
                )
        if not _is_ended(rt.driver(endpoint_id(kind, name)), force=force):
            raise UsageError(f"{kind} {name} still has work to do", hint=f"manor {kind} remove {name} --force")
    except NOT_CONNECTED:
        if not force:
            raise
    _forget(rt, kind, name)
    return left


def forget_images(rt: Runtime, sha256s: frozenset[str]) -> tuple[str, ...]:
    """Take these images off every VIM; keys of those that could not be reached or taken off are returned."""
    left: list[str] = []
    if not sha256s:
        return ()
    prefixes = tuple(f"{key}@" for sha256 in sha256s for key in image_keys(sha256))
    for name in registered(rt, EndpointKind.VIM):
        try:
            query = Query(owner=rt.owner, kinds=frozenset({ResourceKind.IMAGE}))
            ours, away = answered(rt.driver(endpoint_id(EndpointKind.VIM, name)), query, _REMOVE_S)
        except NOT_CONNECTED:
            left += [f"{prefix}{name}" for prefix in prefixes]
            continue
        left += [f"{prefix}{name}/{host}" for prefix in prefixes for host in away]
        wanted = [one for one in ours if one.ref.key.startswith(prefixes)]
        left += _taken_off(rt, endpoint_id(EndpointKind.VIM, name), wanted)
    return tuple(left)


@dataclass(frozen=True, kw_only=True, slots=True)
class Orphan:
    """A resource with our owner tag that nothing of ours knows."""

    endpoint: str
    observed: Observed


def orphans(rt: Runtime) -> tuple[list[Orphan], dict[str, str]]:
    """Everything of ours that no service, running operation or package claims; and why an endpoint, or a host of a VIM,
    could not be asked. What a service wants on a host that does not answer is none elsewhere: it may be the only one.
    Changes nothing."""
    seen: list[Orphan] = []
    silent: dict[str, str] = {}
    mute: set[tuple[str, str]] = set()
    for kind in (EndpointKind.VIM, EndpointKind.SDN):
        for name in registered(rt, kind):
            endpoint = endpoint_id(kind, name)
            try:
                found, away = answered(rt.driver(endpoint), Query(owner=rt.owner), _REMOVE_S)
                seen += [Orphan(endpoint=endpoint, observed=one) for one in found]
                silent |= {f"{endpoint} on {host}": why for host, why in away.items()}
                mute |= {(endpoint, host) for host in away}
            except NOT_CONNECTED as error:
                silent[endpoint] = error.message
                mute.add((endpoint, ""))
    # Only now: what an operation has made since the claims were read would look like nobody's.
    spare, unsure = _unclaimed(rt, seen, mute)
    return spare, silent | unsure


def remove_orphans(rt: Runtime, found: list[Orphan]) -> tuple[str, ...]:
    """Remove those of them that still are orphans; keys of what could not be removed are returned."""
    left: list[str] = []
    for endpoint in dict.fromkeys(orphan.endpoint for orphan in found):
        here = [orphan for orphan in found if orphan.endpoint == endpoint]
        still, unsure = _unclaimed(rt, here)
        left += [one.observed.ref.key for one in here if unsure and one.observed.ref.kind in _FLOWS]
        left += _taken_off(rt, endpoint, [orphan.observed for orphan in still])
    return tuple(left)


def _unclaimed(
    rt: Runtime, found: list[Orphan], mute: Collection[tuple[str, str]] = ()
) -> tuple[list[Orphan], dict[str, str]]:
    """What surely is nobody's; and why a controller could not say whose its flows are. ``mute`` are hosts that do not
    answer, by endpoint, and endpoints with no host."""
    claims = _claims(rt)
    unseen = {key for (at, key), host in claims.hosts.items() if (at, host) in mute or (at, "") in mute}

    def is_claimed(orphan: Orphan) -> bool:
        ref = orphan.observed.ref
        if ref.kind is ResourceKind.IMAGE:
            return ref.key.partition("@")[0] in claims.images
        if claims.busy and ref.key.startswith(_NAMELESS):
            return True  # it may be what an operation under way has made, of which no service knows yet
        if ref.key in unseen:
            return True
        # Elsewhere than it should be it is a second one, and nobody's.
        host = claims.hosts.get((orphan.endpoint, ref.key))
        return ref.key.partition("/")[0] in claims.busy or (host is not None and host in ("", ref.host))

    spare = [orphan for orphan in found if not is_claimed(orphan)]
    known, silent = _claimed_ids(rt, {one.endpoint for one in spare if one.observed.ref.kind in _FLOWS}, claims)

    def is_sure(orphan: Orphan) -> bool:
        unsaid = orphan.endpoint in silent and orphan.observed.ref.kind in _FLOWS
        return not unsaid and (orphan.endpoint, orphan.observed.native_id) not in known

    return [orphan for orphan in spare if is_sure(orphan)], silent


def _claimed_ids(rt: Runtime, sdns: set[str], claims: _Claims) -> tuple[set[tuple[str, str]], dict[str, str]]:
    """What controllers have of what is claimed, by their own ids: a key they lost they may know when asked by it.
    And why one could not be asked."""
    known: set[tuple[str, str]] = set()
    silent: dict[str, str] = {}
    for endpoint in sdns:
        keys = frozenset(key for at, key in claims.hosts if at == endpoint)
        query = Query(owner=rt.owner, kinds=_FLOWS, keys=keys)
        try:
            seen = rt.driver(endpoint).observe(query, CallContext.within(_REMOVE_S)) if keys else ()
        except NOT_CONNECTED as error:
            silent[endpoint] = error.message
            continue
        known.update((endpoint, one.native_id) for one in seen)
    return known, silent


def _taken_off(rt: Runtime, endpoint: str, ours: list[Observed]) -> tuple[str, ...]:
    left = []
    for one in sorted(ours, key=lambda o: STANDS_ON.index(o.ref.kind), reverse=True):
        try:
            rt.driver(endpoint).remove(one.ref, CallContext.within(_REMOVE_S))
        except DriverError:
            left.append(one.ref.key)
    return tuple(left)


def _seen(rt: Runtime, endpoint: str) -> list[Observed]:
    return list(rt.driver(endpoint).observe(Query(owner=rt.owner), CallContext.within(_REMOVE_S)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Claims:
    """What should exist."""

    hosts: Mapping[tuple[str, str], str]
    """Where, by endpoint and key; empty for what is on no host of its own."""
    images: frozenset[str]
    """Keys of images, up to the @."""
    busy: frozenset[str]
    """Ids of services with an operation under way: what is theirs changes."""


def _claims(rt: Runtime) -> _Claims:
    from manor.store import instances, operations, packages

    hosts: dict[tuple[str, str], str] = {}
    images: set[str] = set()
    busy: set[str] = set()
    with rt.store.read() as tx:
        for ns in instances.all_of(tx):
            if operations.active(tx, ns.id) is not None:
                busy.add(ns.id)
            state = instances.desired(tx, ns.id)
            for resource in state.resources if state else ():
                hosts[resource.endpoint, resource.spec.key] = getattr(resource.spec, "host", "")
                if resource.spec.kind is ResourceKind.IMAGE:
                    images.add(resource.spec.key.partition("@")[0])
        for package in packages.all_of(tx):
            images.update(key for sha256 in package.artifacts.values() for key in image_keys(sha256))
    return _Claims(hosts=hosts, images=frozenset(images), busy=frozenset(busy))


def _users(rt: Runtime, endpoint: str) -> list[str]:
    """Services that have something there, or whose operation, also one that stopped, does or undoes something there."""
    from manor.store import instances, operations

    def touched(tx: Connection, ns_id: str) -> bool:
        busy = operations.active(tx, ns_id)
        return busy is not None and any(row.step.endpoint == endpoint for row in operations.steps(tx, busy.id))

    with rt.store.read() as tx:
        return [
            ns.name
            for ns in instances.all_of(tx)
            if endpoint in endpoints_of(instances.desired(tx, ns.id)) or touched(tx, ns.id)
        ]


def _is_ended(driver: Any, *, force: bool) -> bool:
    """End a process of the driver's own, where it keeps one: ``shutdown(ctx, force=) -> bool`` is its word for it.

    False where it still has work and is not forced.
    """
    shutdown = getattr(unguarded(driver), "shutdown", None)
    return not callable(shutdown) or bool(shutdown(CallContext.within(_REMOVE_S), force=force))


def _forget(rt: Runtime, kind: EndpointKind, name: str) -> None:
    from manor.store import endpoints

    environment = rt.environment(kind, name)
    rt.disconnect(kind, name)
    with rt.store.begin() as tx:
        endpoints.remove(tx, kind, name)
    for directory in (environment.state_dir, environment.runtime_dir):
        shutil.rmtree(directory, ignore_errors=True)
