"""Of functions that share a position, no traffic falls to the one that is being made anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import VNFDS, Site, opened
from test_update import newer

from manor.api import ChainSpec, ResourceKind
from manor.fakes import Action, Fault, Moment, When
from manor.lcm.draining import nodes_of
from manor.lcm.ns import Proposal
from manor.lcm.scaling import scale_ns
from manor.lcm.updating import change_package
from manor.model.instance import OperationState

BOTH = ["firewall", "firewall-2"]
CHAIN = "chain/to-web"


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    assert "firewall-vnfd" in VNFDS
    with opened(fast_path, monkeypatch) as site:
        site.onboard(newer("firewall"))
        site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
        yield site


def steered_to(site: Site) -> set[str]:
    """Firewalls that the chain really sends traffic to."""
    specs = [native.spec for native in site.world.natives() if native.spec.kind is ResourceKind.CHAIN]
    return {
        node.split("/")[2]
        for spec in specs
        if isinstance(spec, ChainSpec)
        for element in spec.positions[0].elements
        for node in nodes_of(element)
    }


def watched(site: Site) -> list[tuple[str, frozenset[str]]]:
    """Whom the chain sends traffic to whenever a firewall's machine goes; filled as it happens."""
    seen: list[tuple[str, frozenset[str]]] = []

    def look(moment: Moment) -> None:
        if moment.when is When.BEFORE and moment.verb == "remove" and moment.key.endswith("/main-0"):
            seen.append((moment.key.split("/")[2], frozenset(steered_to(site))))

    site.world.boundary = look
    return seen


def upgraded(site: Site, **how: object) -> Proposal:
    return change_package(site.rt, "demo", BOTH, "firewall-vnfd-2", **how)  # type: ignore[arg-type]


def test_each_is_left_out_before_it_goes_and_put_back_once_it_is_proven(site: Site) -> None:
    seen = watched(site)
    site.done(upgraded(site))
    assert seen == [("firewall", {"firewall-2"}), ("firewall-2", {"firewall"})]
    assert steered_to(site) == set(BOTH)
    assert site.drift() == ()


def test_the_canary_has_traffic_while_it_stands_the_gate(site: Site) -> None:
    steps = [
        step.id.replace(f"{site.node('web/main-0').key.split('/')[0]}/", "")
        for step in upgraded(site, strategy="canary", gate=["v_cpu_usage_mean<80"]).plan.steps
    ]
    turns = [
        f"ensure chain {CHAIN} without firewall/main-0",
        "remove node vnf/firewall/main-0",
        "verify vnf vnf/firewall/main-0",
        f"ensure chain {CHAIN} with firewall/main-0",
        "verify kpi vnf/firewall/main-0",
        f"ensure chain {CHAIN} without firewall-2/main-0",
        "remove node vnf/firewall-2/main-0",
        f"ensure chain {CHAIN} with firewall-2/main-0",
        f"verify chain {CHAIN}",
    ]
    assert [step for step in steps if step in turns] == turns


def test_where_the_second_fails_the_first_is_left_out_again_before_it_goes_back(site: Site) -> None:
    fails = Fault(verb="ensure", kind="node", key="*/firewall-2/main-0", action=Action.FAIL, error="Permanent", times=1)
    seen = watched(site)
    site.world.inject(fails)
    assert site.run(upgraded(site)).state is OperationState.ROLLED_BACK
    assert seen == [("firewall", {"firewall-2"}), ("firewall-2", {"firewall"}), ("firewall", {"firewall-2"})]
    assert steered_to(site) == set(BOTH)
    assert site.drift() == ()


def test_one_that_is_alone_at_its_position_stays_in_the_chain(site: Site) -> None:
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "1"}))
    proposal = change_package(site.rt, "demo", "firewall", "firewall-vnfd-2")
    assert not [step for step in proposal.plan.steps if " without " in step.id]
    assert "chain to-web: nothing passes firewall while firewall/main-0 is made anew" in proposal.plan.notes
