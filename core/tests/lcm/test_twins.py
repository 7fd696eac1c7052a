"""What is there a second time under its key, where the service does not want it: told by all who look, touched by none.

Who registers one host under two names sees everything twice. So it goes at an operator's word alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_world import NSD, Site, opened

from manor.api import OperationKind, PowerState, Verb
from manor.fakes import FakeHost, World
from manor.fakes.world import name_of
from manor.lcm import endpoints, ns
from manor.lcm.away import LEAVE
from manor.lcm.operate import operate
from manor.lcm.wishes import Wishes
from manor.model.instance import EndpointKind, OperationState
from manor.plugin import unguarded

pytestmark = pytest.mark.slow

VNFS = ("web", "client", "firewall", "monitor")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A service on the first of two hosts, with no controller, and another VIM that it has nothing on."""
    plain = dataclasses.replace(NSD, vnffgds=())
    with opened(tmp_path, monkeypatch, hosts=("host-1", "host-2"), instantiate=False, nsd=plain) as made:
        endpoints.remove(made.rt, EndpointKind.SDN, "net")
        other = {"state_file": str(tmp_path / "other.json"), "hosts": [{"name": "host-3"}]}
        endpoints.add(made.rt, EndpointKind.VIM, "other", driver="fake", config=other)
        here = Wishes(locations=dict.fromkeys(VNFS, "lab/host-1"))
        made.done(ns.propose(made.rt, "demo", OperationKind.INSTANTIATE, here))
        yield made


def doubled(site: Site, vim: str, host: str) -> str:
    """The web server's machine, once more on that host; its key."""
    key = site.node("/vnf/web/main-0").key
    (native,) = (one for one in site.world.natives() if one.spec.key == key)
    spec: Any = dataclasses.replace(native.spec, host=host)  # type: ignore[call-arg]
    world: World = unguarded(site.rt.vim(vim)).world  # type: ignore[attr-defined]
    with world.change() as state:
        state.natives[name_of(spec)] = dataclasses.replace(native, spec=spec)
    return key


@pytest.mark.parametrize(("vim", "host"), [("lab", "host-2"), ("other", "host-3")])
def test_it_is_drift_and_an_orphan_and_no_repair_takes_it(site: Site, vim: str, host: str) -> None:
    assert ns.propose(site.rt, "demo", OperationKind.REPAIR).twice == ()
    key = doubled(site, vim, host)
    repair = ns.propose(site.rt, "demo", OperationKind.REPAIR)
    assert [(endpoint, one.ref.key, one.ref.host) for endpoint, one in repair.twice] == [(f"vim:{vim}", key, host)]
    assert (repair.plan.steps, repair.is_idle) == ((), True)
    found, silent = endpoints.orphans(site.rt)
    assert ([(one.endpoint, one.observed.ref.host) for one in found], silent) == ([(f"vim:{vim}", host)], {})
    assert endpoints.remove_orphans(site.rt, found) == ()
    assert ns.propose(site.rt, "demo", OperationKind.REPAIR).twice == ()
    assert site.drift() == ()


def test_a_vim_that_a_service_has_nothing_on_may_be_away(site: Site) -> None:
    before = ns.propose(site.rt, "demo", OperationKind.REPAIR).plan.notes
    world: World = unguarded(site.rt.vim("other")).world  # type: ignore[attr-defined]
    world.set_hosts(FakeHost(name="host-3", reachable=False))
    repair = ns.propose(site.rt, "demo", OperationKind.REPAIR)
    assert (repair.is_idle, repair.silent, repair.plan.notes) == (True, {}, before)


def test_the_next_operation_tells_of_it_and_leaves_it(site: Site) -> None:
    doubled(site, "lab", "host-2")
    stop = operate(site.rt, "demo", ["web"], PowerState.STOPPED)
    assert [note for note in stop.plan.notes if "a second time, at lab/host-2" in note and "manor vim orphans" in note]
    assert {step.host for step in stop.plan.steps} <= {"host-1", ""}
    site.done(stop)
    assert [one.observed.ref.host for one in endpoints.orphans(site.rt)[0]] == ["host-2"]


def test_what_is_left_where_a_service_has_nothing_any_more_is_an_orphan(site: Site) -> None:
    """By the record it never was there, as after a database was put back that is older than what it made."""
    doubled(site, "other", "host-3")
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED
    assert ns.delete(site.rt, "demo") == ()
    found, silent = endpoints.orphans(site.rt)
    assert ([(one.endpoint, one.observed.ref.host) for one in found], silent) == ([("vim:other", "host-3")], {})
    assert endpoints.remove_orphans(site.rt, found) == ()
    assert endpoints.orphans(site.rt) == ([], {})


@pytest.mark.parametrize(("vim", "host"), [("lab", "host-2"), ("other", "host-3")])
def test_while_its_host_is_silent_no_repair_takes_the_only_one_that_is_seen(site: Site, vim: str, host: str) -> None:
    """It may be the machine itself: its host under another name, or where somebody moved it to."""
    key = doubled(site, vim, host)
    site.world.set_hosts(FakeHost(name="host-1", reachable=False), FakeHost(name="host-2"))
    repair = ns.propose(site.rt, "demo", OperationKind.REPAIR)
    assert [step.id for step in repair.plan.steps if step.verb is Verb.REMOVE and step.change != LEAVE] == []
    assert [(endpoint, one.ref.key, one.ref.host) for endpoint, one in repair.twice] == [(f"vim:{vim}", key, host)]
    (told,) = (note for note in repair.plan.notes if f"is at {vim}/{host}, and not seen where it should be" in note)
    assert "manor vim orphans" not in told
    assert endpoints.orphans(site.rt) == ([], {"vim:lab on host-1": "it does not answer"})


def test_one_that_is_at_another_vim_alone_stays_there_and_is_made_where_it_is_wanted(site: Site) -> None:
    key = doubled(site, "other", "host-3")
    with site.world.change() as state:
        state.natives = {name: one for name, one in state.natives.items() if one.spec.key != key}
    repair = ns.propose(site.rt, "demo", OperationKind.REPAIR)
    changes = [step for step in repair.plan.steps if step.verb is not Verb.VERIFY]
    assert {(step.verb, step.endpoint) for step in changes if step.key == key} == {(Verb.ENSURE, "vim:lab")}
    assert [(endpoint, one.ref.host) for endpoint, one in repair.twice] == [("vim:other", "host-3")]
    assert site.run(repair).state is OperationState.COMPLETED
    found, _ = endpoints.orphans(site.rt)
    assert [(one.endpoint, one.observed.ref.host) for one in found] == [("vim:other", "host-3")]
