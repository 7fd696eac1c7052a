"""For every operation type: death at every boundary of its rollback; then all is as it was, and the operation works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deeds import DEEDS
from matrix import IDLE, NAME, RETURNING, Returning, Stage, assert_exact, staged
from sim_site import Doom

from manor.lcm import ns
from manor.model.instance import OperationState


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def _die_at(stage: Stage, deed: str, returning: Returning, at: int) -> None:
    site = stage.again(returning, seed=at)
    site.survive(Doom(at))
    ended = site.operation(returning.operation_id)
    assert (ended.state, ended.orphans) == (OperationState.ROLLED_BACK, ()), ended
    if deed in RETURNING or not DEEDS[deed].is_damaged:
        assert_exact(site)
    site.world.heal()
    if deed in DEEDS:
        again = ns.start(site.rt, DEEDS[deed].ask(site, NAME))
        site.work()
        assert site.operation(again).state is OperationState.COMPLETED, site.operation(again).error
        assert_exact(site)


@pytest.mark.long
@pytest.mark.parametrize("deed", [*(name for name in DEEDS if name not in IDLE), *RETURNING])
def test_death_at_every_boundary_of_the_way_back(stage: Stage, deed: str) -> None:
    returning = stage.returning(deed)
    for at in returning.boundaries:
        _die_at(stage, deed, returning, at)


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["instantiate", "scale-vnf-out", "upgrade", "change-ext-conn", *RETURNING])
def test_death_at_some_boundaries_of_the_way_back(stage: Stage, deed: str) -> None:
    returning = stage.returning(deed)
    assert len(returning.boundaries) > 10
    for at in returning.boundaries[::7]:
        _die_at(stage, deed, returning, at)
