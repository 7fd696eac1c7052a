"""OPERATE: VNFs are turned off and on (vnfState), and stay so until they are operated again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from manor.api import OperationKind, PowerState
from manor.errors import UsageError
from manor.lcm.ns import Proposal, propose
from manor.lcm.runtime import Runtime
from manor.lcm.wishes import standing

__all__ = ["operate"]


def operate(
    rt: Runtime, ns: str, vnfs: Sequence[str], change_state_to: PowerState, *, patience_s: float | None = None
) -> Proposal:
    """The proposal to start or stop these VNFs (OperateVnfRequest).

    ``patience_s`` is gracefulStopTimeout; 0 stops forcefully, None leaves it to the VIM. A stopped VNF is not drift,
    and nothing asks after its health. Raises UsageError for a VNF that the service does not have, PlanRefused.
    """
    if patience_s is not None and not 0 <= patience_s <= 86_400:
        raise UsageError(f"a stop cannot wait for {patience_s:g} s", hint="0 to 86400 seconds")
    now = standing(rt, ns)
    names = {now.vnf(name).name for name in vnfs}
    were = set(now.wishes.stopped)
    stopped = were | names if change_state_to is PowerState.STOPPED else were - names
    wishes = dataclasses.replace(
        now.wishes,
        stopped=tuple(sorted(stopped)),
        vnf_operations=dict.fromkeys(stopped ^ were, "operate"),
        patience_s=patience_s,
    )
    return propose(rt, now.ns.id, OperationKind.OPERATE, wishes)
