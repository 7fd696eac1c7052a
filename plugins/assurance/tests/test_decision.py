"""Raising and clearing for one score: what many raises of late do to the threshold."""

from __future__ import annotations

import pytest

from manor_assurance.decision import Decision

PERIOD_S, HOUR = 60.0, 60


def _threshold_after(raises_a_day: int, *, each: int = 1) -> float:
    """What three days of alarms, each raised so often within half an hour, make of a threshold of 2.6 over blocks that
    reached 2."""
    decision = Decision(
        budget_per_day=1.0, margin=1.3, floor=1.0, young_floor=1.0, smooth=1, clear_ratio=0.7, clear_s=180.0, days=21
    )
    apart = 24 * HOUR // raises_a_day if raises_a_day else 10**9
    raised = []
    for row in range(4 * 24 * HOUR):
        if row == 24 * HOUR:
            decision.retune(row * PERIOD_S, 0.0)
        since, last = row % apart, decision.raised
        faulty = row > 24 * HOUR and since < 10 * each and since % 10 < 10 // each
        decision.take(row * PERIOD_S, 5.0 if faulty else (2.0 if row % 30 == 29 else 1.0))
        raised += [row] if decision.raised and not last else []
    assert len(raised) >= 3 * raises_a_day * each
    decision.maxima.rows[:] = 2.0  # what they leave in the history is another matter
    decision.retune(row * PERIOD_S, 0.0)
    return decision.threshold


def test_more_raises_than_the_budget_call_for_more_margin():
    assert _threshold_after(0) == pytest.approx(2.6)
    assert _threshold_after(3) > 1.2 * 2.6


def test_raises_within_half_an_hour_are_one():
    assert _threshold_after(3, each=3) == pytest.approx(_threshold_after(3))
