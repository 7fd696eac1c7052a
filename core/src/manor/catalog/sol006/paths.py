"""SOL006 forwarding graphs: cpd-pool and position-desc-id of release 2.6.1, nfp-position-element since 3.3.1."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from manor.api.resources import Classifier, FailMode
from manor.catalog.nodes import Kind, Node, scalar
from manor.catalog.reading import Reading
from manor.catalog.sol001.paths import circles, distribution, encapsulation, fail_mode
from manor.catalog.sol001.rules import classifier, place_of, precedence
from manor.catalog.sol006.document import known
from manor.model.nsd import CpRef, Nfpd, NfpPosition, NfpPositionElement, Vnffgd

__all__ = ["read_vnffgds"]

_FIELDS = (
    "ether_destination_address",
    "ether_source_address",
    "ether_type",
    "vlan_tag",
    "protocol",
    "dscp",
    "source_port_range",
    "destination_port_range",
    "source_ip_address_prefix",
    "destination_ip_address_prefix",
    "extended_criteria",
)


def read_vnffgds(
    given: Reading, profiles: Collection[str], saps: Collection[str], links: Mapping[str, str]
) -> Iterator[Vnffgd]:
    """The graphs of an NSD. ``links`` is the virtual link of each link profile."""
    for name, graph in known(given, "vnffgd").items():
        pool = {
            element_id: _element(element_id, item, profiles, saps)
            for key in ("nfp-position-element", "cpd-pool")
            for element_id, item in known(graph.get(key), key).items()
        }
        yield Vnffgd(
            id=name,
            nfpds=tuple(_nfpd(path, item, pool, profiles) for path, item in known(graph.get("nfpd"), "nfpd").items()),
            vnf_profiles=tuple(each.one_of(profiles, "vnf-profile") for each in graph.get("vnf-profile-id").each()),
            virtual_links=tuple(
                links.get(each.text()) or each.text() for each in graph.get("virtual-link-profile-id").each()
            ),
            description=graph.get("description").note(),
        )


def _element(name: str, item: Reading, profiles: Collection[str], saps: Collection[str]) -> NfpPositionElement:
    places = list(item.get("desc", "cpd").each()) or [item]
    cps = [cp for place in places if place.is_map and (cp := _cp(place, profiles, saps))]
    if not cps:
        item.error("element-cps", f"element {name[:80]} names no connection point")
    return NfpPositionElement(id=name, cps=tuple(cps[:2]))


def _cp(place: Reading, profiles: Collection[str], saps: Collection[str]) -> CpRef | None:
    if place.has("sapd-id") or place.has("sap"):
        sap = place.get("sapd-id", "sap").one_of(saps, "sapd")
        return CpRef(constituent=sap) if sap else None
    owner = place.get("vnf-profile", "vnf-profile-id")
    profile = (owner.get("vnf-profile-id", "id") if owner.is_map else owner).one_of(profiles, "vnf-profile")
    inner = place.get("vnf") if place.has("vnf") else owner if owner.is_map else place
    cpd = inner.get("cpd-id", "vnf-ext-cpd", "constituent-cpd-id", "ext-cpd-id").text()
    inner.get("vnfd-id").value()
    return CpRef(constituent=profile, cpd=cpd) if profile else None


def _nfpd(name: str, item: Reading, pool: Mapping[str, NfpPositionElement], profiles: Collection[str]) -> Nfpd:
    positions = [
        _position(position, each, pool, profiles)
        for position, each in known(item.get("position-desc", "position-desc-id"), "position").items()
    ]
    if len(positions) < 2:
        item.error(
            "path-short", f"path {name[:80]} has {len(positions)} positions", "name both ends and what is between"
        )
    circles(item, name, positions)
    rules, places = [], []
    for each in item.get("rule", "nfp-rule").each():
        if (rule := _rule(each)) is not None:
            rules.append(rule)
            places.append(place_of(each))
    return Nfpd(
        id=name,
        positions=tuple(positions),
        rules=tuple(rules),
        rule_names=tuple(f"{name}-{number}" for number in range(1, len(rules) + 1)),
        symmetric=item.get("symmetric").flag(True),
        precedence=precedence(item.get("precedence")),
        place=place_of(item),
        rule_places=tuple(places),
    )


def _position(
    name: str, item: Reading, pool: Mapping[str, NfpPositionElement], profiles: Collection[str]
) -> NfpPosition:
    elements = [
        pool[found]
        for each in item.get("nfp-position-element-id", "cpd-pool-id").each()
        if (found := each.one_of(pool, "nfp-position-element"))
    ]
    for profile in item.get("cp-profile-id").each():
        cps: list[CpRef] = []
        for each in profile.get("constituent-profile-elements").each() if profile.is_map else ():
            owner = each.get("id", "constituent-base-element-id")
            cpd = each.get("cpd-id", "constituent-cpd-id")
            if owner.text() in pool:
                cps += pool[owner.text()].cps
            elif found := owner.one_of(profiles, "vnf-profile"):
                cps.append(CpRef(constituent=found, cpd=cpd.text()))
        if cps:
            elements.append(NfpPositionElement(id=profile.get("id").text(name), cps=tuple(cps[:2])))
    if not elements:
        item.error("position-empty", f"position {name[:80]} has no element")
    inputs = item.get("forwarding-behavior-input-parameters", "forwarding-behaviour-input-parameters")
    return NfpPosition(
        id=name,
        elements=tuple(elements),
        forwarding_behaviour=item.get("forwarding-behaviour").choice(("all", "lb", "ff"), "all"),
        distribution=distribution(inputs.get("algorithm-name", "algortihm-name")),
        weights=tuple(each.whole(1, least=1, most=1000) for each in inputs.get("algorithm-weights").each()),
        fail_mode=FailMode(fail_mode(item.get("fail-mode"))),
        encapsulation=encapsulation(item.get("encapsulation")),
        may_keep=item.get("may-keep").flag(),
        place=place_of(item),
    )


def _rule(reading: Reading) -> Classifier | None:
    """A rule is an opaque string in every release. Manor reads a map, or ``key=value`` pairs of NfpRule's names."""
    if reading.is_map:
        fields = {key.replace("-", "_"): value for key, value in reading.node.fields.items()}
        reading.value()
    else:
        pairs = [pair.partition("=") for pair in reading.text().replace(";", ",").split(",") if pair.strip()]
        fields = {key.strip().replace("-", "_").lower(): scalar(value.strip(), reading.node) for key, _, value in pairs}
    unknown = [key for key in fields if key not in _FIELDS]
    if unknown or not fields:
        hint = f"write it as key=value pairs, separated by commas, of {', '.join(_FIELDS)}"
        reading.warning("rule-opaque", f"rule {reading.note()[:60]!r} is not understood and classifies nothing", hint)
        return None
    node = Node(Kind.MAP, reading.node.line, reading.node.column, fields=fields)
    return classifier(Reading(node, reading.source, name="rule"))
