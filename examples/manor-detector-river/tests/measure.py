"""The figures of the README: what is seen, what is called abnormal without cause, what a row costs."""

import itertools
import time

from manor.api import Verdict
from manor.testing import DetectorSpecs

from manor_detector_river.config import RiverConfig
from manor_detector_river.detector import RiverDetector

SPECS = DetectorSpecs(warmup_rows=220)
ROWS = 30


def learned(seed: int = 1) -> RiverDetector:
    detector = RiverDetector(RiverConfig(seed=seed))
    detector.fit(SPECS.normal(SPECS.warmup_rows))
    return detector


def anomalies(scores) -> int:
    return sum(score.verdict is Verdict.ANOMALY for score in scores)


def step(sigmas: float, kpis: int) -> int:
    rows = []
    for at in range(SPECS.warmup_rows, SPECS.warmup_rows + ROWS):
        offsets = [sigmas * SPECS.sigma(level) if place < kpis else 0 for place, level in enumerate(SPECS.levels())]
        rows.append([value + offset for value, offset in zip(SPECS.row(at), offsets, strict=True)])
    return anomalies(learned().score(SPECS.batch(rows, start=SPECS.warmup_rows)))


if __name__ == "__main__":
    for sigmas, kpis in itertools.product((4, 6, 8, 12), (1, 2, 4)):
        print(f"{kpis} of 4 KPIs {sigmas} deviations off: {step(sigmas, kpis)} of {ROWS} rows")
    started_s, wrong, quiet = time.perf_counter(), 0, 2000
    for seed in range(10):
        detector = learned(seed)
        wrong += anomalies(detector.score(SPECS.normal(quiet, start=SPECS.warmup_rows)))
    each_s = (time.perf_counter() - started_s) / (10 * (quiet + SPECS.warmup_rows))
    print(f"{wrong} of {10 * quiet} quiet rows; {each_s * 1000:.2f} ms a row; {len(detector.dump())} bytes of state")
