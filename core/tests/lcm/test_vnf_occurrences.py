"""What is told of each VNF while an operation on its service goes its way, and what that operation is to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import pytest
from matrix import NAME, SID, Prepared, Stage, staged
from sim_site import Doom, SimSite
from told import Told

from manor.api import Verb
from manor.cli import vnfoperations
from manor.fakes import Fault
from manor.lcm.states import Trigger
from manor.model.instance import CancelMode, NsLcmOpOcc, OperationState
from manor.model.notification import NotificationType
from manor.model.vnfoperation import VnfLcmOpOcc, occurrences
from manor.store import instances, operations, reading
from manor.store.reading import Page

BEGUN = ["STARTING", "PROCESSING"]
BACK = ["FAILED_TEMP", "ROLLING_BACK", "ROLLED_BACK"]
WEB_FAILS = Fault(verb="ensure", kind="node", key="*/web/*", times=0, error="Permanent")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def begin(stage: Stage, deed: str, *faults: Fault, hold: bool = False) -> tuple[SimSite, Prepared]:
    """The deed accepted and not begun."""
    prepared = stage.prepared(deed)
    site = stage.again(prepared, seed=1)
    site.world.inject(*faults)
    if hold:
        with site.rt.store.begin() as tx:
            operations.set_columns(tx, prepared.operation_id, on_failure="hold")
    return site, prepared


def told(site: SimSite, operation_id: str) -> dict[str, list[str]]:
    """The states that each VNF's operation was told to be in, by VNF; what is told must be possible."""
    notifications = site.told_after(0)
    Told(notifications)
    states: dict[str, list[str]] = {}
    for one in notifications:
        if one.type is NotificationType.VNF_LCM_OPERATION_OCCURRENCE:
            operation, _, vnf = one.body["vnfLcmOpOccId"].partition("/")
            if operation == operation_id:
                states.setdefault(vnf, []).append(one.body["operationState"])
    return states


def each(states: list[str], vnfs: Iterable[str] = ("client", "firewall", "web")) -> dict[str, list[str]]:
    return dict.fromkeys(vnfs, states)


def kept(site: SimSite, operation_id: str) -> dict[str, VnfLcmOpOcc]:
    """The occurrences as anybody reads them now, by VNF."""
    found = occurrences(site.operation(operation_id), site.steps(operation_id))
    return {one.id.partition("/")[2]: one for one in found}


def changed(one: VnfLcmOpOcc) -> dict[str, set[str]]:
    return {name: {change["changeType"] for change in what} for name, what in one.resource_changes.items()}


@pytest.mark.parametrize(
    ("deed", "is_to"),
    [
        ("instantiate", {"client": "INSTANTIATE", "firewall": "INSTANTIATE", "web": "INSTANTIATE"}),
        ("terminate", {"client": "TERMINATE", "firewall": "TERMINATE", "web": "TERMINATE"}),
        ("heal-vnfc", {"firewall": "HEAL"}),
        ("start", {"web": "OPERATE"}),
        ("scale-out", {"firewall-2": "INSTANTIATE"}),
        ("scale-in", {"firewall-2": "TERMINATE"}),
        ("scale-vnf-out", {"web": "SCALE"}),
        ("scale-vnf-to-level", {"web": "SCALE_TO_LEVEL"}),
        ("upgrade-shared", {"firewall": "CHANGE_VNFPKG", "firewall-2": "CHANGE_VNFPKG"}),
        ("blue-green", {"web": "CHANGE_VNFPKG"}),
        ("change-flavour", {"web": "CHANGE_FLAVOUR"}),
        ("change-ext-conn", {"firewall": "CHANGE_EXT_CONN"}),
        ("modify-information", {"web": "MODIFY_INFO"}),
        ("move", {"web": "MODIFY_INFO"}),
        ("remove-vnf", {"firewall": "TERMINATE"}),
        ("add-nested", {"north.web": "INSTANTIATE"}),
        ("snapshot", {"web": "CREATE_SNAPSHOT"}),
        ("revert", {"web": "REVERT_TO_SNAPSHOT"}),
        ("delete-snapshot", {}),
        ("chain-off", {}),
        ("repair-all", {"client": "HEAL", "firewall": "HEAL", "web": "HEAL"}),
    ],
)
def test_what_completes(stage: Stage, deed: str, is_to: dict[str, str]) -> None:
    site, prepared = begin(stage, deed)
    site.work()
    assert told(site, prepared.operation_id) == each([*BEGUN, "COMPLETED"], is_to)
    assert {vnf: one.operation for vnf, one in kept(site, prepared.operation_id).items()} == is_to


def test_what_an_instantiation_has_made(stage: Stage) -> None:
    site, prepared = begin(stage, "instantiate")
    waits = kept(site, prepared.operation_id)["web"]
    assert (waits.state, waits.resource_changes) == ("PROCESSING", {})
    site.work()
    web = kept(site, prepared.operation_id)["web"]
    assert (web.id, web.vnf_id) == (f"{prepared.operation_id}/web", f"{SID}/vnf/web")
    ids = {one.step.key: one.native_id for one in site.steps(prepared.operation_id) if one.step.verb is Verb.ENSURE}
    assert web.resource_changes["affectedVnfcs"] == [
        {
            "id": f"{SID}/vnf/web/main-0",
            "vduId": "main",
            "changeType": "ADDED",
            "computeResource": {"vimConnectionId": "lab", "resourceId": ids[f"{SID}/vnf/web/main-0"]},
        }
    ]
    assert changed(web).keys() == {"affectedVnfcs", "affectedVirtualStorages", "affectedExtLinkPorts"}


def test_who_stops_or_starts_keeps_his_links(stage: Stage) -> None:
    for deed in ("stop", "start"):
        site, prepared = begin(stage, deed)
        site.work()
        assert changed(kept(site, prepared.operation_id)["web"]) == {"affectedVnfcs": {"MODIFIED"}}


def test_what_fails_is_rolled_back_and_its_vnfs_were_never_there(stage: Stage) -> None:
    site, prepared = begin(stage, "instantiate", WEB_FAILS)
    site.work()
    assert told(site, prepared.operation_id) == each([*BEGUN, *BACK])
    assert not Told(site.told_after(0)).there
    assert not any(one.resource_changes for one in kept(site, prepared.operation_id).values())


def test_what_a_rollback_leaves_in_place_is_told(stage: Stage) -> None:
    site, prepared = begin(stage, "repair-disk", WEB_FAILS)
    site.work()
    assert site.operation(prepared.operation_id).state is OperationState.ROLLED_BACK
    assert f"{SID}/vnf/web/main-0/disk/data" in site.there(NAME)
    assert changed(kept(site, prepared.operation_id)["web"]) == {"affectedVirtualStorages": {"ADDED"}}


def test_each_vnf_is_told_its_own_error_first(stage: Stage) -> None:
    site, prepared = begin(stage, "instantiate", WEB_FAILS, hold=True)
    site.work()
    states = told(site, prepared.operation_id)
    assert states == each([*BEGUN, "FAILED_TEMP"])
    found = kept(site, prepared.operation_id)
    assert found["web"].error.startswith(f"ensure node {SID}/vnf/web/main-0 (vim:lab on host-1): ")
    assert found["client"].error == site.operation(prepared.operation_id).error == found["web"].error
    assert changed(found["web"]) == {"affectedVirtualStorages": {"ADDED"}}
    assert "affectedExtLinkPorts" in found["client"].resource_changes


@pytest.mark.parametrize(
    ("trigger", "then", "there"),
    [
        (Trigger.RETRY, ["PROCESSING", "COMPLETED"], {"client", "firewall", "web"}),
        (Trigger.ROLLBACK, ["ROLLING_BACK", "ROLLED_BACK"], set()),
        (Trigger.FAIL, ["FAILED"], set()),
    ],
)
def test_the_ways_out_of_what_is_held(stage: Stage, trigger: Trigger, then: list[str], there: set[str]) -> None:
    site, prepared = begin(stage, "instantiate", WEB_FAILS, hold=True)
    site.work()
    site.world.heal()
    site.rt.operations.act(prepared.operation_id, trigger)
    site.work()
    assert told(site, prepared.operation_id) == each([*BEGUN, "FAILED_TEMP", *then])
    assert Told(site.told_after(0)).there == {f"{SID}/vnf/{name}" for name in there}


def test_what_is_continued_is_completed_or_failed_vnf_by_vnf(stage: Stage) -> None:
    site, prepared = begin(
        stage, "upgrade-shared", Fault(verb="ensure", key="*/firewall-2/*", error="Permanent"), hold=True
    )
    site.work()
    site.rt.operations.act(prepared.operation_id, Trigger.CONTINUE)
    site.work()
    assert site.operation(prepared.operation_id).state is OperationState.PARTIALLY_COMPLETED
    begun = [*BEGUN, "FAILED_TEMP", "PROCESSING"]
    assert told(site, prepared.operation_id) == {
        "firewall": [*begun, "COMPLETED"],
        "firewall-2": [*begun, "FAILED"],
    }
    found = kept(site, prepared.operation_id)
    assert (found["firewall"].error, bool(found["firewall-2"].error)) == ("", True)


def test_a_cancel_waits_is_seen_to_wait_and_stops_each_vnf(stage: Stage) -> None:
    site, prepared = begin(stage, "instantiate")
    seen: list[VnfLcmOpOcc] = []

    def cancel() -> None:
        site.rt.operations.cancel(prepared.operation_id, CancelMode.GRACEFUL)
        seen.append(kept(site, prepared.operation_id)["web"])

    site.interrupt(3, cancel)
    site.work()
    assert [(one.is_cancel_pending, one.cancel_mode, one.state) for one in seen] == [(True, "GRACEFUL", "PROCESSING")]
    assert told(site, prepared.operation_id) == each([*BEGUN, "FAILED_TEMP"])
    after = kept(site, prepared.operation_id)["web"]
    assert (after.is_cancel_pending, after.cancel_mode) == (False, None)


@pytest.mark.parametrize("deed", ["instantiate", "scale-in"])
def test_who_dies_tells_nothing_twice(stage: Stage, deed: str) -> None:
    vnfs = kept(begin(stage, deed)[0], stage.prepared(deed).operation_id)
    for at in range(0, stage.prepared(deed).boundaries, 11):
        site, prepared = begin(stage, deed)
        site.survive(Doom(at))
        assert told(site, prepared.operation_id) == each([*BEGUN, "COMPLETED"], vnfs)


def test_a_queue_entry_that_is_mended_is_nothing_to_tell(stage: Stage) -> None:
    site, prepared = begin(stage, "heal-vnf")
    attempt = site.operation(prepared.operation_id).attempt
    assert site.rt.operations.dispatch_again(prepared.operation_id, attempt)
    assert told(site, prepared.operation_id) == {"web": BEGUN}


@pytest.mark.parametrize("deed", ["instantiate", "scale-out", "scale-in", "modify-information"])
@pytest.mark.parametrize("fails", [False, True])
def test_vnfs_of_what_an_older_release_began_come_and_go_once(stage: Stage, deed: str, fails: bool) -> None:
    site, prepared = begin(stage, deed, *([Fault(verb="ensure", kind="node", times=0, error="Permanent")] * fails))
    params = {name: value for name, value in site.operation(prepared.operation_id).params.items() if name != "vnfs"}
    since = site.told_after(0)[-1].seq
    with site.rt.store.begin() as tx:
        operations.set_columns(tx, prepared.operation_id, params=params)
        known = Told()
        known.there.update(instances.vnf_ids(tx, SID))
        known.states[prepared.operation_id] = OperationState.PROCESSING
    site.work()
    known.listen(site.told_after(since))
    with site.rt.store.read() as tx:
        assert known.there == set(instances.vnf_ids(tx, SID))


def test_an_operation_that_ends_while_it_is_listed_is_listed_as_it_was_at_one_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, _ = begin(stage, "instantiate")
    page = reading.operations(site.rt.store.url)

    def listed(*_: object, **__: object) -> Page[NsLcmOpOcc]:
        site.work()  # another process, between the list and the journal
        return page

    monkeypatch.setattr(reading, "operations", listed)
    session = SimpleNamespace(url=site.rt.store.url, runtime=site.rt)
    (web,) = vnfoperations._occurrences(session, SID, "web")  # type: ignore[arg-type]
    assert (web.state, bool(web.resource_changes)) == ("COMPLETED", True)
