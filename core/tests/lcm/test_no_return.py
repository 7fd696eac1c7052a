"""What destroys data is not said to have been rolled back, and comes last so that it seldom stands in the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import Site, opened

from manor.api import OperationKind, ResourceKind
from manor.errors import UsageError
from manor.fakes import Action, Fault
from manor.lcm import ns, work
from manor.lcm.scaling import scale_vnf
from manor.lcm.states import Trigger
from manor.model.instance import NsLcmOpOcc, OnFailure, OperationState


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def terminate(site: Site, on_failure: OnFailure = OnFailure.ROLLBACK) -> NsLcmOpOcc:
    return site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE), on_failure)


def natives(site: Site) -> dict[str, str]:
    return {key: one.native_id for key, one in site.seen(ResourceKind.VOLUME).items()}


def fail(site: Site, verb: str, kind: str, key: str = "*") -> None:
    site.world.inject(Fault(verb=verb, kind=kind, key=key, action=Action.FAIL, error="Permanent"))


@pytest.mark.parametrize("kind", ["node", "segment", "network"])
def test_a_terminate_that_fails_early_comes_back_with_its_disks_as_they_were(site: Site, kind: str) -> None:
    before = natives(site)
    fail(site, "remove", kind)
    assert terminate(site).state is OperationState.ROLLED_BACK
    assert natives(site) == before
    assert site.drift() == ()


def test_disks_go_last_and_the_plan_says_what_goes_with_them(site: Site) -> None:
    steps = ns.propose(site.rt, "demo", OperationKind.TERMINATE).plan.steps
    kinds = [step.kind for step in steps]
    assert kinds[kinds.index("volume") :] == ["volume"] * 2
    assert {step.summary for step in steps[-2:]} == {"remove volume: disk of web-main-0, with its data"}


def test_past_the_first_disk_there_is_only_forward(site: Site) -> None:
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    fail(site, "remove", "volume", "*/main-1/disk/data")
    operation = site.run(scale_vnf(site.rt, "demo", "web", level="small"))
    assert operation.state is OperationState.FAILED_TEMP
    assert "is removed with its data, so there is no way back" in operation.hint
    with pytest.raises(UsageError, match="cannot be rolled back"):
        site.rt.operations.act(operation.id, Trigger.ROLLBACK)
    site.rt.operations.act(operation.id, Trigger.RETRY)
    assert work.follow(site.rt, operation.id).state is OperationState.COMPLETED
    assert site.drift() == ()


def test_a_removal_that_failed_is_proven_not_to_have_happened(site: Site) -> None:
    before = natives(site)
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    site.world.inject(Fault(verb="remove", kind="volume", action=Action.FAIL, error="Permanent", times=2))
    operation = site.run(scale_vnf(site.rt, "demo", "web", level="small"))
    assert operation.state is OperationState.ROLLED_BACK
    assert site.drift() == ()
    assert before.items() < natives(site).items()


@pytest.mark.slow
def test_given_up_past_the_first_disk_nothing_of_it_is_an_orphan(site: Site) -> None:
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    fail(site, "remove", "volume", "*/main-1/disk/data")
    operation = site.run(scale_vnf(site.rt, "demo", "web", level="small"))
    site.rt.operations.act(operation.id, Trigger.FAIL)
    ended = work.follow(site.rt, operation.id)
    assert (ended.state, ended.orphans) == (OperationState.FAILED, ())
    site.run(ns.propose(site.rt, "demo", OperationKind.REPAIR))
    assert site.drift() == ()
