"""A SOL006 NSD, of any release from 2.6.1 on, with OSM's augments."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from manor.catalog.leftovers import leftovers
from manor.catalog.reading import Reading
from manor.catalog.sol006.document import QUIET, known
from manor.catalog.sol006.flavour import affinity
from manor.catalog.sol006.paths import read_vnffgds
from manor.catalog.sol006.vnfd import subnets
from manor.catalog.units import bits_per_second, seconds
from manor.model.nsd import (
    CpRef,
    Dependency,
    Nsd,
    NsDf,
    NsInstantiationLevel,
    NsProfile,
    NsScalingAspect,
    NsVirtualLinkDesc,
    Sapd,
    VirtualLinkConnectivity,
    VnfProfile,
)

__all__ = ["read_nsd"]


def read_nsd(given: Reading) -> Nsd:
    """The NSD; what cannot be read is in the findings."""
    nsd_id = given.get("id").text()
    if not nsd_id:
        given.error("id-missing", "the NSD has no id")
    vnfd_ids = dict.fromkeys(given.get("vnfd-id").texts())
    links = known(given.get("virtual-link-desc"), "virtual-link-desc")
    # A link profile carries a link's sizes; OSM has none and names the link itself.
    profiles: dict[str, Reading] = {}
    for df in given.get("df").each():
        if df.is_map:
            profiles |= known(df.get("virtual-link-profile"), "virtual-link-profile")
    of_profile = {
        name: item.get("virtual-link-desc-id").one_of(links, "virtual-link-desc") for name, item in profiles.items()
    }
    sapds = known(given.get("sapd"), "sapd")
    dfs = {
        name: _flavour(name, item, links, of_profile, vnfd_ids) for name, item in known(given.get("df"), "df").items()
    }
    if not dfs:
        given.error("flavour-missing", "the NSD has no df: there is nothing to instantiate")
    vnf_profiles = [profile for df in dfs.values() for profile in df.vnf_profiles]
    graphs = [
        graph
        for place in (given, *given.get("df").each())
        if place.is_map
        for graph in read_vnffgds(
            place.get("vnffgd"), [profile.id for profile in vnf_profiles], list(sapds), of_profile
        )
    ]
    by_link = {link: profiles[name] for name, link in of_profile.items()}
    return Nsd(
        id=nsd_id or "nsd",
        name=given.get("name").text(nsd_id),
        designer=given.get("designer", "vendor").text(),
        version=given.get("version").text(),
        invariant_id=given.get("invariant-id").text(),
        description=given.get("description").note(),
        vnfd_ids=tuple(dict.fromkeys((*vnfd_ids, *(profile.vnfd_id for profile in vnf_profiles if profile.vnfd_id)))),
        nested_nsd_ids=given.get("nested-nsd-id").texts(),
        pnfd_ids=given.get("pnfd-id").texts(),
        virtual_links=tuple(_link(name, item, by_link.get(name)) for name, item in links.items()),
        sapds=tuple(_sapd(name, item, links, vnf_profiles) for name, item in sapds.items()),
        vnffgds=tuple(graphs),
        flavours=tuple(dfs.values()),
        unhandled=leftovers([(given.source, given.node)], quiet=QUIET),
    )


def _latency(profile: Reading) -> float:
    qos = profile.get("qos")
    return seconds(qos.get("latency")) / 1e3 if qos.is_map else 0.0  # a number of milliseconds


def _link(name: str, item: Reading, profile: Reading | None) -> NsVirtualLinkDesc:
    kind = item.get("connectivity-type")
    profile = profile if profile is not None else Reading(None, item.source, at=item.node)
    own = item.get("l3-protocol-data", "virtual-link-protocol-data")
    most, least = (
        profile.get(f"{bound}-bitrate-requirements", f"{bound}-bit-rate-requirements") for bound in ("max", "min")
    )
    return NsVirtualLinkDesc(
        id=name,
        description=item.get("description").note(),
        layer_protocols=tuple(each.identity().lower() for each in kind.get("layer-protocol").each()),
        flow_pattern=kind.get("flow-pattern").identity(),
        subnets=subnets(profile.get("virtual-link-protocol-data")) or subnets(own),
        mtu=_mtu(profile),
        max_bitrate_bps=bits_per_second(most.get("root")),
        min_bitrate_bps=bits_per_second(least.get("root")),
        max_latency_s=_latency(profile),
        management=item.get("mgmt-network").flag(),
        vim_network_name=item.get("vim-network-name").text(),
        profile_id=profile.get("id").text(),
    )


def _mtu(profile: Reading) -> int:
    for data in profile.get("virtual-link-protocol-data").each():
        if data.is_map and (found := data.get("l2-protocol-data").get("mtu").whole(most=65535)):
            return found
    return 0


def _sapd(name: str, item: Reading, links: Mapping[str, Reading], profiles: Collection[VnfProfile]) -> Sapd:
    link = item.get("virtual-link-desc", "virtual-link-desc-id").one_of(links, "virtual-link-desc")
    inner = item.get("associated-cpd")
    cpd = None
    if inner:
        vnfd_id = inner.get("vnfd-id").one_of([profile.vnfd_id for profile in profiles], "constituent VNFD")
        profile = next((each for each in profiles if each.vnfd_id == vnfd_id), None)
        point = inner.get("vnf-ext-cpd", "ext-cpd").text()
        cpd = CpRef(constituent=profile.id, cpd=point) if profile else None
    return Sapd(id=name, virtual_link=link, cpd=cpd)


def _flavour(
    df_id: str,
    item: Reading,
    links: Mapping[str, Reading],
    of_profile: Mapping[str, str],
    vnfd_ids: Collection[str],
) -> NsDf:
    given = known(item.get("vnf-profile"), "vnf-profile")
    profiles = [_profile(name, each, links, of_profile, vnfd_ids) for name, each in given.items()]
    inside = known(item.get("ns-profile"), "ns-profile")
    nested = [_nested(name, each, links, of_profile) for name, each in inside.items()]
    ids = dict.fromkeys(profile.id for profile in profiles)
    levels = {}
    for level_id, level in known(item.get("ns-instantiation-level"), "ns-instantiation-level").items():
        levels[level_id] = NsInstantiationLevel(
            id=level_id, description=level.get("description").note(), vnf_levels=_numbers(level, ids)
        )
    aspects = []
    for aspect_id, aspect in known(item.get("scaling-aspect"), "scaling-aspect").items():
        steps = aspect.get("ns-scale-level", "scaling-level")
        aspects.append(
            NsScalingAspect(
                id=aspect_id,
                name=aspect.get("name").text(aspect_id),
                levels=tuple(_numbers(step, ids) for step in steps.each() if step.is_map),
            )
        )
        aspect.value()
    return NsDf(
        id=df_id,
        description=item.get("description").note(),
        vnf_profiles=tuple(profiles),
        ns_profiles=tuple(nested),
        instantiation_levels=tuple(levels.values()),
        default_instantiation_level=item.get("default-instantiation-level", "default-ns-instantiation-level-id").one_of(
            levels, "ns-instantiation-level"
        ),
        scaling_aspects=tuple(aspects),
        affinity=affinity(item, given),
        dependencies=tuple(_dependencies(item, {**ids, **dict.fromkeys(each.id for each in nested)})),
    )


def _numbers(item: Reading, profiles: Collection[str]) -> dict[str, int]:
    numbers = {}
    for each in item.get("vnf-to-level-mapping").each():
        profile = each.get("vnf-profile-id").one_of(profiles, "vnf-profile")
        if profile:
            numbers[profile] = each.get("number-of-instances").whole(1, most=100_000)
    return numbers


def _profile(
    name: str,
    item: Reading,
    links: Mapping[str, Reading],
    of_profile: Mapping[str, str],
    vnfd_ids: Collection[str],
) -> VnfProfile:
    vnfd = item.get("vnfd-id")
    if not vnfd:
        item.error("reference-missing", f"VNF profile {name[:80]} names no VNFD")
    least = item.get("min-number-of-instances").whole(1, most=100_000)
    return VnfProfile(
        id=name,
        vnfd_id=vnfd.one_of(vnfd_ids, "vnfd-id of the NSD") if vnfd_ids else vnfd.text(),
        flavour_id=item.get("flavour-id", "vnf-df-id").text(),
        instantiation_level=item.get("instantiation-level").text(),
        min_number_of_instances=least,
        max_number_of_instances=max(least, item.get("max-number-of-instances").whole(max(1, least), most=100_000)),
        connectivity=_connectivity(name, item, links, of_profile),
    )


def _nested(name: str, item: Reading, links: Mapping[str, Reading], of_profile: Mapping[str, str]) -> NsProfile:
    """A service inside this one; its constituent CPs are its SAPs."""
    nsd = item.get("nsd-id")
    if not nsd:
        item.error("reference-missing", f"NS profile {name[:80]} names no NSD")
    return NsProfile(
        id=name,
        nsd_id=nsd.text(),
        flavour_id=item.get("ns-df-id", "flavour-id").text(),
        connectivity=_connectivity(name, item, links, of_profile),
    )


def _connectivity(
    name: str, item: Reading, links: Mapping[str, Reading], of_profile: Mapping[str, str]
) -> tuple[VirtualLinkConnectivity, ...]:
    by_link: dict[str, list[str]] = {}
    for each in item.get("virtual-link-connectivity").each():
        wanted = each.get("virtual-link-profile-id", "virtual-link-desc-id")
        link = of_profile.get(wanted.text()) or wanted.one_of(links, "virtual link")
        for point in each.get("constituent-cpd-id").each():
            cpd = point
            if point.is_map:
                base = point.get("constituent-base-element-id")
                if base and base.text() != name:
                    message = f"constituent {base.text()[:80]} is not profile {name[:80]}, which it stands in"
                    base.warning("reference-dangling", message)
                cpd = point.get("constituent-cpd-id")
                if point.has("ip-address"):
                    point.get("ip-address").info("unhandled", "ip-address of a constituent is kept and not acted on")
            if link and cpd.text():
                by_link.setdefault(link, []).append(cpd.text())
    return tuple(VirtualLinkConnectivity(virtual_link=link, cpds=tuple(cpds)) for link, cpds in by_link.items())


def _dependencies(item: Reading, profiles: Collection[str]) -> list[Dependency]:
    found = []
    for each in item.get("dependencies").each():
        if not each.is_map:
            continue
        ends: dict[str, list[str]] = {}
        for key in each.keys():  # noqa: SIM118 - no dict
            if match := re.match(r"(primary|secondary)-", key):
                ends.setdefault(match[1], [item.one_of(profiles, "vnf-profile") for item in _ids(each.get(key))])
        found += [
            Dependency(primary=first, secondary=second)
            for first in ends.get("primary", [])
            for second in ends.get("secondary", [])
            if first and second
        ]
    return found


def _ids(reading: Reading) -> list[Reading]:
    return [item.get("vnf-profile-id", "id") if item.is_map else item for item in reading.each()]
