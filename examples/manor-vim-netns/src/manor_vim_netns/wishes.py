"""What of a node this VIM cannot give. A capability that is claimed UNSUPPORTED has to refuse, before any effect."""

from __future__ import annotations

from manor.api import Firmware, NodeSpec, ResourceSpec, VimCapability, VolumeSpec
from manor.errors import Unsupported

from manor_vim_netns.nodes import boot_script

__all__ = ["FULL", "MISSING", "refuse"]

FULL = (
    VimCapability.NODE,
    VimCapability.NETWORK,
    VimCapability.IMAGE,
    VimCapability.DIRECT_BOOT,
    VimCapability.CLOUD_INIT,
    VimCapability.GUEST_ACCESS,
)
"""What is claimed, and tested by the kit."""

MISSING = {
    capability: "nothing that processes in namespaces have" for capability in VimCapability if capability not in FULL
}
"""Why not, by capability; shown to the operator."""


def refuse(spec: ResourceSpec) -> None:
    """Raise Unsupported where a node asks for what is missing."""
    if isinstance(spec, VolumeSpec):
        raise Unsupported(f"volume {spec.key}: {MISSING[VimCapability.VOLUME]}", capability=VimCapability.VOLUME)
    if not isinstance(spec, NodeSpec):
        return
    asked = {
        VimCapability.DIRECT_BOOT: bool(spec.boot.kernel),
        VimCapability.CLOUD_INIT: bool(spec.user_data),
        VimCapability.UEFI: spec.firmware is Firmware.UEFI,
        VimCapability.CPU_PINNING: spec.cpu.dedicated,
        VimCapability.HUGEPAGES: spec.cpu.hugepage_bytes > 0,
        VimCapability.NUMA: spec.cpu.numa_nodes > 0,
        VimCapability.WATCHDOG: spec.watchdog,
        VimCapability.SRIOV: any(port.vnic_type for port in spec.ports),
        VimCapability.NESTED: spec.cpu.nested,
    }
    boot_script(spec.user_data, spec.key)
    for capability, wanted in asked.items():
        if wanted and capability in MISSING:
            raise Unsupported(f"node {spec.key}: {capability}: {MISSING[capability]}", capability=capability)
