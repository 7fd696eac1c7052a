"""What is shipped for Prometheus and Grafana fits what is exported: promtool's word, and every name known."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from manor.plugin import CallCount
from manor.telemetry.export import registry
from manor.telemetry.families import OWN, AssuranceFigures, Assured, family_of, kpi_of
from manor.telemetry.kpis import KpiRow, Subject
from manor.telemetry.work import WorkFigures

SHIPPED = files("manor.telemetry") / "shipped"
NODE = {"service": "demo", "vnf": "fw", "vnfc": "fw-0"}
KPIS = {
    "v_cpu_usage_mean_vnf", "v_memory_usage_mean_vnf", "v_disk_usage_mean_vnf", "v_memory_resident", "v_guest_load",
    "v_guest_disk_fullest_usage", "v_disk_byte_read", "v_disk_byte_written", "v_disk_request_read",
    "v_disk_request_written", "vnf_indicator:sessions",
    *(f"{what}_{way}_vnf_{side}_cp:in" for what in ("byte", "packet") for way in ("incoming", "outgoing")
      for side in ("ext", "int")),
    *(f"packet_{way}_dropped_vnf_{side}_cp:in" for way in ("incoming", "outgoing") for side in ("ext", "int")),
}  # fmt: skip
FLOWS = {
    "packet_forwarded", "packet_dropped", "byte_forwarded", "byte_dropped", "packet_incoming:fw-0:in",
    "packet_outgoing:fw-0:in", "probe_loss", "probe_latency", "probe_latency:fw-0",
}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> str:
    """One scrape with everything in it."""
    rows = tuple(
        KpiRow(subject=Subject(key=kind, kind=kind, labels=labels), time_s=1.0, values=dict.fromkeys(kpis, 1.0))
        for kind, labels, kpis in (
            ("vnfc", NODE, KPIS),
            ("chain", {"service": "demo", "chain": "web"}, FLOWS),
            ("link", {"service": "demo", "link": "lan"}, FLOWS),
        )
    )
    figures = AssuranceFigures(
        rows=rows,
        alarms={("MAJOR", "static"): 1},
        rulings={("restart", "started"): 2},
        detectors={"learning": 1, "watching": 3},
    )
    made = registry(
        version="0.1.0",
        calls=lambda: {("vim-libvirt", "ensure"): CallCount(count=3, errors=1, seconds=1.5)},
        stuck=lambda: 0,
        operations=lambda: {"PROCESSING": 1},
        services=lambda: {"INSTANTIATED": 1},
        more=[Assured(lambda: figures)],
    )
    WorkFigures(made)._steps.labels("ensure", "node", "done").observe(1.0)
    return generate_latest(made).decode()


def exported(page: str) -> set[str]:
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.M))
    more = {
        f"{name}{end}" for name, kind in typed.items() if kind == "histogram" for end in ("_bucket", "_count", "_sum")
    }
    return set(typed) | more


def expressions() -> Iterator[tuple[str, str]]:
    for item in SHIPPED.iterdir():
        if item.name.endswith(".json"):
            board = json.loads(item.read_text(encoding="utf-8"))
            yield from ((item.name, target["expr"]) for panel in board["panels"] for target in panel["targets"])
            yield from ((item.name, v["definition"]) for v in board["templating"]["list"] if "definition" in v)


def promtool(*args: str, **more: Any) -> str:
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")


@needs_promtool
def test_the_page_is_clean(page: str) -> None:
    assert promtool("check", "metrics", input=page) == ""


@needs_promtool
def test_the_rules_are_right_and_fire_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text((SHIPPED / "rules.yml").read_text(encoding="utf-8"))
    assert "SUCCESS" in promtool("check", "rules", str(tmp_path / "rules.yml"))
    shutil.copy(Path(__file__).with_name("rules_test.yml"), tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml", cwd=tmp_path)


def test_every_metric_of_a_rule_or_dashboard_is_exported(page: str) -> None:
    known = exported(page)
    found = [("rules.yml", (SHIPPED / "rules.yml").read_text(encoding="utf-8")), *expressions()]
    assert {name for name, _ in found} == {"rules.yml", "dashboard-overview.json", "dashboard-services.json"}
    named = [(where, metric) for where, text in found for metric in re.findall(r"\bmanor_[a-z0-9_]+", text)]
    assert len(named) > 40
    assert [(where, metric) for where, metric in named if metric not in known] == []


def test_a_dashboard_is_complete_and_no_panel_covers_another() -> None:
    for item in SHIPPED.iterdir():
        if not item.name.endswith(".json"):
            continue
        board = json.loads(item.read_text(encoding="utf-8"))
        assert board["uid"].startswith("manor-")
        assert board["schemaVersion"] >= 36
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24
            taken |= cells


def test_no_kpi_takes_the_name_of_a_family_of_manors_own(page: str) -> None:
    names = {name for name, _ in re.findall(r"^# TYPE manor_(\S+) (\S+)$", page, re.M)}
    kpis = {family_of(kpi)[0].removeprefix("manor_") for kpi in KPIS | FLOWS}
    assert {name.removesuffix("_total") for name in names if not name.endswith("_created")} - kpis == OWN
    assert family_of("alarms") == ("manor_kpi_alarms", 1.0)
    assert kpi_of("manor_kpi_alarms") == ("alarms", 1.0)


def test_what_guests_say_is_left_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.telemetry.families.MOST_SERIES", 30)
    flood = {f"vnf_indicator:n{number}": 1.0 for number in range(40)}
    rows = tuple(
        KpiRow(subject=Subject(key=name, kind="vnfc", labels={"vnfc": name}), time_s=1.0, values=values)
        for name, values in (("a", flood), ("b", {"v_cpu_usage_mean_vnf": 50.0}))
    )
    made = registry(
        version="0", calls=dict, stuck=lambda: 0, operations=dict, services=dict,
        more=[Assured(lambda: AssuranceFigures(rows=rows))],
    )  # fmt: skip
    assert made.get_sample_value("manor_telemetry_series_left_out") == 11
    said = generate_latest(made).decode()
    assert 'manor_v_cpu_usage_mean_vnf_ratio{chain="",link="",part="",service="",vnf="",vnfc="b"} 0.5' in said
    assert said.count("manor_vnf_indicator{") == 29


def test_a_family_is_turned_back_into_its_kpi() -> None:
    for kpi in {name.partition(":")[0] for name in KPIS | FLOWS}:
        family, factor = family_of(kpi)
        assert kpi_of(family) == (kpi, factor)
