"""``manor pm`` beside the loop: a crossing is an alarm and a notification, a report is kept and told."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from assured_site import Site

from manor.api import HealAction, PerceivedSeverity, ResourceKind
from manor.model.alarm import Outcome
from manor.model.instance import OperationState
from manor.store import notifications, pm

pytestmark = pytest.mark.slow

Make = Callable[..., Site]


def told(site: Site, kind: str) -> list[dict[str, Any]]:
    with site.rt.store.read() as tx:
        return [dict(one.body) for one in notifications.after(tx, 0, limit=1000) if str(one.type) == kind]


def test_a_threshold_raises_one_alarm_and_clears_it(make_site: Make, manor: Callable[..., Any]) -> None:
    site = make_site(static_mode="shadow")
    site.clock.advance(time.time() - site.clock())
    firewall = site.node("firewall")
    made = manor(
        site, "--json", "pm", "threshold", "create", "demo/firewall", "-m", "v_cpu_usage_mean_vnf", "--value", "80",
        "--hysteresis", "5", "--severity", "MINOR",
    )  # fmt: skip
    for value in (50.0, 90.0, 82.0, 90.0):
        site.world.metrics[firewall] = {"v_cpu_usage_mean": value}
        site.rounds(1, step_s=5, measure=True)
    (alarm,) = site.alarms()
    assert (alarm.resource_key, alarm.perceived_severity) == (firewall, PerceivedSeverity.MINOR)
    assert alarm.probable_cause == "threshold-crossed v_cpu_usage_mean_vnf"
    assert site.operations() == [], "a threshold heals nothing"
    assert firewall in manor(site, "pm", "threshold", "list")
    (up,) = told(site, "ThresholdCrossedNotification")
    assert (up["crossingDirection"], up["objectType"], up["performanceValue"]) == ("UP", "Vnfc", 90.0)
    assert up["thresholdId"] == made["id"]
    site.world.metrics[firewall] = {"v_cpu_usage_mean": 70.0}
    site.rounds(4, step_s=5, measure=True)
    assert site.alarms() == []
    assert [one["crossingDirection"] for one in told(site, "ThresholdCrossedNotification")] == ["UP", "DOWN"]

    site.world.metrics[firewall] = {"v_cpu_usage_mean": 99.0}
    site.rounds(2, step_s=5, measure=True)
    assert [alarm.is_root_cause for alarm in site.alarms()] == [True]
    site.world.stop(firewall)
    site.rounds(2, step_s=5, measure=True)
    crossed, dead = site.alarms()
    assert (dead.resource_key, dead.probable_cause, dead.is_root_cause) == (firewall, "node-stopped", True)
    assert (crossed.is_root_cause, crossed.correlated_alarm_ids) == (False, (dead.id,)), "nobody measures what is off"
    assert any("threshold-crossed" in line for line in dead.fault_details)
    manor(site, "pm", "threshold", "delete", made["id"][:6])
    site.rounds(4, step_s=5, measure=True)
    assert site.alarms() == [dead]


def test_a_disk_that_fills_up_is_told_and_not_restarted(make_site: Make) -> None:
    site = make_site()
    firewall = site.node("firewall")

    def told(usage: float) -> list[str]:
        site.world.metrics[firewall] = {"v_guest_disk_fullest_usage": usage, "v_guest_disk_usage:/var/log": usage}
        site.rounds(2, step_s=5, measure=True)
        return [alarm.probable_cause for alarm in site.alarms()]

    assert told(94.0) == []
    assert told(96.0) == ["disk-full"]
    (alarm,) = site.alarms()
    assert (alarm.resource_key, alarm.managed_object_id) == (firewall, firewall.rpartition("/")[0])
    assert "/var/log" in alarm.fault_details[0]
    assert site.rulings(alarm)[-1].outcome is Outcome.ESCALATED
    assert told(92.0) == ["disk-full"]
    site.begin_anew()
    site.rounds(4, step_s=2)
    assert told(92.0) == ["disk-full"], "also for the next process"
    assert [one.id for one in site.all()] == [alarm.id], "and it is the same alarm"
    assert told(89.0) == []
    assert site.operations() == []


def test_a_disk_that_fills_up_is_made_anew_where_the_operator_has_a_rule_for_it(make_site: Make) -> None:
    site = make_site(rules=[{"cause": "disk-full", "action": "recreate"}], helped_within_s=30)
    firewall = site.node("firewall")

    def machines() -> dict[str, str]:
        return {one.ref.key: one.native_id for one in site.seen() if one.ref.kind is ResourceKind.NODE}

    before = machines()
    site.world.metrics[firewall] = {"v_guest_disk_fullest_usage": 97.0}
    site.rounds(2, step_s=5, measure=True)
    (operation,) = site.operations()
    assert (operation.state, operation.is_automatic) == (OperationState.COMPLETED, True)
    assert {key for key, native in machines().items() if native != before[key]} == {firewall}
    site.world.metrics[firewall] = {"v_guest_disk_fullest_usage": 20.0}
    site.rounds(6, step_s=5, measure=True)
    (alarm,) = site.all()
    (ruling,) = site.rulings(alarm)
    assert (alarm.probable_cause, alarm.is_active) == ("disk-full", False)
    assert (ruling.action, ruling.helped) == (HealAction.RECREATE, True)
    assert len(site.operations()) == 1


def test_a_job_reports_what_it_collected(make_site: Make, manor: Callable[..., Any]) -> None:
    site = make_site()
    site.clock.advance(time.time() - site.clock())
    firewall = site.node("firewall")
    args = ("demo", "-m", "v_cpu_usage_mean_vnf", "--collect", "10s", "--report", "20s")
    made = manor(site, "--json", "pm", "job", "create", *args)
    assert "no report yet" in manor(site, "pm", "job", "show", made["id"])
    for value in (10.0, 20.0, 30.0, 40.0, 50.0, 60.0):
        site.world.metrics[firewall] = {"v_cpu_usage_mean": value}
        site.rounds(1, step_s=5, measure=True)
    shown = manor(site, "--json", "pm", "job", "show", made["id"][:6])
    (report,) = shown["reports"]
    entries = {entry["object_instance_id"]: entry["values"] for entry in report["entries"]}
    assert [value for _, value in entries[firewall]] == [25.0, 45.0], "of 20 and 30, of 40 and 50"
    assert len(entries) == 4, "every machine of the service"
    (available,) = told(site, "PerformanceInformationAvailableNotification")
    assert available["reportId"] == report["id"]
    assert "v_cpu_usage_mean_vnf" in manor(site, "pm", "job", "show", made["id"])
    assert made["id"] in manor(site, "pm", "job", "list")
    manor(site, "pm", "job", "delete", made["id"])
    with site.rt.store.read() as tx:
        assert pm.reports(tx, made["id"]) == ()


REFUSED = (
    (("threshold", "create", "demo/nothing", "-m", "v_cpu", "--value", "1"), "no measured thing"),
    (("threshold", "create", "nothing", "-m", "v_cpu", "--value", "1"), "no service"),
    (("threshold", "create", "demo", "-m", "a:b", "--value", "1"), "no name of a KPI"),
    (("threshold", "create", "demo", "-m", "a", "--value", "nan"), "not a number"),
    (("threshold", "create", "demo", "-m", "a", "--value", "1", "--hysteresis", "-1"), "hysteresis"),
    (("job", "create", "demo", "-m", "a", "--collect", "1h", "--report", "5m"), "cannot hold"),
    (("job", "create", "demo", "-m", "a", "--collect", "0s"), "at least a second"),
    (("job", "show", "zz"), "no PM job"),
)


def test_what_makes_no_sense_is_refused(make_site: Make, manor: Callable[..., Any]) -> None:
    site = make_site()
    for args, word in REFUSED:
        assert word in manor(site, "pm", *args, expect=2), args


def test_of_several_processes_one_reports(
    make_site: Make, manor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    site.clock.advance(time.time() - site.clock())
    manor(site, "pm", "job", "create", "demo", "-m", "v_cpu_usage_mean_vnf", "--collect", "10s", "--report", "20s")
    monkeypatch.setattr(site.assurance, "_leads", lambda: False)  # another process on the same PostgreSQL does
    site.rounds(1)
    site.world.metrics[site.node("firewall")] = {"v_cpu_usage_mean": 10.0}
    site.rounds(8, step_s=5, measure=True)
    assert told(site, "PerformanceInformationAvailableNotification") == []
