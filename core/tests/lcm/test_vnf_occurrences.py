"""What is told of each VNF while an operation on its service goes its way, and what that operation is to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

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
from manor.model.occurrence import document
from manor.model.vnfoperation import VnfLcmOpOcc, occurrences, recalled, vnfs_of
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
    operation, steps = site.operation(prepared.operation_id), site.steps(prepared.operation_id)
    older = dataclasses.replace(operation, params={"wishes": operation.params["wishes"]})
    assert vnfs_of(recalled(older, steps)) == is_to, "what an older release accepted is read off its steps"
    if deed in ("instantiate", "terminate"):
        oldest = [dataclasses.replace(one, step=dataclasses.replace(one.step, change="")) for one in steps]
        assert vnfs_of(recalled(older, oldest)) == is_to, "the first release did not say what became of a resource"


WEB, FIREWALL = f"{SID}/vnf/web", f"{SID}/vnf/firewall"
ONE = {"vnfSnapshotInfoId": "one"}
PROPERTIES = {"vnfInstanceName": "front", "vnfConfigurableProperties": {"greeting": "good day"}}
DMZ = {"extVirtualLinks": [{"id": f"{SID}/vl/dmz", "extCps": [{"cpdId": "in-nic"}]}]}
BY_STEP = {"aspectId": "workers", "numberOfSteps": 1}


def updated(kind: str, **data: Any) -> dict[str, Any]:
    return {"updateType": kind, **data}


def scaled(**data: Any) -> dict[str, Any]:
    return {"scaleType": "SCALE_VNF", "scaleVnfData": [{"vnfInstanceId": WEB, **data}]}


@pytest.mark.parametrize(
    ("deed", "of_vnf", "of_ns"),
    [
        ("terminate", {"terminationType": "GRACEFUL"}, {}),
        ("heal-vnfc", {"vnfcInstanceId": [f"{FIREWALL}/main-0"]}, {"healVnfData": [{"vnfInstanceId": FIREWALL}]}),
        ("repair-all", {}, {"healNsData": {"degreeHealing": "HEAL_RESTORE"}}),
        (
            "stop",
            {"changeStateTo": "STOPPED", "stopType": "GRACEFUL"},
            updated(
                "OPERATE_VNF",
                operateVnfData=[{"vnfInstanceId": WEB, "changeStateTo": "STOPPED", "stopType": "GRACEFUL"}],
            ),
        ),
        (
            "scale-in",
            {"terminationType": "GRACEFUL"},
            {"scaleType": "SCALE_NS", "scaleNsData": {"vnfInstanceToBeRemoved": [f"{FIREWALL}-2"]}},
        ),
        (
            "scale-vnf-out",
            {"type": "SCALE_OUT", **BY_STEP},
            scaled(scaleVnfType="SCALE_OUT", scaleByStepData=BY_STEP),
        ),
        (
            "scale-vnf-to-level",
            {"instantiationLevelId": "large"},
            scaled(scaleVnfType="SCALE_TO_INSTANTIATION_LEVEL", scaleToLevelData={"vnfInstantiationLevelId": "large"}),
        ),
        (
            "blue-green",
            {"vnfdId": "web-vnfd-2"},
            updated("CHANGE_VNFPKG", changeVnfPackageData=[{"vnfInstanceId": WEB, "vnfdId": "web-vnfd-2"}]),
        ),
        (
            "change-flavour",
            {"newFlavourId": "plus"},
            updated("CHANGE_VNF_DF", changeVnfFlavourData=[{"vnfInstanceId": WEB, "newFlavourId": "plus"}]),
        ),
        (
            "change-ext-conn",
            DMZ,
            updated(
                "CHANGE_EXTERNAL_VNF_CONNECTIVITY", changeExtVnfConnectivityData=[{"vnfInstanceId": FIREWALL, **DMZ}]
            ),
        ),
        (
            "modify-information",
            PROPERTIES,
            updated("MODIFY_VNF_INFORMATION", modifyVnfInfoData=[{"vnfInstanceId": WEB, **PROPERTIES}]),
        ),
        ("move", {}, updated("MOVE_VNF")),
        ("remove-vnf", {"terminationType": "GRACEFUL"}, updated("REMOVE_VNF", removeVnfInstanceId=[FIREWALL])),
        ("snapshot", ONE, updated("CREATE_VNF_SNAPSHOT", createSnapshotData={"vnfInstanceId": WEB, **ONE})),
        ("revert", ONE, updated("REVERT_VNF_TO_SNAPSHOT", revertVnfToSnapshotData={"vnfInstanceId": WEB, **ONE})),
        ("delete-snapshot", None, updated("DELETE_VNF_SNAPSHOT_INFO", deleteVnfSnapshotData=ONE)),
        ("chain-off", None, updated("REMOVE_VNFFG", removeVnffgId=["to-web"])),
    ],
)
def test_what_was_asked(stage: Stage, deed: str, of_vnf: dict[str, Any] | None, of_ns: dict[str, Any]) -> None:
    site, prepared = begin(stage, deed)
    operation = site.operation(prepared.operation_id)
    assert document(operation, ())["operationParams"] == of_ns
    assert [one.operation_params for one in occurrences(operation, ())][:1] == ([] if of_vnf is None else [of_vnf])


def test_a_vnf_that_comes_is_told_its_flavour_its_scale_and_its_links(stage: Stage) -> None:
    site, prepared = begin(stage, "instantiate")
    web = kept(site, prepared.operation_id)["web"].document()
    assert web["operationParams"] == {
        "flavourId": "default",
        "targetScaleLevelInfo": [{"aspectId": "workers", "scaleLevel": 0}],
        "extVirtualLinks": [{"id": f"{SID}/vl/lan", "extCps": [{"cpdId": "eth-nic"}]}],
    }


def test_what_else_changed_is_told_once_it_has(stage: Stage) -> None:
    for deed, vnf, name in (("modify-information", "web", "changedInfo"), ("snapshot", "web", "vnfSnapshotInfoId")):
        site, prepared = begin(stage, deed)
        assert ("changedInfo" in kept(site, prepared.operation_id)[vnf].document()) is False
        site.work()
        whole = kept(site, prepared.operation_id)[vnf].document()
        assert whole[name] == (PROPERTIES if name == "changedInfo" else "one")
    site, prepared = begin(stage, "change-ext-conn")
    site.work()
    lan, dmz = kept(site, prepared.operation_id)["firewall"].document()["changedExtConnectivity"]
    assert (lan["id"], "extLinkPorts" in lan, dmz["id"]) == (f"{SID}/vl/lan", False, f"{SID}/vl/dmz")
    assert [port["id"] for port in dmz["extLinkPorts"]] == [f"{FIREWALL}/main-0/in-nic"]
    site, prepared = begin(stage, "blue-green")
    site.work()
    assert kept(site, prepared.operation_id)["web"].document()["modificationsTriggeredByVnfPkgChange"] == {
        "vnfdId": "web-vnfd-2"
    }
    told_of = {one.type: one.body for one in site.told_after(0)}
    of_service = told_of[NotificationType.NS_LCM_OPERATION_OCCURRENCE]
    (of_web,) = of_service["affectedVnf"]
    assert (of_web["vnfdId"], of_web["vnfProfileId"], of_web["vnfName"]) == ("web-vnfd-2", "web", "web")
    assert of_web["changedInfo"] == {"modificationsTriggeredByVnfPkgChange": {"vnfdId": "web-vnfd-2"}}
    assert of_service["affectedVl"][0]["nsVirtualLinkDescId"] == "lan"


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("instantiate", [("affectedVnffg", "graph", "ADD")]),
        ("terminate", [("affectedVnffg", "graph", "DELETE")]),
        ("chain-off", [("affectedVnffg", "graph", "DELETE")]),
        ("update-vnffg", [("affectedVnffg", "dns", "MODIFY")]),
        ("new-nsd-version", [("affectedVnffg", "graph", "MODIFY")]),
        ("remove-vnffg", [("affectedVnffg", "graph", "DELETE")]),
        ("add-sap", [("affectedSap", "wan", "ADD")]),
        ("remove-sap", [("affectedSap", "wan", "REMOVE")]),
    ],
)
def test_graphs_and_saps_are_told_by_their_descriptors(
    stage: Stage, deed: str, told: list[tuple[str, str, str]]
) -> None:
    site, prepared = begin(stage, deed)
    site.work()
    of_service = [one for one in site.told_after(0) if "nsLcmOpOccId" in one.body][-1].body
    id_names = {"affectedVnffg": "vnffgdId", "affectedSap": "sapdId"}
    found = [
        (name, one[id_name], one["changeType"])
        for name, id_name in id_names.items()
        for one in of_service.get(name, ())
    ]
    assert found == told
    assert document(site.operation(prepared.operation_id), site.steps(prepared.operation_id))["resourceChanges"]
    for one in of_service.get("affectedVl", ()):
        assert one["nsVirtualLinkDescId"] == one["vlProfileId"] == one["nsVirtualLinkInstanceId"].rpartition("/")[2]


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
    error = found["web"].document()["error"]
    assert (error["status"], error["title"], error["detail"]) == (500, "Permanent", found["web"].error)
    assert error["hint"] == "mend the cause, then retry, or roll back"
    of_service = site.told_after(0)[-1].body
    assert (of_service["operationState"], of_service["error"]) == ("FAILED_TEMP", error)
    # As ETSI has it: what stopped it is told until it rests again, of each that is tried again.
    site.rt.operations.act(prepared.operation_id, Trigger.RETRY)
    again = kept(site, prepared.operation_id)
    assert {(one.state, one.error) for one in again.values()} == {("PROCESSING", found["web"].error)}
    site.world.heal()
    site.work()
    assert not any("error" in one.document() for one in kept(site, prepared.operation_id).values())
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


def test_a_snapshot_that_is_continued_past_a_machine_of_it_is_not_whole(stage: Stage) -> None:
    fails = Fault(verb="ensure", kind="snapshot", key="*/web/main-1", error="Permanent")
    site, prepared = begin(stage, "snapshot", fails, hold=True)
    site.work()
    site.rt.operations.act(prepared.operation_id, Trigger.CONTINUE)
    site.work()
    assert site.operation(prepared.operation_id).state is OperationState.PARTIALLY_COMPLETED
    assert told(site, prepared.operation_id) == {"web": [*BEGUN, "FAILED_TEMP", "PROCESSING", "FAILED"]}
    web = kept(site, prepared.operation_id)["web"]
    assert web.error.startswith(f"ensure snapshot {SID}/snapshot/one/web/main-1 (vim:lab on host-1): ")
    assert web.resource_changes == {}


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
