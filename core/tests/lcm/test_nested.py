"""A service made of services: nested NSDs on-boarded apart, deployed, changed and ended as one."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_world import NSD, Site, opened

from manor.api import ChainSpec, OperationKind, ResourceKind, Subnet
from manor.errors import PlanRefused, UsageError
from manor.fakes import Action, Fault
from manor.lcm import ns
from manor.lcm.scaling import scale_ns
from manor.lcm.updates import update_ns
from manor.lcm.updating import change_package
from manor.lcm.wishes import standing, wishes_from_json
from manor.model.instance import OperationState, PackageKind
from manor.model.nsd import (
    Dependency,
    Nsd,
    NsDf,
    NsProfile,
    NsVirtualLinkDesc,
    Sapd,
    VirtualLinkConnectivity,
    VnfProfile,
)
from manor.nfvo.compose import composed
from manor.store import instances, packages

INNER = dataclasses.replace(NSD, id="secured-web", sapds=(Sapd(id="front", virtual_link="lan"),))
OUTER = Nsd(
    id="shop",
    virtual_links=(NsVirtualLinkDesc(id="city", subnets=(Subnet(cidr="10.50.0.0/24"),)),),
    flavours=(
        NsDf(
            id="default",
            vnf_profiles=(
                VnfProfile(
                    id="buyer",
                    vnfd_id="client-vnfd",
                    connectivity=(VirtualLinkConnectivity(virtual_link="city", cpds=("eth",)),),
                ),
            ),
            ns_profiles=(
                NsProfile(
                    id="east",
                    nsd_id="secured-web",
                    connectivity=(VirtualLinkConnectivity(virtual_link="city", cpds=("front",)),),
                    parameters={"side": "east"},
                ),
                NsProfile(id="west", nsd_id="secured-web"),
            ),
            dependencies=(Dependency(primary="east", secondary="buyer"),),
        ),
    ),
)


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch, nsd=OUTER, nsd_name="shop", instantiate=False) as site:
        site.onboard(INNER)
        yield site


@pytest.mark.slow
def test_deployed_in_order_joined_at_its_saps_scaled_upgraded_and_ended(site: Site) -> None:
    proposal = ns.propose(site.rt, "demo", OperationKind.INSTANTIATE)
    order = [step.id.partition("/")[2] for step in proposal.plan.steps]
    assert order.index("vnf/east.web") < order.index("vnf/buyer/main-0"), "the buyer starts after all of east works"
    site.done(proposal)
    inside = {"client", "firewall", "monitor", "web"}
    vnfs = {name.split("/")[1] for name in site.nodes()}
    assert vnfs == {"buyer", *(f"east.{v}" for v in inside), *(f"west.{v}" for v in inside)}
    assert set(site.seen(ResourceKind.SEGMENT)) == {"vl/city", "vl/west.lan"}
    east, buyer = site.node("east.web/main-0").ports[0], site.node("buyer/main-0").ports[0]
    assert east.network == buyer.network
    assert east.addresses[0].startswith("10.50.0.")
    chains = [r.spec for r in site.state().resources if isinstance(r.spec, ChainSpec)]
    assert {chain.name: chain.segment.partition("/")[2] for chain in chains} == {
        "east.to-web": "vl/city",
        "west.to-web": "vl/west.lan",
    }
    site.done(scale_ns(site.rt, "demo", aspect="west.security", to_level=1))
    assert "vnf/west.firewall-2/main-0" in site.nodes()
    from test_update import newer

    site.onboard(newer("firewall"))
    site.done(change_package(site.rt, "demo", "east.firewall", "firewall-vnfd-2"))
    assert site.vnf("east.firewall").vnfd_id == "firewall-vnfd-2"
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED
    assert site.nodes() == set()


def _nesting(**changes: object) -> Nsd:
    (df,) = OUTER.flavours
    part = dataclasses.replace(df.ns_profiles[0], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(OUTER, flavours=(dataclasses.replace(df, ns_profiles=(part,)),))


def test_what_cannot_be_nested_is_refused_in_words() -> None:
    known = {"secured-web": INNER, "shop": OUTER}
    with pytest.raises(PlanRefused, match="east needs NSD secured-web, which is not on-boarded"):
        composed(OUTER, {})
    with pytest.raises(PlanRefused, match="NSD shop nests itself: shop in shop"):
        composed(_nesting(nsd_id="shop"), {"shop": _nesting(nsd_id="shop")})
    wrong = (VirtualLinkConnectivity(virtual_link="city", cpds=("back",)),)
    with pytest.raises(PlanRefused, match="NSD secured-web has no SAP back"):
        composed(_nesting(connectivity=wrong), known)
    with pytest.raises(PlanRefused, match="has no flavour 'gold'"):
        composed(_nesting(flavour_id="gold"), known)


def test_what_multiplies_beyond_reason_is_refused_before_it_is_laid_out() -> None:
    links = tuple(NsVirtualLinkDesc(id=f"l{n}") for n in range(10))
    nsds = {"n0": Nsd(id="n0", virtual_links=links, flavours=(NsDf(id="default"),))}
    for depth in range(1, 7):
        parts = tuple(NsProfile(id=f"p{n}", nsd_id=f"n{depth - 1}") for n in range(20))
        nsds[f"n{depth}"] = Nsd(id=f"n{depth}", flavours=(NsDf(id="default", ns_profiles=parts),))
    assert len(composed(nsds["n2"], nsds).virtual_links) == 20 * 20 * 10
    with pytest.raises(PlanRefused, match=r"NSD n6 comes to 7[0-9]{8} parts with all that it nests"):
        composed(nsds["n6"], nsds)


def test_three_deep_and_a_sap_that_is_a_vnfs_own_point() -> None:
    middle = dataclasses.replace(_nesting(connectivity=()), id="middle", sapds=(Sapd(id="door", virtual_link="city"),))
    (df,) = OUTER.flavours
    top = dataclasses.replace(
        OUTER,
        id="top",
        flavours=(
            dataclasses.replace(
                df,
                ns_profiles=(
                    NsProfile(
                        id="m",
                        nsd_id="middle",
                        connectivity=(VirtualLinkConnectivity(virtual_link="city", cpds=("door",)),),
                    ),
                ),
                dependencies=(),
            ),
        ),
    )
    flat = composed(top, {"middle": middle, "secured-web": INNER})
    (laid,) = flat.flavours
    links = {p.id: {c.virtual_link for c in p.connectivity} for p in laid.vnf_profiles}
    assert links["m.buyer"] == {"city"}, "the middle's link is the top's"
    assert links["m.east.web"] == {"m.east.lan"}
    assert [graph.nfpds[0].id for graph in flat.vnffgds] == ["m.east.to-web"]


def test_what_is_nested_is_in_use_where_its_parent_is(site: Site) -> None:
    with site.rt.store.read() as tx:
        inner, outer = (packages.get(tx, name, kind=PackageKind.NS) for name in ("secured-web", "shop"))
        assert packages.used_by(tx, inner) == packages.used_by(tx, outer) == ("demo",)
    with site.rt.store.begin() as tx:
        instances.remove(tx, instances.get(tx, "demo").id)
    with site.rt.store.read() as tx:
        assert packages.used_by(tx, inner) == packages.used_by(tx, outer) == ()


def users(site: Site, nsd: str) -> tuple[str, ...]:
    with site.rt.store.read() as tx:
        return packages.used_by(tx, packages.get(tx, nsd, kind=PackageKind.NS))


def _update(site: Site, update_type: str, **data: Any) -> None:
    operation = site.done(update_ns(site.rt, "demo", update_type, data))
    assert operation.params["updateType"] == update_type


@pytest.mark.slow
def test_one_more_is_nested_grown_and_removed_with_all_that_was_said_of_it(site: Site) -> None:
    site.onboard(dataclasses.replace(INNER, id="spare"))
    site.done(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE))
    before = site.state()
    _update(site, "CREATE_NS_VIRTUAL_LINK", virtualLinkId="lane")
    north = {"nsProfileId": "north", "nsdId": "spare", "extVirtualLinks": {"front": "lane"}}
    _update(site, "ADD_NESTED_NS", **north, additionalParams={"side": "north"})
    inside = {f"north.{name}" for name in ("client", "firewall", "monitor", "web")}
    assert inside < {name.split("/")[1] for name in site.nodes()}
    assert site.node("north.web/main-0").ports[0].network.partition("/")[2].startswith("vl/lane")
    assert users(site, "spare") == ("demo",)

    site.done(scale_ns(site.rt, "demo", aspect="north.security", to_level=1))
    _update(site, "REMOVE_VNFFG", removeVnffgId="north.graph")
    assert "chain/north.to-web" not in site.seen(ResourceKind.CHAIN)
    with pytest.raises(UsageError, match="has a north already"):
        update_ns(site.rt, "demo", "ADD_NESTED_NS", north)
    with pytest.raises(PlanRefused, match=r"lane is used by SAP north\.front, north\.client's eth"):
        update_ns(site.rt, "demo", "DELETE_NS_VIRTUAL_LINK", {"virtualLinkId": "lane"})

    _update(site, "REMOVE_NESTED_NS", removeNestedNsId="north", terminationType="FORCEFUL")
    _update(site, "DELETE_NS_VIRTUAL_LINK", virtualLinkId="lane")
    assert site.state().resources == before.resources
    assert standing(site.rt, "demo").wishes == wishes_from_json(before.wishes)
    assert users(site, "spare") == ()


@pytest.mark.slow
def test_one_of_the_nsds_own_goes_comes_back_and_nothing_waits_for_it_meanwhile(site: Site) -> None:
    site.done(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE))
    before = site.state()
    _update(site, "REMOVE_NESTED_NS", removeNestedNsId="east")
    assert {name.split("/")[1].split(".")[0] for name in site.nodes()} == {"buyer", "west"}
    site.done(scale_ns(site.rt, "demo", aspect="west.security", to_level=1))
    site.done(scale_ns(site.rt, "demo", aspect="west.security", to_level=0))
    with pytest.raises(UsageError, match="demo has no nested service east"):
        update_ns(site.rt, "demo", "REMOVE_NESTED_NS", {"removeNestedNsId": "east"})
    links = {"extVirtualLinks": {"front": "city"}, "additionalParams": {"side": "east"}}
    _update(site, "ADD_NESTED_NS", nsProfileId="east", nsdId="secured-web", **links)
    assert {r.spec.key for r in site.state().resources} == {r.spec.key for r in before.resources}
    (waits,) = [r.depends_on for r in site.state().resources if r.spec.key.endswith("vnf/buyer/main-0")]
    assert any(key.endswith("/vnf/east.web") for key in waits), "the buyer starts after it again"


@pytest.mark.slow
def test_one_that_cannot_be_nested_is_refused_and_one_that_fails_leaves_nothing(site: Site) -> None:
    site.done(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE))
    before = site.nodes()
    for data, said in (
        ({"nsProfileId": "a.b", "nsdId": "secured-web"}, "cannot be called 'a.b'"),
        ({"nsProfileId": "n", "nsdId": "nothing"}, "nothing"),
        ({"nsProfileId": "n", "nsdId": "secured-web", "extVirtualLinks": {"front": "wan"}}, "no virtual link wan"),
    ):
        with pytest.raises(UsageError, match=said):
            update_ns(site.rt, "demo", "ADD_NESTED_NS", data)
    for data, said in (
        ({"nsProfileId": "n", "nsdId": "shop"}, "NSD shop nests itself: shop in shop"),
        ({"nsProfileId": "n", "nsdId": "secured-web", "extVirtualLinks": {"back": "city"}}, "has no SAP back"),
        ({"nsProfileId": "n", "nsdId": "secured-web", "nsFlavourId": "gold"}, "has no flavour 'gold'"),
    ):
        with pytest.raises(PlanRefused, match=said):
            update_ns(site.rt, "demo", "ADD_NESTED_NS", data)
    site.world.inject(Fault(verb="ensure", kind="node", key="*/north.web/*", action=Action.FAIL, error="Permanent"))
    north = {"nsProfileId": "north", "nsdId": "secured-web"}
    assert site.run(update_ns(site.rt, "demo", "ADD_NESTED_NS", north)).state is OperationState.ROLLED_BACK
    assert (site.nodes(), site.drift(), standing(site.rt, "demo").wishes.amendment) == (before, (), {})
