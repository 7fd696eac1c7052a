"""Notifications of operations, in the words of SOL005 §6.5.2.5, §6.5.3.2 and §8.5.2, and of SOL003 §5.5.2.17."""

from typing import Any

import pytest

from manor.api.plan import OperationKind, Step, Undo, Verb
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType, PerceivedSeverity
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState
from manor.model.notification import alarm_changed
from manor.model.occurrence import accepted, passed
from manor.model.vnfoperation import VNF_OPERATIONS, VnfOperation, VnfOperationState, concerned, occurrences

SID = "0a0b0c0d"
WEB = f"{SID}/vnf/web"
N, V = OperationState, VnfOperationState


def operation(kind: str = "UPDATE", state: N = N.COMPLETED, **params: Any) -> NsLcmOpOcc:
    return NsLcmOpOcc(
        id="op1", ns_id=SID, ns_name="demo", operation=OperationKind(kind), state=state, error="it broke", params=params
    )


def done(
    key: str, change: str = "create", *, kind: str = "node", state: StepState = StepState.DONE, **rest: Any
) -> StepRecord:
    verb = {"remove": Verb.REMOVE, "leave": Verb.REMOVE, "check": Verb.VERIFY}.get(change, Verb.ENSURE)
    native_id, error = rest.pop("native_id", ""), rest.pop("error", "")
    step = Step(id=f"{verb} {kind} {key}", verb=verb, kind=kind, key=key, endpoint="vim:lab", change=change, **rest)
    attempt = int(error != "" or state not in (StepState.PLANNED, StepState.SKIPPED))
    return StepRecord(step=step, state=state, attempt=attempt, native_id=native_id, error=error)


def of_ns(told: NsLcmOpOcc, *records: StepRecord) -> dict[str, Any]:
    return dict(passed(told, records)[-1].body)


@pytest.mark.parametrize(
    ("kind", "named", "had", "change", "is_to_vnf", "told_as", "change_type"),
    [
        ("INSTANTIATE", "", False, "create", "INSTANTIATE", "INSTANTIATE", "INSTANTIATE"),
        ("TERMINATE", "", True, "remove", "TERMINATE", "TERMINATE", "TERMINATE"),
        ("SCALE", "scale", True, "create", "SCALE", "SCALE", "SCALE"),
        ("SCALE", "scale_to_level", True, "create", "SCALE_TO_LEVEL", "SCALE", "SCALE"),
        ("SCALE", "", False, "create", "INSTANTIATE", "SCALE", "INSTANTIATE"),
        ("HEAL", "", True, "replace", "HEAL", "HEAL", "HEAL"),
        ("REPAIR", "", True, "repair", "HEAL", "HEAL", "HEAL"),
        ("OPERATE", "operate", True, "update", "OPERATE", "UPDATE", "OPERATE"),
        ("UPDATE INSTANTIATE_VNF", "", False, "create", "INSTANTIATE", "UPDATE", "INSTANTIATE"),
        ("UPDATE ADD_VNF", "", False, "create", "INSTANTIATE", "UPDATE", "ADD"),
        ("UPDATE REMOVE_VNF", "", True, "remove", "TERMINATE", "UPDATE", "REMOVE"),
        ("UPDATE", "change_flavour", True, "replace", "CHANGE_FLAVOUR", "UPDATE", "CHANGE_FLAVOUR"),
        (
            "UPDATE",
            "change_external_connectivity",
            True,
            "update",
            "CHANGE_EXT_CONN",
            "UPDATE",
            "CHANGE_EXTERNAL_VNF_CONNECTIVITY",
        ),
        ("UPDATE", "change_current_package", True, "replace", "CHANGE_VNFPKG", "UPDATE", "CHANGE_VNFPKG"),
        ("UPDATE", "modify_information", True, "", "MODIFY_INFO", "UPDATE", "MODIFY_INFORMATION"),
        ("UPDATE", "create_snapshot", True, "", "CREATE_SNAPSHOT", "UPDATE", "MODIFY_INFORMATION"),
        ("UPDATE", "revert_to_snapshot", True, "replace", "REVERT_TO_SNAPSHOT", "UPDATE", "MODIFY_INFORMATION"),
        ("UPDATE MOVE_VNF", "", True, "replace", "MODIFY_INFO", "UPDATE", "MODIFY_INFORMATION"),
    ],
)
def test_what_an_operation_is_to_a_vnf(
    kind: str, named: str, had: bool, change: str, is_to_vnf: str, told_as: str, change_type: str
) -> None:
    kind, _, update_type = kind.partition(" ")
    records = [done(f"{WEB}/main-0", change, before={})] if change else []
    after = [] if change == "remove" else ["web"]
    steps = [record.step for record in records]
    vnfs = concerned(
        OperationKind(kind), steps, {"web": named}, before=["other", *(["web"] * had)], after=["other", *after]
    )
    assert vnfs == {"web": is_to_vnf}
    of_vnf, of_service = passed(operation(kind, vnfs=vnfs, updateType=update_type), records)
    assert (of_vnf.body["operation"], of_vnf.body["vnfLcmOpOccId"]) == (is_to_vnf, "op1/web")
    assert of_service.body["operation"] == told_as
    assert of_service.body["affectedVnf"] == [
        {"vnfInstanceId": WEB, "vnfName": "web", "changeType": change_type, "changeResult": "COMPLETED"}
    ]


def test_what_is_only_looked_at_or_cleared_away_is_not_affected() -> None:
    looked_at = done(WEB, "check", kind="vnf")
    left_over = done(f"{WEB}/main-7", "remove")
    long_gone = done(f"{SID}/vnf/gone/main-0", "remove", before={})
    steps = [record.step for record in (looked_at, left_over, long_gone)]
    assert concerned(OperationKind.HEAL, steps, {}, before=["web"], after=["web"]) == {}
    assert not [name for name in of_ns(operation(), looked_at, left_over, long_gone) if name.startswith("affected")]


@pytest.mark.parametrize(
    ("now", "before", "change"),
    [({"vlan": 7}, None, "ADD"), (None, {"vlan": 7}, "REMOVE"), ({"vlan": 8}, {}, "MODIFY")],
)
def test_what_became_of_a_sap(now: dict[str, Any] | None, before: dict[str, Any] | None, change: str) -> None:
    inside = {"key": f"{WEB}/main-0/eth0", "device": "m1"}

    def link(sap: dict[str, Any] | None) -> dict[str, Any]:
        outside = [] if sap is None else [{"key": f"{SID}/sap/office", "device": "o1", **sap}]
        return {"kind": "segment", "ports": [inside, *outside, {"key": f"{SID}/sap/lab", "device": "l1"}]}

    record = done(f"{SID}/vl/lan", "update", kind="segment", spec=link(now), before=link(before))
    assert of_ns(operation(), record)["affectedSap"] == [
        {"sapInstanceId": f"{SID}/sap/office", "sapName": "office", "changeType": change, "changeResult": "COMPLETED"}
    ]


def changes(*records: StepRecord) -> dict[str, Any]:
    """What became of web's resources, without how each is found."""
    (web,) = occurrences(operation(vnfs={"web": VnfOperation.HEAL}), records)
    return {name: [(one["id"], one["changeType"]) for one in found] for name, found in web.resource_changes.items()}


DONE, SKIPPED, UNDONE = StepState.DONE, StepState.SKIPPED, StepState.UNDONE
NEW = {"kind": "segment", "ports": [{"key": f"{SID}/sap/office", "device": "o1"}]}


@pytest.mark.parametrize(
    ("state", "records", "told"),
    [
        (N.PARTIALLY_COMPLETED, [("vl/lan@kvm1", "create", DONE), ("vl/lan", "create", DONE)], "ADD COMPLETED"),
        (N.PARTIALLY_COMPLETED, [("vl/lan@kvm1", "create", DONE), ("vl/lan", "create", SKIPPED)], "ADD FAILED"),
        (N.PARTIALLY_COMPLETED, [("vl/lan@kvm1", "create", SKIPPED), ("vl/lan", "create", SKIPPED)], ""),
        (N.PARTIALLY_COMPLETED, [("vl/lan@kvm1", "leave", SKIPPED), ("vl/lan", "remove", DONE)], "DELETE FAILED"),
        (N.PARTIALLY_COMPLETED, [("vl/lan@kvm1", "leave", SKIPPED), ("vl/lan", "update", DONE)], "MODIFY COMPLETED"),
        (N.PARTIALLY_COMPLETED, [("chain/web", "create", DONE), ("chain/web", "check", SKIPPED)], "ADD FAILED"),
        (N.COMPLETED, [("chain/web", "check", DONE)], ""),
        (N.FAILED_TEMP, [("chain/web", "update", DONE), ("chain/web", "check", DONE)], "MODIFY COMPLETED"),
        (N.FAILED_TEMP, [("chain/web", "update", StepState.FAILED), ("chain/web", "check", SKIPPED)], "MODIFY FAILED"),
        (N.ROLLED_BACK, [("vl/lan@kvm1", "create", UNDONE), ("vl/lan", "create", SKIPPED)], "ADD ROLLED_BACK"),
        (N.ROLLED_BACK, [("chain/web", "repair", UNDONE), ("chain/web", "check", UNDONE)], "MODIFY COMPLETED"),
    ],
)
def test_a_link_or_chain_has_its_own_result(state: N, records: list[tuple[str, str, StepState]], told: str) -> None:
    undo = {"create": Undo.REMOVE}
    rows = [
        done(f"{SID}/{key}", change, state=became, before={}, undo=undo.get(change, Undo.NONE))
        for key, change, became in records
    ]
    affected = [
        one for name in ("affectedVl", "affectedVnffg") for one in of_ns(operation(state=state), *rows).get(name, ())
    ]
    assert [f"{one['changeType']} {one['changeResult']}" for one in affected] == ([told] if told else [])


def test_a_sap_is_affected_once_its_link_is() -> None:
    waits, broken = (
        done(f"{SID}/vl/lan", kind="segment", spec=NEW, state=SKIPPED, error=error) for error in ("", "no switch")
    )
    part = operation(state=N.PARTIALLY_COMPLETED)
    assert "affectedSap" not in of_ns(part, waits)
    assert [one["changeResult"] for one in of_ns(part, broken)["affectedSap"]] == ["FAILED"]


ELEMENTS = {
    **{f"{SID}/chain/{path}": {"vnffgInstanceId": f"{SID}/vnffg/dns", "vnffgdId": "dns"} for path in ("udp", "tcp")},
    f"{SID}/chain/web": {"vnffgInstanceId": f"{SID}/vnffg/web", "vnffgdId": "web"},
    f"{SID}/sap/office": {"sapdId": "Office 1"},
    f"{SID}/vl/lan": {"nsVirtualLinkDescId": "lan", "vlProfileId": "lan-profile"},
}


def described(*records: StepRecord) -> dict[str, Any]:
    """What is told of what is done to a service whose elements were written down."""
    return of_ns(operation(asked={"operationParams": {}, "vnfs": {}, "elements": ELEMENTS}), *records)


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        ({"udp": "create", "tcp": "create"}, "ADD COMPLETED"),
        ({"udp": "remove", "tcp": "remove"}, "DELETE COMPLETED"),
        ({"udp": "create"}, "MODIFY COMPLETED"),
        ({"udp": "remove", "tcp": "check"}, "MODIFY COMPLETED"),
        ({"udp": "remove", "tcp": "create"}, "MODIFY COMPLETED"),
        ({"udp": "check", "tcp": "check"}, ""),
    ],
)
def test_a_graph_is_told_once_whatever_its_paths(paths: dict[str, str], told: str) -> None:
    """It comes or goes with all of its paths; with some of them it is another."""
    records = [done(f"{SID}/chain/{path}", change, kind="chain", before={}) for path, change in paths.items()]
    change, _, result = told.partition(" ")
    dns = {"vnffgInstanceId": f"{SID}/vnffg/dns", "vnffgdId": "dns", "changeType": change, "changeResult": result}
    assert described(*records).get("affectedVnffg", []) == ([dns] if told else [])


def test_each_graph_has_its_own_result() -> None:
    made = [done(f"{SID}/chain/{path}", kind="chain") for path in ("udp", "web")]
    broken = done(f"{SID}/chain/tcp", kind="chain", state=StepState.FAILED)
    graphs = [(one["vnffgdId"], one["changeResult"]) for one in described(*made, broken)["affectedVnffg"]]
    assert graphs == [("dns", "FAILED"), ("web", "COMPLETED")]


def test_links_and_saps_are_told_by_their_descriptors() -> None:
    found = described(done(f"{SID}/vl/lan", kind="segment", spec={**NEW, "name": "lan"}))
    assert found["affectedSap"] == [
        {
            "sapInstanceId": f"{SID}/sap/office",
            "sapdId": "Office 1",
            "sapName": "office",
            "changeType": "ADD",
            "changeResult": "COMPLETED",
        }
    ]
    (link,) = found["affectedVl"]
    assert (link["nsVirtualLinkDescId"], link["vlProfileId"]) == ("lan", "lan-profile")


def test_what_an_older_release_accepted_is_told_by_its_paths() -> None:
    told = of_ns(operation(), *(done(f"{SID}/chain/{path}", kind="chain") for path in ("udp", "tcp")))["affectedVnffg"]
    assert [one["vnffgInstanceId"] for one in told] == [f"{SID}/chain/udp", f"{SID}/chain/tcp"]


def machine(*ports: str) -> dict[str, Any]:
    """With its ports by number, as on ``lan``, and one inside the VNF."""
    on = [("inner", f"{WEB}/vl/inner"), *((port, f"{SID}/vl/lan") for port in ports)]
    found = [{"key": f"{WEB}/{port}", "network": f"{link}@kvm1", "device": f"d-{port}"} for port, link in on]
    return {"labels": [["service", "demo"], ["vdu", "Main"]], "ports": found}


def test_what_became_of_a_vnfs_resources() -> None:
    records = [
        done(f"{SID}/vl/lan", "update", kind="segment", spec=machine("2"), before=machine("1")),
        done(f"{WEB}/vl/inner@kvm1", kind="network"),
        done(f"{WEB}/vl/inner", kind="segment", spec=machine("0")),
        done(f"{WEB}/main-0/disk/root", kind="volume"),
        done(f"{WEB}/main-0", "remove", before=machine("0")),
        done(f"{WEB}/main-0", "replace", spec=machine("0"), native_id="dom-0"),
        done(f"{WEB}/main-1", "remove", before=machine("1")),
        done(f"{WEB}/main-2", "adopt", spec=machine("2")),
        done(f"{WEB}/main-3", "repair", spec=machine("3")),
        done(f"{WEB}/main-4", spec=machine("4"), state=StepState.UNDONE, undo=Undo.REMOVE),
        done(f"{WEB}/main-5", spec=machine("5"), state=StepState.FAILED),
        done(f"{WEB}/main-6", "update", spec=machine("6", "7"), before=machine("6")),
        done(WEB, "check", kind="vnf"),
        done(f"{SID}/vnf/other/main-0", spec=machine("8")),
    ]
    assert changes(*records) == {
        "affectedVnfcs": [
            (f"{WEB}/main-0", "MODIFIED"),
            (f"{WEB}/main-1", "REMOVED"),
            (f"{WEB}/main-2", "ADDED"),
            (f"{WEB}/main-3", "MODIFIED"),
            (f"{WEB}/main-6", "MODIFIED"),
        ],
        "affectedVirtualLinks": [(f"{WEB}/vl/inner", "ADDED")],
        "affectedVirtualStorages": [(f"{WEB}/main-0/disk/root", "ADDED")],
        "affectedExtLinkPorts": [(f"{WEB}/1", "REMOVED"), (f"{WEB}/2", "ADDED"), (f"{WEB}/7", "ADDED")],
    }
    (web,) = occurrences(operation(vnfs={"web": "HEAL"}), records)
    assert web.resource_changes["affectedVnfcs"][0] == {
        "id": f"{WEB}/main-0",
        "vduId": "Main",
        "changeType": "MODIFIED",
        "computeResource": {"vimConnectionId": "lab", "resourceId": "dom-0"},
    }
    for name in ("affectedVirtualLinks", "affectedVirtualStorages"):
        (one,) = web.resource_changes[name]
        assert not [what for what in one if what.endswith("DescId")], (
            "a key's last part need not be the descriptor's id"
        )


def test_of_what_is_done_in_part_a_vnf_is_completed_or_failed() -> None:
    records = [
        done(f"{WEB}/main-0"),
        done(f"{WEB}/main-9", "remove", state=StepState.SKIPPED),  # left over by an operation before this one
        done(f"{SID}/vnf/fw/main-0", state=StepState.SKIPPED, error="no room"),
        done(f"{SID}/vnf/ids/main-0", state=StepState.SKIPPED),
    ]
    part = operation("SCALE", N.PARTIALLY_COMPLETED, vnfs=dict.fromkeys(("web", "fw", "ids"), "SCALE"))
    web, fw, ids = occurrences(part, records)
    assert (web.state, web.error) == (V.COMPLETED, "")
    assert (fw.state, fw.error) == (V.FAILED, f"ensure node {SID}/vnf/fw/main-0 (vim:lab): no room")
    assert (ids.state, ids.error) == (V.FAILED, "it broke")
    assert [one["changeResult"] for one in of_ns(part, *records)["affectedVnf"]] == ["COMPLETED", "FAILED", "FAILED"]


def test_a_services_operation_begins_before_those_of_its_vnfs_and_rests_after_them() -> None:
    vnfs = {"web": "INSTANTIATE", "fw": "HEAL"}
    told = accepted(operation("INSTANTIATE", N.PROCESSING, vnfs=vnfs))
    assert [(one.type.removesuffix("Notification"), one.body.get("operationState")) for one in told] == [
        ("VnfIdentifierCreation", None),
        ("NsLcmOperationOccurrence", "PROCESSING"),
        ("VnfLcmOperationOccurrence", "STARTING"),
        ("VnfLcmOperationOccurrence", "STARTING"),
        ("VnfLcmOperationOccurrence", "PROCESSING"),
        ("VnfLcmOperationOccurrence", "PROCESSING"),
    ]
    for state, ns_is in ((N.ROLLING_BACK, 0), (N.FAILED_TEMP, -1)):
        told = passed(operation("INSTANTIATE", state, vnfs=vnfs))
        assert {one.body["operationState"] for one in told} == {state}
        assert "nsLcmOpOccId" in told[ns_is].body


def test_the_table_of_vnfs_operations_is_sol003s() -> None:
    assert {(was, now) for was, following in VNF_OPERATIONS.items() for now in following} == {
        (V.STARTING, V.PROCESSING),
        (V.STARTING, V.ROLLED_BACK),
        (V.PROCESSING, V.COMPLETED),
        (V.PROCESSING, V.FAILED_TEMP),
        (V.PROCESSING, V.FAILED),
        (V.FAILED_TEMP, V.PROCESSING),
        (V.FAILED_TEMP, V.ROLLING_BACK),
        (V.FAILED_TEMP, V.FAILED),
        (V.ROLLING_BACK, V.ROLLED_BACK),
        (V.ROLLING_BACK, V.FAILED_TEMP),
    }
    assert VNF_OPERATIONS.keys() == set(V)


def test_an_alarm_is_told_with_sol005s_attributes() -> None:
    alarm = AlarmRecord(
        id="a1",
        ns_id=SID,
        managed_object_id=WEB,
        resource_key=f"{WEB}/main-0",
        faulty_resource_type=FaultyResourceType.COMPUTE,
        perceived_severity=PerceivedSeverity.MAJOR,
        event_type=EventType.PROCESSING_ERROR_ALARM,
        probable_cause="crashed",
        event_time_s=1.0,
        alarm_raised_time_s=2.0,
        alarm_changed_time_s=3.0,
    )
    told = alarm_changed(alarm).body["alarm"]
    assert told["rootCauseFaultyResource"] == {
        "faultyResource": {"resourceId": f"{WEB}/main-0"},
        "faultyResourceType": "COMPUTE",
    }
    assert {name: when for name, when in told.items() if name.endswith("Time")} == {
        "alarmRaisedTime": "1970-01-01T00:00:02.000Z",
        "eventTime": "1970-01-01T00:00:01.000Z",
        "alarmChangedTime": "1970-01-01T00:00:03.000Z",
    }
    mandatory = {"id", "managedObjectId", "ackState", "perceivedSeverity", "eventType", "probableCause", "isRootCause"}
    assert mandatory <= told.keys()
