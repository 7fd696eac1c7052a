"""Whether an NSD and the VNFDs that it needs fit: what neither descriptor can tell alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from manor.api.records import Finding
from manor.catalog.report import did_you_mean, refusal
from manor.model.nsd import CpRef, Nsd, NsDf, VnfProfile
from manor.model.vnfd import Vnfd

__all__ = ["crosscheck"]


def crosscheck(nsd: Nsd, flavour_id: str, vnfds: Mapping[str, Vnfd]) -> tuple[Finding, ...]:
    """An ERROR for each VNFD, flavour, level or connection point that the NSD names and is not there.

    ``vnfds`` is by VNFD id; an empty ``flavour_id`` means the first flavour.
    """
    df = nsd.flavour(flavour_id)
    if df is None:
        known = [each.id for each in nsd.flavours]
        return (_error(f"NSD {nsd.id} has no flavour {flavour_id}", flavour_id, known),)
    found = [finding for profile in df.vnf_profiles for finding in _profile(profile, vnfds)]
    return (*found, *_paths(nsd, df, vnfds))


def _error(message: str, wanted: str, known: Iterable[str]) -> Finding:
    return refusal("reference-dangling", message, hint=did_you_mean(wanted, known))


def _points(vnfd: Vnfd) -> set[str]:
    """External CPs by name; a VDU's own CP may be named where nothing exposes it by another."""
    return {cpd.id for cpd in vnfd.ext_cpds} | {
        cpd.id for df in vnfd.flavours for vdu in df.vdus for cpd in vdu.int_cpds
    }


def _profile(profile: VnfProfile, vnfds: Mapping[str, Vnfd]) -> Iterator[Finding]:
    vnfd = vnfds.get(profile.vnfd_id)
    if vnfd is None:
        yield _error(f"VNF {profile.id} needs VNFD {profile.vnfd_id}, which is not on-boarded", profile.vnfd_id, vnfds)
        return
    df = vnfd.flavour(profile.flavour_id)
    if df is None:
        known = [each.id for each in vnfd.flavours]
        yield _error(f"VNF {profile.id}: VNFD {vnfd.id} has no flavour {profile.flavour_id}", profile.flavour_id, known)
    elif profile.instantiation_level:
        levels = [level.id for level in df.instantiation_levels]
        if profile.instantiation_level not in levels:
            message = f"VNF {profile.id}: flavour {df.id} has no instantiation level {profile.instantiation_level}"
            yield _error(message, profile.instantiation_level, levels)
    for connectivity in profile.connectivity:
        for cpd in connectivity.cpds:
            if cpd not in _points(vnfd):
                message = f"VNF {profile.id}: VNFD {vnfd.id} has no connection point {cpd}"
                yield _error(message, cpd, _points(vnfd))


def _paths(nsd: Nsd, df: NsDf, vnfds: Mapping[str, Vnfd]) -> Iterator[Finding]:
    profiles = {profile.id: profile for profile in df.vnf_profiles}
    saps = {sap.id for sap in nsd.sapds}
    for graph in nsd.vnffgds:
        for path in graph.nfpds:
            for position in path.positions:
                for element in position.elements:
                    for cp in element.cps:
                        yield from _cp(path.id, cp, profiles, saps, vnfds)


def _cp(
    path: str, cp: CpRef, profiles: Mapping[str, VnfProfile], saps: set[str], vnfds: Mapping[str, Vnfd]
) -> Iterator[Finding]:
    profile = profiles.get(cp.constituent)
    if profile is None:
        if cp.constituent not in saps:
            message = f"path {path}: there is no VNF or SAP {cp.constituent}"
            yield _error(message, cp.constituent, [*profiles, *saps])
        return
    vnfd = vnfds.get(profile.vnfd_id)
    if vnfd is not None and cp.cpd not in _points(vnfd):
        yield _error(f"path {path}: VNF {profile.id} has no connection point {cp.cpd}", cp.cpd, _points(vnfd))
