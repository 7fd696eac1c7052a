"""What an operator sees when something but a dead machine is not as it should be, by the service's policy."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import secure_web
from assured_site import PATIENCE_S, Site, unguarded

from manor.api import (
    CallContext,
    Disk,
    HealAction,
    NodeSpec,
    Observed,
    OperationKind,
    PerceivedSeverity,
    Phase,
    Plan,
    Query,
    ResourceKind,
    ResourceRef,
    SegmentSpec,
    SnapshotSpec,
    Step,
    Verb,
    VolumeSpec,
    spec_hash,
)
from manor.assure.comparing import by_service, compared
from manor.assure.deciding import Verdict
from manor.assure.drift import Compared, by_drift, with_drift
from manor.assure.healing import approve, start_heal, still_read, unconfigured
from manor.assure.looking import Seen, Services
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Service
from manor.assure.symptoms import Findings
from manor.errors import PlanRefused
from manor.fakes import FakeHost, World
from manor.fakes.world import name_of
from manor.lcm import work
from manor.lcm.drifting import Drift
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType, Outcome
from manor.model.desired import DesiredResource, DesiredState
from manor.model.instance import OperationState

Make = Callable[..., Site]


def network(site: Site) -> str:
    return next(one.ref.key for one in site.seen() if one.ref.kind is ResourceKind.NETWORK)


def repairs(site: Site) -> list[OperationState]:
    return [operation.state for operation in site.operations(OperationKind.REPAIR)]


def looks(site: Site) -> int:
    return sum(calls.count for (_, verb), calls in site.rt.plugins.counters.snapshot().items() if verb == "observe")


def test_reported_as_one_alarm_that_clears_when_it_is_gone(make_site: Make) -> None:
    site = make_site()
    site.compares()
    assert site.all() == []
    key = network(site)
    site.world.destroy(key)
    site.compares(1)
    assert site.alarms() == [], "once may be somebody who is just putting it right"
    site.compares(3)
    (alarm,) = site.alarms()
    assert (alarm.resource_key, alarm.probable_cause) == (site.service.id, "drift")
    assert alarm.perceived_severity is PerceivedSeverity.MAJOR
    assert alarm.fault_details == (f"network {key.partition('/')[2]} is missing on host-1",)
    (ruling,) = site.rulings(alarm)
    assert (ruling.action, ruling.outcome) == (HealAction.NONE, Outcome.NOTHING)
    assert "manor ns drift demo --repair" in ruling.reason
    assert (repairs(site), site.is_whole()) == ([], False)
    image = next(one.ref.key for one in site.seen() if one.ref.kind is ResourceKind.IMAGE)
    site.world.destroy(image)
    site.compares()
    (alarm,) = site.alarms()
    assert len(alarm.fault_details) == 2, "the same alarm tells of more"
    proposal = site.propose(OperationKind.REPAIR)
    assert site.run(proposal).state is OperationState.COMPLETED
    site.rounds(3)
    assert [one.id for one in site.alarms()] == [alarm.id], "nobody has looked since"
    site.compares(1)
    site.rounds(6)
    assert (site.alarms(), len(site.all())) == ([], 1)
    site.rt.plugins.close()
    told = [event.perceived_severity for event in site.events if event.probable_cause == "drift"]
    assert told == [PerceivedSeverity.MAJOR, PerceivedSeverity.MAJOR, PerceivedSeverity.CLEARED]


def test_repaired_once_and_told(make_site: Make) -> None:
    site = make_site(services={"demo": {"drift": "repair"}})
    site.world.destroy(network(site))
    site.compares()
    (operation,) = site.operations(OperationKind.REPAIR)
    assert (operation.state, operation.is_automatic) == (OperationState.COMPLETED, True)
    assert "is missing on host-1" in operation.params["wishes"]["cause"]
    assert site.is_whole()
    site.rounds(10)
    site.compares()
    site.rounds(6)
    assert (len(repairs(site)), site.operations(), site.alarms()) == (1, [], [])
    (alarm,) = site.all()
    (ruling,) = site.rulings(alarm)
    assert (ruling.action, ruling.outcome, ruling.operation_id) == (HealAction.REPAIR, Outcome.STARTED, operation.id)
    assert (ruling.succeeded, ruling.helped) == (True, True)


def test_ignored_is_not_even_looked_for(make_site: Make) -> None:
    site = make_site(drift="ignore")
    site.world.destroy(network(site))
    site.rounds(1)  # which reads the settings
    asked = looks(site)
    site.assurance.compare()
    assert looks(site) == asked, "no endpoint was asked"
    site.compares()
    assert (site.all(), site.is_whole()) == ([], False)
    site.settings(detector="", drift="report")
    site.rounds(1)
    site.compares()
    assert len(site.alarms()) == 1
    site.settings(detector="", drift="ignore")
    site.rounds(8)
    assert site.alarms() == []


def test_a_repair_is_held_by_what_holds_a_heal_and_waits_for_a_word(make_site: Make) -> None:
    site = make_site(services={"demo": {"drift": "repair", "locked": True}})
    site.world.destroy(network(site))
    site.compares()
    (alarm,) = site.alarms()
    site.settings(detector="", drift="repair", heals_per_service_hour=0)
    site.rounds(1)
    site.settings(detector="", drift="repair", static_mode="ask")
    site.rounds(2)
    locked, spent, asked = site.rulings(alarm)
    assert {ruling.action for ruling in (locked, spent, asked)} == {HealAction.REPAIR}
    assert (locked.outcome, spent.outcome, asked.outcome) == (Outcome.HELD, Outcome.HELD, Outcome.ASK)
    assert "demo is locked" in locked.reason
    assert "demo had 0 heals within the hour" in spent.reason
    assert (repairs(site), site.is_whole()) == ([], False)
    approved = approve(site.rt, alarm.id)
    assert work.follow(site.rt, approved.operation_id).state is OperationState.COMPLETED
    assert (repairs(site), site.is_whole()) == ([OperationState.COMPLETED], True)


def test_a_dead_machine_is_healed_and_its_drift_with_it(make_site: Make) -> None:
    site = make_site(drift="repair", cool_down_s=0)
    site.world.destroy(network(site))
    site.clock.advance(20)
    site.assurance.compare()
    site.clock.advance(20)
    site.assurance.compare()
    site.world.destroy(site.node("firewall"))
    site.rounds(1)
    (alarm,) = site.alarms()
    assert alarm.probable_cause == "node-absent"
    assert f"also drift of {site.service.id}" in alarm.fault_details
    assert (len(site.operations()), repairs(site), site.is_whole()) == (1, [], True)
    site.compares()
    site.rounds(6)
    assert (site.alarms(), len(site.all()), repairs(site)) == ([], 1, [])


def unplugged(site: Site) -> str:
    """The web server, as when its port was taken off the switch."""
    key = site.node("web")
    site.world.unplug(key)
    return key


@pytest.mark.slow
def test_a_port_off_the_switch_is_put_back_under_any_policy_but_ignore(
    make_site: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = secure_web.VNFDS["web-vnfd"]
    (flavour,) = web.flavours
    flavour = replace(flavour, vdus=tuple(replace(vdu, day1=(("/bin/migrate",),)) for vdu in flavour.vdus))
    monkeypatch.setitem(secure_web.VNFDS, "web-vnfd", replace(web, flavours=(flavour,)))
    site = make_site(degraded_s=5, cool_down_s=0)
    site.compares(1)
    key, before = unplugged(site), {one.native_id for one in site.seen()}
    site.rounds(8)
    (operation,) = site.operations(OperationKind.REPAIR)
    assert (operation.state, operation.is_automatic) == (OperationState.COMPLETED, True)
    assert {f"ensure node {key}", f"verify node {key}"} == {step for step in site.steps(operation) if " node " in step}
    assert ({one.native_id for one in site.seen()}, site.is_whole()) == (before, True)
    assert not [step for step in site.steps(operation) if step.startswith("configure")], "once is enough"
    site.rounds(6)
    (alarm,) = site.all()
    assert (alarm.resource_key, alarm.probable_cause, alarm.is_active) == (key, "node-degraded", False)
    (ruling,) = site.rulings(alarm)
    assert (ruling.action, ruling.outcome, ruling.helped) == (HealAction.REPAIR, Outcome.STARTED, True)
    site.settings(detector="", degraded_s=5, drift="ignore")
    unplugged(site)
    site.rounds(8)
    (alarm,) = site.alarms()
    assert (alarm.probable_cause, len(repairs(site)), site.is_whole()) == ("node-degraded", 1, False)


def test_a_machine_that_was_stopped_since_it_was_looked_at_is_not_started_for_its_port(make_site: Make) -> None:
    site = make_site()
    key = unplugged(site)
    looked_at = {one.ref.key: one for one in site.seen()}
    site.world.stop(key)
    verdict = Verdict(action=HealAction.REPAIR, outcome=Outcome.STARTED, reason="r", targets=(key,), is_of_links=True)
    (service,) = Services(site.rt).read()
    with pytest.raises(PlanRefused, match=f"would change {key} too"):
        start_heal(site.rt, service, looked_at, [verdict], lambda _tx, _id: None)
    assert repairs(site) == []


@pytest.mark.slow
def test_a_port_is_not_put_back_where_that_would_change_what_is_only_reported(make_site: Make) -> None:
    site = make_site(degraded_s=5)
    site.compares(1)
    site.world.destroy(network(site))
    unplugged(site)
    site.rounds(8)
    (alarm,) = site.alarms()
    assert (alarm.probable_cause, alarm.escalated != "", repairs(site)) == ("node-degraded", True, [])


def test_what_breaks_is_compared_before_the_period_is_over(make_site: Make) -> None:
    site = make_site(drift="repair", degraded_s=5)
    site.compares(1)
    wanted = site.assurance._comparing.wanted
    assert not wanted.is_set()
    unplugged(site)
    site.rounds(1)
    assert wanted.is_set()
    site.compares(1)
    assert not wanted.is_set(), "once"
    site.compares(1)
    assert repairs(site) == [OperationState.COMPLETED]


def test_what_is_on_a_host_that_is_back_is_compared_before_the_period_is_over(make_site: Make) -> None:
    site = make_site()
    site.compares(1)
    wanted = site.assurance._comparing.wanted
    with site.world.look() as state:
        hosts = state.hosts
    site.world.set_hosts(*(replace(host, reachable=False) for host in hosts))
    site.rounds(2)
    assert not wanted.is_set()
    site.world.set_hosts(*hosts)
    site.rounds(1)
    assert wanted.is_set()


@pytest.mark.slow
def test_a_degraded_machine_is_repaired_for_its_own_alarm(make_site: Make) -> None:
    site = make_site(drift="repair", degraded_s=0)
    key = unplugged(site)
    site.compares()
    (operation,) = site.operations(OperationKind.REPAIR)
    assert f"node {key.partition('/')[2]} is broken" in operation.params["wishes"]["cause"]
    assert site.is_whole()
    site.compares()
    site.rounds(6)
    assert (site.alarms(), len(repairs(site))) == ([], 1)
    (alarm,) = site.all()
    assert (alarm.resource_key, alarm.probable_cause) == (key, "node-degraded")


def test_an_alarm_lasts_over_an_operation_after_which_there_is_drift(make_site: Make) -> None:
    site = make_site()
    key = network(site)
    site.world.destroy(key)
    site.compares(3)
    (alarm,) = site.alarms()
    assert site.run(site.propose(OperationKind.REPAIR)).state is OperationState.COMPLETED
    site.world.destroy(key)
    site.compares(1)
    site.rounds(8)
    assert [one.id for one in site.alarms()] == [alarm.id]


def link_goes(site: Site) -> AlarmRecord:
    sdn, query = unguarded(site.rt.sdn("net")), Query(owner=site.rt.owner, kinds=frozenset({ResourceKind.SEGMENT}))
    sdn.remove(sdn.observe(query, CallContext.within(PATIENCE_S))[0].ref, CallContext.within(PATIENCE_S))
    site.rounds(20, measure=True)
    (alarm, *_) = site.all()
    assert alarm.probable_cause == "link-absent"
    return alarm


@pytest.mark.slow
def test_a_link_that_is_gone_is_put_in_anew_under_any_policy_but_ignore(make_site: Make) -> None:
    site = make_site(degraded_s=5)
    site.compares(1)
    (ruling,) = site.rulings(link_goes(site))
    assert (ruling.action, ruling.helped, repairs(site)) == (HealAction.REPAIR, True, [OperationState.COMPLETED])
    assert (site.is_whole(), site.alarms()) == (True, [])
    site.settings(detector="", degraded_s=5, drift="ignore")
    assert site.rulings(link_goes(site))[-1].outcome is Outcome.ESCALATED
    assert len(repairs(site)) == 1


@pytest.mark.slow
def test_what_was_seen_of_a_link_before_an_operation_says_nothing_after_it(make_site: Make) -> None:
    site = make_site(degraded_s=5)
    sdn, query = unguarded(site.rt.sdn("net")), Query(owner=site.rt.owner, kinds=frozenset({ResourceKind.SEGMENT}))
    sdn.remove(sdn.observe(query, CallContext.within(PATIENCE_S))[0].ref, CallContext.within(PATIENCE_S))
    site.rounds(1, measure=True)
    assert site.run(site.propose(OperationKind.REPAIR)).state is OperationState.COMPLETED
    site.rounds(10)
    assert site.all() == [], "nobody has looked at it since"
    site.rounds(10, measure=True)
    assert (site.all(), site.is_whole()) == ([], True)


@pytest.mark.slow
def test_a_link_is_not_put_in_anew_where_a_machine_was_altered_since_the_last_comparison(make_site: Make) -> None:
    site = make_site(degraded_s=5)
    site.compares(1)
    web = site.node("web")
    with site.world.change() as state:
        for native in state.natives.values():
            native.spec_hash = "altered" if native.spec.key == web else native.spec_hash
    (ruling,) = site.rulings(link_goes(site))
    assert ruling.outcome is Outcome.FAILED
    assert f"a repair would change {web} too (manor ns drift demo --repair)" in ruling.reason
    (alarm,) = site.alarms()
    assert (alarm.escalated, repairs(site)) == (ruling.reason, [])


# the pure part

SID, VIM, SDN = "1a2b3c4d", "vim:lab", "sdn:net"
NODE, DISK, SNAPSHOT = f"{SID}/vnf/db/main-0", f"{SID}/vnf/db/main-0/data", f"{SID}/snapshot/clean/db/main-0"
SPECS = (
    VolumeSpec(key=DISK, owner="o", host="h", name="data", size_bytes=1 << 20),
    NodeSpec(key=NODE, owner="o", host="h", name="db", vcpus=1, memory_bytes=1 << 20, disks=(Disk(volume=DISK),)),
    SnapshotSpec(key=SNAPSHOT, owner="o", host="h", name="clean", node=NODE, volumes=(DISK,)),
)
STATE = DesiredState(
    service_id=SID, service_name="shop", resources=tuple(DesiredResource(spec=spec, endpoint=VIM) for spec in SPECS)
)
SERVICE = Service(id=SID, name="shop", nsd_id="n", desired=STATE, last_operation="op1")
FROM_IMAGE = replace(
    SERVICE,
    desired=replace(
        STATE,
        resources=tuple(
            replace(one, spec=replace(one.spec, image="image/i@lab")) if isinstance(one.spec, VolumeSpec) else one
            for one in STATE.resources
        ),
    ),
)
REPAIRS = AssuranceSettings(drift="repair")  # type: ignore[arg-type]
WELL = {
    spec.key: Observed(
        ref=ResourceRef(kind=spec.kind, key=spec.key, host="h"),
        owner="o",
        native_id=spec.key,
        phase=Phase.ACTIVE,
        spec_hash=spec_hash(spec),
    )
    for spec in SPECS
}


def standing(there: dict[str, Observed] | None, service: Service = SERVICE) -> Compared:
    """After two looks that saw this."""
    seen = Seen(observed={VIM: there} if there is not None else {})
    return looked(seen, looked(seen, None, 100.0, service), 115.0, service)


def looked(seen: Seen, before: Compared | None, now_s: float, service: Service = SERVICE) -> Compared:
    return compared(service, seen, by_service(seen), before, now_s, 15.0)


def alarm(cause: str, key: str = SID) -> AlarmRecord:
    return AlarmRecord(
        id="a1",
        ns_id=SID,
        managed_object_id=SID,
        resource_key=key,
        faulty_resource_type=FaultyResourceType.STORAGE,
        perceived_severity=PerceivedSeverity.MAJOR,
        event_type=EventType.PROCESSING_ERROR_ALARM,
        probable_cause=cause,
    )


def causes(now: Compared, service: Service = SERVICE) -> tuple[list[str], bool]:
    found = with_drift(Findings(), [service], {SID: now}, REPAIRS)
    return [one.cause for one in found.symptoms], SID in found.blind


def test_each_way_to_differ() -> None:
    assert standing(WELL).standing == ()
    stranger = replace(WELL[DISK], ref=ResourceRef(kind=ResourceKind.VOLUME, key=f"{SID}/vnf/db/old", host="h"))
    there = {
        NODE: replace(WELL[NODE], spec_hash="other"),
        DISK: replace(WELL[DISK], phase=Phase.ERROR, detail={"reason": "its file is gone"}),
        stranger.ref.key: stranger,
    }
    found = {one.key: one for one in standing(there).standing}
    assert {key: one.drift for key, one in found.items()} == {
        NODE: Drift.ALTERED,
        DISK: Drift.BROKEN,
        SNAPSHOT: Drift.LOST,
        stranger.ref.key: Drift.LEFT_OVER,
    }
    assert found[DISK].words(SID) == "volume vnf/db/main-0/data is broken on h: its file is gone"
    assert causes(standing(there)) == (["drift", "snapshot-lost"], False)
    moved = {**WELL, NODE: replace(WELL[NODE], ref=ResourceRef(kind=ResourceKind.NODE, key=NODE, host="other"))}
    assert [one.drift for one in standing(moved).standing] == [Drift.ELSEWHERE]


def test_a_machine_that_was_left_over_and_runs_is_no_small_matter() -> None:
    """As on a host that was away while what stood on it was moved."""
    ref = ResourceRef(kind=ResourceKind.NODE, key=f"{SID}/vnf/db/main-1", host="old")
    for phase, severity in ((Phase.ACTIVE, PerceivedSeverity.MAJOR), (Phase.STOPPED, PerceivedSeverity.MINOR)):
        now = standing({**WELL, ref.key: replace(WELL[NODE], ref=ref, phase=phase)})
        (symptom,) = with_drift(Findings(), [SERVICE], {SID: now}, AssuranceSettings()).symptoms
        assert symptom.severity is severity
        assert symptom.detail[0].startswith("node vnf/db/main-1 is left over on old")
        assert ("it runs" in symptom.detail[0]) is (phase is Phase.ACTIVE)


@pytest.mark.slow
@pytest.mark.parametrize("comes_first", [True, False])
def test_a_second_one_is_told_and_does_not_stand_for_the_first(make_site: Make, comes_first: bool) -> None:
    """As on a host that is back after its machine was made anew elsewhere."""
    site = make_site(services={"demo": {"drift": "repair"}})
    world: World = unguarded(site.rt.vim("lab")).world  # type: ignore[attr-defined]
    site.compares()
    native = next(one for one in world.natives() if isinstance(one.spec, NodeSpec) and "/vnf/web/" in one.spec.key)
    key = native.spec.key
    assert isinstance(native.spec, NodeSpec)
    twin = replace(native, spec=replace(native.spec, host="host-0"))
    with world.change() as state:
        there, twins = dict(state.natives), {name_of(twin.spec): twin}
        state.natives.clear()
        state.natives.update(twins | there if comes_first else there | twins)
        state.hosts = (*state.hosts, FakeHost(name="host-0"))
    site.compares(4)
    (alarm,) = site.alarms()
    name = key.partition("/")[2]
    assert alarm.fault_details == (
        f"node {name} is there a second time on host-0: it runs, maybe with the addresses of what took its place",
    )
    (ruling,) = site.rulings(alarm)
    assert ruling.outcome is Outcome.FAILED
    assert "manor vim orphans --remove" in ruling.reason
    assert repairs(site) == []
    with world.change() as state:
        state.natives[name_of(native.spec)].phase = Phase.ERROR
    site.rounds(1)
    assert (key, "crashed") in {(one.resource_key, one.probable_cause) for one in site.all()}


def test_one_elsewhere_while_its_host_does_not_answer_is_not_left_over() -> None:
    """Nobody can say whether it is the only one."""
    there = {NODE: replace(WELL[NODE], ref=replace(WELL[NODE].ref, host="h2"))}
    seen = Seen(observed={VIM: there}, lost_hosts={f"{VIM}/h": "no answer"})
    found = {one.key: one.drift for one in looked(seen, looked(seen, None, 100.0), 115.0).standing}
    assert found == {NODE: Drift.TWICE}


def test_a_difference_has_to_last_and_an_operation_begins_anew() -> None:
    seen = Seen(observed={VIM: {key: one for key, one in WELL.items() if key != DISK}})
    first = looked(seen, None, 100.0)
    assert first.standing == ()
    assert looked(seen, first, 105.0).standing == ()
    assert len(looked(seen, first, 115.0).standing) == 1
    later = replace(SERVICE, last_operation="op2")
    assert looked(seen, first, 115.0, later).standing == ()
    assert causes(standing(seen.observed[VIM]), later) == ([], True), "what was seen before says nothing of it now"  # type: ignore[arg-type]
    assert causes(looked(seen, first, 115.0, later), later) == ([], True), "its alarm waits until it has lasted again"


def test_what_cannot_be_seen_has_not_drifted_and_keeps_its_alarm() -> None:
    assert causes(standing(None)) == ([], True)
    hidden = {key: replace(one, phase=Phase.UNKNOWN) for key, one in WELL.items()}
    assert causes(standing(hidden)) == ([], True)
    partly = {NODE: WELL[NODE], DISK: replace(WELL[DISK], phase=Phase.UNKNOWN), SNAPSHOT: WELL[SNAPSHOT]}
    decision = by_drift(alarm("drift"), SERVICE, standing(partly), REPAIRS)
    assert decision is not None
    assert decision.action is HealAction.NONE


def test_a_link_is_not_put_in_anew_where_that_would_change_what_is_only_reported() -> None:
    link = f"{SID}/vl/lan"
    segment = SegmentSpec(key=link, owner="o", name="lan", ports=())
    state = replace(STATE, resources=(*STATE.resources, DesiredResource(spec=segment, endpoint=SDN)))
    service, gone = replace(SERVICE, desired=state), {(link, Drift.MISSING): 0.0}

    def decided(now: Compared | None, key: str = link, cause: str = "link-absent") -> HealAction | None:
        decision = by_drift(alarm(cause, key), service, now, AssuranceSettings())
        return decision and decision.action

    assert decided(Compared(last_operation="op1", since_s=gone)) is HealAction.REPAIR
    assert decided(Compared(last_operation="op1", since_s={**gone, (NODE, Drift.ALTERED): 0.0})) is HealAction.ESCALATE
    assert decided(Compared(last_operation="op0")) is HealAction.NONE, "it is not compared as it is now"
    assert decided(None) is HealAction.NONE
    assert decided(Compared(last_operation="op1"), NODE, "node-degraded") is None, "the policy is asked"


def test_what_a_policy_of_repair_does_not_do() -> None:
    def decided(cause: str, now: Compared, key: str = SID) -> HealAction | None:
        decision = by_drift(alarm(cause, key), SERVICE, now, REPAIRS)
        return decision.action if decision else None

    no_disk = standing({NODE: WELL[NODE], SNAPSHOT: WELL[SNAPSHOT]})
    assert decided("drift", no_disk) is HealAction.ESCALATE, "a new disk would be empty"
    assert decided("snapshot-lost", standing({NODE: WELL[NODE], DISK: WELL[DISK]})) is HealAction.NONE
    unplugged = standing({**WELL, NODE: replace(WELL[NODE], phase=Phase.DEGRADED)})
    assert causes(unplugged) == ([], False), "a degraded machine has its own alarm"
    assert decided("node-degraded", unplugged, NODE) is HealAction.REPAIR
    assert decided("node-degraded", standing(WELL), NODE) is HealAction.NONE, "it may be over by itself"
    assert decided("crashed", unplugged, NODE) is None, "what is dead is healed"
    by_report = by_drift(alarm("node-degraded", NODE), SERVICE, unplugged, AssuranceSettings())
    assert by_report is None, "nor does a policy of report change what others do"


def test_a_port_is_put_back_where_nothing_else_is_wrong_with_its_machine() -> None:
    off = replace(WELL[NODE], phase=Phase.DEGRADED, detail={"unplugged": ["tap0"]})

    def decided(drift: Drift, seen: Observed) -> HealAction | None:
        now = Compared(last_operation="op1", since_s={(NODE, drift): 0.0})
        decision = by_drift(alarm("node-degraded", NODE), SERVICE, now, AssuranceSettings(), {NODE: seen})
        return decision and decision.action

    assert decided(Drift.BROKEN, off) is HealAction.REPAIR
    assert decided(Drift.ALTERED, off) is HealAction.ESCALATE, "to ensure it would change more than that"
    assert decided(Drift.BROKEN, replace(off, detail={"reason": "paused"})) is None, "the policy is asked"


def test_what_waits_for_what_is_not_configured_again_waits_for_what_that_waited_for() -> None:
    def step(verb: Verb, key: str, *after: str) -> Step:
        return Step(id=f"{verb} {key}", verb=verb, kind="vnf", key=key, endpoint=VIM, depends_on=after)

    steps = (
        step(Verb.ENSURE, "a"),
        step(Verb.CONFIGURE, "b", "ensure a"),
        step(Verb.CONFIGURE, "c", "configure b"),
        step(Verb.VERIFY, "d", "configure c", "ensure a"),
    )
    plan = Plan(operation=OperationKind.REPAIR, service_id=SID, service_name="shop", steps=steps)
    assert unconfigured(plan).steps == (steps[0], step(Verb.VERIFY, "d", "ensure a"))


def test_a_heal_leaves_the_vanished_disk_of_a_machine_that_runs() -> None:
    made = Step(id="ensure volume", verb=Verb.ENSURE, kind="volume", key=DISK, endpoint=VIM)
    plan = Plan(operation=OperationKind.HEAL, service_id=SID, service_name="shop", steps=(made,))
    assert still_read(plan, SERVICE, {NODE: WELL[NODE]}) == {DISK}
    assert still_read(plan, SERVICE, {NODE: replace(WELL[NODE], phase=Phase.STOPPED)}) == frozenset()
    assert still_read(plan, SERVICE, {}) == frozenset()
    assert still_read(plan, SERVICE, {NODE: WELL[NODE]}, [NODE]) == frozenset()
    assert still_read(replace(plan, steps=()), SERVICE, {NODE: WELL[NODE]}) == frozenset()


def test_a_heal_is_of_its_targets_alone() -> None:
    """Also a disk that can be made anew from its image: its machine would go for it."""
    made = Step(id="ensure volume", verb=Verb.ENSURE, kind="volume", key=DISK, endpoint=VIM)
    plan = Plan(operation=OperationKind.HEAL, service_id=SID, service_name="shop", steps=(made,))
    assert still_read(plan, FROM_IMAGE, {NODE: WELL[NODE]}, ["another"]) == {DISK}
    assert still_read(plan, FROM_IMAGE, {NODE: WELL[NODE]}, [NODE]) == frozenset()
    assert still_read(replace(plan, operation=OperationKind.REPAIR), FROM_IMAGE, {NODE: WELL[NODE]}) == frozenset()
