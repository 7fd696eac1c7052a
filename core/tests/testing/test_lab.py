"""A lab host is whole while it is there, and leaves nothing running however its owner ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.testing.lab import LabHost

pytestmark = pytest.mark.real


@pytest.fixture
def workdir() -> Iterator[Path]:
    if os.geteuid() != 0 or not shutil.which("libvirtd") or not shutil.which("ovs-vswitchd"):
        pytest.skip("needs root, libvirt-daemon-system, qemu-system-x86 and openvswitch-switch")
    path = Path(tempfile.mkdtemp(prefix="manor-lab-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _await_end(pid: int) -> None:
    end = time.monotonic() + 60
    while _alive(pid):
        assert time.monotonic() < end, f"process {pid} of the lab outlived its owner"
        time.sleep(0.05)


def test_its_daemons_are_its_own(workdir: Path) -> None:
    with LabHost("lab", workdir) as lab:
        assert lab.libvirt_socket.is_socket()
        subprocess.run(["ovs-vsctl", f"--db={lab.ovsdb}", "--timeout=60", "show"], check=True, capture_output=True)
        assert 'security_driver = "none"' in lab.run("cat", "/etc/libvirt/qemu.conf")
        assert "lo" in lab.run("ip", "-br", "link")
        pid = lab.pid
    _await_end(pid)
    assert not workdir.exists()


def test_an_owner_that_is_killed_leaves_nothing_running(workdir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from manor.testing.lab import LabHost\n"
        "with LabHost('lab', Path(sys.argv[1])) as lab: print(lab.pid, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(workdir)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert _alive(pid)
        owner.kill()
    _await_end(pid)


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        LabHost("lab", Path("/tmp") / ("x" * 100))
