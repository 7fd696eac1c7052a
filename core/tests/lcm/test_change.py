"""CHANGE_VNF_DF, CHANGE_EXTERNAL_VNF_CONNECTIVITY and MODIFY_VNF_INFORMATION of one VNF of a running service."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import NSD, VNFDS, Site, opened

from manor.api import ResourceKind, Subnet
from manor.errors import PlanRefused, UsageError
from manor.fakes import Action, FakeHost, Fault
from manor.lcm.changing import change_ext_conn, change_flavour, modify_information
from manor.lcm.scaling import scale_vnf
from manor.lcm.wishes import standing
from manor.model.instance import OperationState
from manor.model.nsd import NsVirtualLinkDesc
from manor.model.vnfd import VnfInstantiationLevel


def _vnfds() -> dict[str, object]:
    """The web's VNFD with a flavour of bigger machines, and one more kind of them."""
    web = VNFDS["web-vnfd"]
    (df,) = web.flavours
    (vdu,) = df.vdus
    big = dataclasses.replace(
        vdu, compute=dataclasses.replace(vdu.compute, num_virtual_cpu=4), boot_data="echo {{ tone }}"
    )
    plus = dataclasses.replace(
        df,
        id="plus",
        vdus=(big, dataclasses.replace(vdu, id="cache", int_cpds=(), storages=())),
        instantiation_levels=(VnfInstantiationLevel(id="double", scale_levels={"workers": 1}),),
        default_instantiation_level="",
    )
    vast = dataclasses.replace(vdu, compute=dataclasses.replace(vdu.compute, virtual_mem_size_bytes=300 << 30))
    uefi = dataclasses.replace(vdu, firmware="uefi")
    others = (dataclasses.replace(df, id=name, vdus=(one,)) for name, one in (("vast", vast), ("uefi", uefi)))
    return {**VNFDS, "web-vnfd": dataclasses.replace(web, flavours=(df, plus, *others))}


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    links = (*NSD.virtual_links, NsVirtualLinkDesc(id="dmz", subnets=(Subnet(cidr="10.20.0.0/24"),)))
    nsd = dataclasses.replace(NSD, virtual_links=links)
    with opened(fast_path, monkeypatch, nsd=nsd, vnfds=_vnfds()) as site:  # type: ignore[arg-type]
        with site.rt.store.begin() as tx:
            from manor.store import instances

            instances.set_parameters(tx, instances.get(tx, "demo").id, {"tone": "calm"})
        yield site


@pytest.mark.slow
def test_another_flavour_and_back(site: Site) -> None:
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    ports = site.node("web/main-0").ports
    site.done(change_flavour(site.rt, "demo", "web", "plus"))
    assert {name for name in site.nodes() if "/web/" in name} == {"vnf/web/main-0", "vnf/web/cache-0"}
    assert (site.node("web/main-0").vcpus, site.node("web/main-0").ports) == (4, ports)
    assert (site.vnf("web").flavour_id, site.vnf("web").scale_levels) == ("plus", {"workers": 0})
    site.done(change_flavour(site.rt, "demo", "web", "plus", level="double"))
    assert site.vnf("web").vdu_counts == {"main": 2, "cache": 1}
    assert change_flavour(site.rt, "demo", "web", "plus").is_idle
    site.done(change_flavour(site.rt, "demo", "web", "default"))
    assert {name for name in site.nodes() if "/web/" in name} == {"vnf/web/main-0"}
    assert standing(site.rt, "demo").wishes.vnf_flavours == {}


def test_machines_that_outgrow_their_host_are_refused_with_the_plan(site: Site) -> None:
    with pytest.raises(PlanRefused, match="web/main-0 of demo would not fit where it is any more") as refused:
        change_flavour(site.rt, "demo", "web", "vast")
    (why,) = (finding.message for finding in refused.value.findings)
    assert why.startswith("web/main-0: lab/host-1: memory: ")
    assert "manor vnf move demo/web VIM/HOST" in refused.value.hint
    site.world.set_hosts(FakeHost(name="host-1", lacks={"uefi": "no firmware"}))
    with pytest.raises(PlanRefused, match=r"web/main-0 of demo needs what cannot be had where it is$") as refused:
        change_flavour(site.rt, "demo", "web", "uefi")
    assert "host host-1 lacks uefi (no firmware)" in refused.value.findings[0].message
    assert refused.value.hint.startswith("no host has it: ask for less in the package")
    site.world.set_hosts(FakeHost(name="host-1", lacks={"uefi": "no firmware"}), FakeHost(name="host-2"))
    with pytest.raises(PlanRefused) as refused:
        change_flavour(site.rt, "demo", "web", "uefi")
    assert refused.value.hint == "move it to another host first: manor vnf move demo/web VIM/HOST"
    assert change_flavour(site.rt, "demo", "web", "plus").plan.steps


def test_a_flavour_that_cannot_be_had_leaves_the_old_one(site: Site) -> None:
    with pytest.raises(UsageError, match="has no flavour huge"):
        change_flavour(site.rt, "demo", "web", "huge")
    with pytest.raises(UsageError, match="no instantiation level tiny"):
        change_flavour(site.rt, "demo", "web", "plus", level="tiny")
    site.world.inject(Fault(verb="ensure", kind="node", key="*/cache-0", action=Action.FAIL, error="Permanent"))
    assert site.run(change_flavour(site.rt, "demo", "web", "plus")).state is OperationState.ROLLED_BACK
    assert (site.node("web/main-0").vcpus, site.drift()) == (1, ())


@pytest.mark.slow
def test_a_connection_point_goes_to_another_link_and_back(site: Site) -> None:
    (before,) = site.node("client/main-0").ports
    proposal = change_ext_conn(site.rt, "demo", "monitor", {"in": "dmz"})
    site.done(proposal)
    assert proposal.wishes.update_type == "CHANGE_EXTERNAL_VNF_CONNECTIVITY"
    assert [port.network.partition("/")[2] for port in site.node("monitor/main-0").ports] == [
        "vl/dmz@lab/host-1",
        "vl/lan@lab/host-1",
    ]
    back = change_ext_conn(site.rt, "demo", "monitor", {"in": "lan"})
    order = [step.id.partition("/")[2] for step in back.plan.steps]
    assert [name for name in order if name in ("vl/dmz", "vl/lan")] == ["vl/dmz", "vl/lan"], "one lets go first"
    site.done(back)
    assert standing(site.rt, "demo").wishes.connections == {}
    assert site.node("client/main-0").ports == (before,)
    assert "vl/dmz" not in site.seen(ResourceKind.SEGMENT), "a link that nothing is on is no more"


def test_what_a_path_needs_stays_connected(site: Site) -> None:
    with pytest.raises(PlanRefused, match="starts and ends on different links"):
        change_ext_conn(site.rt, "demo", "web", {"eth": "dmz"})
    with pytest.raises(PlanRefused, match="web has no connected port at eth"):
        change_ext_conn(site.rt, "demo", "web", {"eth": ""})
    with pytest.raises(UsageError, match="no external CP usb"):
        change_ext_conn(site.rt, "demo", "web", {"usb": "dmz"})
    with pytest.raises(UsageError, match="no virtual link wan"):
        change_ext_conn(site.rt, "demo", "web", {"eth": "wan"})


def test_information_is_kept_and_properties_reach_what_boots(site: Site) -> None:
    site.done(change_flavour(site.rt, "demo", "web", "plus"))
    assert site.node("web/main-0").user_data == "echo calm"
    proposal = modify_information(site.rt, "demo", "web", name="front", metadata={"owner": "ops", "rack": 7})
    assert (proposal.plan.steps, proposal.is_idle) == ((), False)
    site.done(proposal)
    site.done(modify_information(site.rt, "demo", "web", metadata={"rack": None}, properties={"tone": "loud"}))
    assert site.node("web/main-0").user_data == "echo loud"
    assert site.vnf("web").information == {
        "vnfInstanceName": "front",
        "metadata": {"owner": "ops"},
        "vnfConfigurableProperties": {"tone": "loud"},
    }
    site.done(modify_information(site.rt, "demo", "web", name="", metadata={"owner": None}, properties={"tone": None}))
    assert (site.vnf("web").information, site.node("web/main-0").user_data) == ({}, "echo calm")
    with pytest.raises(UsageError, match="what to change"):
        modify_information(site.rt, "demo", "web")
