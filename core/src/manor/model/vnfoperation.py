"""What an operation on a service is to each of its VNFs: ETSI's occurrences of VNFs' operations (SOL003 §5.4.13).

What is locked, planned, journalled, retried and rolled back is the service's operation. So a VNF's occurrence is kept
nowhere: it is read off that operation and its own steps, and nothing can disagree. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from manor.api.plan import OperationKind, Step, Undo, Verb
from manor.api.resources import ResourceKind
from manor.model.failing import told, worst
from manor.model.instance import CancelMode, NsLcmOpOcc, OperationState, StepRecord, StepState
from manor.model.notification import iso

__all__ = [
    "VNF_OPERATIONS",
    "VnfLcmOpOcc",
    "VnfOperation",
    "VnfOperationState",
    "concerned",
    "is_touching",
    "occurrences",
    "stands",
    "vnfs_of",
]


class VnfOperation(StrEnum):
    """LcmOperationType (SOL003 §5.5.4.5)."""

    INSTANTIATE = "INSTANTIATE"
    SCALE = "SCALE"
    SCALE_TO_LEVEL = "SCALE_TO_LEVEL"
    CHANGE_FLAVOUR = "CHANGE_FLAVOUR"
    TERMINATE = "TERMINATE"
    HEAL = "HEAL"
    OPERATE = "OPERATE"
    CHANGE_EXT_CONN = "CHANGE_EXT_CONN"
    MODIFY_INFO = "MODIFY_INFO"
    CREATE_SNAPSHOT = "CREATE_SNAPSHOT"
    REVERT_TO_SNAPSHOT = "REVERT_TO_SNAPSHOT"
    CHANGE_VNFPKG = "CHANGE_VNFPKG"


class VnfOperationState(StrEnum):
    """LcmOperationStateType (SOL003 §5.6.2)."""

    STARTING = "STARTING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED_TEMP = "FAILED_TEMP"
    FAILED = "FAILED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"


_S = VnfOperationState

VNF_OPERATIONS: Mapping[VnfOperationState, frozenset[VnfOperationState]] = {
    _S.STARTING: frozenset({_S.PROCESSING, _S.ROLLED_BACK}),
    _S.PROCESSING: frozenset({_S.COMPLETED, _S.FAILED_TEMP, _S.FAILED}),
    _S.FAILED_TEMP: frozenset({_S.PROCESSING, _S.ROLLING_BACK, _S.FAILED}),
    _S.ROLLING_BACK: frozenset({_S.ROLLED_BACK, _S.FAILED_TEMP}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.ROLLED_BACK: frozenset(),
}
"""Where each state may lead to (SOL003 §5.6.2.2). STARTING to ROLLED_BACK is there for completeness: a plan is granted
before an operation is made of it, so what was refused is no occurrence."""

_ERRS = frozenset({_S.FAILED_TEMP, _S.FAILED, _S.ROLLING_BACK, _S.ROLLED_BACK})
_CHANGES = (Verb.ENSURE, Verb.REMOVE)
_BY_INTERFACE = {
    "operate": VnfOperation.OPERATE,
    "scale": VnfOperation.SCALE,
    "scale_to_level": VnfOperation.SCALE_TO_LEVEL,
    "change_flavour": VnfOperation.CHANGE_FLAVOUR,
    "change_external_connectivity": VnfOperation.CHANGE_EXT_CONN,
    "change_current_package": VnfOperation.CHANGE_VNFPKG,
    "create_snapshot": VnfOperation.CREATE_SNAPSHOT,
    "revert_to_snapshot": VnfOperation.REVERT_TO_SNAPSHOT,
}
"""By operation of the VNF's interface; what is not here only changes what is known of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfLcmOpOcc:
    """VnfLcmOpOcc: what an operation on a service is to one VNF."""

    id: str
    """``<id of the service's operation>/<VNF's name>``."""
    vnf_id: str
    operation: VnfOperation
    state: VnfOperationState
    start_s: float = 0.0
    state_entered_s: float = 0.0
    is_automatic: bool = False
    is_cancel_pending: bool = False
    cancel_mode: CancelMode | None = None
    error: str = ""
    """What went wrong in the VNF's own steps, else what stopped the service's operation."""
    resource_changes: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """What has become of its resources so far, and was not taken back: by ETSI's names, none of them empty."""

    def document(self) -> dict[str, Any]:
        """It, as on the wire."""
        return {
            "id": self.id,
            "operationState": str(self.state),
            "stateEnteredTime": iso(self.state_entered_s),
            "startTime": iso(self.start_s),
            "vnfInstanceId": self.vnf_id,
            "operation": str(self.operation),
            "isAutomaticInvocation": self.is_automatic,
            "isCancelPending": self.is_cancel_pending,
            **({"cancelMode": str(self.cancel_mode)} if self.cancel_mode else {}),
            **({"error": {"status": 500, "detail": self.error}} if self.error else {}),
            **({"resourceChanges": dict(self.resource_changes)} if self.resource_changes else {}),
        }


def concerned(
    kind: OperationKind,
    steps: Iterable[Step],
    named: Mapping[str, str],
    *,
    before: Sequence[str],
    after: Sequence[str],
) -> dict[str, VnfOperation]:
    """What an operation is to the VNFs that it makes, ends, names or touches, by name.

    ``named`` gives the operation of the VNF's interface; ``before`` and ``after`` are names of the service's VNFs.
    What is left over of a VNF that the service no longer has is nobody's.
    """
    touched = {_vnf_of(step.key) for step in steps if is_touching(step)}
    found = {}
    for name in dict.fromkeys((*before, *after)):
        if name not in before:
            found[name] = VnfOperation.INSTANTIATE
        elif name not in after:
            found[name] = VnfOperation.TERMINATE
        elif named.get(name):
            found[name] = _BY_INTERFACE.get(named[name], VnfOperation.MODIFY_INFO)
        elif name in touched:
            is_heal = kind in (OperationKind.HEAL, OperationKind.REPAIR)
            found[name] = VnfOperation.HEAL if is_heal else VnfOperation.MODIFY_INFO
    return found


def vnfs_of(operation: NsLcmOpOcc) -> dict[str, VnfOperation]:
    """What the operation is to each VNF, by name, as :func:`concerned` said when it was accepted."""
    return {name: VnfOperation(what) for name, what in operation.params.get("vnfs", {}).items()}


def occurrences(operation: NsLcmOpOcc, records: Iterable[StepRecord]) -> tuple[VnfLcmOpOcc, ...]:
    """The occurrences of the VNFs that an operation concerns, in the state that it is in.

    Of one that goes on the journal need not be given: what it says is then left out.
    """
    vnfs = vnfs_of(operation)
    own: dict[str, list[StepRecord]] = {name: [] for name in vnfs}
    for record in records if vnfs else ():
        name = _vnf_of(record.step.key)
        if name in own:
            own[name].append(record)
    return tuple(_occurrence(operation, name, what, own[name]) for name, what in vnfs.items())


def stands(record: StepRecord) -> bool:
    """Whether a step was done, and nothing of that was taken back, as where there is nothing to take back."""
    stays = record.state is StepState.UNDONE and record.step.undo is Undo.NONE and not record.error
    return record.state is StepState.DONE or stays


def _occurrence(operation: NsLcmOpOcc, name: str, what: VnfOperation, own: Sequence[StepRecord]) -> VnfLcmOpOcc:
    if what is not VnfOperation.TERMINATE:
        own = [record for record in own if record.step.change != "leave"]  # it does without what is left
    state = _state(operation.state, own)
    changes = {**_resources(own), "affectedExtLinkPorts": list(_ext_link_ports(own))}
    failed = worst(own) or (_left(own) if state is _S.FAILED else None) if state in _ERRS else None
    return VnfLcmOpOcc(
        id=f"{operation.id}/{name}",
        vnf_id=f"{operation.ns_id}/vnf/{name}",
        operation=what,
        state=state,
        start_s=operation.start_s,
        state_entered_s=operation.state_entered_s,
        is_automatic=operation.is_automatic,
        is_cancel_pending=operation.is_cancel_pending,
        cancel_mode=operation.cancel_mode if operation.is_cancel_pending else None,
        error=told(failed) if failed else operation.error if state in _ERRS else "",
        resource_changes={name: changed for name, changed in changes.items() if changed},
    )


def _state(state: OperationState, own: Iterable[StepRecord]) -> VnfOperationState:
    """The service's own, where both machines have it; a VNF is never completed in part."""
    if state is not OperationState.PARTIALLY_COMPLETED:
        return VnfOperationState(state.value)
    is_done = all(record.state is StepState.DONE for record in own if not _is_left_over(record.step))
    return VnfOperationState.COMPLETED if is_done else VnfOperationState.FAILED


def _left(own: Iterable[StepRecord]) -> StepRecord | None:
    """What nobody could go for, as its failure."""
    left = (record for record in own if record.step.change == "leave" and not _is_left_over(record.step))
    return next((replace(record, error=record.step.summary) for record in left), None)


def _vnf_of(key: str) -> str | None:
    """Name of the VNF that a resource or check is of; None for what is the service's."""
    parts = key.split("/", 3)
    return parts[2] if len(parts) > 2 and parts[1] == "vnf" else None


def _is_left_over(step: Step) -> bool:
    """Whether it only clears away what an operation before this one left."""
    return step.verb is Verb.REMOVE and step.before is None


def is_touching(step: Step) -> bool:
    """Whether it changes, or leaves, what the service has or is to have."""
    return step.verb in _CHANGES and not _is_left_over(step)


# what became of resources


def _is_effective(record: StepRecord) -> bool:
    """Whether it has changed its resource, and that was not taken back."""
    is_half_undone = record.state in (StepState.UNDOING, StepState.UNDO_FAILED)
    return record.step.verb in _CHANGES and (is_half_undone or stands(record))


def _changed(records: Collection[StepRecord]) -> str:
    """changeType of what these steps did to one thing: what was removed and made anew is modified."""
    changes = {_change(record.step) for record in records}
    return changes.pop() if len(changes) == 1 else "MODIFIED"


def _change(step: Step) -> str:
    if step.verb is Verb.REMOVE:
        return "REMOVED"
    return "ADDED" if step.change in ("create", "adopt") else "MODIFIED"


def _resources(own: Iterable[StepRecord]) -> dict[str, list[dict[str, Any]]]:
    """affectedVnfcs, affectedVirtualLinks and affectedVirtualStorages, each resource once, in the order of the plan.

    Of links and disks a step does not say which of the descriptor they are.
    """
    by_key: dict[str, list[StepRecord]] = {}
    for record in own:
        if _is_effective(record):
            by_key.setdefault(record.step.key.partition("@")[0], []).append(record)
    found: dict[str, list[dict[str, Any]]] = {}
    for key, records in by_key.items():
        step = records[-1].step
        labels = dict((step.spec or step.before or {}).get("labels", ()))
        head, resource = {
            ResourceKind.NODE: ("affectedVnfcs", "computeResource"),
            ResourceKind.VOLUME: ("affectedVirtualStorages", "storageResource"),
        }.get(ResourceKind(step.kind), ("affectedVirtualLinks", "networkResource"))
        vdu = {"vduId": labels["vdu"]} if "vdu" in labels else {}
        one = {"id": key, **vdu, "changeType": _changed(records), resource: _handle(records)}
        found.setdefault(head, []).append(one)
    return found


def _handle(records: Sequence[StepRecord]) -> dict[str, str]:
    """ResourceHandle: by the id that the VIM gave it, else by the key under which it is found there."""
    step = records[-1].step
    native_id = next((record.native_id for record in reversed(records) if record.native_id), "")
    kind, _, name = step.endpoint.partition(":")
    return {**({"vimConnectionId": name} if kind == "vim" else {}), "resourceId": native_id or step.key}


def _ext_link_ports(own: Iterable[StepRecord]) -> Iterator[dict[str, Any]]:
    """affectedExtLinkPorts: ports that its machines have on the service's virtual links now, and had before.

    That a link does without one for a while, as of a machine that is off, changes none.
    """
    now: dict[tuple[str, str], str] = {}
    before: dict[tuple[str, str], str] = {}
    for record in own:
        step = record.step
        is_known = step.before is not None or step.change not in ("update", "repair")  # else nobody says what was
        if step.kind == ResourceKind.NODE and is_known and _is_effective(record):
            now.update(_link_ports(step.spec))
            before.update(_link_ports(step.before))
    gone = [("REMOVED", *port) for port in before.items() if port[0] not in now]
    come = [("ADDED", *port) for port in now.items() if port[0] not in before]
    for change, (key, _), device in (*gone, *come):
        yield {"id": key, "changeType": change, "extCpInstanceId": key, "resourceHandle": {"resourceId": device}}


def _link_ports(node: Mapping[str, Any] | None) -> dict[tuple[str, str], str]:
    """Devices of a machine's ports on the service's links, by key and link."""
    ports = ((port, port["network"].partition("@")[0]) for port in (node or {}).get("ports", ()))
    return {(port["key"], link): port["device"] for port, link in ports if _vnf_of(link) is None}
