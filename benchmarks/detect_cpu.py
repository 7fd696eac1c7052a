"""What CPU one sample of one VNF costs its detector, one at a time; scikit-learn's IsolationForest beside it.

Two days learned, then half a day scored sample by sample: fits fall on single samples, so they are in the late ones
and in the mean, not in the median.
"""

import time

import numpy as np
from figure import report

from manor.api import SampleBatch
from manor_assurance.config import CombinedConfig
from manor_assurance.detector import CombinedDetector

PERIOD_S = 60.0
TARGET_US = 300.0
"""Most that one sample of 40 KPIs may cost at the median."""
LEARN, MEASURE = 2 * 1440, 720
FOREST_ROWS = 60


def _rows(width: int) -> np.ndarray:
    rng = np.random.default_rng(width)
    at = np.arange(LEARN + MEASURE)[:, None]
    day = np.sin(2 * np.pi * at / 1440) * rng.uniform(0, 5, width)
    return np.asarray(10 + day + rng.normal(0, 1, (LEARN + MEASURE, width)))


def _combined(rows: np.ndarray) -> tuple[np.ndarray, CombinedDetector]:
    names = tuple(f"kpi{i}" for i in range(rows.shape[1]))
    times = (np.arange(len(rows)) * PERIOD_S).tolist()
    detector = CombinedDetector(CombinedConfig())
    detector.fit(SampleBatch(names=names, times_s=tuple(times[:LEARN]), values=rows[:LEARN].tolist()))
    took = []
    for place in range(LEARN, LEARN + MEASURE):
        batch = SampleBatch(names=names, times_s=(times[place],), values=[rows[place].tolist()])
        began = time.process_time()
        detector.score(batch)
        took.append((time.process_time() - began) * 1e6)
    return np.array(took), detector


def _forest_us(rows: np.ndarray) -> float:
    """Median of one row a call, with scikit-learn's defaults, fitted on the same rows."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=0).fit(rows[:LEARN])
    took = []
    for place in range(LEARN, LEARN + FOREST_ROWS):
        began = time.process_time()
        forest.score_samples(rows[place : place + 1])
        took.append((time.process_time() - began) * 1e6)
    return float(np.median(took))


def main() -> None:
    """A line for each width."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # several threads only slow such small matrices down
        for width in (10, 40, 121):
            rows = _rows(width)
            took, detector = _combined(rows)
            median, late = (float(x) for x in np.quantile(took, [0.5, 0.99]))
            report(
                f"detect-cpu-{width}", median, "us", TARGET_US if width <= 40 else None,
                row_us_least=round(float(took.min()), 1),
                row_us_p99=round(late, 1),
                row_us_mean_with_fits=round(float(took.mean()), 1),
                isolation_forest_us=round(_forest_us(rows), 1),
                memory_bytes=detector.memory_bytes(),
                dump_bytes=len(detector.dump()),
            )  # fmt: skip


if __name__ == "__main__":
    main()
