"""A detector that is minutes old: what a short training is worth, and faults in KPIs that had never moved."""

from __future__ import annotations

import numpy as np
import pytest

from manor.api import SampleBatch, Score, Verdict
from manor_assurance.config import CombinedConfig
from manor_assurance.decision import CEILING, Decision
from manor_assurance.detector import CombinedDetector

PERIOD_S = 5.0
NAMES = ("rx", "rx_bytes", "tx", "tx_bytes", "dropped", "errors", "latency", "memory")


def _traffic(count: int, *, lost: float = 0.0, seed: int = 1) -> np.ndarray:
    """A forwarding VNF: what comes in goes out, but for the part that is lost."""
    rng = np.random.default_rng((seed, count))
    load = 200 * (1 + 0.05 * rng.normal(size=count))
    out = load * (1 - lost)
    return np.column_stack(
        [load, 600 * load, out, 600 * out, lost * load, 0 * load, 3 + 0.3 * rng.normal(size=count), 0 * load + 128e6]
    )


def _scores(detector: CombinedDetector, rows: np.ndarray, *, start: int) -> list[Score]:
    times = tuple((np.arange(len(rows)) + start) * PERIOD_S)
    return list(detector.score(SampleBatch(names=NAMES[: rows.shape[1]], times_s=times, values=rows.tolist())))


def _first(scores: list[Score]) -> int | None:
    return next((at for at, score in enumerate(scores) if score.verdict is Verdict.ANOMALY), None)


@pytest.mark.parametrize("minutes", [20, 30])
def test_a_gray_failure_is_raised_within_ten_samples(minutes):
    quiet = int(minutes * 60 / PERIOD_S)
    detector = CombinedDetector(CombinedConfig())
    assert _first(_scores(detector, _traffic(quiet), start=0)) is None
    scores = _scores(detector, _traffic(12, lost=0.3), start=quiet)
    at = _first(scores)
    assert at is not None
    assert at < 10
    assert scores[at].blame[0][0] == "dropped"


def test_a_kpi_that_never_moved_counts_when_it_does():
    detector = CombinedDetector(CombinedConfig())
    rows = np.column_stack([np.full(360, 200.0), np.zeros(360), np.random.default_rng(2).normal(50, 1, 360)])
    assert _first(_scores(detector, rows, start=0)) is None
    rows[:, 0] = 140.0
    scores = _scores(detector, rows[:10], start=360)
    at = _first(scores)
    assert at is not None
    assert scores[at].blame[0] == ("rx", pytest.approx(1.0, abs=0.2))


def test_ten_minutes_of_training_find_stress_and_keep_silent_beside_it():
    """Two hours of a VNF whose KPIs share a load, with stress every quarter of an hour; ten minutes came before.

    The first is found too: what models of a minute or two found odd in the training does not deafen the one of it all.
    """
    rng = np.random.default_rng(4)
    count, width = 120 + 1440, 24
    load = np.convolve(rng.normal(size=count + 59), np.ones(60) / 8, "valid")
    rows = 100 + load[:, None] * rng.uniform(-1, 1, width) + rng.normal(size=(count, width))
    begins = range(240, count - 100, 180)
    for begin in begins:
        rows[begin : begin + 60, rng.choice(width, 4, replace=False)] += rng.choice([-6.0, 6.0], 4)
    detector = CombinedDetector(CombinedConfig())
    names = tuple(f"k{i}" for i in range(width))
    times = np.arange(count) * PERIOD_S
    detector.fit(SampleBatch(names=names, times_s=tuple(times[:120]), values=rows[:120].tolist()))
    scores = detector.score(SampleBatch(names=names, times_s=tuple(times[120:]), values=rows[120:].tolist()))
    standing = np.array([score.verdict is Verdict.ANOMALY for score in scores])
    raised = np.flatnonzero(standing & ~np.r_[False, standing[:-1]]) + 120
    found = [begin for begin in begins if ((raised >= begin) & (raised < begin + 60)).any()]
    false = [at for at in raised if not any(begin <= at < begin + 62 for begin in begins)]
    assert found == list(begins)
    assert len(false) <= 1


def _an_hour_of_counters(count: int, wild: tuple[int, ...] = ()) -> np.ndarray:
    """A load and four error counters that stand still, but for single rows."""
    rng = np.random.default_rng(5)
    rows = np.column_stack([50 + rng.normal(size=(count, 6)), np.zeros((count, 4))])
    for number, at in enumerate(wild):
        rows[at, 6 + number % 4] = 1.0
    return rows


def test_a_counter_that_stirs_in_one_row_is_no_alarm_of_a_young_detector():
    """In the hour that it learned from, the counter had not: how odd single rows can be is not known yet."""
    detector = CombinedDetector(CombinedConfig())
    names = tuple(f"k{i}" for i in range(10))
    rows = _an_hour_of_counters(1440, wild=(900, 1050, 1200, 1350))
    times = tuple(np.arange(1440) * PERIOD_S)
    detector.fit(SampleBatch(names=names, times_s=times[:720], values=rows[:720].tolist()))
    scores = list(detector.score(SampleBatch(names=names, times_s=times[720:], values=rows[720:].tolist())))
    assert _first(scores) is None


def test_wild_rows_of_a_short_training_do_not_hide_a_fault():
    detector = CombinedDetector(CombinedConfig())
    names = tuple(f"k{i}" for i in range(10))
    rows = _an_hour_of_counters(760, wild=(450, 550, 650, 700))
    rows[740:, 2:4] += 8
    times = tuple(np.arange(760) * PERIOD_S)
    detector.fit(SampleBatch(names=names, times_s=times[:720], values=rows[:720].tolist()))
    scores = list(detector.score(SampleBatch(names=names, times_s=times[720:], values=rows[720:].tolist())))
    at = _first(scores)
    assert at is not None
    assert 20 <= at < 30
    assert scores[at].blame[0][0] in ("k2", "k3")


def test_faults_of_the_first_hours_do_not_deafen():
    """Each half-hour holds a fault; the threshold stays where the quiet rows put it."""
    decision = Decision(
        budget_per_day=1.0, margin=1.5, floor=1.0, young_floor=1.0, smooth=1, clear_ratio=0.7, clear_s=0.0, days=21
    )
    for row in range(360):
        decision.take(row * PERIOD_S, 2.0)
    decision.retune(360 * PERIOD_S, 0.0)
    first = decision.threshold
    for row in range(360, 6 * 360):
        decision.take(row * PERIOD_S, 50.0 if row % 360 < 24 else 2.0)
        if row % 720 == 0:
            decision.retune(row * PERIOD_S, 0.0)
    assert decision.threshold <= first * CEILING


def test_a_kpi_that_was_hardly_seen_is_not_judged_yet():
    """Its source fell silent while the detector learned the others; it comes back, and is not what it was."""
    config = CombinedConfig(channels=("median", "level"), warmup_rows=280, warmup_s=60.0, budget_per_day=4.0)
    detector = CombinedDetector(config)
    rows = np.column_stack([_traffic(400), np.full(400, np.nan)])
    rows[:40, -1] = np.repeat([5.3, 5.1, 5.25, 5.0], 10)
    rows[300:, -1] = 6.4
    names = (*NAMES, "indicator")
    times = tuple(np.arange(400) * PERIOD_S)
    scores = list(detector.score(SampleBatch(names=names, times_s=times[:340], values=rows[:340].tolist())))
    assert scores[330].verdict is Verdict.OK
    assert _first(scores) is None
    rows[370:, :2] *= 3
    scores = list(detector.score(SampleBatch(names=names, times_s=times[340:], values=rows[340:].tolist())))
    assert _first(scores) is not None, "the others are judged"


def test_what_was_odd_before_a_verdict_was_due_is_no_alarm_once_it_is():
    config = CombinedConfig(channels=("median", "level"), warmup_rows=280, warmup_s=60.0, budget_per_day=4.0)
    detector = CombinedDetector(config)
    rows = _traffic(400)
    rows[265:275] *= 5
    scores = _scores(detector, rows[:300], start=0)
    assert {score.verdict for score in scores[:279]} == {Verdict.UNKNOWN}
    assert {score.verdict for score in scores[279:]} == {Verdict.OK}, "it was over by then"
    rows[310:] *= 5
    assert _first(_scores(detector, rows[300:], start=300)) is not None
