"""A firewall's own KPIs, recorded on busy machines: minutes after its boot it falls sick inside.

The demo service's firewall under light traffic. It burns CPU, leaks memory and drops 30 % of its packets
(``descriptors/secure-web/demo_heal.py``). In the one record that shows from row 236 on, after rows of about 1.3 s; in
the other from row 629 on, when the guest's agent first tells of its memory, after a life in which the machine stood
still for minutes, then gave a row in three seconds, then two a second.
"""

import json
from pathlib import Path

import pytest

from manor.api import SampleBatch, Verdict
from manor_assurance.config import CombinedConfig
from manor_assurance.detector import CombinedDetector


@pytest.mark.parametrize(
    ("name", "sick", "warmup_rows", "settled"),
    [("sick", 236, 64, start) for start in (0, 30)]
    + [("hurried", 629, 280, start) for start in (0, 20, 40, 60, 80, 100, 200, 330)],
)
def test_a_detector_that_is_minutes_old_sees_a_sick_firewall_within_ten_samples(
    name: str, sick: int, warmup_rows: int, settled: int
) -> None:
    """And nothing before, from wherever it began to learn, by the settings for a trial."""
    record = json.loads((Path(__file__).parent / f"{name}_firewall.json").read_text())
    names, notable = tuple(record["names"]), tuple(record["notable"])
    config = CombinedConfig(
        channels=("median", "level"), warmup_s=60.0, warmup_rows=warmup_rows, budget_per_day=4.0, margin=1.1, floor=6.0,
        smooth=4, clear_s=5.0, relearn_s=120.0,
    )  # fmt: skip
    detector = CombinedDetector(config)
    raised = []
    for number, (time_s, *values) in list(enumerate(record["rows"]))[settled:]:
        row = [float("nan") if value is None else value for value in values]
        (score,) = detector.score(SampleBatch(names=names, times_s=(time_s,), values=[row], notable=notable))
        if score.verdict is Verdict.ANOMALY:
            raised.append((number, score.blame))
    assert raised, "it is seen"
    first, blame = raised[0]
    assert sick <= first < sick + 10, "not before, and within ten samples"
    assert blame[0][0] in ("v_memory_usage_mean_vnf", "v_cpu_usage_mean_vnf", "v_guest_load")
