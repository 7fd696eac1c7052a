"""Paths that cannot be steered are refused with the plan and their place in the descriptor; SAPs as ends."""

import dataclasses

import pytest
from secure_web import NSD, VNFDS, position, request

from manor.api.resources import ChainSpec, Classifier, ElementMode, PortRange, ResourceKind, SegmentSpec
from manor.errors import PlanRefused, UsageError
from manor.model.instance import NsInstance
from manor.model.nsd import CpRef, Nfpd, NfpPosition, NfpPositionElement, Nsd, NsVirtualLinkDesc, Place, Sapd
from manor.model.vnfd import VduProfile
from manor.nfvo.request import ServiceRequest

from .test_desired import of, state

(GRAPH,) = NSD.vnffgds
(PATH,) = GRAPH.nfpds
HERE = Place(file="Definitions/ns.yaml", line=40)
THERE = Place(file="Definitions/ns.yaml", line=50)
DOOR = NfpPosition(id="at_door", elements=(NfpPositionElement(id="door", cps=(CpRef(constituent="door"),)),))
TCP = Classifier(protocol="tcp", destination_port_range=PortRange(lower=80, upper=89))


def with_paths(*paths: Nfpd, sapds: tuple[Sapd, ...] = (), links: tuple[NsVirtualLinkDesc, ...] = ()) -> Nsd:
    graph = dataclasses.replace(GRAPH, nfpds=paths)
    return dataclasses.replace(NSD, vnffgds=(graph,), sapds=sapds, virtual_links=(*NSD.virtual_links, *links))


def path(name: str, *positions: NfpPosition, **more: object) -> Nfpd:
    more = {"rules": (TCP,), "rule_names": (f"{name}-rule",), "place": HERE, "rule_places": (HERE,), **more}
    return Nfpd(id=name, positions=positions or PATH.positions, **more)  # type: ignore[arg-type]


def wished(nsd: Nsd, **parameters: object) -> ServiceRequest:
    ns = NsInstance(
        id="0a1b2c3d", name="demo", nsd_id="secure-web", nsd_package="p", flavour_id="", parameters=parameters
    )
    return request(nsd=nsd, ns=ns)


def chains(nsd: Nsd, **parameters: object) -> list[ChainSpec]:
    return of(state(wished(nsd, **parameters)), ResourceKind.CHAIN)


def refusal(nsd: Nsd) -> PlanRefused:
    with pytest.raises(PlanRefused) as caught:
        state(wished(nsd))
    return caught.value


@pytest.mark.parametrize(
    "rule",
    [
        TCP,
        Classifier(),
        Classifier(destination_port_range=PortRange(lower=89, upper=100)),
        Classifier(protocol="6", source_port_range=PortRange(lower=1, upper=2)),
    ],
)
def test_two_paths_that_want_the_same_packets_are_refused_with_both_rules_named(rule: Classifier) -> None:
    other = path("other", rules=(Classifier(protocol="udp"), rule), rule_names=("udp", "mine"),
                 rule_places=(HERE, THERE))  # fmt: skip
    error = refusal(with_paths(path("web"), other))
    assert "web's rule web-rule (Definitions/ns.yaml:40)" in error.message
    assert "other's rule mine (Definitions/ns.yaml:50)" in error.message
    assert [(finding.file, finding.line) for finding in error.findings] == [(HERE.file, 40), (THERE.file, 50)]
    assert "precedence" in error.hint


def test_the_way_back_of_one_path_may_be_the_way_there_of_another() -> None:
    first, *functions, last = PATH.positions
    back = path("back", last, *functions, first, rules=(Classifier(source_ip_address_prefix="10.10.0.0/24"),))
    assert "want the same packets" in refusal(with_paths(path("web"), back)).message
    assert len(chains(with_paths(path("web", symmetric=False), dataclasses.replace(back, symmetric=False)))) == 2


def test_paths_are_told_apart_by_precedence_rules_or_ends() -> None:
    assert len(chains(with_paths(path("web"), path("all", rules=(Classifier(),), precedence=1)))) == 2
    assert len(chains(with_paths(path("web"), path("udp", rules=(Classifier(protocol="udp"),))))) == 2


@pytest.mark.parametrize(
    ("nfp", "words", "line"),
    [
        (path("short", position("client", "eth"), position("web", "eth")), "has 2 positions", 40),
        (
            path("round", *PATH.positions[:2], dataclasses.replace(PATH.positions[1], id="again", place=THERE),
                 PATH.positions[3]),
            "would circle", 50,
        ),
        (path("self", PATH.positions[0], dataclasses.replace(position("web", "eth"), place=THERE), PATH.positions[3]),
         "would circle", 50),
        (path("none", PATH.positions[0], NfpPosition(id="gap", elements=(), place=THERE), PATH.positions[3]),
         "position gap names no function", 50),
        (path("lost", PATH.positions[0], dataclasses.replace(position("ids", "in"), place=THERE), PATH.positions[3]),
         "needs ids, and this service has none", 50),
        (path("loose", PATH.positions[0], dataclasses.replace(position("monitor", "aside"), place=THERE),
              PATH.positions[3]), "no connected port at aside", 50),
        (path("weird", rules=(Classifier(source_ip_address_prefix="10.99.0.0/24"),), rule_places=(THERE,)),
         "weird-rule matches nothing: no source has an address in 10.99.0.0/24", 50),
        (path("mac", rules=(Classifier(ether_destination_address="02:00:00:00:00:99"),), rule_places=(THERE,)),
         "no destination has the MAC address", 50),
        (path("cross", rules=(Classifier(protocol="icmp", source_port_range=PortRange(lower=1, upper=2)),),
              rule_places=(THERE,)), "protocol icmp has no ports", 50),
        (path("out", dataclasses.replace(DOOR, place=THERE), *PATH.positions[1:]),
         "at the SAP door, which is attached to nothing", 50),
        (path("mid", PATH.positions[0], dataclasses.replace(DOOR, place=THERE), PATH.positions[3]),
         "a path only starts or ends at one", 50),
    ],
    ids=lambda value: value.id if isinstance(value, Nfpd) else "",
)  # fmt: skip
def test_what_cannot_be_steered_is_refused_at_its_line(nfp: Nfpd, words: str, line: int) -> None:
    door = Sapd(id="door", virtual_link="lan")
    error = refusal(with_paths(nfp, sapds=(door,)))
    assert words in error.message
    assert error.message.startswith(f"Definitions/ns.yaml:{line}: ")
    assert [(f.file, f.line) for f in error.findings] == [("Definitions/ns.yaml", line)]


def test_a_function_with_more_ways_in_than_out_is_refused() -> None:
    firewall = VNFDS["firewall-vnfd"]
    (df,) = firewall.flavours
    (vdu,) = df.vdus
    into, out = vdu.int_cpds
    two = dataclasses.replace(
        df,
        vdus=(
            dataclasses.replace(vdu, int_cpds=(into,)),
            dataclasses.replace(vdu, id="worker", int_cpds=(out,)),
        ),
        vdu_profiles=(*df.vdu_profiles, VduProfile(vdu_id="worker", min_number_of_instances=2)),
    )
    cpds = (firewall.ext_cpds[0], dataclasses.replace(firewall.ext_cpds[1], vdu_id="worker"))
    split = dataclasses.replace(firewall, flavours=(two,), ext_cpds=cpds)
    with pytest.raises(PlanRefused, match="firewall has 1 machines at in and 2 at out"):
        state(request(vnfds={**VNFDS, "firewall-vnfd": split}))


def test_a_path_over_a_link_that_does_not_join_its_ends_is_refused_by_name() -> None:
    nsd = with_paths(path("web"), links=(NsVirtualLinkDesc(id="dmz"),))
    (df,) = nsd.flavours
    profiles = [
        dataclasses.replace(p, connectivity=(dataclasses.replace(p.connectivity[0], virtual_link="dmz"),))
        if p.id == "web"
        else p
        for p in df.vnf_profiles
    ]
    nsd = dataclasses.replace(nsd, flavours=(dataclasses.replace(df, vnf_profiles=tuple(profiles)),))
    assert "starts and ends on different links: dmz, lan" in refusal(nsd).message


def test_a_sap_of_a_vnf_is_that_vnfs_connection_point() -> None:
    door = Sapd(id="door", cpd=CpRef(constituent="client", cpd="eth"))
    (chain,) = chains(with_paths(path("web", DOOR, *PATH.positions[1:]), sapds=(door,)))
    (plain,) = chains(with_paths(path("web")))
    assert chain.sources == plain.sources


def test_an_attached_sap_is_an_end_and_a_port_of_its_link() -> None:
    door = Sapd(id="door", virtual_link="lan")
    nsd = with_paths(path("web", DOOR, *PATH.positions[1:], rules=(Classifier(),)), sapds=(door,))
    at = {"door": {"host": "kvm1", "device": "eth1", "vlan": 100}}
    result = state(wished(nsd, sap=at))
    (chain,) = of(result, ResourceKind.CHAIN)
    (segment,) = of(result, ResourceKind.SEGMENT)
    assert isinstance(segment, SegmentSpec)
    (port,) = chain.sources
    assert (port.key, port.host, port.device, port.vlan, port.mac) == ("0a1b2c3d/sap/door", "kvm1", "eth1", 100, "")
    assert port in segment.ports
    assert len(segment.ports) == 7


def test_an_address_outside_is_given_to_no_machine() -> None:
    door = Sapd(id="door", virtual_link="lan")
    nsd = with_paths(path("web"), sapds=(door,))
    at = {"host": "kvm1", "device": "eth1", "mac": "02:AA:00:00:00:01", "addresses": "10.10.0.10/24"}
    result = state(wished(nsd, sap={"door": at}))
    (segment,) = of(result, ResourceKind.SEGMENT)
    assert [port.addresses for port in segment.ports if port.addresses] == [
        ("10.10.0.11",),
        ("10.10.0.12",),
        ("10.10.0.10",),
    ]
    assert segment.ports[-1].mac == "02:aa:00:00:00:01"


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("eth1", "not SAPs by name"),
        ({"window": {"host": "a", "device": "eth1"}}, "no such SAP"),
        ({"door": "eth1"}, "not understood"),
        ({"door": {"host": "a"}}, "device"),
        ({"door": {"host": "a", "device": "eth1; reboot"}}, "device"),
        ({"door": {"host": "a", "device": "eth1", "vlan": 4095}}, "1 to 4094"),
        ({"door": {"host": "a", "device": "eth1", "vlan": True}}, "1 to 4094"),
        ({"door": {"host": "a", "device": "eth1", "mac": "x"}}, "mac"),
        ({"door": {"host": "a", "device": "eth1", "addresses": ["10.0.0.1"]}}, "whose mac is needed"),
        ({"door": {"host": "a", "device": "eth1", "colour": "red"}}, "colour is not understood"),
    ],
)
def test_a_sap_that_is_attached_in_no_way_is_refused(at: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        state(wished(with_paths(path("web"), sapds=(Sapd(id="door", virtual_link="lan"),)), sap=at))


def test_the_rate_of_a_link_reaches_its_segment() -> None:
    links = (dataclasses.replace(NSD.virtual_links[0], max_bitrate_bps=5_000_000),)
    (segment,) = of(state(request(nsd=dataclasses.replace(NSD, virtual_links=links))), ResourceKind.SEGMENT)
    assert segment.rate_bps == 5_000_000


def test_a_function_that_gets_nsh_has_room_for_it_at_its_ports_and_nobody_else_has() -> None:
    client, firewall, *rest = PATH.positions
    aware = path("aware", client, dataclasses.replace(firewall, encapsulation="nsh"), *rest)
    result = state(wished(with_paths(aware)))
    sizes = {port.key.split("/")[2]: port.mtu for node in of(result, ResourceKind.NODE) for port in node.ports}
    assert sizes == {"client": 1450, "firewall": 1488, "monitor": 1450, "web": 1450}
    (spec,) = of(result, ResourceKind.CHAIN)
    assert [position.elements[0].mode for position in spec.positions] == [ElementMode.NSH, ElementMode.TRANSPARENT]
    (link,) = of(result, ResourceKind.SEGMENT)
    assert link.mtu == 1450
    off = wished(with_paths(aware))
    switched = dataclasses.replace(off, chains_off=frozenset({"aware"}))
    assert of(state(switched), ResourceKind.NODE) == of(result, ResourceKind.NODE), "to switch it off disturbs nobody"
