"""Notifications of operations, in the words of SOL005 §6.5.2.5, §6.5.3.2 and §8.5.2."""

from typing import Any

import pytest

from manor.api.plan import OperationKind
from manor.model.instance import NsLcmOpOcc, OperationState
from manor.model.notification import Touched, occurrence

WEB = "0a0b0c0d/vnf/web"


@pytest.mark.parametrize(
    ("kind", "params", "changes", "told_as", "change_type"),
    [
        ("INSTANTIATE", {}, ["create"], "INSTANTIATE", "INSTANTIATE"),
        ("TERMINATE", {}, ["remove"], "TERMINATE", "TERMINATE"),
        ("SCALE", {"wishes": {"vnf_operations": {"web": "scale_to_level"}}}, ["create"], "SCALE", "SCALE"),
        ("HEAL", {}, ["replace"], "HEAL", "HEAL"),
        ("REPAIR", {}, ["repair"], "HEAL", "HEAL"),
        ("OPERATE", {"wishes": {"vnf_operations": {"web": "operate"}}}, ["update"], "UPDATE", "OPERATE"),
        ("UPDATE", {"updateType": "INSTANTIATE_VNF"}, ["create", "create"], "UPDATE", "INSTANTIATE"),
        ("UPDATE", {"updateType": "ADD_VNF"}, ["create"], "UPDATE", "ADD"),
        ("UPDATE", {"updateType": "REMOVE_VNF"}, ["remove"], "UPDATE", "REMOVE"),
        ("UPDATE", {"wishes": {"vnf_operations": {"web": "change_flavour"}}}, ["replace"], "UPDATE", "CHANGE_FLAVOUR"),
        (
            "UPDATE",
            {"wishes": {"vnf_operations": {"web": "change_external_connectivity"}}},
            ["update"],
            "UPDATE",
            "CHANGE_EXTERNAL_VNF_CONNECTIVITY",
        ),
        (
            "UPDATE",
            {"wishes": {"vnf_operations": {"web": "change_current_package"}}},
            ["replace"],
            "UPDATE",
            "CHANGE_VNFPKG",
        ),
        ("UPDATE", {"wishes": {"vnf_operations": {"web": "modify_information"}}}, [], "UPDATE", "MODIFY_INFORMATION"),
        ("UPDATE", {"updateType": "MOVE_VNF"}, ["remove", "create"], "UPDATE", "MODIFY_INFORMATION"),
    ],
)
def test_what_became_of_a_vnf(
    kind: str, params: dict[str, Any], changes: list[str], told_as: str, change_type: str
) -> None:
    operation = NsLcmOpOcc(
        id="1", ns_id="0a0b0c0d", ns_name="demo", operation=OperationKind(kind), state=OperationState.PROCESSING,
        params=params,
    )  # fmt: skip
    touched = [Touched(key=f"{WEB}/main-{number}", change=change) for number, change in enumerate(changes)]
    body = occurrence(operation, OperationState.COMPLETED, 0.0, touched).body
    assert body["operation"] == told_as
    assert body["affectedVnf"] == [{"vnfInstanceId": WEB, "changeType": change_type, "changeResult": "COMPLETED"}]


def test_what_is_only_looked_at_is_not_affected() -> None:
    operation = NsLcmOpOcc(
        id="1", ns_id="0a0b0c0d", ns_name="demo", operation=OperationKind.UPDATE, state=OperationState.PROCESSING
    )
    body = occurrence(operation, OperationState.COMPLETED, 0.0, [Touched(key=WEB, change="check")]).body
    assert not [name for name in body if name.startswith("affected")]


@pytest.mark.parametrize(
    ("now", "before", "change"),
    [({"vlan": 7}, None, "ADD"), (None, {"vlan": 7}, "REMOVE"), ({"vlan": 8}, {}, "MODIFY")],
)
def test_what_became_of_a_sap(now: dict[str, Any] | None, before: dict[str, Any] | None, change: str) -> None:
    operation = NsLcmOpOcc(
        id="1", ns_id="0a0b0c0d", ns_name="demo", operation=OperationKind.UPDATE, state=OperationState.PROCESSING
    )
    inside = {"key": f"{WEB}/main-0/eth0"}

    def link(sap: dict[str, Any] | None) -> dict[str, Any]:
        outside = [] if sap is None else [{"key": "0a0b0c0d/sap/office", **sap}]
        return {"kind": "segment", "ports": [inside, *outside, {"key": "0a0b0c0d/sap/lab"}]}

    touched = Touched.by({"key": "0a0b0c0d/vl/lan", "change": "update", "spec": link(now), "before": link(before)})
    body = occurrence(operation, OperationState.COMPLETED, 0.0, [touched]).body
    assert body["affectedSap"] == [
        {"sapInstanceId": "0a0b0c0d/sap/office", "sapName": "office", "changeType": change, "changeResult": "COMPLETED"}
    ]
