"""For every operation type: death at every boundary, and every single call going wrong in every way there is.

Afterwards exactly what is desired is there: nothing twice, nothing left over; an operation that could not end well is
brought to a good end by what its operator can do; and the next operation works.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from deeds import DEEDS, INNER, NSD, VNFDS
from sim_site import Doom, SimSite, Snapshot, in_memory

from manor.api import OperationKind
from manor.errors import UsageError
from manor.fakes import Action, Fault, Moment, When
from manor.lcm import ns
from manor.lcm.states import Trigger
from manor.model.instance import OperationState

NAME, SID = "demo", "0a0b0c0d"
_LATE_S = 100_000.0
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

    def __init__(self, path: Path) -> None:
        self.site = SimSite(path)
        self.site.register()
        for descriptor in (NSD, INNER, *VNFDS.values()):
            self.site.onboard(descriptor)
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


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with in_memory("manor-matrix-") as path, pytest.MonkeyPatch.context() as patch:
        image = Path(path) / "image"
        image.write_bytes(b"content")
        patch.setattr("manor.catalog.contents.artifact_path", lambda _home, _sha256: image)
        stage = Stage(Path(path) / "home")
        yield stage
        stage.site.close()


def _assert_exact(site: SimSite) -> None:
    """What is there is what the store says should be, once each, and nothing of it needs repair."""
    assert site.there(NAME) == site.wanted(NAME)
    if site.desired(NAME) is not None:
        assert ns.propose(site.rt, NAME, OperationKind.REPAIR).plan.steps == ()


def _assert_nothing_twice(site: SimSite) -> None:
    """Of every key at most one creation had its effect between two removals."""
    made = Counter(m.key for m in site.world.calls if m.verb in ("ensure", "apply"))
    gone = Counter(m.key for m in site.world.calls if m.verb == "remove")
    assert all(made[key] <= gone[key] + 1 for key in made), made


def _die_at(stage: Stage, deed: str, at: int) -> None:
    prepared = stage.prepared(deed)
    site = stage.again(prepared, seed=at)
    site.survive(Doom(at))
    assert site.operation(prepared.operation_id).state is OperationState.COMPLETED
    _assert_exact(site)
    _assert_nothing_twice(site)


@pytest.mark.slow
@pytest.mark.parametrize("deed", ROWS)
def test_death_at_every_boundary(stage: Stage, deed: str) -> None:
    for at in range(stage.prepared(deed).boundaries):
        _die_at(stage, deed, at)


@pytest.mark.parametrize("deed", ["instantiate", "scale-in", "upgrade", "repair-all"])
def test_death_at_some_boundaries(stage: Stage, deed: str) -> None:
    for at in range(1, stage.prepared(deed).boundaries, 13):
        _die_at(stage, deed, at)


MISFORTUNES = {
    "fails once": Fault(error="Transient"),
    "fails for good": Fault(error="Permanent"),
    "fails always": Fault(error="Permanent", times=0),
    "is never ready": Fault(error="Transient", times=0),
    "is done and reported failed": Fault(when=When.AFTER),
    "is always done and reported failed": Fault(when=When.AFTER, error="unknown", times=0),
    "is done and the rest refused": Fault(when=When.AFTER, error="Permanent", times=0),
    "hangs to its deadline": Fault(action=Action.HANG),
    "always hangs, and is done": Fault(action=Action.HANG, when=When.AFTER, times=0),
    "comes back when it was given up, and is done only then": Fault(action=Action.DELAY, seconds=_LATE_S),
    "is done and comes back when it was given up": Fault(action=Action.DELAY, seconds=_LATE_S, when=When.AFTER),
}
LOOKS = tuple(Moment(verb=verb, kind="*", key="*", when=When.BEFORE) for verb in ("observe", "topology", "guest_ping"))


def _suffer(stage: Stage, deed: str, call: Moment, misfortune: str) -> None:
    """One call goes wrong so; whatever that led to, the operator gets out of it, and the next operation works."""
    prepared = stage.prepared(deed)
    fault = MISFORTUNES[misfortune]
    site = stage.again(prepared, seed=len(misfortune))
    site.world.inject(dataclasses.replace(fault, verb=call.verb, kind=call.kind, key=call.key))
    site.work()
    ended = site.operation(prepared.operation_id)
    if ended.state is OperationState.FAILED_TEMP:
        assert ended.error
        site.world.heal()
        site.scheduler.sleep(2 * _LATE_S)
        try:
            site.rt.operations.act(ended.id, Trigger.ROLLBACK)
        except UsageError:  # it took away what nobody can make anew: it can only go on
            site.rt.operations.act(ended.id, Trigger.RETRY)
        site.work()
        ended = site.operation(ended.id)
    site.world.heal()
    site.scheduler.sleep(2 * _LATE_S)
    assert ended.state in (OperationState.COMPLETED, OperationState.ROLLED_BACK), ended
    if ended.state is OperationState.ROLLED_BACK:
        if not DEEDS[deed].is_damaged:
            _assert_exact(site)
        again = ns.start(site.rt, DEEDS[deed].ask(site, NAME))
        site.work()
        assert site.operation(again).state is OperationState.COMPLETED, site.operation(again).error
    _assert_exact(site)


@pytest.mark.slow
@pytest.mark.parametrize("misfortune", MISFORTUNES)
@pytest.mark.parametrize("deed", ROWS)
def test_every_call_goes_wrong(stage: Stage, deed: str, misfortune: str) -> None:
    when = MISFORTUNES[misfortune].when
    for call in (*stage.prepared(deed).calls, *(LOOKS if when is When.BEFORE else ())):
        _suffer(stage, deed, call, misfortune)


@pytest.mark.parametrize("misfortune", MISFORTUNES)
def test_some_calls_go_wrong(stage: Stage, misfortune: str) -> None:
    for deed in ("instantiate", "scale-out", "upgrade"):
        for call in stage.prepared(deed).calls[1::5]:
            _suffer(stage, deed, call, misfortune)
