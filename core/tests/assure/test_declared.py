"""What a VNF's descriptor says about healing and scaling counts, and its operator has the last word."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import secure_web
from assured_site import PATIENCE_S, Site, unguarded

from manor.api import GuestResult, HealAction, OperationKind
from manor.assure.declared import declared
from manor.assure.healing import approve
from manor.lcm import changing, ns, work
from manor.model.alarm import Outcome
from manor.model.instance import OperationState
from manor.model.vnfd import Comparison, IndicatorTrigger, ScalingAspect, VnfIndicator
from manor.store import reading

Make = Callable[..., Site]


@pytest.mark.parametrize(
    ("properties", "said", "heals", "scales"),
    [
        ({}, {}, None, None),
        ({"is_autoheal_enabled": True, "is_autoscale_enabled": False}, {}, True, False),
        ({"isAutohealEnabled": False, "is-auto-scalable-enabled": "true"}, {}, False, True),
        ({"is_autoheal_enabled": True}, {"isAutohealEnabled": False}, False, None),
        ({"is_autoheal_enabled": "perhaps"}, {}, None, None),
    ],
)
def test_flags_are_read_in_every_spelling_and_the_operator_has_the_last_word(
    properties: dict[str, Any], said: dict[str, Any], heals: bool | None, scales: bool | None
) -> None:
    found = declared({"configurable_properties": properties}, {"vnfConfigurableProperties": said})
    assert (found.autoheal, found.autoscale) == (heals, scales)


def modify(site: Site, vnf: str, **properties: object) -> None:
    done = ns.start(site.rt, changing.modify_information(site.rt, "demo", vnf, properties=properties))
    assert work.follow(site.rt, done).state is OperationState.COMPLETED


@pytest.mark.slow
def test_a_vnf_that_is_not_to_be_healed_by_itself_is_handed_to_a_person(make_site: Make) -> None:
    site = make_site(cool_down_s=0)
    modify(site, "firewall", is_autoheal_enabled=False)
    site.world.stop(site.node("firewall"))
    site.rounds(3)
    (alarm,) = site.alarms()
    (ruling,) = site.rulings(alarm)
    assert (ruling.action, ruling.outcome) == (HealAction.RESTART, Outcome.ESCALATED)
    assert "auto-heal is off for firewall" in ruling.reason
    assert site.operations() == []

    modify(site, "firewall", is_autoheal_enabled=True)  # which brings the machine back too, for that is desired
    site.rounds(8)
    site.world.stop(site.node("firewall"))
    site.rounds(2)
    assert [operation.state for operation in site.operations()] == [OperationState.COMPLETED]


def test_a_host_that_lost_all_of_a_services_machines_is_one_alarm_and_one_heal(make_site: Make) -> None:
    site = make_site(static_mode="ask")
    for vnf in ("client", "firewall", "monitor", "web"):
        site.world.stop(site.node(vnf))
    site.rounds(3)
    (alarm,) = site.alarms()
    assert [ruling.outcome for ruling in site.rulings(alarm)] == [Outcome.ASK]
    approve(site.rt, alarm.id)
    site.rounds(8)
    (alarm,) = site.all()
    assert alarm.probable_cause == "host-emptied"
    assert sum(line.startswith("also node-stopped") for line in alarm.fault_details) == 4
    ruling = site.rulings(alarm)[-1]
    assert (ruling.action, ruling.outcome) == (HealAction.RESTART, Outcome.STARTED)
    (operation,) = site.operations()
    assert operation.state is OperationState.COMPLETED
    assert (site.alarms(), site.is_whole()) == ([], True)


@pytest.fixture
def growing_firewall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its VNFD has an aspect, an indicator, and a trigger that scales; by itself it may not."""
    firewall = secure_web.VNFDS["firewall-vnfd"]
    (df,) = firewall.flavours
    (profile,) = df.vdu_profiles
    aspect = ScalingAspect(id="more", max_scale_level=1, step_deltas=("one",), deltas={"one": {profile.vdu_id: 1}})
    grown = replace(
        firewall,
        configurable_properties={"is_autoscale_enabled": False},
        indicators=(VnfIndicator(id="sessions", command=("fw-sessions",)),),
        triggers=(
            IndicatorTrigger(
                name="many",
                indicator="sessions",
                conditions=((Comparison.GREATER_OR_EQUAL, 100.0),),
                operation="scale",
            ),
        ),
        flavours=(
            replace(
                df,
                scaling_aspects=(aspect,),
                initial_deltas={profile.vdu_id: 1},
            ),
        ),
    )
    monkeypatch.setitem(secure_web.VNFDS, firewall.id, grown)


@pytest.mark.slow
def test_an_indicator_that_passes_its_limit_scales_out_where_the_vnf_may_by_itself(
    growing_firewall: None, make_site: Make
) -> None:
    site = make_site(degraded_s=5, guest_s=4)
    sessions = ["5"]

    def script(_key: str, argv: Any, _stdin: bytes) -> GuestResult:
        there = argv[0] == "fw-sessions"
        return GuestResult(exit_code=0 if there else 127, stdout=sessions[0].encode() if there else b"", stderr=b"")

    unguarded(site.rt.vim("lab"))._guest_script = script
    site.world.metrics[site.node("firewall")] = {"v_cpu_usage_mean": 10.0}
    measuring = site.assurance._measuring

    def go(rounds: int) -> None:
        for _ in range(rounds):
            site.rounds(1, step_s=2, measure=True)
            measuring.guests.wait(PATIENCE_S)

    go(4)
    assert site.alarms() == []
    sessions[0] = "250"
    go(8)
    (alarm,) = site.alarms()
    assert alarm.probable_cause == "indicator many"
    assert site.rulings(alarm)[-1].outcome is Outcome.ESCALATED
    assert "auto-scale is off for firewall" in site.rulings(alarm)[-1].reason

    modify(site, "firewall", is_autoscale_enabled=True)
    go(3)
    operation = work.follow(site.rt, reading.operations(site.rt.url, ns_id=site.service.id).items[0].id)
    assert (operation.operation, operation.state) == (OperationKind.SCALE, OperationState.COMPLETED)
    assert operation.is_automatic
    assert sum("/firewall/" in one.ref.key for one in site.seen() if one.ref.kind == "node") == 2
