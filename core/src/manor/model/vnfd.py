"""The VNFD: what a vendor says a VNF is made of (ETSI IFA011), the same from SOL001 and SOL006.

Sizes are bytes, rates bit/s, whatever the descriptor's units. One :class:`Vnfd` holds all deployment flavours; what
a descriptor carries and Manor does not act on is kept in ``unhandled`` and named in an info finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from manor.api.placement import AffinityScope
from manor.api.resources import SecurityRule, Subnet

__all__ = [
    "AffinityRule",
    "Comparison",
    "ExtCpd",
    "IndicatorTrigger",
    "IntCpd",
    "IntVirtualLinkDesc",
    "LcmScript",
    "MonitoringParameter",
    "ScalingAspect",
    "SwImageDesc",
    "Vdu",
    "VduProfile",
    "VirtualComputeDesc",
    "VirtualStorageDesc",
    "VnfAction",
    "VnfDf",
    "VnfIndicator",
    "Vnfd",
    "VnfInstantiationLevel",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class SwImageDesc:
    """swImageDesc: a file a VDU boots from or a storage is filled with."""

    id: str
    name: str = ""
    version: str = ""
    file: str = ""
    """Path inside the package, or the name or URL the descriptor gives."""
    disk_format: str = ""
    """``qcow2``, ``raw``, ``iso`` …; ``aki`` is a kernel and ``ari`` an initramfs for direct boot."""
    container_format: str = ""
    checksum_algorithm: str = ""
    checksum: str = ""
    min_disk_bytes: int = 0
    min_ram_bytes: int = 0
    size_bytes: int = 0
    operating_system: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VirtualComputeDesc:
    """virtualComputeDesc: CPU and memory of one VNFC."""

    id: str = ""
    num_virtual_cpu: int = 1
    virtual_mem_size_bytes: int = 0
    cpu_architecture: str = ""
    cpu_model: str = ""
    pinning_policy: str = ""
    """``static`` or ``dynamic``, empty where nothing is asked."""
    numa_enabled: bool = False
    numa_nodes: int = 0
    hugepage_bytes: int = 0
    local_storage_bytes: int = 0
    requirements: Mapping[str, Any] = field(default_factory=dict)
    """vdu_cpu_requirements, vdu_mem_requirements and requested_additional_capabilities as given."""
    capabilities: tuple[str, ...] = ()
    """Names of the requested additional capabilities that have to be there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VirtualStorageDesc:
    """virtualStorageDesc: a volume of one VNFC."""

    id: str
    type_of_storage: str = "block"
    size_of_storage_bytes: int = 0
    image: str = ""
    """Id of the SwImageDesc it is filled with."""
    per_vnfc_instance: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class IntCpd:
    """intCpd (VduCpd): a network interface of a VDU."""

    id: str
    layer_protocols: tuple[str, ...] = ()
    """``ethernet``, ``ipv4`` …; ethernet alone means the function handles frames, not addresses."""
    int_virtual_link_desc: str = ""
    """Id of the internal virtual link, empty where it goes outside."""
    vnic_type: str = ""
    """``normal``, ``direct`` (SR-IOV), ``macvtap`` …; empty where nothing is asked."""
    order: int = 0
    position: int = 0
    bitrate_bps: int = 0
    trunk_mode: bool = False
    role: str = ""
    addresses: tuple[str, ...] = ()
    """Fixed L3 addresses, where the descriptor gives them."""
    mac: str = ""
    security: tuple[SecurityRule, ...] = ()
    description: str = ""
    interface_type: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitoringParameter:
    """monitoringParameter, of a VNF, VDU or virtual link."""

    id: str
    name: str = ""
    performance_metric: str = ""
    collection_period_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Vdu:
    """vdu: one kind of machine of a VNF."""

    id: str
    name: str = ""
    description: str = ""
    compute: VirtualComputeDesc = field(default_factory=VirtualComputeDesc)
    storages: tuple[str, ...] = ()
    """Ids of VirtualStorageDescs."""
    images: tuple[str, ...] = ()
    """Ids of SwImageDescs: a disk image, or a kernel (aki) and an initramfs (ari)."""
    boot_order: tuple[str, ...] = ()
    boot_data: str = ""
    """Text of the day-0 data (cloud-init user-data), or empty."""
    boot_data_file: str = ""
    """Path in the package of the day-0 data where it is a file; read at on-boarding."""
    kernel_cmdline: str = ""
    firmware: str = ""
    guest_agent: bool = False
    """The image runs qemu-guest-agent: health is asked of it. Where False, a started machine counts as healthy."""
    ssh_user: str = ""
    """Who logs in by SSH, where there is no guest agent but a way to its address; empty for nobody."""
    watchdog: bool = False
    int_cpds: tuple[IntCpd, ...] = ()
    """In interface order."""
    monitoring_parameters: tuple[MonitoringParameter, ...] = ()
    day1: tuple[tuple[str, ...], ...] = ()
    """Commands (argv) to run in the guest once it is up."""
    dependencies: tuple[str, ...] = ()
    """Ids of the VDUs of its flavour that it starts after."""
    container: bool = False
    """A deployment unit for containers: kept, not deployable on this VIM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntVirtualLinkDesc:
    """intVirtualLinkDesc: a virtual link inside a VNF."""

    id: str
    layer_protocols: tuple[str, ...] = ()
    flow_pattern: str = ""
    description: str = ""
    subnets: tuple[Subnet, ...] = ()
    mtu: int = 0
    max_bitrate_bps: int = 0
    min_bitrate_bps: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtCpd:
    """vnfExtCpd: where a VNF is attached from outside."""

    id: str
    vdu_id: str = ""
    int_cpd: str = ""
    """The VDU's connection point that it exposes."""
    int_virtual_link_desc: str = ""
    """Or the internal virtual link that it exposes."""
    layer_protocols: tuple[str, ...] = ()
    security: tuple[SecurityRule, ...] = ()
    management: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class VduProfile:
    """vduProfile: bounds on a VDU's number of instances in one flavour."""

    vdu_id: str
    min_number_of_instances: int = 1
    max_number_of_instances: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfInstantiationLevel:
    """instantiationLevel: sizes to start with."""

    id: str
    description: str = ""
    vdu_levels: Mapping[str, int] = field(default_factory=dict)
    """Number of instances by VDU id, where given outright."""
    scale_levels: Mapping[str, int] = field(default_factory=dict)
    """Scale level by aspect id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingAspect:
    """scalingAspect: instances(level) = initial_delta + the step deltas up to the level (etsi.md trap 8)."""

    id: str
    name: str = ""
    description: str = ""
    max_scale_level: int = 0
    step_deltas: tuple[str, ...] = ()
    """Delta ids, one a step; the last repeats."""
    deltas: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """delta id → VDU id → instances added."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AffinityRule:
    """Members of the group (VDU ids, or VNF profile ids in an NSD) together or apart."""

    name: str
    anti: bool
    scope: AffinityScope
    members: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfIndicator:
    """vnfIndicator: a value that the VNF or its element manager offers."""

    id: str
    name: str = ""
    source: str = ""
    command: tuple[str, ...] = ()
    """argv to read it in the guest, where the descriptor gives one."""


class Comparison(StrEnum):
    """How an indicator's value is compared: TOSCA's constraint operators."""

    GREATER_THAN = "greater_than"
    GREATER_OR_EQUAL = "greater_or_equal"
    LESS_THAN = "less_than"
    LESS_OR_EQUAL = "less_or_equal"
    EQUAL = "equal"

    def holds(self, value: float, limit: float) -> bool:
        """Whether the value is in this relation to the limit."""
        match self:
            case Comparison.GREATER_THAN:
                return value > limit
            case Comparison.GREATER_OR_EQUAL:
                return value >= limit
            case Comparison.LESS_THAN:
                return value < limit
            case Comparison.LESS_OR_EQUAL:
                return value <= limit
            case Comparison.EQUAL:
                return value == limit


@dataclass(frozen=True, kw_only=True, slots=True)
class IndicatorTrigger:
    """A trigger of a VnfIndicator policy (SOL001 annex A): what is to be done where all conditions hold."""

    name: str
    indicator: str
    conditions: tuple[tuple[Comparison, float], ...]
    operation: str
    """``scale`` (out) or ``heal``, of Vnflcm."""
    aspect: str = ""
    """Of ``scale``; empty for the flavour's only one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LcmScript:
    """lifeCycleManagementScript, by Vnflcm operation name as ``instantiate_end``."""

    event: str
    script: str
    dsl: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfAction:
    """An operation of an interface of the VNF's own: what an operator may have done on day 2."""

    name: str
    script: str
    dsl: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Parameters with their defaults; None where one has to be given."""
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfDf:
    """deploymentFlavour."""

    id: str
    description: str = ""
    vdu_profiles: tuple[VduProfile, ...] = ()
    instantiation_levels: tuple[VnfInstantiationLevel, ...] = ()
    default_instantiation_level: str = ""
    scaling_aspects: tuple[ScalingAspect, ...] = ()
    initial_deltas: Mapping[str, int] = field(default_factory=dict)
    """VduInitialDelta: instances at scale level 0 by VDU id."""
    affinity: tuple[AffinityRule, ...] = ()
    vdus: tuple[Vdu, ...] = ()
    """The VDUs of this flavour (SOL001 gives each flavour its own template)."""
    operations: tuple[str, ...] = ()
    """VNF LCM operations that the flavour says it supports; empty where it says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vnfd:
    """A VNF descriptor."""

    id: str
    provider: str = ""
    product_name: str = ""
    software_version: str = ""
    version: str = ""
    product_info_name: str = ""
    product_info_description: str = ""
    vnfm_info: tuple[str, ...] = ()
    flavours: tuple[VnfDf, ...] = ()
    virtual_links: tuple[IntVirtualLinkDesc, ...] = ()
    ext_cpds: tuple[ExtCpd, ...] = ()
    storages: tuple[VirtualStorageDesc, ...] = ()
    images: tuple[SwImageDesc, ...] = ()
    indicators: tuple[VnfIndicator, ...] = ()
    triggers: tuple[IndicatorTrigger, ...] = ()
    monitoring_parameters: tuple[MonitoringParameter, ...] = ()
    scripts: tuple[LcmScript, ...] = ()
    actions: tuple[VnfAction, ...] = ()
    configurable_properties: Mapping[str, Any] = field(default_factory=dict)
    unhandled: Mapping[str, Any] = field(default_factory=dict)
    """What Manor keeps and does not act on, by its place in the descriptor."""

    def flavour(self, flavour_id: str = "") -> VnfDf | None:
        """The flavour of this id, or the first one for an empty id; None where there is none."""
        for df in self.flavours:
            if not flavour_id or df.id == flavour_id:
                return df
        return None
