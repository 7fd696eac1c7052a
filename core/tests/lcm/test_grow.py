"""UPDATE of what a service consists of: VNFs, links, SAPs and paths beside the NSD's, another version of the NSD."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import secure_web
from service_world import NSD, Site, opened

from manor.api import OperationKind, ResourceKind
from manor.errors import PlanRefused, UsageError
from manor.fakes import Action, FakeHost, Fault
from manor.lcm import ns, work
from manor.lcm.scaling import scale_ns
from manor.lcm.updates import UpdateType, update_ns
from manor.lcm.wishes import standing
from manor.model.instance import OperationState, PackageKind
from manor.model.nsd import Nsd
from manor.store import instances, packages


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def update(site: Site, update_type: UpdateType, **data: Any) -> None:
    proposal = update_ns(site.rt, "demo", update_type, data)
    operation = site.done(proposal)
    assert operation.params["updateType"] == update_type
    assert update_type is UpdateType.CHANGE_VNFPKG or site.drift() == ()


def vnfs(site: Site) -> set[str]:
    return {name.split("/")[1] for name in site.nodes()}


def test_one_vnf_more_and_then_that_very_one_less(site: Site) -> None:
    update(site, UpdateType.INSTANTIATE_VNF, vnfProfileId="firewall")
    assert vnfs(site) == {"client", "firewall", "firewall-2", "monitor", "web"}
    kept = site.seen(ResourceKind.NODE)["vnf/firewall-2/main-0"].native_id
    update(site, UpdateType.REMOVE_VNF, removeVnfInstanceId="firewall")
    assert vnfs(site) == {"client", "firewall-2", "monitor", "web"}
    assert site.seen(ResourceKind.NODE)["vnf/firewall-2/main-0"].native_id == kept, "the other one goes on"
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2"}))
    assert vnfs(site) == {"client", "firewall-2", "firewall-3", "monitor", "web"}
    with pytest.raises(PlanRefused, match="there would be 0 of web: the NSD allows 1 to 1"):
        update(site, UpdateType.REMOVE_VNF, removeVnfInstanceId="web")
    with pytest.raises(PlanRefused, match="there would be 2 of client: the NSD allows 1"):
        update(site, UpdateType.INSTANTIATE_VNF, vnfProfileId="client")


@pytest.mark.slow
def test_a_vnf_that_the_nsd_does_not_know_comes_works_and_goes(site: Site) -> None:
    before = site.state()
    cache = {"vnfProfileId": "cache", "vnfdId": "client-vnfd", "extVirtualLinks": {"eth": "lan"}}
    update(site, UpdateType.INSTANTIATE_VNF, **cache)
    assert "cache" in vnfs(site)
    assert site.node("cache/main-0").ports[0].addresses
    with pytest.raises(UsageError, match="has a VNF profile cache already"):
        update(site, UpdateType.INSTANTIATE_VNF, **cache)
    update(site, UpdateType.INSTANTIATE_VNF, vnfProfileId="cache")
    assert {"cache", "cache-2"} < vnfs(site)
    update(site, UpdateType.REMOVE_VNF, removeVnfInstanceId="cache")
    assert "cache" not in vnfs(site)
    update(site, UpdateType.REMOVE_VNF, removeVnfInstanceId="cache-2", terminationType="FORCEFUL")
    assert site.state().resources == before.resources
    assert standing(site.rt, "demo").wishes.amendment == {}


@pytest.mark.slow
def test_each_vnf_comes_as_it_was_asked_for(site: Site) -> None:
    def counts() -> dict[str, int]:
        return {name: sum(key.startswith(f"vnf/{name}/") for key in site.nodes()) for name in vnfs(site)}

    shop = {"vnfProfileId": "shop", "vnfdId": "web-vnfd", "extVirtualLinks": {"eth": "lan"}}
    update(site, UpdateType.INSTANTIATE_VNF, **shop, targetScaleLevelInfo=[{"aspectId": "workers", "scaleLevel": 1}])
    assert counts()["shop"] == 2
    assert site.vnf("shop").scale_levels == {"workers": 1}
    update(site, UpdateType.CREATE_NS_VIRTUAL_LINK, virtualLinkId="dmz", cidr="10.77.0.0/24")
    more = {"instantiationLevelId": "large", "vnfFlavourId": "default", "extVirtualLinks": {"eth": "dmz"}}
    update(site, UpdateType.INSTANTIATE_VNF, vnfProfileId="shop", **more)
    assert counts() == {"client": 1, "firewall": 1, "monitor": 1, "web": 1, "shop": 2, "shop-2": 3}
    assert site.node("shop-2/main-0").ports[0].addresses[0].startswith("10.77.0.")
    update(site, UpdateType.REMOVE_VNF, removeVnfInstanceId="shop-2")
    update(site, UpdateType.INSTANTIATE_VNF, vnfProfileId="shop", targetScaleLevelInfo={"workers": 2})
    assert counts()["shop-3"] == 3, "it is not the one that was removed, nor as that was"
    assert site.node("shop-3/main-0").ports[0].addresses[0].startswith("10.10.0.")


def test_a_vnf_cannot_come_as_what_there_is_not(site: Site) -> None:
    shop = {"vnfProfileId": "shop", "vnfdId": "web-vnfd", "extVirtualLinks": {"eth": "lan"}}
    huge = [{"aspectId": "workers", "scaleLevel": 3}]
    cases: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
        ({"vnfFlavourId": "gold"}, PlanRefused, "has no flavour 'gold'"),
        ({"instantiationLevelId": "huge"}, UsageError, "has no instantiation level huge"),
        ({"extVirtualLinks": {"in": "moon"}}, UsageError, "has no virtual link moon"),
        ({"extVirtualLinks": {"usb": "lan"}}, UsageError, "firewall-2 has no external CP usb"),
        ({"targetScaleLevelInfo": {"speed": 1}}, UsageError, "has no scaling aspect speed"),
        ({"targetScaleLevelInfo": [{"aspectId": "speed"}]}, UsageError, "targetScaleLevelInfo is"),
        ({"targetScaleLevelInfo": {"a": 1}, "instantiationLevelId": "b"}, UsageError, "one of instantiationLevelId"),
        ({**shop, "targetScaleLevelInfo": huge}, PlanRefused, "shop would have 4 of VDU main"),
    )
    for data, error, said in cases:
        with pytest.raises(error, match=said):
            update_ns(site.rt, "demo", "INSTANTIATE_VNF", {"vnfProfileId": "firewall", **data})


@pytest.mark.slow
def test_a_link_is_made_used_and_deleted(site: Site) -> None:
    update(site, UpdateType.CREATE_NS_VIRTUAL_LINK, virtualLinkId="dmz", cidr="10.77.0.0/24", gateway="10.77.0.1")
    update(site, UpdateType.CHANGE_EXTERNAL_VNF_CONNECTIVITY, vnfInstanceId="monitor", extVirtualLinks={"in": "dmz"})
    assert "vl/dmz" in site.seen(ResourceKind.SEGMENT)
    with pytest.raises(PlanRefused, match="virtual link dmz is used by monitor's in"):
        update(site, UpdateType.DELETE_NS_VIRTUAL_LINK, virtualLinkId="dmz")
    update(site, UpdateType.CHANGE_EXTERNAL_VNF_CONNECTIVITY, vnfInstanceId="monitor", extVirtualLinks={"in": "lan"})
    update(site, UpdateType.DELETE_NS_VIRTUAL_LINK, virtualLinkId="dmz")
    with pytest.raises(PlanRefused, match="lan is used by client's eth, firewall's in, firewall's out and others"):
        update(site, UpdateType.DELETE_NS_VIRTUAL_LINK, virtualLinkId="lan")
    with pytest.raises(UsageError, match="no virtual link dmz"):
        update(site, UpdateType.DELETE_NS_VIRTUAL_LINK, virtualLinkId="dmz")


PATH = {
    "id": "g/p",
    "positions": [
        {"id": name, "elements": [{"id": name, "cps": [{"constituent": vnf, "cpd": cpd} for cpd in cpds]}]}
        for name, vnf, cpds in (("a", "client", ["eth"]), ("b", "firewall", ["in", "out"]), ("c", "web", ["eth"]))
    ],
}


def test_a_path_of_nonsense_is_refused_by_its_name(site: Site) -> None:
    for rule, precedence, said in (
        ({"source_ip_address_prefix": "banana"}, 1, "'banana' is no IP prefix"),
        ({"ether_source_address": "zz"}, 1, "'zz' is no MAC address"),
        ({"ether_type": "ipv9"}, 1, "'ipv9' is neither ipv4 nor ipv6"),
        ({"protocol": "t c p"}, 1, "'t c p' is no protocol"),
        ({"vlan_tag": [99999]}, 1, "a vlan_tag is not from 0 to 4094"),
        ({"extended_criteria": [[0, 9, "zz"]]}, 1, "is no extended criterion"),
        ({"extended_criteria": [[0, 10**9, "1"]]}, 1, "of 1000000000 bits is longer than 4096"),
        ({"dscp": 999}, 1, "there is no DSCP 999"),
        ({"source_port_range": {"lower": 70000, "upper": 90000}}, 1, "there is no port from 70000 to 90000"),
        ({"source_port_range": {"lower": 80, "upper": 20}}, 1, "there is no port from 80 to 20"),
        ({"protocol": "tcp"}, 1000, "precedence: 1000 is not from 0 to 999"),
    ):
        graph = {"id": "g", "nfpds": [{**PATH, "precedence": precedence, "rules": [rule]}]}
        with pytest.raises(UsageError, match=f"^forwarding graph g: path g/p: .*{said}"):
            update_ns(site.rt, "demo", "ADD_VNFFG", {"vnffgd": graph})


def test_a_link_of_nonsense_is_refused_before_anything_is_on_it(site: Site) -> None:
    for data, said in (
        ({"cidr": "banana"}, "virtual link dmz: cidr: 'banana' is no address range"),
        ({"cidr": "10.0.0.0/24", "gateway": "x"}, "gateway: 'x' is no address"),
        ({"mtu": 99999999}, "mtu: 99999999 is not from 68 to 65535"),
    ):
        with pytest.raises(UsageError, match=said):
            update_ns(site.rt, "demo", "CREATE_NS_VIRTUAL_LINK", {"virtualLinkId": "dmz", **data})


def test_access_points_come_and_go(site: Site) -> None:
    update(site, UpdateType.ADD_SAP, sapdId="wan", virtualLinkId="lan")
    assert standing(site.rt, "demo").wishes.amendment["sapds"][0]["virtual_link"] == "lan"
    with pytest.raises(UsageError, match="there is no virtual link nowhere"):
        update(site, UpdateType.ADD_SAP, sapdId="two", virtualLinkId="nowhere")
    port = {"host": "host-1", "device": "eth7"}
    with pytest.raises(PlanRefused, match="the switch of host-1 has no port eth7"):
        update(site, UpdateType.ADD_SAP, sapdId="two", virtualLinkId="lan", port=port)
    site.world.set_hosts(FakeHost(name="host-1", outside=("eth7",)))
    update(site, UpdateType.ADD_SAP, sapdId="two", virtualLinkId="lan", port=port)
    assert "eth7" in _on_the_switch(site)
    update(site, UpdateType.REMOVE_SAP, removeSapId="two")
    assert "eth7" not in _on_the_switch(site)
    update(site, UpdateType.REMOVE_SAP, removeSapId="wan")
    assert standing(site.rt, "demo").wishes.amendment == {}
    with pytest.raises(UsageError, match="has no SAP wan"):
        update(site, UpdateType.REMOVE_SAP, removeSapId="wan")


def _on_the_switch(site: Site) -> set[str]:
    """Devices that something comes in by."""
    programs = [native.program for native in site.world.natives() if native.program]
    return {str(dict(rule.match).get("in_port")) for program in programs for rule in program.rules}


def _graph(*hops: str) -> dict[str, Any]:
    ends = {"client": ["eth"], "web": ["eth"]}
    positions = [
        {
            "id": name,
            "elements": [
                {"id": name, "cps": [{"constituent": name, "cpd": cp} for cp in ends.get(name, ["in", "out"])]}
            ],
        }
        for name in hops
    ]
    rule = {"protocol": "udp", "destination_port_range": {"lower": 53, "upper": 53}}
    return {"id": "dns", "nfpds": [{"id": "names", "positions": positions, "rules": [rule]}]}


@pytest.mark.slow
def test_a_graph_is_added_changed_and_removed(site: Site) -> None:
    update(site, UpdateType.ADD_VNFFG, vnffgd=_graph("client", "firewall", "web"))
    assert set(site.seen(ResourceKind.CHAIN)) == {"chain/to-web", "chain/names"}
    with pytest.raises(UsageError, match="has a forwarding graph dns already"):
        update(site, UpdateType.ADD_VNFFG, vnffgd=_graph("client", "firewall", "monitor", "web"))
    update(site, UpdateType.UPDATE_VNFFG, vnffgd=_graph("client", "firewall", "monitor", "web"))
    chain = next(r.spec for r in site.state().resources if r.spec.key.endswith("chain/names"))
    assert [position.name for position in chain.positions] == ["firewall", "monitor"]  # type: ignore[union-attr]
    update(site, UpdateType.REMOVE_VNFFG, nfpId="to-web")
    update(site, UpdateType.REMOVE_VNFFG, removeVnffgId="graph")
    assert set(site.seen(ResourceKind.CHAIN)) == {"chain/names"}
    update(site, UpdateType.REMOVE_VNFFG, removeVnffgId="dns")
    assert site.seen(ResourceKind.CHAIN) == {}
    with pytest.raises(UsageError, match="no forwarding graph graph"):
        update(site, UpdateType.REMOVE_VNFFG, removeVnffgId="graph")
    with pytest.raises(UsageError, match="no forwarding graph dns"):
        update(site, UpdateType.UPDATE_VNFFG, vnffgd=_graph("client", "firewall", "web"))


def _second() -> Nsd:
    """The NSD's next version: without the monitor, with the firewall twice, and of the same name."""
    (df,) = NSD.flavours
    profiles = tuple(p for p in df.vnf_profiles if p.id != "monitor")
    df = dataclasses.replace(df, vnf_profiles=profiles, instantiation_levels=(), default_instantiation_level="")
    (graph,) = NSD.vnffgds
    (nfp,) = graph.nfpds
    positions = tuple(p for p in nfp.positions if p.id != "monitor")
    graph = dataclasses.replace(graph, nfpds=(dataclasses.replace(nfp, positions=positions),))
    return dataclasses.replace(
        NSD, id="secure-web-2", invariant_id="secure-web", version="2", flavours=(df,), vnffgds=(graph,)
    )


@pytest.mark.slow
def test_another_version_of_the_nsd_and_what_operators_did_stays(site: Site) -> None:
    first = dataclasses.replace(NSD, id="secure-web-1b", invariant_id="secure-web", name="")
    for nsd in (_second(), first):
        site.onboard(nsd)
    update(site, UpdateType.CREATE_NS_VIRTUAL_LINK, virtualLinkId="dmz")
    update(site, UpdateType.INSTANTIATE_VNF, vnfProfileId="firewall")
    update(site, UpdateType.ASSOC_NEW_NSD_VERSION, newNsdId="secure-web-2")
    assert vnfs(site) == {"client", "firewall", "firewall-2", "web"}
    with site.rt.store.read() as tx:
        assert instances.get(tx, "demo").nsd_id == "secure-web-2"
    assert standing(site.rt, "demo").wishes.amendment["virtual_links"][0]["id"] == "dmz"
    site.world.inject(Fault(verb="ensure", kind="node", key="*/monitor/*", action=Action.FAIL, error="Permanent"))
    operation = site.run(update_ns(site.rt, "demo", UpdateType.ASSOC_NEW_NSD_VERSION, {"newNsdId": "secure-web-1b"}))
    assert operation.state is OperationState.ROLLED_BACK
    with site.rt.store.read() as tx:
        assert instances.get(tx, "demo").nsd_id == "secure-web-2"
    update(site, UpdateType.ASSOC_NEW_NSD_VERSION, newNsdId="secure-web-1b")
    assert "monitor" in vnfs(site)
    site.onboard(dataclasses.replace(secure_web.NSD, id="another", invariant_id="another"))
    with pytest.raises(UsageError, match="is no version of"):
        update(site, UpdateType.ASSOC_NEW_NSD_VERSION, newNsdId="another")
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED


def test_the_nsd_that_a_service_is_about_to_be_of_is_in_use(site: Site) -> None:
    first = dataclasses.replace(NSD, id="secure-web-1b", invariant_id="secure-web", name="")
    for nsd in (_second(), first):
        site.onboard(nsd)
    with site.rt.store.read() as tx:
        new = packages.get(tx, "secure-web-2", kind=PackageKind.NS)
        assert packages.used_by(tx, new) == ()
    begun = ns.start(site.rt, update_ns(site.rt, "demo", UpdateType.ASSOC_NEW_NSD_VERSION, {"newNsdId": new.id}))
    with site.rt.store.read() as tx:
        assert packages.used_by(tx, new) == ("demo",)
    assert work.follow(site.rt, begun).state is OperationState.COMPLETED


def test_data_that_cannot_be_meant_are_refused_in_words(site: Site) -> None:
    for update_type, data, message in (
        ("FLY", {}, "there is no updateType FLY"),
        ("REMOVE_VNF", {}, "REMOVE_VNF needs removeVnfInstanceId"),
        ("REMOVE_VNF", {"removeVnfInstanceId": "x"}, "has no VNF x"),
        ("REMOVE_VNF", {"removeVnfInstanceId": "web", "colour": "red"}, "REMOVE_VNF has no attribute colour"),
        ("CHANGE_EXTERNAL_VNF_CONNECTIVITY", {"vnfInstanceId": "web", "extVirtualLinks": 3}, "not of type dict"),
        ("OPERATE_VNF", {"vnfInstanceId": "web", "changeStateTo": "FAST"}, "changeStateTo is 'FAST'"),
        ("ADD_VNFFG", {"vnffgd": {"id": "x", "nfpds": [{"id": 3}]}}, "vnffgds.0.nfpds.0"),
    ):
        with pytest.raises(UsageError, match=message):
            update_ns(site.rt, "demo", update_type, data)


@pytest.mark.slow
def test_a_range_that_was_given_stays_whatever_links_come_and_go(site: Site) -> None:
    for link in ("one", "two"):
        update(site, UpdateType.CREATE_NS_VIRTUAL_LINK, virtualLinkId=link)
        cache = {"vnfProfileId": f"on-{link}", "vnfdId": "client-vnfd", "extVirtualLinks": {"eth": link}}
        update(site, UpdateType.INSTANTIATE_VNF, **cache)
    kept = site.node("on-two/main-0")
    update(site, UpdateType.REMOVE_VNF, removeVnfInstanceId="on-one")
    assert site.node("on-two/main-0") == kept
    update(site, UpdateType.INSTANTIATE_VNF, vnfProfileId="late", vnfdId="client-vnfd", extVirtualLinks={"eth": "one"})
    assert site.node("on-two/main-0") == kept
    assert site.node("late/main-0").ports[0].addresses != kept.ports[0].addresses


@pytest.mark.parametrize(
    ("update_type", "data", "said"),
    [
        (
            "CHANGE_VNFPKG",
            {"vnfInstanceId": "web", "vnfdId": "x", "fraction": "most"},
            "fraction is 'most', not a number",
        ),
        ("CHANGE_VNFPKG", {"vnfInstanceId": 5.5, "vnfdId": "x"}, "vnfInstanceId is 5.5"),
        ("REMOVE_VNF", {"removeVnfInstanceId": "web", "gracefulTerminationTimeout": "x"}, "not a number"),
        ("INSTANTIATE_VNF", {"vnfProfileId": "a", "extVirtualLinks": {"eth": ["lan"]}}, "extVirtualLinks.eth"),
        (
            "CHANGE_EXTERNAL_VNF_CONNECTIVITY",
            {"vnfInstanceId": "a", "extVirtualLinks": {"e": 5}},
            "extVirtualLinks.e",
        ),
    ],
)
def test_data_of_another_type_is_refused_in_words(update_type: str, data: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        update_ns(None, "demo", update_type, data)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-5, float("nan"), float("inf"), True, "soon"])
def test_a_time_that_is_none_is_refused(site: Site, seconds: object) -> None:
    data = {"removeVnfInstanceId": "web", "gracefulTerminationTimeout": seconds}
    with pytest.raises(UsageError, match=r"gracefulTerminationTimeout is .* not a number from 0 to 86400"):
        update_ns(site.rt, "demo", "REMOVE_VNF", data)
