"""The operation's state machine as data: exactly the table of ETSI for network services (SOL005 §6.4).

``retry``, ``rollback``, ``continue`` and ``fail`` start from FAILED_TEMP only; ``cancel`` is a flag on a running
operation that takes effect as CANCELLED. An operation on one VNF is one on its service, which is what is locked,
planned and journalled; occurrences with the states of VNFs' (SOL003 §5.4) are read off it
(:mod:`manor.model.vnfoperation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from manor.errors import UsageError
from manor.model.instance import OperationState

__all__ = ["ACTIVE", "CANCELLABLE", "ENDED", "NS_OPERATIONS", "Trigger", "advance", "allowed_in"]


class Trigger(StrEnum):
    """What moves an operation from state to state."""

    SUCCEEDED = "succeeded"
    PARTLY_SUCCEEDED = "partly-succeeded"
    FAILED = "failed"
    """Something failed that can be retried or rolled back."""
    FAILED_FOR_GOOD = "failed-for-good"
    CANCELLED = "cancelled"
    RETRY = "retry"
    ROLLBACK = "rollback"
    CONTINUE = "continue"
    FAIL = "fail"


_S, _T = OperationState, Trigger

NS_OPERATIONS: Mapping[tuple[OperationState, Trigger], OperationState] = {
    (_S.PROCESSING, _T.SUCCEEDED): _S.COMPLETED,
    (_S.PROCESSING, _T.PARTLY_SUCCEEDED): _S.PARTIALLY_COMPLETED,
    (_S.PROCESSING, _T.FAILED): _S.FAILED_TEMP,
    (_S.PROCESSING, _T.FAILED_FOR_GOOD): _S.FAILED,
    (_S.PROCESSING, _T.CANCELLED): _S.FAILED_TEMP,
    (_S.FAILED_TEMP, _T.RETRY): _S.PROCESSING,
    (_S.FAILED_TEMP, _T.CONTINUE): _S.PROCESSING,
    (_S.FAILED_TEMP, _T.ROLLBACK): _S.ROLLING_BACK,
    (_S.FAILED_TEMP, _T.FAIL): _S.FAILED,
    (_S.ROLLING_BACK, _T.SUCCEEDED): _S.ROLLED_BACK,
    (_S.ROLLING_BACK, _T.FAILED): _S.FAILED_TEMP,
    (_S.ROLLING_BACK, _T.CANCELLED): _S.FAILED_TEMP,
}

ACTIVE = frozenset({_S.PROCESSING, _S.FAILED_TEMP, _S.ROLLING_BACK})
"""While an operation is in one of these, its service takes no other."""

ENDED = frozenset(OperationState) - ACTIVE

CANCELLABLE = frozenset({_S.PROCESSING, _S.ROLLING_BACK})


def allowed_in(trigger: Trigger) -> tuple[OperationState, ...]:
    """The states in which the trigger means something."""
    return tuple(state for state, by in NS_OPERATIONS if by is trigger)


def advance(state: OperationState, trigger: Trigger) -> OperationState:
    """The next state. Raises UsageError, naming the states that allow it, where this one does not."""
    try:
        return NS_OPERATIONS[state, trigger]
    except KeyError:
        allowed = " or ".join(allowed_in(trigger)) or "no state"
        raise UsageError(
            f"{trigger} is not possible in {state}: it takes an operation in {allowed}", hint="manor op list"
        ) from None
