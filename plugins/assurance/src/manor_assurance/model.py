"""What was learned about one VNF, and the residuals of one row against it.

Five views of the same row, each blind where another sees: distance from the long median, forecast from the last rows
of all KPIs, what the common factors do not explain, distance from this time of day, distance from the last hour's
level. A row is scored with plain numpy: the validation layers of an estimator cost more than the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BINS", "CHANNELS", "CLIP", "WEIGHTS", "Model", "lags_for"]

CHANNELS = ("median", "forecast", "factors", "season", "level")
WEIGHTS = np.array([1.0, 1.5, 0.6, 0.6, 2.0])
"""What each view adds to the score: departures from the near past are worth more than those from weeks."""
BINS = 96
"""Quarters of an hour in a day."""
LAGS = 4
WIDEST = 480
"""Most inputs of the forecast; wide VNFs look back over fewer rows."""
CLIP = 30.0
FAR = 6e4
"""Residuals are capped here, which a half-precision float holds."""


def lags_for(width: int) -> int:
    """Rows that the forecast looks back over for ``width`` KPIs."""
    return max(1, min(LAGS, WIDEST // max(width, 1)))


@dataclass(kw_only=True)
class Model:
    """Fitted parameters; arrays only. ``k`` KPIs, ``c`` channels, ``f`` factors, ``p`` lags."""

    centre: np.ndarray  # k
    spread: np.ndarray  # k
    known: np.ndarray  # k, False where a KPI was never or hardly seen
    factors: np.ndarray  # k x f
    factors_spread: np.ndarray  # k
    weights: np.ndarray  # (p*k) x k
    offset: np.ndarray  # k
    forecast_spread: np.ndarray  # k
    profile: np.ndarray  # BINS x k, or 0 x k before two days were seen
    profile_spread: np.ndarray  # k
    level_floor: np.ndarray  # k
    usual: np.ndarray  # c x k, what a residual seldom passes in a week
    rare: np.ndarray  # c x k, what it seldom passes in a month

    def standardise(self, row: np.ndarray) -> np.ndarray:
        """The row in robust standard deviations from the median; 0 where nothing was measured."""
        z: np.ndarray = (row - self.centre) / self.spread
        z[~(np.isfinite(z) & self.known)] = 0.0
        return z

    def expect(self, z: np.ndarray, lags: np.ndarray | None, time_s: float) -> list[np.ndarray | None]:
        """What the first four channels expect, as standardised rows; None where a channel has nothing to say."""
        forecast = None if lags is None else lags @ self.weights + self.offset
        common = (z @ self.factors) @ self.factors.T
        season = self.profile[int(time_s % 86400.0 // (86400.0 / BINS))] if len(self.profile) else None
        return [None, forecast, common, season]

    def residuals(
        self,
        row: np.ndarray,
        z: np.ndarray,
        lags: np.ndarray | None,
        time_s: float,
        level: tuple[np.ndarray, np.ndarray],
    ) -> np.ndarray:
        """Absolute residuals, channel by KPI, each in units of its own usual spread; 0 where not measured."""
        clipped = np.minimum(np.maximum(z, -CLIP), CLIP)
        _, forecast, common, season = self.expect(clipped, lags, time_s)
        out = np.zeros((len(CHANNELS), len(row)))
        out[0] = z
        if forecast is not None:
            out[1] = (clipped - forecast) / self.forecast_spread
        out[2] = (clipped - common) / self.factors_spread
        if season is not None:
            out[3] = (clipped - season) / self.profile_spread
        mean, deviation = level
        out[4] = (row - mean) / (deviation + self.level_floor)
        np.abs(out, out=out)
        missing = ~(np.isfinite(row) & self.known)
        if missing.any():
            out[:, missing] = 0.0
        out[~np.isfinite(out)] = 0.0
        np.minimum(out, FAR, out=out)
        return out
