"""The operator's own rules come before the policy: scale out, lead around, hand over, restart at once or never."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import secure_web
from assured_site import Site

from manor.api import HealAction, OperationKind
from manor.assure.healing import approve
from manor.lcm import work
from manor.model.alarm import Outcome
from manor.model.instance import NsLcmOpOcc, OperationState
from manor.store import instances, reading

pytestmark = pytest.mark.slow

Make = Callable[..., Site]


def newest(site: Site) -> NsLcmOpOcc:
    """The last operation, once it has come to its end."""
    return work.follow(site.rt, reading.operations(site.rt.url, ns_id=site.service.id).items[0].id)


def vnfs(site: Site) -> list[str]:
    with site.rt.store.read() as tx:
        return [vnf.name for vnf in instances.vnfs(tx, site.service.id)]


@pytest.fixture
def two_webs(monkeypatch: pytest.MonkeyPatch) -> None:
    (df,) = secure_web.NSD.flavours
    more = tuple(replace(p, max_number_of_instances=2) if p.id == "web" else p for p in df.vnf_profiles)
    monkeypatch.setattr(secure_web, "NSD", replace(secure_web.NSD, flavours=(replace(df, vnf_profiles=more),)))


def test_a_rule_scales_out_within_what_the_descriptor_allows(two_webs: None, make_site: Make) -> None:
    rule = {"vnf": "web*", "cause": "node-*", "action": "scale-out"}
    site = make_site(rules=[rule], cool_down_s=0)
    web = site.node("web")
    site.world.stop(web)
    site.rounds(1)
    operation = newest(site)
    assert (operation.operation, operation.state) == (OperationKind.SCALE, OperationState.COMPLETED)
    assert operation.is_automatic
    assert sum(name.startswith("web") for name in vnfs(site)) == 2
    (alarm,) = site.all()
    (ruling,) = site.rulings(alarm)
    assert (ruling.action, ruling.outcome) == (HealAction.SCALE_OUT, Outcome.STARTED)
    assert "rule 1 of assurance.yaml" in ruling.reason

    site.rounds(10)
    site.world.stop(web)
    site.rounds(1)
    refused = site.rulings(site.alarms()[0])[-1]
    assert refused.outcome is Outcome.FAILED
    assert "allows 1 to 2" in refused.reason


def test_a_rule_leads_traffic_around_a_function_that_died(make_site: Make) -> None:
    site = make_site(rules=[{"vnf": "monitor", "cause": "crashed", "action": "none"},
                            {"vnf": "monitor", "cause": "node-stopped", "action": "reroute"}])  # fmt: skip
    site.rounds(2, measure=True)
    site.world.stop(site.node("monitor"))
    site.rounds(1)
    operation = newest(site)
    assert (operation.operation, operation.state) == (OperationKind.UPDATE, OperationState.COMPLETED)
    assert not [one for one in site.seen() if one.ref.kind == "chain"], "traffic goes straight"
    (ruling,) = site.rulings(site.all()[0])
    assert (ruling.action, ruling.outcome) == (HealAction.REROUTE, Outcome.STARTED)
    assert "rule 2" in ruling.reason


def test_a_rule_keeps_hands_off_and_another_hands_over(make_site: Make) -> None:
    rules = [
        {"vnf": "firewall", "cause": "node-*", "action": "none"},
        {"service": "de*", "cause": "node-*", "action": "escalate"},
    ]
    site = make_site(rules=rules)
    for vnf in ("firewall", "web"):
        site.world.stop(site.node(vnf))
    site.rounds(3)
    assert site.operations() == []
    said = {alarm.resource_key.split("/")[2]: site.rulings(alarm)[-1].outcome for alarm in site.alarms()}
    assert said == {"firewall": Outcome.NOTHING, "web": Outcome.ESCALATED}


def test_what_a_rule_proposes_in_ask_mode_is_done_when_approved(two_webs: None, make_site: Make) -> None:
    site = make_site(rules=[{"vnf": "web", "cause": "node-stopped", "action": "scale-out"}], static_mode="ask")
    site.world.stop(site.node("web"))
    site.rounds(2)
    (alarm,) = site.alarms()
    assert site.rulings(alarm)[-1].outcome is Outcome.ASK
    ruling = approve(site.rt, alarm.id)
    assert work.follow(site.rt, ruling.operation_id).state is OperationState.COMPLETED
    assert sum(name.startswith("web") for name in vnfs(site)) == 2


def test_hands_off_a_vnf_is_hands_off_what_its_service_has_on_an_emptied_host(make_site: Make) -> None:
    site = make_site(static_mode="shadow")
    for vnf in ("client", "firewall", "monitor", "web"):
        site.world.stop(site.node(vnf))
    for rule, outcome in (
        ({"vnf": "web", "cause": "*", "action": "escalate"}, Outcome.ESCALATED),
        ({"vnf": "web", "cause": "*", "action": "scale-out"}, Outcome.SHADOW),
        ({"vnf": "web", "cause": "*", "action": "none"}, Outcome.NOTHING),
        ({"vnf": "web", "cause": "node-stopped", "action": "escalate"}, Outcome.SHADOW),
        ({"cause": "host-emptied", "action": "escalate"}, Outcome.ESCALATED),
        ({"vnf": "d*", "cause": "*", "action": "escalate"}, Outcome.SHADOW),
    ):
        site.settings(detector="", static_mode="shadow", rules=[rule])
        site.rounds(1)
        (alarm,) = site.alarms()
        assert alarm.probable_cause == "host-emptied"
        assert site.rulings(alarm)[-1].outcome is outcome, rule
