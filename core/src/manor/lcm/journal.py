"""The fenced journal: every write carries the epoch of its claim, under a lock on the operation's row.

A worker claims an operation by raising its epoch. Whoever comes later with an older one, a process that was frozen and
woke up, is told so (:class:`~manor.errors.Fenced`) before it can start anything. One commit per wave holds the outcomes
of finished steps and the intents of those that start next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from manor.errors import Fenced
from manor.lcm.ending import Turn
from manor.lcm.states import ENDED
from manor.lcm.target import commit_end
from manor.lcm.wave import Mode
from manor.model.instance import CancelMode, NsLcmOpOcc, StepRecord
from manor.store import operations, rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from manor.store.database import Database

__all__ = ["Claim", "Journal", "Wave"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """An operation taken by this worker, as it was then."""

    operation: NsLcmOpOcc
    mode: Mode
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wave:
    """One transaction of the journal, with the operation as it is now and nobody else writing it."""

    tx: Connection
    operation: NsLcmOpOcc
    now_s: float

    @property
    def is_cancelled(self) -> bool:
        """Whether a cancel waits to take effect."""
        return self.operation.is_cancel_pending

    def write(self, records: Sequence[tuple[int, StepRecord]]) -> None:
        """Write steps by position, and let watchers know."""
        operations.write_steps(self.tx, self.operation.id, records)
        operations.set_columns(self.tx, self.operation.id)

    def turn(self, turn: Turn, journal: Collection[StepRecord]) -> None:
        """Write the operation's new state, and what its end makes of the service; tell what the journal says of it."""
        state = turn.states[-1]
        rests = replace(
            self.operation, state_entered_s=self.now_s, is_cancel_pending=False, error=turn.error, hint=turn.hint
        )
        for through in turn.states:
            operations.passed(self.tx, replace(rests, state=through), journal)
        operations.set_columns(
            self.tx,
            self.operation.id,
            state=str(state),
            state_entered_s=self.now_s,
            mode=str(turn.mode or ""),
            is_cancel_pending=False,
            error=turn.error,
            hint=turn.hint,
            orphans=list(turn.orphans),
        )
        if state in ENDED:
            commit_end(self.tx, self.operation, state)


class Journal:
    """The journal of one database."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def claim(self, operation_id: str) -> Claim | None:
        """Take the operation, whoever had it before; None where nothing is left to do."""
        with self._database.begin() as tx:
            row = operations.locked(tx, operation_id)
            if not row["mode"]:
                return None
            epoch = row["epoch"] + 1
            operations.set_columns(tx, operation_id, epoch=epoch)
            operation = rows.operation({**row, "epoch": epoch})
            return Claim(operation=operation, mode=Mode(row["mode"]), steps=operations.steps(tx, operation_id))

    @contextmanager
    def wave(self, claim: Claim) -> Iterator[Wave]:
        """A transaction on the claimed operation. Raises Fenced where the claim was lost."""
        with self._database.begin() as tx:
            row = operations.locked(tx, claim.operation.id)
            if row["epoch"] != claim.operation.epoch:
                raise Fenced(f"operation {claim.operation.id} was taken over by another worker")
            yield Wave(tx=tx, operation=rows.operation(row), now_s=self._clock())

    def cancel_mode(self, claim: Claim) -> CancelMode | None:
        """The cancel that waits to take effect, or None. Raises Fenced where the claim was lost."""
        with self._database.read() as tx:
            operation = operations.get(tx, claim.operation.id)
        if operation.epoch != claim.operation.epoch:
            raise Fenced(f"operation {claim.operation.id} was taken over by another worker")
        return operation.cancel_mode if operation.is_cancel_pending else None
