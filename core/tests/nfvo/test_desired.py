"""What a service's descriptors come to: machines, links, chains and the order they are made in."""

import dataclasses
import graphlib

import pytest
from secure_web import NSD, VNFDS, profile, request, vnfd

from manor.api.placement import Candidate
from manor.api.resources import (
    ChainSpec,
    ElementMode,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    ResourceKind,
    SegmentSpec,
    Subnet,
)
from manor.api.specs import spec_from_json, spec_hash, spec_to_json
from manor.api.vim import Host
from manor.errors import PlanRefused
from manor.model.desired import DesiredState
from manor.model.nsd import Dependency
from manor.nfvo.demand import demands, rules
from manor.nfvo.desired import desired
from manor.nfvo.placement import Balanced
from manor.nfvo.request import ServiceRequest, members
from manor.vnfm.generic import GenericVnfm

GIB = 1 << 30


def candidates(*names: str) -> list[Candidate]:
    support = dict.fromkeys(("node", "direct-boot", "guest-access", "volume"), "full")
    return [
        Candidate(
            vim="lab",
            host=Host(name=name, vcpus=4, memory_bytes=8 * GIB, memory_free_bytes=4 * GIB, storage_free_bytes=GIB),
            support=support,
        )
        for name in names
    ]


def state(wish: ServiceRequest, *hosts: str) -> DesiredState:
    vnfs = members(wish)
    placement = Balanced().place(demands(wish, vnfs), rules(wish, vnfs), candidates(*(hosts or ("kvm1",))), {})
    assert not placement.refused
    return desired(wish, vnfs, placement, lambda name, vnf, vnfc: GenericVnfm().boot_data(vnf, vnfc))


def of(result: DesiredState, kind: ResourceKind) -> list:
    return [resource.spec for resource in result.resources if resource.spec.kind is kind]


def test_four_machines_share_two_images_one_network_and_one_chain() -> None:
    result = state(request())
    assert len(of(result, ResourceKind.NODE)) == 4
    assert len(of(result, ResourceKind.IMAGE)) == 2
    assert len(of(result, ResourceKind.NETWORK)) == 1
    assert len(of(result, ResourceKind.SEGMENT)) == 1
    assert len(of(result, ResourceKind.CHAIN)) == 1


def test_the_chain_passes_firewall_then_monitor_between_client_and_web() -> None:
    (chain,) = of(state(request()), ResourceKind.CHAIN)
    assert isinstance(chain, ChainSpec)
    assert [position.name for position in chain.positions] == ["firewall", "monitor"]
    for position in chain.positions:
        (element,) = position.elements
        assert element.mode is ElementMode.TRANSPARENT
        assert element.ingress.device != element.egress.device
    assert chain.sources[0].addresses == ("10.10.0.10",)
    assert chain.destinations[0].addresses == ("10.10.0.11",)


def test_functions_that_speak_frames_only_get_no_address() -> None:
    (segment,) = of(state(request()), ResourceKind.SEGMENT)
    assert isinstance(segment, SegmentSpec)
    assert [bool(port.addresses) for port in segment.ports] == [True, False, False, False, False, True]
    assert [port.transparent for port in segment.ports] == [False, True, True, True, True, False]


def test_the_same_wish_gives_the_same_state() -> None:
    assert state(request()) == state(request())


def test_every_dependency_exists_and_comes_first() -> None:
    result = state(request())
    order = graphlib.TopologicalSorter({r.spec.key: set(r.depends_on) for r in result.resources})
    for check in result.checks:
        order.add(check.key, *check.depends_on)
    known = {r.spec.key for r in result.resources} | {c.key for c in result.checks}
    assert set(order.static_order()) == known


def test_keys_names_and_macs_do_not_collide_between_services() -> None:
    here = state(request())
    there = state(request(ns=dataclasses.replace(request().ns, id="99999999", name="other")))
    for field in ("device", "mac"):
        values = [
            getattr(port, field)
            for result in (here, there)
            for node in of(result, ResourceKind.NODE)
            for port in node.ports
        ]
        assert len(values) == len(set(values))
        assert all(len(port.device) <= 15 for node in of(here, ResourceKind.NODE) for port in node.ports)


def test_two_hosts_get_the_link_each_and_the_images_where_they_are_needed() -> None:
    result = state(request(), "kvm1", "kvm2")
    hosts = {node.host for node in of(result, ResourceKind.NODE)}
    assert hosts == {"kvm1", "kvm2"}
    networks = [spec for spec in of(result, ResourceKind.NETWORK) if isinstance(spec, NetworkSpec)]
    assert {spec.host for spec in networks} == hosts
    images = [spec for spec in of(result, ResourceKind.IMAGE) if isinstance(spec, ImageSpec)]
    assert len(images) == 4
    for node in of(result, ResourceKind.NODE):
        assert isinstance(node, NodeSpec)
        assert node.boot.kernel.endswith(f"@lab/{node.host}")
        assert all(port.network.endswith(f"@lab/{node.host}") for port in node.ports)


def test_addresses_given_before_stay_when_a_vnf_is_added() -> None:
    before = state(request())
    held = {port.key: port.addresses for node in of(before, ResourceKind.NODE) for port in node.ports}
    grown = state(request(vnf_counts={"client": 2}, held_addresses=held))
    after = {port.key: port.addresses for node in of(grown, ResourceKind.NODE) for port in node.ports}
    assert held.items() <= after.items()
    assert len(after) == len(held) + 1


def test_a_dependency_makes_the_second_wait_for_the_health_of_the_first() -> None:
    (df,) = NSD.flavours
    df = dataclasses.replace(df, dependencies=(Dependency(primary="web", secondary="client"),))
    result = state(request(nsd=dataclasses.replace(NSD, flavours=(df,))))
    client = next(r for r in result.resources if r.spec.key.endswith("client/main-0"))
    assert "0a1b2c3d/vnf/web" in client.depends_on


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vnfds": {}}, "not on-boarded"),
        ({"artifacts": {}}, "holds no file"),
        ({"sdn": ""}, "no SDN controller"),
        ({"vnfds": VNFDS | {"web-vnfd": vnfd("web")}}, "no connected port"),
    ],
)
def test_what_cannot_be_had_is_refused_with_its_name(changes: dict, says: str) -> None:
    with pytest.raises(PlanRefused, match=says):
        state(request(**changes))


def test_a_chain_may_not_end_on_another_link_than_it_starts() -> None:
    (df,) = NSD.flavours
    web = dataclasses.replace(
        profile("web", "eth"),
        connectivity=(dataclasses.replace(profile("web", "eth").connectivity[0], virtual_link="other"),),
    )
    df = dataclasses.replace(df, vnf_profiles=(*df.vnf_profiles[:3], web))
    links = (*NSD.virtual_links, dataclasses.replace(NSD.virtual_links[0], id="other"))
    with pytest.raises(PlanRefused, match="different links"):
        state(request(nsd=dataclasses.replace(NSD, flavours=(df,), virtual_links=links)))


def test_where_there_is_no_agent_the_way_in_is_ssh_to_the_first_address() -> None:
    wish = request()
    vnfds = dict(wish.vnfds)
    for name in ("web-vnfd", "firewall-vnfd"):
        (df,) = vnfds[name].flavours
        vdu = dataclasses.replace(df.vdus[0], guest_agent=False, ssh_user="admin")
        vnfds[name] = dataclasses.replace(vnfds[name], flavours=(dataclasses.replace(df, vdus=(vdu,)),))
    checks = {
        check.view["name"]: check
        for check in state(dataclasses.replace(wish, vnfds=vnfds)).checks
        if check.kind == "vnf"
    }
    assert list(checks["web"].nodes.values()) == ["ssh://admin@10.10.0.11"]
    assert checks["firewall"].nodes == {}, "without an address there is no way"
    assert list(checks["client"].nodes.values()) == ["vim:lab"]


def test_ssh_goes_to_the_connection_point_for_management_where_there_is_one() -> None:
    web = vnfd("web", "eth", "oam")
    (df,) = web.flavours
    vdu = dataclasses.replace(df.vdus[0], guest_agent=False, ssh_user="admin")
    eth, oam = web.ext_cpds
    web = dataclasses.replace(
        web,
        flavours=(dataclasses.replace(df, vdus=(vdu,)),),
        ext_cpds=(eth, dataclasses.replace(oam, management=True)),
    )
    profiles = (profile("web", "eth", "oam"),)
    nsd = dataclasses.replace(NSD, flavours=(dataclasses.replace(NSD.flavours[0], vnf_profiles=profiles),), vnffgds=())
    made = state(request(vnfds={**VNFDS, web.id: web}, nsd=nsd))
    (check,) = [check for check in made.checks if check.kind == "vnf"]
    (node,) = [resource.spec for resource in made.resources if isinstance(resource.spec, NodeSpec)]
    (asked,) = [port.addresses[0] for port in node.ports if port.name == "oam-nic"]
    assert list(check.nodes.values()) == [f"ssh://admin@{asked.partition('/')[0]}"]


@pytest.mark.parametrize("cidr", ["127.0.0.0/24", "169.254.169.0/24", "::ffff:127.0.0.0/112", "fe80::/64"])
def test_ssh_goes_to_no_address_of_this_host(cidr: str) -> None:
    web = VNFDS["web-vnfd"]
    (df,) = web.flavours
    vdu = dataclasses.replace(df.vdus[0], guest_agent=False, ssh_user="root")
    vnfds = {**VNFDS, web.id: dataclasses.replace(web, flavours=(dataclasses.replace(df, vdus=(vdu,)),))}
    links = (dataclasses.replace(NSD.virtual_links[0], subnets=(Subnet(cidr=cidr),)),)
    with pytest.raises(PlanRefused, match="no machine's own address"):
        state(request(vnfds=vnfds, nsd=dataclasses.replace(NSD, virtual_links=links, vnffgds=())))


def test_what_a_machine_asks_beyond_the_ordinary_is_had_or_refused_with_host_and_remedy() -> None:
    wish = request()
    df = VNFDS["web-vnfd"].flavours[0]
    (vdu,) = df.vdus
    cpd = dataclasses.replace(vdu.int_cpds[0], vnic_type="direct")
    compute = dataclasses.replace(vdu.compute, capabilities=("nested-virtualization",))
    vdu = dataclasses.replace(vdu, int_cpds=(cpd, *vdu.int_cpds[1:]), compute=compute)
    asking = dataclasses.replace(VNFDS["web-vnfd"], flavours=(dataclasses.replace(df, vdus=(vdu,)),))
    wish = dataclasses.replace(wish, vnfds={**wish.vnfds, "web-vnfd": asking})
    vnfs = members(wish)
    (able,) = candidates("kvm1")
    lacking = dataclasses.replace(
        able, host=dataclasses.replace(able.host, lacks={"sr-iov": "taps alone; vnic_type: normal"})
    )
    placed = Balanced().place(demands(wish, vnfs), rules(wish, vnfs), [lacking], {})
    ((key, why),) = placed.refused.items()
    assert "/web/" in key
    assert why.startswith("lab/kvm1: host kvm1 lacks sr-iov (taps alone; vnic_type: normal)")
    assert why.endswith("with asking for no nested-virtualization, sr-iov")

    able = dataclasses.replace(able, support={**able.support, "sr-iov": "full", "nested-virtualization": "full"})
    placed = Balanced().place(demands(wish, vnfs), rules(wish, vnfs), [able], {})
    made = desired(wish, vnfs, placement=placed, boot_data=lambda n, vnf, vnfc: GenericVnfm().boot_data(vnf, vnfc))
    (web,) = (node for node in of(made, ResourceKind.NODE) if "/web/" in node.key)
    assert (web.cpu.nested, [port.vnic_type for port in web.ports]) == (True, ["direct"])


def test_what_specs_have_got_since_leaves_the_hash_of_what_was_made_before() -> None:
    (web,) = (node for node in of(state(request()), ResourceKind.NODE) if "/web/" in node.key)
    assert "vnic_type" not in spec_to_json(web)["ports"][0]
    asking = dataclasses.replace(web, ports=(dataclasses.replace(web.ports[0], vnic_type="direct"),))
    assert spec_hash(asking) != spec_hash(web)
    assert spec_from_json(spec_to_json(asking)) == asking
    assert spec_from_json(spec_to_json(web)) == web
