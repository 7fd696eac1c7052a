"""What a service becomes when its operation completes, written down with the operation so that any worker can do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manor.api.plan import OperationKind
from manor.model.desired import DesiredState, desired_to_json
from manor.model.instance import NsLcmOpOcc, NsState, OperationState, VnfInstance
from manor.model.notification import vnf_identifier
from manor.model.occurrence import unmade
from manor.store import rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Target", "commit_end", "target_to_json"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The service afterwards."""

    ns_state: NsState
    desired: DesiredState | None
    """What should exist then; None for nothing."""
    vnfs: tuple[VnfInstance, ...] = ()
    parameters: Mapping[str, Any] | None = None
    """The service's parameters then; None where they stay."""
    nsd: tuple[str, str] | None = None
    """Id and package of its NSD then; None where it stays."""


def target_to_json(target: Target) -> dict[str, Any]:
    """The target as JSON values."""
    return {
        "ns_state": str(target.ns_state),
        "desired": desired_to_json(target.desired) if target.desired else None,
        "vnfs": [rows.vnf_values(vnf) for vnf in target.vnfs],
        "parameters": dict(target.parameters) if target.parameters is not None else None,
        "nsd": list(target.nsd) if target.nsd else None,
    }


def commit_end(tx: Connection, operation: NsLcmOpOcc, state: OperationState) -> None:
    """Let the service be what the operation's end made of it, in the transaction that ends the operation.

    Completed, it is the target. Rolled back, it is what it was. Failed for good, an instantiate or terminate leaves
    nothing but the orphans it lists; after any other the service is still meant to be what it was, and drift shows.
    """
    from manor.store import instances, notifications, operations

    is_whole = operation.operation in (OperationKind.INSTANTIATE, OperationKind.TERMINATE)
    if state in (OperationState.COMPLETED, OperationState.PARTIALLY_COMPLETED):
        data = operations.target(tx, operation.id)
        if "vnfs" not in operation.params:  # an older release began it, and told of no VNF that it makes
            new = sorted({vnf["id"] for vnf in data["vnfs"]} - set(instances.vnf_ids(tx, operation.ns_id)))
            notifications.add(tx, (vnf_identifier(vnf, operation.ns_id, created=True) for vnf in new))
        instances.become(tx, operation.ns_id, NsState(data["ns_state"]), data["desired"], data["vnfs"])
        if data.get("parameters") is not None:
            instances.set_parameters(tx, operation.ns_id, data["parameters"])
        if data.get("nsd"):
            instances.set_nsd(tx, operation.ns_id, *data["nsd"])
        return
    if state is OperationState.FAILED and is_whole:
        instances.become(tx, operation.ns_id, NsState.NOT_INSTANTIATED, None, [])
    notifications.add(tx, unmade(operation))
