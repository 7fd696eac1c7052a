"""The plan: a DAG of steps as data, made before anything is done, shown to people and to reviews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["OperationEvent", "OperationKind", "Plan", "Step", "Undo", "Verb"]


class Verb(StrEnum):
    """What a step does to its resource."""

    ENSURE = "ensure"
    REMOVE = "remove"
    CONFIGURE = "configure"
    VERIFY = "verify"
    QUIESCE = "quiesce"
    """The VNF manager drains a machine that is about to go."""


class Undo(StrEnum):
    """How a step is taken back."""

    REMOVE = "remove"
    """It made something that was not there: remove it."""
    RESTORE = "restore"
    """It changed or removed something: ensure ``Step.before`` again."""
    NONE = "none"
    """It has no effect that outlives it."""
    IMPOSSIBLE = "impossible"
    """It destroys data: an operation that has done it is not rolled back."""


class OperationKind(StrEnum):
    """lcmOperationType; the last ones are Manor's own."""

    INSTANTIATE = "INSTANTIATE"
    SCALE = "SCALE"
    UPDATE = "UPDATE"
    HEAL = "HEAL"
    TERMINATE = "TERMINATE"
    OPERATE = "OPERATE"
    REPAIR = "REPAIR"
    """Bring drifted resources back to what is desired."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One node of the DAG."""

    id: str
    """Unique in the plan and equal over re-plans of the same change, as ``ensure node a1/fw/0``."""
    verb: Verb
    kind: str
    """A ResourceKind, or ``vnf`` for configure and verify of a whole VNF."""
    key: str
    endpoint: str
    """Who does it: ``vim:<name>``, ``sdn:<name>`` or ``vnfm:<name>``."""
    host: str = ""
    summary: str = ""
    """What and why, in the operator's words."""
    change: str = ""
    """What becomes of the resource: ``create``, ``update``, ``repair``, ``replace``, ``remove``, ``check``, or
    ``leave``, where its host does not answer: nobody goes there to remove it, and it is an orphan of the operation."""
    depends_on: tuple[str, ...] = ()
    spec: Mapping[str, Any] | None = None
    """The resource spec as JSON (``spec_to_json``) for ensure; a VnfView as JSON for configure and verify."""
    before: Mapping[str, Any] | None = None
    """What the spec was before, for a change or a removal."""
    undo: Undo = Undo.NONE
    deadline_s: float = 120.0
    patience_s: float | None = None
    """Of a step that turns a node off: see ``CallContext.patience_s``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What an operation will do."""

    operation: OperationKind
    service_id: str
    service_name: str
    steps: tuple[Step, ...]
    unchanged: tuple[str, ...] = ()
    """Keys of resources that already are as desired."""
    notes: tuple[str, ...] = ()
    """Where things go and why, for people."""
    placement: Mapping[str, str] = field(default_factory=dict)
    """``<endpoint>/<host>`` by VNFC key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationEvent:
    """Told to ``manor_operation_event`` after the change was committed."""

    operation_id: str
    operation: OperationKind
    service_id: str
    state: str
    """LcmOperationStateType, as PROCESSING or COMPLETED."""
    time_s: float
    error: str = ""
