"""A firewall's own KPIs, recorded on a busy machine: two minutes after its boot it falls sick inside.

Rows of about 1.3 s of the demo service's firewall under light traffic; from row 236 on it burns CPU, leaks memory and
drops 30 % of its packets (``descriptors/secure-web/demo_heal.py``).
"""

import json
from pathlib import Path

import pytest

from manor.api import SampleBatch, Verdict
from manor_assurance.config import CombinedConfig
from manor_assurance.detector import CombinedDetector

SICK = 236


@pytest.mark.parametrize("settled", [0, 30], ids=["from its boot on", "settled"])
def test_a_detector_that_is_minutes_old_sees_a_sick_firewall_within_ten_samples(settled: int) -> None:
    record = json.loads((Path(__file__).parent / "sick_firewall.json").read_text())
    config = CombinedConfig(channels=("median", "level"), warmup_s=60.0, budget_per_day=48.0, margin=1.1, clear_s=10.0)
    detector = CombinedDetector(config)
    raised = []
    for number, (time_s, *values) in list(enumerate(record["rows"]))[settled:]:
        row = [float("nan") if value is None else value for value in values]
        (score,) = detector.score(SampleBatch(names=tuple(record["names"]), times_s=(time_s,), values=[row]))
        if score.verdict is Verdict.ANOMALY:
            raised.append((number, score.blame))
    assert raised, "it is seen"
    first, blame = raised[0]
    assert SICK <= first < SICK + 10, "not before, and within ten samples"
    assert {kpi for kpi, _ in blame[:2]} <= {"v_memory_usage_mean_vnf", "v_cpu_usage_mean_vnf", "v_guest_load"}
