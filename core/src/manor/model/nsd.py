"""The NSD: which VNFs make a network service, how they are linked, and which paths traffic takes (ETSI IFA014)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manor.api.resources import Classifier, Distribution, FailMode, Subnet
from manor.model.vnfd import AffinityRule

__all__ = [
    "CpRef",
    "Dependency",
    "Nfpd",
    "NfpPosition",
    "NfpPositionElement",
    "NsDf",
    "NsInstantiationLevel",
    "NsProfile",
    "NsScalingAspect",
    "NsVirtualLinkDesc",
    "Nsd",
    "PRECEDENCE_MAX",
    "Place",
    "Sapd",
    "VirtualLinkConnectivity",
    "VnfProfile",
    "Vnffgd",
]


PRECEDENCE_MAX = 999
"""Of a path; 0 is the least, and the usual one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where in its package something is said, for who is told of it long after the file was read."""

    file: str = ""
    line: int = 0
    """1-based; 0 where it is not known."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, kw_only=True, slots=True)
class NsVirtualLinkDesc:
    """nsVirtualLinkDesc with its profile."""

    id: str
    description: str = ""
    layer_protocols: tuple[str, ...] = ()
    flow_pattern: str = ""
    subnets: tuple[Subnet, ...] = ()
    mtu: int = 0
    max_bitrate_bps: int = 0
    min_bitrate_bps: int = 0
    max_latency_s: float = 0.0
    """Most that a frame may be on its way between two sites (qos.latency); 0 where nothing is said."""
    management: bool = False
    """OSM's mgmt-network."""
    vim_network_name: str = ""
    """OSM's vim-network-name: attach to what the VIM already has."""
    profile_id: str = ""
    """Id of its profile (virtualLinkProfile); empty where that has none of its own, as in SOL001."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VirtualLinkConnectivity:
    """virtualLinkConnectivity: these external CPs of the VNF are on this link."""

    virtual_link: str
    """Id of the NsVirtualLinkDesc (a virtual-link-profile is resolved to it)."""
    cpds: tuple[str, ...]
    """Ids of the VNFD's ext_cpds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfProfile:
    """vnfProfile: one VNF of the service, or several alike."""

    id: str
    vnfd_id: str
    flavour_id: str = ""
    instantiation_level: str = ""
    min_number_of_instances: int = 1
    max_number_of_instances: int = 1
    connectivity: tuple[VirtualLinkConnectivity, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NsProfile:
    """nsProfile: a nested service, its SAPs (as ``cpds``) on the parent's links."""

    id: str
    nsd_id: str
    flavour_id: str = ""
    connectivity: tuple[VirtualLinkConnectivity, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sapd:
    """sapd: where the service is attached from outside."""

    id: str
    virtual_link: str = ""
    cpd: CpRef | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CpRef:
    """A connection point of a constituent: a VNF profile's external CP, or a SAP (``cpd`` empty)."""

    constituent: str
    """VNF profile id, or SAP id."""
    cpd: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NfpPositionElement:
    """nfpPositionElement: one CP, or a pair of them, in and out."""

    id: str
    cps: tuple[CpRef, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NfpPosition:
    """nfpPositionDesc: one hop of a path; several elements share its load."""

    id: str
    elements: tuple[NfpPositionElement, ...]
    forwarding_behaviour: str = "all"
    distribution: Distribution = Distribution.SOURCE_IP_HASH
    weights: tuple[int, ...] = ()
    fail_mode: FailMode = FailMode.CLOSED
    encapsulation: str = ""
    """``nsh`` where its functions want a network service header (RFC 8300) in front of the frames."""
    may_keep: bool = False
    """Whether its functions may keep whole kinds of traffic to themselves, probes too."""
    place: Place = field(default_factory=Place)


@dataclass(frozen=True, kw_only=True, slots=True)
class Nfpd:
    """nfpd: an ordered list of positions and the rules that send traffic along it.

    The first and last positions are the path's ends (the machines or SAPs that talk); those between are functions.
    """

    id: str
    positions: tuple[NfpPosition, ...]
    rules: tuple[Classifier, ...] = ()
    rule_names: tuple[str, ...] = ()
    symmetric: bool = True
    precedence: int = 0
    """0 to :data:`PRECEDENCE_MAX`; where two paths want a packet the higher one gets it."""
    place: Place = field(default_factory=Place)
    rule_places: tuple[Place, ...] = ()

    def rule_name(self, number: int) -> str:
        """The rule's own name, or the path's with a number."""
        return self.rule_names[number] if number < len(self.rule_names) else f"{self.id}-{number + 1}"

    def rule_place(self, number: int) -> Place:
        """Where the rule stands; the path's place where that is not known."""
        return self.rule_places[number] if number < len(self.rule_places) else self.place


@dataclass(frozen=True, kw_only=True, slots=True)
class Vnffgd:
    """vnffgd: a forwarding graph of a service."""

    id: str
    nfpds: tuple[Nfpd, ...] = ()
    vnf_profiles: tuple[str, ...] = ()
    virtual_links: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NsInstantiationLevel:
    """nsInstantiationLevel."""

    id: str
    description: str = ""
    vnf_levels: Mapping[str, int] = field(default_factory=dict)
    """Number of instances by VNF profile id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NsScalingAspect:
    """nsScalingAspect: VNF numbers by level."""

    id: str
    name: str = ""
    levels: tuple[Mapping[str, int], ...] = ()
    """Per level, number of instances by VNF profile id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependency:
    """``secondary`` starts after ``primary``; both are VNF profile or nested NS profile ids."""

    primary: str
    secondary: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NsDf:
    """nsDf: a deployment flavour of a service."""

    id: str
    description: str = ""
    vnf_profiles: tuple[VnfProfile, ...] = ()
    ns_profiles: tuple[NsProfile, ...] = ()
    instantiation_levels: tuple[NsInstantiationLevel, ...] = ()
    default_instantiation_level: str = ""
    scaling_aspects: tuple[NsScalingAspect, ...] = ()
    affinity: tuple[AffinityRule, ...] = ()
    dependencies: tuple[Dependency, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Nsd:
    """A network-service descriptor."""

    id: str
    name: str = ""
    designer: str = ""
    version: str = ""
    invariant_id: str = ""
    description: str = ""
    vnfd_ids: tuple[str, ...] = ()
    nested_nsd_ids: tuple[str, ...] = ()
    pnfd_ids: tuple[str, ...] = ()
    virtual_links: tuple[NsVirtualLinkDesc, ...] = ()
    sapds: tuple[Sapd, ...] = ()
    vnffgds: tuple[Vnffgd, ...] = ()
    flavours: tuple[NsDf, ...] = ()
    unhandled: Mapping[str, Any] = field(default_factory=dict)

    def flavour(self, flavour_id: str = "") -> NsDf | None:
        """The flavour of this id, or the first one for an empty id; None where there is none."""
        for df in self.flavours:
            if not flavour_id or df.id == flavour_id:
                return df
        return None
