"""All sets of a directory, one method after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from manor.errors import UsageError
from manor_assurance.baselines import BASELINES, scores_of
from manor_assurance.config import CombinedConfig
from manor_assurance.figures import figures_of
from manor_assurance.replay import Outcome, replay, replay_baseline
from manor_assurance.series import Series, period_of, read_series, sets_in

__all__ = ["evaluate_sets"]

NO_VUS = "null: no package that is kept, light and rightly licensed gives it"


def evaluate_sets(
    directory: Path,
    *,
    budget_per_day: float,
    periods_s: dict[str, float],
    only: frozenset[str],
    train_limit_s: float,
    baselines: bool,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Figures by set and method, as JSON values. Raises UsageError on a directory or file that cannot be read."""
    config = CombinedConfig(budget_per_day=budget_per_day)
    sets = sets_in(directory)
    unknown = only - sets.keys()
    if unknown:
        raise UsageError(f"{directory} has no set {min(unknown)}", hint="it has " + ", ".join(sets))
    report: dict[str, Any] = {"budget_per_day": budget_per_day, "format": 1, "notes": {"vus_pr": NO_VUS}, "sets": {}}
    periods = {name: period_of(files[0].parent, periods_s) for name, files in sets.items() if name in (only or sets)}
    # All are read before the first is replayed: a file that cannot be read is told now, not after an hour.
    machines = {name: [read_series(path, period_s) for path in sets[name]] for name, period_s in periods.items()}
    with threadpool_limits(1):  # several threads only slow such small matrices down
        for name, period_s in periods.items():
            outcomes: dict[str, list[Outcome]] = {}
            for whole in machines[name]:
                series = _limited(whole, train_limit_s)
                outcomes.setdefault("combined", []).append(replay(series, config))
                for method in BASELINES if baselines else ():
                    scores = scores_of(method, series)
                    outcomes.setdefault(method, []).append(replay_baseline(series, scores, budget_per_day))
                one = outcomes["combined"][-1]
                progress(f"{name}/{series.name}: {one.found} of {one.events} events found, {one.false} false alarms")
            report["sets"][name] = {
                "period_s": period_s,
                "methods": {method: figures_of(done) for method, done in outcomes.items()},
                "machines": {
                    one.machine: {"events": one.events, "found": one.found, "false_alarms": one.false}
                    for one in outcomes["combined"]
                },
            }
    return report


def _limited(series: Series, train_limit_s: float) -> Series:
    if train_limit_s <= 0:
        return series
    return replace(series, train=series.train[-max(1, int(train_limit_s / series.period_s)) :])
