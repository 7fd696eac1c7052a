"""What apply asks of the world: a step performed, its resource observed, and a step's inverse.

The journal, the scheduler and the retry rules know no driver; the runtime's executor knows nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from manor.api.context import CallContext
from manor.api.plan import Step, Undo, Verb
from manor.api.resources import Observed

__all__ = ["Executor", "inverse"]


_PROOF_S = 30.0
_AGAIN_S = 300.0
"""Time to configure a machine anew, which has to boot first."""


class Executor(Protocol):
    """Carries steps to drivers. Every call is bounded by ``ctx.deadline``; several threads call at once."""

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        """Do what the step says, once: ensure and remove are idempotent by key, verify returns when it is true.

        Raises DriverError: Transient where nothing happened, Indeterminate where it may have.
        """
        ...

    def observe(self, step: Step, ctx: CallContext) -> Observed | None:
        """The step's resource as it is now, None where it is absent. Never mutates.

        Raises DriverError where that cannot be told.
        """
        ...


def inverse(step: Step) -> Step | None:
    """The step that takes this one back; None where nothing outlives it.

    What destroys data and was not seen to be done is proven not to be.
    """
    if step.undo is Undo.IMPOSSIBLE:
        return replace(step, id=f"undo {step.id}", verb=Verb.VERIFY, spec=None, deadline_s=_PROOF_S, undo=Undo.NONE)
    if step.undo is Undo.REMOVE:
        return replace(step, id=f"undo {step.id}", verb=Verb.REMOVE, spec=None, before=step.spec, undo=Undo.NONE)
    if step.verb is Verb.QUIESCE:
        return replace(step, id=f"undo {step.id}", verb=Verb.CONFIGURE, undo=Undo.NONE, deadline_s=_AGAIN_S)
    if step.undo is Undo.RESTORE and step.before is not None:
        host = str(step.before.get("host", step.host))
        return replace(
            step, id=f"undo {step.id}", verb=Verb.ENSURE, spec=step.before, before=None, undo=Undo.NONE, host=host
        )
    return None
