"""A service's whole life on the fakes, as an operator sees it: plan, instantiate, drift, repair, terminate, delete."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import secure_web

from manor.api import CallContext, OperationKind, Phase, Query, ResourceKind, ResourceRef
from manor.errors import PlanRefused, UsageError
from manor.fakes import Action, Fault, When
from manor.lcm import endpoints, ns, views, work
from manor.lcm.runtime import Runtime, open_runtime
from manor.model.instance import (
    EndpointKind,
    NsState,
    OnFailure,
    OperationState,
    UsageState,
)
from manor.plugin import unguarded
from manor.store import instances, packages


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
        with work.working(runtime):
            yield runtime


def run(rt: Runtime, operation: OperationKind, **more: object) -> OperationState:
    return work.follow(rt, ns.start(rt, ns.propose(rt, "demo", operation), **more)).state  # type: ignore[arg-type]


def seen(rt: Runtime, *kinds: ResourceKind) -> list[str]:
    query = Query(owner=rt.owner, kinds=frozenset(kinds) or None)
    ctx = CallContext.within(5)
    found = [*rt.vim("lab").observe(query, ctx), *rt.sdn("net").observe(query, ctx)]
    return sorted(one.ref.key for one in found)


def state(rt: Runtime) -> NsState:
    with rt.store.read() as tx:
        return instances.get(tx, "demo").state


def test_the_whole_life_leaves_nothing_but_cached_images(rt: Runtime) -> None:
    assert run(rt, OperationKind.INSTANTIATE) is OperationState.COMPLETED
    assert state(rt) is NsState.INSTANTIATED
    picture = views.topology(rt, "demo")
    assert [vnfc.state for vnf in picture.vnfs for vnfc in vnf.vnfcs] == ["active"] * 4
    assert [hop.name for chain in picture.chains for hop in chain.hops] == ["firewall", "monitor"]
    assert run(rt, OperationKind.TERMINATE) is OperationState.COMPLETED
    assert all(key.startswith("image/") for key in seen(rt))
    assert ns.delete(rt, "demo") == ()
    found, silent = endpoints.orphans(rt)
    assert (found, silent) == ([], {})
    for kind, name in ((EndpointKind.VIM, "lab"), (EndpointKind.SDN, "net")):
        endpoints.remove(rt, kind, name)


def test_packages_are_in_use_while_a_service_is_made_of_them(rt: Runtime) -> None:
    def in_use() -> set[str]:
        with rt.store.read() as tx:
            return {info.name for info in packages.all_of(tx) if info.usage_state is UsageState.IN_USE}

    assert in_use() == {"secure-web"}
    run(rt, OperationKind.INSTANTIATE)
    assert in_use() == {"secure-web", *secure_web.VNFDS}
    run(rt, OperationKind.TERMINATE)
    ns.delete(rt, "demo")
    assert in_use() == set()


def test_what_was_killed_behind_our_back_is_drift_and_comes_back(rt: Runtime) -> None:
    run(rt, OperationKind.INSTANTIATE)
    assert ns.propose(rt, "demo", OperationKind.REPAIR).plan.steps == ()
    firewall = next(key for key in seen(rt, ResourceKind.NODE) if "firewall" in key)
    rt.vim("lab").remove(ResourceRef(kind=ResourceKind.NODE, key=firewall), CallContext.within(5))
    drift = ns.propose(rt, "demo", OperationKind.REPAIR).plan
    assert f"ensure node {firewall}" in [step.id for step in drift.steps]
    assert not any(step.id.startswith(("remove", "ensure node")) and step.key != firewall for step in drift.steps)
    assert run(rt, OperationKind.REPAIR) is OperationState.COMPLETED
    assert firewall in seen(rt, ResourceKind.NODE)
    assert ns.propose(rt, "demo", OperationKind.REPAIR).plan.steps == ()


def test_a_node_that_cannot_be_made_takes_everything_back(rt: Runtime) -> None:
    unguarded(rt.vim("lab")).world.inject(  # type: ignore[attr-defined]
        Fault(verb="ensure", kind="node", key="*/monitor/*", action=Action.FAIL, error="Permanent", times=0)
    )
    assert run(rt, OperationKind.INSTANTIATE) is OperationState.ROLLED_BACK
    assert state(rt) is NsState.NOT_INSTANTIATED
    assert all(key.startswith("image/") for key in seen(rt))
    ns.delete(rt, "demo")


def test_hold_keeps_what_is_there_for_a_look_and_forced_delete_clears_it(rt: Runtime) -> None:
    unguarded(rt.vim("lab")).world.inject(  # type: ignore[attr-defined]
        Fault(verb="ensure", kind="node", key="*/monitor/*", action=Action.FAIL, error="Permanent", times=0)
    )
    assert run(rt, OperationKind.INSTANTIATE, on_failure=OnFailure.HOLD) is OperationState.FAILED_TEMP
    assert seen(rt, ResourceKind.NODE)
    with pytest.raises(UsageError, match="FAILED_TEMP"):
        ns.delete(rt, "demo")
    assert ns.delete(rt, "demo", force=True) == ()
    assert all(key.startswith("image/") for key in seen(rt))


def test_a_plan_is_refused_once_the_world_has_changed(rt: Runtime) -> None:
    approved = ns.propose(rt, "demo", OperationKind.INSTANTIATE)
    spec = next(step.spec for step in approved.plan.steps if step.kind == ResourceKind.IMAGE)
    assert spec is not None
    from manor.api import spec_from_json

    rt.vim("lab").ensure(spec_from_json(spec), CallContext.within(5))  # type: ignore[arg-type]
    with pytest.raises(PlanRefused, match="changed since"):
        ns.confirm(rt, approved)


def test_an_operation_that_was_proposed_before_another_ran_is_refused(rt: Runtime) -> None:
    stale = ns.propose(rt, "demo", OperationKind.INSTANTIATE)
    run(rt, OperationKind.INSTANTIATE)
    run(rt, OperationKind.TERMINATE)
    with pytest.raises(PlanRefused, match="since the plan was made"):
        ns.start(rt, stale)


def test_a_vim_in_use_is_not_forgotten(rt: Runtime) -> None:
    run(rt, OperationKind.INSTANTIATE)
    with pytest.raises(UsageError, match="used by demo"):
        endpoints.remove(rt, EndpointKind.VIM, "lab")


def test_leftovers_of_ours_that_nobody_claims_are_orphans_and_foreign_ones_are_not(rt: Runtime) -> None:
    run(rt, OperationKind.INSTANTIATE)
    with rt.store.begin() as tx:
        instances.remove(tx, instances.get(tx, "demo").id)
    found, _ = endpoints.orphans(rt)
    assert {orphan.observed.ref.kind for orphan in found} == {
        ResourceKind.NODE,
        ResourceKind.NETWORK,
        ResourceKind.SEGMENT,
        ResourceKind.CHAIN,
    }
    assert endpoints.remove_orphans(rt, found) == ()
    assert endpoints.orphans(rt) == ([], {})


def test_states_are_shown_absent_and_empty_when_they_are(rt: Runtime) -> None:
    run(rt, OperationKind.INSTANTIATE)
    web = next(key for key in seen(rt, ResourceKind.NODE) if "/web/" in key)
    rt.vim("lab").remove(ResourceRef(kind=ResourceKind.NODE, key=web), CallContext.within(5))
    by_key = {vnfc.key: vnfc.state for vnf in views.topology(rt, "demo").vnfs for vnfc in vnf.vnfcs}
    assert by_key.pop(web) == "absent"
    assert set(by_key.values()) == {str(Phase.ACTIVE)}
    unguarded(rt.vim("lab")).world.inject(  # type: ignore[attr-defined]
        Fault(verb="observe", action=Action.FAIL, error="Transient", times=0)
    )
    assert {vnfc.state for vnf in views.topology(rt, "demo").vnfs for vnfc in vnf.vnfcs} == {""}


def test_terminate_when_a_removal_lies_about_failing_still_ends_clean(rt: Runtime) -> None:
    run(rt, OperationKind.INSTANTIATE)
    unguarded(rt.vim("lab")).world.inject(  # type: ignore[attr-defined]
        Fault(verb="remove", kind="node", action=Action.FAIL, when=When.AFTER, times=2)
    )
    assert run(rt, OperationKind.TERMINATE) is OperationState.COMPLETED
    assert seen(rt, ResourceKind.NODE) == []
