"""An idle guest: KPIs that hardly ever move, of which it is known what change means anything, stir now and then."""

from __future__ import annotations

import numpy as np
import pytest

from manor.api import SampleBatch, Score, Verdict
from manor_assurance.config import CombinedConfig
from manor_assurance.detector import CombinedDetector

LOAD, LOSS, CPU, MEMORY, PACKETS = range(5)
NAMES = ("v_guest_load", "probe_loss", "v_cpu_usage_mean_vnf", "v_memory_usage_mean_vnf", "packet_incoming")
NOTABLE = (0.5, 1.0, 5.0, 2.0, 20.0)
"""As core gives them."""
QUIET, LATER = 400, 400
YOUNG = CombinedConfig(
    channels=("median", "level"), warmup_s=60.0, warmup_rows=280, budget_per_day=4.0, margin=1.1, floor=6.0,
    smooth=4, clear_s=5.0, relearn_s=120.0,
)  # fmt: skip
"""For a trial, as the documents have it."""


@pytest.fixture(params=[(5.0, CombinedConfig()), (0.5, YOUNG)], ids=["every 5 s", "every half second, for a trial"])
def watch(request: pytest.FixtureRequest) -> Watch:
    return Watch(*request.param)


class Watch:
    """A detector, and the rows that it is shown one by one."""

    def __init__(self, period_s: float, config: CombinedConfig) -> None:
        self.period_s = period_s
        self.detector = CombinedDetector(config)
        self.time_s = 1e9

    def first_alarm(self, rows: np.ndarray, *, notable: tuple[float, ...] = NOTABLE) -> tuple[int, Score] | None:
        """At which of these rows, the first is 0, it raised the first alarm."""
        found = None
        for at, row in enumerate(rows.tolist()):
            times_s = (self.time_s,)
            (score,) = self.detector.score(SampleBatch(names=NAMES, times_s=times_s, values=[row], notable=notable))
            self.time_s += self.period_s
            if score.verdict is Verdict.ANOMALY and found is None:
                found = at, score
        return found


def _idle(count: int, *, start: int = 0) -> np.ndarray:
    rng = np.random.default_rng((7, start))
    rows = np.zeros((count, len(NAMES)))
    rows[:, CPU] = np.round(1.0 + 0.2 * rng.normal(size=count), 1)
    rows[:, MEMORY] = 41.6
    rows[:, PACKETS] = 3.0 + rng.integers(0, 2, count)
    return rows


def test_small_stirs_of_what_never_moved_are_no_alarm(watch: Watch) -> None:
    assert watch.first_alarm(_idle(QUIET)) is None
    rows = _idle(LATER, start=QUIET)
    rng = np.random.default_rng(3)
    for begin in range(0, LATER, 40):
        rows[begin : begin + 12, LOAD] = rng.uniform(0.0, 0.15)
    rows[100:130, MEMORY] += 0.2
    rows[200:206, CPU] += 3.0
    rows[300:306, LOSS] = 0.5
    assert watch.first_alarm(rows) is None


@pytest.mark.parametrize(("kpi", "value"), [(LOAD, 2.0), (LOSS, 30.0), (CPU, 95.0), (MEMORY, 60.0), (PACKETS, 400.0)])
def test_a_change_that_means_something_is_told_within_ten_samples_and_blamed_first(
    watch: Watch, kpi: int, value: float
) -> None:
    assert watch.first_alarm(_idle(QUIET)) is None
    rows = _idle(20, start=QUIET)
    rows[:, kpi] = value
    found = watch.first_alarm(rows)
    assert found is not None
    at, score = found
    assert at < 10
    assert score.blame[0][0] == NAMES[kpi]


def test_a_kpi_of_which_nothing_is_known_is_judged_by_what_was_seen_of_it_alone(watch: Watch) -> None:
    watch.first_alarm(_idle(QUIET), notable=())
    rows = _idle(20, start=QUIET)
    rows[:, LOAD] = 0.15
    found = watch.first_alarm(rows, notable=())
    assert found is not None
    assert found[1].blame[0][0] == "v_guest_load"


def test_what_means_something_is_kept_with_what_was_learned(watch: Watch) -> None:
    """A KPI is missing when a detector starts again, and that is when it fits anew; then the KPI is back."""
    watch.first_alarm(_idle(QUIET))
    again = CombinedDetector(watch.detector.config)
    again.load(watch.detector.dump())
    watch.detector = again
    assert dict(zip(again.names, again.notable, strict=True)) == dict(zip(NAMES, NOTABLE, strict=True))


def test_rows_at_another_pace_are_no_row_of_gaps(watch: Watch) -> None:
    """The operator has KPIs measured ten times as seldom from now on."""
    assert watch.first_alarm(_idle(QUIET)) is None
    watch.period_s *= 10
    assert watch.first_alarm(_idle(2, start=QUIET)) is None
    rows = _idle(20, start=QUIET + 2)
    rows[:, CPU] = 95.0
    found = watch.first_alarm(rows)
    assert found is not None
    assert found[0] < 5


def test_two_gaps_in_a_row_are_no_pace_for_long(watch: Watch) -> None:
    """A source that failed, gave one row and failed again: the next gap is a gap as before."""
    assert watch.first_alarm(_idle(QUIET)) is None
    usual_s = watch.detector.period_s
    watch.period_s *= 30
    watch.first_alarm(_idle(2, start=QUIET))
    watch.period_s /= 30
    watch.first_alarm(_idle(3, start=QUIET + 2))
    assert watch.detector.period_s == pytest.approx(usual_s)
