"""A node's domain XML from its spec and what the host offers: a pure function, kept true by golden files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from manor.api import Firmware, NodeSpec, Port
from manor_vim_libvirt.metadata import mark_of, write_mark
from manor_vim_libvirt.names import domain_uuid, interface_id, native_name, network_uuid

__all__ = ["AGENT_CHANNEL", "NodeFiles", "Target", "domain_xml", "pinned_cpus", "probe_xml"]

AGENT_CHANNEL = "org.qemu.guest_agent.0"
_GUEST_OFFLOADS = ("csum", "tso4", "tso6", "ecn", "ufo")
_HOST_OFFLOADS = ("gso", *_GUEST_OFFLOADS)
_UNTRIED = "no_timer_check"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What of the host the XML depends on."""

    domain_type: str
    """``kvm``, ``qemu`` (TCG) or ``test``."""
    arch: str = "x86_64"
    machine: str = "q35"
    offload: bool = True
    """False on a userspace datapath, where a checksum left to the hardware is never filled in and TCP dies."""
    openvswitch: bool = True
    nested: str = ""
    """The CPU feature by which a guest can run guests of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFiles:
    """Paths on the host of what the node is made from."""

    kernel: str = ""
    initramfs: str = ""
    disks: tuple[str, ...] = ()
    """In the order of ``NodeSpec.disks``; all are qcow2."""
    seed: str = ""
    console: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinning:
    """Physical CPUs for a node that asked for dedicated ones, and host NUMA nodes it may use."""

    cpus: tuple[int, ...] = ()
    numa_nodes: tuple[int, ...] = field(default_factory=tuple)


def _add(parent: Any, tag: str, text: str | None = None, /, **attributes: str) -> Any:
    child = etree.SubElement(parent, tag, {name.rstrip("_"): value for name, value in attributes.items()})
    child.text = text
    return child


def domain_xml(spec: NodeSpec, target: Target, files: NodeFiles, pinning: Pinning | None = None) -> str:
    """The XML to define for ``spec``."""
    native = domain_uuid(spec.owner, spec.key)
    root = etree.Element("domain", type=target.domain_type)
    _add(root, "name", native_name(spec.owner, spec.key, native))
    _add(root, "uuid", str(native))
    _add(root, "title", spec.name.replace("\n", " "))
    write_mark(root, mark_of(spec))
    _add(root, "memory", str(-(-spec.memory_bytes // 1024)), unit="KiB")
    _placement(root, spec, pinning or Pinning())
    _boot(root, spec, target, files)
    if target.domain_type != "test":
        features = _add(root, "features")
        _add(features, "acpi")
        _add(features, "apic")
        _cpu(root, spec, target)
    _add(root, "clock", offset="utc")
    _add(root, "on_poweroff", "destroy")
    _add(root, "on_reboot", "restart")
    _add(root, "on_crash", "destroy")
    _devices(_add(root, "devices"), spec, target, files)
    text: str = etree.tostring(root, pretty_print=True, encoding="unicode")
    return text


def _placement(root: Any, spec: NodeSpec, pinning: Pinning) -> None:
    if spec.cpu.hugepage_bytes:
        backing = _add(root, "memoryBacking")
        _add(_add(backing, "hugepages"), "page", size=str(spec.cpu.hugepage_bytes // 1024), unit="KiB")
    _add(root, "vcpu", str(spec.vcpus), placement="static")
    if pinning.cpus:
        tune = _add(root, "cputune")
        for vcpu, cpu in enumerate(pinning.cpus):
            _add(tune, "vcpupin", vcpu=str(vcpu), cpuset=str(cpu))
    if pinning.numa_nodes:
        tune = _add(root, "numatune")
        _add(tune, "memory", mode="strict", nodeset=",".join(map(str, pinning.numa_nodes)))
        for cell, node in enumerate(pinning.numa_nodes):
            _add(tune, "memnode", cellid=str(cell), mode="strict", nodeset=str(node))


def _boot(root: Any, spec: NodeSpec, target: Target, files: NodeFiles) -> None:
    os_ = _add(root, "os")
    if spec.firmware is Firmware.UEFI:
        os_.set("firmware", "efi")
    type_ = _add(os_, "type", "hvm", arch=target.arch)
    if target.domain_type != "test":
        type_.set("machine", target.machine)
    if spec.firmware is Firmware.UEFI:
        _add(_add(os_, "firmware"), "feature", enabled="no", name="secure-boot")
    if files.kernel:
        _add(os_, "kernel", files.kernel)
    if files.initramfs:
        _add(os_, "initrd", files.initramfs)
    if files.kernel and spec.boot.cmdline:
        # Linux proves its timer by counting ticks while it boots, and panics where a busy host gave an emulated
        # machine too few. Under KVM it knows not to; here it has to be told.
        told = target.domain_type != "qemu" or _UNTRIED in spec.boot.cmdline.split()
        _add(os_, "cmdline", spec.boot.cmdline if told else f"{spec.boot.cmdline} {_UNTRIED}")


def _cpu(root: Any, spec: NodeSpec, target: Target) -> None:
    if spec.cpu.model:
        cpu = _add(root, "cpu", mode="custom", match="exact", check="none")
        _add(cpu, "model", spec.cpu.model, fallback="allow")
        if spec.cpu.nested:
            _add(cpu, "feature", policy="require", name=target.nested)
    else:
        cpu = _add(root, "cpu", mode="host-passthrough" if target.domain_type == "kvm" else "maximum", check="none")
    cells = spec.cpu.numa_nodes
    if cells:
        numa = _add(cpu, "numa")
        for cell, (vcpus, memory_kib) in enumerate(numa_cells(spec)):
            _add(numa, "cell", id=str(cell), cpus=",".join(map(str, vcpus)), memory=str(memory_kib), unit="KiB")


def numa_cells(spec: NodeSpec) -> list[tuple[list[int], int]]:
    """Virtual CPUs and memory in KiB of each virtual NUMA node, shared out as evenly as can be."""
    cells = spec.cpu.numa_nodes
    total_kib = -(-spec.memory_bytes // 1024)
    step = (spec.cpu.hugepage_bytes or 1024) // 1024
    share = total_kib // cells // step * step
    memory = [share] * (cells - 1) + [total_kib - share * (cells - 1)]
    return [(list(range(cell, spec.vcpus, cells)), memory[cell]) for cell in range(cells)]


def _devices(devices: Any, spec: NodeSpec, target: Target, files: NodeFiles) -> None:
    if target.domain_type != "test":
        _add(devices, "controller", type="usb", model="none")
    for index, (disk, path) in enumerate(zip(spec.disks, files.disks, strict=True)):
        element = _disk(devices, path, "qcow2", index)
        if disk.boot_index and not files.kernel:
            _add(element, "boot", order=str(disk.boot_index))
        _add(element, "serial", f"manor-disk{index}")
    if files.seed:
        element = _disk(devices, files.seed, "raw", len(files.disks))
        _add(element, "readonly")
        _add(element, "serial", "manor-seed")
    for port in spec.ports:
        _interface(devices, spec.owner, port, target)
    if target.domain_type != "test":
        _channels(devices, spec, files)


def _disk(devices: Any, path: str, format_: str, index: int) -> Any:
    element = _add(devices, "disk", type="file", device="disk")
    _add(element, "driver", name="qemu", type=format_, discard="unmap")
    _add(element, "source", file=path)
    _add(element, "target", dev=_disk_name(index), bus="virtio")
    return element


def _disk_name(index: int) -> str:
    name = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        name = chr(ord("a") + letter) + name
    return "vd" + name


def _interface(devices: Any, owner: str, port: Port, target: Target) -> None:
    element = _add(devices, "interface", type="network")
    _add(element, "mac", address=port.mac)
    _add(element, "source", network=native_name(owner, port.network, network_uuid(owner, port.network)))
    if target.openvswitch:
        virtualport = _add(element, "virtualport", type="openvswitch")
        _add(virtualport, "parameters", interfaceid=str(interface_id(owner, port.key)))
    _add(element, "target", dev=port.device)
    _add(element, "model", type="virtio")
    if port.queues > 1 or not target.offload:
        driver = _add(element, "driver")
        if port.queues > 1:
            driver.set("queues", str(port.queues))
        if not target.offload:
            _add(driver, "host", **dict.fromkeys(_HOST_OFFLOADS, "off"))
            _add(driver, "guest", **dict.fromkeys(_GUEST_OFFLOADS, "off"))
    _add(element, "mtu", size=str(port.mtu))


def _channels(devices: Any, spec: NodeSpec, files: NodeFiles) -> None:
    serial = _add(devices, "serial", type="pty")
    if files.console:
        _add(serial, "log", file=files.console, append="on")
    _add(serial, "target", type="isa-serial", port="0")
    console = _add(devices, "console", type="pty")
    _add(console, "target", type="serial", port="0")
    if spec.guest_agent:
        channel = _add(devices, "channel", type="unix")
        _add(channel, "target", type="virtio", name=AGENT_CHANNEL)
    _add(_add(devices, "video"), "model", type="none")
    if spec.watchdog:
        _add(devices, "watchdog", model="i6300esb", action="reset")
    _add(_add(devices, "memballoon", model="virtio"), "stats", period="10")
    _add(_add(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")


def pinned_cpus(root: Any) -> set[int]:
    """Physical CPUs that a domain element claims one by one."""
    pins: Sequence[Any] = root.findall("cputune/vcpupin")
    return {int(pin.get("cpuset")) for pin in pins if pin.get("cpuset", "").isdigit()}


def probe_xml(domain_type: str, name: str, *, arch: str = "x86_64", machine: str = "q35") -> str:
    """A machine without any disk whose firmware finds nothing to boot and restarts at once, which ends it."""
    root = etree.Element("domain", type=domain_type)
    _add(root, "name", name)
    _add(root, "memory", "32", unit="MiB")
    _add(root, "vcpu", "1")
    os_ = _add(root, "os")
    _add(os_, "type", "hvm", arch=arch, machine=machine)
    _add(os_, "bios", rebootTimeout="0")
    _add(_add(root, "features"), "acpi")
    modes: Mapping[str, str] = {"kvm": "host-passthrough", "qemu": "maximum"}
    _add(root, "cpu", mode=modes[domain_type], check="none")
    _add(root, "on_reboot", "destroy")
    _add(root, "on_crash", "destroy")
    devices = _add(root, "devices")
    _add(devices, "controller", type="usb", model="none")
    _add(devices, "memballoon", model="none")
    text: str = etree.tostring(root, encoding="unicode")
    return text
