"""Who may be healed how often, and how much of a group at once: each bound holds alone, and says its own name."""

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    ElementMode,
    HealAction,
    HealDecision,
    NodeSpec,
    Observed,
    PerceivedSeverity,
    Phase,
    ResourceKind,
    ResourceRef,
    SdnPort,
)
from manor.assure.deciding import Situation, decide
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Service
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType, Outcome, Ruling
from manor.model.desired import DesiredResource, DesiredState

NOW_S = 1_000_000.0
KEYS = [f"1a2b3c4d/vnf/{vnf}/main-{index}" for vnf in ("fw", "web") for index in range(4)]
DEAD = KEYS[0]
PLACE = "1a2b3c4d@lab/h1"
"""All of them, as they are on their host."""
RESTART = HealDecision(action=HealAction.RESTART, targets=(DEAD,), reason="it is dead")


def node(key: str) -> NodeSpec:
    return NodeSpec(
        key=key, owner="manor/t", host="h1", name=key[-4:], vcpus=1, memory_bytes=1, labels=(("vdu", "main"),)
    )


def seen(key: str, phase: Phase = Phase.ACTIVE) -> Observed:
    return Observed(
        ref=ResourceRef(kind=ResourceKind.NODE, key=key), phase=phase, owner="manor/t", native_id="", spec_hash=""
    )


def heal(key: str, *, ago_s: float = 600.0, ns_id: str = "1a2b3c4d", operation_id: str = "") -> Ruling:
    return Ruling(
        id=f"{key}{ago_s}", alarm_id="before", ns_id=ns_id, resource_key=key, time_s=NOW_S - ago_s,
        action=HealAction.RESTART, outcome=Outcome.STARTED, reason="", operation_id=operation_id or f"{key}{ago_s}",
        ended_s=NOW_S - ago_s + 10, succeeded=True, helped=True,
    )  # fmt: skip


def situation(*heals: Ruling, out: tuple[str, ...] = (DEAD,), **settings: Any) -> Situation:
    desired = DesiredState(
        service_id="1a2b3c4d",
        service_name="shop",
        resources=tuple(DesiredResource(endpoint="vim:lab", spec=node(key)) for key in KEYS),
    )
    alarm = AlarmRecord(
        id="now", ns_id="1a2b3c4d", managed_object_id="1a2b3c4d/vnf/fw", resource_key=DEAD,
        faulty_resource_type=FaultyResourceType.COMPUTE, perceived_severity=PerceivedSeverity.CRITICAL,
        event_type=EventType.PROCESSING_ERROR_ALARM, probable_cause="crashed",
    )  # fmt: skip
    return Situation(
        alarm=alarm,
        service=Service(id="1a2b3c4d", name="shop", nsd_id="n", desired=desired),
        seen={key: seen(key) for key in KEYS if key not in out},
        heals=heals,
        settings=AssuranceSettings(**settings),
        now_s=NOW_S,
        sites={"1a2b3c4d": {"vim:lab"}, "ffffffff": {"vim:lab"}, "eeeeeeee": {"vim:far"}},
    )


def test_nothing_holds_a_first_heal() -> None:
    assert decide(situation(), RESTART).outcome is Outcome.STARTED


@pytest.mark.parametrize(
    ("heals", "settings", "says"),
    [
        ([heal(DEAD, ago_s=20.0)], {}, "healed less than 30 s ago"),
        ([heal(DEAD)], {"heals_per_resource_hour": 1}, "it was healed 1 times within the hour"),
        ([heal(PLACE, ago_s=20.0)], {}, "healed less than 30 s ago"),
        ([heal(PLACE)], {"heals_per_resource_hour": 1}, "it was healed 1 times within the hour"),
        ([heal(PLACE)], {"heals_per_vnf_hour": 1}, "its VNF had 1 heals"),
        ([heal(KEYS[1])], {"heals_per_vnf_hour": 1}, "its VNF had 1 heals"),
        ([heal(KEYS[5])], {"heals_per_service_hour": 1}, "shop had 1 heals"),
        ([heal("ffffffff/vnf/x/m-0", ns_id="ffffffff")], {"heals_per_site_hour": 1}, "vim:lab had 1 heals"),
        ([heal("eeeeeeee/vnf/x/m-0", ns_id="eeeeeeee")], {"heals_per_hour": 1}, "this installation had 1 heals"),
    ],
)
def test_each_budget_holds_alone_and_says_which(heals: list[Ruling], settings: dict[str, int], says: str) -> None:
    verdict = decide(situation(*heals, **settings), RESTART)
    assert verdict.outcome is Outcome.HELD
    assert says in verdict.reason


@pytest.mark.parametrize(
    ("heals", "settings"),
    [
        ([heal(KEYS[5])], {"heals_per_vnf_hour": 1, "heals_per_resource_hour": 1}),
        ([heal("eeeeeeee/vnf/x/m-0", ns_id="eeeeeeee")], {"heals_per_site_hour": 1, "heals_per_service_hour": 1}),
        ([heal(DEAD, ago_s=4000.0)], {"heals_per_resource_hour": 1, "heals_per_hour": 1}),
        ([heal(key, operation_id="one") for key in KEYS[:4]], {"heals_per_service_hour": 2}),
    ],
)
def test_what_is_elsewhere_or_long_ago_or_one_operation_does_not_count_twice(
    heals: list[Ruling], settings: dict[str, int]
) -> None:
    assert decide(situation(*heals, **settings), RESTART).outcome is Outcome.STARTED


def test_heals_of_one_root_are_one_event_for_site_and_installation_alone() -> None:
    one, other = (
        replace(heal(f"{ns_id}/vnf/x/m-0", ns_id=ns_id), alarm_id=alarm_id, operation_id=f"op of {ns_id}")
        for ns_id, alarm_id in (("ffffffff", "a1"), ("dddddddd", "a2"))
    )
    mine = {"now": "root", "a1": "root", "a2": "root"}
    for bound in ("heals_per_site_hour", "heals_per_hour"):
        held = situation(one, other, **{bound: 2})
        assert decide(held, RESTART).outcome is Outcome.HELD
        assert decide(replace(held, roots=mine), RESTART).outcome is Outcome.STARTED
        assert decide(replace(held, roots={**mine, "now": "later"}), RESTART).outcome is Outcome.STARTED, "one of two"
        full = replace(held, roots={**mine, "a2": "before", "now": "later"})
        assert decide(full, RESTART).outcome is Outcome.HELD, "another reboot is another event"
    again = replace(situation(replace(heal(KEYS[5]), alarm_id="a1"), heals_per_service_hour=1), roots=mine)
    assert decide(again, RESTART).outcome is Outcome.HELD, "of one service each counts"


@pytest.mark.parametrize("bound", ["heals_per_site_hour", "heals_per_hour"])
def test_a_root_that_stays_is_another_event_each_time_that_its_services_are_healed(bound: str) -> None:
    """As where one of them is locked, and the host is rebooted while that waits."""
    mine, other = (
        replace(heal(key, ns_id=key[:8], ago_s=1200), alarm_id=key, operation_id=f"first {key[:8]}")
        for key in (KEYS[5], "ffffffff/vnf/x/m-0")
    )
    again = replace(other, time_s=NOW_S - 600, operation_id="second")
    roots = dict.fromkeys(("now", mine.alarm_id, other.alarm_id), "root")

    def outcome(allowed: int, *heals: Ruling) -> Outcome:
        return decide(replace(situation(*heals, **{bound: allowed}), roots=roots), RESTART).outcome

    assert outcome(1, other) is Outcome.STARTED, "the first time it goes with the others"
    assert outcome(1, other, mine) is Outcome.HELD, "and then no more"
    assert outcome(2, other, mine) is Outcome.STARTED
    assert outcome(2, other, mine, again) is Outcome.STARTED, "the second time too it goes with the others"
    assert outcome(2, other, mine, replace(mine, time_s=NOW_S - 600, operation_id="mine")) is Outcome.HELD
    several = replace(mine, resource_key=KEYS[6])
    assert outcome(1, mine, several) is Outcome.HELD
    assert outcome(2, mine, several) is Outcome.STARTED, "what one operation heals is one time"


def test_no_more_than_a_part_of_a_group_is_taken_down_at_once() -> None:
    sick = replace(RESTART, targets=(KEYS[1],))
    held = decide(situation(out=(KEYS[0], KEYS[2])), sick)
    assert (held.outcome, "2 of 4 machines of main" in held.reason) == (Outcome.HELD, True)
    assert decide(situation(out=(KEYS[0],)), sick).outcome is Outcome.STARTED
    assert decide(situation(out=(*KEYS[:3],)), RESTART).outcome is Outcome.STARTED, "the dead cost nothing more"
    more = replace(RESTART, action=HealAction.SCALE_OUT, targets=(KEYS[1],))
    assert decide(situation(out=(KEYS[0], KEYS[2])), more).outcome is Outcome.STARTED, (
        "who scales out takes nobody down"
    )


def pair(*out: str, **settings: Any) -> Situation:
    """Of a VNF with two machines, both at one position of a chain with a third that is alone in its own VNF."""
    two = [f"1a2b3c4d/vnf/fw/main-{index}" for index in range(2)]
    alone = "1a2b3c4d/vnf/fw-2/main-0"
    end = SdnPort(key="1a2b3c4d/sap/in", device="end", host="h1", mac="02:00:00:00:00:01")
    elements = tuple(
        ChainElement(mode=ElementMode.ROUTED, ingress=port, egress=port)
        for key in (*two, alone)
        for port in [dataclasses.replace(end, key=f"{key}/in", device=key[-6:])]
    )
    chain = ChainSpec(
        key="1a2b3c4d/chain/c", owner="manor/t", name="c", segment="s", classifiers=(),
        sources=(end,), destinations=(end,), positions=(ChainPosition(name="firewall", elements=elements),),
    )  # fmt: skip
    specs = [*(("vim:lab", node(key)) for key in (*two, alone)), ("sdn:net", chain)]
    plain = situation(**settings)
    desired = replace(
        plain.service.desired, resources=tuple(DesiredResource(endpoint=place, spec=spec) for place, spec in specs)
    )
    there = {key: seen(key) for key in (*two, alone) if key not in out}
    return replace(plain, service=replace(plain.service, desired=desired), seen=there)


def test_of_a_small_group_all_may_be_healed_in_turn_and_none_while_another_is_out() -> None:
    both = replace(RESTART, targets=tuple(KEYS[:2]))
    assert decide(pair(), both).outcome is Outcome.STARTED, "they take turns"
    assert decide(pair(KEYS[1]), both).outcome is Outcome.STARTED, "the dead comes back before the living goes"
    held = decide(pair(KEYS[1]), RESTART)
    assert (held.outcome, "1 of 2 machines of main" in held.reason) == (Outcome.HELD, True)


def test_functions_at_one_position_stand_in_for_each_other_whatever_their_vnf() -> None:
    alone = replace(RESTART, targets=("1a2b3c4d/vnf/fw-2/main-0",))
    assert decide(pair(), alone).outcome is Outcome.STARTED
    held = decide(pair(KEYS[1]), alone)
    assert (held.outcome, "1 of 3 machines of firewall" in held.reason) == (Outcome.HELD, True)


def test_what_is_held_for_long_is_handed_to_a_person() -> None:
    since = pair(KEYS[1], held_s=600)
    assert decide(replace(since, held_since_s=NOW_S - 599), RESTART).outcome is Outcome.HELD
    told = decide(replace(since, held_since_s=NOW_S - 600), RESTART)
    assert told.outcome is Outcome.ESCALATED
    assert "held for more than 600 s: 1 of 2 machines" in told.reason
    assert "manor heal approve now" in told.reason
    of_a_host = replace(since, held_since_s=NOW_S - 600, roots={"now": "root"})
    assert "manor heal approve root" in decide(of_a_host, RESTART).reason, "one word for all of its services"
    locked = pair(KEYS[1], services={"shop": {"locked": True}})
    assert decide(replace(locked, held_since_s=1.0), RESTART).outcome is Outcome.HELD, "that is a person's own word"
    assert decide(replace(pair(), held_since_s=1.0), RESTART).outcome is Outcome.STARTED, "there is room by now"


def test_what_was_done_is_watched_before_more_is_done() -> None:
    before = replace(heal(DEAD), alarm_id="now", helped=None)
    verdict = decide(situation(before), RESTART)
    assert (verdict.outcome, verdict.reason.partition("held: ")[2]) == (
        Outcome.HELD,
        "it is watched whether the last restart helps",
    )
    assert decide(situation(replace(before, helped=True)), RESTART).outcome is Outcome.STARTED

    grown = replace(heal(KEYS[1]), action=HealAction.SCALE_OUT, helped=None)
    more = replace(RESTART, action=HealAction.SCALE_OUT)
    assert decide(situation(grown), more).outcome is Outcome.HELD, "a VNF does not grow twice for one crowd"
    assert decide(situation(grown), RESTART).outcome is Outcome.STARTED, "another's alarm, and no growth"
