"""What looking costs when somebody does not answer."""

import gc
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from assured_site import PATIENCE_S, Site

from manor.api import (
    CallContext,
    NodeSpec,
    Observed,
    OperationKind,
    Phase,
    PowerState,
    Query,
    ResourceKind,
    ResourceRef,
)
from manor.assure.emptied import with_emptied
from manor.assure.looking import Heartbeats, Looking, Seen, Services, look
from manor.assure.raising import Memory, transition
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Service, Sight
from manor.assure.symptoms import find_symptoms
from manor.errors import Transient
from manor.fakes import FakeHost
from manor.lcm import endpoints, ns
from manor.lcm.operate import operate
from manor.lcm.runtime import Runtime, open_runtime
from manor.model.alarm import AlarmRecord
from manor.model.desired import DesiredResource, DesiredState
from manor.model.instance import EndpointKind, OperationState


@pytest.mark.slow
def test_of_a_service_that_is_gone_nothing_is_kept(make_site: Callable[..., Site]) -> None:
    site = make_site()
    services = Services(site.rt)
    (mine,) = (one.id for one in services.read())

    def kept() -> int:
        gc.collect()
        return sum(isinstance(one, DesiredState) and one.service_id == mine for one in gc.get_objects())

    assert kept()
    assert site.run(site.propose(OperationKind.TERMINATE)).state is OperationState.COMPLETED
    ns.delete(site.rt, "demo")
    assert services.read() == ()
    assert kept() == 0


def test_who_hangs_is_asked_beside_from_then_on_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Query] = []
    let_go = threading.Event()
    let_go_in_time: list[bool] = []

    def silent_then_hangs(query: Query, _ctx: CallContext) -> list[Observed]:
        asked.append(query)
        if len(asked) > 1:
            let_go_in_time.append(let_go.wait(PATIENCE_S))
        raise Transient("it does not answer")

    with open_runtime(tmp_path / "home") as rt:
        for name in ("good", "stuck"):
            config = {"state_file": str(tmp_path / f"{name}.json"), "hosts": [{"name": f"{name}-1"}]}
            endpoints.add(rt, EndpointKind.VIM, name, driver="fake", config=config)
        looks, both = Looking(rt), ("vim:good", "vim:stuck")
        assert looks.look(both).observed.keys() == set(both)
        with monkeypatch.context() as patched:
            patched.setattr(rt.vim("stuck"), "observe", silent_then_hangs)
            assert looks.look(both).silent.keys() == {"vim:stuck"}
            for _ in range(3):
                assert (seen := looks.look(both)).silent.keys() == {"vim:stuck"}
                assert seen.observed.keys() == {"vim:good"}
            assert let_go_in_time == [], "it hangs still, and no look has waited for it"
        let_go.set()
        until_s = time.monotonic() + PATIENCE_S
        while looks.look(both).silent:
            assert time.monotonic() < until_s, "it is heard again"
        looks.close()


def until_seen(looks: Looking, *names: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while looks.look(("vim:good", "vim:stuck")).observed.keys() != set(names):
        assert time.monotonic() < until_s, f"{names} are seen in the end"


def test_who_hangs_for_the_first_time_delays_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.assure.looking._HURRY_S", 0.01)
    asked, let_go, called = threading.Event(), threading.Event(), threading.Event()

    def hangs(*_: Any) -> list[Observed]:
        asked.set()
        assert let_go.wait(PATIENCE_S)
        return []

    with open_runtime(tmp_path / "home") as rt, ThreadPoolExecutor(max_workers=1) as beside:
        for name in ("good", "stuck"):
            config = {"state_file": str(tmp_path / f"{name}.json"), "hosts": [{"name": f"{name}-1"}]}
            endpoints.add(rt, EndpointKind.VIM, name, driver="fake", config=config)
        looks, both = Looking(rt, called.is_set), ("vim:good", "vim:stuck")
        monkeypatch.setattr(rt.vim("stuck"), "observe", hangs)
        try:
            first = beside.submit(looks.look, both)
            assert asked.wait(PATIENCE_S)
            called.set()
            seen = first.result(PATIENCE_S)
            assert "vim:stuck" not in {*seen.observed, *seen.silent}, "it has not answered, and may yet"
            until_seen(looks, "vim:good")
        finally:
            let_go.set()
        until_seen(looks, *both)
        looks.close()


class Glimpses:
    """Two services, each a machine on one host, and the alarms about them as their VIM is seen or not."""

    def __init__(self) -> None:
        self.now_s, self.memory = 1000.0, Memory()
        self.active: tuple[AlarmRecord, ...] = ()

    def look(self, phase: Phase | None, *, after_s: float = 1.0, is_changing: bool = False) -> list[str]:
        """Causes of the alarms after a look a while later; None for one to which the VIM has not answered."""
        self.now_s += after_s
        there: dict[str, Observed] = {}
        services = []
        for name in ("s", "t"):
            key = f"{name}/vnf/fw/m-0"
            node = NodeSpec(key=key, owner="manor/t", host="h1", name="m-0", vcpus=1, memory_bytes=1)
            resource = DesiredResource(endpoint="vim:lab", spec=node)
            desired = DesiredState(service_id=name, service_name=name, resources=(resource,))
            services.append(Service(id=name, name=name, nsd_id="n", desired=desired, is_changing=is_changing))
            if phase is not None:
                ref = ResourceRef(kind=ResourceKind.NODE, key=key)
                there[key] = Observed(ref=ref, phase=phase, owner="manor/t", native_id="", spec_hash="")
        sight = Sight(time_s=self.now_s, observed={"vim:lab": there} if phase else {})
        found = find_symptoms(services, sight, AssuranceSettings(degraded_s=15))
        changes = transition(
            self.active, with_emptied(found, services, sight, self.active), self.memory, self.now_s, clear_s=5.0
        )
        self.memory = changes.memory
        gone = {alarm.id for alarm in changes.cleared}
        self.active = tuple(alarm for alarm in (*self.active, *changes.raised) if alarm.id not in gone)
        return sorted(alarm.probable_cause for alarm in self.active)


@pytest.mark.parametrize(
    ("sick", "alarms"), [(Phase.DEGRADED, ["node-degraded"] * 2), (Phase.PENDING, ["host-emptied"] * 3)]
)
def test_what_lasts_is_known_of_a_vim_that_is_seen_now_and_then(sick: Phase, alarms: list[str]) -> None:
    one = Glimpses()
    for _ in range(8):  # the last look is 14 s after the first
        assert one.look(sick) == []
        assert one.look(None) == []
    assert one.look(sick) == alarms


def test_what_is_gone_is_known_of_a_vim_that_is_seen_now_and_then() -> None:
    one = Glimpses()
    one.look(Phase.DEGRADED)
    alarms = one.look(Phase.DEGRADED, after_s=15.0)
    for _ in range(3):  # the last look is 4 s after the first
        assert one.look(Phase.ACTIVE) == alarms != []
        assert one.look(None) == alarms
    assert one.look(Phase.ACTIVE) == []


def test_what_lasted_before_an_operation_begins_anew_after_it() -> None:
    one = Glimpses()
    assert one.look(Phase.DEGRADED) == []
    assert one.look(Phase.DEGRADED, after_s=14.0, is_changing=True) == []
    assert one.look(Phase.DEGRADED, after_s=14.0) == []
    assert one.look(Phase.DEGRADED, after_s=15.0) == ["node-degraded"] * 2


def lose_a_host(site: Site) -> None:
    with site.world.look() as state:
        (host,) = state.hosts
    site.world.set_hosts(host, FakeHost(name="host-2", reachable=False))


def test_what_was_seen_before_nobody_asked_for_a_while_says_nothing(make_site: Callable[..., Site]) -> None:
    site = make_site()
    client, looks = site.node("client"), Looking(site.rt)
    lose_a_host(site)
    assert client in looks.look({"vim:lab"}).observed["vim:lab"]
    looks.look(())
    site.world.destroy(client)
    assert client not in looks.look({"vim:lab"}).observed["vim:lab"]
    looks.close()


@pytest.mark.slow
def test_a_look_from_before_an_operation_says_nothing_of_what_it_changed(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host is away, and the look at its VIM takes for ever."""
    site = make_site()
    lose_a_host(site)
    let_go = threading.Event()

    def hangs(rt: Runtime, asked: Iterable[str], services: Mapping[str, Service]) -> Seen:
        seen = look(rt, asked, services)
        assert not asked or let_go.wait(PATIENCE_S)
        return seen

    assert site.run(operate(site.rt, "demo", ["client"], PowerState.STOPPED)).state is OperationState.COMPLETED
    site.rounds(1)
    with monkeypatch.context() as patched:
        patched.setattr("manor.assure.looking.look", hangs)
        site.rounds(1)
        assert site.run(operate(site.rt, "demo", ["client"], PowerState.STARTED)).state is OperationState.COMPLETED
        site.rounds(2)
        told = [alarm.probable_cause for alarm in site.all()]
        let_go.set()
    site.rounds(3)
    assert told == [alarm.probable_cause for alarm in site.all()] == ["host-lost"]
    assert site.operations() == []


def test_an_agent_that_hangs_does_not_hide_the_silence_of_another() -> None:
    hangs, let_go = threading.Event(), threading.Event()
    answers = {"slow": True, "silent": True}

    class Vim:
        def guest_ping(self, ref: ResourceRef, _ctx: CallContext) -> bool:
            if ref.key == "slow" and hangs.is_set():
                assert let_go.wait(PATIENCE_S)
            return answers[ref.key]

        def guest_exec(self, *_: object, **__: object) -> None: ...

    vim, ticks = Vim(), iter(range(1000))
    refs = {key: ResourceRef(kind=ResourceKind.NODE, key=key) for key in answers}
    running = {
        "vim:lab": {
            key: Observed(ref=ref, owner="o", native_id="", spec_hash="", phase=Phase.ACTIVE)
            for key, ref in refs.items()
        }
    }
    nodes = [("vim:lab", SimpleNamespace(key=key)) for key in answers]
    service: Any = SimpleNamespace(is_changing=False, nodes=lambda: nodes, guests=lambda: answers.keys())
    rt: Any = SimpleNamespace(driver=lambda _: vim)
    heartbeats = Heartbeats(rt)
    heartbeats.ask([service], running, lambda: float(next(ticks)))
    assert heartbeats.unheard_s() == {}
    answers["silent"] = False
    heartbeats.ask([service], running, lambda: float(next(ticks)))
    hangs.set()
    round_ = threading.Thread(target=heartbeats.ask, args=([service], running, lambda: float(next(ticks))))
    round_.start()
    until_s = time.monotonic() + PATIENCE_S
    while "silent" not in heartbeats.unheard_s() and time.monotonic() < until_s:
        time.sleep(0.01)
    told = dict(heartbeats.unheard_s())
    let_go.set()
    round_.join(PATIENCE_S)
    assert told.keys() == {"silent"}, "told while the other one still hangs"
