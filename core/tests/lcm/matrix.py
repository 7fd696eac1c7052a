"""An operation of each type, accepted and not begun, to be lived through again and again, for the crash matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from deeds import DEEDS, NSD, NSDS, VNFDS
from sim_site import SimSite, Snapshot, opened

from manor.api import OperationKind
from manor.fakes import Moment, When
from manor.lcm import ns
from manor.model.instance import OperationState

__all__ = ["LATE_S", "NAME", "ROWS", "Prepared", "Stage", "assert_exact", "staged"]

NAME, SID = "demo", "0a0b0c0d"
LATE_S = 100_000.0
"""Longer than any deadline: the call has been given up when it comes back."""

ROWS = [pytest.param(name, marks=pytest.mark.long) if deed.is_long else name for name, deed in DEEDS.items()]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An operation accepted and not begun, to be lived through again and again."""

    then: Snapshot
    operation_id: str
    boundaries: int
    calls: tuple[Moment, ...]
    """Every mutating call into a driver that it makes when all goes well."""


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

    def _prepare(self, deed: str) -> Prepared:
        site = self.site
        site.rewind(self._created)
        for name in DEEDS[deed].before:
            ns.start(site.rt, DEEDS[name].ask(site, NAME))
            site.work()
        DEEDS[deed].damage(site, NAME)
        operation_id = ns.start(site.rt, DEEDS[deed].ask(site, NAME))
        then = site.snapshot()
        site.rewind(then)
        site.work()
        assert site.operation(operation_id).state is OperationState.COMPLETED, site.operation(operation_id)
        return Prepared(
            then=then,
            operation_id=operation_id,
            boundaries=site.doom.passed,
            calls=tuple(dict.fromkeys(dataclasses.replace(m, when=When.BEFORE) for m in site.calls)),
        )

    def again(self, prepared: Prepared, seed: int) -> SimSite:
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
