"""``manor assurance report``: what was right, wrong, missed, and what it saved."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from assured_site import Site

from manor.api import HealAction, OperationKind, PerceivedSeverity
from manor.assure.balance import balance_of
from manor.cli import main
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType, Outcome, Ruling
from manor.model.instance import NsLcmOpOcc, OperationState

Make = Callable[..., Site]


def alarm(name: str, at_s: float, **more: Any) -> AlarmRecord:
    return AlarmRecord(
        id=name, ns_id="1a2b3c4d", managed_object_id="vnf", resource_key=f"1a2b3c4d/vnf/fw/{name}",
        faulty_resource_type=FaultyResourceType.COMPUTE, perceived_severity=PerceivedSeverity.MAJOR,
        event_type=EventType.QOS_ALARM, probable_cause="x", event_time_s=at_s, alarm_raised_time_s=at_s, **more,
    )  # fmt: skip


def ruling(of: str, at_s: float, outcome: Outcome, operation_id: str = "", **more: Any) -> Ruling:
    return Ruling(
        id=f"{of}-{at_s}", alarm_id=of, ns_id="1a2b3c4d", resource_key=of, time_s=at_s, action=HealAction.RESTART,
        outcome=outcome, reason="", operation_id=operation_id, **more,
    )  # fmt: skip


def heal(name: str, at_s: float, *, automatic: bool) -> NsLcmOpOcc:
    return NsLcmOpOcc(
        id=name, ns_id="1a2b3c4d", ns_name="shop", operation=OperationKind.HEAL, state=OperationState.COMPLETED,
        start_s=at_s, is_automatic=automatic,
    )  # fmt: skip


def test_what_is_known_is_counted_and_what_is_not_is_not() -> None:
    alarms = [
        alarm("dead", 100.0, alarm_cleared_time_s=120.0),
        alarm("sick", 200.0, learned=True, alarm_cleared_time_s=220.0),
        alarm("odd", 300.0, learned=True, judged_true=False, alarm_cleared_time_s=320.0),
        alarm("who-knows", 400.0, learned=True, alarm_cleared_time_s=420.0),
        alarm("approved", 500.0, alarm_cleared_time_s=900.0),
    ]
    rulings = [
        ruling("dead", 100.0, Outcome.STARTED, "op1", ended_s=110.0, succeeded=True, helped=True),
        ruling("sick", 201.0, Outcome.STARTED, "op2", ended_s=220.0, succeeded=True, helped=True),
        ruling("odd", 300.0, Outcome.SHADOW),
        ruling("who-knows", 400.0, Outcome.ESCALATED),
        ruling("approved", 500.0, Outcome.ASK),
        ruling("approved", 800.0, Outcome.STARTED, "op3", ended_s=830.0, succeeded=True, helped=True),
    ]
    operations = [
        heal("op1", 100.0, automatic=True),
        heal("op2", 201.0, automatic=True),
        heal("op3", 800.0, automatic=False),
        heal("op4", 2000.0, automatic=False),
    ]
    balance = balance_of(alarms, rulings, operations, assumed_by_hand_s=9999.0)
    assert (balance.alarms, balance.learned) == (5, 3)
    assert (balance.right, balance.wrong, balance.unknown, balance.missed) == (3, 1, 1, 1)
    assert (balance.precision, balance.recall) == (0.75, 0.75)
    assert (balance.heals, balance.helped, balance.useless) == (2, 2, 0)
    assert (balance.held, balance.escalated) == (1, 1)
    assert (balance.repair_s, balance.by_hand_s) == (15.0, 330.0)
    assert balance.saved_s == pytest.approx(320.0 + 310.0)
    nothing = balance_of([], [], [], assumed_by_hand_s=1.0)
    assert (nothing.precision, nothing.recall, nothing.saved_s) == (None, None, None)


def test_an_operators_word_is_in_the_report(
    make_site: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(detector="oracle")
    monkeypatch.setenv("MANOR_HOME", str(site.rt.home))
    site.rounds(3, measure=True)
    site.says["main-0|"] = 0.5
    site.rounds(5, measure=True)
    odd = next(one for one in site.alarms() if one.is_root_cause)

    def manor(*argv: str) -> Any:
        capsys.readouterr()
        assert main(["--json", *argv]) == 0
        return json.loads(capsys.readouterr().out)

    said = manor("alarm", "report", "--days", "10000")
    assert (said["wrong"], said["precision"]) == (0, None)
    manor("alarm", "ack", odd.id, "--false")
    site.rounds(2, measure=True)
    said = manor("assurance", "report", "--days", "10000")
    assert (said["wrong"], said["precision"]) == (1, 0.0)
