"""Machines that go are drained first, for as long as the operator says; a drain that fails holds up nothing."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from service_world import VNFDS, Site, opened

from manor.api import CallContext, Guest, OperationKind, PowerState, ResourceKind, VnfView
from manor.errors import Transient
from manor.fakes import Action, Fault
from manor.lcm import ns
from manor.lcm.changing import modify_information
from manor.lcm.operate import operate
from manor.lcm.scaling import scale_vnf
from manor.lcm.wishes import Wishes
from manor.model.instance import OnFailure, OperationState
from manor.vnfm.generic import GenericVnfm

Drained = list[tuple[str, float | None]]


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> Drained:
    """Names of the machines that were drained, with the patience they were drained with."""
    seen: Drained = []

    def quiesce(_self: GenericVnfm, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        if vnf.parameters.get("stubborn"):
            raise Transient("the peers do not answer")
        seen.extend((vnfc.name, ctx.patience_s) for vnfc in vnf.vnfcs if guests[vnfc.key].ping(ctx))

    monkeypatch.setattr(GenericVnfm, "quiesce", quiesce)
    return seen


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch, drained: Drained) -> Iterator[Site]:
    web = VNFDS["web-vnfd"]
    (df,) = web.flavours
    (vdu,) = df.vdus
    df = dataclasses.replace(df, vdus=(dataclasses.replace(vdu, day1=(("setup", "--all"),)),))
    vnfds = {**VNFDS, "web-vnfd": dataclasses.replace(web, flavours=(df,))}
    with opened(fast_path, monkeypatch, vnfds=vnfds) as site:
        yield site


def ran(site: Site, node: str) -> list[list[str]]:
    with site.world.look() as state:
        return next(n.ran for n in state.natives.values() if n.spec.key.endswith(node))


@pytest.mark.parametrize(("patience_s", "expected"), [(None, [None]), (20.0, [20.0]), (0.0, [])])
def test_a_terminate_drains_what_runs(
    site: Site, drained: Drained, patience_s: float | None, expected: list[float | None]
) -> None:
    operation = site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE, Wishes(patience_s=patience_s)))
    assert operation.state is OperationState.COMPLETED
    assert drained == [("web-main-0", patience) for patience in expected]
    assert site.nodes() == set()


def test_the_guest_is_given_the_time_to_shut_down(site: Site) -> None:
    plan = ns.propose(site.rt, "demo", OperationKind.TERMINATE, Wishes(patience_s=300.0)).plan
    gone = [step for step in plan.steps if step.kind == "node"]
    assert {(step.patience_s, step.deadline_s) for step in gone} == {(300.0, 660.0)}


@pytest.mark.slow
def test_only_what_goes_is_drained_and_after_traffic_has_left_it(site: Site, drained: Drained) -> None:
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    proposal = scale_vnf(site.rt, "demo", "web", aspect="workers", steps=-1)
    order = [step.id.replace(f"{proposal.ns.id}/", "") for step in proposal.plan.steps]
    turned, drain, gone = ("ensure chain chain/to-web", "quiesce vnf vnf/web/main-2", "remove node vnf/web/main-2")
    assert order.index(turned) < order.index(drain) < order.index(gone)
    site.done(proposal)
    assert drained == [("web-main-2", None)]


def test_a_stop_drains_and_what_is_off_is_not_drained_again(site: Site, drained: Drained) -> None:
    site.done(operate(site.rt, "demo", ["web"], PowerState.STOPPED))
    site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    assert drained == [("web-main-0", None)]


def test_a_drain_that_fails_holds_nothing_up(site: Site, drained: Drained) -> None:
    site.done(modify_information(site.rt, "demo", "web", properties={"stubborn": True}))
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED
    assert drained == []


def test_taken_back_a_machine_is_configured_anew(site: Site, drained: Drained) -> None:
    assert ran(site, "web/main-0") == [["setup", "--all"]]
    site.world.inject(Fault(verb="remove", kind="network", action=Action.FAIL, error="Permanent"))
    operation = site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE), OnFailure.ROLLBACK)
    assert operation.state is OperationState.ROLLED_BACK
    assert drained
    assert ran(site, "web/main-0") == [["setup", "--all"]], "on the machine that was made anew"
    assert (site.drift(), len(site.seen(ResourceKind.NODE))) == ((), 4)
