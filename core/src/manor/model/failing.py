"""Which of several failures to tell, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from manor.model.instance import StepRecord, StepState

__all__ = ["problem_details", "told", "worst"]


def worst(records: Iterable[StepRecord]) -> StepRecord | None:
    """The failure that stands in the way: an undo that failed before all, else what failed first."""
    failed = [row for row in records if row.error and row.state is not StepState.DONE]
    return min(failed, key=lambda row: (row.state is not StepState.UNDO_FAILED, row.ended_s), default=None)


def told(failed: StepRecord) -> str:
    """What failed, where, and why, in one line."""
    what = f"undoing {failed.step.id}" if failed.state is StepState.UNDO_FAILED else failed.step.id
    place = " on ".join(part for part in (failed.step.endpoint, failed.step.host) if part)
    return f"{what} ({place}): {failed.error}"


def problem_details(error: str, cause: str = "", hint: str = "") -> dict[str, Any]:
    """``error`` of an occurrence or a notification, as ProblemDetails (SOL013 §6.3.5): nothing where none is told.

    ``cause`` is the class of the error; ``hint``, what to do about it, is an attribute of ours beside ETSI's.
    """
    if not error:
        return {}
    more = {"title": cause, "hint": hint}
    return {"error": {"status": 500, "detail": error, **{name: text for name, text in more.items() if text}}}
