"""Fit a model from the rows kept: batch work, done every few hours, where scikit-learn serves best."""

from __future__ import annotations

import warnings

import numpy as np

from manor_assurance.model import BINS, CHANNELS, Model, lags_for

__all__ = ["fit_model", "lagged"]

TRIM = 8.0
"""Learning rows are clipped to so many spreads: one wild row must not turn the axes."""
EXPLAINED = 0.9
RIDGE_PER_ROW = 0.02
RIDGE_AT_LEAST = 50.0


def _spread(rows: np.ndarray, floor: np.ndarray | float) -> np.ndarray:
    """A robust standard deviation per column: quartiles, or the far tails where most of a column stands still."""
    if not len(rows):
        return np.ones(rows.shape[1]) * floor
    far_low, low, high, far_high = np.quantile(rows, [0.02, 0.25, 0.75, 0.98], axis=0)
    return np.asarray(np.maximum(np.maximum((high - low) / 1.349, (far_high - far_low) / 8.2), floor))


def lagged(rows: np.ndarray, lags: int) -> np.ndarray:
    """Inputs of the forecast: for each row from ``lags`` on, the rows before it, newest first."""
    return np.hstack([rows[lags - i - 1 : len(rows) - i - 1] for i in range(lags)])


def fit_model(
    long: np.ndarray,
    recent: np.ndarray,
    usable: np.ndarray,
    days: np.ndarray,
    bins: np.ndarray,
    notable: np.ndarray,
    enough: int,
) -> Model:
    """A model without residual levels (``usual``, ``rare`` are one).

    ``long``: rows over the last weeks, thinned. ``recent``: the newest rows without thinning; ``usable`` says which may
    be learned from as the outcome of those before. ``days``: means by day and time of day; ``bins``: time-of-day bin
    of each recent row. All are raw values with NaN where missing. ``notable``: the least change of each KPI that means
    anything, 0 where unknown; no spread is smaller, or what never moved in a short life would be odd at its first stir.
    ``enough``: rows, or a quarter of ``long``, that a KPI has to be seen in before it is judged.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge

    width = long.shape[1]
    seen = np.isfinite(long).sum(axis=0)
    # The past is thinned: of what came lately, the rows without thinning say how often it was seen.
    lately = np.isfinite(recent).sum(axis=0)
    known = (seen > 0) & ((seen >= min(enough, len(long) / 4)) | (lately >= enough))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN columns are told by `known`
        centre = np.nan_to_num(np.nanmedian(long, axis=0))
        reach = np.nan_to_num(np.nanmax(long, axis=0) - np.nanmin(long, axis=0))
    filled = np.where(np.isfinite(long), long, centre)
    floor = np.where(reach > 0, reach * 1e-2, np.maximum(np.abs(centre) * 1e-2, 1e-3))
    spread = _spread(filled, np.maximum(floor, notable))
    least = notable / spread

    def standard(rows: np.ndarray) -> np.ndarray:
        z = (rows - centre) / spread
        return np.clip(np.where(np.isfinite(z), z, 0.0), -TRIM, TRIM)

    z = standard(filled)
    moving = z.std(axis=0) > 0
    factors = np.zeros((width, 0))
    if moving.sum() > 1:
        pca = PCA(n_components=EXPLAINED, svd_solver="covariance_eigh").fit(z[:, moving])
        keep = min(int(pca.n_components_), int(moving.sum()) - 1)
        factors = np.zeros((width, keep))
        factors[moving] = pca.components_[:keep].T
    unexplained = z - (z @ factors) @ factors.T

    lags = lags_for(width)
    near = standard(recent)
    weights, offset = np.zeros((lags * width, width)), np.zeros(width)
    forecast_spread = np.ones(width)
    if len(near) > 2 * lags:
        inputs, outcome = lagged(near, lags), near[lags:]
        use = usable[lags:]
        if use.sum() > 2 * lags:
            inputs, outcome = inputs[use], outcome[use]
        ridge = Ridge(alpha=RIDGE_PER_ROW * len(inputs) + RIDGE_AT_LEAST).fit(inputs, outcome)
        weights, offset = ridge.coef_.reshape(width, -1).T.copy(), np.asarray(ridge.intercept_).reshape(width)
        forecast_spread = _spread(outcome - ridge.predict(inputs).reshape(len(inputs), width), np.maximum(least, 0.05))

    profile, profile_spread = np.zeros((0, width)), np.ones(width)
    if len(days) >= 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a bin that was never seen
            profile = np.nanmedian((days - centre) / spread, axis=0)
        profile = np.where(np.isfinite(profile), np.clip(profile, -TRIM, TRIM), 0.0)
        profile = (np.roll(profile, 1, axis=0) + profile + np.roll(profile, -1, axis=0)) / 3.0
        left = near - profile[bins]
        profile = profile + np.median(left[-len(left) // 4 :], axis=0)
        profile_spread = _spread(near - profile[bins], np.maximum(least, 0.05))
    assert profile.shape[0] in (0, BINS)
    one = np.ones((len(CHANNELS), width))
    return Model(
        centre=centre,
        spread=spread,
        known=known,
        factors=factors,
        factors_spread=_spread(unexplained, np.maximum(least, 0.05)),
        weights=weights,
        offset=offset,
        forecast_spread=forecast_spread,
        profile=profile,
        profile_spread=profile_spread,
        level_floor=np.maximum.reduce([reach * 1e-2, np.abs(centre) * 1e-3, np.full(width, 1e-6), notable]),
        usual=one,
        rare=one.copy(),
    )
