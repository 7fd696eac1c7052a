"""Raw samples of a driver under the standard names, with what could not be measured left out."""

import math

import pytest

from manor.api import Observed, Phase, ResourceKind, ResourceRef, Sample, SampleKind
from manor.telemetry.kpis import Subject, kpi_rows, notable_of, rule_samples, unit_of
from manor.telemetry.rates import Rates

NODE = "0a0b0c0d/vnf/fw/main-0"
FW = Subject(
    key=NODE,
    kind="vnfc",
    labels={"service": "demo", "vnf": "fw", "vnfc": "main-0"},
    group="0a0b0c0d/vnf/fw",
    vcpus=2,
    memory_bytes=1 << 30,
    parts={"m1": "in", "m2": "sync"},
    internal=frozenset({"m2"}),
)


def counter(metric: str, value: float, time_s: float, device: str = "", key: str = NODE) -> Sample:
    labels = {"device": device} if device else {}
    return Sample(metric=metric, value=value, unit="", key=key, time_s=time_s, kind=SampleKind.COUNTER, labels=labels)


def gauge(metric: str, value: float, time_s: float) -> Sample:
    return Sample(metric=metric, value=value, unit="", key=NODE, time_s=time_s)


def test_counters_of_a_machine_become_the_standard_metrics_of_its_vnfc() -> None:
    rates = Rates()

    def at(time_s: float, cpu_s: float, rx: float) -> list[Sample]:
        return [
            counter("v_cpu_time", cpu_s, time_s),
            counter("v_net_byte_incoming", rx, time_s, "m1"),
            counter("v_net_packet_outgoing_dropped", rx / 100, time_s, "m2"),
            counter("v_net_byte_incoming", rx, time_s, "stranger"),
            counter("v_disk_byte_read", rx, time_s, "vda"),
            counter("v_disk_byte_read", rx, time_s, "vdb"),
            gauge("v_memory_size", 1 << 30, time_s),
            gauge("v_memory_usable", 1 << 28, time_s),
            gauge("v_memory_resident", math.nan, time_s),
        ]

    (first,) = kpi_rows([FW], at(100.0, 7.0, 0.0), rates)
    assert first.values == {"v_memory_usage_mean_vnf": 75.0}, "no rate is known yet"
    (row,) = kpi_rows([FW], at(105.0, 12.0, 5000.0), rates)
    assert row.time_s == 105.0
    assert row.values == pytest.approx(
        {
            "v_cpu_usage_mean_vnf": 50.0,
            "byte_incoming_vnf_ext_cp:in": 1000.0,
            "packet_outgoing_dropped_vnf_int_cp:sync": 10.0,
            "v_memory_usage_mean_vnf": 75.0,
            "v_disk_byte_read": 2000.0,  # of both disks
        }
    )
    assert kpi_rows([FW], [], rates) == [], "no sample is no row, not a row of zeros"


def test_memory_that_the_guest_does_not_tell_is_missing() -> None:
    (row,) = kpi_rows([FW], [gauge("v_memory_size", 1 << 30, 1.0), gauge("v_memory_resident", 5e8, 1.0)], Rates())
    assert row.values == {"v_memory_resident": 5e8}


def test_a_chain_tells_what_goes_into_and_comes_out_of_each_function() -> None:
    def seen(packets: int) -> Observed:
        rules = [
            {"match": "in_port=c", "actions": "output:fw-in", "note": "", "packets": packets, "bytes": packets * 60},
            {"match": "in_port=fw-out,eth_type=2048", "actions": "goto:60", "packets": packets // 2, "bytes": 0},
            {"match": "in_port=x", "actions": "drop", "packets": 3, "bytes": 180},
            {"match": "in_port=x", "actions": "output:y", "packets": "many"},
            "nonsense",
        ]
        ref = ResourceRef(kind=ResourceKind.CHAIN, key="s/chain/p")
        return Observed(ref=ref, owner="o", native_id="1", phase=Phase.ACTIVE, spec_hash="", detail={"rules": rules})

    chain = Subject(key="s/chain/p", kind="chain", parts={"fw-in": "fw:in", "fw-out": "fw:out"})
    rates = Rates()
    kpi_rows([chain], rule_samples(seen(0), 10.0), rates)
    (row,) = kpi_rows([chain], rule_samples(seen(100), 20.0), rates)
    assert row.values["packet_incoming:fw:in"] == 10.0
    assert row.values["packet_outgoing:fw:out"] == 5.0
    assert row.values["packet_dropped"] == 0.0
    assert row.values["byte_forwarded"] == 600.0
    assert not any("x" in name.partition(":")[2] for name in row.values)


def test_what_a_rule_that_is_not_in_its_switch_would_count_is_missing_and_not_zero() -> None:
    def out_of(state: str) -> dict[str, float]:
        rules = [
            {"match": "in_port=c", "actions": "output:fw-in", "packets": 20, "state": "active"},
            {"match": "in_port=fw-out,eth_dst=a", "actions": "goto:60", "packets": 8, "state": "active"},
            {"match": "in_port=fw-out,eth_dst=b", "actions": "goto:60", "packets": 0, "state": state},
        ]
        ref = ResourceRef(kind=ResourceKind.CHAIN, key="s/chain/p")
        seen = Observed(ref=ref, owner="o", native_id="1", phase=Phase.DEGRADED, spec_hash="", detail={"rules": rules})
        return {f"{s.metric}:{s.labels.get('device', '')}": s.value for s in rule_samples(seen, 10.0)}

    assert out_of("active") == {"packet_forwarded:": 28.0, "packet_incoming:fw-in": 20.0, "packet_outgoing:c": 20.0,
                                "packet_outgoing:fw-out": 8.0}  # fmt: skip
    assert out_of("missing") == {"packet_forwarded:": 28.0, "packet_incoming:fw-in": 20.0, "packet_outgoing:c": 20.0}


def test_units() -> None:
    assert [unit_of(name) for name in ("v_cpu_usage_mean_vnf", "byte_incoming_vnf_ext_cp:a", "v_memory_resident")] == [
        "%", "By/s", "By",
    ]  # fmt: skip
    assert unit_of("packet_dropped") == "{packet}/s"
    assert unit_of("v_guest_sessions") == "1"


def test_what_change_means_anything_is_known_of_named_kpis_alone() -> None:
    assert notable_of("v_guest_load") == 0.5
    assert (notable_of("v_cpu_usage_mean_vnf"), notable_of("v_memory_usage_mean_vnf")) == (5.0, 2.0)
    assert notable_of("packet_incoming_dropped_vnf_ext_cp:in") == 20.0
    assert notable_of("vnf_indicator:load") == notable_of("v_memory_resident") == 0.0
    assert notable_of("v_cpu_steal_time") == notable_of("queue_load") == 0.0
