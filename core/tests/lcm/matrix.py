"""An operation of each type, accepted and not begun, to be lived through again and again, for the crash matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from deeds import DEEDS, NSD, NSDS, VNFDS, Deed
from sim_site import SimSite, Snapshot, opened

from manor.api import OperationKind
from manor.fakes import Fault, Moment, When
from manor.lcm import ns
from manor.lcm.updating import change_package
from manor.model.instance import OperationState

__all__ = [
    "IDLE",
    "LATE_S",
    "LONG",
    "NAME",
    "RETURNING",
    "ROWS",
    "Prepared",
    "Returning",
    "Stage",
    "assert_exact",
    "staged",
]

NAME, SID = "demo", "0a0b0c0d"
LATE_S = 100_000.0
"""Longer than any deadline: the call has been given up when it comes back."""

LONG = [name for name, deed in DEEDS.items() if deed.is_long]
ROWS = [
    pytest.param(name, marks=pytest.mark.long) if deed.is_long else name
    for name, deed in DEEDS.items()
    if not deed.is_idle
]
"""Those with something to die at; the others are in ``IDLE``."""
IDLE = [name for name, deed in DEEDS.items() if deed.is_idle]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An operation accepted and not begun, to be lived through again and again."""

    then: Snapshot
    operation_id: str
    boundaries: int
    calls: tuple[Moment, ...]
    """Every mutating call into a driver that it makes when all goes well."""


@dataclass(frozen=True, kw_only=True)
class Returning:
    """An operation accepted and not begun, that is going to fail and be rolled back."""

    then: Snapshot
    operation_id: str
    boundaries: range
    """Those of its rollback; none where it takes nothing back."""


def _gated(strategy: str, **more: bool) -> Deed:
    """An upgrade whose gate nobody can stand."""
    gate = {"strategy": strategy, "gate": ["v_cpu_usage_mean<0"], "soak_s": 3.0}
    return dataclasses.replace(
        DEEDS["canary-behind-a-gate"],
        ask=lambda s, n: change_package(s.rt, n, "web", "web-vnfd-2", **gate, **more),  # type: ignore[arg-type]
    )


RETURNING = {
    "a rolling upgrade that does not stand its gate": _gated("rolling"),
    "a canary that does not stand its gate": _gated("canary"),
    "a blue-green upgrade that does not stand its gate": _gated("blue-green", discard_data=True),
}
"""Deeds that fail by themselves."""


class Stage:
    """Prepares each deed once."""

    def __init__(self, site: SimSite) -> None:
        self.site = site
        self.site.create(NSD, NAME, SID)
        self._created = self.site.snapshot()
        self._prepared: dict[str, Prepared] = {}

    def prepared(self, deed: str) -> Prepared:
        """The deed, ready to be worked off."""
        if deed not in self._prepared:
            self._prepared[deed] = self._prepare(deed)
        return self._prepared[deed]

    def _accepted(self, deed: Deed) -> tuple[str, Snapshot]:
        site = self.site
        site.rewind(self._created)
        for name in deed.before:
            ns.start(site.rt, DEEDS[name].ask(site, NAME))
            site.work()
        deed.damage(site, NAME)
        operation_id = ns.start(site.rt, deed.ask(site, NAME))
        return operation_id, site.snapshot()

    def _prepare(self, deed: str) -> Prepared:
        site = self.site
        operation_id, then = self._accepted(DEEDS[deed])
        site.rewind(then)
        site.work()
        assert site.operation(operation_id).state is OperationState.COMPLETED, site.operation(operation_id)
        assert bool(site.doom.passed and site.calls) is not DEEDS[deed].is_idle, (site.doom.names, site.calls)
        return Prepared(
            then=then,
            operation_id=operation_id,
            boundaries=site.doom.passed,
            calls=tuple(dict.fromkeys(dataclasses.replace(m, when=When.BEFORE) for m in site.calls)),
        )

    def returning(self, name: str) -> Returning:
        """The deed, ready to fail as late as it can and still be rolled back."""
        site, prepared = self.site, None
        if name in DEEDS:
            prepared = self.prepared(name)
            operation_id, then = prepared.operation_id, prepared.then
        else:
            operation_id, then = self._accepted(RETURNING[name])
        for call in reversed(prepared.calls) if prepared else (None,):
            site.rewind(then)
            if call is not None:
                site.world.inject(Fault(verb=call.verb, kind=call.kind, key=call.key, error="Permanent"))
            doomed = site.snapshot()
            site.work()
            if site.operation(operation_id).state is OperationState.ROLLED_BACK:
                back = next((n for n, passed in enumerate(site.doom.names) if "undo " in passed), site.doom.passed)
                return Returning(then=doomed, operation_id=operation_id, boundaries=range(back - 1, site.doom.passed))
        return Returning(then=then, operation_id=operation_id, boundaries=range(0))

    def again(self, prepared: Prepared | Returning, seed: int) -> SimSite:
        """The moment just before the operation begins."""
        self.site.rewind(prepared.then, seed)
        return self.site


@contextmanager
def staged() -> Iterator[Stage]:
    """A site for one module's tests."""
    with opened(*NSDS, *VNFDS.values()) as site:
        yield Stage(site)


def assert_exact(site: SimSite) -> None:
    """What is there is what the store says should be, once each, and nothing of it needs repair."""
    assert site.there(NAME) == site.wanted(NAME)
    if site.desired(NAME) is not None:
        assert ns.propose(site.rt, NAME, OperationKind.REPAIR).plan.steps == ()
