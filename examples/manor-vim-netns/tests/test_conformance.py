"""Manor's contract of a VIM, on real namespaces and a real switch of our own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from manor.api import CallContext, DriverEnvironment, ResourceKind
from manor.testing import VimConformance, VimSpecs, VimWorld
from manor.testing.ovs import PrivateOvs, missing_for_ovs
from manor.testing.vim_specs import ref_of

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


def test_what_is_left_of_a_node_that_others_destroyed_goes_too(ovs, tmp_path):
    specs = VimSpecs(owner=OWNER, host="host-1", workdir=tmp_path)
    bridge = f"mn{os.getpid() % 10000}{secrets.token_hex(2)}"
    vim, world, ctx = connect(ovs, tmp_path, bridge=bridge), World(ovs, tmp_path, bridge), CallContext.within(60)
    stack = specs.stack(ResourceKind.NODE)
    observed = [vim.ensure(spec, ctx) for spec in stack][-1]
    world.destroy(observed)
    assert ovs.vsctl("list-ports", bridge)
    vim.remove(observed.ref, ctx)
    assert not ovs.vsctl("list-ports", bridge)
    vim.remove(ref_of(stack[0]), ctx)
    assert bridge not in ovs.vsctl("list-br").split()


def test_two_nodes_reach_each_other_through_the_switch(ovs, tmp_path):
    specs = VimSpecs(owner=OWNER, host="host-1", workdir=tmp_path)
    bridge = f"mn{os.getpid() % 10000}{secrets.token_hex(2)}"
    vim, ctx = connect(ovs, tmp_path, bridge=bridge), CallContext.within(60)
    network = specs.network()
    nodes = [specs.node(name, network=network) for name in "ab"]
    try:
        for spec in (network, *nodes):
            vim.ensure(spec, ctx)
        ovs.ofctl("add-flow", bridge, "actions=normal")
        there = nodes[1].ports[0].addresses[0].partition("/")[0]
        result = vim.guest_exec(ref_of(nodes[0]), ["busybox", "ping", "-c", "1", "-W", "5", there], ctx)
        assert result.exit_code == 0, result.stdout + result.stderr
    finally:
        for spec in (*nodes, network):
            vim.remove(ref_of(spec), ctx)
