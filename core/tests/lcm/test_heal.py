"""HEAL: what is broken comes back; what the operator names is made anew under the same name and address."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import Site, opened

from manor.api import NodeSpec, OperationKind, Plan, ResourceKind, Verb
from manor.errors import DescriptorError, PlanRefused, UsageError
from manor.fakes import Action, FakeHost, Fault
from manor.lcm import healing, ns
from manor.model.instance import OnFailure, OperationState


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def test_heal_of_a_sound_service_does_nothing(site: Site) -> None:
    assert healing.heal(site.rt, "demo").plan.steps == ()


def test_heal_brings_back_what_was_destroyed(site: Site) -> None:
    site.world.destroy(site.node("firewall/main-0").key)
    site.done(healing.heal(site.rt, "demo", cause="seen gone"))
    assert "vnf/firewall/main-0" in site.nodes()


def test_a_heal_can_overlook_a_disk_that_is_gone_under_a_machine_that_runs(site: Site) -> None:
    disk = f"{site.node('web/main-0').key}/disk/data"
    site.world.destroy(disk)
    site.world.destroy(site.node("firewall/main-0").key)

    def changed(plan: Plan) -> list[str]:
        return [step.id for step in plan.steps if "web/main-0" in step.key and step.verb is not Verb.VERIFY]

    assert changed(ns.propose(site.rt, "demo", OperationKind.HEAL).plan)
    proposal = ns.propose(site.rt, "demo", OperationKind.HEAL, overlook=frozenset({disk}))
    assert changed(proposal.plan) == []
    assert site.run(proposal).state is OperationState.COMPLETED
    assert "vnf/firewall/main-0" in site.nodes()
    assert any(disk in step for step in site.drift()), "it is drift as before"


def test_a_vnf_is_made_anew_under_the_same_key_mac_and_address_and_keeps_its_data(site: Site) -> None:
    before, old = site.node("web/main-0"), site.seen(ResourceKind.NODE, ResourceKind.VOLUME)
    operation = site.done(healing.heal(site.rt, "demo", vnfs=["web"], cause="it answers slowly"))
    new = site.seen(ResourceKind.NODE, ResourceKind.VOLUME)
    renewed = {key for key in new if new[key].native_id != old[key].native_id}
    assert renewed == {"vnf/web/main-0", "vnf/web/main-0/disk/root"}
    assert site.node("web/main-0") == before
    assert operation.params["wishes"]["cause"] == "it answers slowly"


def shrunk(site: Site, memory_bytes: int) -> None:
    """The host as it comes back from a reboot with other memory."""
    site.world.set_hosts(FakeHost(name="host-1", memory_bytes=memory_bytes))


def test_a_machine_that_comes_back_needs_no_room_beside_its_own(site: Site) -> None:
    shrunk(site, sum(r.spec.memory_bytes for r in site.state().resources if isinstance(r.spec, NodeSpec)))
    site.world.stop(site.node("firewall/main-0").key)
    site.done(healing.heal(site.rt, "demo", vnfs=["web"]))
    site.world.destroy(site.node("firewall/main-0").key)
    site.done(healing.heal(site.rt, "demo"))


@pytest.mark.parametrize("harm", ["stop", "destroy"])
def test_a_machine_that_its_host_could_not_hold_any_more_is_told_of_with_the_plan(site: Site, harm: str) -> None:
    node = site.node("firewall/main-0")
    getattr(site.world, harm)(node.key)
    shrunk(site, node.memory_bytes - (1 << 20))
    with pytest.raises(PlanRefused) as refused:
        healing.heal(site.rt, "demo")
    wanted = node.memory_bytes >> 20
    assert refused.value.message == "firewall/main-0 of demo cannot come back on its host"
    short = f"lab/host-1: memory: {wanted} MiB wanted, {wanted - 1} MiB free"
    assert f"{short}; nearest: lab/host-1, with 1 MiB more memory free" in refused.value.findings[0].message
    assert refused.value.hint.endswith("or move it to another host first: manor vnf move demo/firewall VIM/HOST")
    assert ns.propose(site.rt, "demo", OperationKind.REPAIR).plan.steps, "to look is not to heal"


def test_one_machine_is_named_by_its_vnf_and_its_own_name(site: Site) -> None:
    plan = healing.heal(site.rt, "demo", vnfcs=["firewall/main-0"]).plan
    assert {step.key.rpartition("vnf/")[2] for step in plan.steps if step.change == "replace"} == {"firewall/main-0"}
    assert any(step.id.startswith("verify chain") for step in plan.steps), "the chain is proven again"


@pytest.mark.parametrize("names", [{"vnfs": ["nobody"]}, {"vnfcs": ["web/main-7"]}])
def test_who_is_not_there_cannot_be_healed(site: Site, names: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match=r"has no (VNF|machine)"):
        healing.heal(site.rt, "demo", **names)


def test_a_heal_that_fails_can_be_rolled_back_to_what_was(site: Site) -> None:
    site.world.inject(Fault(verb="ensure", kind="node", key="*/web/*", action=Action.FAIL, error="Permanent", times=1))
    operation = site.run(healing.heal(site.rt, "demo", vnfs=["web"]), OnFailure.ROLLBACK)
    assert operation.state is OperationState.ROLLED_BACK
    assert site.drift() == ()


def test_a_service_that_does_not_run_cannot_be_healed(site: Site) -> None:
    site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    with pytest.raises(UsageError, match="NOT_INSTANTIATED"):
        healing.heal(site.rt, "demo")


def test_a_package_whose_file_is_gone_is_named_with_the_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE))
    monkeypatch.setattr("manor.catalog.contents.artifact_path", lambda home, sha256: home / sha256)
    with pytest.raises(DescriptorError, match=r"package client-vnfd: its file vmlinuz is not here"):
        ns.propose(site.rt, "demo", OperationKind.INSTANTIATE)
