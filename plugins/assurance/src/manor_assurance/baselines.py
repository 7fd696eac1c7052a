"""Simple methods to be measured beside: scored in batch, decided by the same layer without its margin.

Each fits on ``train`` once and gives one score a row of ``train`` and ``test``; what they share with the combined
detector is only that the threshold follows the last week's half-hour maxima.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from manor_assurance.decision import Decision
from manor_assurance.series import Series

__all__ = ["BASELINES", "decide", "scores_of"]

DAY_S, STEP_S = 86400.0, 21600.0
LAGS = 30


def _rows(series: Series) -> np.ndarray:
    """``train`` and ``test`` without gaps: what was not measured is as it was last."""
    rows = np.concatenate([series.train, series.test])
    known = ~np.isnan(rows)
    last = np.maximum.accumulate(np.where(known, np.arange(len(rows))[:, None], 0), axis=0)
    return np.nan_to_num(np.take_along_axis(rows, last, axis=0))


def _robust(series: Series) -> tuple[np.ndarray, np.ndarray]:
    rows = _rows(series)
    train = rows[: len(series.train)]
    low, centre, high = np.quantile(train, [0.25, 0.5, 0.75], axis=0)
    reach = train.max(axis=0) - train.min(axis=0)
    spread = np.maximum((high - low) / 1.349, np.where(reach > 0, reach * 1e-2, 1e-3))
    return (train - centre) / spread, np.clip((rows - centre) / spread, -1e3, 1e3)


def robust_z(series: Series) -> np.ndarray:
    """Distance from the median in robust deviations; mean of the three furthest KPIs."""
    z = np.abs(_robust(series)[1])
    return np.asarray(np.sort(z, axis=1)[:, -3:].mean(axis=1))


def ewma(series: Series) -> np.ndarray:
    """Distance from an exponential mean of an hour in deviations of a day; mean of the three furthest KPIs."""
    rows = _rows(series)
    gain, slow = (1.0 - 0.5 ** (series.period_s / half) for half in (3600.0, DAY_S))
    start = rows[: max(8, int(DAY_S / series.period_s))]
    level, variance = start.mean(axis=0), start.var(axis=0)
    floor = np.maximum((start.max(axis=0) - start.min(axis=0)) * 1e-2, 1e-6)
    scores = np.zeros(len(rows))
    for at, row in enumerate(rows):
        step, deviation = row - level, np.sqrt(variance) + floor
        scores[at] = np.sort(np.abs(step) / deviation)[-3:].mean()
        step = np.clip(step, -4.0 * deviation, 4.0 * deviation)
        level, variance = level + gain * step, variance + slow * (step * step - variance)
    return scores


def principal(series: Series) -> np.ndarray:
    """Squared length of what the principal components of ``train`` leave unexplained."""
    from sklearn.decomposition import PCA

    train, rows = _robust(series)
    if not train.any():  # nothing stirs that could be explained
        return np.asarray((rows**2).sum(axis=1))
    pca = PCA(n_components=0.9, svd_solver="covariance_eigh").fit(np.clip(train, -8.0, 8.0))
    left = rows - pca.inverse_transform(pca.transform(rows))
    return np.asarray((left**2).sum(axis=1))


def mahalanobis(series: Series) -> np.ndarray:
    """Distance from the mean of ``train`` by its covariance, shrunk as Ledoit and Wolf have it."""
    from sklearn.covariance import LedoitWolf

    train, rows = _robust(series)
    return np.asarray(LedoitWolf().fit(np.clip(train, -8.0, 8.0)).mahalanobis(rows))


def autoregression(series: Series) -> np.ndarray:
    """What a ridge regression on each KPI's own last rows misses, in robust deviations of ``train``; mean of all."""
    from sklearn.linear_model import Ridge

    rows = np.clip(_robust(series)[1], -8.0, 8.0)
    known, scores = len(series.train), np.zeros(len(rows))
    if known < 2 * LAGS:
        return scores
    for column in rows.T:
        past = np.lib.stride_tricks.sliding_window_view(column[:-1], LAGS)
        model = Ridge().fit(past[: known - LAGS], column[LAGS:known])
        missed = column[LAGS:] - model.predict(past)
        low, high = np.quantile(missed[: known - LAGS], [0.25, 0.75])
        scores[LAGS:] += np.abs(missed) / max((high - low) / 1.349, 1e-2)
    return np.asarray(scores / rows.shape[1])


def isolation_forest(series: Series) -> np.ndarray:
    """scikit-learn's IsolationForest with its defaults."""
    from sklearn.ensemble import IsolationForest

    rows = _rows(series)
    forest = IsolationForest(random_state=0).fit(rows[: len(series.train)])
    return np.asarray(-forest.score_samples(rows))


BASELINES: dict[str, Callable[[Series], np.ndarray]] = {
    "robust-z": robust_z,
    "ewma": ewma,
    "principal-components": principal,
    "mahalanobis": mahalanobis,
    "ridge-autoregression": autoregression,
    "isolation-forest": isolation_forest,
}


def scores_of(method: str, series: Series) -> np.ndarray:
    """A baseline's score for each row of ``train`` and ``test``; 0 where there is too little ``train`` to fit on."""
    if len(series.train) < 2:
        return np.zeros(len(series.train) + len(series.test))
    return BASELINES[method](series)


def decide(scores: np.ndarray, series: Series, budget_per_day: float) -> list[bool]:
    """Which rows of ``test`` an alarm stands at, with the threshold re-estimated every six hours from what was seen."""
    # Two of the last three rows for quick series, one row for slow ones, as a moving minimum of the two largest.
    if series.period_s < 200 and len(scores) > 2:
        last = np.stack([scores[2:], scores[1:-1], scores[:-2]])
        scores = np.concatenate([np.zeros(2), np.sort(last, axis=0)[1]])
    decision = Decision(
        budget_per_day=budget_per_day, margin=1.0, floor=0.0, young_floor=0.0, smooth=1, clear_ratio=0.99, clear_s=0.0,
        days=7, censor=False,
    )  # fmt: skip
    next_s, first = STEP_S, len(series.train)
    standing = []
    for at, score in enumerate(scores):
        time_s = at * series.period_s
        if time_s >= next_s or at == first:
            decision.retune(time_s, 0.0)
            next_s = time_s + STEP_S
        decision.take(time_s, float(score))
        if at >= first:
            standing.append(decision.raised)
    return standing
