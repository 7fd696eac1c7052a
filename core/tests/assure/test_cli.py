"""``manor alarm`` and ``manor kpi`` on a site where something happened."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from assured_site import PATIENCE_S, Site

from manor.api import OperationKind
from manor.cli.kpi import sparkline
from manor.model.alarm import AckState
from manor.store import alarms

Make = Callable[..., Site]


def test_an_alarm_is_listed_shown_explained_and_acknowledged(make_site: Make, manor: Callable[..., Any]) -> None:
    site = make_site(static_mode="shadow")
    assert "no alarm" in manor(site, "alarm", "list")
    web = site.node("web")
    site.world.destroy(web)
    site.rounds(2)
    (listed,) = manor(site, "--json", "alarm", "list", "demo")
    assert (listed["resource_key"], listed["perceived_severity"]) == (web, "CRITICAL")
    (row,) = manor(site, "alarm", "list").splitlines()[1:]
    assert row.split()[2:5] == ["node-absent", "demo", web.partition("/vnf/")[2]]
    (row,) = manor(site, "heal", "list", "--days", "9999").splitlines()[1:]
    assert ["demo", web.partition("/vnf/")[2]] == row.split()[3:5]
    shown = manor(site, "--json", "alarm", "show", listed["id"][:6])
    assert shown["rulings"][0]["outcome"] == "shadow"
    story = manor(site, "alarm", "explain", listed["id"])
    assert f"Manor saw node-absent on {web}." in story
    assert "In another mode than shadow it would have been restarted" in story
    assert "ACKNOWLEDGED" in manor(site, "alarm", "ack", listed["id"])
    site.rounds(3)
    (alarm,) = site.alarms()
    assert alarm.alarm_acknowledged_time_s > 0, "the loop keeps what the operator said"
    assert "no alarm" in manor(site, "alarm", "show", "zz", expect=2)


def operations_of(rulings: list[dict[str, Any]]) -> list[str]:
    return [ruling["operation_id"] for ruling in rulings if ruling["operation_id"]]


@pytest.mark.slow
def test_in_ask_mode_the_operator_says_when(make_site: Make, manor: Callable[..., Any]) -> None:
    site = make_site(static_mode="ask")
    web = site.node("web")
    site.world.destroy(web)
    site.rounds(3)
    (alarm,) = site.alarms()
    assert f"manor heal approve {alarm.id}" in manor(site, "alarm", "explain", alarm.id)
    assert [one["alarm_id"] for one in manor(site, "--json", "heal", "list", "--waiting", "--days", "9999")] == [
        alarm.id
    ]
    site.rt.release_worker()
    manor(site, "heal", "approve", alarm.id)
    assert site.is_whole()
    assert manor(site, "--json", "heal", "list", "demo", "--waiting", "--days", "9999") == []
    assert operations_of(manor(site, "--json", "heal", "list", "demo", "--days", "9999"))
    (operation,) = site.operations()
    assert not operation.is_automatic
    site.rounds(10)
    assert site.alarms() == []
    (cleared,) = manor(site, "--json", "alarm", "list", "--all")
    shown = manor(site, "--json", "alarm", "show", alarm.id)["alarm"]
    assert [one["perceived_severity"] for one in (cleared, shown)] == ["CLEARED", "CLEARED"]
    story = manor(site, "alarm", "explain", alarm.id)
    assert "The alarm was raised (CRITICAL)." in story
    assert "approved by an operator" in story
    assert "It helped." in story
    assert "is cleared" in manor(site, "alarm", "approve", alarm.id, expect=2)


def test_a_heal_that_could_not_be_begun_waits_for_a_person(make_site: Make, manor: Callable[..., Any]) -> None:
    site = make_site()
    site.refused[OperationKind.HEAL] = "not today"
    site.world.destroy(site.node("web"))
    site.rounds(2)
    (waiting,) = manor(site, "--json", "heal", "list", "--waiting", "--days", "9999")
    assert "not today" in waiting["reason"]


def test_kpis_are_listed_shown_and_exported(make_site: Make, manor: Callable[..., Any]) -> None:
    site = make_site()
    assert "nothing was measured" in manor(site, "kpi", "list")
    site.clock.advance(time.time() - site.clock() - 60)
    firewall = site.node("firewall")
    for value in (10.0, 20.0, 30.0):
        site.world.metrics[firewall] = {"v_cpu_usage_mean": value}
        site.rounds(1, step_s=5, measure=True)
    names = [one["labels"].get("vnf") for one in manor(site, "--json", "kpi", "list", "demo")]
    assert {"client", "firewall", "monitor", "web"} <= set(names)
    shown = manor(site, "--json", "kpi", "show", "demo/firewall")
    assert shown["kpis"]["v_cpu_usage_mean_vnf"] == {"unit": "%", "last": 30.0}
    assert shown["values"]["v_cpu_usage_mean_vnf"][-2:] == [20.0, 30.0]
    assert "v_cpu_usage_mean_vnf" in manor(site, "kpi", "show", "demo/firewall")
    table = manor(site, "kpi", "export", "demo/firewall").splitlines()
    assert table[0] == "time_s,v_cpu_usage_mean_vnf"
    assert table[-1].endswith(",30.0")
    assert "no measured thing" in manor(site, "kpi", "show", "demo/fire", expect=2)
    assert "30m" in manor(site, "kpi", "show", "demo/firewall", "--since", "soon", expect=2)
    mistaken = manor(site, "pm", "job", "create", "demo/firewall", "-m", "v_cpu_usage_mean")
    assert "did you mean v_cpu_usage_mean_vnf?" in mistaken
    assert "warning" not in manor(site, "pm", "job", "create", "demo", "-m", "v_cpu_usage_mean_vnf")


@pytest.mark.slow
def test_a_learned_alarm_is_drawn_with_what_it_blames_first(make_site: Make, manor: Callable[..., Any]) -> None:
    site = make_site(detector="oracle")
    site.clock.advance(time.time() - site.clock() - 120)
    metrics = site.world.metrics[site.node("firewall")] = {"v_aaa": 1.0, "v_sessions": 20.0}
    site.rounds(3, step_s=5, measure=True)
    site.says["main-0|v_sessions"] = 1.0
    metrics["v_sessions"] = 90.0
    site.rounds(3, step_s=5, measure=True)
    (alarm,) = site.alarms()
    words = manor(site, "alarm", "explain", alarm.id)
    assert [line.split()[0] for line in words.splitlines() if "◀ blamed" in line] == ["v_sessions"]
    assert "v_aaa" not in words
    assert "▀▀" in words, "the time in which it was up"
    plotted = manor(site, "--json", "kpi", "plot", "demo/firewall")
    assert (plotted["blamed"], plotted["kpis"]) == (["v_sessions"], ["v_sessions", "v_aaa"])
    assert "▀▀" in plotted["drawing"]


@pytest.mark.slow
def test_alarms_are_told_as_they_come_change_and_go(make_site: Make) -> None:
    site = make_site(static_mode="shadow", clear_s=0)
    process = subprocess.Popen(
        [
            "env",
            "--default-signal=INT",  # it may be ignored where the tests were started in the background
            sys.executable,
            "-c",
            "import sys; from manor.cli import main; sys.exit(main(['--json', 'alarm', 'watch', 'demo']))",
        ],
        env={**os.environ, "MANOR_HOME": str(site.rt.home), "MANOR_DB": site.rt.store.url},
        stdout=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(2 * PATIENCE_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None

        def told() -> tuple[str, str, str]:
            line = process.stdout.readline()  # type: ignore[union-attr]
            assert line, "it ended, or said nothing for long"
            event = json.loads(line)
            return event["event"], event["alarm"]["probable_cause"], event["alarm"]["perceived_severity"]

        site.world.stop(site.node("web"))
        site.rounds(1)
        assert told() == ("raised", "node-stopped", "CRITICAL")
        (alarm,) = site.alarms()
        with site.rt.store.begin() as tx:
            alarms.save(tx, replace(alarm, ack_state=AckState.ACKNOWLEDGED))
        assert told() == ("changed", "node-stopped", "CRITICAL")
        site.settings(detector="", clear_s=0)
        site.rounds(3)
        assert told() == ("cleared", "node-stopped", "CLEARED")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_a_course_is_drawn_with_its_gaps() -> None:
    assert sparkline([0.0, None, 7.0, 7.0]) == "▁ ██"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([None]) == " "
    assert sparkline([]) == ""
