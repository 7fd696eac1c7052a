"""What happens beside other processes and other operations: nothing waits for ever, nothing that is in use goes."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import secure_web

from manor.api import (
    CallContext,
    ImageSpec,
    NetworkSpec,
    OperationKind,
    Query,
    ResourceKind,
    SegmentSpec,
    spec_from_json,
)
from manor.catalog.onboard import delete as delete_package
from manor.errors import ManorError, PluginError, Transient, UsageError
from manor.fakes import Action, Fault
from manor.lcm import endpoints, ns, work
from manor.lcm.runtime import FRESH_S, Runtime, open_runtime
from manor.lcm.states import Trigger
from manor.model.instance import EndpointKind, NsLcmOpOcc, OnFailure, OperationState
from manor.plugin import unguarded
from manor.store import instances


@pytest.fixture
def rt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    image = tmp_path / "image"
    image.write_bytes(b"kernel")
    monkeypatch.setattr("manor.catalog.contents.artifact_path", lambda _home, _sha256: image)
    with open_runtime(tmp_path / "home") as runtime:
        endpoints.add(runtime, EndpointKind.VIM, "lab", driver="fake", config={})
        endpoints.add(runtime, EndpointKind.SDN, "net", driver="fake", config={})
        secure_web.onboard(runtime)
        ns.create(runtime, "secure-web", name="demo")
        yield runtime


def run(rt: Runtime, operation: OperationKind, on_failure: OnFailure = OnFailure.ROLLBACK) -> NsLcmOpOcc:
    proposal = ns.propose(rt, "demo", operation)
    return work.follow(rt, ns.start(rt, proposal, on_failure=on_failure))


def hurt(rt: Runtime, fault: Fault) -> None:
    unguarded(rt.vim("lab")).world.inject(fault)  # type: ignore[attr-defined]


def held(rt: Runtime) -> NsLcmOpOcc:
    """An instantiate that stopped halfway."""
    hurt(rt, Fault(verb="ensure", kind="node", key="*/monitor/*", action=Action.FAIL, error="Permanent"))
    stopped = run(rt, OperationKind.INSTANTIATE, OnFailure.HOLD)
    assert stopped.state is OperationState.FAILED_TEMP
    return stopped


def nodes(rt: Runtime) -> int:
    query = Query(owner=rt.owner, kinds=frozenset({ResourceKind.NODE}))
    return len(rt.vim("lab").observe(query, CallContext.within(5)))


@pytest.mark.slow
@pytest.mark.parametrize("error", [PluginError("driver acme is not installed"), UsageError("hosts: it is no list")])
def test_a_vim_that_nobody_can_connect_to_keeps_no_service_off_the_others(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch, error: ManorError
) -> None:
    """As one whose plugin is gone, or takes its settings no more."""
    endpoints.add(rt, EndpointKind.VIM, "old", driver="fake", config={"hosts": [{"name": "host-2"}]})
    connect = Runtime._connect

    def gone(self: Runtime, kind: EndpointKind, name: str) -> object:
        if name == "old":
            raise error
        return connect(self, kind, name)

    monkeypatch.setattr(Runtime, "_connect", gone)
    assert run(rt, OperationKind.INSTANTIATE).state is OperationState.COMPLETED
    assert run(rt, OperationKind.REPAIR).state is OperationState.COMPLETED
    assert endpoints.orphans(rt) == ([], {"vim:old": error.message})
    with pytest.raises(type(error)):
        endpoints.remove(rt, EndpointKind.VIM, "old")
    endpoints.remove(rt, EndpointKind.VIM, "old", force=True)
    assert endpoints.orphans(rt) == ([], {})


def asked(rt: Runtime) -> int:
    """How often endpoints were asked what they can do."""
    return sum(calls.count for (_, verb), calls in rt.plugins.counters.snapshot().items() if verb == "capabilities")


def test_a_vim_is_added_though_others_are_away_and_a_host_is_in_one_of_them_alone(rt: Runtime) -> None:
    hurt(rt, Fault(verb="capabilities", error="Transient", times=0))
    with pytest.raises(UsageError, match="host host-1 is in VIM lab already"):
        endpoints.add(rt, EndpointKind.VIM, "two", driver="fake", config={})
    other, before = {"hosts": [{"name": "host-2"}]}, asked(rt)
    assert endpoints.add(rt, EndpointKind.VIM, "two", driver="fake", config=other).hosts[0].name == "host-2"
    assert asked(rt) - before == 1, "the new one alone"
    endpoints.remove(rt, EndpointKind.VIM, "two")
    endpoints.add(rt, EndpointKind.VIM, "three", driver="fake", config=other)


def test_who_watches_takes_over_when_the_worker_goes(rt: Runtime) -> None:
    """Two commands at once: the first is the worker, and ends before the second's operation does."""
    operation = ns.start(rt, ns.propose(rt, "demo", OperationKind.INSTANTIATE))
    ended: list[NsLcmOpOcc] = []
    with open(rt.home / "manor.db.lock", "a+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        watching = threading.Thread(target=lambda: ended.append(work.follow(rt, operation)), daemon=True)
        watching.start()
        watching.join(0.5)
        assert not ended
    watching.join(60.0)
    assert [operation.state for operation in ended] == [OperationState.COMPLETED]


@pytest.mark.slow
def test_a_vim_that_a_stopped_operation_uses_is_neither_emptied_nor_forgotten(rt: Runtime) -> None:
    stopped = held(rt)
    there = nodes(rt)
    assert there
    for kind, name in ((EndpointKind.VIM, "lab"), (EndpointKind.SDN, "net")):
        with pytest.raises(UsageError, match="used by demo"):
            endpoints.remove(rt, kind, name, force=True)
    assert nodes(rt) == there
    rt.operations.act(stopped.id, Trigger.RETRY)
    assert work.follow(rt, stopped.id).state is OperationState.COMPLETED


def test_a_package_that_a_stopped_operation_needs_is_not_deleted(rt: Runtime) -> None:
    held(rt)
    for vnfd_id in secure_web.VNFDS:
        with pytest.raises(UsageError, match="in use by demo"):
            delete_package(rt, f"pkg-{vnfd_id}")


@pytest.mark.slow
def test_a_service_is_not_forgotten_under_its_operation(rt: Runtime) -> None:
    stopped = held(rt)
    with pytest.raises(UsageError, match=stopped.id), rt.store.begin() as tx:
        instances.remove(tx, stopped.ns_id)
    assert work.follow(rt, rt.operations.act(stopped.id, Trigger.ROLLBACK).id).state is OperationState.ROLLED_BACK


def test_what_is_made_while_orphans_are_looked_for_is_none(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    vim = rt.vim("lab")
    look, begun = vim.observe, []

    def observe(query: Query, ctx: CallContext) -> object:
        if not begun:
            begun.append(query)
            run(rt, OperationKind.INSTANTIATE)
        return look(query, ctx)

    monkeypatch.setattr(vim, "observe", observe)
    assert endpoints.orphans(rt) == ([], {})
    assert begun


@pytest.mark.slow
def test_an_orphan_that_found_a_service_since_it_was_listed_stays(rt: Runtime) -> None:
    stopped = held(rt)
    hurt(rt, Fault(verb="remove", kind="node", action=Action.FAIL, error="Permanent", times=0))
    rt.operations.act(stopped.id, Trigger.FAIL)
    assert work.follow(rt, stopped.id).state is OperationState.FAILED
    listed, _ = endpoints.orphans(rt)
    assert listed
    unguarded(rt.vim("lab")).world.heal()  # type: ignore[attr-defined]
    assert run(rt, OperationKind.INSTANTIATE).state is OperationState.COMPLETED
    endpoints.remove_orphans(rt, listed)
    assert ns.propose(rt, "demo", OperationKind.REPAIR).plan.steps == ()


def test_a_controller_is_let_go_of_with_none_of_our_rules_left(rt: Runtime) -> None:
    run(rt, OperationKind.INSTANTIATE)
    with rt.store.begin() as tx:
        instances.remove(tx, instances.get(tx, "demo").id)
    sdn = unguarded(rt.sdn("net"))
    assert sdn.world.natives(rt.owner)  # type: ignore[attr-defined]
    assert endpoints.remove(rt, EndpointKind.SDN, "net") == ()
    assert sdn.world.natives(rt.owner) == ()  # type: ignore[attr-defined]


def test_what_has_lost_its_name_is_no_orphan_while_a_service_changes(rt: Runtime) -> None:
    stray = SegmentSpec(key="unknown/0x0000000000000005", owner=rt.owner, name="stray", ports=())
    sdn, ctx = rt.sdn("net"), CallContext.within(60)
    held(rt)
    sdn.apply(sdn.compile(stray, sdn.topology(ctx)), ctx)
    assert endpoints.orphans(rt) == ([], {})


def test_a_controller_that_cannot_say_whose_its_rules_are_is_told_of(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(rt, OperationKind.INSTANTIATE)
    stray = SegmentSpec(key="unknown/0x0000000000000005", owner=rt.owner, name="stray", ports=())
    sdn, ctx = rt.sdn("net"), CallContext.within(5)
    sdn.apply(sdn.compile(stray, sdn.topology(ctx)), ctx)
    listed, silent = endpoints.orphans(rt)
    assert ([one.observed.ref.key for one in listed], silent) == ([stray.key], {})
    look = sdn.observe

    def observe(query: Query, ctx: CallContext) -> object:
        if query.keys:
            raise Transient("it does not answer")
        return look(query, ctx)

    with monkeypatch.context() as patch:
        patch.setattr(sdn, "observe", observe)
        assert endpoints.orphans(rt) == ([], {"sdn:net": "it does not answer"})
        assert endpoints.remove_orphans(rt, listed) == (stray.key,)
    assert endpoints.remove_orphans(rt, listed) == ()
    assert endpoints.orphans(rt) == ([], {})


def test_a_leftover_of_a_link_that_lives_elsewhere_is_an_orphan(rt: Runtime) -> None:
    run(rt, OperationKind.INSTANTIATE)
    query = Query(owner=rt.owner, kinds=frozenset({ResourceKind.NETWORK}))
    (network,) = rt.vim("lab").observe(query, CallContext.within(5))
    key = f"{network.ref.key}-b"
    rt.vim("lab").ensure(
        NetworkSpec(key=key, owner=rt.owner, host=network.ref.host, name="lan", segment=""), CallContext.within(5)
    )
    found, _ = endpoints.orphans(rt)
    assert [orphan.observed.ref.key for orphan in found] == [key]
    assert endpoints.remove_orphans(rt, found) == ()
    assert endpoints.orphans(rt) == ([], {})


def test_a_second_one_of_what_runs_elsewhere_is_an_orphan(rt: Runtime) -> None:
    """As when a host comes back that was given up, after the service was made anew on another."""
    run(rt, OperationKind.INSTANTIATE)
    endpoints.add(rt, EndpointKind.VIM, "far", driver="fake", config={"hosts": [{"name": "host-9"}]})
    query = Query(owner=rt.owner, kinds=frozenset({ResourceKind.NETWORK}))
    (network,) = rt.vim("lab").observe(query, CallContext.within(5))
    twin = NetworkSpec(key=network.ref.key, owner=rt.owner, host="host-9", name="lan", segment="")
    rt.vim("far").ensure(twin, CallContext.within(5))
    found, _ = endpoints.orphans(rt)
    assert [(orphan.endpoint, orphan.observed.ref.key) for orphan in found] == [("vim:far", network.ref.key)]
    assert endpoints.remove_orphans(rt, found) == ()
    assert ns.propose(rt, "demo", OperationKind.REPAIR).plan.steps == ()


def test_a_vim_whose_driver_is_gone_can_be_forgotten_by_force(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    rt.disconnect(EndpointKind.VIM, "lab")

    def gone(_kind: str, _config: object, _environment: object) -> object:
        raise PluginError("no 'fake' among the vim drivers")

    monkeypatch.setattr(rt.plugins, "connect_vim", gone)
    assert endpoints.orphans(rt) == ([], {"vim:lab": "no 'fake' among the vim drivers"})
    with pytest.raises(PluginError):
        endpoints.remove(rt, EndpointKind.VIM, "lab")
    endpoints.remove(rt, EndpointKind.VIM, "lab", force=True)
    with pytest.raises(UsageError, match="no vim named lab"):
        rt.endpoint(EndpointKind.VIM, "lab")


@pytest.mark.slow
def test_an_endpoint_registered_anew_by_another_process_is_connected_anew(rt: Runtime) -> None:
    """As a `manor serve` finds it, which has long been connected, when a command replaces a VIM."""
    assert [host.name for host in rt.vim("lab").capabilities(CallContext.within(5)).hosts] == ["host-1"]
    with open_runtime(rt.home) as other:
        endpoints.remove(other, EndpointKind.VIM, "lab")
        endpoints.add(other, EndpointKind.VIM, "lab", driver="fake", config={"hosts": [{"name": "host-9"}]})
    time.sleep(FRESH_S)
    assert [host.name for host in rt.vim("lab").capabilities(CallContext.within(5)).hosts] == ["host-9"]
    with open_runtime(rt.home) as other:
        endpoints.remove(other, EndpointKind.VIM, "lab")
    time.sleep(FRESH_S)
    with pytest.raises(UsageError, match="no vim named lab"):
        rt.vim("lab")


def test_an_image_that_another_package_names_otherwise_is_the_same(rt: Runtime) -> None:
    plan = ns.propose(rt, "demo", OperationKind.INSTANTIATE).plan
    images = [spec_from_json(step.spec) for step in plan.steps if step.kind == ResourceKind.IMAGE and step.spec]
    for image in images:
        assert isinstance(image, ImageSpec)
        rt.vim("lab").ensure(replace(image, name=f"{image.name}, as others call it"), CallContext.within(5))
    again = ns.propose(rt, "demo", OperationKind.INSTANTIATE).plan
    assert images
    assert {image.key for image in images} <= set(again.unchanged)
