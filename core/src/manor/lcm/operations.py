"""Operations from outside: submit a plan, handle its errors, cancel it, watch it. Any process may, beside any worker.

Everything an accepted request needs is in one transaction: the operation's row, its steps, and its place in the durable
queue. So what was accepted cannot be lost, and what was refused has left nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from manor.api.plan import OperationKind, Plan
from manor.errors import PlanRefused, UsageError
from manor.lcm.apply import Progress
from manor.lcm.claims import Seen, require_room
from manor.lcm.ending import beyond_return
from manor.lcm.states import CANCELLABLE, Trigger, advance
from manor.lcm.target import Target, target_to_json
from manor.lcm.wave import Mode, lost
from manor.model.asked import Asked, asked
from manor.model.instance import (
    CancelMode,
    NsInstance,
    NsLcmOpOcc,
    OnFailure,
    OperationState,
    StepRecord,
    StepState,
    VnfInstance,
)
from manor.model.vnfoperation import concerned
from manor.store import instances, operations, rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from manor.lcm.engine import Engine
    from manor.store.database import Database

__all__ = ["Operations"]

_AGAIN = dict.fromkeys((StepState.UNDONE, StepState.UNDO_FAILED, StepState.UNDOING), StepState.PLANNED)
_RESET: Mapping[Trigger, Mapping[StepState, StepState]] = {
    Trigger.RETRY: {**_AGAIN, StepState.FAILED: StepState.PLANNED, StepState.SKIPPED: StepState.PLANNED},
    Trigger.CONTINUE: {**_AGAIN, StepState.FAILED: StepState.SKIPPED},
    Trigger.ROLLBACK: {StepState.UNDO_FAILED: StepState.UNDOING},
}
"""What each way out of FAILED_TEMP makes of the steps; a step found intended is always looked at first."""


class Operations:
    """The operations of one database."""

    def __init__(self, database: Database, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._engine = engine
        self._clock = clock

    def submit(
        self,
        plan: Plan,
        target: Target,
        *,
        on_failure: OnFailure = OnFailure.ROLLBACK,
        params: Mapping[str, Any] | None = None,
        is_automatic: bool = False,
        force: bool = False,
        planned_after: str | None = None,
        seen: Seen | None = None,
        beside: Callable[[Connection, str], None] | None = None,
    ) -> NsLcmOpOcc:
        """Accept a plan: PROCESSING, to be picked up by a worker.

        ``force`` goes on where a step fails and lists what it could not remove (terminate only). ``planned_after`` is
        the service's last operation when the plan was made, ``seen`` the room that it was made with. ``beside`` writes
        what belongs to the operation, whose id it is given, in the same transaction. Raises UsageError while another
        operation is active, PlanRefused where one has run since the plan was made, or another service took its room.
        """
        if force and plan.operation is not OperationKind.TERMINATE:
            raise UsageError(f"{plan.operation} cannot be forced: only a terminate can")
        now_s = self._clock()
        operation = NsLcmOpOcc(
            id=uuid.uuid4().hex[:12],
            ns_id=plan.service_id,
            ns_name=plan.service_name,
            operation=plan.operation,
            state=OperationState.PROCESSING,
            on_failure=OnFailure.HOLD if force else on_failure,
            start_s=now_s,
            state_entered_s=now_s,
            is_at_work=True,
            is_automatic=is_automatic,
            params={**(params or {}), **({"force": True} if force else {})},
        )
        mode = Mode.DRAIN if force else Mode.FORWARD
        self._engine.prepare()
        with self._database.begin() as tx:
            service = instances.get(tx, plan.service_id, lock=True)
            before = instances.vnfs(tx, service.id)
            earlier, elements = instances.wishes(tx, service.id), instances.elements(tx, service.id)
            operation = _with_asked(operation, plan, service, before, target, earlier=earlier, elements=elements)
            operations.add(tx, operation, plan, target=target_to_json(target), mode=str(mode))
            if planned_after is not None and service.last_operation != planned_after:
                raise PlanRefused(
                    f"operation {service.last_operation} ran on {service.name} since the plan was made",
                    hint=f"look again: manor ns plan {service.name}",
                )
            if seen is not None:
                require_room(tx, plan, seen, target.desired.site_spans if target.desired else {})
            instances.save(tx, replace(service, last_operation=operation.id))
            self._engine.dispatch(tx, operation.id, operation.attempt, operation.ns_id)
            if beside is not None:
                beside(tx, operation.id)
        return operation

    def act(self, operation_id: str, trigger: Trigger) -> NsLcmOpOcc:
        """``retry``, ``rollback``, ``continue`` or ``fail`` an operation in FAILED_TEMP.

        ``fail`` cleans up first: the operation is FAILED once nothing is left, or what is left is listed as orphaned.
        Raises UsageError in another state, or while one of these is under way.
        """
        self._engine.prepare()
        with self._database.begin() as tx:
            operation = operations.get(tx, operation_id)
            operation = rows.operation(operations.locked(tx, operation.id))
            state = advance(operation.state, trigger)
            if operation.is_at_work:
                raise UsageError(
                    f"operation {operation.id} is being cleaned up already", hint=f"manor op watch {operation.id}"
                )
            mode, reset = _way(operation, trigger)
            records = operations.steps(tx, operation.id)
            if trigger is Trigger.ROLLBACK and (gone := lost(records)):
                raise UsageError(f"operation {operation.id} cannot be rolled back", hint=beyond_return(gone))
            changed = [
                (position, replace(record, state=reset[record.state]))
                for position, record in enumerate(records)
                if record.state in reset
            ]
            operations.write_steps(tx, operation.id, changed)
            state = operation.state if trigger is Trigger.FAIL else state
            return self._dispatch_anew(tx, operation, state=state, mode=mode)

    def dispatch_again(self, operation_id: str, attempt: int) -> bool:
        """Put an operation at work back into the queue, where its queue entry ended any other way than it did.

        False where there is nothing to mend: it has ended, or somebody did this already.
        """
        with self._database.begin() as tx:
            row = operations.locked(tx, operation_id)
            if not row["mode"] or row["attempt"] != attempt:
                return False
            operation = rows.operation(row)
            self._dispatch_anew(tx, operation, state=operation.state, mode=Mode(row["mode"]))
            return True

    def cancel(self, operation_id: str, mode: CancelMode = CancelMode.GRACEFUL) -> NsLcmOpOcc:
        """Ask a running operation to stop where it is, in FAILED_TEMP; its next wave sees it.

        What was asked forcefully before is not softened. Raises UsageError for an operation that does not run.
        """
        with self._database.begin() as tx:
            operation = operations.get(tx, operation_id)
            operation = rows.operation(operations.locked(tx, operation.id))
            if operation.state not in CANCELLABLE:
                allowed = " or ".join(sorted(CANCELLABLE))
                raise UsageError(
                    f"cancel is not possible in {operation.state}: it takes an operation in {allowed}",
                    hint=f"manor op show {operation.id}",
                )
            if operation.is_cancel_pending and operation.cancel_mode is CancelMode.FORCEFUL:
                mode = CancelMode.FORCEFUL
            operations.set_columns(tx, operation.id, is_cancel_pending=True, cancel_mode=str(mode))
        return replace(operation, is_cancel_pending=True, cancel_mode=mode)

    def get(self, operation_id: str) -> tuple[NsLcmOpOcc, tuple[StepRecord, ...]]:
        """An operation (by id or the start of one) and its journal."""
        with self._database.read() as tx:
            operation = operations.get(tx, operation_id)
            return operation, operations.steps(tx, operation.id)

    def watch(
        self, operation_id: str, *, poll_s: float = 0.1, meanwhile: Callable[[], object] = lambda: None
    ) -> Iterator[Progress]:
        """What happens to an operation, whichever process runs it, until it rests; first, how it stands.

        The operation itself comes first and whenever it changed, a step whenever it changed. ``meanwhile`` is called
        before each pause.
        """
        operation_id = self.get(operation_id)[0].id
        seen: dict[str, StepRecord] = {}
        shown: NsLcmOpOcc | None = None
        last = -1
        while True:
            with self._database.read() as tx:
                revision, mode = operations.pulse(tx, operation_id)
                if revision != last:
                    operation = operations.get(tx, operation_id)
                    records = operations.steps(tx, operation.id)
            if revision != last:
                last = revision
                if shown is None or replace(operation, epoch=0) != replace(shown, epoch=0):
                    shown = operation
                    yield Progress(operation=operation)
                for record in records:
                    if seen.get(record.step.id) != record:
                        seen[record.step.id] = record
                        yield Progress(operation=operation, step=record)
            if not mode:
                return
            meanwhile()
            time.sleep(poll_s)

    def wait(self, operation_id: str, *, poll_s: float = 0.1) -> NsLcmOpOcc:
        """The operation (by its whole id) once it rests."""
        while True:
            with self._database.read() as tx:
                if not operations.pulse(tx, operation_id)[1]:
                    return operations.get(tx, operation_id)
            time.sleep(poll_s)

    def _dispatch_anew(self, tx: Connection, operation: NsLcmOpOcc, *, state: OperationState, mode: Mode) -> NsLcmOpOcc:
        after = replace(
            operation,
            state=state,
            state_entered_s=self._clock() if state is not operation.state else operation.state_entered_s,
            attempt=operation.attempt + 1,
            is_at_work=True,
        )
        operations.set_columns(
            tx,
            operation.id,
            state=str(after.state),
            state_entered_s=after.state_entered_s,
            attempt=after.attempt,
            mode=str(mode),
        )
        if after.state is not operation.state:
            operations.passed(tx, after)
        self._engine.dispatch(tx, operation.id, after.attempt, operation.ns_id)
        return after


def _with_asked(
    operation: NsLcmOpOcc,
    plan: Plan,
    service: NsInstance,
    before: Sequence[VnfInstance],
    target: Target,
    *,
    earlier: Mapping[str, Any],
    elements: Mapping[str, Any],
) -> NsLcmOpOcc:
    """The operation with what it is to each VNF and what was asked, which its occurrences are read off from then on.

    ``earlier`` are the wishes of before, ``elements`` what links, SAPs and paths were in the NSD of before.
    """
    wishes = operation.params.get("wishes", {})
    were, are = ({vnf.name: vnf for vnf in vnfs} for vnfs in (before, target.vnfs))
    vnfs = concerned(plan.operation, plan.steps, wishes.get("vnf_operations", {}), before=list(were), after=list(are))
    said = asked(
        Asked(
            plan=plan,
            ns=service,
            wishes=wishes,
            earlier=earlier,
            before=were,
            after=are,
            vnfs=vnfs,
            nsd_id=target.nsd[0] if target.nsd else "",
        )
    )
    elements = {**elements, **(target.desired.elements if target.desired else {})}
    return replace(operation, params={**operation.params, "vnfs": vnfs, "asked": {**said, "elements": elements}})


def _way(operation: NsLcmOpOcc, trigger: Trigger) -> tuple[Mode, Mapping[StepState, StepState]]:
    """Which way the worker goes, and what becomes of the steps before it does."""
    removes = operation.operation is OperationKind.TERMINATE
    if trigger is Trigger.FAIL:
        return (Mode.DRAIN, _RESET[Trigger.RETRY]) if removes else (Mode.SWEEP, _RESET[Trigger.ROLLBACK])
    if trigger is Trigger.ROLLBACK:
        return Mode.BACKWARD, _RESET[trigger]
    forced = bool(operation.params.get("force"))
    return (Mode.DRAIN if forced else Mode.FORWARD), _RESET[trigger]
