"""PM jobs average and report by period; thresholds are crossed with hysteresis; what is missing crosses nothing."""

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from manor.model.pm import CrossingDirection, PmJob, Threshold, covers, object_type
from manor.telemetry.kpis import KpiRow, Subject
from manor.telemetry.performance import Jobs, cross

FW, WEB = "0a0b/vnf/fw/main-0", "0a0b/vnf/web/main-0"
CPU = "v_cpu_usage_mean_vnf"


def row(key: str, time_s: float, **values: float) -> KpiRow:
    return KpiRow(
        subject=Subject(key=key, kind="vnfc"),
        time_s=time_s,
        values={k.replace("__", ":"): v for k, v in values.items()},
    )


def job(**more: object) -> PmJob:
    given = {
        "id": "j", "object_instance_id": "0a0b/vnf/fw", "performance_metrics": (CPU, "v_cpu_usage_peak_vnf"),
        "collection_period_s": 60.0, "reporting_period_s": 120.0,
    }  # fmt: skip
    return PmJob(**{**given, **more})  # type: ignore[arg-type]


def test_a_job_reports_means_and_peaks_of_each_period_and_leaves_gaps_out() -> None:
    jobs, made = Jobs(), []
    for time_s in range(0, 241, 10):
        rows = [row(WEB, time_s, v_cpu_usage_mean_vnf=99.0)]
        if not 60 < time_s <= 120:
            rows.append(row(FW, time_s, v_cpu_usage_mean_vnf=80.0 if time_s == 30 else 20.0))
        made += jobs.take([job()], rows, float(time_s))
    assert [report.time_s for report in made] == [120.0, 240.0]
    first = {entry.performance_metric: entry.values for entry in made[0].entries}
    assert {entry.object_instance_id for entry in made[0].entries} == {FW}
    ((end_s, mean),) = first[CPU]
    assert (end_s, round(mean, 3)) == (60.0, round((6 * 20 + 80) / 7, 3)), "the second period was not measured"
    assert first["v_cpu_usage_peak_vnf"] == ((60.0, 80.0),)
    assert [end for end, _ in made[1].entries[0].values] == [180.0, 240.0]


def test_a_job_ends_at_its_boundary_with_what_it_has() -> None:
    jobs, made = Jobs(), []
    for time_s in range(0, 200, 10):
        made += jobs.take([job(reporting_boundary_s=90.0)], [row(FW, time_s, v_cpu_usage_mean_vnf=5.0)], float(time_s))
    assert [report.time_s for report in made] == [90.0]
    assert [end for end, _ in made[0].entries[0].values] == [60.0, 90.0]


def test_periods_that_were_slept_through_are_skipped() -> None:
    jobs = Jobs()
    jobs.take([job()], [row(FW, 0, v_cpu_usage_mean_vnf=5.0)], 0.0)
    (report,) = jobs.take([job()], [row(FW, 1000, v_cpu_usage_mean_vnf=7.0)], 1000.0)
    assert len(report.entries[0].values) == 1
    assert jobs.take([job()], [], 1019.0) == []


LIMIT = Threshold(id="t", object_instance_id="0a0b", performance_metric=CPU, value=80.0, hysteresis=5.0)


def crossings(threshold: Threshold, values: list[float | None]) -> tuple[Threshold, list[tuple[float, str]]]:
    found = []
    for time_s, value in enumerate(values):
        rows = [row(FW, time_s, v_cpu_usage_mean_vnf=value)] if value is not None else []
        threshold, new = cross(threshold, rows, [FW])
        found += [(one.time_s, str(one.direction)) for one in new]
    return threshold, found


def test_hysteresis_keeps_a_value_that_hovers_from_crossing_again_and_again() -> None:
    _, found = crossings(LIMIT, [70, 84.9, 85, 79, 76, 90, None, 75, 84, 86])
    assert found == [(2, "UP"), (7, "DOWN"), (9, "UP")]
    after, found = crossings(LIMIT, [90, None, None])
    assert after.crossed == ((FW, ""),), "what is not measured is not below"
    forgotten, silent = cross(after, [], [])
    assert (forgotten.crossed, silent) == ((), ())
    sharp = replace(LIMIT, hysteresis=0.0)
    assert crossings(sharp, [80, 80, 80, 79.9, 80])[1] == [(0, "UP"), (3, "DOWN"), (4, "UP")]


def test_each_part_of_each_object_crosses_by_itself() -> None:
    limit = replace(LIMIT, performance_metric="byte_incoming_vnf_ext_cp", sub_object_instance_ids=("in", "out"))
    rows = [
        row(FW, 1, byte_incoming_vnf_ext_cp__in=100.0, byte_incoming_vnf_ext_cp__mgmt=1e9),
        row(WEB, 1, byte_incoming_vnf_ext_cp__out=90.0),
    ]
    after, found = cross(limit, rows, [FW, WEB])
    assert after.crossed == ((FW, "in"), (WEB, "out"))
    assert len(found) == 2


@given(st.lists(st.one_of(st.none(), st.floats(0, 200)), max_size=60), st.floats(0, 50))
def test_directions_alternate_and_each_is_true(values: list[float | None], hysteresis: float) -> None:
    _, found = crossings(replace(LIMIT, hysteresis=hysteresis), values)
    assert [way for _, way in found] == ["UP", "DOWN"] * (len(found) // 2) + ["UP"] * (len(found) % 2)
    for time_s, way in found:
        value = values[int(time_s)]
        assert value is not None
        if way == str(CrossingDirection.UP):
            assert value >= 80.0 + hysteresis
        else:
            assert value <= 80.0 - hysteresis
            assert not math.isclose(value, 80.0, abs_tol=0.0) or hysteresis > 0


def test_keys_say_what_they_are_and_what_they_cover() -> None:
    kinds = {"0a0b": "Ns", "0a0b/vnf/fw": "Vnf", FW: "Vnfc", "0a0b/vl/lan": "VirtualLink", "0a0b/chain/p": "Vnffg"}
    assert {key: object_type(key) for key in kinds} == kinds
    assert covers("0a0b/vnf/fw", FW)
    assert not covers("0a0b/vnf/f", FW)
