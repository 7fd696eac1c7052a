"""A service made of services: nested NSDs laid out flat, so that one mechanism does everything for all of it. Pure.

A nested service's VNFs, links and paths come in under ``<profile>.<their id>``. Where the parent connects one of its
SAPs to a virtual link, what is behind that SAP is on the parent's link. A dependency on a nested service is one on all
its VNFs. Deployed, scaled, healed and ended they are one service, in one operation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from manor.errors import PlanRefused
from manor.model.nsd import (
    CpRef,
    Dependency,
    Nfpd,
    NfpPosition,
    Nsd,
    NsDf,
    NsInstantiationLevel,
    NsProfile,
    VirtualLinkConnectivity,
    Vnffgd,
    VnfProfile,
)

__all__ = ["composed", "needed"]

_DEEPEST = 8
_MOST_PARTS = 10_000
_OWN_LEVEL = "composed"


def needed(nsd: Nsd) -> tuple[str, ...]:
    """Ids of the NSDs that it nests."""
    return tuple(dict.fromkeys(part.nsd_id for df in nsd.flavours for part in df.ns_profiles))


def composed(nsd: Nsd, nested: Mapping[str, Nsd], *, within: tuple[str, ...] = ()) -> Nsd:
    """The NSD with its nested ones laid out flat; ``nested`` holds them by id.

    Raises PlanRefused for one that is not on-boarded, one that nests itself, one that multiplies beyond reason, and a
    SAP that there is not.
    """
    if not needed(nsd):
        return nsd
    _must_end(nsd, within)
    if not within and (parts := _parts(nsd, nested, (), {})) > _MOST_PARTS:
        hint = f"{_MOST_PARTS:,} are laid out at most: nest fewer, or make several services"
        raise PlanRefused(f"NSD {nsd.id} comes to {parts} parts with all that it nests", hint=hint)
    flat = dataclasses.replace(nsd, flavours=(), nested_nsd_ids=())
    flavours = []
    for df in nsd.flavours:
        laid = df  # and it goes on to say which services it nests
        inside: dict[str, tuple[str, ...]] = {}
        for part in df.ns_profiles:
            inner = nested.get(part.nsd_id)
            if inner is None:
                hint = "manor package onboard PATH"
                raise PlanRefused(f"{part.id} needs NSD {part.nsd_id}, which is not on-boarded", hint=hint)
            inner = composed(inner, nested, within=(*within, nsd.id))
            flat, laid = _laid_in(flat, laid, part, inner)
            own = inner.flavour(part.flavour_id)
            inside[part.id] = tuple(f"{part.id}.{each.id}" for each in (own.vnf_profiles if own else ()))
        dependencies = tuple(_expanded(laid.dependencies, inside))
        flavours.append(dataclasses.replace(laid, dependencies=dependencies))
    return dataclasses.replace(flat, flavours=tuple(flavours))


def _must_end(nsd: Nsd, within: tuple[str, ...]) -> None:
    if nsd.id in within or len(within) >= _DEEPEST:
        raise PlanRefused(f"NSD {nsd.id} nests itself: {' in '.join((*within, nsd.id))}")


def _parts(nsd: Nsd, nested: Mapping[str, Nsd], within: tuple[str, ...], known: dict[str, int]) -> int:
    """How many VNFs, links, SAPs and paths it has, laid out; counted once for each NSD, however often it is nested."""
    if nsd.id in known:
        return known[nsd.id]
    _must_end(nsd, within)
    own = len(nsd.virtual_links) + len(nsd.sapds) + sum(1 + len(graph.nfpds) for graph in nsd.vnffgds)
    own += sum(len(df.vnf_profiles) for df in nsd.flavours)
    for df in nsd.flavours:
        for part in df.ns_profiles:
            inner = nested.get(part.nsd_id)
            own += 1 + (_parts(inner, nested, (*within, nsd.id), known) if inner else 0)
    known[nsd.id] = own
    return own


def _laid_in(flat: Nsd, df: NsDf, part: NsProfile, inner: Nsd) -> tuple[Nsd, NsDf]:
    """The parent's NSD and flavour with one nested service in them."""
    own = inner.flavour(part.flavour_id)
    if own is None:
        raise PlanRefused(f"{part.id}: NSD {inner.id} has no flavour {part.flavour_id!r}")
    name = f"{part.id}.{{}}".format
    joined, points = _joined(part, inner)

    def link(link_id: str) -> str:
        return joined.get(link_id) or name(link_id)

    def cp(ref: CpRef) -> CpRef:
        return CpRef(constituent=name(ref.constituent), cpd=ref.cpd)

    outer = dataclasses.replace(
        flat,
        vnfd_ids=tuple(dict.fromkeys((*flat.vnfd_ids, *inner.vnfd_ids))),
        virtual_links=(
            *flat.virtual_links,
            *(
                dataclasses.replace(one, id=name(one.id), profile_id=name(one.profile_id) if one.profile_id else "")
                for one in inner.virtual_links
                if one.id not in joined
            ),
        ),
        sapds=(
            *flat.sapds,
            *(
                dataclasses.replace(
                    one,
                    id=name(one.id),
                    virtual_link=link(one.virtual_link) if one.virtual_link else "",
                    cpd=cp(one.cpd) if one.cpd else None,
                )
                for one in inner.sapds
            ),
        ),
        vnffgds=(
            *(_entered(graph, part.id, inner) for graph in flat.vnffgds),
            *(
                dataclasses.replace(
                    graph, id=name(graph.id), nfpds=tuple(_path(p, name(p.id), cp) for p in graph.nfpds)
                )
                for graph in inner.vnffgds
            ),
        ),
    )
    profiles = tuple(
        dataclasses.replace(
            each,
            id=name(each.id),
            parameters={**each.parameters, **part.parameters},
            connectivity=_connected(each, link, points),
        )
        for each in own.vnf_profiles
    )
    return outer, _with(df, own, profiles, name)


def _joined(part: NsProfile, inner: Nsd) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """The parent's link by the nested service's own, and by (VNF profile, CP) where a SAP is that very point."""
    sapds = {sapd.id: sapd for sapd in inner.sapds}
    joined: dict[str, str] = {}
    points: dict[tuple[str, str], str] = {}
    for connectivity in part.connectivity:
        for sap in connectivity.cpds:
            if sap not in sapds:
                known = ", ".join(sapds) or "none"
                raise PlanRefused(f"{part.id}: NSD {inner.id} has no SAP {sap}", hint=f"it has: {known}")
            sapd = sapds[sap]
            if sapd.virtual_link:
                joined[sapd.virtual_link] = connectivity.virtual_link
            elif sapd.cpd is not None:
                points[sapd.cpd.constituent, sapd.cpd.cpd] = connectivity.virtual_link
    return joined, points


def _connected(
    profile: VnfProfile, link: Callable[[str], str], points: Mapping[tuple[str, str], str]
) -> tuple[VirtualLinkConnectivity, ...]:
    by_link: dict[str, list[str]] = {}
    for connectivity in profile.connectivity:
        for cpd in connectivity.cpds:
            place = points.get((profile.id, cpd)) or link(connectivity.virtual_link)
            by_link.setdefault(place, []).append(cpd)
    return tuple(VirtualLinkConnectivity(virtual_link=one, cpds=tuple(cpds)) for one, cpds in by_link.items())


def _with(df: NsDf, own: NsDf, profiles: tuple[VnfProfile, ...], name: Callable[[str], str]) -> NsDf:
    """The parent's flavour with the nested one's VNFs, levels, aspects, rules and order."""
    usual = next((one for one in own.instantiation_levels if one.id == own.default_instantiation_level), None)
    numbers = {name(profile): number for profile, number in (usual.vnf_levels if usual else {}).items()}
    levels = df.instantiation_levels
    default = df.default_instantiation_level
    if numbers and not levels:
        levels, default = (NsInstantiationLevel(id=_OWN_LEVEL),), _OWN_LEVEL
    return dataclasses.replace(
        df,
        vnf_profiles=(*df.vnf_profiles, *profiles),
        instantiation_levels=tuple(
            dataclasses.replace(one, vnf_levels={**numbers, **one.vnf_levels}) for one in levels
        ),
        default_instantiation_level=default,
        scaling_aspects=(
            *df.scaling_aspects,
            *(
                dataclasses.replace(
                    one,
                    id=name(one.id),
                    levels=tuple({name(profile): n for profile, n in level.items()} for level in one.levels),
                )
                for one in own.scaling_aspects
            ),
        ),
        affinity=(
            *df.affinity,
            *(
                dataclasses.replace(one, name=name(one.name), members=tuple(name(each) for each in one.members))
                for one in own.affinity
            ),
        ),
        dependencies=(
            *df.dependencies,
            *(Dependency(primary=name(one.primary), secondary=name(one.secondary)) for one in own.dependencies),
        ),
    )


def _expanded(dependencies: Iterable[Dependency], inside: Mapping[str, tuple[str, ...]]) -> Iterable[Dependency]:
    """Dependencies on and of nested services as those of their VNFs."""
    for one in dependencies:
        for primary in inside.get(one.primary, (one.primary,)):
            for secondary in inside.get(one.secondary, (one.secondary,)):
                yield Dependency(primary=primary, secondary=secondary)


def _path(path: Nfpd, path_id: str, cp: Callable[[CpRef], CpRef]) -> Nfpd:
    return dataclasses.replace(path, id=path_id, positions=tuple(_position(one, cp) for one in path.positions))


def _position(position: NfpPosition, cp: Callable[[CpRef], CpRef]) -> NfpPosition:
    elements = tuple(dataclasses.replace(one, cps=tuple(cp(ref) for ref in one.cps)) for one in position.elements)
    return dataclasses.replace(position, elements=elements)


def _entered(graph: Vnffgd, part: str, inner: Nsd) -> Vnffgd:
    """The parent's paths with a nested service's SAP as the connection point that it is."""
    points = {sapd.id: sapd.cpd for sapd in inner.sapds if sapd.cpd is not None}

    def cp(ref: CpRef) -> CpRef:
        point = points.get(ref.cpd) if ref.constituent == part else None
        return CpRef(constituent=f"{part}.{point.constituent}", cpd=point.cpd) if point else ref

    return dataclasses.replace(graph, nfpds=tuple(_path(path, path.id, cp) for path in graph.nfpds))
