"""What a detector is told of a VNF, and what is kept of its word: what it blamed stays told while its score fades."""

from pathlib import Path

import pytest

from manor.api import NodeSpec
from manor.api.assure import Evidence, Score, Verdict
from manor.assure.learning import Learning, _batch, _suspicion
from manor.assure.sight import Declared, Service
from manor.model.desired import DesiredResource, DesiredState
from manor.model.vnfd import Comparison, IndicatorTrigger
from manor.plugin import Plugins
from manor.plugin.connecting import made
from manor.telemetry.kpis import KpiRow, Subject

VNF = "1a2b3c4d/vnf/fw"
CROWD = Declared(
    triggers=(
        IndicatorTrigger(
            name="crowd", indicator="sessions", conditions=((Comparison.GREATER_OR_EQUAL, 10.0),), operation="scale"
        ),
    )
)
TRIAL = {
    "channels": ["median", "level"], "warmup_s": 60, "warmup_rows": 280, "budget_per_day": 4, "margin": 1.1, "floor": 6,
    "smooth": 4, "clear_s": 5, "relearn_s": 120,
}  # fmt: skip
"""As docs/assurance.md has it."""


def score(value: float, kpi: str = "") -> Score:
    seen = Evidence(metric=f"fw-0|{kpi}", share=1.0, seen=64.0, expected=42.0, detector="level")
    evidence = (seen,) if kpi else ()
    return Score(time_s=9.0, verdict=Verdict.ANOMALY, value=value, threshold=8.0, evidence=evidence)


def test_what_was_blamed_stays_told_while_the_score_fades() -> None:
    sick = _suspicion("1a2b3c4d", VNF, score(44.0, "v_memory_usage_mean_vnf"), None)
    assert sick.resource_key == f"{VNF}/fw-0"
    assert "v_memory_usage_mean_vnf" in sick.detail[1]
    assert _suspicion("1a2b3c4d", VNF, score(0.0), sick) == sick
    assert _suspicion("1a2b3c4d", VNF, score(7.0, "v_guest_load"), sick) == sick
    assert "v_cpu" in _suspicion("1a2b3c4d", VNF, score(50.0, "v_cpu_usage_mean_vnf"), sick).detail[1]


def test_a_detector_is_told_what_change_of_a_kpi_means_anything() -> None:
    subject = Subject(key=f"{VNF}/fw-0", kind="vnfc")
    values = {
        "vnf_indicator:sessions": 1.0,
        "vnf_indicator:sessions/old": 1.0,
        "vnf_indicator:x": 1.0,
        "v_guest_load": 1,
    }
    batch = _batch(VNF, CROWD, [KpiRow(subject=subject, time_s=9.0, values=values)], 9.0)
    assert batch is not None
    assert dict(zip(batch.names, batch.notable, strict=True)) == {
        "fw-0|v_guest_load": 0.5,
        "fw-0|vnf_indicator:sessions": 0.5,
        "fw-0|vnf_indicator:sessions/old": 0.5,
        "fw-0|vnf_indicator:x": 0.0,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "value", "is_suspected"), [(CROWD, 0.4, False), (CROWD, 6.0, True), (Declared(), 0.4, True)]
)
def test_an_indicator_that_stirs_far_below_its_limit_is_no_anomaly(
    tmp_path: Path, said: Declared, value: float, is_suspected: bool
) -> None:
    key = f"{VNF}/fw-0"
    spec = NodeSpec(key=key, owner="manor/t", host="h1", name="fw", vcpus=1, memory_bytes=1)
    desired = DesiredState(
        service_id="1a2b3c4d", service_name="shop", resources=(DesiredResource(endpoint="vim:lab", spec=spec),)
    )
    service = Service(id="1a2b3c4d", name="shop", nsd_id="n", desired=desired, declared={VNF: said})
    plugins = Plugins()
    learning = Learning(
        tmp_path, lambda: made(plugins.choose("manor_detectors", "combined"), TRIAL, plugins.counters), save_s=1e9
    )
    subject = Subject(key=key, kind="vnfc")
    suspected = []
    for row in range(420):
        values = {"vnf_indicator:sessions": value if row >= 400 else 0.0, "v_cpu_usage_mean_vnf": 2.0 + row % 3}
        time_s = 1e9 + 0.5 * row
        learning.take([service], {key: KpiRow(subject=subject, time_s=time_s, values=values)}, time_s)
        suspected += [row] if learning.suspicions else []
    assert learning.states == {"learning": 0, "watching": 1}
    assert bool(suspected) is is_suspected
