"""Static limits: at once, with hysteresis, and silent about what was not measured."""

from __future__ import annotations

import math

import numpy as np

from manor.api import Verdict
from manor_assurance.config import LimitsConfig
from manor_assurance.limits import LimitsDetector

from .conftest import batch_of

NAMES = ("disk", "free")


def verdicts(config, rows):
    return LimitsDetector(config).score(batch_of(np.array(rows, dtype=float), start=0, names=NAMES))


def test_it_raises_at_once_and_clears_with_hysteresis():
    scores = verdicts(LimitsConfig(above={"disk": 90}), [[80, 1], [91, 1], [88, 1], [85, 1]])
    assert [s.verdict for s in scores] == [Verdict.OK, Verdict.ANOMALY, Verdict.ANOMALY, Verdict.OK]
    assert scores[1].evidence[0].expected == 90
    assert scores[1].evidence[0].detector == "above:disk"
    assert scores[2].since_s == scores[1].time_s


def test_lower_limits_persistence_and_shares():
    config = LimitsConfig(above={"disk": 90}, below={"free": 10}, rows=2)
    scores = verdicts(config, [[99, 20], [80, 20], [99, 5], [99, 5]])
    assert [s.verdict for s in scores][:3] == [Verdict.OK] * 3
    assert scores[3].verdict is Verdict.ANOMALY
    assert [name for name, _ in scores[3].blame] == ["free", "disk"]
    assert math.isclose(sum(share for _, share in scores[3].blame), 1.0)


def test_what_is_not_measured_is_unknown():
    assert verdicts(LimitsConfig(above={"disk": 90}), [[math.nan, 3]])[0].verdict is Verdict.UNKNOWN
    assert verdicts(LimitsConfig(above={"other": 90}), [[99, 3]])[0].verdict is Verdict.UNKNOWN
