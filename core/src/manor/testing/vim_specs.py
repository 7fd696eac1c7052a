"""What the VIM kit asks a driver for: small resources with fresh keys. Authors change what their site needs."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.api import (
    BootSource,
    Disk,
    DiskFormat,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    Port,
    Query,
    ResourceKind,
    ResourceRef,
    ResourceSpec,
    VolumeSpec,
)

__all__ = ["VimSpecs", "ref_of"]


def ref_of(spec: ResourceSpec) -> ResourceRef:
    """The reference to what a spec makes."""
    return ResourceRef(kind=spec.kind, key=spec.key, host=getattr(spec, "host", ""))


@dataclass(kw_only=True)
class VimSpecs:
    """Makes specs for one test. Override a field for the site, a method for the platform."""

    owner: str
    """Must be the owner tag that ``driver`` was connected with."""
    host: str
    """Name of a host as ``capabilities`` lists it."""
    workdir: Path
    """Where tiny image files are written."""
    kernel: Path | None = None
    """A bootable kernel; nodes then boot directly. Without it and ``disk`` they have nothing to boot."""
    initramfs: Path | None = None
    cmdline: str = "console=ttyS0"
    disk: Path | None = None
    """A bootable disk image, qcow2."""
    vcpus: int = 1
    memory_bytes: int = 128 << 20
    volume_bytes: int = 64 << 20
    boots: bool = False
    """Whether a guest agent answers in a node within ``boot_timeout_s``."""
    boot_timeout_s: float = 90.0
    deadline_s: float = 60.0
    """For each call."""
    settle_s: float = 10.0
    """How soon ``observe`` must tell of what happened behind the driver's back."""
    parallel: int = 32
    """How many calls the concurrency tests make at once."""
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    """Start of every key of this test."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def everything(self, **narrower: Any) -> Query:
        """A query for all that this test made."""
        return Query(owner=self.owner, **{"prefix": f"{self.run}/", **narrower})

    def key(self, what: str, name: str) -> str:
        """A key in the form that core makes."""
        return f"{self.run}/{what}/{name}"

    def image(self, name: str = "img", *, file: Path | None = None, format: DiskFormat = DiskFormat.RAW) -> ImageSpec:
        """An image: ``file``, or a small one with content of its own."""
        if file is None:
            file = self.workdir / f"{self.run}-{name}-{next(self._numbers)}.img"
            file.write_bytes(f"{self.run} {file.name}".encode().ljust(1 << 16, b"\0"))
        return ImageSpec(
            key=self.key("image", name),
            owner=self.owner,
            host=self.host,
            name=name,
            sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            size_bytes=file.stat().st_size,
            format=format,
            source=str(file),
        )

    def network(self, name: str = "net") -> NetworkSpec:
        """A network that no controller takes part in."""
        return NetworkSpec(key=self.key("vl", name), owner=self.owner, host=self.host, name=name, segment="")

    def volume(self, name: str = "vol", *, image: str = "") -> VolumeSpec:
        """A volume, blank or over an image."""
        return VolumeSpec(
            key=self.key("vol", name),
            owner=self.owner,
            host=self.host,
            name=name,
            size_bytes=self.volume_bytes,
            image=image,
        )

    def port(self, name: str, network: NetworkSpec) -> Port:
        """A port with a device name and MAC of its own."""
        number = next(self._numbers)
        return Port(
            key=self.key("port", name),
            network=network.key,
            device=f"k{self.run[:6]}{number}",
            mac=f"52:54:{self.run[0:2]}:{self.run[2:4]}:{number >> 8:02x}:{number & 255:02x}",
            addresses=(f"192.0.2.{number % 250 + 1}/24",),
            name="eth0",
        )

    def node(
        self,
        name: str = "node",
        *,
        network: NetworkSpec | None = None,
        base: tuple[ResourceSpec, ...] = (),
        **changes: Any,
    ) -> NodeSpec:
        """A node that boots from what is in ``base`` (see :meth:`boot_base`)."""
        images = {spec.name: spec.key for spec in base if isinstance(spec, ImageSpec)}
        volumes = [spec.key for spec in base if isinstance(spec, VolumeSpec)]
        boot = BootSource()
        if self.kernel:
            boot = BootSource(kernel=images["kernel"], initramfs=images.get("initramfs", ""), cmdline=self.cmdline)
        spec = NodeSpec(
            key=self.key("vnf", name),
            owner=self.owner,
            host=self.host,
            name=f"{self.run}-{name}",
            vcpus=self.vcpus,
            memory_bytes=self.memory_bytes,
            boot=boot,
            disks=tuple(Disk(volume=key, boot_index=i) for i, key in enumerate(volumes, start=1)),
            ports=(self.port(name, network),) if network else (),
            seed=False,
            labels=(("vnf", name),),
        )
        return dataclasses.replace(spec, **changes)

    def boot_base(self, name: str = "node") -> tuple[ResourceSpec, ...]:
        """What a node boots from: images, and a volume of its own where it boots from disk."""
        if self.kernel:
            images = [self.image("kernel", file=self.kernel, format=DiskFormat.KERNEL)]
            if self.initramfs:
                images.append(self.image("initramfs", file=self.initramfs, format=DiskFormat.INITRAMFS))
            return tuple(images)
        if self.disk:
            image = self.image("disk", file=self.disk, format=DiskFormat.QCOW2)
            return image, self.volume(name, image=image.key)
        return ()

    def stack(self, kind: ResourceKind, name: str = "a", **changes: Any) -> tuple[ResourceSpec, ...]:
        """A resource of this kind, last, after all that it stands on."""
        match kind:
            case ResourceKind.IMAGE:
                return (self.image(name),)
            case ResourceKind.NETWORK:
                return (self.network(name),)
            case ResourceKind.VOLUME:
                return (self.volume(name),)
            case ResourceKind.NODE:
                base, network = self.boot_base(name), self.network("net")
                return *base, network, self.node(name, network=network, base=base, **changes)
            case _:
                raise ValueError(f"a VIM has no {kind}s")

    def changed(self, spec: ResourceSpec) -> ResourceSpec:
        """The same resource, wanted otherwise."""
        match spec:
            case ImageSpec():
                other = self.image(spec.name)
                return dataclasses.replace(spec, sha256=other.sha256, size_bytes=other.size_bytes, source=other.source)
            case NetworkSpec():
                return dataclasses.replace(spec, mtu=1400)
            case VolumeSpec():
                return dataclasses.replace(spec, size_bytes=spec.size_bytes * 2)
            case NodeSpec():
                return dataclasses.replace(spec, memory_bytes=spec.memory_bytes * 2)
            case _:
                raise ValueError(f"a VIM has no {spec.kind}s")
