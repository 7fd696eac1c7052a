"""What the plugin's tests stand on: a real host of their own, a real guest, and libvirt's in-memory hypervisor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manor.api import DriverEnvironment
from manor.testing.lab import LabHost
from manor_vim_libvirt.config import LibvirtConfig
from manor_vim_libvirt.driver import LibvirtVim

ROOT = Path(__file__).parents[3]
OWNER = "manor/test"

Connect = Callable[..., LibvirtVim]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Connects drivers and closes them at the end."""
    opened: list[LibvirtVim] = []

    def connect_(owner: str = OWNER, **settings: object) -> LibvirtVim:
        env = DriverEnvironment(name="lab", owner=owner, state_dir=tmp_path / "state", runtime_dir=tmp_path / "runtime")
        vim = LibvirtVim(LibvirtConfig.model_validate(settings), env)
        opened.append(vim)
        return vim

    yield connect_
    for vim in opened:
        vim.close()


@pytest.fixture(scope="session")
def lab() -> Iterator[LabHost]:
    """A host with its own libvirtd and Open vSwitch."""
    if os.geteuid() != 0 or not shutil.which("libvirtd") or not shutil.which("ovs-vswitchd"):
        pytest.skip("needs root, libvirt-daemon-system, qemu-system-x86 and openvswitch-switch")
    workdir = Path(tempfile.mkdtemp(prefix="manor-lab-", dir="/tmp"))
    with LabHost("lab", workdir) as host:
        yield host


@pytest.fixture(scope="session")
def guest_image() -> tuple[Path, Path]:
    """Kernel and initramfs of the demo's machines."""
    work = ROOT / "build/images"
    code = "import sys; from pathlib import Path; from images.vnf import build_image; build_image(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(work)], cwd=ROOT / "descriptors", check=True, timeout=300)
    return work / "vmlinuz", work / "initramfs"
