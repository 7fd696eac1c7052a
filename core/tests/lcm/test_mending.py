"""A heal takes the living in turn, and no traffic falls to a function that is made anew beside others."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import Site, opened
from test_drain import CHAIN, steered_to, watched

from manor.api import NodeSpec, OperationKind, ResourceKind, spec_hash
from manor.fakes import Moment, When
from manor.lcm import healing, ns
from manor.lcm.ns import Proposal
from manor.lcm.scaling import scale_ns, scale_vnf

BOTH = {"firewall", "firewall-2"}


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


@pytest.fixture
def pair(site: Site) -> Site:
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
    return site


def order(proposal: Proposal, *wanted: str) -> list[str]:
    """Those of these steps that the plan has, in its order."""
    steps = [step.id.replace(f"{proposal.ns.id}/", "") for step in proposal.plan.steps]
    return [step for step in steps if step in wanted]


def test_a_sick_function_is_left_out_before_it_goes_and_put_back_once_it_is_proven(pair: Site) -> None:
    seen = watched(pair)
    pair.done(healing.heal(pair.rt, "demo", vnfs=["firewall"]))
    assert seen == [("firewall", {"firewall-2"})]
    assert steered_to(pair) == BOTH


def test_a_dead_function_has_no_traffic_until_it_is_proven(pair: Site) -> None:
    pair.world.destroy(pair.node("firewall/main-0").key)
    came: list[set[str]] = []

    def look(moment: Moment) -> None:
        if moment.when is When.AFTER and moment.verb == "ensure" and moment.key.endswith("/firewall/main-0"):
            came.append(steered_to(pair))

    pair.world.boundary = look
    proposal = healing.heal(pair.rt, "demo")
    turns = (
        f"ensure chain {CHAIN} without firewall/main-0",
        "ensure node vnf/firewall/main-0",
        "verify vnf vnf/firewall/main-0",
        f"ensure chain {CHAIN} with firewall/main-0",
        f"verify chain {CHAIN}",
    )
    assert order(proposal, *turns) == list(turns)
    pair.done(proposal)
    assert came == [{"firewall-2"}]
    assert steered_to(pair) == BOTH


def test_of_two_sick_ones_at_a_position_one_goes_after_the_other(pair: Site) -> None:
    seen = watched(pair)
    pair.done(healing.heal(pair.rt, "demo", vnfs=sorted(BOTH)))
    assert seen == [("firewall", {"firewall-2"}), ("firewall-2", {"firewall"})]
    assert steered_to(pair) == BOTH


def test_a_sick_one_goes_after_its_dead_neighbour_is_back(pair: Site) -> None:
    pair.world.destroy(pair.node("firewall-2/main-0").key)
    seen = watched(pair)
    pair.done(healing.heal(pair.rt, "demo", vnfs=["firewall"]))
    assert seen == [("firewall", {"firewall-2"})]
    assert steered_to(pair) == BOTH


def test_what_is_dead_comes_back_at_once_and_together(pair: Site) -> None:
    for vnf in BOTH:
        pair.world.destroy(pair.node(f"{vnf}/main-0").key)
    proposal = healing.heal(pair.rt, "demo")
    assert not [step.id for step in proposal.plan.steps if " without " in step.id], "there is nobody to turn to"
    steps = {step.id: step for step in proposal.plan.steps}
    first, second = (steps[f"ensure node {proposal.ns.id}/vnf/{vnf}/main-0"] for vnf in sorted(BOTH))
    assert first.id not in second.depends_on
    pair.done(proposal)
    assert steered_to(pair) == BOTH


@pytest.mark.slow
def test_a_vnfs_living_machines_go_one_by_one(site: Site) -> None:
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=2))
    proposal = healing.heal(site.rt, "demo", vnfs=["web"])
    turns = [
        step
        for number in range(3)
        for step in (
            f"remove node vnf/web/main-{number}",
            f"ensure node vnf/web/main-{number}",
            *([f"verify vnf vnf/web/main-{number}"] if number < 2 else ["verify vnf vnf/web"]),
        )
    ]
    assert order(proposal, *turns) == turns
    site.done(proposal)


def test_living_machines_that_were_altered_are_put_right_one_by_one(site: Site) -> None:
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    with site.world.change() as state:
        for native in state.natives.values():
            if isinstance(native.spec, NodeSpec) and "/web/" in native.spec.key:
                native.spec = dataclasses.replace(native.spec, name="altered")
                native.spec_hash = spec_hash(native.spec)
    proposal = ns.propose(site.rt, "demo", OperationKind.REPAIR)
    turns = [
        "ensure node vnf/web/main-0",
        "verify vnf vnf/web/main-0",
        "ensure node vnf/web/main-1",
        "verify vnf vnf/web",
    ]
    assert order(proposal, *turns) == turns
    site.done(proposal)


def test_one_that_is_alone_is_made_anew_with_no_further_step(site: Site) -> None:
    proposal = healing.heal(site.rt, "demo", vnfs=["firewall"])
    extra = [step.id for step in proposal.plan.steps if " without " in step.id or step.key.endswith("main-0")]
    assert [step.partition(" ")[0] for step in extra if "verify vnf" in step or " without " in step] == []
    site.world.destroy(site.node("firewall/main-0").key)
    kinds = {step.kind for step in healing.heal(site.rt, "demo").plan.steps if " without " in step.id}
    assert ResourceKind.CHAIN not in kinds
