"""The VIM contract on libvirt's in-memory hypervisor, and on real QEMU with a real switch."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt
import pytest

from manor.api import Observed, ResourceKind, Vim
from manor.testing import VimConformance, VimSpecs, VimWorld
from manor.testing.lab import LabHost
from manor_vim_libvirt.config import LibvirtConfig
from manor_vim_libvirt.driver import LibvirtVim
from manor_vim_libvirt.events import start_event_loop

OWNER = "manor/kit"


class LibvirtWorld(VimWorld):
    """Another administrator of the same hypervisor."""

    def __init__(self, address: str, connect: Any, own: dict[str, object] | None = None, **settings: object) -> None:
        """``settings`` are the stranger's; ``own`` what differs in those of the driver."""
        start_event_loop()
        self.connection = libvirt.open(address)
        self._connect = connect
        self._settings = settings
        self._own = own or {}
        self.drivers: list[LibvirtVim] = []

    def stop(self, observed: Observed) -> None:
        self.connection.lookupByUUIDString(observed.native_id).destroy()

    def destroy(self, observed: Observed) -> None:
        match observed.ref.kind:
            case ResourceKind.NODE:
                domain = self.connection.lookupByUUIDString(observed.native_id)
                domain.destroy()
                domain.undefine()
            case ResourceKind.NETWORK:
                network = self.connection.networkLookupByUUIDString(observed.native_id)
                network.destroy()
                network.undefine()
            case _:
                self._destroy_file(observed.native_id)

    def _destroy_file(self, path: str) -> None:
        self.connection.storageVolLookupByPath(path).delete()

    def disconnect(self) -> None:
        for vim in self.drivers:
            for host in vim._hosts.values():
                for lease in host.link._idle:
                    lease.connection.close()

    def stranger(self) -> Vim:
        return self._connect("manor/stranger", **self._settings)

    @contextmanager
    def beside_a_dead_host(self, owner: str, dead: str) -> Iterator[Vim]:
        settings = {**self._settings, **self._own}
        accel = {"accel": settings.pop("accel")} if "accel" in settings else {}
        nobody = {"name": dead, "uri": "qemu+unix:///system?socket=/nonexistent/libvirt-sock"}
        yield self._connect(owner, hosts=[nobody, settings], **accel)

    def inventory(self) -> Collection[str]:
        names = [f"domain {d.name()}" for d in self.connection.listAllDomains()]
        names += [f"network {n.name()}" for n in self.connection.listAllNetworks()]
        for pool in self.connection.listAllStoragePools():
            names += [f"pool {pool.name()}", *(f"file {v}" for v in pool.listVolumes())]
        return names


class TestOnTheTestHypervisor(VimConformance):
    @pytest.fixture
    def world(self, connect: Any) -> Iterator[VimWorld]:
        world = LibvirtWorld("test:///default", connect, uri="test:///default", name="host-1")
        for domain in world.connection.listAllDomains():  # one that was promised more than the host has
            domain.destroy()
            domain.undefine()
        yield world
        world.connection.close()

    @pytest.fixture
    def driver(self, connect: Any, world: LibvirtWorld) -> Vim:
        vim = connect(OWNER, uri="test:///default", name="host-1")
        world.drivers.append(vim)
        return vim

    @pytest.fixture
    def specs(self, tmp_path: Path) -> VimSpecs:
        return VimSpecs(owner=OWNER, host="host-1", workdir=tmp_path)


class LabWorld(LibvirtWorld):
    """The host itself can be looked into."""

    def __init__(self, lab: LabHost, connect: Any, **settings: object) -> None:
        super().__init__(lab.uri, connect, {"pool_dir": str(lab.pool_dir)}, **settings)
        self._lab = lab

    def _destroy_file(self, path: str) -> None:
        Path(path).unlink()

    def inventory(self) -> Collection[str]:
        found = list(super().inventory())
        links = self._lab.run("ip", "-o", "link").splitlines()
        found += [f"link {line.split(': ')[1]}" for line in links if "ovs-netdev" not in line]
        show = ["ovs-vsctl", f"--db={self._lab.ovsdb}", "--bare", "--columns=name", "list", "Interface"]
        found += [f"port {name}" for name in subprocess.run(show, capture_output=True, text=True).stdout.split()]
        folder = self._lab.pool_dir
        return [*found, *(f"path {path}" for path in sorted(folder.parent.glob("pool*/*")))]


@pytest.mark.real
@pytest.mark.slow
class TestOnRealQemu(VimConformance):
    @pytest.fixture
    def settings(self, lab: LabHost) -> dict[str, object]:
        return {"uri": lab.uri, "name": "lab", "ovsdb": lab.ovsdb, "accel": "tcg"}

    @pytest.fixture
    def world(self, lab: LabHost, connect: Any, settings: dict[str, object]) -> Iterator[VimWorld]:
        world = LabWorld(lab, connect, **settings, pool_dir=f"{lab.pool_dir}-stranger")
        yield world
        world.connection.close()

    @pytest.fixture
    def driver(self, lab: LabHost, connect: Any, settings: dict[str, object], world: LabWorld) -> Vim:
        vim = connect(OWNER, **settings, pool_dir=str(lab.pool_dir))
        world.drivers.append(vim)
        return vim

    @pytest.fixture
    def specs(self, tmp_path: Path, guest_image: tuple[Path, Path]) -> VimSpecs:
        kernel, initramfs = guest_image
        return VimSpecs(
            owner=OWNER, host="lab", workdir=tmp_path, kernel=kernel, initramfs=initramfs, boots=True, parallel=32
        )


def test_settings_refuse_a_password_in_the_uri() -> None:
    with pytest.raises(ValueError, match="password_file"):
        LibvirtConfig.model_validate({"uri": "qemu+tcp://root:secret@host/system"})
