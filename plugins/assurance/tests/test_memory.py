"""What counts as rare: not one bad day, but what comes again and again."""

from __future__ import annotations

import numpy as np

from manor_assurance.memory import PEAK_S, Memory
from manor_assurance.model import CHANNELS

QUIET, SPIKE, RARE = 3.0, 50.0, 0.95


def _after(spikes: set[int], *, windows: int) -> float:
    """What is rare after so many six-hour windows, of which some held an abnormal spike."""
    memory = Memory(1)
    for number in range(windows):
        seen = np.full((len(CHANNELS), 1), SPIKE if number in spikes else QUIET)
        for time_s in (number * PEAK_S, (number + 0.5) * PEAK_S):
            memory.keep_residuals(time_s, np.minimum(seen, QUIET), seen, time_s + 1.0)
    return float(memory.levels(0.99, RARE)[1].max())


def test_one_bad_day_does_not_move_what_is_rare():
    assert _after({60, 61, 62, 63}, windows=112) == QUIET


def test_what_comes_again_every_few_days_is_rare_no_more():
    assert _after(set(range(30, 112, 8)), windows=112) == SPIKE


def test_the_first_fault_of_a_young_memory_does_not_deafen_it():
    assert _after({3, 4}, windows=8) == QUIET
