"""For every operation type: death at every boundary; what is desired is there, nothing twice or left, or told twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from matrix import IDLE, LONG, ROWS, Stage, assert_exact, staged
from sim_site import Doom, SimSite
from told import Told

from manor.api import Verb
from manor.model.instance import OperationState


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def _assert_nothing_twice(site: SimSite, operation_id: str) -> None:
    """Of every key at most one creation had its effect between two removals, or each that the plan has of it."""
    planned = Counter(one.step.key for one in site.steps(operation_id) if one.step.verb is Verb.ENSURE)
    made = Counter(m.key for m in site.world.calls if m.verb in ("ensure", "apply"))
    gone = Counter(m.key for m in site.world.calls if m.verb == "remove")
    assert all(made[key] <= gone[key] + max(1, planned[key]) for key in made), made


def _die_at(stage: Stage, deed: str, at: int) -> None:
    prepared = stage.prepared(deed)
    site = stage.again(prepared, seed=at)
    site.survive(Doom(at))
    assert site.operation(prepared.operation_id).state is OperationState.COMPLETED
    assert_exact(site)
    _assert_nothing_twice(site, prepared.operation_id)
    Told(site.told_after(0))


@pytest.mark.slow
@pytest.mark.parametrize("deed", ROWS)
def test_death_at_every_boundary(stage: Stage, deed: str) -> None:
    for at in range(stage.prepared(deed).boundaries):
        _die_at(stage, deed, at)


@pytest.mark.parametrize(
    "deed",
    [
        "instantiate",
        "scale-in",
        "upgrade",
        "repair-all",
        *(pytest.param(name, marks=pytest.mark.slow) for name in LONG),
    ],
)
def test_death_at_some_boundaries(stage: Stage, deed: str) -> None:
    for at in range(1, stage.prepared(deed).boundaries, 13):
        _die_at(stage, deed, at)


@pytest.mark.parametrize("deed", IDLE)
def test_what_takes_no_step_has_nothing_to_die_at(stage: Stage, deed: str) -> None:
    prepared = stage.prepared(deed)
    site = stage.again(prepared, seed=0)
    site.work()
    assert site.operation(prepared.operation_id).state is OperationState.COMPLETED
    assert (site.steps(prepared.operation_id), site.calls) == ((), [])
    assert_exact(site)
