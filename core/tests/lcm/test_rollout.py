"""CHANGE_VNFPKG as blue-green and canary, each with its gate and its automatic return; MOVE_VNF."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import Site, opened
from test_update import newer, versions

from manor.api import GuestResult, PowerState, ResourceKind
from manor.errors import PlanRefused, UsageError
from manor.fakes import Action, Fault
from manor.lcm.diff import DEADLINES_S
from manor.lcm.moving import move
from manor.lcm.ns import Proposal
from manor.lcm.operate import operate
from manor.lcm.rollout import Condition, Rollout, Strategy, parse_condition, rollout_of, worst
from manor.lcm.scaling import scale_ns
from manor.lcm.ssh import SshGuest
from manor.lcm.updating import change_package
from manor.model.instance import OperationState
from manor.model.vnfd import LcmScript


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch, hosts=("host-1", "host-2")) as site:
        yield site


def order(proposal: Proposal) -> list[str]:
    return [step.id.replace(f"{proposal.ns.id}/", "") for step in proposal.plan.steps]


def test_the_new_stands_beside_the_old_until_it_is_proven_and_takes_its_addresses_over(site: Site) -> None:
    plain = newer("client")
    (df,) = plain.flavours
    vdu = dataclasses.replace(df.vdus[0], day1=(("setup",),))
    site.onboard(dataclasses.replace(plain, flavours=(dataclasses.replace(df, vdus=(vdu,)),)))
    (old,) = site.node("client/main-0").ports
    proposal = change_package(site.rt, "demo", "client", "client-vnfd-2", strategy="blue-green")
    steps = order(proposal)
    turned = [
        "ensure node vnf/client/main-0.1",
        "configure vnf vnf/client/day1",
        "verify vnf vnf/client",
        "ensure segment vl/lan",
        "verify segment vl/lan/live",
        "ensure chain chain/to-web",
        "remove node vnf/client/main-0",
    ]
    assert [step for step in steps if step in turned] == turned
    site.done(proposal)
    assert versions(site, "client") == ["2"]
    (new,) = site.node("client/main-0.1").ports
    assert (new.addresses, new.mac) == (old.addresses, old.mac)
    assert new.device != old.device
    site.onboard(newer("client", id="client-3", version="3"))
    site.done(change_package(site.rt, "demo", "client", "client-3", strategy="blue-green"))
    assert {name for name in site.nodes() if "/client/" in name} == {"vnf/client/main-0.2"}
    site.done(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    site.done(operate(site.rt, "demo", ["client"], PowerState.STARTED))


@pytest.mark.slow
def test_one_that_is_not_healthy_goes_again_and_the_old_was_never_touched(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.onboard(newer("firewall"))
    before = {key: one.native_id for key, one in site.seen(ResourceKind.NODE, ResourceKind.VOLUME).items()}
    monkeypatch.setitem(DEADLINES_S, "verify", 1.0)  # type: ignore[arg-type]
    site.world.inject(Fault(verb="guest_ping", key="*/firewall/main-0.1", action=Action.FAIL, times=0))
    operation = site.run(change_package(site.rt, "demo", "firewall", "firewall-vnfd-2", strategy="blue-green"))
    assert (operation.state, "no answer from main-0.1" in operation.error) == (OperationState.ROLLED_BACK, True)
    site.world.heal()
    assert {key: one.native_id for key, one in site.seen(ResourceKind.NODE, ResourceKind.VOLUME).items()} == before
    assert (site.drift(), versions(site, "firewall")) == ((), ["1"])


@pytest.mark.slow
def test_one_that_breaks_the_gate_goes_again_and_traffic_turns_back(site: Site) -> None:
    site.onboard(newer("firewall"))
    ports = site.node("firewall/main-0").ports
    key = site.node("firewall/main-0").key
    site.world.metrics[f"{key}.1"] = {"v_cpu_usage_mean": 97.5}
    proposal = change_package(
        site.rt, "demo", "firewall", "firewall-vnfd-2", strategy="blue-green", gate=["v_cpu_usage_mean<80"], soak_s=0.3
    )
    steps = order(proposal)
    assert steps.index("ensure chain chain/to-web") < steps.index("verify kpi vnf/firewall/main-0.1")
    assert steps.index("verify kpi vnf/firewall/main-0.1") < steps.index("remove node vnf/firewall/main-0")
    operation = site.run(proposal)
    assert operation.state is OperationState.ROLLED_BACK
    assert "firewall/main-0.1: v_cpu_usage_mean is 97.5, and the gate wants v_cpu_usage_mean<80" in operation.error
    assert (site.node("firewall/main-0").ports, site.drift()) == (ports, ())


@pytest.mark.slow
def test_the_canary_stands_the_gate_before_the_others_go(site: Site) -> None:
    site.onboard(newer("firewall"))
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "3"}))
    names = ["firewall", "firewall-2", "firewall-3"]
    gate = ["v_cpu_usage_mean<=80"]
    proposal = change_package(
        site.rt, "demo", names, "firewall-vnfd-2", strategy="canary", fraction=0.3, gate=gate, soak_s=0.2
    )
    turns = [
        "ensure node vnf/firewall/main-0",
        "verify kpi vnf/firewall/main-0",
        "remove node vnf/firewall-2/main-0",
        "verify vnf vnf/firewall-2/main-0",
        "remove node vnf/firewall-3/main-0",
        "verify kpi vnf/firewall-3/main-0",
    ]
    assert [step for step in order(proposal) if step in turns] == turns
    others = {key: site.seen(ResourceKind.NODE)[f"vnf/{key}/main-0"].native_id for key in names[1:]}
    site.world.metrics[site.node("firewall/main-0").key] = {"v_cpu_usage_mean": 95.0}
    assert site.run(proposal).state is OperationState.ROLLED_BACK
    assert {key: site.seen(ResourceKind.NODE)[f"vnf/{key}/main-0"].native_id for key in others} == others
    site.world.metrics.clear()
    site.done(
        change_package(
            site.rt, "demo", names, "firewall-vnfd-2", strategy="canary", fraction=0.3, gate=gate, soak_s=0.2
        )
    )
    assert [versions(site, name) for name in names] == [["2"], ["2"], ["2"]]


def test_a_disk_with_data_is_not_left_behind_unasked(site: Site) -> None:
    site.onboard(newer("web"))
    with pytest.raises(PlanRefused, match="web has a disk with data, web/main-0/disk/data"):
        change_package(site.rt, "demo", "web", "web-vnfd-2", strategy="blue-green")
    with pytest.raises(PlanRefused, match="web has a disk with data"):
        move(site.rt, "demo", "web", "lab/host-1" if site.node("web/main-0").host == "host-2" else "lab/host-2")
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2", strategy="blue-green", discard_data=True))
    assert {name for name in site.seen(ResourceKind.VOLUME) if "/web/" in name} == {
        "vnf/web/main-0.1/disk/root",
        "vnf/web/main-0.1/disk/data",
    }


def test_a_vnf_moves_to_another_host_and_its_addresses_with_it(site: Site) -> None:
    place = site.node("client/main-0").host
    other = {"host-1": "host-2", "host-2": "host-1"}[place]
    (before,) = site.node("client/main-0").ports
    proposal = move(site.rt, "demo", "client", f"lab/{other}")
    steps = order(proposal)
    assert steps.index("verify vnf vnf/client") < steps.index("remove node vnf/client/main-0")
    site.done(proposal)
    (after,) = site.node("client/main-0.1").ports
    assert (site.node("client/main-0.1").host, after.addresses, after.mac) == (other, before.addresses, before.mac)
    assert move(site.rt, "demo", "client", f"lab/{other}").is_idle
    assert move(site.rt, "demo", "client", "lab/").is_idle, "it is in that VIM"
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
    assert site.node("client/main-0.1").host == other, "and it stays there"
    with pytest.raises(UsageError, match="there is no VIM moon"):
        move(site.rt, "demo", "client", "moon/crater")
    with pytest.raises(UsageError, match="VIM lab has no host host-9") as refused:
        move(site.rt, "demo", "client", "lab/host-9")
    assert refused.value.hint == "it has: host-1, host-2"


def test_who_is_reached_at_the_old_ones_address_is_never_proven_beside_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new machine has that address once the links have turned to it: until then it is the old one that answers."""
    monkeypatch.setattr(SshGuest, "run", lambda *_args, **_more: GuestResult(exit_code=0, stdout=b"", stderr=b""))
    plain = newer("client", id="client-ssh")
    (df,) = plain.flavours
    vdu = dataclasses.replace(df.vdus[0], guest_agent=False, ssh_user="admin")
    site.onboard(dataclasses.replace(plain, flavours=(dataclasses.replace(df, vdus=(vdu,)),)))
    with pytest.raises(
        PlanRefused, match=r"client-main-0 .* by SSH at 10\.10\.0\.\d+, .* the old machine's"
    ) as refused:
        change_package(site.rt, "demo", "client", "client-ssh", strategy="blue-green")
    assert "--strategy rolling" in refused.value.hint
    site.done(change_package(site.rt, "demo", "client", "client-ssh"))
    other = {"host-1": "host-2", "host-2": "host-1"}[site.node("client/main-0").host]
    proposal = move(site.rt, "demo", "client", f"lab/{other}")
    steps = order(proposal)
    assert steps.index("remove node vnf/client/main-0") < steps.index("ensure node vnf/client/main-0")
    site.done(proposal)
    assert site.node("client/main-0").host == other


def test_gates_are_read_and_judged() -> None:
    assert parse_condition(" loss_ratio >= -0.5") == Condition(metric="loss_ratio", operator=">=", bound=-0.5)
    for text in ("fast", "cpu<", "cpu=<3", "cpu<3; rm"):
        with pytest.raises(UsageError, match="a gate cannot be"):
            parse_condition(text)
    cpu = parse_condition("cpu<=80")
    assert (cpu.holds(80), cpu.holds(80.1), parse_condition("cpu<80").holds(80)) == (True, False, False)
    assert worst([cpu], {"cpu": None}) == "cpu was not measured"
    with pytest.raises(UsageError, match="there is no strategy sudden"):
        rollout_of({"strategy": "sudden"}, "s")
    rolling = Rollout(strategy=Strategy.ROLLING, vnfs=(), conditions=(cpu,))
    assert rolling.gates(3) == {0, 1, 2}
    assert Rollout(strategy=Strategy.CANARY, vnfs=(), fraction=0.3).gates(4) == {1}


def test_the_new_is_configured_before_traffic_turns_to_it_and_where_that_fails_the_old_is_still_there(
    site: Site,
) -> None:
    script = LcmScript(event="change_current_package_end", script="vmlinuz", dsl="tosca.artifacts.Implementation.Bash")
    site.onboard(newer("firewall", scripts=(script,)))
    before = {key: one.native_id for key, one in site.seen(ResourceKind.NODE, ResourceKind.VOLUME).items()}
    proposal = change_package(site.rt, "demo", "firewall", "firewall-vnfd-2", strategy="blue-green", discard_data=True)
    turned = [
        "ensure node vnf/firewall/main-0.1",
        "verify vnf vnf/firewall",
        "script vnf vnf/firewall change_current_package_end",
        "ensure chain chain/to-web",
        "remove node vnf/firewall/main-0",
    ]
    assert [step for step in order(proposal) if step in turned] == turned

    site.world.inject(Fault(verb="guest_exec", error="Permanent", times=0))
    failed = site.run(proposal)
    assert (failed.state, "change_current_package_end" in failed.error) == (OperationState.ROLLED_BACK, True)
    site.world.heal()
    assert {key: one.native_id for key, one in site.seen(ResourceKind.NODE, ResourceKind.VOLUME).items()} == before
    assert site.drift() == ()


@pytest.mark.slow
def test_a_chain_turns_to_one_more_function_once_that_is_configured(site: Site) -> None:
    script = LcmScript(event="instantiate_end", script="vmlinuz", dsl="tosca.artifacts.Implementation.Bash")
    site.onboard(newer("firewall", scripts=(script,)))
    site.done(change_package(site.rt, "demo", "firewall", "firewall-vnfd-2"))
    proposal = scale_ns(site.rt, "demo", vnfs={"firewall": "+1"})
    turned = ["script vnf vnf/firewall-2 instantiate_end", "ensure chain chain/to-web"]
    assert [step for step in order(proposal) if step in turned] == turned
    (chain,) = (step for step in proposal.plan.steps if step.kind == "chain" and step.verb == "ensure")
    assert any(name.startswith("script vnf") for name in chain.depends_on)
    site.done(proposal)
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "-1"}))
