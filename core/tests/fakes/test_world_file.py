"""A world in a file is one world to all processes, and a kill leaves it before or after a change, never between."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from manor.api import (
    CallContext,
    DriverEnvironment,
    NetworkSpec,
    NodeSpec,
    Phase,
    Port,
    Query,
    ResourceKind,
    ResourceRef,
    SdnPort,
    SegmentSpec,
)
from manor.errors import Unreachable
from manor.fakes import Action, FakeHost, FakeSdn, FakeVim, Fault, When, World
from manor.plugin import Plugins, PluginSettings

OWNER = "manor/test"
QUERY = Query(owner=OWNER)


def network(number: int = 0) -> NetworkSpec:
    return NetworkSpec(key=f"a1/vl/n{number}", owner=OWNER, host="host-1", name=f"n{number}", segment="")


def node() -> NodeSpec:
    port = Port(key="a1/port/1", network=network().key, device="mtap1", mac="52:54:00:00:00:01")
    return NodeSpec(
        key="a1/vnf/fw", owner=OWNER, host="host-1", name="fw", vcpus=1, memory_bytes=1 << 28, ports=(port,)
    )


def ctx() -> CallContext:
    return CallContext.within(30.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "worlds" / "world.json"


def test_everything_outlives_the_process(file: Path) -> None:
    vim = FakeVim(World(state_file=file))
    vim.ensure(network(), ctx())
    made = vim.ensure(node(), ctx())
    vim.guest_exec(made.ref, ["hostname", "fw"], ctx())
    FakeSdn(vim.world).apply(
        FakeSdn().compile(
            SegmentSpec(
                key="a1/vl/lan",
                owner=OWNER,
                name="lan",
                ports=(SdnPort(key="a1/port/1", host="host-1", device="mtap1", mac="52:54:00:00:00:01"),),
            ),
            FakeSdn().topology(ctx()),
        ),
        ctx(),
    )
    vim.world.inject(Fault(verb="remove", times=3))
    again = World(state_file=file)
    assert FakeVim(again).observe(QUERY, ctx()) == vim.observe(QUERY, ctx())
    (segment,) = FakeSdn(again).observe(QUERY, ctx())
    assert (segment.ref.key, segment.phase) == ("a1/vl/lan", Phase.ACTIVE)
    (guest,) = [native for native in again.natives() if native.spec.kind is ResourceKind.NODE]
    assert guest.ran == [["hostname", "fw"]]
    with again.look() as state:
        assert [fault.times for fault in state.faults] == [3]


def test_nobody_else_may_read_it(file: Path) -> None:
    FakeVim(World(state_file=file)).ensure(network(), ctx())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_two_drivers_see_each_other_at_once(file: Path) -> None:
    one, other = FakeVim(World(state_file=file)), FakeVim(World(state_file=file))
    for number in range(20):
        (one if number % 2 else other).ensure(network(number), ctx())
        assert len(one.observe(QUERY, ctx())) == len(other.observe(QUERY, ctx())) == number + 1


FILL = """
import sys
from pathlib import Path
from manor.api import CallContext, NetworkSpec
from manor.fakes import FakeVim, World
vim = FakeVim(World(state_file=Path(sys.argv[1])))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    vim.ensure(
        NetworkSpec(key=f"a1/vl/n{number}", owner="manor/test", host="host-1", name="n", segment=""),
        CallContext.within(30.0),
    )
"""


def fill(file: Path, start: int, end: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FILL, str(file), str(start), str(end)])


def test_processes_lose_nothing_of_each_others_work(file: Path) -> None:
    workers = [fill(file, start, start + 25) for start in (0, 25, 50)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    seen = FakeVim(World(state_file=file)).observe(QUERY, ctx())
    assert {o.ref.key for o in seen} == {network(number).key for number in range(75)}
    assert len({o.native_id for o in seen}) == 75


@pytest.mark.parametrize(("when", "made"), [(When.BEFORE, 4), (When.AFTER, 5)])
def test_a_killed_process_leaves_the_world_on_one_side_of_the_change(file: Path, when: When, made: int) -> None:
    World(state_file=file).inject(Fault(verb="ensure", action=Action.KILL, when=when, skip=4))
    for killed in (True, False):
        assert fill(file, 0, 9).wait(60) == (-signal.SIGKILL if killed else 0)
        assert len(FakeVim(World(state_file=file)).observe(QUERY, ctx())) == (made if killed else 9)
    json.loads(file.read_text())


def test_the_drivers_of_the_plugin_share_a_file(tmp_path: Path) -> None:
    plugins = Plugins(builtin=("manor.fakes.plugin",), entry_points=False, settings=PluginSettings())
    environment = DriverEnvironment(name="lab", owner=OWNER, state_dir=tmp_path, runtime_dir=tmp_path)
    settings = {"state_file": str(tmp_path / "shared.json")}
    vim = plugins.connect_vim("fake", settings, environment)
    sdn = plugins.connect_sdn("fake", {**settings, "follow_nodes": True}, environment)
    segment = SegmentSpec(
        key="a1/vl/lan",
        owner=OWNER,
        name="lan",
        ports=(SdnPort(key="a1/port/1", host="host-1", device="mtap1", mac="52:54:00:00:00:01"),),
    )
    program = sdn.compile(segment, sdn.topology(ctx()))
    assert sdn.apply(program, ctx()).phase is Phase.DEGRADED, "the node is not there yet"
    vim.ensure(network(), ctx())
    vim.ensure(node(), ctx())
    assert sdn.observe(QUERY, ctx())[0].phase is Phase.ACTIVE
    assert sdn.topology(ctx()).switches[0].ports.keys() == {"mtap1"}
    vim.remove(ResourceRef(kind=ResourceKind.NODE, key="a1/vnf/fw"), ctx())
    (seen,) = sdn.observe(QUERY, ctx())
    assert (seen.phase, seen.detail["missing"]) == (Phase.DEGRADED, ["mtap1"])
    assert {o.ref.kind for o in vim.observe(QUERY, ctx())} == {ResourceKind.NETWORK}, "a VIM shows no segments"


def test_hosts_come_and_go(file: Path) -> None:
    world = World(state_file=file, hosts=[FakeHost(name="host-1"), FakeHost(name="host-2")])
    vim = FakeVim(world)
    vim.ensure(network(), ctx())
    World(state_file=file).set_hosts(FakeHost(name="host-1", reachable=False), FakeHost(name="host-2"))
    with pytest.raises(Unreachable) as caught:
        vim.observe(QUERY, ctx())
    assert (caught.value.hosts.keys(), caught.value.found) == ({"host-1"}, ())
    assert [host.reachable for host in vim.capabilities(ctx()).hosts] == [False, True]


def test_what_an_older_release_hashed_otherwise_is_as_wanted_once_it_was_ensured(file: Path) -> None:
    vim = FakeVim(World(state_file=file))
    made = vim.ensure(network(), ctx())
    file.write_text(file.read_text().replace(made.spec_hash, "0" * 16))
    assert vim.observe(QUERY, ctx())[0].spec_hash == "0" * 16
    vim.ensure(network(), ctx())
    assert vim.observe(QUERY, ctx())[0] == made
