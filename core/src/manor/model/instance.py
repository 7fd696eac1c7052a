"""Instances and operations as ETSI names them: what the store keeps and the CLI shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from manor.api.plan import OperationKind

__all__ = [
    "CancelMode",
    "Endpoint",
    "EndpointKind",
    "NsInstance",
    "NsLcmOpOcc",
    "NsState",
    "OnFailure",
    "OnboardingState",
    "OperationState",
    "OperationalState",
    "PackageInfo",
    "PackageKind",
    "StepRecord",
    "StepState",
    "UsageState",
    "VnfInstance",
]


class NsState(StrEnum):
    """nsState."""

    NOT_INSTANTIATED = "NOT_INSTANTIATED"
    INSTANTIATED = "INSTANTIATED"


class OperationState(StrEnum):
    """NsLcmOperationStateType (SOL005 §6.5.4.4)."""

    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    PARTIALLY_COMPLETED = "PARTIALLY_COMPLETED"
    FAILED_TEMP = "FAILED_TEMP"
    FAILED = "FAILED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"


class StepState(StrEnum):
    """State of a journal row: planned → intended → done | failed; then undoing → undone | undo_failed."""

    PLANNED = "planned"
    INTENDED = "intended"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"


class CancelMode(StrEnum):
    """cancelMode: let running steps end, or give up on them too."""

    GRACEFUL = "GRACEFUL"
    FORCEFUL = "FORCEFUL"


class OnFailure(StrEnum):
    """What an operation does when a step fails for good."""

    ROLLBACK = "rollback"
    HOLD = "hold"


class OnboardingState(StrEnum):
    """onboardingState of a package."""

    CREATED = "CREATED"
    UPLOADING = "UPLOADING"
    PROCESSING = "PROCESSING"
    ONBOARDED = "ONBOARDED"
    ERROR = "ERROR"


class OperationalState(StrEnum):
    """operationalState of a package."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class UsageState(StrEnum):
    """usageState of a package."""

    IN_USE = "IN_USE"
    NOT_IN_USE = "NOT_IN_USE"


class PackageKind(StrEnum):
    """What a package describes."""

    VNF = "vnf"
    NS = "ns"


class EndpointKind(StrEnum):
    """What an endpoint is an instance of."""

    VIM = "vim"
    SDN = "sdn"
    VNFM = "vnfm"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A registered VIM, controller or external VNF manager (vimConnectionInfo)."""

    kind: EndpointKind
    name: str
    driver: str
    config: Mapping[str, Any] = field(default_factory=dict)
    created_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageInfo:
    """VnfPkgInfo or NsdInfo."""

    id: str
    kind: PackageKind
    descriptor_id: str
    name: str
    version: str = ""
    provider: str = ""
    format: str = ""
    content_sha256: str = ""
    onboarding_state: OnboardingState = OnboardingState.CREATED
    operational_state: OperationalState = OperationalState.DISABLED
    usage_state: UsageState = UsageState.NOT_IN_USE
    created_s: float = 0.0
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each artifact kept, by its path in the package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfInstance:
    """VnfInstance: belongs to exactly one VNF manager."""

    id: str
    name: str
    ns_id: str
    profile_id: str
    index: int
    vnfd_id: str
    flavour_id: str
    vnfm: str
    instantiation_state: NsState = NsState.NOT_INSTANTIATED
    vnf_state: str = "STOPPED"
    scale_levels: Mapping[str, int] = field(default_factory=dict)
    vdu_counts: Mapping[str, int] = field(default_factory=dict)
    information: Mapping[str, Any] = field(default_factory=dict)
    """What the operator says of it, by ETSI's names: vnfInstanceName, vnfInstanceDescription, metadata,
    vnfConfigurableProperties; what is not said is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NsInstance:
    """NsInstance."""

    id: str
    """8 hexadecimal digits; the first part of all its resources' keys."""
    name: str
    nsd_id: str
    nsd_package: str
    flavour_id: str
    state: NsState = NsState.NOT_INSTANTIATED
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    created_s: float = 0.0
    last_operation: str = ""

    @property
    def labels(self) -> Mapping[str, str]:
        """What the operator tells policies and reviews of this service: its parameters ``labels.<name>``."""
        given = self.parameters.get("labels")
        return {str(name): str(value) for name, value in given.items()} if isinstance(given, Mapping) else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """A step with what became of it: one row of the journal. Times are seconds since the epoch, 0 for not yet."""

    step: Any
    """api Step."""
    state: StepState = StepState.PLANNED
    attempt: int = 0
    planned_s: float = 0.0
    started_s: float = 0.0
    ended_s: float = 0.0
    error: str = ""
    hint: str = ""
    error_class: str = ""
    native_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NsLcmOpOcc:
    """NsLcmOpOcc: an operation on one service."""

    id: str
    ns_id: str
    ns_name: str
    operation: OperationKind
    state: OperationState
    on_failure: OnFailure = OnFailure.ROLLBACK
    start_s: float = 0.0
    state_entered_s: float = 0.0
    is_automatic: bool = False
    is_cancel_pending: bool = False
    cancel_mode: CancelMode | None = None
    epoch: int = 0
    """Raised by each claim; a write with an older one is refused (fencing)."""
    attempt: int = 1
    is_at_work: bool = False
    """A worker has it, or will; in FAILED_TEMP it cleans up, for ``fail``."""
    error: str = ""
    hint: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    """How it was started; ``vnfs`` is what it is to each VNF, by name (:mod:`manor.model.vnfoperation`), ``asked`` the
    operationParams of the service's operation and of each VNF's (:mod:`manor.model.asked`), and in that ``elements``
    what links, SAPs and paths are in the NSD of before and of then."""
    orphans: tuple[str, ...] = ()
    """Keys that could not be cleaned up and are left for ``vim orphans``."""
