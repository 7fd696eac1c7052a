"""The measuring command: its matching rule, what it reads, what it prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from manor.errors import UsageError
from manor_assurance.baselines import BASELINES, scores_of
from manor_assurance.cli import app
from manor_assurance.config import CombinedConfig
from manor_assurance.figures import figures_of, score_of
from manor_assurance.matching import Event, match, raises_of
from manor_assurance.replay import Outcome, replay, replay_baseline
from manor_assurance.series import period_of, read_series, sets_in

from .conftest import DAY, rows_of


def test_a_raise_is_where_an_alarm_begins_to_stand():
    assert raises_of([False, True, True, False, True, False]) == [1, 4]
    assert raises_of([True]) == [0]


def test_an_event_is_five_minutes_early_to_two_samples_late_and_counts_once():
    events = [Event(start=100, end=110), Event(start=200, end=200)]
    matched = match([94, 95, 105, 112, 150, 202], events, 60.0)
    assert matched.found == {0: 95, 1: 202}
    assert matched.false == (94, 150)


def test_a_false_alarm_counts_again_after_half_an_hour():
    assert match([1, 4, 8], [], 300.0).false == (1, 8)
    assert match([1, 4, 8], [], 1800.0).false == (1, 4, 8)


def test_faults_within_half_an_hour_are_all_found():
    events = [Event(start=at, end=at + 4) for at in range(100, 700, 10)]
    matched = match([event.start + 1 for event in events], events, 60.0)
    assert len(matched.found) == len(events)
    assert matched.false == ()


def test_score_of_nothing_is_zero():
    assert score_of(0, 0, 0) == (0.0, 0.0, 0.0)
    assert score_of(2, 2, 4) == (0.5, 0.5, 0.5)


def test_intervals_hold_the_figure_and_do_not_change():
    outcomes = [
        Outcome(machine=str(i), events=4, found=i % 4, false=i % 3, days=2.0, delays_s=(60.0,), average_precision=0.5)
        for i in range(12)
    ]
    figures = figures_of(outcomes)
    assert figures == figures_of(outcomes)
    low, high = figures["f1_interval"]
    assert low < figures["f1"] < high
    assert figures["false_alarms_per_day"] == pytest.approx(12 / 24)


def _write(folder, name="one", **changes):
    folder.mkdir(exist_ok=True)
    test = rows_of(2 * DAY, seed=9, start=4 * DAY)
    label = np.zeros(len(test), int)
    label[300:330] = 1
    test[300:330, 0] += 60
    content = {"train": rows_of(4 * DAY, seed=8), "test": test, "label": label, "events": "[[300, 329, [0]]]"}
    np.savez(folder / f"{name}.npz", **{**content, **changes})
    return folder / f"{name}.npz"


def test_the_period_comes_from_the_option_the_readme_or_the_name(tmp_path):
    for name in ("smd", "asd", "ims", "other"):
        _write(tmp_path / name)
    (tmp_path / "README.md").write_text("| folder | sampling |\n|---|---|\n| `ims/` | 5 s |\n| `asd/` | 10 min |\n")
    assert list(sets_in(tmp_path)) == ["asd", "ims", "other", "smd"]
    assert period_of(tmp_path / "smd", {}) == 60
    assert period_of(tmp_path / "ims", {}) == 5
    assert period_of(tmp_path / "asd", {}) == 600
    assert period_of(tmp_path / "asd", {"asd": 300.0}) == 300
    assert period_of(tmp_path / "other", {"": 1.0}) == 1
    assert period_of(tmp_path / "other", {}) == 60
    (tmp_path / "README.md").write_text("| `ims/` | 4 services of an IMS | 30 s (by collectd) |\n")
    assert period_of(tmp_path / "ims", {}) == 30


@pytest.mark.slow
def test_evaluate_finds_the_fault_and_prints_stable_json(tmp_path):
    _write(tmp_path / "lab")
    arguments = ["evaluate", str(tmp_path), "--period-s", "lab=300", "--json"]
    first, second = (CliRunner().invoke(app, arguments) for _ in range(2))
    assert first.exit_code == 0, first.output
    reports = [json.loads(run.stdout) for run in (first, second)]
    methods = reports[0]["sets"]["lab"]["methods"]
    combined = methods["combined"]
    assert (combined["events"], combined["found"]) == (1, 1)
    assert combined["blame_top1"] == 1.0
    assert sum(combined["won"].values()) == 1
    assert combined["false_alarms"] <= 2
    assert set(methods) == {
        "combined", "robust-z", "ewma", "principal-components", "mahalanobis", "ridge-autoregression",
        "isolation-forest",
    }  # fmt: skip
    for report in reports:
        for one in report["sets"]["lab"]["methods"].values():
            one["row_us_median"] = one["row_us_p99"] = 0
    assert reports[0] == reports[1]
    table = CliRunner().invoke(
        app, [*arguments[:-1], "--no-baselines", "--train-limit-s", "86400", "--budget-per-week", "7"]
    )
    assert table.exit_code == 0
    assert "lab  combined" in table.stdout


def _with_gaps(rows):
    """One in ten was not measured, a column never, and one value came out infinite."""
    rows = np.where(np.random.default_rng(1).random(rows.shape) < 0.1, np.nan, rows)
    rows[:, 1] = np.nan
    rows[7, 0] = np.inf
    return rows


ODD = {
    "no train": {"train": rows_of(DAY, seed=8)[:0]},
    "one row": {"train": rows_of(DAY, seed=8)[:1]},
    "no change": {"train": np.tile(rows_of(DAY, seed=8)[:1], (40, 1))},
    "gaps": {"train": _with_gaps(rows_of(DAY, seed=8)), "test": _with_gaps(rows_of(2 * DAY, seed=9))},
    "no test": {"test": rows_of(DAY, seed=9)[:0], "label": np.zeros(0), "events": "[]"},
}


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD)
def test_a_series_with_little_in_it_stops_no_method(tmp_path, odd):
    _write(tmp_path / "lab", **ODD[odd])
    series = read_series(tmp_path / "lab" / "one.npz", 300.0)
    for method in BASELINES:
        scores = scores_of(method, series)
        assert scores.shape == (len(series.train) + len(series.test),)
        assert np.isfinite(scores).all()
        replay_baseline(series, scores, 1.0)
    replay(series, CombinedConfig())


@pytest.mark.slow
def test_what_was_not_measured_is_no_outlier_to_a_baseline(tmp_path):
    _write(tmp_path / "whole")
    whole = read_series(tmp_path / "whole" / "one.npz", 300.0)
    _write(tmp_path / "gap", test=np.where(np.arange(len(whole.test))[:, None] == 100, np.nan, whole.test))
    gap = read_series(tmp_path / "gap" / "one.npz", 300.0)
    at = len(whole.train) + 100
    for method in BASELINES:
        assert scores_of(method, gap)[at] <= np.quantile(scores_of(method, whole), 0.99)


@pytest.mark.parametrize(
    "changes", [{"label": np.zeros(3)}, {"test": np.zeros((3, 2))}, {"events": "{"}, {"train": np.array([None])}]
)
def test_what_is_no_series_is_refused_in_one_line(tmp_path, changes):
    path = _write(tmp_path, **changes)
    with pytest.raises(UsageError, match=r"one\.npz"):
        read_series(path, 60.0)


@pytest.mark.parametrize(
    ("marked", "taken"),
    [
        ([0, 7], (0, 7)),  # 0 is named: counted from 0, though column 7 stands still
        ([1, 5], (1, 5)),
        ([1, 8], (0, 7)),  # there is no column 8
        ([5, 7], (4, 6)),  # column 7 stands still, column 6 does not
    ],
)
def test_kpis_counted_from_one_are_told_by_columns_that_cannot_be_to_blame(tmp_path, marked, taken):
    series = read_series(_write(tmp_path, events=f"[[300, 329, {marked}]]"), 60.0)
    assert [event.kpis for event in series.events] == [taken]


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no directory"):
        sets_in(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"no \.npz"):
        sets_in(tmp_path)
    (tmp_path / "junk.npz").write_bytes(b"junk")
    for arguments in (
        ["--budget-per-day", "0"],
        ["--budget-per-week", "0"],
        ["--period-s", "x"],
        ["--set", "nope"],
        [],
    ):
        result = CliRunner().invoke(app, ["evaluate", str(tmp_path), *arguments])
        assert isinstance(result.exception, UsageError), arguments
