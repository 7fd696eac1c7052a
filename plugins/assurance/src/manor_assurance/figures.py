"""Outcomes of many machines as the figures of a set, with an interval that says how little they may mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from manor_assurance.replay import Outcome

__all__ = ["figures_of", "score_of"]

RESAMPLES = 1000


def score_of(found: float, false: float, events: float) -> tuple[float, float, float]:
    """Recall, precision and F1; 0 where there is nothing to divide by."""
    recall = found / events if events else 0.0
    precision = found / (found + false) if found + false else 0.0
    total = found + false + events
    return recall, precision, 2.0 * found / total if total else 0.0


def figures_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One method's figures on one set: events of all machines together, an interval over machines (95 %)."""
    counts = np.array([[o.found, o.false, o.events, o.days] for o in outcomes], dtype=float)
    found, false, events, days = counts.sum(axis=0)
    recall, precision, f1 = score_of(found, false, events)
    picks = np.random.default_rng(0).integers(0, len(outcomes), (RESAMPLES, len(outcomes)))
    sums = counts[picks].sum(axis=1)
    spread = np.array([(*score_of(*row[:3]), row[1] / row[3] if row[3] else 0.0) for row in sums])
    low, high = np.quantile(spread, [0.025, 0.975], axis=0)
    delays = [delay for o in outcomes for delay in o.delays_s]
    ranked = [o.average_precision for o in outcomes if o.average_precision is not None]
    blamed = sum(o.blamed for o in outcomes)

    def interval(place: int) -> list[float]:
        return [round(float(low[place]), 4), round(float(high[place]), 4)]

    return {
        "machines": len(outcomes),
        "events": int(events),
        "found": int(found),
        "false_alarms": int(false),
        "recall": round(recall, 4),
        "recall_interval": interval(0),
        "precision": round(precision, 4),
        "precision_interval": interval(1),
        "f1": round(f1, 4),
        "f1_interval": interval(2),
        "false_alarms_per_day": round(float(false / days), 4) if days else None,
        "false_alarms_per_day_interval": interval(3),
        "median_delay_s": round(float(np.median(delays)), 1) if delays else None,
        "average_precision": round(float(np.mean(ranked)), 4) if ranked else None,
        "vus_pr": None,
        "blame_events": blamed,
        "blame_top1": round(sum(o.top1 for o in outcomes) / blamed, 4) if blamed else None,
        "blame_top3": round(sum(o.top3 for o in outcomes) / blamed, 4) if blamed else None,
        "won": dict(sorted(Counter(view for o in outcomes for view in o.won).items())),
        "unknown_samples": sum(o.unknown for o in outcomes),
        "row_us_median": round(float(np.median([o.row_us[0] for o in outcomes])), 1),
        "row_us_p99": round(float(np.max([o.row_us[1] for o in outcomes])), 1),
        "memory_bytes": max(o.memory_bytes for o in outcomes),
    }
