"""Comparing services with what is real, in ``manor serve``: each endpoint is asked once for all of them.

A difference counts when a look and another one a while later show it: what a person or a controller is just putting
right is no alarm.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from manor.api import Observed, Phase
from manor.assure.drift import Compared
from manor.assure.looking import Seen, Services, look
from manor.assure.settings import AssuranceSettings, DriftPolicy
from manor.assure.sight import Service
from manor.lcm.drifting import drifted
from manor.lcm.runtime import Runtime

__all__ = ["Comparing", "compared"]

_LOAD = 0.1
"""Most of one thread's time that may go into comparing."""
_LEAST_PAUSE_S = 1.0


class Comparing:
    """What the last two looks say of each service; one thread at a time looks."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._services = Services(rt)
        self.now: Mapping[str, Compared] = {}
        """By the service's id; only of those whose drift matters, and that could be compared."""
        self.wanted = threading.Event()
        """Set when a service is not yet compared as it is now."""
        self._broken_s: Mapping[str, float] = {}
        """Since when what a comparison can show is broken, by key."""
        self._looked_s = 0.0
        """When the last look began."""
        self._lost: frozenset[str] = frozenset()
        """Hosts that did not answer of late."""

    def want(
        self,
        services: Sequence[Service],
        settings: AssuranceSettings,
        broken: Collection[str],
        now_s: float,
        *,
        lost: Collection[str] = (),
    ) -> None:
        """Ask for a look before the period is over, where an operation has changed one of these services, where one of
        the keys that are ``broken`` became so after the last look, or where a host is back that was ``lost``: what
        moved away from there meanwhile may run twice."""
        if self._lost.difference(lost) and any(_matters(service, settings) for service in services):
            self.wanted.set()
        self._lost = frozenset(lost)
        self._broken_s = {key: self._broken_s.get(key, now_s) for key in broken}
        new = {key for key, since_s in self._broken_s.items() if since_s > self._looked_s}
        for service in services:
            now = self.now.get(service.id)
            at_rest = not service.is_changing and not service.held_by
            is_known = now is not None and now.is_of(service) and not (new and new.intersection(service.keys()))
            if at_rest and _matters(service, settings) and not is_known:
                self.wanted.set()

    def round(self, settings: AssuranceSettings, silent: Collection[str], now_s: float) -> None:
        """Look once. Endpoints that are known to be ``silent`` are not asked."""
        before = [one for one in self._services.read() if not one.is_changing and not one.held_by]
        before = [one for one in before if _matters(one, settings)]
        endpoints = {resource.endpoint for one in before for resource in one.desired.resources}
        seen = look(self._rt, endpoints.difference(silent), {one.id: one for one in before}, everything=True)
        after = {one.id: one for one in self._services.read()}
        # What an operation changed while we looked is neither as it was nor as it will be.
        steady = [one for one in before if after.get(one.id) == one]
        hold_s = self._period_s(settings, differs=True)
        own = by_service(seen)
        self._looked_s = now_s
        self.now = {one.id: compared(one, seen, own, self.now.get(one.id), now_s, hold_s) for one in steady}
        self.wanted.clear()

    def forget(self) -> None:
        """Know nothing any more: another process watches."""
        self.now = {}

    @staticmethod
    def _period_s(settings: AssuranceSettings, *, differs: bool) -> float:
        return min(settings.drift_s, settings.degraded_s) if differs else settings.drift_s

    def pause_s(self, settings: AssuranceSettings, took_s: float) -> float:
        """From the least pause to the next look; what differs is looked at again sooner."""
        period_s = self._period_s(settings, differs=any(one.since_s for one in self.now.values()))
        return max(period_s - took_s - self.least_pause_s(took_s), 0.0)

    @staticmethod
    def least_pause_s(took_s: float) -> float:
        """After a look that took so long, however much another one is wanted."""
        return max(_LEAST_PAUSE_S, took_s * (1 / _LOAD - 1))


def _matters(service: Service, settings: AssuranceSettings) -> bool:
    return settings.drift_of(service.name) is not DriftPolicy.IGNORE


def by_service(seen: Seen) -> Mapping[str, Mapping[str, Mapping[str, Observed]]]:
    """What a look found under each service's id, by endpoint and key. Pure."""
    found: dict[str, dict[str, dict[str, Observed]]] = {}
    for endpoint, there in seen.observed.items():
        for key, one in there.items():
            found.setdefault(key.partition("/")[0], {}).setdefault(endpoint, {})[key] = one
    return found


def compared(
    service: Service,
    seen: Seen,
    own: Mapping[str, Mapping[str, Mapping[str, Observed]]],
    before: Compared | None,
    now_s: float,
    hold_s: float,
) -> Compared:
    """Pure: a service beside a look, and what of it was so in the look before and ``hold_s`` ago."""
    wanted = {r.spec.key: (r.endpoint, getattr(r.spec, "host", "")) for r in service.desired.resources}
    observed: dict[str, Observed] = {}
    found_at: dict[str, str] = {}
    twice = [(endpoint, one) for endpoint, one in seen.twice if one.ref.key in wanted]
    for endpoint, there in own.get(service.id, {}).items():
        for key, one in there.items():
            at, host = wanted.get(key, (endpoint, ""))
            if at == endpoint and (host == one.ref.host or f"{at}/{host}" not in seen.lost_hosts):
                observed[key], found_at[key] = one, endpoint
            else:
                twice.append((endpoint, one))
    for key, (endpoint, _) in wanted.items():  # images are nobody's own
        if key not in observed and (shared := seen.observed.get(endpoint, {}).get(key)) is not None:
            observed[key] = shared
    visible = tuple(
        r
        for r in service.desired.resources
        if r.endpoint in seen.observed and f"{r.endpoint}/{getattr(r.spec, 'host', '')}" not in seen.lost_hosts
    )
    found = drifted(replace(service.desired, resources=visible), observed, found_at, twice)
    known = before.since_s if before is not None and before.is_of(service) else {}
    since_s = {(one.key, one.drift): known.get((one.key, one.drift), now_s) for one in found}
    return Compared(
        last_operation=service.last_operation,
        since_s=since_s,
        standing=tuple(
            one for one in found if (name := (one.key, one.drift)) in known and now_s - since_s[name] >= hold_s
        ),
        is_whole=len(visible) == len(wanted) and all(one.phase is not Phase.UNKNOWN for one in observed.values()),
    )
