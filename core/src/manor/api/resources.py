"""What may exist in the world: resource specs, and what a driver observed of them.

A spec is the whole desired state of one resource. Its ``key`` is made by core, is stable over retries, restarts
and hosts, and is stored by the driver on the native object together with ``owner`` and :func:`spec_hash`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

__all__ = [
    "BootSource",
    "ChainElement",
    "ChainPosition",
    "ChainSpec",
    "Classifier",
    "CpuPolicy",
    "Disk",
    "DiskFormat",
    "Distribution",
    "ElementMode",
    "FailMode",
    "Firmware",
    "ImageSpec",
    "NetworkSpec",
    "NodeSpec",
    "Observed",
    "Phase",
    "Port",
    "PortRange",
    "PowerState",
    "Query",
    "ResourceKind",
    "ResourceRef",
    "ResourceSpec",
    "SdnPort",
    "SecurityRule",
    "SegmentSpec",
    "SnapshotSpec",
    "Subnet",
    "VolumeSpec",
]


_LATER = {"later": True}
"""Marks fields that specs have got since: left out of the JSON while they say nothing, so that what was made before
keeps its hash."""


class ResourceKind(StrEnum):
    """Which door a resource goes through: the first four to a VIM, the last two to a controller."""

    IMAGE = "image"
    NETWORK = "network"
    VOLUME = "volume"
    NODE = "node"
    SEGMENT = "segment"
    CHAIN = "chain"
    SNAPSHOT = "snapshot"
    """Also to a VIM, where it claims VimCapability.SNAPSHOT."""


class Phase(StrEnum):
    """What an observed resource is doing."""

    PENDING = "pending"
    ACTIVE = "active"
    STOPPED = "stopped"
    DEGRADED = "degraded"
    ERROR = "error"
    UNKNOWN = "unknown"


class DiskFormat(StrEnum):
    """File formats of images; ``kernel`` and ``initramfs`` are for direct boot."""

    QCOW2 = "qcow2"
    RAW = "raw"
    KERNEL = "kernel"
    INITRAMFS = "initramfs"


class Firmware(StrEnum):
    """How a node starts."""

    BIOS = "bios"
    UEFI = "uefi"


class PowerState(StrEnum):
    """The wanted power state (ETSI vnfState)."""

    STARTED = "started"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSpec:
    """A file that nodes boot or volumes build on; once per host, shared by all services."""

    kind: ClassVar[ResourceKind] = ResourceKind.IMAGE
    key: str
    owner: str
    host: str
    name: str
    sha256: str
    size_bytes: int
    format: DiskFormat
    source: str
    """Path of the file, readable by core. Like the name not part of the spec hash: the content is (sha256)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subnet:
    """An address range on a virtual link. ``cidr`` as in RFC 4632; no gateway means none is announced."""

    cidr: str
    gateway: str = ""
    dhcp: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSpec:
    """A virtual link as one host's VIM sees it: what nodes on that host attach their ports to."""

    kind: ClassVar[ResourceKind] = ResourceKind.NETWORK
    key: str
    owner: str
    host: str
    name: str
    segment: str
    """Key of the SegmentSpec that forwards this link; empty where no controller takes part."""
    mtu: int = 1500
    subnets: tuple[Subnet, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeSpec:
    """A disk of one VNFC: an overlay on an image, or blank."""

    kind: ClassVar[ResourceKind] = ResourceKind.VOLUME
    key: str
    owner: str
    host: str
    name: str
    size_bytes: int
    image: str = ""
    """Key of the backing ImageSpec (qcow2 or raw), empty for a blank disk."""
    snapshot: str = ""
    """Key of the SnapshotSpec that it is filled from, by the end of its own key; empty for none. It is copied once, as
    the volume is made, and so is not part of the spec hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotSpec:
    """The content that a node's volumes had when it was first ensured, all at one moment. A running node goes on.

    Once taken it depends on neither node nor volumes. Ensured again it is not taken again. Its key has no end of its
    own for each volume: that of volume ``v`` is found by the last part of ``v``'s key.
    """

    kind: ClassVar[ResourceKind] = ResourceKind.SNAPSHOT
    key: str
    owner: str
    host: str
    name: str
    node: str
    """Key of the NodeSpec."""
    volumes: tuple[str, ...]
    """Keys of the VolumeSpecs that it holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """A volume attached to a node."""

    volume: str
    """Key of the VolumeSpec."""
    boot_index: int = 0
    """1 boots first; 0 is never booted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BootSource:
    """Direct kernel boot; both empty means boot from disk. Values are keys of ImageSpecs."""

    kernel: str = ""
    initramfs: str = ""
    cmdline: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A virtual network interface of a node, in the order of the tuple it stands in."""

    key: str
    network: str
    """Key of the NetworkSpec."""
    device: str
    """Name of the host-side interface, at most 15 characters, unique in the installation, made by core."""
    mac: str
    addresses: tuple[str, ...] = ()
    """IP addresses with prefix length, as ``10.0.0.5/24``."""
    gateway: str = ""
    mtu: int = 1500
    queues: int = 1
    name: str = ""
    """The connection point's name in the descriptor."""
    vnic_type: str = field(default="", metadata=_LATER)
    """As SOL001 names those that are no ordinary virtual interface: ``direct``, ``direct-physical``, ``macvtap`` …"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuPolicy:
    """Enhanced platform awareness for a node; the defaults ask for nothing special."""

    model: str = ""
    """CPU model name; empty lets the driver choose the best that the host has."""
    architecture: str = ""
    dedicated: bool = False
    """Pin each virtual CPU to a physical one of its own (virtual_cpu_pinning_policy static)."""
    hugepage_bytes: int = 0
    """Back the memory by huge pages of this size; 0 for ordinary pages."""
    numa_nodes: int = 0
    """Spread over this many NUMA nodes; 0 for no wish."""
    nested: bool = field(default=False, metadata=_LATER)
    """It can itself run machines by the hardware's help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSpec:
    """One VNFC: a machine with its ports and disks."""

    kind: ClassVar[ResourceKind] = ResourceKind.NODE
    key: str
    owner: str
    host: str
    name: str
    vcpus: int
    memory_bytes: int
    power: PowerState = PowerState.STARTED
    firmware: Firmware = Firmware.BIOS
    boot: BootSource = field(default_factory=BootSource)
    disks: tuple[Disk, ...] = ()
    ports: tuple[Port, ...] = ()
    cpu: CpuPolicy = field(default_factory=CpuPolicy)
    user_data: str = ""
    """cloud-init user-data; a NoCloud seed is attached when this or ``seed`` is set."""
    seed: bool = True
    """Attach a NoCloud seed (meta-data and network-config from the ports, user-data as given)."""
    guest_agent: bool = True
    watchdog: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    """Service, VNF and VNFC names for people and metrics; not interpreted by drivers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SdnPort:
    """A port as the controller knows it: found on ``host``'s switch by its ``device`` name."""

    key: str
    host: str
    device: str
    mac: str
    """Empty for a bump in the wire, and for a port to the outside behind which any machines may be."""
    addresses: tuple[str, ...] = ()
    """IP addresses without prefix length."""
    transparent: bool = False
    """A bump in the wire: other machines' addresses may come out of it; it gets no traffic but a chain's."""
    security: tuple[SecurityRule, ...] = ()
    rate_bps: int = 0
    """Highest rate of what its machine sends, in bit/s; 0 for no limit."""
    vlan: int = 0
    """Of a port to the outside: only frames of this VLAN are meant, and they come in and go out tagged. 0 for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PortRange:
    """Inclusive range of transport ports."""

    lower: int
    upper: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SecurityRule:
    """SecurityGroupRule of a VNFD: what may pass; a port with any rule drops the rest in that direction."""

    direction: str
    """``ingress`` (to the VNF) or ``egress``."""
    ether_type: str = "ipv4"
    protocol: str = ""
    ports: PortRange | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentSpec:
    """A virtual link as the controller sees it: these ports reach each other, and nothing else does."""

    kind: ClassVar[ResourceKind] = ResourceKind.SEGMENT
    key: str
    owner: str
    name: str
    ports: tuple[SdnPort, ...]
    subnets: tuple[Subnet, ...] = ()
    mtu: int = 1500
    rate_bps: int = 0
    """Highest rate of all that is delivered on the link, in bit/s on each host; 0 for no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """NfpRule: which traffic takes the chain; empty and None match anything. Fields as in SOL001 NfpRule."""

    ether_destination_address: str = ""
    ether_source_address: str = ""
    ether_type: str = ""
    """``ipv4`` or ``ipv6``."""
    vlan_tag: tuple[int, ...] = ()
    """Of the frame's tag; several are the tags of a QinQ stack, outermost first."""
    protocol: str = ""
    """IANA protocol keyword in lower case, as ``tcp``."""
    dscp: int | None = None
    source_port_range: PortRange | None = None
    destination_port_range: PortRange | None = None
    source_ip_address_prefix: str = ""
    destination_ip_address_prefix: str = ""
    extended_criteria: tuple[tuple[int, int, str], ...] = ()
    """(starting point, length, value): bits counted from the one behind the source MAC address; the value hexadecimal,
    or binary behind ``0b``."""


class ElementMode(StrEnum):
    """How a function takes part in a chain."""

    TRANSPARENT = "transparent"
    """Two ports, frames leave as they came (a bump in the wire)."""
    ROUTED = "routed"
    """Two ports or one, frames are addressed to the function."""
    ONE_ARMED = "one-armed"
    NSH = "nsh"


class Distribution(StrEnum):
    """How a position shares traffic over its elements."""

    SOURCE_IP_HASH = "source-ip-hash"
    ROUND_ROBIN = "round-robin"


class FailMode(StrEnum):
    """What becomes of chain traffic when a position has no live element."""

    CLOSED = "fail-closed"
    OPEN = "fail-open"
    BYPASS = "bypass"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainElement:
    """One function instance at a position: the ports that traffic goes in and comes out by."""

    ingress: SdnPort
    egress: SdnPort
    mode: ElementMode = ElementMode.TRANSPARENT
    weight: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainPosition:
    """NfpPosition: one hop; several elements share its load."""

    name: str
    elements: tuple[ChainElement, ...]
    distribution: Distribution = Distribution.SOURCE_IP_HASH
    fail_mode: FailMode = FailMode.CLOSED
    may_keep: bool = False
    """Its functions may keep whole kinds of traffic: a probe that does not come out again is no fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainSpec:
    """A network forwarding path: classified traffic from ``sources`` to ``destinations`` by way of the positions."""

    kind: ClassVar[ResourceKind] = ResourceKind.CHAIN
    key: str
    owner: str
    name: str
    segment: str
    """Key of the SegmentSpec that sources and destinations are on."""
    classifiers: tuple[Classifier, ...]
    sources: tuple[SdnPort, ...]
    destinations: tuple[SdnPort, ...]
    positions: tuple[ChainPosition, ...]
    symmetric: bool = True
    """The way back takes the positions in reverse."""
    precedence: int = 0
    """0 to 999; among overlapping classifiers of two chains the higher one wins."""


ResourceSpec = ImageSpec | NetworkSpec | VolumeSpec | NodeSpec | SegmentSpec | ChainSpec | SnapshotSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceRef:
    """Enough to find a resource again."""

    kind: ResourceKind
    key: str
    host: str = ""
    """Where it was placed; empty asks the driver to look on all its hosts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which resources to observe; every given field narrows."""

    owner: str
    kinds: frozenset[ResourceKind] | None = None
    keys: frozenset[str] | None = None
    prefix: str = ""
    """Only keys that start so, as ``<service id>/``."""
    hosts: frozenset[str] | None = None
    """Only what is on these hosts, or on none; the others are not asked."""

    def admits(self, ref: ResourceRef) -> bool:
        """Whether ``ref``, known to be of this owner, is asked for."""
        return (
            (self.kinds is None or ref.kind in self.kinds)
            and (self.keys is None or ref.key in self.keys)
            and ref.key.startswith(self.prefix)
            and self.asks(ref.host)
        )

    def asks(self, host: str) -> bool:
        """Whether what is on this host is asked for; empty is on no host."""
        return self.hosts is None or not host or host in self.hosts


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """One resource of ours, as it really is."""

    ref: ResourceRef
    owner: str
    native_id: str
    """The platform's own name for it: a domain's UUID, a file's path, a cookie."""
    phase: Phase
    spec_hash: str
    """The hash stored with the native object when it was last ensured."""
    addresses: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for people and metrics: reasons, counters, paths.

    ``unplugged``: devices of a node that are off the switch, where that is all that it is DEGRADED for, and to ensure
    it puts them back while it runs.
    """
