"""Looking at services and endpoints: the reading half of the loop. Nothing here changes anything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from manor.api import CallContext, GuestAccess, Observed, Phase, Query, ResourceKind, ResourceRef
from manor.assure.declared import declared
from manor.assure.sight import Declared, Service
from manor.errors import DriverError, ManorError, NotFound, Unsupported
from manor.lcm.runtime import Runtime
from manor.lcm.world import answered
from manor.model.desired import DesiredState
from manor.model.instance import NsState, OperationState, PackageKind

__all__ = ["Heartbeats", "Looking", "Seen", "Services", "look"]

LOOK_S = 15.0
"""Time for one look at one endpoint."""
_EVERYTHING_S = 20.0
"""Less than a process that is told to end may take."""
_PING_S = 5.0
_UNANSWERED = 2
_PATIENCE_S = 0.2
"""For all together that gave no whole answer the last time."""
_HURRY_S, _AGAIN_S = 2.0, 0.1
"""For the others, from when on an event goes before who is still to answer; how often that is asked."""
_THREADS = 64
"""One for each that hangs, and more."""
_NODES = frozenset({ResourceKind.NODE})
_NO_SERVICES: Mapping[str, Service] = {}
_FLOWS = frozenset({ResourceKind.SEGMENT, ResourceKind.CHAIN})


class Services:
    """The services that should be there. What one desires is read anew only when an operation has changed it."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._desired: dict[str, tuple[str, DesiredState | None]] = {}
        self._declared: dict[str, Mapping[str, Declared]] = {}
        self._vnfds: dict[str, Mapping[str, Any]] = {}

    def read(self) -> tuple[Service, ...]:
        """As the database has them now."""
        from manor.store import instances, operations

        found = []
        with self._rt.store.read() as tx:
            known = instances.all_of(tx)
            for gone in self._desired.keys() - {ns.id for ns in known}:
                del self._desired[gone], self._declared[gone]
            for ns in known:
                active = operations.active(tx, ns.id)
                moving = active is not None and active.state is not OperationState.FAILED_TEMP
                state = f"{ns.last_operation} {active.state if active else ''}"
                if moving or self._desired.get(ns.id, ("", None))[0] != state:
                    self._desired[ns.id] = ("" if moving else state, instances.desired(tx, ns.id))
                    self._declared[ns.id] = self._said_of(tx, ns.id)
                desired = self._desired[ns.id][1]
                if desired is None or ns.state is not NsState.INSTANTIATED:
                    continue
                found.append(
                    Service(
                        id=ns.id,
                        name=ns.name,
                        nsd_id=ns.nsd_id,
                        desired=desired,
                        labels=ns.labels,
                        last_operation=ns.last_operation,
                        is_changing=moving,
                        held_by=active.id if active is not None and not moving else "",
                        declared=self._declared.get(ns.id, {}),
                    )
                )
        return tuple(found)

    def _said_of(self, tx: Any, ns_id: str) -> dict[str, Declared]:
        """What descriptors and operator say of a service's VNFs, by VNF key."""
        from manor.store import instances, packages

        found = {}
        for vnf in instances.vnfs(tx, ns_id):
            if vnf.vnfd_id not in self._vnfds:  # it does not change while it is in use
                package = packages.by_descriptor(tx, PackageKind.VNF, vnf.vnfd_id)
                self._vnfds[vnf.vnfd_id] = packages.descriptor(tx, package.id) if package is not None else {}
            found[vnf.id] = declared(self._vnfds[vnf.vnfd_id], vnf.information)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a look at some endpoints showed; fields as of :class:`~manor.assure.sight.Sight`."""

    observed: Mapping[str, Mapping[str, Observed]] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    lost_hosts: Mapping[str, str] = field(default_factory=dict)
    twice: tuple[tuple[str, Observed], ...] = ()
    """What there is beside that under a key, each with its endpoint: not where its service wants it."""
    services: Mapping[str, Mapping[str, Service]] = field(default_factory=dict)
    """The services as they were when the look began, by id, by each endpoint that answered."""


def look(
    rt: Runtime,
    endpoints: Iterable[str],
    services: Mapping[str, Service] = _NO_SERVICES,
    *,
    everything: bool = False,
) -> Seen:
    """Machines of VIMs, segments and chains of controllers, each asked once and all at the same time.

    Of what is there twice, that counts which is where its service, of these by id, wants it. ``everything`` asks VIMs
    for disks, networks, images and snapshots too.
    """
    twice: list[tuple[str, Observed]] = []

    def ask(endpoint: str) -> tuple[dict[str, Observed] | None, str, dict[str, str]]:
        is_vim = endpoint.startswith("vim:")
        try:
            query = Query(owner=rt.owner, kinds=None if everything else _NODES if is_vim else _FLOWS)
            seen, away = answered(rt.driver(endpoint), query, _EVERYTHING_S if everything else LOOK_S)
        except ManorError as error:
            return None, error.message, _lost_hosts(rt, endpoint) if is_vim else {}
        found: dict[str, Observed] = {}
        for one in seen:
            other = found.setdefault(one.ref.key, one)
            if other is not one:
                if _is_placed(one, services):
                    found[one.ref.key], one = one, other
                twice.append((endpoint, one))
        return found, "", {f"{endpoint}/{host}": why for host, why in away.items()}

    asked = sorted(endpoints)
    answers = _at_once(ask, asked)
    return Seen(
        observed={name: found for name, (found, _, _) in zip(asked, answers, strict=True) if found is not None},
        silent={name: reason for name, (found, reason, _) in zip(asked, answers, strict=True) if found is None},
        lost_hosts={host: why for _, _, lost in answers for host, why in lost.items()},
        twice=tuple(twice),
    )


def _is_placed(one: Observed, services: Mapping[str, Service]) -> bool:
    """Whether it is on the host where its service wants it."""
    service = services.get(one.ref.key.partition("/")[0])
    specs = (resource.spec for resource in service.desired.resources) if service is not None else ()
    return any(spec.key == one.ref.key and getattr(spec, "host", "") == one.ref.host for spec in specs)


class Looking:
    """Looks again and again. Who gave no whole answer is asked beside from then on: one who hangs delays nobody.

    ``is_called``: whether something else calls to be looked at, so that who hangs for the first time delays nobody too.
    """

    def __init__(self, rt: Runtime, is_called: Callable[[], bool] = lambda: False) -> None:
        self._rt = rt
        self._is_called = is_called
        self._known: dict[str, Seen] = {}
        """The last look at each that gave no whole answer, or that came late."""
        self._under_way: dict[str, Future[Seen]] = {}
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="manor-look")

    def look(self, endpoints: Iterable[str], services: Mapping[str, Service] = _NO_SERVICES) -> Seen:
        """As :func:`look`, with ``services`` as they are now, by id; of who has not answered yet, nothing."""
        asked = frozenset(endpoints)
        self._take_ended()
        # Of one that nobody asked for, what is known may be of any age.
        self._known = {name: seen for name, seen in self._known.items() if name in asked}
        beside = asked & (self._known.keys() | self._under_way.keys())
        for name in asked - self._under_way.keys():
            self._under_way[name] = self._pool.submit(self._look, {name}, services)
        late = wait([self._under_way[name] for name in asked - beside], _HURRY_S).not_done
        while late and not self._is_called():
            late = wait(late, _AGAIN_S).not_done
        wait([self._under_way[name] for name in beside], _PATIENCE_S)
        self._take_ended()
        parts = [self._known.pop(name) for name in asked if name in self._known]
        for seen in parts:
            self._known |= {name: _part(seen, name) for name in _lacking(seen)}
        return Seen(
            observed={name: found for seen in parts for name, found in seen.observed.items()},
            silent={name: why for seen in parts for name, why in seen.silent.items()},
            lost_hosts={host: why for seen in parts for host, why in seen.lost_hosts.items()},
            services={name: were for seen in parts for name, were in seen.services.items()},
        )

    def _look(self, endpoints: Collection[str], services: Mapping[str, Service]) -> Seen:
        seen = look(self._rt, endpoints, services)
        return replace(seen, services=dict.fromkeys(seen.observed, services))

    def _take_ended(self) -> None:
        for name in [name for name, future in self._under_way.items() if future.done()]:
            self._known[name] = self._under_way.pop(name).result()

    def forget(self) -> None:
        """Know nothing any more: nobody looks for a while."""
        self.look(())

    def close(self) -> None:
        """Look no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _lacking(seen: Seen) -> Set[str]:
    """Endpoints that gave no whole answer."""
    return seen.silent.keys() | {host.rpartition("/")[0] for host in seen.lost_hosts}


def _part(seen: Seen, endpoint: str) -> Seen:
    return Seen(
        observed={name: found for name, found in seen.observed.items() if name == endpoint},
        silent={name: why for name, why in seen.silent.items() if name == endpoint},
        lost_hosts={host: why for host, why in seen.lost_hosts.items() if host.startswith(f"{endpoint}/")},
        services={name: were for name, were in seen.services.items() if name == endpoint},
    )


def _lost_hosts(rt: Runtime, endpoint: str) -> dict[str, str]:
    """Hosts that their VIM itself cannot reach. Asked only where something is amiss, for it may take long."""
    try:
        hosts = rt.driver(endpoint).capabilities(CallContext.within(LOOK_S)).hosts
    except ManorError:
        return {}
    return {f"{endpoint}/{host.name}": host.reason for host in hosts if not host.reachable}


class Heartbeats:
    """Asks guest agents whether they are there. Only one that had answered can fall silent.

    One question without an answer may be chance, and where many agents hang the one before was long ago.
    """

    def __init__(self, rt: Runtime, *, threads: int = 8) -> None:
        self._rt = rt
        self._threads = threads
        self._lock = threading.Lock()
        self._heard_s: dict[str, float] = {}
        self._asked_s: dict[str, float] = {}
        self._unanswered: dict[str, int] = {}
        """Questions in a row."""

    def ask(
        self, services: Sequence[Service], running: Mapping[str, Mapping[str, Observed]], clock: Callable[[], float]
    ) -> None:
        """Ask every machine that runs and has an agent. One that does not run is not silent, it is off."""
        wanted = [
            (endpoint, node.key)
            for service in services
            if not service.is_changing
            for endpoint, node in service.nodes()
            if node.key in service.guests() and _runs(running.get(endpoint, {}).get(node.key))
        ]

        def ping(subject: tuple[str, str]) -> None:
            endpoint, key = subject
            try:
                vim = self._rt.driver(endpoint)
                if not isinstance(vim, GuestAccess):
                    return
                is_heard = vim.guest_ping(ResourceRef(kind=ResourceKind.NODE, key=key), CallContext.within(_PING_S))
            except (Unsupported, NotFound):
                return
            except DriverError:
                is_heard = False
            # At once: another's agent may keep this round for as long as it hangs.
            with self._lock:
                self._asked_s[key] = clock()
                self._unanswered[key] = 0 if is_heard else self._unanswered.get(key, 0) + 1
                if is_heard:
                    self._heard_s[key] = self._asked_s[key]

        keys = {key for _, key in wanted}
        with self._lock:
            # Who is not asked starts anew: a machine that comes back has to be heard first.
            self._heard_s = {key: at for key, at in self._heard_s.items() if key in keys}
            self._asked_s = {key: at for key, at in self._asked_s.items() if key in keys}
            self._unanswered = {key: number for key, number in self._unanswered.items() if key in keys}
        _at_once(ping, wanted, self._threads)

    def unheard_s(self) -> dict[str, float]:
        """For how long each machine has been silent, as of when it was last asked; only those that are."""
        with self._lock:
            return {
                key: self._asked_s[key] - heard_s
                for key, heard_s in self._heard_s.items()
                if self._unanswered[key] >= _UNANSWERED
            }


def _runs(seen: Observed | None) -> bool:
    return seen is not None and seen.phase is Phase.ACTIVE


def _at_once(ask: Callable[[Any], Any], subjects: Sequence[Any], threads: int = 8) -> list[Any]:
    if len(subjects) < 2:
        return [ask(subject) for subject in subjects]
    with ThreadPoolExecutor(max_workers=min(threads, len(subjects)), thread_name_prefix="manor-look") as pool:
        return list(pool.map(ask, subjects))
