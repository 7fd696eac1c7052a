"""Which of several failures to tell, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from manor.model.instance import StepRecord, StepState

__all__ = ["told", "worst"]


def worst(records: Iterable[StepRecord]) -> StepRecord | None:
    """The failure that stands in the way: an undo that failed before all, else what failed first."""
    failed = [row for row in records if row.error and row.state is not StepState.DONE]
    return min(failed, key=lambda row: (row.state is not StepState.UNDO_FAILED, row.ended_s), default=None)


def told(failed: StepRecord) -> str:
    """What failed, where, and why, in one line."""
    what = f"undoing {failed.step.id}" if failed.state is StepState.UNDO_FAILED else failed.step.id
    place = " on ".join(part for part in (failed.step.endpoint, failed.step.host) if part)
    return f"{what} ({place}): {failed.error}"
