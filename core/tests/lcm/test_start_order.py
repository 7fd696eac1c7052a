"""VNFs that start after others: where several are made anew at once, they go in that order, one at a time."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import NSD, Site, opened
from test_drain import steered_to, watched
from test_mending import BOTH, order

from manor.lcm import healing
from manor.lcm.scaling import scale_ns
from manor.model.nsd import Dependency

(_DF,) = NSD.flavours
_ORDER = (Dependency(primary="web", secondary="firewall"), Dependency(primary="firewall", secondary="client"))
ORDERED = dataclasses.replace(NSD, flavours=(dataclasses.replace(_DF, dependencies=_ORDER),))


@pytest.fixture
def pair(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch, nsd=ORDERED) as site:
        site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
        yield site


def test_all_healed_at_once_go_one_after_the_other(pair: Site) -> None:
    seen = watched(pair)
    proposal = healing.heal(pair.rt, "demo", vnfs=["client", *sorted(BOTH), "web"])
    turns = [
        "remove node vnf/web/main-0",
        "verify vnf vnf/web",
        "remove node vnf/firewall/main-0",
        "verify vnf vnf/firewall/main-0",
        "remove node vnf/firewall-2/main-0",
        "verify vnf vnf/firewall-2",
        "remove node vnf/client/main-0",
        "verify vnf vnf/client",
    ]
    assert order(proposal, *turns) == turns
    pair.done(proposal)
    assert [name for name, _ in seen] == ["web", "firewall", "firewall-2", "client"]
    assert dict(seen)["firewall"] == {"firewall-2"}
    assert dict(seen)["firewall-2"] == {"firewall"}
    assert steered_to(pair) == BOTH


def test_what_others_start_after_is_healed_without_touching_them(pair: Site) -> None:
    proposal = healing.heal(pair.rt, "demo", vnfs=["web"])
    assert not [step.id for step in proposal.plan.steps if step.verb == "remove" and "/vnf/web/" not in step.key]
    pair.done(proposal)


def test_others_that_stand_below_the_sick_one_go_after_it(pair: Site) -> None:
    seen = watched(pair)
    pair.done(healing.heal(pair.rt, "demo", vnfs=["firewall", "web"]))
    assert seen == [("web", frozenset(BOTH)), ("firewall", frozenset({"firewall-2"}))]
    assert steered_to(pair) == BOTH
