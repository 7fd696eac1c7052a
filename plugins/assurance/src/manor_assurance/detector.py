"""The combined detector: residuals of several views, summed as log exceedances, decided by a rolling threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from manor.api import Evidence, SampleBatch, Score, Verdict
from manor_assurance.config import CombinedConfig
from manor_assurance.decision import Decision
from manor_assurance.fitting import fit_model
from manor_assurance.memory import Memory
from manor_assurance.model import BINS, CHANNELS, CLIP, WEIGHTS, Model, lags_for
from manor_assurance.state import dump_state, load_state, state_bytes

__all__ = ["CombinedDetector"]

HALF_LEVEL_S, HALF_DEVIATION_S = 3600.0, 86400.0
LEVEL_CLIP = 4.0
GAP = 3.5
"""A pause longer than so many periods is a gap: what came before is no forecast's input."""
SMOOTH_S = 1200.0
"""No longer are rows averaged, however slow they come: a fault of two rows would be thinned to nothing."""
BLAMED = 8
GROWTH, YOUTH, YOUTH_S = 1.0, 0.4, 86400.0
"""A young detector fits when it has grown by so much; the first part of its life, a day at most, sets no threshold."""
LESSON_GROWTH, LESSON_YOUTH = 0.25, 0.6
"""The same within a first window to learn from that is shorter than :data:`YOUTH_S`.

Each row that then sets the threshold was scored by a model of about half of the window or more. At each doubling it
would be one of a quarter, which finds nearly all of it odd; but nobody waits for an alarm within such a window.
"""


class CombinedDetector:
    """Learns one VNF online. Not thread-safe: one detector belongs to one VNF and one caller at a time."""

    def __init__(self, config: CombinedConfig) -> None:
        self.config = config
        used = np.array([name in config.channels for name in CHANNELS])
        self._weights = np.where(used, WEIGHTS, 0.0)[:, None]
        self.restart(())

    def restart(self, names: tuple[str, ...]) -> None:
        """Forget everything; the KPIs are ``names`` from now on."""
        config, width = self.config, len(names)
        self.names = names
        self.notable = np.zeros(width)
        self.memory = Memory(width)
        self.model: Model | None = None
        self.decision = Decision(
            budget_per_day=config.budget_per_day,
            margin=config.margin,
            floor=config.floor,
            young_floor=config.young_floor,
            smooth=config.smooth,
            clear_ratio=config.clear_ratio,
            clear_s=config.clear_s,
            days=config.threshold_days,
        )
        self.rows_seen = 0
        self.first_s = self.last_s = math.nan
        self.period_s = self.step_s = math.nan
        self.next_fit_s = math.nan
        self.abnormal_s = math.nan
        self.rows_since_gap = 0
        self.level = np.full(width, np.nan)
        self.variance = np.full(width, np.nan)
        self.excess = np.zeros((config.smooth, len(CHANNELS), width))
        self._past: np.ndarray | None = None
        self._level_before = self.level
        self._growth, self._youth = GROWTH, YOUTH

    # the protocol

    def fit(self, window: SampleBatch) -> None:
        """Learn from what is taken to be normal; unmarked trouble in it is told from the rest as when scoring."""
        rows, times_s = self._align(window), window.times_s
        if times_s and times_s[-1] - (times_s[0] if math.isnan(self.first_s) else self.first_s) < YOUTH_S:
            self._growth, self._youth = LESSON_GROWTH, LESSON_YOUTH
        for time_s, row in zip(times_s, rows, strict=True):
            self._row(float(time_s), row)
        self._growth = GROWTH
        if self.rows_seen >= 16:
            self._refit(self.last_s)
        self._youth = YOUTH

    def score(self, batch: SampleBatch) -> Sequence[Score]:
        """One score a row, in order; learns from each row that it does not call abnormal."""
        rows = self._align(batch)
        return [self._row(float(time_s), row) for time_s, row in zip(batch.times_s, rows, strict=True)]

    def dump(self) -> bytes:
        """Everything learned, as data that cannot execute."""
        return dump_state(self)

    def load(self, data: bytes) -> None:
        """Take a state that :meth:`dump` wrote; nothing changes when it is refused. Raises PluginError."""
        other = CombinedDetector(self.config)
        load_state(other, data)
        self.__dict__.update(other.__dict__)

    def memory_bytes(self) -> int:
        """Room that everything learned takes."""
        return state_bytes(self)

    # one row

    def _row(self, time_s: float, row: np.ndarray) -> Score:
        seen = np.isfinite(row)
        if not (time_s > self.last_s or math.isnan(self.last_s)) or not seen.any():
            return Score(time_s=time_s, verdict=Verdict.UNKNOWN)
        self._tick(time_s)
        age_s = time_s - self.first_s
        if math.isnan(self.next_fit_s):
            self.next_fit_s = time_s  # decided by rows below
        if time_s >= self.next_fit_s and self.rows_seen >= 32:
            self._refit(time_s)
        score, value, residuals = 0.0, 0.0, None
        if self.model is not None:
            residuals, score = self._score(time_s, row)
            value = self.decision.take(time_s, score, due=self._due(age_s))
        # Once calm again a row is normal, though the alarm waits a while before it clears.
        over = value > self.decision.threshold * (self.config.clear_ratio if self.decision.raised else 1.0)
        if not over and not self.decision.raised:
            self.abnormal_s = math.nan
        elif math.isnan(self.abnormal_s):
            self.abnormal_s = time_s
        accepted = self.decision.raised and time_s - self.abnormal_s >= self.config.relearn_s
        learn = not over or accepted
        if accepted and time_s - self.abnormal_s < self.config.relearn_s + 2 * self.period_s:
            self._move_level()
        self.memory.keep_row(time_s, row, usable=learn, age_s=age_s)
        self._follow(row, seen)
        if residuals is not None and self.model is not None:
            # An abnormal row counts as rare and no more: left out, it would make the next ones look worse still.
            kept = residuals if learn else np.minimum(residuals, self.model.rare)
            self.memory.keep_residuals(time_s, kept, residuals, age_s)
        self.rows_seen += 1
        self.rows_since_gap += 1
        self.last_s = time_s
        return self._verdict(time_s, row, value, age_s)

    def _tick(self, time_s: float) -> None:
        """Keep the period and notice gaps."""
        if math.isnan(self.first_s):
            self.first_s = time_s
            return
        step = time_s - self.last_s
        if math.isnan(self.period_s):
            self.period_s = step
        elif min(step, self.step_s) >= GAP * self.period_s:
            self.period_s = min(step, self.step_s)  # twice in a row is no gap but another pace
        elif max(step, self.step_s) * GAP <= self.period_s:
            self.period_s = max(step, self.step_s)
        elif step < GAP * self.period_s:
            self.period_s += 0.02 * (step - self.period_s)
        else:
            self.rows_since_gap = 0
            self.decision.forget_window()
            if step > HALF_LEVEL_S:
                self.level[:] = np.nan
            self.period_s += 0.02 * (min(step, 10 * self.period_s) - self.period_s)
        self.step_s = step
        self.decision.smooth = max(1, min(self.config.smooth, round(SMOOTH_S / self.period_s)))

    def _score(self, time_s: float, row: np.ndarray) -> tuple[np.ndarray, float]:
        model = self.model
        assert model is not None
        z = model.standardise(row)
        self._past, self._level_before = self._lags(), self.level.copy()
        residuals = model.residuals(row, z, self._past, time_s, (self.level, np.sqrt(self.variance)))
        excess = self.excess[self.decision.window.total % self.config.smooth]
        if (residuals > model.usual).any():
            config = self.config
            with np.errstate(divide="ignore"):
                logs = np.log(residuals)
            np.clip(logs - self._log_usual, 0.0, config.cap, out=excess)
            excess += config.rare_weight * np.clip(logs - self._log_rare, 0.0, config.cap)
            excess *= self._weights
            # The views of one KPI are no independent witnesses: the strongest speaks for all of them.
            return residuals, float(excess.max(axis=0).sum())
        excess[:] = 0.0
        return residuals, 0.0

    def _lags(self) -> np.ndarray | None:
        lags = lags_for(len(self.names))
        if self.rows_since_gap < lags:
            return None
        assert self.model is not None
        rows = self.memory.recent.newest(lags).astype(float)
        z = (rows - self.model.centre) / self.model.spread
        z[~(np.isfinite(z) & self.model.known)] = 0.0
        return np.asarray(np.clip(z, -CLIP, CLIP).ravel())

    def _follow(self, row: np.ndarray, seen: np.ndarray) -> None:
        """Let level and variance follow the row, by clipped steps."""
        new = seen & ~np.isfinite(self.level)
        if new.any():
            self.level[new] = row[new]
        fresh = seen & ~np.isfinite(self.variance)
        if fresh.any():
            self.variance[fresh] = 0.0
        period = self.period_s if self.period_s > 0 else 60.0
        # A young level moves and settles as fast as its age allows.
        gain = max(1.0 - 0.5 ** (period / HALF_LEVEL_S), 1.0 / (self.rows_seen + 2))
        slow = max(1.0 - 0.5 ** (period / HALF_DEVIATION_S), 1.0 / (self.rows_seen + 2))
        step = np.where(seen, row - self.level, 0.0)
        if self.model is not None:
            most = LEVEL_CLIP * (np.sqrt(self.variance) + self.model.level_floor)
            step = np.minimum(np.maximum(step, -most), most)
        self.level += gain * step
        self.variance += np.where(seen, slow * (step * step - self.variance), 0.0)

    def _move_level(self) -> None:
        """What lasted is the new normal: bring the level there at once."""
        rows = self.memory.recent.view()[-15:]
        middle = np.median(np.where(np.isfinite(rows), rows, self.level), axis=0)
        self.level = np.where(np.isfinite(middle), middle, self.level)

    # fitting

    def _refit(self, time_s: float) -> None:
        memory, config = self.memory, self.config
        bins = (memory.clock.view() % 86400.0 // (86400.0 / BINS)).astype(int)
        model = fit_model(
            memory.past().astype(float), memory.recent.view().astype(float), memory.usable.view(),
            memory.days.view().astype(float), bins, self.notable, config.warmup_rows,
        )  # fmt: skip
        if len(memory.residuals):
            model.usual, model.rare = memory.levels(config.usual, config.rare)
        self.adopt(model)
        age_s = max(time_s - self.first_s, self.period_s)
        if age_s < config.refit_s:
            self.decision.close_block(time_s)
        # What a young model scored says little about a better one: leave out the first part of a life, a day at most.
        self.decision.retune(time_s, self.first_s + min(age_s * self._youth, YOUTH_S))
        self.next_fit_s = time_s + min(age_s * self._growth, config.refit_s)

    def adopt(self, model: Model) -> None:
        """Score with this model from now on."""
        self.model = model
        self._log_usual, self._log_rare = np.log(model.usual), np.log(model.rare)

    # saying

    def _due(self, age_s: float) -> bool:
        return self.rows_seen >= self.config.warmup_rows and age_s >= self.config.warmup_s

    def _verdict(self, time_s: float, row: np.ndarray, value: float, age_s: float) -> Score:
        threshold = self.decision.threshold
        if self.model is None or not math.isfinite(threshold) or not self._due(age_s):
            return Score(time_s=time_s, verdict=Verdict.UNKNOWN, value=value)
        since_s = None if math.isnan(self.decision.since_s) else self.decision.since_s
        if not self.decision.raised:
            return Score(time_s=time_s, verdict=Verdict.OK, value=value, threshold=threshold, since_s=since_s)
        evidence = self.evidence(time_s, row)
        return Score(
            time_s=time_s,
            verdict=Verdict.ANOMALY,
            value=value,
            threshold=threshold,
            blame=tuple((item.metric, item.share) for item in evidence),
            evidence=evidence,
            since_s=since_s,
        )

    def evidence(self, time_s: float, row: np.ndarray) -> tuple[Evidence, ...]:
        """The KPIs to blame for the present score, largest share first, with what was expected of this row."""
        slots = (self.decision.window.total - 1 - np.arange(self.decision.smooth)) % self.config.smooth
        excess = self.excess[slots]
        by_channel, shares = excess.sum(axis=0), excess.max(axis=1).sum(axis=0)
        total = float(shares.sum())
        if total <= 0 or self.model is None:
            return ()
        expected = self._expected(time_s, row)
        found = []
        for place in np.argsort(-shares, kind="stable")[:BLAMED]:
            if shares[place] <= 0:
                break
            channel = int(by_channel[:, place].argmax())
            found.append(
                Evidence(
                    metric=self.names[place],
                    share=float(shares[place] / total),
                    seen=float(row[place]),
                    expected=float(expected[channel, place]),
                    detector=CHANNELS[channel],
                )
            )
        return tuple(found)

    def _expected(self, time_s: float, row: np.ndarray) -> np.ndarray:
        """What each channel expects, channel by KPI, in the KPIs' own units."""
        model = self.model
        assert model is not None
        z = np.clip(model.standardise(row), -CLIP, CLIP)
        _, forecast, common, season = model.expect(z, self._past, time_s)
        out = np.full((len(CHANNELS), len(row)), np.nan)
        out[0] = model.centre
        for place, view in ((1, forecast), (2, common), (3, season)):
            if view is not None:
                out[place] = model.centre + view * model.spread
        out[4] = self._level_before
        return out

    # columns

    def _align(self, batch: SampleBatch) -> np.ndarray:
        """The batch's values in this detector's order of columns; room is made for KPIs that appeared."""
        if not self.names:
            self.restart(tuple(batch.names))
        values = np.asarray(batch.values, dtype=float).reshape(len(batch.times_s), len(batch.names))
        if batch.names == self.names:
            if batch.notable:
                self.notable = np.array(batch.notable, dtype=float)
            return values
        place = {name: i for i, name in enumerate(self.names)}
        new = [name for name in batch.names if name not in place]
        place.update((name, len(place)) for name in new)
        columns = [place[name] for name in batch.names]
        self.notable = np.pad(self.notable, (0, len(new)))
        if batch.notable:
            self.notable[columns] = batch.notable
        if new:
            self._widen((*self.names, *new))
        rows = np.full((len(values), len(self.names)), np.nan)
        rows[:, columns] = values
        return rows

    def _widen(self, names: tuple[str, ...]) -> None:
        more = len(names) - len(self.names)
        self.names = names
        self.memory.widen(len(names))
        self.level = np.pad(self.level, (0, more), constant_values=np.nan)
        self.variance = np.pad(self.variance, (0, more), constant_values=np.nan)
        self.excess = np.pad(self.excess, ((0, 0), (0, 0), (0, more)))
        if self.model is not None:
            self._refit(self.last_s)
