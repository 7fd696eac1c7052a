"""What an operator notices of the learning detector."""

from __future__ import annotations

import math

import numpy as np
import pytest

from manor.api import SampleBatch, Verdict
from manor_assurance.config import CombinedConfig
from manor_assurance.detector import CombinedDetector
from manor_assurance.model import CHANNELS

from .conftest import DAY, NAMES, PERIOD_S, batch_of, rows_of


@pytest.mark.slow
def test_it_says_that_it_does_not_know_until_it_has_seen_enough():
    detector = CombinedDetector(CombinedConfig())
    verdicts = [score.verdict for score in detector.score(batch_of(rows_of(120, seed=3), start=0))]
    assert set(verdicts[:64]) == {Verdict.UNKNOWN}
    assert verdicts[-1] is Verdict.OK


@pytest.mark.slow
def test_quiet_days_keep_the_budget(trial, next_rows):
    assert len(trial.raises(next_rows(10 * DAY))) <= 5


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cpu", lambda v: v + 60),
        ("memory", lambda v: v + np.linspace(0, 200, len(v))),
        ("errors", lambda v: v + 40),
        ("rx", lambda v: v * 0.1),
        ("version", lambda v: v + 1),
    ],
)
def test_a_fault_is_raised_and_blamed(trial, next_rows, name, change):
    rows = next_rows(DAY)
    column = NAMES.index(name)
    rows[200:240, column] = change(rows[200:240, column])
    scores = trial.detector.score(batch_of(rows, start=trial.start))
    found = [score for score in scores[200:224] if score.verdict is Verdict.ANOMALY]
    assert found, [round(s.value / s.threshold, 2) for s in scores[195:240]]
    assert name in [blamed for blamed, _ in found[0].blame[:2]]
    assert math.isclose(sum(share for _, share in found[0].blame), 1.0, abs_tol=0.05)
    first = next(item for item in found[0].evidence if item.metric == name)
    at = scores.index(found[0])
    assert first.seen == pytest.approx(rows[at, column])
    assert first.detector in CHANNELS
    assert found[0].since_s is not None
    assert found[0].since_s <= found[0].time_s


def test_an_alarm_clears_when_the_fault_is_gone(trial, next_rows):
    rows = next_rows(DAY)
    rows[100:112, 0] += 60
    verdicts = trial.verdicts(rows)
    assert Verdict.ANOMALY in verdicts[100:112]
    assert Verdict.ANOMALY not in verdicts[124:]


@pytest.mark.slow
def test_a_fault_that_comes_again_after_a_refit_is_raised_again(trial, next_rows):
    """It lasts for an hour, which is no new normal: it was not learned."""
    hour, again = slice(100, 112), slice(2 * DAY + 100, 2 * DAY + 112)
    rows = next_rows(3 * DAY)
    for fault in (hour, again):
        rows[fault, NAMES.index("cpu")] += 60
    before = trial.verdicts(rows[:200])
    model = trial.detector.model
    after = trial.verdicts(rows[200 : 2 * DAY + 90])
    assert trial.detector.model is not model, "it was fitted again, with the fault in what it remembers"
    verdicts = [*before, *after, *trial.verdicts(rows[2 * DAY + 90 :])]
    assert Verdict.ANOMALY in verdicts[hour]
    assert Verdict.ANOMALY in verdicts[again]


def test_what_lasts_becomes_normal(trial, next_rows):
    rows = next_rows(4 * DAY)
    rows[100:, 1] += 150
    verdicts = trial.verdicts(rows)
    assert Verdict.ANOMALY in verdicts[100:110]
    assert verdicts[-2 * DAY :].count(Verdict.ANOMALY) <= 12


@pytest.mark.slow
def test_benign_events_stay_within_the_budget(trial, next_rows):
    rows = next_rows(7 * DAY)
    load = np.ones(len(rows))
    load[DAY : DAY + 72] = 1 + 0.3 * np.sin(np.linspace(0, np.pi, 72))  # a busy evening
    for name in ("cpu", "rx", "tx", "sessions"):
        rows[:, NAMES.index(name)] *= load
    rows[2 * DAY + 50] = np.nan  # one scrape lost
    rows[3 * DAY : 3 * DAY + 12] = np.nan  # the source restarts
    rows[4 * DAY + 30, 2:4] = np.nan  # a counter reset: no rate for one sample
    rows[5 * DAY :, 7] = np.nan  # a KPI goes away
    assert len(trial.raises(rows)) <= 5


def test_rows_without_values_or_out_of_order_are_unknown_and_change_nothing(trial, next_rows):
    rows = next_rows(3)
    before = trial.detector.dump()
    nothing = batch_of(np.full((2, 8), np.nan), start=trial.start)
    old = batch_of(rows, start=trial.start - 5)
    for batch in (nothing, old):
        assert {score.verdict for score in trial.detector.score(batch)} == {Verdict.UNKNOWN}
    assert trial.detector.dump() == before


def test_columns_may_change_places_go_and_appear(trial, next_rows):
    rows = next_rows(400)
    order = [3, 0, 1, 2, 4, 6, 7]
    scores = trial.detector.score(batch_of(rows[:100, order], start=trial.start, names=tuple(NAMES[i] for i in order)))
    assert Verdict.ANOMALY not in [score.verdict for score in scores]
    more = np.column_stack([rows[100:], np.random.default_rng(0).normal(5, 1, 300)])
    scores = trial.detector.score(batch_of(more, start=trial.start + 100, names=(*NAMES, "queue")))
    assert trial.detector.names[-1] == "queue"
    assert [score.verdict for score in scores[200:]].count(Verdict.ANOMALY) <= 12


@pytest.mark.parametrize("period_s", [5.0, 60.0])
def test_quicker_sampling_needs_no_other_settings(period_s):
    rng = np.random.default_rng(7)
    rows = 50 + rng.normal(0, 1, (1500, 6)) + np.sin(np.arange(1500) / 40)[:, None]
    rows[1300:1330, 2] += 25
    detector = CombinedDetector(CombinedConfig())
    times = np.arange(1500) * period_s
    names = tuple("abcdef")
    batch = batch_of(rows, start=0, names=names)
    object.__setattr__(batch, "times_s", tuple(times))
    verdicts = [score.verdict for score in detector.score(batch)]
    assert Verdict.ANOMALY in verdicts[1300:1311]
    assert Verdict.ANOMALY not in verdicts[:1300]


def test_a_fault_of_one_slow_row_is_raised():
    """A quarter of an hour a row: averaged with the quiet rows before, an odd one would be lost."""
    rows = 50 + np.random.default_rng(8).normal(0, 1, (600, 6))
    rows[500, 2:4] += 4
    batch = SampleBatch(names=tuple("abcdef"), times_s=tuple(np.arange(600) * 900.0), values=rows.tolist())
    score = CombinedDetector(CombinedConfig()).score(batch)[500]
    assert score.verdict is Verdict.ANOMALY
    assert score.blame[0][0] in ("c", "d")


def test_flat_and_equal_columns_are_silent():
    detector = CombinedDetector(CombinedConfig())
    rows = np.full((600, 4), 3.0)
    names = ("a", "b", "c", "d")
    assert Verdict.ANOMALY not in [s.verdict for s in detector.score(batch_of(rows, start=0, names=names))]
    rows[:, 1] = 9.0
    later = detector.score(batch_of(rows[:10], start=600, names=names))
    assert Verdict.ANOMALY in [score.verdict for score in later]
    assert later[-1].blame[0][0] == "b"


def test_equal_input_gives_equal_scores_in_one_call_or_many(learned, next_rows):
    rows = next_rows(150)
    rows[80:90, 4] *= 3
    at_once, one_by_one = CombinedDetector(CombinedConfig()), CombinedDetector(CombinedConfig())
    at_once.load(learned)
    one_by_one.load(learned)
    start = 10 * DAY
    whole = at_once.score(batch_of(rows, start=start))
    single = [one_by_one.score(batch_of(rows[i : i + 1], start=start + i))[0] for i in range(len(rows))]
    assert list(whole) == single
    assert at_once.dump() == one_by_one.dump()


def test_memory_does_not_grow(trial, next_rows):
    before = trial.detector.memory_bytes()
    trial.verdicts(next_rows(2 * DAY))
    assert trial.detector.memory_bytes() <= before * 1.05
    assert before < 4_000_000
    assert trial.detector.last_s == (12 * DAY - 1) * PERIOD_S
