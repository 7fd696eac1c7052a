"""What a detector is told of a VNF, and what is kept of its word: what it blamed stays told while its score fades."""

from manor.api.assure import Evidence, Score, Verdict
from manor.assure.learning import _batch, _suspicion
from manor.telemetry.kpis import KpiRow, Subject

VNF = "1a2b3c4d/vnf/fw"


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
    row = KpiRow(subject=subject, time_s=9.0, values={"vnf_indicator:sessions": 1.0, "v_guest_load": 0.2})
    batch = _batch(VNF, [row], 9.0)
    assert batch is not None
    assert dict(zip(batch.names, batch.notable, strict=True)) == {
        "fw-0|v_guest_load": 0.5, "fw-0|vnf_indicator:sessions": 0.0,
    }  # fmt: skip
