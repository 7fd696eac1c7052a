"""A host that was rebooted: one event with one root, however many services stood on it, and all of them are healed."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from assured_site import Site

from manor.api import NodeSpec, Observed, OperationKind, PerceivedSeverity, Phase, ResourceKind, ResourceRef
from manor.assure.emptied import followers, with_emptied
from manor.assure.raising import Memory, transition
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Service, Sight
from manor.assure.symptoms import EMPTIED, find_symptoms
from manor.fakes.faults import Fault
from manor.lcm import ns, work
from manor.model.alarm import AckState, AlarmRecord, Outcome
from manor.model.desired import DesiredResource, DesiredState
from manor.model.instance import NsLcmOpOcc, OperationState
from manor.store import reading
from manor.store.history import History

Make = Callable[..., Site]
HOST = "vim:lab/h1"


class Host:
    """Services with machines on one host, and the alarms about them, round by round."""

    def __init__(self, **machines: int) -> None:
        self.machines = machines
        self.off: set[str] = set()
        self.off_as = Phase.STOPPED
        self.changing: set[str] = set()
        self.mute: dict[str, str] = {}
        self.active: tuple[AlarmRecord, ...] = ()
        self.memory = Memory()
        self.now_s = 1000.0

    def keys(self, *names: str) -> list[str]:
        return [f"{name}/vnf/fw/m-{number}" for name in names or self.machines for number in range(self.machines[name])]

    def service(self, name: str) -> Service:
        specs = [
            NodeSpec(key=key, owner="manor/t", host="h1", name=key[-3:], vcpus=1, memory_bytes=1)
            for key in self.keys(name)
        ]
        resources = tuple(DesiredResource(endpoint="vim:lab", spec=spec) for spec in specs)
        desired = DesiredState(service_id=name, service_name=name, resources=resources)
        return Service(id=name, name=name, nsd_id="n", desired=desired, is_changing=name in self.changing)

    def rounds(self, number: int = 1) -> None:
        """Look and judge as often, a second apart."""
        for _ in range(number):
            self.now_s += 1.0
            observed = {
                key: Observed(
                    ref=ResourceRef(kind=ResourceKind.NODE, key=key),
                    phase=self.off_as if key in self.off else Phase.ACTIVE,
                    owner="manor/t",
                    native_id="",
                    spec_hash="",
                )
                for key in self.keys()
            }
            services = [self.service(name) for name in self.machines]
            sight = Sight(time_s=self.now_s, observed={"vim:lab": observed}, mute=self.mute)
            findings = with_emptied(find_symptoms(services, sight, AssuranceSettings()), services, sight, self.active)
            changes = transition(self.active, findings, self.memory, self.now_s, clear_s=5.0)
            self.memory = changes.memory
            now = {alarm.id: alarm for alarm in (*self.active, *changes.raised, *changes.changed)}
            gone = {alarm.id for alarm in changes.cleared}
            self.active = tuple(alarm for alarm in now.values() if alarm.id not in gone)

    def roots(self) -> list[str]:
        """What the alarms that are roots are about."""
        return sorted(alarm.resource_key for alarm in self.active if alarm.is_root_cause)


def test_a_host_with_forty_services_that_was_rebooted_is_one_root_and_an_alarm_for_each_service() -> None:
    host = Host(**{f"s{number:02}": 1 + number % 2 for number in range(40)})
    host.rounds(2)
    assert host.active == ()
    host.off = set(host.keys())
    host.rounds(2)
    (root,) = (alarm for alarm in host.active if alarm.is_root_cause)
    assert (root.resource_key, root.probable_cause, root.ns_id) == (HOST, EMPTIED, "")
    assert root.perceived_severity is PerceivedSeverity.CRITICAL
    assert root.fault_details == ("none of the 60 machines of 40 services on it runs, as after a reboot",)
    rest = followers(root, host.active)
    assert [alarm.ns_id for alarm in rest] == list(host.machines)
    assert {alarm.fault for alarm in rest} == {(f"s{n:02}@lab/h1", EMPTIED) for n in range(40)}
    assert {alarm.fault_details[0] for alarm in rest} == {
        "its machine on host h1 does not run, as after a reboot",
        "none of its 2 machines on host h1 runs, as after a reboot",
    }
    assert len(host.active) == 41


def test_a_service_with_one_machine_there_is_healed_for_its_host_and_not_for_its_machine() -> None:
    """A policy knows by the cause that a machine which goes with its host again has lasted."""
    host = Host(one=1, two=1)
    for _ in range(2):
        host.off = set(host.keys())
        host.rounds(3)
        faults = [alarm.fault for alarm in host.active if alarm.ns_id]
        assert faults == [("one@lab/h1", EMPTIED), ("two@lab/h1", EMPTIED)]
        host.off = set(host.keys("two"))
        host.rounds(10)
        assert [alarm.fault for alarm in host.active if alarm.ns_id] == [("two@lab/h1", EMPTIED)], "until it is back"
        host.off = set()
        host.rounds(15)
        assert host.active == ()
    host.off = set(host.keys("two"))
    host.rounds(3)
    assert [alarm.fault for alarm in host.active] == [("two/vnf/fw/m-0", "node-stopped")]
    host.off = set(host.keys())
    host.rounds()
    assert {alarm.resource_key: alarm.is_root_cause for alarm in host.active} == {
        HOST: True, "one@lab/h1": False, "two@lab/h1": False, "two/vnf/fw/m-0": False
    }, "of a machine that went before there is one decision too"  # fmt: skip


def test_a_machine_that_is_alone_on_its_host_has_its_own_fault() -> None:
    host = Host(one=1)
    host.off = set(host.keys())
    host.rounds()
    assert [alarm.fault for alarm in host.active] == [("one/vnf/fw/m-0", "node-stopped")]


def test_a_machine_alone_that_waits_since_its_host_booted_is_healed_for_its_host() -> None:
    """Else the policy would take the second reboot within the hour for a machine that does not last."""
    host = Host(one=1)
    host.off_as = Phase.PENDING
    for _ in range(2):
        host.off = set(host.keys())
        host.rounds(15)
        assert host.active == (), "it may be on its way"
        host.rounds(5)
        (alarm,) = host.active
        assert (alarm.fault, alarm.is_root_cause) == (("one@lab/h1", EMPTIED), True)
        assert alarm.fault_details[0] == "its machine on host h1 does not run, as after a reboot"
        host.off = set()
        host.rounds(15)
        assert host.active == ()


def test_that_no_kpi_comes_from_the_machines_of_an_emptied_host_is_no_other_event() -> None:
    host = Host(one=2, two=1)
    host.off, host.mute = set(host.keys()), {"vim:lab": "no KPI of 3 machines that run"}
    host.rounds()
    assert host.roots() == [HOST]
    assert len(host.active) == 3


def test_the_root_stays_until_the_last_of_its_services_is_well_and_takes_nothing_else_up() -> None:
    host = Host(one=2, two=2, three=1)
    host.off = set(host.keys())
    host.rounds()
    (root,) = (alarm for alarm in host.active if alarm.is_root_cause)
    host.changing = {"one", "two"}
    host.rounds(10)
    assert len(host.active) == 4, "what is being healed is not healed"
    host.off, host.changing = set(host.keys("three")), set()
    host.rounds(10)
    assert host.roots() == [HOST], "the third has still to be healed, and is of the same event"
    assert [alarm.ns_id for alarm in followers(root, host.active)] == ["three"]
    host.off |= set(host.keys("one"))
    host.rounds()
    assert host.roots() == ["one@lab/h1", HOST], "that is another fault"
    host.rounds(3)
    assert host.roots() == ["one@lab/h1", HOST]
    host.off = set()
    host.rounds(5)
    assert [alarm.resource_key for alarm in host.active] == [HOST, "three@lab/h1", "one@lab/h1"]
    host.rounds(20)
    assert host.active == ()
    host.off = set(host.keys())
    host.rounds()
    assert root.id not in {alarm.id for alarm in host.active}, "the next time is another event"


def test_machines_that_die_one_by_one_while_another_runs_are_no_reboot() -> None:
    host = Host(one=2, two=2)
    host.off = {*host.keys("one")[:1], *host.keys("two")[:1]}
    host.rounds(3)
    assert host.roots() == ["one/vnf/fw/m-0", "two/vnf/fw/m-0"]
    host.off.update(host.keys("one"))
    host.rounds()
    assert host.roots() == ["one@lab/h1", "two/vnf/fw/m-0"]
    host.off.update(host.keys("two"))
    host.rounds()
    assert host.roots() == [HOST], "now nothing runs there any more"
    assert len([alarm for alarm in host.active if alarm.resource_key == HOST]) == 1


def test_a_host_on_which_a_service_that_is_being_changed_runs_was_not_rebooted() -> None:
    host = Host(one=1, two=1, three=2)
    host.changing, host.off = {"three"}, set(host.keys("one", "two"))
    host.rounds(3)
    assert host.roots() == ["one/vnf/fw/m-0", "two/vnf/fw/m-0"], "each for itself"
    host.off.update(host.keys("three"))
    host.rounds()
    assert host.roots() == [HOST]
    host.off -= set(host.keys("three"))
    host.rounds(3)
    assert host.roots() == [HOST], "what is brought back after a reboot does not unmake it"


@pytest.mark.slow
def test_all_services_of_a_rebooted_host_are_healed_as_one_event_and_the_next_reboot_is_another(
    make_site: Make,
) -> None:
    site = two_services(make_site(heals_per_site_hour=1, heals_per_hour=1, cool_down_s=0))
    reboot(site)
    rounds(site, 1)
    assert [operation.state for operation in heals(site)] == [OperationState.COMPLETED] * 2
    rounds(site, 15)
    assert site.alarms() == []
    assert sorted(alarm.is_root_cause for alarm in site.all()) == [False, False, True]
    assert {ruling.helped for alarm in site.all() for ruling in site.rulings(alarm)} == {True}

    reboot(site)
    rounds(site, 3)
    assert len(heals(site)) == 2
    (root,) = (alarm for alarm in site.alarms() if alarm.is_root_cause)
    held = [site.rulings(alarm)[-1] for alarm in followers(root, site.alarms())]
    assert [ruling.outcome for ruling in held] == [Outcome.HELD] * 2
    assert all("vim:lab had 1 heals within the hour" in ruling.reason for ruling in held)


@pytest.mark.slow
def test_a_picture_of_a_machine_shows_when_its_host_was_emptied_and_nothing_was_measured(
    make_site: Make, manor: Callable[..., Any]
) -> None:
    site = make_site(static_mode="shadow")
    web = site.node("web")
    site.clock.advance(time.time() - site.clock() - 300)
    began_s = site.clock()
    reboot(site)
    site.rounds(20, step_s=5)
    (alarm,) = site.alarms()
    labels = {"service": "demo", "vnf": "web"}
    measured = [began_s + 5 * n for n in range(-20, 50) if not 0 <= n < 20]
    history = History.open(site.rt.home / "history.db")
    history.add((web, "vnfc", labels, time_s, {"v_sessions": 20.0}) for time_s in measured)
    history.close()
    plotted = manor(site, "--json", "kpi", "plot", "demo/web")
    assert [one["id"] for one in plotted["alarms"]] == [alarm.id]
    assert re.search("[⣀⡀][⠀ ]{9,}[⣀⢀]", plotted["drawing"]), "nothing is drawn where nothing was measured"
    assert re.search("▁ {9,}▁", manor(site, "kpi", "show", "demo/web"))


@pytest.mark.slow
def test_the_word_of_an_operator_on_a_rebooted_host_is_for_all_of_its_services(
    make_site: Make, manor: Callable[..., Any]
) -> None:
    site = two_services(make_site(rules=[{"cause": "*", "action": "escalate"}]))
    reboot(site)
    rounds(site, 1)
    (root_id,) = (alarm.id for alarm in site.alarms() if alarm.is_root_cause)
    assert "2 of them are still up, 2 handed to a person" in manor(site, "alarm", "explain", root_id)
    assert f"manor heal approve {root_id} --action restart" in manor(site, "heal", "approve", root_id, expect=2)
    site.settings(detector="", static_mode="ask")
    rounds(site, 2)
    site.settings(detector="", static_mode="ask", services={"second": {"locked": True}})
    root, *parts = manor(site, "--json", "alarm", "list")
    assert [one["correlated_alarm_ids"] for one in (root, *parts)] == [[], [root["id"]], [root["id"]]]
    assert {one["ack_state"] for one in manor(site, "--json", "alarm", "ack", root["id"])} == {"ACKNOWLEDGED"}
    assert {alarm.ack_state for alarm in site.alarms()} == {AckState.ACKNOWLEDGED}
    story = manor(site, "alarm", "explain", root["id"])
    assert "none of the 8 machines of 2 services on it runs, as after a reboot" in story
    assert "2 alarms follow from it" in story
    assert all(one["id"] in story for one in parts)
    assert sorted(row.split()[3:5] for row in manor(site, "alarm", "list").splitlines()[2:]) == [
        [name, "lab/host-1"] for name in ("demo", "second")
    ]
    assert f"It follows from alarm {root['id']}: all that do are one event." in manor(
        site, "alarm", "explain", parts[0]["id"]
    )
    site.rt.release_worker()
    (begun,) = manor(site, "--json", "heal", "approve", root["id"])
    assert [operation.state for operation in heals(site)] == [OperationState.COMPLETED], "the other one is locked"
    other = next(one["id"] for one in parts if one["id"] != begun["alarm_id"])
    assert "HEAL second COMPLETED" in manor(site, "heal", "approve", other), "unless he says so of that one"


@pytest.mark.slow
def test_what_goes_wrong_with_a_word_for_all_of_a_rebooted_host_is_told_once_all_has_ended(
    make_site: Make, manor: Callable[..., Any]
) -> None:
    site = two_services(make_site(static_mode="ask"))
    reboot(site)
    rounds(site, 1)
    (root,) = (alarm for alarm in site.alarms() if alarm.is_root_cause)
    (first, second), names = followers(root, site.alarms()), ("demo", "second")
    site.settings(detector="", static_mode="ask", services={name: {"locked": True} for name in names})
    error = manor(site, "--json", "heal", "approve", root.id, expect=2)["error"]
    assert "is locked in assurance.yaml" in error["message"]
    assert f"all the same: manor heal approve {second.id}" in error["hint"]

    site.settings(detector="", static_mode="ask")
    site.world.inject(Fault(verb="ensure", kind="node", key=f"{first.ns_id}/*", times=0, error="Permanent"))
    site.rt.release_worker()
    said = manor(site, "heal", "approve", root.id, expect=5)
    ended = {one.ns_id: one.state for one in heals(site)}
    assert ended[first.ns_id] is not OperationState.COMPLETED
    assert ended[second.ns_id] is OperationState.COMPLETED, "it was worked off, and not left to nobody"
    assert re.search("HEAL (demo|second) COMPLETED", said)
    assert re.search("error: HEAL (demo|second) ", said)


def two_services(site: Site) -> Site:
    """The site with another one beside the first, on the same host."""
    ns.create(site.rt, "secure-web", name="second")
    proposal = ns.propose(site.rt, "second", OperationKind.INSTANTIATE)
    assert work.follow(site.rt, ns.start(site.rt, proposal)).state is OperationState.COMPLETED
    return site


def reboot(site: Site) -> None:
    for one in site.seen():
        if one.ref.kind is ResourceKind.NODE:
            site.world.stop(one.ref.key)


def heals(site: Site) -> list[NsLcmOpOcc]:
    return [one for one in reading.operations(site.rt.url).items if one.operation is OperationKind.HEAL]


def rounds(site: Site, number: int) -> None:
    """As the site's own, with the operations of all services."""
    for _ in range(number):
        site.rounds(1)
        for operation in heals(site):
            work.follow(site.rt, operation.id)
