"""How long operations and their steps take, counted as they end in this process.

Labels are the operation, its end, the verb, the kind of resource and the step's end: ETSI's and our own small sets,
whatever is deployed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from manor.api.plan import OperationKind
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["WorkFigures"]

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_OPERATION_ENDS = frozenset(
    {
        OperationState.COMPLETED,
        OperationState.PARTIALLY_COMPLETED,
        OperationState.FAILED_TEMP,
        OperationState.FAILED,
        OperationState.ROLLED_BACK,
    }
)
_STEP_ENDS = frozenset({StepState.DONE, StepState.FAILED})


class WorkFigures:
    """A counter and two histograms in a registry; threads may tell it at once."""

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.time) -> None:
        from prometheus_client import Counter, Histogram

        self._clock = clock
        self._ended = Counter(
            "manor_operations_ended",
            "Operations that came to rest in a state.",
            ["operation", "state"],
            registry=registry,
        )
        for kind in OperationKind:  # from zero, for a counter that begins at 1 has no increase
            for state in _OPERATION_ENDS:
                self._ended.labels(str(kind), str(state))
        self._operations = Histogram(
            "manor_operation_duration_seconds",
            "From the start of an operation to the state it first rests in.",
            ["operation"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._steps = Histogram(
            "manor_step_duration_seconds",
            "Time that a step of an operation took.",
            ["verb", "kind", "state"],
            buckets=_SECONDS,
            registry=registry,
        )

    def operation(self, operation: NsLcmOpOcc) -> None:
        """An operation changed; counted where it rests now."""
        if operation.state in _OPERATION_ENDS:
            self._ended.labels(str(operation.operation), str(operation.state)).inc()
            if operation.attempt == 1:  # who takes it up again may have let it rest for days
                took_s = max(0.0, self._clock() - operation.start_s)
                self._operations.labels(str(operation.operation)).observe(took_s)

    def step(self, record: StepRecord) -> None:
        """A step changed; counted where it has ended."""
        if record.state in _STEP_ENDS and record.started_s:
            took_s = max(0.0, record.ended_s - record.started_s)
            self._steps.labels(str(record.step.verb), str(record.step.kind), str(record.state)).observe(took_s)
