"""What an operation on a service is to each of its VNFs: ETSI's occurrences of VNFs' operations (SOL003 §5.4.13).

What is locked, planned, journalled, retried and rolled back is the service's operation. So a VNF's occurrence is kept
nowhere: it is read off that operation and its own steps, and nothing can disagree. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from manor.api.plan import OperationKind, Step, Verb
from manor.api.resources import ResourceKind
from manor.model.failing import problem_details, told, worst
from manor.model.instance import CancelMode, NsLcmOpOcc, OperationState, StepRecord, StepState
from manor.model.notification import iso
from manor.model.vnfresources import CHANGES, changed_ext_connectivity, resource_changes, vnf_of

__all__ = [
    "VNF_OPERATIONS",
    "VnfLcmOpOcc",
    "VnfOperation",
    "VnfOperationState",
    "concerned",
    "is_touching",
    "occurrences",
    "recalled",
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

_SNAPSHOT = "vnfSnapshotInfoId"
_ERRS = frozenset({_S.FAILED_TEMP, _S.FAILED, _S.ROLLING_BACK, _S.ROLLED_BACK})
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
    cause: str = ""
    """Class of that error, which says what it means (:mod:`manor.errors`); empty where it is no step's."""
    hint: str = ""
    is_of: Mapping[str, str] = field(default_factory=dict)
    """vnfdId and vnfProfileId; nothing where an older release accepted it."""
    operation_params: Mapping[str, Any] | None = None
    """What was asked (:mod:`manor.model.asked`); None where an older release accepted it."""
    resource_changes: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """What has become of its resources so far, and was not taken back: by ETSI's names, none of them empty."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What else is otherwise: changedInfo, changedExtConnectivity and modificationsTriggeredByVnfPkgChange, those that
    there are, as a notification has them too."""

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
            **({"operationParams": dict(self.operation_params)} if self.operation_params is not None else {}),
            "isCancelPending": self.is_cancel_pending,
            **({"cancelMode": str(self.cancel_mode)} if self.cancel_mode else {}),
            **problem_details(self.error, self.cause, self.hint),
            **({"resourceChanges": dict(self.resource_changes)} if self.resource_changes else {}),
            **self.changes,
            **({"vnfSnapshotInfoId": snapshot} if (snapshot := (self.operation_params or {}).get(_SNAPSHOT)) else {}),
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
    touched = {vnf_of(step.key) for step in steps if is_touching(step)}
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
        name = _snapped(record.step) or vnf_of(record.step.key)
        if name in own and (_snapped(record.step) is None or vnfs[name] is VnfOperation.CREATE_SNAPSHOT):
            own[name].append(record)
    return tuple(_occurrence(operation, name, what, own[name]) for name, what in vnfs.items())


def recalled(operation: NsLcmOpOcc, records: Sequence[StepRecord]) -> NsLcmOpOcc:
    """The operation with what it was to each VNF, read off its steps where an older release accepted it.

    A VNF that it only gave machines to came with it, and one that it only took them from went, where it was asked for
    nothing of that VNF itself. For looking back: subscribers were told nothing of these.
    """
    if "vnfs" in operation.params:
        return operation
    named = operation.params.get("wishes", {}).get("vnf_operations", {})
    changes: dict[str, set[str]] = {}
    for record in records:
        if (name := vnf_of(record.step.key)) is not None and is_touching(record.step):
            changes.setdefault(name, set()).add(record.step.change or _UNSAID.get(operation.operation, ""))
    is_whole = operation.operation in (OperationKind.INSTANTIATE, OperationKind.TERMINATE)
    may_come = is_whole or operation.operation in (OperationKind.SCALE, OperationKind.UPDATE)
    coming, going = (
        {name for name, what in changes.items() if may_come and what <= those and name not in named}
        for those in ({"create", "adopt"}, {"remove", "leave"})
    )
    vnfs = concerned(
        operation.operation,
        [record.step for record in records],
        named,
        before=[name for name in (*changes, *named) if name not in coming],
        after=[name for name in (*changes, *named) if name not in going],
    )
    return replace(operation, params={**operation.params, "vnfs": vnfs})


_UNSAID = {OperationKind.INSTANTIATE: "create", OperationKind.TERMINATE: "remove"}
"""What became of resources, in the journals of releases that did not write it down."""


def _occurrence(operation: NsLcmOpOcc, name: str, what: VnfOperation, own: Sequence[StepRecord]) -> VnfLcmOpOcc:
    if what is not VnfOperation.TERMINATE:
        own = [record for record in own if record.step.change != "leave"]  # it does without what is left
    state = _state(operation.state, own)
    asked = operation.params.get("asked", {}).get("vnfs", {}).get(name)
    params = None if asked is None else asked.get("operationParams", {})
    # What stopped it is told as long as it is tried again, as ETSI has it.
    errs = state in _ERRS or (state is _S.PROCESSING and operation.error != "")
    failed = worst(own) or (_left(own) if state is _S.FAILED else None) if errs else None
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
        error=told(failed) if failed else operation.error if errs else "",
        cause=failed.error_class if failed else "",
        hint=failed.hint if failed else operation.hint if errs else "",
        is_of={one: value for one, value in (asked or {}).items() if one != "operationParams"},
        operation_params=params,
        resource_changes=resource_changes(own),
        changes=_changes(what, state, params or {}, own),
    )


def _changes(
    what: VnfOperation, state: VnfOperationState, params: Mapping[str, Any], own: Sequence[StepRecord]
) -> dict[str, Any]:
    """What is otherwise than before beside its resources; what is known of a VNF is so once all is done."""
    found: dict[str, Any] = {}
    if what is VnfOperation.CHANGE_EXT_CONN:
        found["changedExtConnectivity"] = changed_ext_connectivity(own)
    if what is VnfOperation.MODIFY_INFO and state is _S.COMPLETED:
        found["changedInfo"] = dict(params)
    if what is VnfOperation.CHANGE_VNFPKG and state is _S.COMPLETED:
        found["modificationsTriggeredByVnfPkgChange"] = dict(params)
    return {name: changed for name, changed in found.items() if changed}


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


def _snapped(step: Step) -> str | None:
    """Name of the VNF that a snapshot is of; None for any other step."""
    node = (step.spec or {}).get("node", "") if step.kind == ResourceKind.SNAPSHOT else ""
    return vnf_of(node)


def _is_left_over(step: Step) -> bool:
    """Whether it only clears away what an operation before this one left."""
    return step.verb is Verb.REMOVE and step.before is None


def is_touching(step: Step) -> bool:
    """Whether it changes, or leaves, what the service has or is to have."""
    return step.verb in CHANGES and not _is_left_over(step)
