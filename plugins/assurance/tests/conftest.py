"""Synthetic VNFs: KPIs with a day, a trend, a common load, bursts, a constant and a step."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Callable

import numpy as np
import pytest

from manor.api import SampleBatch, Verdict
from manor_assurance.config import CombinedConfig
from manor_assurance.detector import CombinedDetector

PERIOD_S = 300.0
DAY = 288
NAMES = ("cpu", "memory", "rx", "tx", "sessions", "errors", "disk", "version")


def rows_of(count: int, *, seed: int, start: int = 0) -> np.ndarray:
    """``count`` rows from sample ``start`` on; each row depends on its sample and the seed alone."""
    rng = np.random.default_rng((seed, start))
    at = np.arange(start, start + count)
    wander = np.convolve(rng.normal(0, 1, count + 11), np.ones(12) / 12, "valid") * 0.15
    load = 1.0 + 0.5 * np.sin(2 * np.pi * at / DAY) + wander
    noise = rng.normal(0, 1, (count, 8))
    return np.column_stack(
        [
            20 + 30 * load + 1.5 * noise[:, 0],
            400 + at * 0.002 + 3 * noise[:, 1],
            1e6 * load + 2e4 * noise[:, 2],
            9e5 * load + 2e4 * noise[:, 3],
            500 * load + 10 * noise[:, 4],
            np.where(rng.random(count) < 0.02, rng.exponential(5, count), 0.0),
            40 + at * 0.001 + 0.05 * noise[:, 6],
            np.full(count, 7.0),
        ]
    )


def batch_of(rows: np.ndarray, *, start: int, names: tuple[str, ...] = NAMES) -> SampleBatch:
    """Rows as the batch that begins at sample ``start``."""
    times = tuple((np.arange(len(rows)) + start) * PERIOD_S)
    return SampleBatch(names=names, times_s=times, values=rows.tolist())


@dataclasses.dataclass
class Trial:
    """A detector that has seen ten days, and what it says of later rows."""

    detector: CombinedDetector
    start: int

    def verdicts(self, rows: np.ndarray) -> list[Verdict]:
        """Verdicts on the rows that come next."""
        scores = self.detector.score(batch_of(rows, start=self.start))
        self.start += len(rows)
        return [score.verdict for score in scores]

    def raises(self, rows: np.ndarray) -> list[int]:
        """Rows at which an alarm was raised."""
        standing = [verdict is Verdict.ANOMALY for verdict in self.verdicts(rows)]
        return [at for at, now in enumerate(standing) if now and not (at and standing[at - 1])]


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The state of a detector after ten quiet days, learned once a run: whichever worker wants it later reads it."""
    own = tmp_path_factory.getbasetemp()
    kept = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "learned"
    with kept.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if state := file.read():
            return state
        detector = CombinedDetector(CombinedConfig())
        detector.fit(batch_of(rows_of(10 * DAY, seed=1), start=0))
        file.write(detector.dump())
        return detector.dump()


@pytest.fixture
def trial(learned: bytes) -> Trial:
    detector = CombinedDetector(CombinedConfig())
    detector.load(learned)
    return Trial(detector, 10 * DAY)


@pytest.fixture
def next_rows() -> Callable[[int], np.ndarray]:
    """The rows that follow the ten days, as if nothing happened."""
    return lambda count: rows_of(count, seed=2, start=10 * DAY)
