"""The fake VIM is as strict as a real platform, so that a wrong order of steps shows on it."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from manor.api import (
    CallContext,
    CpuPolicy,
    Disk,
    NetworkSpec,
    NodeSpec,
    Port,
    PowerState,
    Query,
    ResourceKind,
    ResourceRef,
    Support,
    VolumeSpec,
)
from manor.errors import Conflict, NotFound, Permanent, QuotaExceeded, Transient, Unsupported
from manor.fakes import FakeClock, FakeHost, FakeVim, World

OWNER = "manor/test"
NETWORK = NetworkSpec(key="a1/vl/lan", owner=OWNER, host="host-1", name="lan", segment="")
PORT = Port(key="a1/port/1", network=NETWORK.key, device="mtap1", mac="52:54:00:00:00:01")
NODE = NodeSpec(key="a1/vnf/fw", owner=OWNER, host="host-1", name="fw", vcpus=2, memory_bytes=1 << 30, ports=(PORT,))


def ctx() -> CallContext:
    return CallContext.within(5.0)


def test_what_is_in_use_is_not_removed() -> None:
    vim = FakeVim()
    vim.ensure(NETWORK, ctx())
    vim.ensure(NODE, ctx())
    with pytest.raises(Conflict, match="a1/vnf/fw"):
        vim.remove(ResourceRef(kind=ResourceKind.NETWORK, key=NETWORK.key), ctx())


def test_what_is_needed_must_be_there() -> None:
    vim = FakeVim()
    with pytest.raises(NotFound, match="a1/vl/lan"):
        vim.ensure(NODE, ctx())
    vim.ensure(NETWORK, ctx())
    with pytest.raises(NotFound, match="a1/vol/x"):
        vim.ensure(dataclasses.replace(NODE, disks=(Disk(volume="a1/vol/x"),)), ctx())


def test_a_host_has_only_so_much_room() -> None:
    vim = FakeVim(World(hosts=[FakeHost(name="host-1", memory_bytes=1 << 30, storage_bytes=1 << 30)]))
    vim.ensure(NETWORK, ctx())
    vim.ensure(NODE, ctx())
    vim.ensure(NODE, ctx())
    (host,) = vim.capabilities(ctx()).hosts
    assert (host.memory_free_bytes, host.vcpus_used) == (0, 2)
    more = dataclasses.replace(NODE, key="a1/vnf/b", ports=())
    with pytest.raises(QuotaExceeded, match="memory"):
        vim.ensure(more, ctx())
    with pytest.raises(QuotaExceeded, match="disk"):
        vim.ensure(VolumeSpec(key="a1/vol/b", owner=OWNER, host="host-1", name="b", size_bytes=2 << 30), ctx())


def test_a_cpu_is_dedicated_once() -> None:
    vim = FakeVim(World(hosts=[FakeHost(name="host-1", vcpus=3)]))
    vim.ensure(NETWORK, ctx())
    mine = dataclasses.replace(NODE, cpu=CpuPolicy(dedicated=True))
    vim.ensure(mine, ctx())
    vim.ensure(mine, ctx())
    (host,) = vim.capabilities(ctx()).hosts
    assert (host.vcpus_used, host.vcpus_dedicated) == (2, 2)
    with pytest.raises(QuotaExceeded, match="2 CPUs left to dedicate"):
        vim.ensure(dataclasses.replace(mine, key="a1/vnf/b", ports=()), ctx())


def test_what_a_host_lacks_is_refused_there_and_had_elsewhere() -> None:
    hosts = [FakeHost(name="host-1", lacks={"hugepages": "none set aside"}), FakeHost(name="host-2")]
    vim = FakeVim(World(hosts=hosts))
    told = vim.capabilities(ctx())
    assert (told.has("hugepages"), [sorted(host.lacks) for host in told.hosts]) == (Support.FULL, [["hugepages"], []])
    huge = dataclasses.replace(NODE, ports=(), cpu=CpuPolicy(hugepage_bytes=2 << 20))
    with pytest.raises(Unsupported, match="none set aside"):
        vim.ensure(huge, ctx())
    vim.ensure(dataclasses.replace(huge, host="host-2"), ctx())


def test_huge_pages_are_had_once_and_are_none_of_the_ordinary_memory(tmp_path: Path) -> None:
    page, host = 2 << 20, FakeHost(name="host-1", memory_bytes=1 << 30, hugepages_bytes={2 << 20: 1 << 30})
    World(hosts=[host], state_file=tmp_path / "world").inject()
    vim = FakeVim(World(state_file=tmp_path / "world"))
    huge = dataclasses.replace(NODE, ports=(), memory_bytes=(1 << 30) - page + 1, cpu=CpuPolicy(hugepage_bytes=page))
    vim.ensure(huge, ctx())
    (told,) = vim.capabilities(ctx()).hosts
    assert (told.memory_free_bytes, told.hugepages_free_bytes) == (1 << 30, {page: 0})
    with pytest.raises(QuotaExceeded, match=f"pages of {page} bytes left"):
        vim.ensure(dataclasses.replace(huge, key="a1/vnf/b", memory_bytes=1), ctx())
    with pytest.raises(Unsupported, match="no pages of 4096 bytes"):
        vim.ensure(dataclasses.replace(huge, key="a1/vnf/b", cpu=CpuPolicy(hugepage_bytes=4096)), ctx())


def test_an_interface_name_is_one_nodes() -> None:
    vim = FakeVim()
    vim.ensure(NETWORK, ctx())
    vim.ensure(NODE, ctx())
    with pytest.raises(Conflict, match="mtap1"):
        vim.ensure(dataclasses.replace(NODE, key="a1/vnf/other"), ctx())


def test_a_resource_doubled_on_two_hosts_shows() -> None:
    vim = FakeVim(World(hosts=[FakeHost(name="host-1"), FakeHost(name="host-2")]))
    for host in ("host-1", "host-2"):
        vim.ensure(dataclasses.replace(NETWORK, host=host), ctx())
    assert [o.ref.host for o in vim.observe(Query(owner=OWNER), ctx())] == ["host-1", "host-2"]
    vim.remove(ResourceRef(kind=ResourceKind.NETWORK, key=NETWORK.key, host="host-2"), ctx())
    assert [o.ref.host for o in vim.observe(Query(owner=OWNER), ctx())] == ["host-1"]


def test_another_owners_spec_is_refused() -> None:
    with pytest.raises(Permanent, match="manor/other"):
        FakeVim(owner="manor/other").ensure(NETWORK, ctx())


def test_a_volume_grows_and_does_not_shrink() -> None:
    vim = FakeVim()
    volume = VolumeSpec(key="a1/vol/a", owner=OWNER, host="host-1", name="a", size_bytes=1 << 20)
    native = vim.ensure(volume, ctx()).native_id
    grown = dataclasses.replace(volume, size_bytes=1 << 21)
    assert vim.ensure(grown, ctx()).native_id == native
    with pytest.raises(Conflict) as caught:
        vim.ensure(volume, ctx())
    assert caught.value.fields == ("size_bytes",)


def test_a_guest_answers_once_it_is_up() -> None:
    clock = FakeClock()
    vim = FakeVim(World(clock=clock), boot_s=5.0)
    vim.ensure(NETWORK, ctx())
    ref = vim.ensure(NODE, ctx()).ref
    assert not vim.guest_ping(ref, ctx())
    with pytest.raises(Transient):
        vim.guest_exec(ref, ["true"], ctx())
    clock.advance(5.0)
    assert vim.guest_ping(ref, ctx())
    assert vim.guest_exec(ref, ["echo", "hello"], ctx()).stdout == b"echo hello\n"
    vim.ensure(dataclasses.replace(NODE, power=PowerState.STOPPED), ctx())
    assert not vim.guest_ping(ref, ctx())


def test_a_thousand_lives_take_no_time() -> None:
    """A generous bound, against a change of order; the benchmark has the figure."""
    vim = FakeVim()
    started_s = time.process_time()
    for _ in range(1000):
        vim.ensure(NETWORK, ctx())
        vim.ensure(NODE, ctx())
        vim.observe(Query(owner=OWNER), ctx())
        vim.remove(ResourceRef(kind=ResourceKind.NODE, key=NODE.key), ctx())
        vim.remove(ResourceRef(kind=ResourceKind.NETWORK, key=NETWORK.key), ctx())
    assert time.process_time() - started_s < 5.0
