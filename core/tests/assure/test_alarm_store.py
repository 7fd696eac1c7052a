"""Alarms and decisions in the database: one active alarm a fault, an old database brought up, one leader."""

from dataclasses import replace
from pathlib import Path

import pytest

from manor.api import HealAction, PerceivedSeverity
from manor.errors import UsageError
from manor.model.alarm import AckState, AlarmRecord, EventType, FaultyResourceType, Outcome, Ruling
from manor.store import alarms, leases, notifications
from manor.store.database import Database

ALARM = AlarmRecord(
    id="aa11",
    ns_id="0a0b0c0d",
    managed_object_id="0a0b0c0d/vnf/fw",
    resource_key="0a0b0c0d/vnf/fw/main-0",
    faulty_resource_type=FaultyResourceType.COMPUTE,
    perceived_severity=PerceivedSeverity.CRITICAL,
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="node-absent",
    fault_details=("it is not there\x00",),
    alarm_raised_time_s=100.0,
)
RULING = Ruling(
    id="r1",
    alarm_id="aa11",
    ns_id="0a0b0c0d",
    resource_key=ALARM.resource_key,
    time_s=101.0,
    action=HealAction.RESTART,
    outcome=Outcome.STARTED,
    reason="dead",
    operation_id="op1",
)


@pytest.fixture
def database(tmp_path: Path):
    database = Database.open(tmp_path / "manor.db")
    yield database
    database.close()


def test_one_that_is_acknowledged_after_it_cleared_does_not_clear_again(database: Database) -> None:
    cleared = replace(ALARM, alarm_cleared_time_s=110.0)
    with database.begin() as tx:
        alarms.add(tx, ALARM)
        alarms.save(tx, cleared)
        alarms.save(tx, replace(cleared, ack_state=AckState.ACKNOWLEDGED))
    with database.read() as tx:
        told = [one.document("site") for one in notifications.after(tx, 0)]
    assert [one["notificationType"] for one in told] == [
        "AlarmNotification",
        "AlarmClearedNotification",
        "AlarmNotification",
    ]
    assert [told[n]["alarm"]["perceivedSeverity"] for n in (0, 2)] == ["CRITICAL", "CLEARED"]
    assert told[2]["alarm"]["ackState"] == "ACKNOWLEDGED"
    assert told[2]["alarm"]["alarmClearedTime"] == told[1]["alarmClearedTime"]


def test_a_fault_has_one_active_alarm_and_may_come_back(database: Database) -> None:
    with database.begin() as tx:
        assert alarms.add(tx, ALARM)
        assert not alarms.add(tx, replace(ALARM, id="bb22"))
        alarms.save(tx, replace(ALARM, alarm_cleared_time_s=110.0))
        assert alarms.add(tx, replace(ALARM, id="ab33", alarm_raised_time_s=120.0))
    with database.read() as tx:
        assert [alarm.id for alarm in alarms.active(tx)] == ["ab33"]
        assert [alarm.id for alarm in alarms.listing(tx, cleared=True)] == ["ab33", "aa11"]
        assert alarms.get(tx, "aa").alarm_cleared_time_s == 110.0
        assert alarms.get(tx, "aa").fault_details == ("it is not there",)
        for word, said in (("a", "several"), ("zz", "no alarm"), ("%", "no alarm")):
            with pytest.raises(UsageError, match=said):
                alarms.get(tx, word)


def test_decisions_are_history_until_they_are_pruned(database: Database) -> None:
    with database.begin() as tx:
        alarms.add(tx, replace(ALARM, alarm_cleared_time_s=110.0))
        alarms.add_ruling(tx, RULING)
        alarms.add_ruling(tx, replace(RULING, id="r2", time_s=105.0, operation_id="", outcome=Outcome.HELD))
        alarms.save_ruling(tx, replace(RULING, succeeded=True, ended_s=104.0))
    with database.begin() as tx:
        assert [(r.id, r.succeeded) for r in alarms.rulings(tx, "aa11")] == [("r1", True), ("r2", None)]
        assert [r.id for r in alarms.heals(tx, since_s=0.0)] == ["r1"]
        assert alarms.heals(tx, since_s=102.0) == ()
        assert alarms.prune(tx, 200.0) == 1
        assert alarms.listing(tx, cleared=True) == ()
        assert alarms.rulings(tx, "aa11") == ()


def test_what_a_healed_alarm_follows_from_is_known_after_it_has_cleared(database: Database) -> None:
    roots = {
        "root": replace(ALARM, id="root", ns_id="", resource_key="vim:lab/h1", probable_cause="host-emptied"),
        "lost": replace(ALARM, id="lost", ns_id="", resource_key="vim:lab/h2", probable_cause="host-lost"),
        "place": replace(ALARM, id="place", resource_key="0a0b0c0d@lab/h1", probable_cause="host-emptied"),
    }
    followed = {"aa11": "root", "bb22": "root", "cc33": "", "dd44": "lost", "ee55": "place", "ff66": "forgotten"}
    with database.begin() as tx:
        for root in roots.values():
            alarms.add(tx, replace(root, alarm_cleared_time_s=110.0))
        for name, above in followed.items():
            follows = {"is_root_cause": False, "correlated_alarm_ids": (above,)} if above else {}
            alarms.add(tx, replace(ALARM, id=name, resource_key=name, alarm_cleared_time_s=110.0, **follows))
            heal = "" if name == "bb22" else f"op-{name}"
            alarms.add_ruling(tx, replace(RULING, id=f"r-{name}", alarm_id=name, operation_id=heal))
    with database.read() as tx:
        emptied = alarms.roots(tx, cause="host-emptied", since_s=0.0)
        assert emptied == {"aa11": "root"}, "of those that were healed and follow from one of no service"
        assert alarms.roots(tx, cause="host-emptied", since_s=102.0) == {}


def test_one_process_leads_until_it_falls_silent(database: Database) -> None:
    with database.begin() as tx:
        assert leases.lead(tx, "assurance", "one", 15.0)
        assert not leases.lead(tx, "assurance", "two", 15.0)
        leases.leave(tx, "assurance", "two")
        assert leases.lead(tx, "assurance", "one", 15.0)
        assert not leases.lead(tx, "assurance", "two", 15.0)
        assert leases.lead(tx, "assurance", "one", -1.0), "silent for longer than its lease from now on"
        assert leases.lead(tx, "assurance", "two", 15.0)
        assert not leases.lead(tx, "assurance", "one", 15.0)
        leases.leave(tx, "assurance", "two")
        assert leases.lead(tx, "assurance", "one", 15.0), "nobody waits for one that left"
