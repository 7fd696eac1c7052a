"""Benchmark ``detect-cpu``: what one sample of one VNF costs, one at a time; a JSON line for each width.

Run: ``OMP_NUM_THREADS=1 python plugins/assurance/benchmarks/detect_cpu.py``
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from manor.api import SampleBatch
from manor_assurance.config import CombinedConfig
from manor_assurance.detector import CombinedDetector

PERIOD_S = 60.0
TARGET_US = 300.0
"""Most that one sample of 40 KPIs may cost at the median."""
LEARN, MEASURE = 3 * 1440, 1440


def measure(width: int) -> dict[str, object]:
    """Three days learned, one day scored sample by sample; fits are part of the slowest samples."""
    rng = np.random.default_rng(width)
    at = np.arange(LEARN + MEASURE)[:, None]
    rows = 10 + np.sin(2 * np.pi * at / 1440) * rng.uniform(0, 5, width) + rng.normal(0, 1, (LEARN + MEASURE, width))
    names = tuple(f"kpi{i}" for i in range(width))
    detector = CombinedDetector(CombinedConfig())
    times = (at[:, 0] * PERIOD_S).tolist()
    begin = time.perf_counter()
    detector.fit(SampleBatch(names=names, times_s=tuple(times[:LEARN]), values=rows[:LEARN].tolist()))
    fitted_s = time.perf_counter() - begin
    took = []
    for place in range(LEARN, LEARN + MEASURE):
        batch = SampleBatch(names=names, times_s=(times[place],), values=[rows[place].tolist()])
        begin = time.perf_counter()
        detector.score(batch)
        took.append((time.perf_counter() - begin) * 1e6)
    median, late = np.quantile(took, [0.5, 0.99])
    return {
        "name": f"detect-cpu-{width}",
        "value": round(float(median), 1),
        "unit": "us",
        "target": TARGET_US if width <= 40 else None,
        "met": bool(median <= TARGET_US) if width <= 40 else None,
        "row_us_p99": round(float(late), 1),
        "row_us_mean_with_fits": round(float(np.mean(took)), 1),
        "learn_three_days_s": round(fitted_s, 2),
        "memory_bytes": detector.memory_bytes(),
        "dump_bytes": len(detector.dump()),
    }


if __name__ == "__main__":
    for width in (10, 40, 120):
        sys.stdout.write(json.dumps(measure(width)) + "\n")
