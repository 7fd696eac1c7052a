"""Everything that says what a service should be, gathered in one value, and the VNFs that follow from it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

from manor.api.resources import SnapshotSpec, Subnet
from manor.errors import PlanRefused, UsageError
from manor.model.instance import NsInstance
from manor.model.nsd import Nsd, NsDf, VirtualLinkConnectivity, VnfProfile
from manor.model.vnfd import Vnfd, VnfDf
from manor.vnfm.levels import instances
from manor.vnfm.members import Vnf, expand, vnf_name

__all__ = ["Artifact", "ServiceRequest", "members", "numbers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A file of a package as the catalogue keeps it."""

    path: str
    """Where core can read it."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceRequest:
    """The wish: descriptors, sizes, and what may not move."""

    ns: NsInstance
    owner: str
    nsd: Nsd
    vnfds: Mapping[str, Vnfd]
    """By VNFD id."""
    artifacts: Mapping[tuple[str, str], Artifact] = field(default_factory=dict)
    """By (VNFD id, path in its package)."""
    sdn: str = ""
    """Name of the controller that forwards the links; empty where there is none."""
    vnfms: Mapping[str, str] = field(default_factory=dict)
    """By VNF name, the VNF manager that acts; ``generic`` where nothing is said."""
    level: str = ""
    """NS instantiation level."""
    vnf_counts: Mapping[str, int] = field(default_factory=dict)
    """VNFs by profile id, where it differs from the level's."""
    scale_levels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """VNF name → aspect → level, where it differs from the VNF's instantiation level."""
    vnf_levels: Mapping[str, str] = field(default_factory=dict)
    """VNF instantiation level by VNF name, where it differs from the profile's."""
    vnf_vnfds: Mapping[str, str] = field(default_factory=dict)
    """VNFD id by VNF name, where it differs from the profile's (CHANGE_VNFPKG)."""
    vnf_flavours: Mapping[str, str] = field(default_factory=dict)
    """VNF flavour by VNF name, where it differs from the profile's (CHANGE_VNF_DF)."""
    connections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """VNF name → external CP → virtual link of the service, empty for none (CHANGE_EXTERNAL_VNF_CONNECTIVITY)."""
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """vnfConfigurableProperties by VNF name: parameters of that VNF alone, above all others."""
    generations: Mapping[str, int] = field(default_factory=dict)
    """By VNF name, how often its machines were replaced by others beside them."""
    switched: frozenset[str] = frozenset()
    """Names of the VNFs whose machines are replaced so now: links turn to the new ones once those are healthy."""
    vnf_locations: Mapping[str, str] = field(default_factory=dict)
    """As ``locations``, by VNF name: it was moved there (MOVE_VNF)."""
    snapshots: tuple[tuple[str, SnapshotSpec], ...] = ()
    """Snapshots that there are to be, each with the name of its VIM."""
    reverted: Mapping[str, str] = field(default_factory=dict)
    """By volume key, the key of the snapshot that it is made from now (REVERT_VNF_TO_SNAPSHOT)."""
    vnfs_removed: frozenset[str] = frozenset()
    """Names of VNFs that were removed one by one (REMOVE_VNF): their numbers are not given out again."""
    stopped: frozenset[str] = frozenset()
    """Names of the VNFs whose machines are turned off."""
    chains_off: frozenset[str] = frozenset()
    """Ids of the forwarding paths that are not to be (REMOVE_VNFFG)."""
    locations: Mapping[str, str] = field(default_factory=dict)
    """``<vim>``, ``<vim>/<host>`` or ``site:<site>`` by profile id; ``*`` for all."""
    held_subnets: Mapping[str, tuple[Subnet, ...]] = field(default_factory=dict)
    """Ranges that links without one of their own were given before, by the segment's key: they stay."""
    held_addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses given before, by port key: they stay."""
    held_ordinary: frozenset[str] = frozenset()
    """Identities of ports that are ordinary ones, whatever is asked of them: made when it was not heeded."""

    @property
    def flavour(self) -> NsDf:
        """The NS flavour. Raises UsageError where the NSD has none of that id."""
        df = self.nsd.flavour(self.ns.flavour_id)
        if df is None:
            known = ", ".join(df.id for df in self.nsd.flavours) or "none"
            raise UsageError(f"NSD {self.nsd.id} has no flavour {self.ns.flavour_id!r}", hint=f"it has: {known}")
        return df


def members(request: ServiceRequest) -> tuple[Vnf, ...]:
    """The service's VNFs in profile order.

    Raises PlanRefused for a VNFD that is not on-boarded or cannot be deployed, UsageError for unknown levels.
    """
    df = request.flavour
    counts = _vnf_counts(request, df)
    result = []
    for profile in df.vnf_profiles:
        for index in islice(numbers(profile.id, request.vnfs_removed), counts[profile.id]):
            name = vnf_name(profile.id, index)
            own = _own(request, profile, name)
            vnfd, vnf_df = _described(request, own, request.vnf_vnfds.get(name, profile.vnfd_id))
            level = request.vnf_levels.get(name, profile.instantiation_level)
            sizes = instances(vnf_df, level, request.scale_levels.get(name))
            is_stopped = name in request.stopped
            result.append(
                expand(
                    request.ns.id,
                    own,
                    index,
                    vnfd,
                    vnf_df,
                    sizes,
                    is_stopped=is_stopped,
                    generation=request.generations.get(name, 0),
                )
            )
    return tuple(result)


def numbers(profile_id: str, removed: Collection[str]) -> Iterator[int]:
    """Numbers of a profile's VNFs, in order; those of VNFs ``removed`` one by one (by name) are not used again."""
    return (index for index in count() if vnf_name(profile_id, index) not in removed)


def _own(request: ServiceRequest, profile: VnfProfile, name: str) -> VnfProfile:
    """The profile as it is for one of its VNFs."""
    moved = request.connections.get(name, {})
    kept = (
        VirtualLinkConnectivity(virtual_link=one.virtual_link, cpds=tuple(cpd for cpd in one.cpds if cpd not in moved))
        for one in profile.connectivity
    )
    new = (VirtualLinkConnectivity(virtual_link=link, cpds=(cpd,)) for cpd, link in moved.items() if link)
    return replace(
        profile,
        flavour_id=request.vnf_flavours.get(name, profile.flavour_id),
        connectivity=(*kept, *new) if moved else profile.connectivity,
    )


def _described(request: ServiceRequest, profile: VnfProfile, vnfd_id: str) -> tuple[Vnfd, VnfDf]:
    vnfd = request.vnfds.get(vnfd_id)
    if vnfd is None:
        raise PlanRefused(
            f"VNF profile {profile.id} needs VNFD {vnfd_id}, which is not on-boarded",
            hint="manor package onboard PATH",
        )
    vnf_df = vnfd.flavour(profile.flavour_id)
    if vnf_df is None:
        raise PlanRefused(f"VNF profile {profile.id}: VNFD {vnfd.id} has no flavour {profile.flavour_id!r}")
    containers = [vdu.id for vdu in vnf_df.vdus if vdu.container]
    if containers or not vnf_df.vdus:
        what = f"VDU {containers[0]} is a container" if containers else "it has no VDU"
        raise PlanRefused(f"VNFD {vnfd.id} cannot run on a KVM host: {what}")
    return vnfd, vnf_df


def _vnf_counts(request: ServiceRequest, df: NsDf) -> dict[str, int]:
    counts = {profile.id: profile.min_number_of_instances for profile in df.vnf_profiles}
    wanted = request.level or df.default_instantiation_level
    if wanted:
        level = next((level for level in df.instantiation_levels if level.id == wanted), None)
        if level is None:
            known = ", ".join(level.id for level in df.instantiation_levels) or "none"
            raise UsageError(f"NS flavour {df.id} has no instantiation level {wanted}", hint=f"it has: {known}")
        counts.update(level.vnf_levels)
    for profile_id, number in request.vnf_counts.items():
        if profile_id not in counts:
            raise UsageError(f"NS flavour {df.id} has no VNF profile {profile_id}")
        counts[profile_id] = number
    return counts
