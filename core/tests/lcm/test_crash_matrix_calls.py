"""For every operation type: every single call into a driver going wrong, in every way there is.

An operation that could not end well is brought to a good end by what its operator can do; then exactly what is desired
is there, and the next operation works.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from deeds import DEEDS
from matrix import LATE_S, NAME, ROWS, Stage, assert_exact, staged

from manor.errors import UsageError
from manor.fakes import Action, Fault, Moment, When
from manor.lcm import ns
from manor.lcm.states import Trigger
from manor.model.instance import OperationState


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


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
    "comes back when it was given up, and is done only then": Fault(action=Action.DELAY, seconds=LATE_S),
    "is done and comes back when it was given up": Fault(action=Action.DELAY, seconds=LATE_S, when=When.AFTER),
}
SHORT = (
    "fails once",
    "fails always",
    "is done and reported failed",
    "hangs to its deadline",
    "comes back when it was given up, and is done only then",
)
"""One of each kind for every call of every operation; their likes in the long runs, and for some calls."""
LOOKS = tuple(Moment(verb=verb, kind="*", key="*", when=When.BEFORE) for verb in ("observe", "topology", "guest_ping"))


def _suffer(stage: Stage, deed: str, call: Moment, misfortune: str, *, skip: int = 0) -> bool:
    """One call goes wrong so, after ``skip`` like it; whatever that led to, the operator gets out of it, and the next
    operation works. Whether there were as many."""
    prepared = stage.prepared(deed)
    fault = MISFORTUNES[misfortune]
    site = stage.again(prepared, seed=len(misfortune))
    site.world.inject(dataclasses.replace(fault, verb=call.verb, kind=call.kind, key=call.key, skip=skip))
    site.work()
    with site.world.look() as state:
        is_hit = state.hits[-1] > skip
    ended = site.operation(prepared.operation_id)
    if ended.state is OperationState.FAILED_TEMP:
        assert ended.error
        site.world.heal()
        site.scheduler.sleep(2 * LATE_S)
        try:
            site.rt.operations.act(ended.id, Trigger.ROLLBACK)
        except UsageError:  # it took away what nobody can make anew: it can only go on
            site.rt.operations.act(ended.id, Trigger.RETRY)
        site.work()
        ended = site.operation(ended.id)
    site.world.heal()
    site.scheduler.sleep(2 * LATE_S)
    assert ended.state in (OperationState.COMPLETED, OperationState.ROLLED_BACK), ended
    if ended.state is OperationState.ROLLED_BACK:
        if not DEEDS[deed].is_damaged:
            assert_exact(site)
        again = ns.start(site.rt, DEEDS[deed].ask(site, NAME))
        site.work()
        assert site.operation(again).state is OperationState.COMPLETED, site.operation(again).error
    assert_exact(site)
    return is_hit


@pytest.mark.slow
@pytest.mark.parametrize(
    "misfortune", [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in MISFORTUNES]
)
@pytest.mark.parametrize("deed", ROWS)
def test_every_call_goes_wrong(stage: Stage, deed: str, misfortune: str) -> None:
    when = MISFORTUNES[misfortune].when
    for call in (*stage.prepared(deed).calls, *(LOOKS if when is When.BEFORE else ())):
        assert _suffer(stage, deed, call, misfortune) or call in LOOKS


@pytest.mark.long
@pytest.mark.parametrize("misfortune", [name for name, fault in MISFORTUNES.items() if fault.when is When.BEFORE])
@pytest.mark.parametrize("deed", ROWS)
def test_a_later_look_goes_wrong(stage: Stage, deed: str, misfortune: str) -> None:
    for look in LOOKS:
        for before in range(1, 4):
            if not _suffer(stage, deed, look, misfortune, skip=before):
                break  # it does not look as often


@pytest.mark.parametrize("misfortune", MISFORTUNES)
def test_some_calls_go_wrong(stage: Stage, misfortune: str) -> None:
    for deed in ("instantiate", "scale-out", "upgrade"):
        for call in stage.prepared(deed).calls[1::5]:
            _suffer(stage, deed, call, misfortune)
