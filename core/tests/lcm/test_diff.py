"""From desired and observed to a plan: what is made, changed, replaced, repaired, removed, proven, in what order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lcm_world import SID, nothing, service

from manor.api import Observed, OperationKind, Phase, Plan, PowerState, ResourceKind, ResourceRef, Undo, Verb, spec_hash
from manor.errors import PlanRefused, UsageError
from manor.lcm.diff import diff
from manor.lcm.plans import plan_digest, plan_from_json, plan_to_json, require_same
from manor.model.desired import DesiredState, desired_from_json, desired_to_json

NODE, LINK = f"{SID}/vnf/v0/main-0", f"{SID}/vl/lan"
VOLUME, NETWORK, IMAGE = f"{NODE}/disk", f"{LINK}@host-1", "image/abc@host-1"


def as_made(state: DesiredState, **phases: Phase) -> dict[str, Observed]:
    """The world as it is when all of ``state`` was made."""
    return {
        resource.spec.key: Observed(
            ref=ResourceRef(
                kind=resource.spec.kind, key=resource.spec.key, host=str(getattr(resource.spec, "host", ""))
            ),
            owner=resource.spec.owner,
            native_id="n",
            phase=phases.get(resource.spec.kind, Phase.ACTIVE),
            spec_hash=spec_hash(resource.spec),
        )
        for resource in state.resources
    }


def changed(state: DesiredState, key: str, **fields: object) -> DesiredState:
    """The state with one resource's spec changed."""
    resources = tuple(
        dataclasses.replace(resource, spec=dataclasses.replace(resource.spec, **fields))  # type: ignore[arg-type]
        if resource.spec.key == key
        else resource
        for resource in state.resources
    )
    return dataclasses.replace(state, resources=resources)


def by_id(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {step.id: step.depends_on for step in plan.steps}


@pytest.mark.parametrize("kind", [ResourceKind.IMAGE, ResourceKind.NODE])
def test_what_stopped_halfway_is_ensured_again(kind: ResourceKind) -> None:
    plan = diff(service(), as_made(service(), **{kind: Phase.PENDING}), service(), OperationKind.REPAIR)
    assert [(step.kind, step.undo) for step in plan.steps if step.verb is Verb.ENSURE] == [(kind, Undo.NONE)]


@pytest.mark.parametrize("phase", [None, Phase.ERROR])
def test_a_machine_is_made_anew_with_a_disk_whose_file_is_gone(phase: Phase | None) -> None:
    seen = as_made(service())
    gone = seen.pop(VOLUME)
    if phase:
        seen[VOLUME] = dataclasses.replace(gone, phase=phase)
    steps = by_id(diff(service(), seen, service(), OperationKind.REPAIR))
    assert f"remove node {NODE}" in steps, "what it writes to the old one is lost, and it would never see the new one"
    assert set(steps[f"ensure node {NODE}"]) == {f"ensure volume {VOLUME}", f"remove node {NODE}"}
    without = dataclasses.replace(service(), resources=tuple(r for r in service().resources if r.spec.key != VOLUME))
    added = by_id(diff(service(), as_made(without), without, OperationKind.UPDATE))
    assert f"ensure volume {VOLUME}" in added
    assert f"remove node {NODE}" not in added, "a disk that it never had has not vanished"


@pytest.mark.parametrize("phase", [None, Phase.ERROR])
@pytest.mark.parametrize("images", [("image/abc@host-1", "image/new@host-1"), ("", "image/new@host-1"), ("", "")])
def test_a_vanished_disk_of_another_spec_is_given_back_as_it_was(phase: Phase | None, images: tuple[str, str]) -> None:
    before, after = (changed(service(), VOLUME, image=image) for image in images)
    after = changed(after, VOLUME, size_bytes=5)
    seen = as_made(before)
    gone = seen.pop(VOLUME)
    if phase:
        seen[VOLUME] = dataclasses.replace(gone, phase=phase)
    fixed = {"vim:lab": frozenset({"volume.image", "volume.size_bytes"})}
    plan = diff(after, seen, before, OperationKind.UPDATE, replace_on=fixed)
    steps = {step.id: step for step in plan.steps if step.kind in ("volume", "node") and step.verb is not Verb.VERIFY}
    goes = steps[f"remove volume {VOLUME}"]
    assert list(steps) == [f"remove node {NODE}", goes.id, f"ensure volume {VOLUME}", f"ensure node {NODE}"]
    assert (goes.undo, goes.before and goes.before["image"]) == (Undo.RESTORE, images[0]), (
        "what it held was lost before"
    )
    assert steps[f"ensure volume {VOLUME}"].undo is Undo.REMOVE, "or the old machine would come back on the new disk"


def test_instantiate_makes_all_in_order_and_proves_it() -> None:
    steps = by_id(diff(service(), {}, None, OperationKind.INSTANTIATE))
    assert steps == {
        f"ensure image {IMAGE}": (),
        f"ensure network {NETWORK}": (),
        f"ensure volume {VOLUME}": (f"ensure image {IMAGE}",),
        f"ensure segment {LINK}": (f"ensure network {NETWORK}",),
        f"ensure node {NODE}": (
            f"ensure image {IMAGE}",
            f"ensure volume {VOLUME}",
            f"ensure network {NETWORK}",
            f"ensure segment {LINK}",
        ),
        f"verify node {NODE}": (f"ensure node {NODE}",),
        f"verify vnf {SID}/vnf/v0": (f"verify node {NODE}",),
        f"verify segment {LINK}/live": (f"ensure segment {LINK}", f"verify node {NODE}"),
    }


def test_what_is_there_stays_and_instantiate_still_proves_it() -> None:
    whole = service()
    plan = diff(whole, as_made(whole), whole, OperationKind.INSTANTIATE)
    assert {step.verb for step in plan.steps} == {Verb.VERIFY}
    assert set(plan.unchanged) == {resource.spec.key for resource in whole.resources}
    assert diff(whole, as_made(whole), whole, OperationKind.REPAIR).steps == ()


def test_terminate_goes_the_other_way_and_leaves_what_is_shared() -> None:
    whole = service()
    plan = diff(nothing(), as_made(whole), whole, OperationKind.TERMINATE)
    assert by_id(plan) == {
        f"remove node {NODE}": (),
        f"remove volume {VOLUME}": (f"remove node {NODE}", f"remove network {NETWORK}"),
        f"remove segment {LINK}": (f"remove node {NODE}",),
        f"remove network {NETWORK}": (f"remove segment {LINK}", f"remove node {NODE}"),
    }
    disk, *others = sorted(plan.steps, key=lambda step: step.kind != "volume")
    assert disk.undo is Undo.IMPOSSIBLE, "its data would not come back"
    assert all(step.undo is Undo.RESTORE and step.before for step in others)


def test_terminate_removes_what_was_meant_even_where_it_is_not_seen() -> None:
    plan = diff(nothing(), {}, service(), OperationKind.TERMINATE)
    assert len(plan.steps) == 4
    assert all("already gone" in step.summary and step.undo is Undo.NONE for step in plan.steps)


@pytest.mark.parametrize("phase", [Phase.ERROR, Phase.STOPPED, Phase.DEGRADED, Phase.UNKNOWN])
def test_what_is_broken_is_ensured_and_proven_again(phase: Phase) -> None:
    whole = service()
    plan = diff(whole, as_made(whole, node=phase), whole, OperationKind.REPAIR)
    ids = [step.id for step in plan.steps]
    assert ids[0] == f"ensure node {NODE}"
    assert set(ids[1:]) == {f"verify node {NODE}", f"verify vnf {SID}/vnf/v0", f"verify segment {LINK}/live"}
    assert plan.steps[0].undo is Undo.NONE


def test_a_stopped_node_that_should_be_stopped_is_left_alone() -> None:
    stopped = changed(service(), NODE, power=PowerState.STOPPED)
    assert diff(stopped, as_made(stopped, node=Phase.STOPPED), stopped, OperationKind.REPAIR).steps == ()


def test_a_changed_spec_is_changed_in_place_and_can_be_given_back() -> None:
    before, after = service(), service(memory=2 << 20)
    plan = diff(after, as_made(before), before, OperationKind.UPDATE)
    step = plan.steps[0]
    assert (step.id, step.undo) == (f"ensure node {NODE}", Undo.RESTORE)
    assert step.before is not None
    assert step.before["memory_bytes"] == 1 << 20


def test_what_cannot_change_in_place_is_replaced_with_all_that_stands_on_it() -> None:
    before = service()
    after = changed(before, VOLUME, size_bytes=5)
    fixed = {"vim:lab": frozenset({"volume.size_bytes"})}
    steps = by_id(diff(after, as_made(before), before, OperationKind.UPDATE, replace_on=fixed))
    assert steps[f"remove node {NODE}"] == ()
    assert steps[f"remove volume {VOLUME}"] == (f"remove node {NODE}",)
    assert steps[f"ensure volume {VOLUME}"] == (f"remove volume {VOLUME}",)
    assert set(steps[f"ensure node {NODE}"]) == {f"ensure volume {VOLUME}", f"remove node {NODE}"}


def test_what_is_to_be_on_another_host_is_replaced() -> None:
    before = service()
    after = changed(before, NODE, host="host-2")
    plan = diff(after, as_made(before), before, OperationKind.HEAL)
    hosts = {step.id: step.host for step in plan.steps if step.kind == ResourceKind.NODE}
    assert hosts[f"remove node {NODE}"] == "host-1"
    assert hosts[f"ensure node {NODE}"] == "host-2"


def test_scaling_in_breaks_the_old_only_after_the_rest_stopped_using_it() -> None:
    three, one = service(nodes=2), service(nodes=1)
    steps = by_id(diff(one, as_made(three), three, OperationKind.SCALE))
    gone = f"{SID}/vnf/v1/main-0"
    assert f"ensure segment {LINK}" in steps
    assert steps[f"remove volume {gone}/disk"][0] == f"remove node {gone}"
    assert f"verify segment {LINK}/live" in steps[f"remove volume {gone}/disk"], "disks go last"
    assert f"verify vnf {SID}/vnf/v1" not in steps


def test_leftovers_that_nobody_claims_are_removed() -> None:
    whole = service()
    world = as_made(service(nodes=2))
    left = f"{SID}/vnf/v1/main-0"
    plan = diff(nothing(), world, whole, OperationKind.TERMINATE, found_at={left: "vim:lab"})
    step = next(step for step in plan.steps if step.key == left)
    assert (step.verb, step.endpoint, step.undo) == (Verb.REMOVE, "vim:lab", Undo.NONE)


def test_leftovers_of_which_nothing_else_is_known_go_after_what_may_stand_on_them() -> None:
    whole = service(nodes=3, chain=True)
    world = as_made(whole)
    found = {r.spec.key: r.endpoint for r in whole.resources if not r.shared}
    order = [step.key for step in diff(nothing(), world, None, OperationKind.TERMINATE, found_at=found).steps]
    for resource in whole.resources:
        assert all(order.index(resource.spec.key) < order.index(name) for name in resource.depends_on if name in found)


def test_a_circle_is_refused_by_name() -> None:
    whole = service()
    first = dataclasses.replace(whole.resources[1], depends_on=(LINK,))
    circle = dataclasses.replace(whole, resources=(whole.resources[0], first, *whole.resources[2:]))
    with pytest.raises(PlanRefused, match="depends on itself"):
        diff(circle, {}, None, OperationKind.INSTANTIATE)


@given(
    st.integers(0, 3),
    st.integers(1, 3),
    st.dictionaries(st.integers(0, 20), st.sampled_from([None, *Phase]), max_size=8),
)
def test_plans_are_deterministic_ordered_and_whole(old: int, new: int, damage: Mapping[int, Phase | None]) -> None:
    before = service(nodes=old) if old else None
    after = service(nodes=new, chain=new == 3)
    world = as_made(before) if before else {}
    for index, (key, seen) in enumerate(list(world.items())):
        if index in damage:
            phase = damage[index]
            if phase is None:
                del world[key]
            else:
                world[key] = dataclasses.replace(seen, phase=phase)
    plan = diff(after, world, before, OperationKind.UPDATE)
    assert plan == diff(after, dict(reversed(world.items())), before, OperationKind.UPDATE)
    seen_ids: set[str] = set()
    for step in plan.steps:
        assert step.id not in seen_ids
        assert set(step.depends_on) <= seen_ids
        seen_ids.add(step.id)
    ensured = {step.key for step in plan.steps if step.verb is Verb.ENSURE}
    good = {key for key, seen in world.items() if seen.phase is Phase.ACTIVE}
    assert {resource.spec.key for resource in after.resources} <= ensured | good
    assert plan_from_json(plan_to_json(plan)) == plan


def test_a_plan_is_approved_by_its_digest_and_refused_by_step_when_the_world_moves() -> None:
    whole = service()
    approved = diff(whole, {}, None, OperationKind.INSTANTIATE)
    require_same(approved, diff(whole, {}, None, OperationKind.INSTANTIATE))
    world = {key: seen for key, seen in as_made(whole).items() if key == NETWORK}
    with pytest.raises(PlanRefused) as refused:
        require_same(approved, diff(whole, world, None, OperationKind.INSTANTIATE))
    messages = [finding.message for finding in refused.value.findings]
    assert f"no longer needed: ensure network {NETWORK}" in messages
    assert any(message.startswith("different now: ensure segment") for message in messages)
    assert plan_digest(approved) != plan_digest(diff(service(memory=5), {}, None, OperationKind.INSTANTIATE))


def test_a_saved_plan_that_was_touched_is_refused() -> None:
    saved = plan_to_json(diff(service(), {}, None, OperationKind.INSTANTIATE))
    saved["steps"][0]["host"] = "elsewhere"
    with pytest.raises(UsageError, match="changed after it was made"):
        plan_from_json(saved)
    for wrong in ({}, {"steps": 3}, {**saved, "operation": "EXPLODE"}):
        with pytest.raises(UsageError, match="not a saved plan"):
            plan_from_json(wrong)


def test_desired_state_survives_json() -> None:
    whole = service(nodes=3, chain=True)
    assert desired_from_json(desired_to_json(whole)) == whole
