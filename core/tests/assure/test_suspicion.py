"""What a detector is told of a VNF, and what is kept of its word: what it blamed stays told while its score fades."""

from dataclasses import replace
from pathlib import Path

import pytest

from manor.api import NodeSpec
from manor.api.assure import Evidence, SampleBatch, Score, Verdict
from manor.assure.columns import batch_of, follow
from manor.assure.learning import Learning, _suspicion
from manor.assure.sight import Declared, Service
from manor.errors import PluginError
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


LONG_S = 1e9


def firewall(said: Declared) -> Service:
    """A service of one machine, of whose VNF this is said."""
    spec = NodeSpec(key=f"{VNF}/fw-0", owner="manor/t", host="h1", name="fw", vcpus=1, memory_bytes=1)
    desired = DesiredState(
        service_id="1a2b3c4d", service_name="shop", resources=(DesiredResource(endpoint="vim:lab", spec=spec),)
    )
    return Service(id="1a2b3c4d", name="shop", nsd_id="n", desired=desired, declared={VNF: said})


def score(value: float, kpi: str = "") -> Score:
    seen = Evidence(metric=f"fw-0|{kpi}", share=1.0, seen=64.0, expected=42.0, detector="level")
    evidence = (seen,) if kpi else ()
    return Score(time_s=9.0, verdict=Verdict.ANOMALY, value=value, threshold=8.0, evidence=evidence)


def test_what_was_blamed_stays_told_while_the_score_fades() -> None:
    sick = _suspicion("1a2b3c4d", VNF, score(44.0, "v_memory_usage_mean_vnf"), None, LONG_S)
    assert sick.resource_key == f"{VNF}/fw-0"
    assert "v_memory_usage_mean_vnf" in sick.detail[1]
    assert _suspicion("1a2b3c4d", VNF, score(0.0), sick, LONG_S) == sick
    assert _suspicion("1a2b3c4d", VNF, score(7.0, "v_guest_load"), sick, LONG_S) == sick
    assert "v_cpu" in _suspicion("1a2b3c4d", VNF, score(50.0, "v_cpu_usage_mean_vnf"), sick, LONG_S).detail[1]


class Suspects:
    """A detector that finds every row odd, and has nothing to keep."""

    def score(self, batch: SampleBatch) -> list[Score]:
        return [replace(score(44.0, "v_cpu_usage_mean_vnf"), time_s=batch.times_s[-1])]

    def dump(self) -> bytes:
        return b"{}"

    def load(self, data: bytes) -> None:
        if data != b"{}":
            raise PluginError("this is none of it")


def test_a_detector_says_that_it_is_young_also_after_a_restart(tmp_path: Path) -> None:
    service, key = firewall(Declared()), f"{VNF}/fw-0"

    def told(learning: Learning, hours: float) -> str:
        row = KpiRow(subject=Subject(key=key, kind="vnfc"), time_s=1e9, values={"v_cpu_usage_mean_vnf": 64.0})
        learning.take([service], {key: row}, 1e9 + 3600.0 * hours)
        return learning.suspicions[VNF].detail[-1]

    def make() -> Learning:
        return Learning(tmp_path, Suspects)  # type: ignore[arg-type]

    first = make()
    assert told(first, 0.0) == "it has watched for 0 min only: expect more false alarms than the budget"
    assert "for 4 h only" in told(first, 4.0)
    first.save()
    again = make()
    assert "for 40 h only" in told(again, 40.0)
    assert "v_cpu_usage_mean_vnf" in told(again, 80.0), "it knows the nights by now"
    (state,) = tmp_path.glob("*.state")
    state.write_bytes(b"another's")
    assert "for 0 min only" in told(make(), 90.0), "it learns anew"
    again.take([], {}, 1e9)
    assert list(tmp_path.iterdir()) == []


def test_a_detector_is_told_what_change_of_a_kpi_means_anything() -> None:
    subject = Subject(key=f"{VNF}/fw-0", kind="vnfc")
    values = {
        "vnf_indicator:sessions": 1.0,
        "vnf_indicator:sessions/old": 1.0,
        "vnf_indicator:x": 1.0,
        "vnf_indicator:y": 0.0,
        "v_guest_load": 1,
    }
    rows = [KpiRow(subject=subject, time_s=9.0, values=values)]
    usual = {"fw-0|vnf_indicator:x": 200.0}
    follow(usual, VNF, rows)
    batch = batch_of(VNF, CROWD, rows, 9.0, usual)
    assert batch is not None
    assert dict(zip(batch.names, batch.notable, strict=True)) == {
        "fw-0|v_guest_load": 0.5,
        "fw-0|vnf_indicator:sessions": 0.5,
        "fw-0|vnf_indicator:sessions/old": 0.5,
        "fw-0|vnf_indicator:x": pytest.approx(10.0, rel=0.01),
        "fw-0|vnf_indicator:y": 0.0,
    }


def test_a_vnf_that_names_ever_more_indicators_is_judged_by_the_first_of_them(tmp_path: Path) -> None:
    shown: list[int] = []

    class Counts(Suspects):
        def score(self, batch: SampleBatch) -> list[Score]:
            shown.append(len(batch.names))
            return super().score(batch)

    learning, key = Learning(tmp_path, Counts), f"{VNF}/fw-0"  # type: ignore[arg-type]
    names: set[str] = set()
    for number in range(100):
        values = {f"vnf_indicator:a/{number}_{series}": 1.0 for series in range(64)} | {"v_guest_load": 0.1}
        names |= values.keys()
        row = KpiRow(subject=Subject(key=key, kind="vnfc"), time_s=1e9, values=values)
        learning.take([firewall(Declared())], {key: row}, 1e9 + number)
    assert len(names) == 6401
    assert shown == [65] * 4 + [1] * 96


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "before", "value", "is_suspected"),
    [
        (CROWD, 0.0, 0.4, False),
        (CROWD, 0.0, 6.0, True),
        (Declared(), 0.0, 0.4, True),
        (Declared(), 1000.0, 1040.0, False),
        (Declared(), 1000.0, 1200.0, True),
    ],
)
def test_an_indicator_that_stirs_far_below_its_limit_or_what_it_usually_is_is_no_anomaly(
    tmp_path: Path, said: Declared, before: float, value: float, is_suspected: bool
) -> None:
    key, service = f"{VNF}/fw-0", firewall(said)
    plugins = Plugins()
    learning = Learning(
        tmp_path, lambda: made(plugins.choose("manor_detectors", "combined"), TRIAL, plugins.counters), save_s=1e9
    )
    subject = Subject(key=key, kind="vnfc")
    suspected = []
    for row in range(420):
        values = {"vnf_indicator:sessions": value if row >= 400 else before, "v_cpu_usage_mean_vnf": 2.0 + row % 3}
        time_s = 1e9 + 0.5 * row
        learning.take([service], {key: KpiRow(subject=subject, time_s=time_s, values=values)}, time_s)
        suspected += [row] if learning.suspicions else []
    assert learning.states == {"learning": 0, "watching": 1}
    assert bool(suspected) is is_suspected
