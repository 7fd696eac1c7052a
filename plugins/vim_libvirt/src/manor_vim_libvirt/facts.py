"""What a hypervisor can do, read from its own capabilities XML once per connection."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manor_vim_libvirt.metadata import parse

__all__ = ["Facts", "nested_by", "parse_facts", "read_facts"]

_NESTED = ("vmx", "svm")
_WITH_SVM = re.compile(r"EPYC|Dhyana|Opteron_G[2-5]|phenom")
"""CPU models that have it, as libvirt's list of them says (cpu_map/x86_*.xml)."""

_ORDINARY_MAX = 65536
"""Largest page size in bytes that is not a huge one, on any architecture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A host's fixed properties."""

    driver: str
    """``QEMU``, ``TEST`` …, as libvirt calls it."""
    arch: str = "x86_64"
    domain_types: frozenset[str] = frozenset()
    cpus: tuple[int, ...] = ()
    """Physical CPU numbers."""
    numa: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Physical CPUs by NUMA node."""
    huge_pages: Mapping[int, int] = field(default_factory=dict)
    """How many huge pages the host set aside, used or not, by their size in bytes; sizes without any left out."""
    uefi: bool = False
    nested: str = ""
    """The CPU feature by which guests under KVM can run guests of their own, ``vmx`` or ``svm``; empty for none."""
    identity: str = ""
    """Changes when the host, its CPU microcode or its QEMU does."""

    @property
    def is_qemu(self) -> bool:
        return self.driver == "QEMU"


def read_facts(connection: Any) -> Facts:
    """Ask a hypervisor. Raises libvirtError."""
    import libvirt

    driver = connection.getType()
    versions = f"{connection.getHostname()} libvirt {connection.getLibVersion()}"
    try:
        versions += f" {driver} {connection.getVersion()}"
    except libvirt.libvirtError:
        pass
    facts = parse_facts(connection.getCapabilities(), driver=driver, versions=versions)
    if not facts.is_qemu:
        return facts
    kind = "kvm" if "kvm" in facts.domain_types else "qemu"
    domain = parse(connection.getDomainCapabilities(None, facts.arch, "q35", kind))
    firmware = [value.text for value in domain.findall("os/enum[@name='firmware']/value")]
    return dataclasses.replace(facts, uefi="efi" in firmware, nested=nested_by(domain) if kind == "kvm" else "")


def nested_by(domain_capabilities: Any) -> str:
    """The feature that the host's own CPU model passes on to guests, empty where it passes none on. Pure.

    libvirt names what is not as in the model alone, and AMD's models have ``svm`` in them.
    """
    mode = domain_capabilities.find("cpu/mode[@name='host-model']")
    if mode is None:
        return ""
    policies = {item.get("name", ""): item.get("policy", "") for item in mode.findall("feature")}
    named = [name for name in _NESTED if name in policies]
    if named:
        return next((name for name in named if policies[name] == "require"), "")
    return "svm" if _WITH_SVM.match(mode.findtext("model", "")) else ""


def parse_facts(capabilities: str, *, driver: str, versions: str = "") -> Facts:
    """Read libvirt's capabilities XML. Pure."""
    root = parse(capabilities)
    arch = root.findtext("host/cpu/arch", "x86_64")
    guest = root.find(f"guest[os_type='hvm']/arch[@name='{arch}']")
    types = frozenset(item.get("type", "") for item in guest.findall("domain")) if guest is not None else frozenset()
    numa = {
        int(cell.get("id")): tuple(int(cpu.get("id")) for cpu in cell.findall("cpus/cpu"))
        for cell in root.findall("host/topology/cells/cell")
    }
    pages: dict[int, int] = {}
    for item in root.findall("host/topology/cells/cell/pages"):
        size_bytes, count = int(item.get("size")) * 1024, int(item.text or 0)
        if size_bytes > _ORDINARY_MAX and count:
            pages[size_bytes] = pages.get(size_bytes, 0) + count
    microcode = root.find("host/cpu/microcode")
    revision = microcode.get("version", "") if microcode is not None else ""
    return Facts(
        driver=driver,
        arch=arch,
        domain_types=types,
        cpus=tuple(sorted(cpu for cpus in numa.values() for cpu in cpus)),
        numa=numa,
        huge_pages=pages,
        identity=f"{versions} cpu {root.findtext('host/cpu/model', '')} {revision}".strip(),
    )
