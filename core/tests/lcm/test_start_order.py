"""VNFs and VDUs that start after others: where several are made anew at once, they go in that order, one at a time."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import NSD, VNFDS, Site, opened
from test_drain import steered_to, watched
from test_mending import BOTH, order

from manor.api import OperationKind, PowerState
from manor.errors import PlanRefused
from manor.fakes import Action, Fault
from manor.lcm import healing, ns
from manor.lcm.diff import DEADLINES_S
from manor.lcm.operate import operate
from manor.lcm.scaling import scale_ns
from manor.model.instance import OperationState
from manor.model.nsd import Dependency
from manor.model.vnfd import Vnfd

(_DF,) = NSD.flavours
_ORDER = (Dependency(primary="web", secondary="firewall"), Dependency(primary="firewall", secondary="client"))
ORDERED = dataclasses.replace(NSD, flavours=(dataclasses.replace(_DF, dependencies=_ORDER),))


@pytest.fixture
def pair(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch, nsd=ORDERED) as site:
        site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
        yield site


@pytest.mark.slow
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


def _tiers(*first: str) -> Vnfd:
    """A web server whose machine starts after that of its database, and the database after these."""
    web = VNFDS["web-vnfd"]
    (df,) = web.flavours
    (main,) = df.vdus
    main = dataclasses.replace(main, dependencies=("db",))
    db = dataclasses.replace(main, id="db", int_cpds=(), dependencies=first)
    return dataclasses.replace(web, flavours=(dataclasses.replace(df, vdus=(main, db)),))


@pytest.fixture
def tiers(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch, vnfds={**VNFDS, "web-vnfd": _tiers()}, instantiate=False) as site:
        yield site


@pytest.mark.slow
def test_vdus_start_in_their_order_are_made_anew_in_it_and_end_in_reverse(tiers: Site) -> None:
    proposal = ns.propose(tiers.rt, "demo", OperationKind.INSTANTIATE)
    turns = [
        "ensure node vnf/web/db-0",
        "verify vdu vnf/web/vdu/db",
        "ensure node vnf/web/main-0",
        "verify vnf vnf/web",
    ]
    assert order(proposal, *turns) == turns
    tiers.done(proposal)
    anew = healing.heal(tiers.rt, "demo", vnfs=["web"])
    turns = ["remove node vnf/web/db-0", *turns[:2], "remove node vnf/web/main-0", *turns[2:]]
    assert order(anew, *turns) == turns
    tiers.done(anew)
    tiers.done(operate(tiers.rt, "demo", ["web"], PowerState.STOPPED))
    again = operate(tiers.rt, "demo", ["web"], PowerState.STARTED)
    assert order(again, *turns) == [turn for turn in turns if not turn.startswith("remove")]
    tiers.done(again)
    end = ns.propose(tiers.rt, "demo", OperationKind.TERMINATE)
    turns = ["remove node vnf/web/main-0", "remove node vnf/web/db-0"]
    assert order(end, *turns) == turns
    assert tiers.run(end).state is OperationState.COMPLETED


@pytest.mark.slow
def test_what_starts_after_one_that_is_not_healthy_is_never_made(tiers: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEADLINES_S, "verify", 1.0)  # type: ignore[arg-type]
    tiers.world.inject(Fault(verb="guest_ping", key="*/web/db-0", action=Action.FAIL, times=0))
    operation = tiers.run(ns.propose(tiers.rt, "demo", OperationKind.INSTANTIATE))
    assert operation.state is OperationState.ROLLED_BACK
    assert "no answer from db-0" in operation.error
    assert not [call for call in tiers.world.calls if call.verb == "ensure" and call.key.endswith("web/main-0")]


def test_vdus_that_start_after_each_other_are_refused(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vnfds = {**VNFDS, "web-vnfd": _tiers("main")}
    refused = pytest.raises(PlanRefused, match=r"depends on itself: .*web/vdu/db")
    with opened(fast_path, monkeypatch, vnfds=vnfds, instantiate=False) as site, refused:
        ns.propose(site.rt, "demo", OperationKind.INSTANTIATE)
