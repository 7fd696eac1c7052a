"""Domain types to column values and back, with neither SQL nor a driver: both read paths share it.

JSON columns arrive decoded from SQLAlchemy and as text from ``sqlite3``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from manor.api.plan import OperationKind, Step, Undo, Verb
from manor.model.instance import (
    CancelMode,
    Endpoint,
    EndpointKind,
    NsInstance,
    NsLcmOpOcc,
    NsState,
    OnboardingState,
    OnFailure,
    OperationalState,
    OperationState,
    PackageInfo,
    PackageKind,
    StepRecord,
    StepState,
    UsageState,
    VnfInstance,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = [
    "endpoint",
    "endpoint_values",
    "ns_instance",
    "ns_values",
    "operation",
    "operation_values",
    "package",
    "package_values",
    "record",
    "record_values",
    "step_from_json",
    "step_record",
    "step_to_json",
    "vnf_instance",
    "vnf_values",
]

Row = Mapping[str, Any]


def decoded(value: Any) -> Any:
    """A JSON column's value, whichever driver it came by."""
    return json.loads(value) if isinstance(value, str) else value


def endpoint(row: Row) -> Endpoint:
    """A row of ``manor_endpoint``."""
    return Endpoint(
        kind=EndpointKind(row["kind"]),
        name=row["name"],
        driver=row["driver"],
        config=decoded(row["config"]),
        created_s=row["created_s"],
    )


def endpoint_values(item: Endpoint) -> dict[str, Any]:
    """Columns of ``manor_endpoint``."""
    return {
        "kind": str(item.kind),
        "name": item.name,
        "driver": item.driver,
        "config": dict(item.config),
        "created_s": item.created_s,
    }


def package(row: Row) -> PackageInfo:
    """A row of ``manor_package``, without descriptor and findings."""
    return PackageInfo(
        id=row["id"],
        kind=PackageKind(row["kind"]),
        descriptor_id=row["descriptor_id"],
        name=row["name"],
        version=row["version"],
        provider=row["provider"],
        format=row["format"],
        content_sha256=row["content_sha256"],
        onboarding_state=OnboardingState(row["onboarding_state"]),
        operational_state=OperationalState(row["operational_state"]),
        usage_state=UsageState(row["usage_state"]),
        created_s=row["created_s"],
        artifacts=decoded(row["artifacts"]),
    )


def package_values(item: PackageInfo) -> dict[str, Any]:
    """Columns of ``manor_package``, without descriptor and findings."""
    return {
        "id": item.id,
        "kind": str(item.kind),
        "descriptor_id": item.descriptor_id,
        "name": item.name,
        "version": item.version,
        "provider": item.provider,
        "format": item.format,
        "content_sha256": item.content_sha256,
        "onboarding_state": str(item.onboarding_state),
        "operational_state": str(item.operational_state),
        "usage_state": str(item.usage_state),
        "created_s": item.created_s,
        "artifacts": dict(item.artifacts),
    }


def ns_instance(row: Row) -> NsInstance:
    """A row of ``manor_ns_instance``."""
    return NsInstance(
        id=row["id"],
        name=row["name"],
        nsd_id=row["nsd_id"],
        nsd_package=row["nsd_package"],
        flavour_id=row["flavour_id"],
        state=NsState(row["state"]),
        description=row["description"],
        parameters=decoded(row["parameters"]),
        created_s=row["created_s"],
        last_operation=row["last_operation"],
    )


def ns_values(item: NsInstance) -> dict[str, Any]:
    """Columns of ``manor_ns_instance``."""
    return {
        "id": item.id,
        "name": item.name,
        "nsd_id": item.nsd_id,
        "nsd_package": item.nsd_package,
        "flavour_id": item.flavour_id,
        "state": str(item.state),
        "description": item.description,
        "parameters": dict(item.parameters),
        "created_s": item.created_s,
        "last_operation": item.last_operation,
    }


def vnf_instance(row: Row) -> VnfInstance:
    """A row of ``manor_vnf_instance``, or the JSON of :func:`vnf_values`."""
    return VnfInstance(
        id=row["id"],
        name=row["name"],
        ns_id=row["ns_id"],
        profile_id=row["profile_id"],
        index=row["index"],
        vnfd_id=row["vnfd_id"],
        flavour_id=row["flavour_id"],
        vnfm=row["vnfm"],
        instantiation_state=NsState(row["instantiation_state"]),
        vnf_state=row["vnf_state"],
        scale_levels=decoded(row["scale_levels"]),
        vdu_counts=decoded(row["vdu_counts"]),
        information=decoded(row["information"]),
    )


def vnf_values(item: VnfInstance) -> dict[str, Any]:
    """Columns of ``manor_vnf_instance``."""
    return {
        "id": item.id,
        "name": item.name,
        "ns_id": item.ns_id,
        "profile_id": item.profile_id,
        "index": item.index,
        "vnfd_id": item.vnfd_id,
        "flavour_id": item.flavour_id,
        "vnfm": item.vnfm,
        "instantiation_state": str(item.instantiation_state),
        "vnf_state": item.vnf_state,
        "scale_levels": dict(item.scale_levels),
        "vdu_counts": dict(item.vdu_counts),
        "information": dict(item.information),
    }


def operation(row: Row) -> NsLcmOpOcc:
    """A row of ``manor_operation``, without plan and target; of its mode, whether there is one."""
    return NsLcmOpOcc(
        id=row["id"],
        ns_id=row["ns_id"],
        ns_name=row["ns_name"],
        operation=OperationKind(row["operation"]),
        state=OperationState(row["state"]),
        on_failure=OnFailure(row["on_failure"]),
        start_s=row["start_s"],
        state_entered_s=row["state_entered_s"],
        is_automatic=bool(row["is_automatic"]),
        is_cancel_pending=bool(row["is_cancel_pending"]),
        cancel_mode=CancelMode(row["cancel_mode"]) if row["cancel_mode"] else None,
        epoch=row["epoch"],
        attempt=row["attempt"],
        is_at_work=bool(row["mode"]),
        error=row["error"],
        hint=row["hint"],
        params=decoded(row["params"]),
        orphans=tuple(decoded(row["orphans"])),
    )


def operation_values(item: NsLcmOpOcc) -> dict[str, Any]:
    """Columns of ``manor_operation``, without plan, target, mode and revision."""
    return {
        "id": item.id,
        "ns_id": item.ns_id,
        "ns_name": item.ns_name,
        "operation": str(item.operation),
        "state": str(item.state),
        "on_failure": str(item.on_failure),
        "start_s": item.start_s,
        "state_entered_s": item.state_entered_s,
        "is_automatic": item.is_automatic,
        "is_cancel_pending": item.is_cancel_pending,
        "cancel_mode": str(item.cancel_mode or ""),
        "epoch": item.epoch,
        "attempt": item.attempt,
        "error": item.error,
        "hint": item.hint,
        "params": dict(item.params),
        "orphans": list(item.orphans),
    }


def step_to_json(step: Step) -> dict[str, Any]:
    """A step as JSON values, to be read back by :func:`step_from_json`."""
    return {
        "id": step.id,
        "verb": str(step.verb),
        "kind": step.kind,
        "key": step.key,
        "endpoint": step.endpoint,
        "host": step.host,
        "summary": step.summary,
        "change": step.change,
        "depends_on": list(step.depends_on),
        "spec": step.spec,
        "before": step.before,
        "undo": str(step.undo),
        "deadline_s": step.deadline_s,
        "patience_s": step.patience_s,
    }


def step_from_json(data: Row) -> Step:
    """What :func:`step_to_json` wrote. Raises KeyError or ValueError on a wrong shape."""
    return Step(
        id=data["id"],
        verb=Verb(data["verb"]),
        kind=data["kind"],
        key=data["key"],
        endpoint=data["endpoint"],
        host=data["host"],
        summary=data["summary"],
        change=data.get("change", ""),
        depends_on=tuple(data["depends_on"]),
        spec=data["spec"],
        before=data["before"],
        undo=Undo(data["undo"]),
        deadline_s=data["deadline_s"],
        patience_s=data.get("patience_s"),
    )


def step_record(row: Row) -> StepRecord:
    """A row of ``manor_step``."""
    return StepRecord(
        step=step_from_json(decoded(row["step"])),
        state=StepState(row["state"]),
        attempt=row["attempt"],
        planned_s=row["planned_s"],
        started_s=row["started_s"],
        ended_s=row["ended_s"],
        error=row["error"],
        hint=row["hint"],
        error_class=row["error_class"],
        native_id=row["native_id"],
    )


def record(cls: type[Any], data: Row) -> Any:
    """A value of this type that is kept whole, as :func:`record_values` wrote it."""
    return _adapter(cls).validate_python(dict(data))


def record_values(item: Any) -> dict[str, Any]:
    """A value as JSON values, to be kept whole."""
    values: dict[str, Any] = _adapter(type(item)).dump_python(item, mode="json")
    return values


@functools.cache
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)
