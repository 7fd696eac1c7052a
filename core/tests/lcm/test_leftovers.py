"""What a terminate could not remove is the next operation's: adopted where wanted, taken back with the rest of it."""

from collections.abc import Iterator

import pytest
from deeds import DEEDS, NSD, VNFDS
from sim_site import SimSite, Snapshot, opened

from manor.errors import UsageError
from manor.fakes import Fault
from manor.lcm import ns
from manor.lcm.states import Trigger
from manor.model.instance import CancelMode, NsLcmOpOcc, OnFailure, OperationState

NAME = "demo"
NETWORK = "0a0b0c0d/vl/lan@lab/host-1"


@pytest.fixture(scope="module")
def given_up() -> Iterator[tuple[SimSite, Snapshot]]:
    """A service that was given up while it was terminated: its network is still there, and was told of."""
    with opened(NSD, *VNFDS.values()) as site:
        site.create(NSD, NAME, "0a0b0c0d")
        assert operated(site, "instantiate").state is OperationState.COMPLETED
        stuck = operated(site, "terminate", Fault(verb="remove", kind="network", error="Permanent", times=0))
        site.rt.operations.act(stuck.id, Trigger.FAIL)
        site.work()
        ended = site.operation(stuck.id)
        assert (ended.state, ended.orphans) == (OperationState.FAILED, (NETWORK,))
        yield site, site.snapshot()


@pytest.fixture
def site(given_up: tuple[SimSite, Snapshot]) -> SimSite:
    site, then = given_up
    site.rewind(then)
    return site


def operated(site: SimSite, deed: str, *faults: Fault, on_failure: OnFailure = OnFailure.HOLD) -> NsLcmOpOcc:
    site.world.heal()
    site.world.inject(*faults)
    operation_id = ns.start(site.rt, DEEDS[deed].ask(site, NAME), on_failure=on_failure)
    site.work()
    return site.operation(operation_id)


def test_it_is_adopted_and_is_then_like_all_else(site: SimSite) -> None:
    assert operated(site, "instantiate").state is OperationState.COMPLETED
    assert site.there(NAME) == site.wanted(NAME)
    assert operated(site, "terminate").state is OperationState.COMPLETED
    assert not site.there(NAME)


def test_it_goes_with_what_a_rollback_takes_back(site: SimSite) -> None:
    fault = Fault(verb="ensure", kind="node", error="Permanent", times=0)
    ended = operated(site, "instantiate", fault, on_failure=OnFailure.ROLLBACK)
    assert (ended.state, ended.orphans) == (OperationState.ROLLED_BACK, ())
    assert not site.there(NAME)


@pytest.mark.parametrize("answer", [Trigger.ROLLBACK, Trigger.FAIL])
def test_an_operation_that_does_not_get_to_it_tells_of_it_again(site: SimSite, answer: Trigger) -> None:
    cancelled = ns.start(site.rt, DEEDS["instantiate"].ask(site, NAME))
    site.rt.operations.cancel(cancelled, CancelMode.GRACEFUL)
    site.work()
    site.rt.operations.act(cancelled, answer)
    site.work()
    assert site.operation(cancelled).orphans == (NETWORK,)
    assert set(site.there(NAME)) == {NETWORK}


def test_a_service_that_has_nothing_else_any_more_is_not_deleted_without_it(site: SimSite) -> None:
    site.world.heal()
    with pytest.raises(UsageError, match=r"1 resources of demo are still there, as .*/vl/lan@lab/host-1"):
        ns.delete(site.rt, NAME)
    assert ns.delete(site.rt, NAME, force=True) == ()
    assert not site.there()
