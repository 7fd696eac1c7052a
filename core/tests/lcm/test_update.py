"""UPDATE: other parameters, chains off and on, and another package for a VNF, machine after machine."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import NSD, VNFDS, Site, opened

from manor.api import ChainSpec, NodeSpec, OperationKind, ResourceKind, VolumeSpec
from manor.errors import PlanRefused, UsageError
from manor.fakes import Action, Fault
from manor.lcm import endpoints
from manor.lcm.moving import move
from manor.lcm.ns import Proposal, create, propose
from manor.lcm.scaling import scale_ns, scale_vnf
from manor.lcm.updating import change_package, update
from manor.lcm.wishes import standing
from manor.model.instance import OperationState
from manor.model.vnfd import Vnfd
from manor.store import instances, packages


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def newer(name: str, **changes: object) -> Vnfd:
    """The next version of a VNF, with a greeting of its own in the boot data."""
    old = VNFDS[f"{name}-vnfd"]
    (df,) = old.flavours
    vdu = dataclasses.replace(df.vdus[0], boot_data="#!/bin/sh\necho hello from version 2\n")
    df = dataclasses.replace(df, vdus=(vdu,))
    return dataclasses.replace(old, **{"id": f"{name}-vnfd-2", "version": "2", "flavours": (df,), **changes})  # type: ignore[arg-type]


def test_another_flavour_of_the_service_has_no_say(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the same profile is of the newer package already."""
    (plain,) = NSD.flavours
    profiles = (dataclasses.replace(p, vnfd_id="web-vnfd-2") if p.id == "web" else p for p in plain.vnf_profiles)
    nsd = dataclasses.replace(
        NSD, flavours=(dataclasses.replace(plain, id="newer", vnf_profiles=tuple(profiles)), plain)
    )
    vnfds = {**VNFDS, "web-vnfd-2": newer("web")}
    with opened(fast_path, monkeypatch, nsd=nsd, vnfds=vnfds, instantiate=False) as site:
        create(site.rt, NSD.id, name="older", flavour_id=plain.id)
        site.run(propose(site.rt, "older", OperationKind.INSTANTIATE))
        assert {vnf.name: vnf.vnfd_id for vnf in standing(site.rt, "older").vnfs}["web"] == "web-vnfd"
        site.run(change_package(site.rt, "older", "web", "web-vnfd-2"))
        assert {vnf.name: vnf.vnfd_id for vnf in standing(site.rt, "older").vnfs}["web"] == "web-vnfd-2"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["macvtap", "direct"])
def test_a_machine_that_is_older_than_what_its_port_asks_for_is_left_as_it_is(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def asking(vnfd: Vnfd, **changes: object) -> Vnfd:
        (df,) = vnfd.flavours
        cpds = tuple(dataclasses.replace(cpd, vnic_type=kind) for cpd in df.vdus[0].int_cpds)
        df = dataclasses.replace(df, vdus=(dataclasses.replace(df.vdus[0], int_cpds=cpds),))
        return dataclasses.replace(vnfd, flavours=(df,), **changes)  # type: ignore[arg-type]

    def asked(proposal: Proposal) -> dict[str, set[str]]:
        """By machine, what its ports would be."""
        nodes = [r.spec for r in proposal.target.resources if isinstance(r.spec, NodeSpec)]  # type: ignore[union-attr]
        return {node.key.split("/vnf/")[1]: {port.vnic_type for port in node.ports} for node in nodes}

    vnfds = {**VNFDS, **{f"{name}-vnfd": asking(VNFDS[f"{name}-vnfd"]) for name in ("client", "monitor")}}
    with opened(fast_path, monkeypatch, vnfds=vnfds, hosts=("host-1", "host-2"), instantiate=False) as site:
        with monkeypatch.context() as last_release:  # it kept what a port asks for, and made them all alike
            last_release.setattr("manor.nfvo.demand._ORDINARY", frozenset({"", "macvtap", "direct"}))
            site.done(propose(site.rt, "demo", OperationKind.INSTANTIATE))
        site.onboard(asking(newer("client")))
        grown = scale_ns(site.rt, "demo", vnfs={"firewall": "2"})
        assert [s.key for s in grown.plan.steps if s.kind == "node" and s.change != "check"] == [
            f"{grown.ns.id}/vnf/firewall-2/main-0"
        ]
        (elsewhere,) = {"host-1", "host-2"} - {site.node("client/main-0").host}
        assert asked(move(site.rt, "demo", "client", f"lab/{elsewhere}"))["client/main-0.1"] == {""}
        if kind == "macvtap":  # nobody has it: what is new is refused
            with pytest.raises(PlanRefused, match="1 of 5 machines of demo find no host"):
                scale_ns(site.rt, "demo", vnfs={"monitor": "2"})
            return
        more = asked(scale_ns(site.rt, "demo", vnfs={"monitor": "2"}))
        assert (more["monitor/main-0"], more["monitor-2/main-0"]) == ({""}, {"direct"})
        assert asked(change_package(site.rt, "demo", "client", "client-vnfd-2"))["client/main-0"] == {"direct"}


def versions(site: Site, name: str) -> list[str]:
    """What the machines of a VNF say at boot, in order."""
    nodes = [r.spec for r in site.state().resources if isinstance(r.spec, NodeSpec) and f"/vnf/{name}/" in r.spec.key]
    running = site.seen(ResourceKind.NODE)
    assert all(node.key.partition("/")[2] in running for node in nodes)
    return ["2" if "version 2" in node.user_data else "1" for node in nodes]


def disks(site: Site, node: str) -> set[VolumeSpec]:
    """The disks that are there of a machine."""
    specs = (native.spec for native in site.world.natives())
    return {spec for spec in specs if isinstance(spec, VolumeSpec) and f"/vnf/{node}/" in spec.key}


def test_machines_are_replaced_one_after_the_other_each_proven_first(site: Site) -> None:
    site.onboard(newer("web"))
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    before = [site.node(f"web/main-{n}") for n in range(3)]
    proposal = change_package(site.rt, "demo", "web", "web-vnfd-2")
    order = [step.id.replace(f"{proposal.ns.id}/vnf/web/", "") for step in proposal.plan.steps]
    turns = [
        name for n in range(2) for name in (f"remove node main-{n}", f"ensure node main-{n}", f"verify vnf main-{n}")
    ]
    assert [name for name in order if name in turns] == turns
    assert order.index("verify vnf main-1") < order.index("remove node main-2")
    site.done(proposal)
    assert versions(site, "web") == ["2", "2", "2"]
    assert site.vnf("web").vnfd_id == "web-vnfd-2"
    after = [site.node(f"web/main-{n}") for n in range(3)]
    assert [node.ports for node in after] == [node.ports for node in before], "addresses, MACs and devices are kept"


def test_an_upgrade_that_is_not_healthy_comes_back_by_itself(site: Site) -> None:
    site.onboard(newer("web"))
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    site.world.inject(
        Fault(verb="ensure", kind="node", key="*/web/main-1", action=Action.FAIL, error="Permanent", times=1)
    )
    operation = site.run(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    assert operation.state is OperationState.ROLLED_BACK
    assert versions(site, "web") == ["1", "1"]
    assert (site.vnf("web").vnfd_id, site.drift()) == ("web-vnfd", ())


@pytest.mark.parametrize("gone", [("root",), ("root", "data")])
def test_an_upgrade_of_a_machine_whose_disk_had_vanished_comes_back_on_the_old_image(
    site: Site, gone: tuple[str, ...]
) -> None:
    site.onboard(newer("web"))
    before = disks(site, "web/main-0")
    with site.world.change() as world:
        for name in [name for name in world.natives if name[2].endswith(tuple(f"/disk/{disk}" for disk in gone))]:
            del world.natives[name]
    site.world.inject(Fault(verb="ensure", kind="node", key="*/web/main-0", action=Action.FAIL, error="Permanent"))
    assert site.run(change_package(site.rt, "demo", "web", "web-vnfd-2")).state is OperationState.ROLLED_BACK
    assert (disks(site, "web/main-0"), versions(site, "web"), site.drift()) == (before, ["1"], ())


@pytest.mark.slow
def test_where_the_first_is_not_healthy_the_others_are_never_touched(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.onboard(newer("web"))
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    untouched = site.seen(ResourceKind.NODE)["vnf/web/main-1"].native_id
    monkeypatch.setattr("manor.lcm.turns.PROOF_S", 1.0)
    site.world.inject(Fault(verb="guest_ping", key="*/web/main-0", action=Action.FAIL, times=0))
    operation = site.run(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    assert operation.state is OperationState.ROLLED_BACK
    assert "no answer from main-0" in operation.error
    site.world.heal()
    assert versions(site, "web") == ["1", "1"]
    assert site.seen(ResourceKind.NODE)["vnf/web/main-1"].native_id == untouched
    assert site.drift() == ()


@pytest.mark.slow
def test_one_of_two_is_tried_first_then_the_other_and_then_those_to_come(site: Site) -> None:
    site.onboard(newer("firewall"))
    proposal = change_package(site.rt, "demo", "firewall", "firewall-vnfd-2")
    assert "chain to-web: nothing passes firewall while firewall/main-0 is made anew" in proposal.plan.notes
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
    proposal = change_package(site.rt, "demo", "firewall-2", "firewall-vnfd-2")
    assert not [note for note in proposal.plan.notes if "chain" in note], "the other one takes its share meanwhile"
    site.done(proposal)
    assert [versions(site, name) for name in ("firewall", "firewall-2")] == [["1"], ["2"]]
    site.done(change_package(site.rt, "demo", "firewall", "firewall-vnfd-2"))
    assert standing(site.rt, "demo").wishes.profile_vnfds == {"firewall": "firewall-vnfd-2"}
    with site.rt.store.begin() as tx:
        packages.remove(tx, "pkg-firewall-vnfd")
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "3"}))
    assert versions(site, "firewall-3") == ["2"]


def test_there_and_back_again(site: Site) -> None:
    site.onboard(newer("web"))
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    site.done(change_package(site.rt, "demo", "web", "web-vnfd"))
    assert versions(site, "web") == ["1"]
    wishes = standing(site.rt, "demo").wishes
    assert (wishes.vnfds, wishes.profile_vnfds) == ({}, {})
    assert change_package(site.rt, "demo", "web", "web-vnfd").is_idle


def test_what_does_not_fit_is_refused(site: Site) -> None:
    site.onboard(newer("web", id="other-product", product_name="other"))
    site.onboard(newer("web", id="other-points", ext_cpds=()))
    with pytest.raises(UsageError, match="package other-product is other, and web is web"):
        change_package(site.rt, "demo", "web", "other-product")
    (df,) = newer("web").flavours
    deaf = dataclasses.replace(df, vdus=(dataclasses.replace(df.vdus[0], int_cpds=()),))
    site.onboard(newer("web", id="no-points", ext_cpds=(), flavours=(deaf,)))
    with pytest.raises(PlanRefused, match="has no connection point eth"):
        change_package(site.rt, "demo", "web", "no-points")
    with pytest.raises(UsageError, match="no VNF package or VNFD is called 'nothing'"):
        change_package(site.rt, "demo", "web", "nothing")


def test_a_chain_is_switched_off_and_on(site: Site) -> None:
    proposal = update(site.rt, "demo", chains_off=["to-web"])
    assert [step.verb for step in proposal.plan.steps] == ["remove"]
    site.done(proposal)
    assert site.seen(ResourceKind.CHAIN) == {}
    site.done(scale_ns(site.rt, "demo", vnfs={"monitor": "0"}))
    with pytest.raises(PlanRefused, match="needs monitor"):
        update(site.rt, "demo", chains_on=["to-web"])
    site.done(scale_ns(site.rt, "demo", vnfs={"monitor": "1"}))
    site.done(update(site.rt, "demo", chains_on=["to-web"]))
    assert any(isinstance(r.spec, ChainSpec) for r in site.state().resources)
    with pytest.raises(UsageError, match="no chain nowhere"):
        update(site.rt, "demo", chains_off=["nowhere"])


def test_parameters_change_what_boots_with_them_and_stay(site: Site) -> None:
    greeting = newer("web", id="web-greeting")
    (df,) = greeting.flavours
    vdu = dataclasses.replace(df.vdus[0], boot_data="echo {{ greeting | default('hello') }}\n")
    site.onboard(dataclasses.replace(greeting, flavours=(dataclasses.replace(df, vdus=(vdu,)),)))
    site.done(change_package(site.rt, "demo", "web", "web-greeting"))
    site.done(update(site.rt, "demo", parameters={"greeting": "good evening"}))
    assert site.node("web/main-0").user_data == "echo good evening\n"
    with site.rt.store.read() as tx:
        assert instances.get(tx, "demo").parameters == {"greeting": "good evening"}
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    assert site.node("web/main-1").user_data == "echo good evening\n"
    with pytest.raises(UsageError, match="what to change"):
        update(site.rt, "demo")


def test_one_file_that_two_packages_give_in_two_formats_is_two_images(site: Site) -> None:
    web = VNFDS["web-vnfd"]
    (image,) = web.images
    site.onboard(dataclasses.replace(web, id="web-raw", images=(dataclasses.replace(image, disk_format="raw"),)))
    with site.rt.store.begin() as tx:
        same = packages.get(tx, "pkg-web-vnfd").artifacts
        packages.save(tx, dataclasses.replace(packages.get(tx, "pkg-web-raw"), artifacts=same))
    site.done(change_package(site.rt, "demo", "web", "web-raw"))
    names = [key.partition("@")[0] for key in site.seen(ResourceKind.IMAGE) if key.startswith(same["root.qcow2"][:16])]
    assert sorted(names) == [same["root.qcow2"][:16], f"{same['root.qcow2'][:16]}.raw"]
    assert endpoints.orphans(site.rt) == ([], {})
