"""SCALE: more or fewer VNFs and machines, within the descriptors' bounds; what stays keeps its address."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import NSD, Site, opened

from manor.api import ChainSpec, NodeSpec, OperationKind, ResourceKind
from manor.errors import PlanRefused, UsageError
from manor.fakes import Action, Fault
from manor.lcm import endpoints, ns
from manor.lcm.ns import Proposal
from manor.lcm.scaling import scale_ns, scale_vnf
from manor.lcm.wishes import Wishes
from manor.model.instance import EndpointKind, OperationState
from manor.model.nsd import NsScalingAspect


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def addresses(site: Site) -> dict[str, tuple[str, ...]]:
    nodes = (r.spec for r in site.state().resources if isinstance(r.spec, NodeSpec))
    return {port.key: port.addresses for node in nodes for port in node.ports if port.addresses}


def elements(site: Site) -> list[list[str]]:
    (chain,) = (r.spec for r in site.state().resources if isinstance(r.spec, ChainSpec))
    return [[e.ingress.key.split("/")[2] for e in position.elements] for position in chain.positions]


@pytest.mark.slow
def test_vnfs_come_and_go_with_their_place_in_the_chain_and_the_newest_goes_first(site: Site) -> None:
    held = addresses(site)
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "+1"}))
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "+1", "monitor": "2"}))
    assert elements(site) == [["firewall", "firewall-2", "firewall-3"], ["monitor", "monitor-2"]]
    assert held.items() <= addresses(site).items()
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "-1"}))
    assert elements(site)[0] == ["firewall", "firewall-2"]
    assert "vnf/firewall-3/main-0" not in site.nodes()


def test_a_service_begins_at_the_scale_that_it_is_to_have(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(fast_path, monkeypatch, instantiate=False) as site:

        def instantiated(vnf: str, **levels: int) -> Proposal:
            return ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, Wishes(scale_levels={vnf: levels}))

        with pytest.raises(UsageError, match="has no VNF wbe"):
            instantiated("wbe", workers=1)
        with pytest.raises(UsageError, match="has no scaling aspect speed"):
            instantiated("web", speed=1)
        with pytest.raises(PlanRefused, match="web would have 4 of VDU main"):
            instantiated("web", workers=3)
        site.done(instantiated("web", workers=1))
        assert site.vnf("web").vdu_counts == {"main": 2}
        site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
        assert site.vnf("web").vdu_counts == {"main": 3}


def test_a_vnf_leaves_the_chain_before_it_is_removed(site: Site) -> None:
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
    proposal = scale_ns(site.rt, "demo", vnfs={"firewall": "1"})
    order = [step.id.replace(f"{proposal.ns.id}/", "") for step in proposal.plan.steps]
    assert order.index("ensure chain chain/to-web") < order.index("remove node vnf/firewall-2/main-0")


@pytest.mark.slow
def test_machines_of_a_vnf_by_aspect_and_to_a_level(site: Site) -> None:
    held = addresses(site)
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    assert site.vnf("web").scale_levels == {"workers": 1}
    assert site.vnf("web").vdu_counts == {"main": 2}
    assert held.items() <= addresses(site).items()
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    assert (site.vnf("web").vdu_counts, site.vnf("web").scale_levels) == ({"main": 3}, {"workers": 2})
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=-1))
    assert {key for key in site.nodes() if "web" in key} == {"vnf/web/main-0", "vnf/web/main-1"}
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", to_level=0))
    assert {key for key in site.seen(ResourceKind.VOLUME) if "main-1" in key} == set(), "nothing is left of it"


@pytest.mark.slow
def test_the_service_to_a_level_and_by_an_aspect(site: Site) -> None:
    site.done(scale_ns(site.rt, "demo", level="large"))
    assert elements(site) == [["firewall", "firewall-2"], ["monitor", "monitor-2"]]
    site.done(scale_ns(site.rt, "demo", aspect="security", steps=1))
    assert [len(position) for position in elements(site)] == [3, 2]
    site.done(scale_ns(site.rt, "demo", aspect="security", to_level=0))
    assert [len(position) for position in elements(site)] == [1, 2]
    site.done(scale_ns(site.rt, "demo", level="small"))
    assert [len(position) for position in elements(site)] == [1, 1]


@pytest.mark.slow
def test_one_size_is_kept_while_another_changes(site: Site) -> None:
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "+1"}))
    assert site.vnf("web").vdu_counts == {"main": 2}


def test_the_same_size_is_nothing_to_do(site: Site) -> None:
    assert scale_ns(site.rt, "demo", vnfs={"firewall": "1"}).plan.steps == ()
    assert scale_ns(site.rt, "demo", level="small").plan.steps == ()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"vnfs": {"firewall": "+3"}}, r"4 of firewall: the NSD allows 1 to 3"),
        ({"vnfs": {"firewall": "-1"}}, r"0 of firewall"),
        ({"vnfs": {"monitor": "0"}}, r"path to-web needs monitor, and this service has none"),
        ({"aspect": "security", "steps": 3}, r"level 0: level 3 is outside 0 to 2"),
        ({"aspect": "security", "steps": -1}, r"outside 0 to 2"),
    ],
)
def test_what_the_nsd_does_not_allow_is_refused(site: Site, asked: dict, says: str) -> None:
    with pytest.raises(PlanRefused, match=says):
        scale_ns(site.rt, "demo", **asked)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"vnfs": {"nobody": "1"}},
        {"vnfs": {"firewall": "lots"}},
        {"level": "huge"},
        {"aspect": "none"},
        {"vnfs": {"firewall": "1"}, "level": "small"},
    ],
)
def test_what_means_nothing_is_a_usage_error(site: Site, asked: dict) -> None:
    with pytest.raises(UsageError):
        scale_ns(site.rt, "demo", **asked)


def test_a_vnf_beyond_its_bounds_is_refused(site: Site) -> None:
    with pytest.raises(PlanRefused, match="outside 0 to 3"):
        scale_vnf(site.rt, "demo", "web", aspect="workers", steps=4)
    with pytest.raises(PlanRefused, match="would have 4 of VDU main: its profile allows 1 to 3"):
        scale_vnf(site.rt, "demo", "web", aspect="workers", to_level=3)
    for wrong in ({"aspect": "none"}, {"level": "none"}, {}, {"aspect": "workers", "level": "small"}):
        with pytest.raises(UsageError):
            scale_vnf(site.rt, "demo", "web", **wrong)


def test_an_aspect_that_overruns_a_profile_is_refused(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (df,) = NSD.flavours
    greedy = NsScalingAspect(id="greedy", levels=({"firewall": 1}, {"firewall": 9}))
    nsd = dataclasses.replace(NSD, flavours=(dataclasses.replace(df, scaling_aspects=(greedy,)),))
    with opened(fast_path, monkeypatch, nsd=nsd) as site, pytest.raises(PlanRefused, match="9 of firewall"):
        scale_ns(site.rt, "demo", aspect="greedy", steps=1)


def test_a_scale_out_that_fails_leaves_what_was_and_the_next_one_works(site: Site) -> None:
    site.world.inject(
        Fault(verb="ensure", kind="node", key="*/firewall-2/*", action=Action.FAIL, error="Permanent", times=1)
    )
    operation = site.run(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
    assert operation.state is OperationState.ROLLED_BACK
    assert site.drift() == ()
    assert elements(site)[0] == ["firewall"]
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
    assert elements(site)[0] == ["firewall", "firewall-2"]


def test_a_scaled_service_is_terminated_to_the_last_machine(site: Site) -> None:
    site.done(scale_ns(site.rt, "demo", level="large"))
    site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    assert {key for key in site.seen() if not key.startswith(("sha", "image"))} - set(
        site.seen(ResourceKind.IMAGE)
    ) == set()


@pytest.mark.parametrize("has_one", [True, False])
def test_what_runs_keeps_its_controller_though_others_come(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch, has_one: bool
) -> None:
    plain = dataclasses.replace(NSD, vnffgds=())
    with opened(fast_path, monkeypatch, instantiate=False, nsd=plain) as site:
        if not has_one:
            endpoints.remove(site.rt, EndpointKind.SDN, "net")
        site.run(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE))
        for name in ("net-a", "net-b"):
            endpoints.add(site.rt, EndpointKind.SDN, name, driver="fake", config={})
        grown = scale_ns(site.rt, "demo", vnfs={"firewall": "+1"})
        touched = {step.endpoint for step in grown.plan.steps if step.endpoint.startswith("sdn:")}
        assert touched == ({"sdn:net"} if has_one else set())
        assert site.run(grown).state is OperationState.COMPLETED
