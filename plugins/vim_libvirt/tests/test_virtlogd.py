"""virtlogd that died under a running libvirtd: who looks is told, who starts a machine is told what to do."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from manor.api import CallContext, NodeSpec, Phase
from manor.errors import Transient
from manor.testing.lab import LabHost
from manor.testing.vim_specs import ref_of
from manor_vim_libvirt.driver import LibvirtVim
from manor_vim_libvirt.virtlogd import is_dead, socket_beside

NODE = NodeSpec(key="s/vnf/one", owner="manor/test", host="lab", name="one", vcpus=1, memory_bytes=64 << 20)


def test_one_that_was_killed_leaves_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "virtlogd-sock"
    assert not is_dead(path), "perhaps this libvirtd wants none"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert not is_dead(path)
    assert is_dead(path)


def test_it_listens_beside_its_libvirtd() -> None:
    assert socket_beside("qemu:///system") == Path("/run/libvirt/virtlogd-sock")
    assert socket_beside("qemu+unix:///system?socket=/x/libvirt-sock") == Path("/x/virtlogd-sock")
    assert [socket_beside(uri) for uri in ("qemu+ssh://kvm1/system", "test:///default", "qemu:///session")] == [
        None
    ] * 3


@pytest.mark.real
@pytest.mark.slow
def test_a_start_waits_for_it_or_names_it_and_the_remedy(lab: LabHost, connect: Callable[..., LibvirtVim]) -> None:
    vim = connect(uri=lab.uri, name="lab", ovsdb=lab.ovsdb, pool_dir=str(lab.pool_dir), accel="tcg")

    def told() -> str:
        return vim.capabilities(CallContext.within(60)).hosts[0].reason

    assert "virtlogd" not in told()
    lab.end("virtlogd", "KILL")
    try:
        assert "virtlogd does not answer, so no machine can start" in told()
        with pytest.raises(Transient, match="s/vnf/one on host lab: virtlogd does not answer there") as caught:
            vim.ensure(NODE, CallContext.within(60))
        assert "on lab: systemctl start virtlogd.socket" in caught.value.hint
    finally:
        lab.begin("virtlogd")
    assert vim.ensure(NODE, CallContext.within(60)).phase is Phase.ACTIVE
    assert "virtlogd" not in told()
    vim.remove(ref_of(NODE), CallContext.within(60))
