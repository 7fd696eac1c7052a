"""What the loop begins, in one round and over many: within its budgets, and never without a word, whoever fails."""

from collections.abc import Callable
from typing import Any

import pytest
from assured_site import Site

from manor.api import HealAction, OperationKind, Phase, ResourceKind, Sample
from manor.assure.recording import Recording
from manor.lcm import ns, work
from manor.model.alarm import Outcome
from manor.model.instance import OperationState
from manor.store import instances, reading

Make = Callable[..., Site]

pytestmark = pytest.mark.slow


def test_budgets_of_many_services_hold_within_one_round_too(make_site: Make) -> None:
    site = make_site(heals_per_hour=1)
    done = work.follow(site.rt, ns.start(site.rt, another(site, "other")))
    assert done.state is OperationState.COMPLETED
    for one in site.seen():
        if one.ref.kind is ResourceKind.NODE and "/web/" in one.ref.key:
            site.world.destroy(one.ref.key)
    site.rounds(1)
    heals = [one for one in reading.operations(site.rt.url).items if one.operation is OperationKind.HEAL]
    assert len(heals) == 1
    rulings = [ruling for alarm in site.all() for ruling in site.rulings(alarm)]
    assert sorted(ruling.outcome for ruling in rulings) == [Outcome.HELD, Outcome.STARTED]
    assert any("this installation had 1 heals within the hour" in ruling.reason for ruling in rulings)


RESTARTS: Any = {"degraded_s": 0, "rules": [{"vnf": "web", "cause": "*", "action": "restart"}]}


def two_broken(site: Site) -> None:
    """A second service; the web server of each runs and is sick."""
    assert work.follow(site.rt, ns.start(site.rt, another(site, "other"))).state is OperationState.COMPLETED
    with site.world.change() as state:
        for native in state.natives.values():
            if native.spec.kind is ResourceKind.NODE and "/web/" in native.spec.key:
                native.phase = Phase.DEGRADED


def names(site: Site) -> dict[str, str]:
    """Of services, by id."""
    with site.rt.store.read() as tx:
        return {one.id: one.name for one in instances.all_of(tx)}


def told(site: Site) -> dict[str, list[tuple[Outcome, str]]]:
    """What was decided about each service, by its name."""
    by_id = names(site)
    return {by_id[alarm.ns_id]: [(r.outcome, r.reason) for r in site.rulings(alarm)] for alarm in site.all()}


def while_planned(monkeypatch: pytest.MonkeyPatch, happens: Callable[[str], None]) -> None:
    """Have this happen, told the service's id, while a heal is planned."""
    propose = ns.propose

    def slowly(rt: Any, ns_id: str, *more: Any, **words: Any) -> ns.Proposal:
        happens(ns_id)
        return propose(rt, ns_id, *more, **words)

    monkeypatch.setattr(ns, "propose", slowly)


def test_a_service_that_is_locked_while_another_is_long_in_planning_is_left_alone(
    make_site: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(**RESTARTS)
    two_broken(site)
    locked: list[str] = []

    def lock_the_other(ns_id: str) -> None:
        site.clock.advance(30.0)
        locked[:] = [name for other, name in names(site).items() if other != ns_id]
        site.settings(detector="", **RESTARTS, services={locked[0]: {"locked": True}})

    while_planned(monkeypatch, lock_the_other)
    site.rounds(1)
    (name,) = locked
    assert [(one, [outcome for outcome, _ in said]) for one, said in told(site).items() if said] == [
        (next(one for one in names(site).values() if one != name), [Outcome.STARTED])
    ]
    site.rounds(1)
    assert told(site)[name][-1][0] is Outcome.HELD
    assert "is locked" in told(site)[name][-1][1]


def test_all_get_their_turn_where_each_is_long_in_planning_and_refused(
    make_site: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(**RESTARTS, cool_down_s=0)
    two_broken(site)
    site.refused[OperationKind.HEAL] = "not today"
    asked: list[str] = []
    while_planned(monkeypatch, lambda ns_id: (asked.append(ns_id), site.clock.advance(30.0))[0])
    site.rounds(4)
    assert len(asked) == 4, "one a round, for what was seen before is too old"
    assert asked[0] != asked[1]
    assert asked[:2] == asked[2:]


def test_a_machine_that_an_operator_put_right_while_another_was_planned_is_not_made_anew(
    make_site: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(**RESTARTS)
    two_broken(site)
    repaired: list[str] = []

    def repair_the_other(ns_id: str) -> None:
        if not repaired:
            repaired[:] = [other for other in names(site) if other != ns_id]
            done = work.follow(site.rt, ns.start(site.rt, ns.propose(site.rt, repaired[0], OperationKind.REPAIR)))
            assert done.state is OperationState.COMPLETED

    while_planned(monkeypatch, repair_the_other)
    site.rounds(1)
    operations = reading.operations(site.rt.url, ns_id=repaired[0]).items
    assert [one.operation for one in operations if one.is_automatic] == []
    ((outcome, reason),) = told(site)[names(site)[repaired[0]]]
    assert outcome is Outcome.FAILED
    assert f"operation {operations[0].id} ran" in reason


def another(site: Site, name: str) -> ns.Proposal:
    ns.create(site.rt, "secure-web", name=name)
    return ns.propose(site.rt, name, OperationKind.INSTANTIATE)


def test_a_policy_that_breaks_is_told_for_the_alarm_it_was_asked_about(make_site: Make) -> None:
    site = make_site(policy="oracle", rules=[{"vnf": "web", "cause": "*", "action": "restart"}])
    monitor = site.node("monitor")

    def told(answer: object) -> str:
        site.answers["decide"] = answer
        site.rounds(1)
        ruling = next(site.rulings(alarm)[-1] for alarm in site.alarms() if alarm.resource_key == monitor)
        assert (ruling.action, ruling.outcome) == (HealAction.ESCALATE, Outcome.ESCALATED)
        return ruling.reason

    site.world.destroy(monitor)
    assert "it gave a str instead of HealDecision" in told("restart it")
    site.world.destroy(site.node("web"))
    reason = told(ValueError("it has a fault"))
    assert "policy oracle failed" in reason
    assert "it has a fault" in reason
    assert site.is_whole(), "the other was healed, and its service with it"


def test_a_detector_that_breaks_stops_nothing_else_and_watches_once_it_has_a_word(
    make_site: Make, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(detector="oracle", heartbeat_s=1)
    measuring = site.assurance._measuring
    machines = {site.node(vnf) for vnf in ("client", "firewall", "monitor", "web")}
    site.rounds(1)
    for answer in (ValueError("it has a fault"), None, [], ["high"]):
        site.answers["score"] = answer
        site.rounds(1, measure=True)
        assert measuring.learning is not None
        assert measuring.learning.deaf == machines, answer
    assert measuring._hearing is not None, "guests were asked for their heartbeat all the same"
    assert site.assurance.figures().detectors == {"learning": 4, "watching": 0}
    site.answers.clear()
    site.rounds(1, measure=True)
    assert measuring.learning.deaf == set()
    assert site.assurance.figures().detectors == {"learning": 0, "watching": 4}
    measuring.learning.save()
    site.answers["load"] = ValueError("what was kept is broken")
    site.begin_anew()
    site.rounds(2, measure=True)
    assert caplog.text.count("learns anew") == 4
    assert site.assurance.figures().detectors == {"learning": 0, "watching": 4}


def test_a_further_source_of_kpis_joins_the_others_and_is_told_when_it_fails(make_site: Make) -> None:
    settings = {"detector": "nobody", "degraded_s": 0, "clear_s": 0}
    site = make_site(sources={"oracle": {}}, **settings)
    web, rows = site.node("web"), lambda: site.assurance._measuring.rows
    sample = Sample(metric="v_sessions", value=7.0, unit="1", key=web, time_s=site.clock())
    site.answers["collect"] = [sample]
    site.rounds(2, measure=True)
    assert rows()[web].values["v_sessions"] == 7.0
    assert len(rows()[web].values) > 1
    site.answers["collect"] = ValueError("it has a fault")
    site.rounds(1, measure=True)
    (alarm,) = site.alarms()
    assert (alarm.resource_key, alarm.probable_cause) == ("oracle", "telemetry-silent")
    assert "it has a fault" in alarm.fault_details[0]
    assert "v_sessions" not in rows()[web].values
    assert site.operations() == []
    site.answers["collect"] = [sample]
    site.settings(sources={"oracle": {}, "another": {}}, **settings)
    site.rounds(2)
    site.rounds(2, measure=True)
    assert [alarm.resource_key for alarm in site.alarms()] == ["another"], "one that there is not"
    assert "v_sessions" in rows()[web].values


def test_a_heal_that_is_refused_is_not_planned_anew_each_second(make_site: Make) -> None:
    site = make_site(cool_down_s=20)
    site.refused[OperationKind.HEAL] = "not today"
    site.world.destroy(site.node("web"))
    site.rounds(30)
    assert site.planned.count(OperationKind.HEAL) == 2, "at first, and when it has rested"
    (alarm,) = site.alarms()
    (ruling,) = site.rulings(alarm)
    assert ruling.outcome is Outcome.FAILED
    assert "not today" in ruling.reason


def test_a_process_that_is_killed_once_it_has_begun_a_heal_has_said_so(
    make_site: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(heals_per_service_hour=1)

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    site.world.destroy(site.node("web"))
    with monkeypatch.context() as patched:
        patched.setattr(Recording, "begun", killed)  # what comes first after the operation
        with pytest.raises(Killed):
            site.rounds(1)
    site.begin_anew()
    site.rounds(10)
    (alarm,) = site.all()
    (operation,) = site.operations()
    (ruling,) = site.rulings(alarm)
    assert (ruling.operation_id, ruling.helped) == (operation.id, True)
    site.world.destroy(site.node("monitor"))
    site.rounds(5)
    assert len(site.operations()) == 1, "it counts in the budget"
