"""One of several hosts is dead: all that does not need it goes on, nothing on it is lost, made twice or forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import NSD, Site, opened

from manor.api import OperationKind, PowerState
from manor.errors import PlanRefused
from manor.fakes import Fault
from manor.lcm import endpoints, ns
from manor.lcm.away import leave
from manor.lcm.changing import modify_information
from manor.lcm.healing import heal
from manor.lcm.moving import move
from manor.lcm.operate import operate
from manor.lcm.scaling import scale_ns
from manor.lcm.wishes import Wishes
from manor.model.instance import EndpointKind, NsLcmOpOcc, OperationState
from manor.model.vnfoperation import VnfLcmOpOcc, occurrences

pytestmark = pytest.mark.slow

LOCATIONS = {"web": "lab/host-1", "client": "lab/host-2", "firewall": "lab/host-2", "monitor": "lab/host-2"}
COMPLETED, PARTIALLY = OperationState.COMPLETED, OperationState.PARTIALLY_COMPLETED


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A service with its web server alone on a host that is dead."""
    with opened(tmp_path, monkeypatch, hosts=("host-1", "host-2"), wishes=Wishes(locations=LOCATIONS)) as made:
        answers(made, host_1=False)
        yield made


def answers(site: Site, *, host_1: bool) -> None:
    with site.world.look() as state:
        first, *others = state.hosts
    site.world.set_hosts(dataclasses.replace(first, reachable=host_1), *others)


def there(site: Site) -> list[tuple[str, str]]:
    """Machines as they really are, with their hosts."""
    return sorted(
        (native.spec.key.partition("/vnf/")[2], native.spec.host)  # type: ignore[union-attr]
        for native in site.world.natives()
        if native.spec.kind == "node"
    )


def of_vnfs(site: Site, operation: NsLcmOpOcc) -> dict[str, VnfLcmOpOcc]:
    """What the operation was to each VNF, by its name."""
    found = occurrences(*site.rt.operations.get(operation.id))
    return {one.id.partition("/")[2]: one for one in found}


def test_what_is_on_it_is_not_missing(site: Site) -> None:
    before = there(site)
    for operation in (OperationKind.REPAIR, OperationKind.HEAL):
        proposal = ns.propose(site.rt, "demo", operation)
        assert proposal.plan.steps == ()
        assert proposal.is_idle
        assert "host-1 does not answer" in " ".join(proposal.plan.notes)
    assert there(site) == before


def test_the_others_are_healed_scaled_and_stopped(site: Site) -> None:
    site.world.stop(site.node("client/main-0").key)
    assert site.run(heal(site.rt, "demo")).state is COMPLETED
    assert site.run(heal(site.rt, "demo", vnfs=["firewall"])).state is COMPLETED
    grown = site.run(scale_ns(site.rt, "demo", vnfs={"firewall": "+1"}))
    assert grown.state is COMPLETED, grown.error
    assert len([name for name, host in there(site) if name.startswith("firewall") and host == "host-2"]) == 2
    stopped = site.run(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    assert stopped.state is COMPLETED, stopped.error
    assert stopped.orphans == ()
    answers(site, host_1=True)
    assert site.run(ns.propose(site.rt, "demo", OperationKind.REPAIR)).state is COMPLETED
    assert site.drift() == ()
    assert endpoints.orphans(site.rt) == ([], {})


def test_a_new_service_is_placed_elsewhere(site: Site) -> None:
    ns.create(site.rt, "secure-web", name="second")
    operation = site.run(ns.propose(site.rt, "second", OperationKind.INSTANTIATE))
    assert operation.state is COMPLETED, operation.error
    assert {host for name, host in there(site)} == {"host-1", "host-2"}
    assert len(there(site)) == 8


def test_what_would_have_to_change_on_it_is_refused_before_anything_is_done(site: Site) -> None:
    for ask in (
        lambda: heal(site.rt, "demo", vnfs=["web"]),
        lambda: operate(site.rt, "demo", ["web", "client"], PowerState.STOPPED),
    ):
        with pytest.raises(PlanRefused, match="web/main-0 would have to change on host host-1") as said:
            ask()
        assert "manor vnf move demo/web VIM/HOST" in said.value.hint


def test_its_function_moves_and_what_is_left_is_swept_when_it_is_back(site: Site) -> None:
    proposal = move(site.rt, "demo", "web", "lab/host-2", discard_data=True)
    assert "may run on there" in " ".join(proposal.plan.notes)
    moved = site.run(proposal)
    assert moved.state is PARTIALLY, moved.error
    assert [key for key in moved.orphans if "/vnf/web/" in key and key.endswith("main-0")]
    web = of_vnfs(site, moved)["web"]
    assert (web.state, web.error) == ("COMPLETED", ""), "it is well, whatever is left of it there"
    assert {r.spec.host for r in site.state().resources if "/vnf/web/" in r.spec.key} == {"host-2"}  # type: ignore[union-attr]

    after = site.run(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    assert after.state is COMPLETED, after.error
    assert after.orphans == moved.orphans, "what nobody could go for yet is told again"
    described = modify_information(site.rt, "demo", "client", description="at the door")
    assert site.run(described).orphans == moved.orphans, "also by what does nothing else"
    assert ns.propose(site.rt, "demo", OperationKind.REPAIR).is_idle

    answers(site, host_1=True)
    found, silent = endpoints.orphans(site.rt)
    assert (sorted({one.observed.ref.key for one in found}), silent) == (sorted(moved.orphans), {})
    assert endpoints.remove_orphans(site.rt, found) == ()
    assert site.drift() == ()
    assert {host for _, host in there(site)} == {"host-2"}


def test_the_next_operation_sweeps_it_too(site: Site) -> None:
    site.run(move(site.rt, "demo", "web", "lab/host-2", discard_data=True))
    answers(site, host_1=True)
    done = site.run(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    assert (done.state, done.orphans) == (COMPLETED, ())
    assert {host for _, host in there(site)} == {"host-2"}
    assert endpoints.orphans(site.rt) == ([], {})


def test_the_service_ends_and_names_what_it_could_not_reach(site: Site) -> None:
    ended = site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    assert ended.state is PARTIALLY, ended.error
    assert [key for key in ended.orphans if key.endswith("main-0")]
    told = of_vnfs(site, ended)
    assert {name: one.state for name, one in told.items() if one.state != "COMPLETED"} == {"web": "FAILED"}
    assert " host-1 (vim:lab on host-1): " in told["web"].error
    assert told["web"].error.endswith("its host does not answer")
    assert {host for _, host in there(site)} == {"host-1"}
    assert ns.delete(site.rt, "demo") == ()
    answers(site, host_1=True)
    found, _ = endpoints.orphans(site.rt)
    assert endpoints.remove_orphans(site.rt, found) == ()
    assert there(site) == []


def test_a_controller_with_a_switch_away_is_asked_again_after_a_hiccup(site: Site) -> None:
    site.world.inject(Fault(verb="remove", kind="segment", error="Transient"), Fault(verb="remove", kind="chain"))
    ended = site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    assert ended.state is PARTIALLY, ended.error
    assert [one.spec.key for one in site.world.natives() if one.spec.kind in ("segment", "chain")] == []


def test_orphans_elsewhere_are_found_while_it_is_away(site: Site) -> None:
    site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    ns.delete(site.rt, "demo")
    _, silent = endpoints.orphans(site.rt)
    assert list(silent) == ["vim:lab on host-1"]


@pytest.mark.parametrize("ends", [False, True])
def test_what_was_made_again_under_its_name_meanwhile_is_there_once_in_the_end(site: Site, ends: bool) -> None:
    site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    again = Wishes(locations={**LOCATIONS, "web": "lab/host-2"})
    made = site.run(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, again))
    assert made.state is COMPLETED, made.error
    assert [key for key in made.orphans if key.endswith("/web/main-0")]
    answers(site, host_1=True)
    assert len([name for name, _ in there(site) if name.startswith("web")]) == 2
    if ends:
        assert ns.delete(site.rt, "demo", force=True) == ()
    else:
        repair = ns.propose(site.rt, "demo", OperationKind.REPAIR)
        assert not repair.is_idle
        assert (site.run(repair).state, site.drift()) == (COMPLETED, ())
    assert {host for _, host in there(site)} == (set() if ends else {"host-2"})
    assert endpoints.orphans(site.rt) == ([], {})


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Without a controller: what moves is made anew under its key."""
    plain = dataclasses.replace(NSD, vnffgds=())
    with opened(tmp_path, monkeypatch, hosts=("host-1", "host-2"), instantiate=False, nsd=plain) as made:
        endpoints.remove(made.rt, EndpointKind.SDN, "net")
        made.done(ns.propose(made.rt, "demo", OperationKind.INSTANTIATE, Wishes(locations=LOCATIONS)))
        answers(made, host_1=False)
        made.run(move(made.rt, "demo", "web", "lab/host-2", discard_data=True))
        answers(made, host_1=True)
        yield made


def web(site: Site) -> dict[str, str]:
    natives = (native for native in site.world.natives() if native.spec.key.endswith("/vnf/web/main-0"))
    return {native.spec.host: native.native_id for native in natives}  # type: ignore[union-attr]


def test_what_was_left_goes_and_what_moves_back_is_made_anew(bare: Site) -> None:
    before = web(bare)
    back = move(bare.rt, "demo", "web", "lab/host-1", discard_data=True)
    order = [(step.change, step.host) for step in back.plan.steps if step.key.endswith("/vnf/web/main-0")]
    assert order.index(("remove", "host-1")) < order.index(("replace", "host-1"))
    bare.done(back)
    assert list(web(bare)) == ["host-1"]
    assert web(bare)["host-1"] not in before.values()
    assert (bare.drift(), endpoints.orphans(bare.rt)) == ((), ([], {}))


def test_what_a_service_has_is_not_left_where_it_is(bare: Site) -> None:
    with bare.world.look() as state:
        first, second = state.hosts
    bare.world.set_hosts(first, dataclasses.replace(second, reachable=False))
    assert ns.propose(bare.rt, "demo", OperationKind.REPAIR).is_idle is False, "what was left on host-1 goes"
    repaired = bare.run(ns.propose(bare.rt, "demo", OperationKind.REPAIR))
    assert (repaired.state, repaired.orphans) == (COMPLETED, ())
    assert list(web(bare)) == ["host-2"]


def test_what_was_left_at_a_vim_that_is_no_more_stands_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = dataclasses.replace(NSD, vnffgds=())
    with opened(tmp_path, monkeypatch, hosts=("host-1",), instantiate=False, nsd=plain) as site:
        endpoints.remove(site.rt, EndpointKind.SDN, "net")
        config = {"state_file": str(tmp_path / "other.json"), "hosts": [{"name": "host-3"}]}
        endpoints.add(site.rt, EndpointKind.VIM, "lab2", driver="fake", config=config)
        there = Wishes(locations={**dict.fromkeys(LOCATIONS, "lab2/host-3"), "web": "lab/host-1"})
        site.done(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, there))
        answers(site, host_1=False)
        assert site.run(move(site.rt, "demo", "web", "lab2/host-3", discard_data=True)).orphans
        endpoints.remove(site.rt, EndpointKind.VIM, "lab", force=True)
        assert site.run(heal(site.rt, "demo", vnfs=["client"])).state is COMPLETED
        assert ns.delete(site.rt, "demo", force=True) == ()


def test_a_service_that_ends_twice_meanwhile_still_says_what_is_left(site: Site) -> None:
    left = site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).orphans
    elsewhere = Wishes(locations={**LOCATIONS, "web": "lab/host-2"})
    site.run(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, elsewhere))
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).orphans == left
    assert ns.delete(site.rt, "demo", force=True) == left


def test_what_fails_elsewhere_is_rolled_back(site: Site) -> None:
    before = there(site)
    site.world.inject(Fault(verb="ensure", kind="node", error="Permanent", times=0))
    failed = site.run(move(site.rt, "demo", "web", "lab/host-2", discard_data=True))
    assert (failed.state, failed.orphans) == (OperationState.ROLLED_BACK, ())
    site.world.heal()
    assert there(site) == before
    answers(site, host_1=True)
    site.run(ns.propose(site.rt, "demo", OperationKind.REPAIR))
    assert site.drift() == ()


def test_what_moves_to_another_vim_is_left_on_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = dataclasses.replace(NSD, vnffgds=())
    hosts = {**dict.fromkeys(LOCATIONS, "lab2/host-3"), "web": "lab/host-1"}
    with opened(tmp_path, monkeypatch, hosts=("host-1", "host-2"), instantiate=False, nsd=plain) as site:
        endpoints.remove(site.rt, EndpointKind.SDN, "net")
        config = {"state_file": str(tmp_path / "other.json"), "hosts": [{"name": "host-3"}]}
        endpoints.add(site.rt, EndpointKind.VIM, "lab2", driver="fake", config=config)
        site.done(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, Wishes(locations=hosts)))
        answers(site, host_1=False)
        moving = move(site.rt, "demo", "web", "lab2/host-3", discard_data=True)
        gone = [step for step in moving.plan.steps if step.change in ("remove", "replace") and step.host == "host-1"]
        assert gone == [], "nobody goes to a host that does not answer, nor looks for it at another VIM"
        left = site.run(moving).orphans
        answers(site, host_1=True)
        found, silent = endpoints.orphans(site.rt)
        assert ({one.observed.ref.key for one in found}, silent) == (set(left), {})


def test_what_is_left_twice_is_told_twice() -> None:
    first, second = (leave("node", "0/vnf/web/main-0", "vim:lab", host) for host in ("host-1", "host-3"))
    assert first.id != second.id
