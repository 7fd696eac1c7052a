"""Manor's contract of a VIM, on real namespaces and a real switch of our own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from manor.api import DriverEnvironment, ResourceKind
from manor.testing import VimConformance, VimSpecs, VimWorld
from manor.testing.ovs import PrivateOvs, missing_for_ovs

from manor_vim_netns.config import NetnsConfig
from manor_vim_netns.driver import NetnsVim
from manor_vim_netns.nodes import init_pids

OWNER = "manor/kit"

pytestmark = [pytest.mark.skipif(bool(missing_for_ovs()), reason=missing_for_ovs() or "-")]


@pytest.fixture(scope="session")
def ovs() -> Iterator[PrivateOvs]:
    with PrivateOvs(netns=False) as ovs:
        yield ovs


def connect(ovs: PrivateOvs, directory: Path, owner: str = OWNER, bridge: str = "") -> NetnsVim:
    environment = DriverEnvironment(name="kit", owner=owner, state_dir=directory, runtime_dir=directory)
    return NetnsVim(NetnsConfig(host="host-1", bridge=bridge, ovsdb=ovs.ovsdb), environment)


class World(VimWorld):
    def __init__(self, ovs, directory, bridge):
        self.ovs, self.directory, self.bridge = ovs, directory, bridge

    def stop(self, observed):
        os.kill(init_pids([observed.native_id])[observed.native_id], signal.SIGKILL)

    def destroy(self, observed):
        match observed.ref.kind:
            case ResourceKind.NODE:
                self.stop(observed)
                subprocess.run(["ip", "netns", "del", observed.native_id], check=True)
            case ResourceKind.NETWORK:
                self.ovs.vsctl("del-br", self.bridge)
            case ResourceKind.IMAGE:
                (self.directory / f"images/{observed.native_id}.img").unlink()

    def disconnect(self):
        """There is no connection to lose."""

    def stranger(self):
        return connect(self.ovs, self.directory, "manor/stranger", self.bridge)

    def inventory(self):
        spaces = {f"space {name}" for name in os.listdir("/run/netns") if name.startswith("mn-")}
        files = {str(path) for path in self.directory.rglob("*") if path.name != "lock"}
        ports = {f"port {name}" for name in self.ovs.vsctl("--bare", "--columns=name", "list", "Interface").split()}
        return spaces | files | ports


class TestNetnsVim(VimConformance):
    @pytest.fixture
    def bridge(self):
        return f"mn{os.getpid() % 10000}{secrets.token_hex(2)}"

    @pytest.fixture
    def driver(self, ovs, tmp_path, bridge):
        return connect(ovs, tmp_path / "state", bridge=bridge)

    @pytest.fixture
    def specs(self, tmp_path):
        return VimSpecs(owner=OWNER, host="host-1", workdir=tmp_path, boots=True)

    @pytest.fixture
    def world(self, ovs, tmp_path, bridge):
        return World(ovs, tmp_path / "state", bridge)
