"""Snapshots of a VNF: taken, listed, gone back to and deleted, and gone with the service."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import Site, opened

from manor.api import OperationKind, ResourceKind
from manor.errors import PlanRefused, UsageError
from manor.fakes import Action, Fault
from manor.lcm import endpoints, ns, snapshots
from manor.lcm.scaling import scale_vnf
from manor.lcm.updates import UpdateType, update_ns
from manor.model.instance import OperationState


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def volumes(site: Site) -> dict[str, str]:
    return {key: one.native_id for key, one in site.seen(ResourceKind.VOLUME).items()}


@pytest.mark.slow
def test_taken_gone_back_to_and_deleted(site: Site) -> None:
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    proposal = snapshots.create(site.rt, "demo", "web", "before the storm", description="just in case")
    assert {step.kind for step in proposal.plan.steps} == {"snapshot"}, "machines go on as they are"
    site.done(proposal)
    (taken,) = snapshots.listed(site.rt, "demo").values()
    assert (taken["vnf"], taken["description"], set(taken["parts"].values())) == ("web", "just in case", {"active"})
    assert len(taken["parts"]) == 3
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=-1))
    before = volumes(site)
    operation = site.done(snapshots.revert(site.rt, "demo", "web", "before the storm"))
    assert operation.params["updateType"] == "REVERT_VNF_TO_SNAPSHOT"
    after = volumes(site)
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values()), "every disk was made anew from the snapshot"
    site.done(snapshots.revert(site.rt, "demo", "web", "before the storm"))
    assert not set(volumes(site).values()) & set(after.values()), "and again"
    kept = volumes(site)
    site.done(snapshots.delete(site.rt, "demo", "before the storm"))
    assert (site.seen(ResourceKind.SNAPSHOT), volumes(site)) == ({}, kept)
    assert endpoints.orphans(site.rt) == ([], {})


@pytest.mark.slow
def test_a_snapshot_goes_with_its_service_and_is_never_taken_again_by_a_repair(site: Site) -> None:
    site.done(snapshots.create(site.rt, "demo", "web", "one"))
    site.done(snapshots.create(site.rt, "demo", "web", "two"))
    (lost,) = snapshots.listed(site.rt, "demo")["one"]["parts"]
    site.world.destroy(lost)
    proposal = ns.propose(site.rt, "demo", OperationKind.REPAIR)
    assert (proposal.plan.steps, proposal.lost) == ((), (lost,)), "it is told, and not taken again"
    assert snapshots.listed(site.rt, "demo")["one"]["parts"] == {lost: "lost"}
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    assert len(site.seen(ResourceKind.SNAPSHOT)) == 1
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED
    assert site.seen(ResourceKind.SNAPSHOT) == {}


def test_of_a_vim_that_is_away_nobody_says_that_a_snapshot_is_lost(site: Site) -> None:
    site.done(snapshots.create(site.rt, "demo", "web", "one"))
    site.world.inject(Fault(verb="observe", kind="*", error="Transient", times=0))
    assert set(snapshots.listed(site.rt, "demo")["one"]["parts"].values()) == {"unknown"}
    site.world.heal()
    assert set(snapshots.listed(site.rt, "demo")["one"]["parts"].values()) == {"active"}


def test_one_that_cannot_be_taken_leaves_nothing(site: Site) -> None:
    site.world.inject(Fault(verb="ensure", kind="snapshot", key="*/main-1", action=Action.FAIL, error="Permanent"))
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    assert site.run(snapshots.create(site.rt, "demo", "web", "one")).state is OperationState.ROLLED_BACK
    assert (site.seen(ResourceKind.SNAPSHOT), snapshots.listed(site.rt, "demo")) == ({}, {})


def test_what_cannot_be_meant_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.done(update_ns(site.rt, "demo", UpdateType.CREATE_VNF_SNAPSHOT, {"vnfInstanceId": "web", "name": "one"}))
    with pytest.raises(UsageError, match="has a snapshot 'one' already"):
        snapshots.create(site.rt, "demo", "web", "one")
    with pytest.raises(UsageError, match="snapshot one is of web, not of client"):
        snapshots.revert(site.rt, "demo", "client", "one")
    with pytest.raises(UsageError, match="no snapshot two"):
        snapshots.delete(site.rt, "demo", "two")
    with pytest.raises(PlanRefused, match="client has no disk"):
        snapshots.create(site.rt, "demo", "client", "two")
    vim = site.rt.vim("lab")
    found = vim.capabilities

    def without(ctx: object) -> object:
        seen = found(ctx)  # type: ignore[arg-type]
        return dataclasses.replace(seen, support={**seen.support, "snapshot": "unsupported"})

    monkeypatch.setattr(vim, "capabilities", without)
    with pytest.raises(PlanRefused, match="VIM lab takes no snapshots"):
        snapshots.create(site.rt, "demo", "web", "two")
