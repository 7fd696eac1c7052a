"""The cautious policy acts on what is dead or confirmed, and knows when to stop."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from manor.api import Alarm, HealAction, HealRecord, PerceivedSeverity, ServiceView
from manor_assurance.config import CautiousConfig
from manor_assurance.policy import CautiousPolicy

KEY = "1a2b3c4d/vnf/fw/vm-0"
SERVICE = ServiceView(id="1a2b3c4d", name="web", nsd_id="nsd", state="INSTANTIATED", resources=(KEY,))


def alarm(**changes):
    values = {
        "id": "a1",
        "managed_object_id": "vnf-fw",
        "resource_key": KEY,
        "perceived_severity": PerceivedSeverity.MAJOR,
        "probable_cause": "domain-crashed",
        "alarm_raised_time_s": 10_000.0,
        "learned": False,
    }
    return Alarm(**{**values, **changes})


def heal(ago_s, action=HealAction.RESTART, succeeded=True, key=KEY):
    return HealRecord(time_s=10_000.0 - ago_s, resource_key=key, action=action, succeeded=succeeded)


def decide(one, history=()):
    return CautiousPolicy(CautiousConfig()).decide(one, SERVICE, history)


def test_a_dead_machine_is_restarted_at_once():
    decision = decide(alarm())
    assert decision.action is HealAction.RESTART
    assert decision.targets == (KEY,)
    assert "domain-crashed" in decision.reason


@pytest.mark.parametrize("cause", ["domain-crashed", "anomaly"])
def test_a_learned_alarm_alone_never_acts(cause):
    for severity in PerceivedSeverity:
        decision = decide(alarm(learned=True, probable_cause=cause, perceived_severity=severity))
        assert decision.action in (HealAction.NONE, HealAction.ESCALATE)
    assert decide(alarm(learned=True)).action is HealAction.ESCALATE
    assert decide(alarm(learned=True, perceived_severity=PerceivedSeverity.WARNING)).action is HealAction.NONE


def test_a_confirmed_one_acts_and_says_by_what():
    decision = decide(alarm(learned=True, probable_cause="anomaly", confirmations=("probe-failed on chain web",)))
    assert decision.action is HealAction.RESTART
    assert "probe-failed on chain web" in decision.reason


def test_a_threshold_that_does_not_mean_death_is_told():
    assert decide(alarm(probable_cause="disk-full")).action is HealAction.ESCALATE


@pytest.mark.parametrize(
    ("history", "action"),
    [
        ([heal(60)], HealAction.RECREATE),
        ([heal(600)], HealAction.RECREATE),
        ([heal(600), heal(300, HealAction.RECREATE, succeeded=False)], HealAction.ESCALATE),
        ([heal(3000), heal(2000), heal(1000)], HealAction.ESCALATE),
        ([heal(4000), heal(5000), heal(6000)], HealAction.RESTART),
        ([heal(600, key="other")], HealAction.RESTART),
        ([heal(600, HealAction.ESCALATE)], HealAction.RESTART),
        ([heal(-600)], HealAction.RESTART),
    ],
)
def test_history_of_a_dead_machine_changes_the_answer(history, action):
    for order in itertools.permutations(history):
        decision = decide(alarm(), order)
        assert decision.action is action
        assert decision == decide(alarm(), order)
        assert decision.reason


def test_a_restart_did_not_last_only_where_the_same_came_back():
    before = heal(600)
    same = decide(alarm(), [dataclasses.replace(before, probable_cause="domain-crashed")])
    assert same.action is HealAction.RECREATE
    assert "a restart did not last" in same.reason
    other = decide(alarm(), [dataclasses.replace(before, probable_cause="kpi-anomaly")])
    assert other.action is HealAction.RESTART
    assert "did not last" not in other.reason
    each = [dataclasses.replace(heal(ago_s), probable_cause=f"cause {ago_s}") for ago_s in (3000, 2000, 1000)]
    assert decide(alarm(), each).action is HealAction.ESCALATE, "a machine that fails in every way is a person's"


def test_machines_of_a_host_that_is_rebooted_again_keep_their_disks():
    """That they were off together says nothing against them."""

    def before(*helped: bool) -> HealAction:
        history = [
            dataclasses.replace(heal(600 * (number + 1), succeeded=helped[-number - 1]), probable_cause="host-emptied")
            for number in range(len(helped))
        ]
        return decide(alarm(probable_cause="host-emptied"), history).action

    assert before() is HealAction.RESTART
    assert before(True) is HealAction.RESTART
    assert before(True, True) is HealAction.RESTART
    assert before(False) is HealAction.RECREATE, "they did not come back"
    assert before(True, True, True) is HealAction.ESCALATE, "such a host is a person's"


def test_what_is_not_of_the_service_or_is_cleared_is_not_touched():
    assert decide(alarm(resource_key="ffffffff/vnf/x/vm-0")).action is HealAction.ESCALATE
    assert decide(alarm(perceived_severity=PerceivedSeverity.CLEARED)).action is HealAction.NONE
