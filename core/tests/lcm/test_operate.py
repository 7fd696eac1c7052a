"""OPERATE: a stopped VNF is what is wanted, neither drift nor a reason to complain, until it is started again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import Site, opened

from manor.api import ChainSpec, OperationKind, Phase, PowerState, ResourceKind, SegmentSpec
from manor.errors import UsageError
from manor.fakes import Action, Fault
from manor.lcm import healing, ns, scaling
from manor.lcm.operate import operate
from manor.model.instance import OperationState


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def chain(site: Site) -> ChainSpec:
    return next(r.spec for r in site.state().resources if isinstance(r.spec, ChainSpec))


def segment(site: Site) -> SegmentSpec:
    return next(r.spec for r in site.state().resources if isinstance(r.spec, SegmentSpec))


def test_a_stopped_vnf_is_off_is_no_drift_and_starts_again(site: Site) -> None:
    site.done(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    assert site.seen(ResourceKind.NODE)["vnf/client/main-0"].phase is Phase.STOPPED
    assert site.vnf("client").vnf_state == "STOPPED"
    site.done(operate(site.rt, "demo", ["client"], PowerState.STARTED))
    assert site.seen(ResourceKind.NODE)["vnf/client/main-0"].phase is Phase.ACTIVE
    assert site.vnf("client").vnf_state == "STARTED"


def test_the_segment_lets_go_of_the_ports_and_stays_active(site: Site) -> None:
    ports = segment(site).ports
    site.done(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    assert [p.key.rpartition("vnf/")[2] for p in ports if p not in segment(site).ports] == ["client/main-0/eth-nic"]
    assert site.seen(ResourceKind.SEGMENT)["vl/lan"].phase is Phase.ACTIVE
    site.done(operate(site.rt, "demo", ["client"], PowerState.STARTED))
    assert segment(site).ports == ports


def test_a_position_whose_only_function_is_stopped_stays_closed_and_is_degraded_as_wanted(site: Site) -> None:
    before = chain(site)
    proposal = operate(site.rt, "demo", ["firewall"], PowerState.STOPPED)
    assert "chain to-web: firewall is stopped" in proposal.plan.notes
    site.done(proposal)
    assert chain(site).positions == before.positions, "traffic is not led around a firewall that is off"
    assert site.seen(ResourceKind.CHAIN)["chain/to-web"].phase is Phase.DEGRADED
    site.done(operate(site.rt, "demo", ["firewall"], PowerState.STARTED))
    assert site.seen(ResourceKind.CHAIN)["chain/to-web"].phase is Phase.ACTIVE


def test_one_of_two_firewalls_stopped_leaves_the_chain_before_it_goes_off(site: Site) -> None:
    site.done(scaling.scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
    proposal = operate(site.rt, "demo", ["firewall-2"], PowerState.STOPPED)
    steps = {step.id.replace(f"{proposal.ns.id}/", ""): step for step in proposal.plan.steps}
    order = list(steps)
    assert order.index("ensure chain chain/to-web") < order.index("ensure node vnf/firewall-2/main-0")
    site.done(proposal)
    assert [len(position.elements) for position in chain(site).positions] == [1, 1]
    assert site.seen(ResourceKind.CHAIN)["chain/to-web"].phase is Phase.ACTIVE


def test_all_vnfs_stopped_and_started_again(site: Site) -> None:
    everyone = ["client", "firewall", "monitor", "web"]
    site.done(operate(site.rt, "demo", everyone, PowerState.STOPPED))
    assert {one.phase for one in site.seen(ResourceKind.NODE).values()} == {Phase.STOPPED}
    site.done(operate(site.rt, "demo", everyone, PowerState.STARTED))
    assert {one.phase for one in site.seen(ResourceKind.NODE, ResourceKind.CHAIN).values()} == {Phase.ACTIVE}


@pytest.mark.slow
def test_what_is_stopped_stays_so_through_other_operations_and_is_repaired_to_that(site: Site) -> None:
    site.done(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    site.done(scaling.scale_ns(site.rt, "demo", vnfs={"firewall": "+1"}))
    assert site.vnf("client").vnf_state == "STOPPED"
    site.world.destroy(site.node("client/main-0").key)
    site.done(healing.heal(site.rt, "demo"))
    assert site.seen(ResourceKind.NODE)["vnf/client/main-0"].phase is Phase.STOPPED
    site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    assert site.nodes() == set()


def test_a_stop_that_fails_is_rolled_back_to_running(site: Site) -> None:
    site.world.inject(Fault(verb="ensure", kind="node", key="*/client/*", action=Action.FAIL, error="Permanent"))
    operation = site.run(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    assert operation.state is OperationState.ROLLED_BACK
    assert site.drift() == ()
    assert site.vnf("client").vnf_state == "STARTED"


@pytest.mark.parametrize(("patience_s", "deadline_s"), [(0.0, 180.0), (300.0, 660.0)])
def test_how_long_a_guest_is_asked_goes_with_the_step_that_stops_it(
    site: Site, patience_s: float, deadline_s: float
) -> None:
    plan = operate(site.rt, "demo", ["client"], PowerState.STOPPED, patience_s=patience_s).plan
    (stop,) = [step for step in plan.steps if step.patience_s is not None]
    assert stop.id.endswith("/vnf/client/main-0")
    assert (stop.patience_s, stop.deadline_s) == (patience_s, deadline_s)


def test_what_is_not_there_is_not_operated(site: Site) -> None:
    with pytest.raises(UsageError, match="has no VNF nobody"):
        operate(site.rt, "demo", ["nobody"], PowerState.STOPPED)
    with pytest.raises(UsageError, match="cannot wait"):
        operate(site.rt, "demo", ["web"], PowerState.STOPPED, patience_s=-1)
    assert operate(site.rt, "demo", ["web"], PowerState.STARTED).plan.steps == ()
