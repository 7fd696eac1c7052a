"""``ns delete --force`` always works: whatever the service was at, whoever died over it, and whoever says no."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from lcm_world import join_lanes
from service_world import Site, opened

from manor.api import Finding, OperationKind, Severity
from manor.errors import PlanRefused, PluginError, UsageError
from manor.fakes import Action, FakeHost, Fault, When
from manor.lcm import endpoints, ns
from manor.lcm.healing import heal
from manor.lcm.operations import Operations
from manor.lcm.problem import ways
from manor.lcm.runtime import Runtime
from manor.lcm.scaling import scale_ns
from manor.lcm.states import Trigger
from manor.lcm.views import topology
from manor.model.instance import CancelMode, NsLcmOpOcc, OnFailure, OperationState
from manor.plugin import Plugins

pytestmark = pytest.mark.slow


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def stuck(site: Site) -> NsLcmOpOcc:
    """A scaling that stopped at a machine, on a platform that is well again."""
    site.world.inject(Fault(verb="ensure", kind="node", error="Permanent", times=0))
    operation = site.run(scale_ns(site.rt, "demo", vnfs={"firewall": "+1"}), OnFailure.HOLD)
    assert operation.state is OperationState.FAILED_TEMP
    site.world.heal()
    return operation


def failing_without_a_worker(site: Site) -> NsLcmOpOcc:
    """``op fail`` was accepted, and who was to clean up died."""
    operation = stuck(site)
    site.rt.release_worker()
    return site.rt.operations.act(operation.id, Trigger.FAIL)


def test_after_a_fail_whose_process_was_killed(site: Site) -> None:
    failing_without_a_worker(site)
    assert ns.delete(site.rt, "demo", force=True) == ()
    assert site.nodes() == set()


def test_after_a_forced_delete_whose_process_was_killed(site: Site) -> None:
    removal = ns.propose(site.rt, "demo", OperationKind.TERMINATE, tolerant=True)
    site.rt.release_worker()
    ns.start(site.rt, removal, force=True)
    assert ns.delete(site.rt, "demo", force=True) == ()
    assert site.nodes() == set()


def test_what_one_whose_process_was_killed_could_not_reach_is_told_by_the_next(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(fast_path, monkeypatch, hosts=("host-1", "host-2")) as site:
        first = FakeHost(name="host-1")
        site.world.set_hosts(first, FakeHost(name="host-2", reachable=False))
        there = {key for key, place in site.state().placement.items() if place == "lab/host-2"}
        assert there
        removal = ns.propose(site.rt, "demo", OperationKind.TERMINATE, tolerant=True)
        site.rt.release_worker()
        ns.start(site.rt, removal, force=True)
        left = ns.delete(site.rt, "demo", force=True)
        assert there < set(left)
        site.world.set_hosts(first, FakeHost(name="host-2"))
        found, _ = endpoints.orphans(site.rt)
        assert {orphan.observed.ref.key for orphan in found} == set(left)


def test_what_could_not_be_asked_at_all_is_told_again(site: Site) -> None:
    gone = Fault(verb="observe", kind="*", error="Permanent", times=0)
    site.world.inject(gone, Fault(verb="remove", kind="*", error="Permanent", times=0))
    removal = ns.propose(site.rt, "demo", OperationKind.TERMINATE, tolerant=True)
    site.rt.release_worker()
    ns.start(site.rt, removal, force=True)
    left = ns.delete(site.rt, "demo", force=True)
    site.world.heal()
    found, _ = endpoints.orphans(site.rt)
    assert {orphan.observed.ref.key for orphan in found} == set(left)


def test_drivers_that_are_not_installed_any_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_self: object, _kind: object, _name: str) -> None:
        raise PluginError("driver fake is not installed")

    with monkeypatch.context() as patch:
        patch.setattr(type(site.rt), "_connect", gone)
        picture = topology(site.rt, "demo")
        assert {vnfc.state for vnf in picture.vnfs for vnfc in vnf.vnfcs} == {""}, "it can be looked at"
        left = ns.delete(site.rt, "demo", force=True)
    found, _ = endpoints.orphans(site.rt)
    assert {orphan.observed.ref.key for orphan in found} == set(left)


def test_an_operation_that_stops_while_it_is_to_be_cancelled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.world.inject(Fault(verb="ensure", kind="node", error="Permanent", times=0))
    site.rt.release_worker()
    begun = ns.start(site.rt, scale_ns(site.rt, "demo", vnfs={"firewall": "+1"}), on_failure=OnFailure.HOLD)
    cancel = Operations.cancel

    def late(self: Operations, operation_id: str, mode: CancelMode = CancelMode.GRACEFUL) -> NsLcmOpOcc:
        assert site.rt.worker.start()
        assert self.wait(begun).state is OperationState.FAILED_TEMP
        return cancel(self, operation_id, mode)

    monkeypatch.setattr(Operations, "cancel", late)
    assert ns.delete(site.rt, "demo", force=True) == ()


def test_a_heal_that_began_a_moment_before(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    start = ns.start

    def late(rt: Runtime, removal: ns.Proposal, *, force: bool) -> str:
        monkeypatch.setattr(ns, "start", start)
        start(rt, heal(rt, "demo", vnfs=["web"]))
        return start(rt, removal, force=force)

    monkeypatch.setattr(ns, "start", late)
    assert ns.delete(site.rt, "demo", force=True) == ()
    assert site.nodes() == set()


def test_a_call_that_still_hangs_may_leave_something_and_it_is_told(site: Site) -> None:
    """Who deletes is another worker of the same process."""
    begun, let_go = threading.Event(), threading.Event()

    def hang(_seconds: float) -> None:
        begun.set()
        let_go.wait(60)

    site.world.sleep = hang
    site.world.inject(Fault(action=Action.DELAY, verb="ensure", kind="node", when=When.BEFORE))
    operation_id = ns.start(site.rt, scale_ns(site.rt, "demo", vnfs={"firewall": "+1"}))
    assert begun.wait(60)
    site.rt.operations.cancel(operation_id, CancelMode.FORCEFUL)
    assert site.rt.operations.wait(operation_id).state is OperationState.FAILED_TEMP
    site.rt.release_worker()
    left = ns.delete(site.rt, "demo", force=True)
    let_go.set()
    join_lanes()
    assert [key.partition("/")[2] for key in left] == ["vnf/firewall-2/main-0"]


def test_a_review_that_refuses_is_heard_and_overruled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Finding(severity=Severity.ERROR, code="freeze", message="nothing changes before Monday")
    monkeypatch.setattr(Plugins, "review_plan", lambda _self, _plan, _service: (refusal,))
    with pytest.raises(PlanRefused, match="before Monday"):
        ns.propose(site.rt, "demo", OperationKind.TERMINATE)
    heard: list[Finding] = []
    assert ns.delete(site.rt, "demo", force=True, tell=heard.extend) == ()
    assert heard == [refusal]


def test_a_vnf_manager_that_is_not_there_any_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_self: object, _name: str) -> None:
        raise PluginError("driver generic is not installed")

    monkeypatch.setattr(type(site.rt), "vnfm", gone)
    assert ns.delete(site.rt, "demo", force=True) == ()


def test_while_it_is_cleaned_up_nothing_is_offered_but_to_watch(site: Site) -> None:
    operation = failing_without_a_worker(site)
    assert ways(*site.rt.operations.get(operation.id)) == ("watch",)
    for trigger in (Trigger.RETRY, Trigger.ROLLBACK, Trigger.CONTINUE, Trigger.FAIL):
        with pytest.raises(UsageError, match="is being cleaned up already"):
            site.rt.operations.act(operation.id, trigger)
