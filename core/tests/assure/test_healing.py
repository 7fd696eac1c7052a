"""What an operator sees when something breaks: one alarm, a heal with its reason, and a no with its reason."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from assured_site import Site

from manor.api import HealAction, PerceivedSeverity, Phase, PowerState
from manor.assure.confirming import confirm
from manor.assure.looking import Services, look
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Sight
from manor.assure.symptoms import find_symptoms
from manor.fakes import Fault
from manor.lcm import ns, work
from manor.lcm.operate import operate
from manor.model.alarm import Outcome
from manor.model.instance import OperationState

Make = Callable[..., Site]


def test_a_machine_destroyed_behind_our_back_is_healed_and_told_as_one_alarm(make_site: Make) -> None:
    site = make_site()
    site.rounds(3, measure=True)
    assert site.alarms() == []
    firewall = site.node("firewall")
    site.world.destroy(firewall)
    assert not site.is_whole()
    site.rounds(1)
    (operation,) = site.operations()
    assert operation.state is OperationState.COMPLETED
    assert operation.is_automatic
    assert "node-absent" in operation.params["wishes"]["cause"]
    assert f"ensure node {firewall}" in site.steps(operation)
    assert site.is_whole()
    site.rounds(8, measure=True)
    assert site.alarms() == []
    (alarm,) = site.all()
    assert (alarm.resource_key, alarm.probable_cause) == (firewall, "node-absent")
    assert alarm.managed_object_id == firewall.rpartition("/")[0]
    assert alarm.perceived_severity is PerceivedSeverity.CRITICAL
    (ruling,) = site.rulings(alarm)
    assert (ruling.action, ruling.outcome, ruling.operation_id) == (HealAction.RESTART, Outcome.STARTED, operation.id)
    assert (ruling.succeeded, ruling.helped) == (True, True)
    site.rt.plugins.close()
    assert [event.perceived_severity for event in site.events] == [  # type: ignore[attr-defined]
        PerceivedSeverity.CRITICAL,
        PerceivedSeverity.CLEARED,
    ]


@pytest.mark.slow
def test_a_restart_did_not_last_is_said_where_the_same_comes_back_and_not_of_another_fault(make_site: Make) -> None:
    site = make_site(cool_down_s=0)
    web = site.node("web")

    def heals(break_it: Callable[[str], None]) -> str:
        break_it(web)
        site.rounds(6, step_s=20)  # it is healed, clears, and settles
        return site.rulings(site.all()[0])[-1].reason

    assert "did not last" not in heals(site.world.destroy)
    assert "did not last" not in heals(site.world.stop), "another fault"
    assert "a restart did not last" in heals(site.world.stop)


def test_a_crashed_machine_is_started_again_and_not_made_anew(make_site: Make) -> None:
    site = make_site()
    web = site.node("web")
    before = next(one for one in site.seen() if one.ref.key == web).native_id
    site.world.stop(web)
    site.rounds(1)
    assert site.is_whole()
    assert next(one for one in site.seen() if one.ref.key == web).native_id == before
    assert [alarm.probable_cause for alarm in site.all()] == ["node-stopped"]


@pytest.mark.slow
def test_all_that_died_in_a_service_is_one_operation(make_site: Make) -> None:
    site = make_site()
    for vnf in ("firewall", "monitor", "web"):
        site.world.destroy(site.node(vnf))
    site.rounds(1)
    (operation,) = site.operations()
    assert site.is_whole()
    assert len(site.all()) == 3
    assert {ruling.operation_id for alarm in site.all() for ruling in site.rulings(alarm)} == {operation.id}


@pytest.mark.slow
def test_a_machine_that_keeps_dying_is_handed_to_a_person(make_site: Make) -> None:
    site = make_site()
    monitor = site.node("monitor")

    def escalated() -> bool:
        if not site.alarms():
            site.world.destroy(monitor)
        return any(r.outcome is Outcome.ESCALATED for a in site.alarms() for r in site.rulings(a))

    site.until(escalated, most=1500)
    assert [r.action for a in reversed(site.all()) for r in site.rulings(a) if r.is_heal] == [
        HealAction.RESTART,
        HealAction.RECREATE,
        HealAction.RECREATE,
    ]
    site.rounds(60)
    assert len(site.operations()) == 3, "it is not begun again until the hour is over"
    (alarm,) = site.alarms()
    assert "a person has to look" in site.rulings(alarm)[-1].reason


@pytest.mark.slow
def test_a_heal_that_did_not_help_is_not_repeated(make_site: Make) -> None:
    site = make_site()
    monitor = site.node("monitor")

    def escalated() -> bool:
        site.world.destroy(monitor)  # it dies as soon as it is back
        return any(r.outcome is Outcome.ESCALATED for a in site.alarms() for r in site.rulings(a))

    site.until(escalated, most=600)
    (alarm,) = site.all()
    heals = [ruling for ruling in site.rulings(alarm) if ruling.is_heal]
    assert [(heal.action, heal.succeeded, heal.helped) for heal in heals] == [
        (HealAction.RESTART, True, False),
        (HealAction.RECREATE, True, False),
    ]


@pytest.mark.slow
def test_the_budget_of_the_service_holds_what_the_policy_would_do(make_site: Make) -> None:
    site = make_site(heals_per_service_hour=1)
    site.world.destroy(site.node("web"))
    site.rounds(10)
    assert len(site.operations()) == 1
    site.world.destroy(site.node("monitor"))
    site.rounds(10)
    assert len(site.operations()) == 1
    (alarm,) = site.alarms()
    (ruling,) = site.rulings(alarm)
    assert ruling.outcome is Outcome.HELD
    assert "1 are allowed" in ruling.reason
    site.rounds(1, step_s=3600)
    site.rounds(1)
    assert len(site.operations()) == 2
    assert site.is_whole()


@pytest.mark.slow
def test_the_time_of_a_lock_does_not_count_as_held_for_long(make_site: Make) -> None:
    site = make_site(held_s=60, heals_per_service_hour=0, services={"demo": {"locked": True}})
    site.world.destroy(site.node("web"))
    site.rounds(3, step_s=60)
    site.settings(detector="", held_s=60, heals_per_service_hour=0)
    site.rounds(1)
    (alarm,) = site.alarms()
    assert [ruling.outcome for ruling in site.rulings(alarm)] == [Outcome.HELD, Outcome.HELD]
    assert not alarm.escalated
    site.rounds(2, step_s=60)
    (alarm,) = site.alarms()
    assert "held for more than 60 s: demo had 0 heals" in alarm.escalated


def test_a_heal_that_is_held_for_long_is_told_with_its_alarm(make_site: Make) -> None:
    site = make_site(heals_per_service_hour=0, held_s=60)
    site.world.destroy(site.node("web"))
    site.rounds(3)
    (alarm,) = site.alarms()
    assert [r.outcome for r in site.rulings(alarm)] == [Outcome.HELD]
    assert not alarm.escalated
    site.rounds(3, step_s=30)
    (alarm,) = site.alarms()
    assert [r.outcome for r in site.rulings(alarm)] == [Outcome.HELD, Outcome.ESCALATED], "and once"
    assert "held for more than 60 s: demo had 0 heals within the hour, and 0 are allowed" in alarm.escalated
    site.settings(detector="")
    site.rounds(1)
    (alarm,) = site.alarms()
    assert site.rulings(alarm)[-1].outcome is Outcome.STARTED
    assert not alarm.escalated
    site.rt.plugins.close()
    told = [event for event in site.events if any("handed to a person" in d for d in event.fault_details)]  # type: ignore[attr-defined]
    assert len(told) == 1
    assert f"manor heal approve {alarm.id}" in told[0].fault_details[-1]


@pytest.mark.slow
def test_shadow_mode_says_what_it_would_have_done(make_site: Make) -> None:
    site = make_site(static_mode="shadow")
    firewall = site.node("firewall")
    site.world.destroy(firewall)
    site.rounds(20)
    assert site.operations() == []
    (alarm,) = site.alarms()
    (ruling,) = site.rulings(alarm)
    assert (ruling.action, ruling.outcome) == (HealAction.RESTART, Outcome.SHADOW)
    site.settings(detector="", static_mode="auto")
    site.rounds(1)
    assert site.is_whole(), "settings are read again when they change"


def test_nothing_is_healed_in_a_locked_service_or_in_maintenance(make_site: Make) -> None:
    site = make_site(services={"demo": {"locked": True}})
    site.world.destroy(site.node("web"))
    site.rounds(3)
    (alarm,) = site.alarms()
    assert "locked" in site.rulings(alarm)[-1].reason
    window = {"begin": "2023-11-14T22:00:00Z", "end": "2023-11-14T22:14:00Z"}
    site.settings(detector="", services={"demo": {"maintenance": [window]}})
    site.rounds(3)
    assert "maintenance until 2023-11-14 22:14" in site.rulings(alarm)[-1].reason
    assert site.operations() == []
    site.rounds(1, step_s=60)
    assert len(site.operations()) == 1


def test_a_lost_host_is_one_event_and_nothing_is_restarted_on_it(make_site: Make) -> None:
    site = make_site()
    hosts = site.world.look
    with hosts() as state:
        (host,) = state.hosts
    from dataclasses import replace

    site.world.set_hosts(replace(host, reachable=False))
    site.rounds(40, measure=True)
    assert site.operations() == []
    (alarm,) = [alarm for alarm in site.alarms() if alarm.is_root_cause]
    assert (alarm.resource_key, alarm.probable_cause) == ("vim:lab/host-1", "host-lost")
    site.world.set_hosts(host)
    site.rounds(10, measure=True)
    assert site.alarms() == []


@pytest.mark.slow
def test_a_lost_host_keeps_nobody_else_from_being_healed(make_site: Make) -> None:
    from manor.fakes import FakeHost
    from manor.lcm.moving import move

    site = make_site()
    with site.world.look() as state:
        (host,) = state.hosts
    site.world.set_hosts(host, FakeHost(name="host-2"))
    assert site.run(move(site.rt, "demo", "web", "lab/host-2")).state is OperationState.COMPLETED
    client = site.node("client")
    site.world.set_hosts(host, FakeHost(name="host-2", reachable=False))
    site.until(lambda: [alarm.probable_cause for alarm in site.alarms()] == ["host-lost"])
    site.compares()
    assert [alarm.probable_cause for alarm in site.alarms()] == ["host-lost"], "what is on it is not missing"
    site.world.stop(client)
    site.until(lambda: [one.state for one in site.operations()] == [OperationState.COMPLETED])
    (heal,) = site.operations()
    assert not [step for step in site.steps(heal) if "/vnf/web/" in step]
    site.rounds(8)
    (alarm,) = (alarm for alarm in site.all() if alarm.probable_cause == "node-stopped")
    assert (alarm.is_active, [ruling.helped for ruling in site.rulings(alarm)]) == (False, [True])


def test_a_vim_that_does_not_answer_is_an_alarm_about_the_vim_alone(make_site: Make) -> None:
    site = make_site()
    site.world.inject(Fault(verb="observe", times=0))
    site.rounds(30)
    (alarm,) = site.alarms()
    assert (alarm.resource_key, alarm.probable_cause) == ("vim:lab", "endpoint-silent")
    assert site.operations() == []
    site.world.heal()
    site.rounds(8)
    assert site.alarms() == []


@pytest.mark.slow
def test_a_source_of_kpis_that_dies_is_told_and_heals_nothing(make_site: Make) -> None:
    site = make_site(detector="oracle", learned_mode="auto")
    site.rounds(3, measure=True)
    site.world.inject(Fault(verb="samples", times=0))
    site.rounds(30, measure=True)
    assert [(a.resource_key, a.probable_cause) for a in site.alarms()] == [("vim:lab", "telemetry-silent")]
    assert site.operations() == []
    site.world.stop(site.node("web"))
    site.rounds(1)
    assert len(site.operations()) == 1, "and keeps nobody from being healed"


@pytest.mark.slow
def test_a_detector_alone_never_acts(make_site: Make) -> None:
    site = make_site(detector="oracle", learned_mode="auto")
    site.says["main-0|"] = 0.5
    site.rounds(30, measure=True)
    assert site.operations() == []
    roots = [alarm for alarm in site.alarms() if alarm.is_root_cause]
    assert len(roots) == 1, "what is odd along one chain is one fault"
    assert roots[0].learned
    assert roots[0].perceived_severity is PerceivedSeverity.MINOR
    assert any("share" in line or "%" in line for line in roots[0].fault_details)
    assert "no independent sign" in site.rulings(roots[0])[-1].reason
    site.says.clear()
    site.rounds(10, measure=True)
    assert site.alarms() == []


@pytest.mark.slow
def test_a_detector_that_is_confirmed_says_so_in_shadow_and_acts_in_auto(make_site: Make) -> None:
    site = make_site(detector="oracle", heartbeat_s=1, heartbeat_lost_s=10_000)
    firewall = site.node("firewall")
    site.rounds(3, measure=True)
    before = next(one for one in site.seen() if one.ref.key == firewall).native_id
    site.says["main-0|"] = 0.5
    site.world.inject(Fault(verb="guest_ping", key=firewall, times=0, error="Transient"))
    site.rounds(30, measure=True)

    alarm = next(alarm for alarm in site.alarms() if alarm.resource_key == firewall)
    assert alarm.learned
    assert "guest agent: no answer" in alarm.confirmations[0]
    assert alarm.perceived_severity is PerceivedSeverity.MAJOR
    assert site.rulings(alarm)[-1].outcome is Outcome.SHADOW
    assert site.operations() == []

    site.settings(detector="oracle", learned_mode="auto", heartbeat_s=1, heartbeat_lost_s=10_000)
    site.world.heal()
    site.world.inject(Fault(verb="guest_ping", key=firewall, times=2, error="Transient"))
    site.rounds(1)
    (operation,) = site.operations()
    assert operation.is_automatic
    assert "confirmed by guest agent" in operation.params["wishes"]["cause"]
    assert next(one for one in site.seen() if one.ref.key == firewall).native_id != before


@pytest.mark.slow
def test_a_guest_that_falls_silent_is_restarted_for_real(make_site: Make) -> None:
    site = make_site(heartbeat_s=2, heartbeat_lost_s=20)
    web = site.node("web")
    site.rounds(5, measure=True)
    before = next(one for one in site.seen() if one.ref.key == web).native_id
    site.world.inject(Fault(verb="guest_ping", key=web, times=25, error="Transient"))
    site.rounds(40, measure=True)
    (operation,) = site.operations()
    assert f"remove node {web}" in site.steps(operation)
    after = next(one for one in site.seen() if one.ref.key == web)
    assert (after.phase, after.native_id == before) == (Phase.ACTIVE, False)
    assert [alarm.probable_cause for alarm in site.all()] == ["heartbeat-lost"]
    site.rounds(10, measure=True)
    assert site.alarms() == []


@pytest.mark.slow
def test_a_machine_that_nobody_starts_after_its_host_has_booted_is_started(make_site: Make) -> None:
    site = make_site(degraded_s=10)
    web = site.node("web")
    with site.world.change() as state:
        native = next(native for native in state.natives.values() if native.spec.key == web)
        native.phase = Phase.PENDING
    site.rounds(8)
    assert site.operations() == [], "it may be on its way"
    site.rounds(5)
    (operation,) = site.operations()
    assert operation.state is OperationState.COMPLETED
    assert f"remove node {web}" not in site.steps(operation)
    assert site.is_whole()
    assert [alarm.probable_cause for alarm in site.all()] == ["node-stopped"]


@pytest.mark.slow
@pytest.mark.parametrize("vnf", ["web", "firewall"])
def test_a_vnf_that_an_operator_stopped_is_no_fault(make_site: Make, vnf: str) -> None:
    site = make_site()
    site.rounds(3, measure=True)
    proposal = operate(site.rt, "demo", [vnf], PowerState.STOPPED)
    assert work.follow(site.rt, ns.start(site.rt, proposal)).state is OperationState.COMPLETED
    site.rounds(60, measure=True)
    assert site.all() == []
    assert site.operations() == []


@pytest.mark.slow
def test_a_sign_whose_figures_move_is_one_decision_and_not_one_a_second(make_site: Make) -> None:
    site = make_site(detector="oracle", heartbeat_s=1, heartbeat_lost_s=10_000)
    firewall = site.node("firewall")
    site.rounds(3, measure=True)
    site.says["main-0|"] = 0.5
    site.world.inject(Fault(verb="guest_ping", key=firewall, times=0, error="Transient"))
    site.rounds(60, measure=True)
    alarm = next(alarm for alarm in site.alarms() if alarm.resource_key == firewall)
    assert [ruling.outcome for ruling in site.rulings(alarm)] == [Outcome.SHADOW]


def test_an_agent_that_died_in_a_machine_that_works_is_no_dead_machine(make_site: Make) -> None:
    site = make_site()
    (service,) = Services(site.rt).read()
    web = site.node("web")
    look_once = look(site.rt, {"vim:lab", "sdn:net"})
    sight = Sight(time_s=1000.0, observed=look_once.observed, unheard_s={web: 50.0})
    (symptom,) = find_symptoms([service], sight, AssuranceSettings()).symptoms
    assert (symptom.cause, symptom.severity) == ("heartbeat-lost", PerceivedSeverity.CRITICAL)
    (symptom,) = find_symptoms([service], replace(sight, at_work={web: 42.0}), AssuranceSettings()).symptoms
    assert (symptom.cause, symptom.severity) == ("agent-silent", PerceivedSeverity.MINOR)
    assert "42 packets/s" in symptom.detail[0]

    def signs(sight: Sight) -> tuple[str, ...]:
        return confirm(service, web, ("v_cpu_usage_mean_vnf",), sight=sight, flows={}, rows={})

    assert signs(sight) == ("guest agent: no answer for 50 s",)
    assert signs(replace(sight, at_work={web: 42.0})) == (), "nor does it confirm what a detector suspects in a crowd"
