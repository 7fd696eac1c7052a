"""On real QEMU and a real switch: what an operator would notice."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from manor.api import (
    BootSource,
    CallContext,
    Disk,
    DiskFormat,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    Observed,
    Phase,
    Port,
    PowerState,
    Query,
    ResourceKind,
    ResourceSpec,
    SnapshotSpec,
    VolumeSpec,
    spec_hash,
)
from manor.errors import Conflict, DeadlineExceeded, Indeterminate, Permanent, QuotaExceeded, Transient, Unreachable
from manor.testing.lab import LabHost, cable
from manor.testing.vim_specs import ref_of
from manor_vim_libvirt import nodes
from manor_vim_libvirt.directory import Directory
from manor_vim_libvirt.driver import LibvirtVim
from manor_vim_libvirt.names import Sort, StoredName
from manor_vim_libvirt.nodes import console_name
from manor_vim_libvirt.objects_xml import volume_xml

pytestmark = [pytest.mark.real, pytest.mark.slow]

OWNER = "manor/test"
BOOT_S = 90.0


class Site:
    """A lab host, a driver on it, and specs of small resources."""

    def __init__(self, lab: LabHost, connect: Callable[..., LibvirtVim], guest: tuple[Path, Path], **more: Any) -> None:
        self.lab = lab
        settings = {"uri": lab.uri, "name": "lab", "ovsdb": lab.ovsdb, "pool_dir": str(lab.pool_dir), "accel": "tcg"}
        self.connect = lambda: connect(OWNER, **{**settings, **more})
        self.vim = self.connect()
        self.images = (
            self.image("kernel", guest[0], DiskFormat.KERNEL),
            self.image("i", guest[1], DiskFormat.INITRAMFS),
        )
        self.network = NetworkSpec(key="s/vl/lan", owner=OWNER, host="lab", name="lan", segment="")

    @property
    def ctx(self) -> CallContext:
        return CallContext.within(120)

    def image(self, key: str, file: Path, format_: DiskFormat) -> ImageSpec:
        data = file.read_bytes()
        return ImageSpec(
            key=f"image/{key}@lab", owner=OWNER, host="lab", name=key, sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data), format=format_, source=str(file),
        )  # fmt: skip

    def node(self, name: str, number: int = 1, **changes: Any) -> NodeSpec:
        port = Port(
            key=f"s/vnf/{name}/p", network=self.network.key, device=f"mtest{number}",
            mac=f"52:54:00:00:01:{number:02x}", addresses=(f"10.9.0.{number}/24",), name="lan",
        )  # fmt: skip
        spec = NodeSpec(
            key=f"s/vnf/{name}", owner=OWNER, host="lab", name=name, vcpus=1, memory_bytes=128 << 20, ports=(port,),
            boot=BootSource(kernel=self.images[0].key, initramfs=self.images[1].key, cmdline="console=ttyS0"),
        )  # fmt: skip
        return dataclasses.replace(spec, **changes)

    def ensure(self, *specs: ResourceSpec) -> list[Observed]:
        return [self.vim.ensure(spec, self.ctx) for spec in specs]

    def base(self) -> None:
        self.ensure(*self.images, self.network)

    def everything(self, vim: LibvirtVim | None = None) -> dict[str, Observed]:
        found = (vim or self.vim).observe(Query(owner=OWNER), self.ctx)
        assert len({item.ref for item in found}) == len(found)
        return {item.ref.key: item for item in found}

    def ovs(self, *argv: str) -> str:
        done = subprocess.run(
            ["ovs-vsctl", f"--db={self.lab.ovsdb}", "--timeout=60", *argv], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def wait_for_agent(self, *specs: NodeSpec) -> None:
        end = time.monotonic() + BOOT_S
        for spec in specs:
            while not self.vim.guest_ping(ref_of(spec), self.ctx):
                assert time.monotonic() < end, self.console(spec)[-2000:]
                time.sleep(0.2)

    def run(self, spec: NodeSpec, script: str) -> str:
        result = self.vim.guest_exec(ref_of(spec), ["/bin/sh", "-c", script], self.ctx)
        assert result.exit_code == 0, result
        return result.stdout.decode()

    def console(self, spec: NodeSpec) -> str:
        return Path(self.vim.console(ref_of(spec), self.ctx).log_path).read_text(errors="replace")

    def clear(self) -> None:
        order = (*ResourceKind,)[::-1]  # snapshots, nodes, volumes, networks, images
        for item in sorted(self.everything().values(), key=lambda item: order.index(item.ref.kind)):
            self.vim.remove(item.ref, self.ctx)

    def leftovers(self) -> list[str]:
        left = [path.name for path in self.lab.workdir.glob("pool*")]
        folders = ("/etc/libvirt/qemu", "/etc/libvirt/storage", "/var/lib/libvirt/qemu/nvram")
        left += self.lab.run("sh", "-c", f"ls {' '.join(folders)} 2>/dev/null || true").split()
        left += [line.split(":")[1] for line in self.lab.run("ip", "-o", "link").splitlines()]
        left += self.ovs("--bare", "--columns=name", "list", "Interface").split()
        ordinary = ("autostart", "networks", "lo", "ovs-netdev", "/etc/", "/var/")
        return [name for name in left if not name.strip().startswith(ordinary)]


@pytest.fixture
def site(lab: LabHost, connect: Callable[..., LibvirtVim], guest_image: tuple[Path, Path]) -> Iterator[Site]:
    here = Site(lab, connect, guest_image)
    yield here
    here.clear()
    assert here.leftovers() == [], "something of ours is left on the host"


def test_two_guests_speak_tcp_and_write_to_their_disks(site: Site, tmp_path: Path) -> None:
    """All at once, because booting is what costs: seed, agent, console, overlay, TCP on the userspace datapath."""
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "32M"], check=True)
    image = site.image("disk", disk, DiskFormat.QCOW2)
    volume = VolumeSpec(key="s/vol/a", owner=OWNER, host="lab", name="a", size_bytes=64 << 20, image=image.key)
    one = site.node("one", 1, disks=(Disk(volume=volume.key),), user_data="#!/bin/sh\necho from-user-data > /tmp/ud\n")
    two = site.node("two", 2)
    site.base()
    site.ensure(image, volume, one, two)
    bridge = f"unix:{site.lab.workdir}/run/openvswitch/manor-int.mgmt"
    subprocess.run(["ovs-ofctl", "add-flow", bridge, "actions=NORMAL"], check=True)
    site.wait_for_agent(one, two)

    assert "from-user-data" in site.run(one, "cat /tmp/ud")
    assert "10.9.0.1/24" in site.run(one, "ip addr")
    assert "READY" in site.console(one)

    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    path = Path(str(site.everything()[image.key].detail["path"]))
    site.run(one, "test $(cat /sys/block/vda/size) = 131072 && dd if=/dev/zero of=/dev/vda bs=1M count=20 && sync")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before, "the image under the overlay was written to"

    site.run(two, "dd if=/dev/urandom of=/tmp/f bs=1k count=512; (nc -l -p 9000 < /tmp/f >/dev/null 2>&1 &)")
    want = site.run(two, "md5sum < /tmp/f")
    # nc ends when it has nothing more to say, also before it has heard all.
    listens = (
        "mkfifo /tmp/quiet; (sleep 100 >/tmp/quiet 2>/dev/null &); (nc 10.9.0.2 9000 </tmp/quiet >/tmp/got 2>&1 &)"
    )
    heard = "until test $(wc -c </tmp/got) -ge 524288; do sleep 0.1; done; md5sum </tmp/got"
    assert site.run(one, f": >/tmp/got; {listens}; {heard}") == want

    samples = {(s.key, s.metric): s.value for s in site.vim.samples([ref_of(one), ref_of(two)], site.ctx)}
    assert samples[one.key, "v_net_byte_incoming"] > 512 * 1024
    assert samples[two.key, "v_cpu_time"] > 0
    assert str(site.everything()[one.key].detail["last_event"]).startswith(("resumed", "started"))


class Bomb:
    """A clock that ends the caller, as ``kill -9`` would, when it is looked at for the n-th time."""

    def __init__(self, fuse: int) -> None:
        self.fuse = fuse

    def __call__(self) -> float:
        self.fuse -= 1
        if self.fuse < 0:
            raise KilledError
        return time.monotonic()


class KilledError(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("kind", ["image", "network", "volume", "node"])
def test_a_crash_between_any_two_effects_is_repaired(site: Site, kind: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(os.urandom(300_000))
    volume = VolumeSpec(key="s/vol/c", owner=OWNER, host="lab", name="c", size_bytes=8 << 20)
    spec: ResourceSpec = {
        "image": site.image("small", small, DiskFormat.RAW), "network": site.network, "volume": volume,
        "node": site.node("crashed"),
    }[kind]  # fmt: skip
    if kind == "node":
        site.base()
    for fuse in range(60):
        crashing = site.connect()
        ctx = CallContext(deadline=time.monotonic() + 60, clock=Bomb(fuse))
        try:
            crashing.ensure(spec, ctx)
        except KilledError:
            survived = False
        else:
            survived = True
        crashing._pool.shutdown(wait=True)  # all threads of a killed process end
        if kind != "node" and not survived:
            half = site.everything().get(spec.key)
            assert half is None or half.phase in (Phase.PENDING, Phase.ACTIVE, Phase.STOPPED)
        made = site.vim.ensure(spec, site.ctx)
        assert made.phase is Phase.ACTIVE
        assert made.spec_hash == spec_hash(spec)
        assert [key for key in site.everything() if key == spec.key] == [spec.key]
        site.vim.remove(ref_of(spec), site.ctx)
        crashing.close()
        if survived:
            break
    else:
        pytest.fail("the bomb went off every time")
    assert fuse > 3, "no boundary was tried"


def test_a_removal_that_is_cut_short_shows_until_nothing_is_left(site: Site) -> None:
    site.base()
    spec = site.node("cut", user_data="#cloud-config\n{}\n")

    def left() -> list[str]:
        return sorted([*site.leftovers(), *(path.name for path in site.lab.pool_dir.iterdir())])

    before = left()
    for fuse in range(60):
        site.ensure(spec)
        crashing = site.connect()
        try:
            crashing.remove(ref_of(spec), CallContext(deadline=time.monotonic() + 60, clock=Bomb(fuse)))
        except KilledError:
            survived = False
        else:
            survived = True
        crashing._pool.shutdown(wait=True)  # all threads of a killed process end
        crashing.close()
        if spec.key not in site.everything():
            assert left() == before, f"cut short at {fuse}"
        if survived:
            break
    else:
        pytest.fail("the bomb went off every time")
    assert fuse > 2, "no boundary was tried"
    assert left() == before


def test_a_machine_whose_removal_was_cut_short_before_its_definition_went_is_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Transient("killed")

    site.base()
    spec = site.node("again", user_data="#cloud-config\n{}\n")
    site.ensure(spec)
    with monkeypatch.context() as patched:
        patched.setattr(nodes, "_undefine", killed)
        with pytest.raises(Transient):
            site.vim.remove(ref_of(spec), site.ctx)
    assert site.everything()[spec.key].phase is not Phase.ACTIVE
    site.ensure(spec)
    assert site.everything()[spec.key].phase is Phase.ACTIVE


def test_a_bridge_that_was_asked_for_while_the_switch_was_away_works_once_it_is_back(site: Site) -> None:
    site.everything()  # which connects
    site.lab.end("ovs-vswitchd")
    try:
        with pytest.raises(Indeterminate):
            site.vim.ensure(site.network, CallContext.within(5.0))
        with pytest.raises(Transient, match="has not taken up bridge"):
            site.vim.ensure(site.network, site.ctx)
    finally:
        site.lab.begin("ovs-vswitchd")
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(Transient):
            bridge = str(site.vim.ensure(site.network, site.ctx).detail["bridge"])
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    assert int(site.ovs("get", "Interface", bridge, "ofport")) > 0


def test_a_bridge_that_another_process_has_just_asked_for_is_waited_for(site: Site) -> None:
    pid = site.lab.run("pidof", "ovs-vswitchd").strip()
    site.lab.run("kill", f"-{signal.SIGSTOP.value}", pid)
    try:
        with pytest.raises(Indeterminate):
            site.connect().ensure(site.network, CallContext.within(2.0))
        with ThreadPoolExecutor(1) as thread:
            making = thread.submit(site.vim.ensure, site.network, site.ctx)
            with pytest.raises(TimeoutError):
                making.result(1.0)
            site.lab.run("kill", f"-{signal.SIGCONT.value}", pid)
            assert making.result(60).phase is Phase.ACTIVE
    finally:
        site.lab.run("kill", f"-{signal.SIGCONT.value}", pid)
    assert int(site.ovs("get", "Interface", "manor-int", "ofport")) > 0


def test_two_processes_that_make_the_same_make_it_once(site: Site) -> None:
    """Two drivers share no locks, as two nodes of one installation do not."""
    site.base()
    site.clear()
    drivers = [site.connect() for _ in range(4)]
    specs = [VolumeSpec(key=f"s/vol/r{n}", owner=OWNER, host="lab", name="r", size_bytes=8 << 20) for n in range(4)]

    def make(number: int) -> Observed | Transient:
        try:
            return drivers[number % 4].ensure(specs[number // 4], site.ctx)
        except Transient as error:
            return error

    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(make, range(16)))
    natives = {item.native_id for item in made if isinstance(item, Observed)}
    assert len(natives) == 4
    assert {item.phase for item in site.everything().values()} == {Phase.ACTIVE}
    assert set(site.everything()) == {spec.key for spec in specs}


def test_two_processes_that_send_the_same_image_leave_it_whole(site: Site, tmp_path: Path) -> None:
    """Drivers share no locks; whoever comes second waits, and never takes half a file for a whole one."""
    file = tmp_path / "big"
    file.write_bytes(os.urandom(1 << 20) * 48)
    image = site.image("big", file, DiskFormat.RAW)
    drivers = [site.connect() for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        made = list(threads.map(lambda driver: driver.ensure(image, site.ctx), drivers))
    assert {item.phase for item in made} == {Phase.ACTIVE}
    path = Path(str(site.everything()[image.key].detail["path"]))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == image.sha256


def test_an_image_in_use_is_not_removed(site: Site, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "32M"], check=True)
    image = site.image("disk", disk, DiskFormat.QCOW2)
    volume = VolumeSpec(key="s/vol/a", owner=OWNER, host="lab", name="a", size_bytes=64 << 20, image=image.key)
    node = site.node("one", power=PowerState.STOPPED)
    site.base()
    site.ensure(image, volume, node)
    with pytest.raises(Conflict, match="image image/disk@lab is in use by s/vol/a"):
        site.vim.remove(ref_of(image), site.ctx)
    with pytest.raises(Conflict, match="in use by s/vnf/one"):
        site.vim.remove(ref_of(site.images[0]), site.ctx)
    assert site.everything()[image.key].phase is Phase.ACTIVE
    site.vim.remove(ref_of(volume), site.ctx)
    site.vim.remove(ref_of(image), site.ctx)


def test_an_image_for_which_there_is_no_room_leaves_nothing_of_itself(site: Site) -> None:
    image, pool = site.images[0], str(site.lab.pool_dir)
    site.lab.run("mkdir", "-p", pool)
    site.lab.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", pool)
    try:
        with pytest.raises(QuotaExceeded, match=f"{pool}.*No space left") as refused:
            site.vim.ensure(image, site.ctx)
        assert "free room" in refused.value.hint
        assert [name for name in site.lab.run("ls", pool).split() if not name.startswith("pool+")] == []
    finally:
        site.lab.run("umount", pool)
        site.lab.run("rmdir", pool)
        for name in site.lab.run("virsh", "-q", "pool-list", "--all", "--name").split():
            site.lab.run("virsh", "-q", "pool-destroy", name)
            site.lab.run("virsh", "-q", "pool-undefine", name)


def test_networks_that_come_and_go_in_two_processes_keep_their_bridge(site: Site) -> None:
    """The last network takes the bridge with it, and the first makes it: both at once must not lose it."""
    drivers = [site.connect() for _ in range(2)]
    links = [dataclasses.replace(site.network, key=f"s/vl/n{n}", name=f"n{n}") for n in range(2)]

    def come_and_go(number: int) -> None:
        for _ in range(12):
            drivers[number].ensure(links[number], site.ctx)
            (seen,) = drivers[number].observe(Query(owner=OWNER, keys=frozenset({links[number].key})), site.ctx)
            seen_again = drivers[number].ensure(links[number], site.ctx)
            assert Phase.ACTIVE in (seen.phase, seen_again.phase)
            drivers[number].remove(ref_of(links[number]), site.ctx)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(come_and_go, range(2)))
    site.ensure(*links)
    assert {item.phase for item in site.everything().values()} == {Phase.ACTIVE}


def test_an_image_that_is_not_what_it_should_be_is_not_committed(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * 300_000)
    spec = site.image("changed", file, DiskFormat.RAW)
    file.write_bytes(b"b" * 300_000)
    with pytest.raises(Permanent, match="not the file that was on-boarded"):
        site.vim.ensure(spec, site.ctx)
    assert spec.key not in site.everything()
    file.write_bytes(b"a" * 300_000)
    assert site.vim.ensure(spec, site.ctx).phase is Phase.ACTIVE


def test_a_lost_port_shows_and_is_plugged_in_again(site: Site) -> None:
    site.base()
    spec = site.node("port", 3)
    site.ensure(spec)
    assert site.everything()[spec.key].phase is Phase.ACTIVE
    site.ovs("del-port", "mtest3")
    found = site.everything()[spec.key]
    assert found.phase is Phase.DEGRADED
    assert "mtest3" in str(found.detail["reason"])
    assert found.detail["unplugged"] == ["mtest3"], "nothing else, and it is put back while it runs"
    site.ensure(spec)
    assert site.everything()[spec.key].phase is Phase.ACTIVE


def test_what_was_taken_from_a_running_machine_itself_shows_and_is_given_back(site: Site) -> None:
    """Its interface, as by ``virsh detach-interface --live``; and its definition, as by ``virsh undefine``."""
    import libvirt

    site.base()
    spec = site.node("pulled", 8)
    [made] = site.ensure(spec)
    with contextlib.closing(libvirt.open(site.lab.uri)) as connection:
        domain = connection.lookupByUUIDString(made.native_id)
        root = etree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        devices = root.find("devices")
        devices.remove(devices.find("interface"))
        domain.destroy()
        connection.createXML(etree.tostring(root, encoding="unicode"))
        found = site.everything()[spec.key]
        assert (found.phase, "unplugged" in found.detail) == (Phase.DEGRADED, False), "it is restarted for that"
        site.ensure(spec)
        assert site.everything()[spec.key].phase is Phase.ACTIVE
        domain.undefine()
        found = site.everything()[spec.key]
        assert (found.phase, "kept" in str(found.detail["reason"])) == (Phase.DEGRADED, True)
        site.ensure(spec)
        assert site.everything()[spec.key].phase is Phase.ACTIVE
        assert domain.isPersistent()


def test_the_port_of_a_machine_that_vanished_is_taken_out(site: Site) -> None:
    site.base()
    spec = site.node("gone", 4)
    [made] = site.ensure(spec)
    ids = [f"external_ids:vm-id={made.native_id}"]
    site.vim.remove(ref_of(spec), site.ctx)
    site.ovs("add-port", "manor-int", "mtest4", "--", "set", "Interface", "mtest4", "type=internal", *ids)
    site.vim.remove(ref_of(spec), site.ctx)
    assert "mtest4" not in site.ovs("list-ports", "manor-int").split()


def test_a_bridge_that_others_use_stays(site: Site) -> None:
    site.ensure(site.network)
    assert site.ovs("get", "Bridge", "manor-int", "datapath_type") in ("netdev", '""', "system")
    assert site.ovs("get", "Bridge", "manor-int", "fail_mode") == "secure"
    site.ovs("add-port", "manor-int", "theirs", "--", "set", "Interface", "theirs", "type=internal")
    site.vim.remove(ref_of(site.network), site.ctx)
    assert "manor-int" in site.ovs("list-br").split()
    site.ovs("del-port", "theirs")
    site.ensure(site.network)
    site.vim.remove(ref_of(site.network), site.ctx)
    assert "manor-int" not in site.ovs("list-br").split()


def test_a_foreign_domain_with_our_id_is_never_touched(site: Site) -> None:
    import libvirt

    site.base()
    spec = site.node("theirs", 5)
    [made] = site.ensure(spec)
    connection = libvirt.open(site.lab.uri)
    domain = connection.lookupByUUIDString(made.native_id)
    xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE).replace(f'owner="{OWNER}"', 'owner="manor/other"')
    xml = xml.replace(f"owner='{OWNER}'", "owner='manor/other'")
    connection.defineXML(xml)
    try:
        with pytest.raises(Conflict) as caught:
            site.vim.ensure(spec, site.ctx)
        assert not caught.value.replace
        site.vim.remove(ref_of(spec), site.ctx)
        assert domain.isActive()
        assert spec.key not in site.everything()
    finally:
        domain.destroy()
        domain.undefine()
        connection.close()
        site.ensure(spec)  # again ours, so that its files are removed with it


def libvirtd(lab: LabHost) -> int:
    """Process id of the lab's libvirtd, as seen from inside."""
    return int((lab.workdir / "run/libvirtd.pid").read_text())


def observe_until_it_fails(site: Site) -> None:
    """A daemon that was told to end may answer a little longer."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        site.vim.observe(Query(owner=OWNER), site.ctx)


def test_a_restarted_daemon_is_found_again(site: Site) -> None:
    site.base()
    spec = site.node("kept", 6)
    site.ensure(spec)
    site.lab.run("kill", str(libvirtd(site.lab)))
    with pytest.raises(Transient):
        observe_until_it_fails(site)
    site.lab.end("libvirtd")  # it is left no sooner than it has let go of its lock
    site.lab.begin("libvirtd")
    assert site.everything()[spec.key].phase is Phase.ACTIVE


def test_a_stuck_daemon_costs_no_more_than_the_deadline(site: Site) -> None:
    site.ensure(site.network)
    pid = str(libvirtd(site.lab))
    site.lab.run("kill", f"-{signal.SIGSTOP.value}", pid)
    try:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            site.vim.ensure(site.network, CallContext.within(1.0))
        assert time.monotonic() - began < 20.0, "much less than the daemon is stuck for, which is for ever"
    finally:
        site.lab.run("kill", f"-{signal.SIGCONT.value}", pid)
    site.ensure(site.network)


def test_a_daemon_that_hangs_until_it_is_given_up_answers_all_who_ask_once_it_goes_on(
    lab: LabHost, connect: Callable[..., LibvirtVim]
) -> None:
    """Several calls wait when keepalive ends the connection: shared by them, it took the process down with it."""
    vim = connect(OWNER, uri=lab.uri, name="lab", ovsdb=lab.ovsdb, accel="tcg", keepalive_s=1)
    query = Query(owner=OWNER)

    def observe() -> None:
        vim.observe(query, CallContext.within(60.0))

    observe()
    pid = str(libvirtd(lab))
    lab.run("kill", f"-{signal.SIGSTOP.value}", pid)
    try:
        with ThreadPoolExecutor(6) as pool:
            for call in [pool.submit(observe) for _ in range(6)]:
                with pytest.raises(Transient, match=r"connection was lost|says nothing"):
                    call.result()
        with pytest.raises(Unreachable, match="did not answer in time"):
            vim.observe(query, CallContext.within(0.5))
        began = time.monotonic()
        vim.close()
        assert time.monotonic() - began < 30.0, "who ends does not wait for it"
    finally:
        lab.run("kill", f"-{signal.SIGCONT.value}", pid)
    again = connect(OWNER, uri=lab.uri, name="lab", ovsdb=lab.ovsdb, accel="tcg", keepalive_s=1)
    again.observe(query, CallContext.within(60.0))


def test_kvm_is_tried_once_and_the_answer_kept(
    lab: LabHost, connect: Callable[..., LibvirtVim], guest_image: tuple[Path, Path]
) -> None:
    def trials() -> int:
        return len(list((lab.workdir / "log-libvirt/qemu").glob("manor-trial-*.log")))

    before = trials()
    first = Site(lab, connect, guest_image, accel="auto").vim.capabilities(CallContext.within(60)).hosts[0]
    tried = trials()
    assert first.accelerator in ("kvm", "tcg")
    assert (tried > before) == os.path.exists("/dev/kvm")
    assert bool(first.reason) == (first.accelerator == "tcg")
    again = Site(lab, connect, guest_image, accel="auto").vim.capabilities(CallContext.within(60)).hosts[0]
    assert (again.accelerator, again.reason) == (first.accelerator, first.reason)
    assert trials() == tried


def test_a_stopped_node_changes_in_place_and_a_running_one_does_not(site: Site) -> None:
    site.base()
    spec = site.node("grow", 7, power=PowerState.STOPPED)
    [made] = site.ensure(spec)
    assert made.phase is Phase.STOPPED
    bigger = dataclasses.replace(spec, memory_bytes=256 << 20)
    [grown] = site.ensure(bigger)
    assert grown.native_id == made.native_id
    running = dataclasses.replace(bigger, power=PowerState.STARTED)
    assert site.ensure(running)[0].phase is Phase.ACTIVE
    with pytest.raises(Conflict) as caught:
        site.vim.ensure(dataclasses.replace(running, vcpus=2, labels=(("a", "b"),)), site.ctx)
    assert caught.value.fields == ("vcpus",)
    assert site.ensure(dataclasses.replace(running, labels=(("a", "b"),)))[0].phase is Phase.ACTIVE


def test_memory_that_a_running_machine_has_not_touched_yet_is_not_free(site: Site) -> None:
    import libvirt

    def said() -> int:
        """What the host says is free; others use it too."""
        stats = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        return sum(stats[name] for name in ("free", "buffers", "cached")) * 1024

    site.base()
    site.ensure(site.node("wide", 8, memory_bytes=4 << 30))
    connection = libvirt.open(site.lab.uri)
    before = said()
    [host] = site.vim.capabilities(site.ctx).hosts
    assert host.memory_free_bytes <= max(0, max(before, said()) - (2 << 30)), "it can have touched no two of four GiB"
    connection.close()


def test_the_doctor_tells_a_sound_host(lab: LabHost) -> None:
    code = (
        "import manor_vim_libvirt as m; from manor.api import CallContext as C\n"
        "for c in m.manor_doctor_checks():\n"
        "    for f in c.check(C.within(60)): print(c.name, f.severity, f.code, f.hint)"
    )
    said = lab.run(sys.executable, "-c", code, timeout_s=90)
    assert "libvirt info libvirt-ok" in said
    assert "openvswitch info" in said
    assert " error " not in said


def test_two_hosts_are_joined_by_a_cable(lab: LabHost, tmp_path_factory: pytest.TempPathFactory) -> None:
    import tempfile

    with LabHost("second", Path(tempfile.mkdtemp(prefix="manor-lab-", dir="/tmp"))) as other:
        cable(lab, other, "up0", "up1")
        lab.run("ip", "address", "add", "198.51.100.1/30", "dev", "up0")
        other.run("ip", "address", "add", "198.51.100.2/30", "dev", "up1")
        serve = (
            "import socket; s = socket.create_server(('198.51.100.2', 7)); print(flush=True); s.accept()[0].send(b'hi')"
        )
        ask = "import socket; print(socket.create_connection(('198.51.100.2', 7), 60).recv(2))"
        with subprocess.Popen(other.argv(sys.executable, "-c", serve), stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            assert "hi" in lab.run(sys.executable, "-c", ask)
        workdir = other.workdir
    assert not workdir.exists()
    end = time.monotonic() + 60  # the kernel takes a namespace down after its last process, by and by
    while " up0@" in lab.run("ip", "-o", "link"):
        assert time.monotonic() < end, "the cable outlived the host"
        time.sleep(0.05)


def test_a_pool_that_someone_stopped_hides_nothing(site: Site) -> None:
    import libvirt

    site.ensure(site.images[0])
    connection = libvirt.open(site.lab.uri)
    [pool] = [pool for pool in connection.listAllStoragePools() if pool.name().startswith("manor-")]
    pool.destroy()
    assert site.connect().observe(Query(owner=OWNER), site.ctx)[0].phase is Phase.ACTIVE
    pool.destroy()
    assert site.everything()[site.images[0].key].phase is Phase.ACTIVE
    connection.close()


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "active"])
@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "absent"])
def test_a_pool_whose_directory_is_not_there_is_not_one_without_disks(
    site: Site, is_stopped: bool, is_empty: bool
) -> None:
    """As where its file system is not mounted: disks made anew then would be empty, and hide those that come back."""
    import libvirt

    disk = VolumeSpec(key="s/vnf/one/disk/data", owner=OWNER, host="lab", name="d", size_bytes=1 << 20)
    new = dataclasses.replace(disk, key="s/vnf/two/disk/data")
    site.ensure(site.images[0], disk)
    there = site.everything()
    connection = libvirt.open(site.lab.uri)
    [pool] = [pool for pool in connection.listAllStoragePools() if pool.name().startswith("manor-")]
    if is_stopped:
        pool.destroy()
    here, away = site.lab.pool_dir, site.lab.pool_dir.with_name("away")
    here.rename(away)
    try:
        if is_empty:
            here.mkdir()
        remove = lambda: site.vim.remove(ref_of(disk), site.ctx)  # noqa: E731
        for verb in (site.everything, lambda: site.ensure(disk), lambda: site.ensure(new), remove):
            with pytest.raises(Transient, match=f"pool {pool.name()} on host lab cannot be read"):
                verb()
        [host] = site.vim.capabilities(site.ctx).hosts
        assert (host.reachable, host.storage_free_bytes) == (True, 0), "its machines may be well"
        assert "cannot be read" in host.reason
        assert not is_empty or not any(here.iterdir())
    finally:
        shutil.rmtree(here, ignore_errors=True)
        away.rename(here)
    assert site.everything() == there
    connection.close()


def test_a_pool_that_was_made_before_pools_were_marked_is_known_by_its_disks(site: Site) -> None:
    import libvirt

    site.ensure(site.images[0])
    there = site.everything()
    connection = libvirt.open(site.lab.uri)
    [pool] = [pool for pool in connection.listAllStoragePools() if pool.name().startswith("manor-")]
    (mark,) = (volume for volume in pool.listAllVolumes() if volume.name().startswith("pool+"))
    mark.delete(0)
    here, away = site.lab.pool_dir, site.lab.pool_dir.with_name("away")
    here.rename(away)
    here.mkdir()
    try:  # where the file system is not mounted, the log daemon makes its file in the mount point
        (here / str(console_name(OWNER, "s/vnf/one"))).touch()
        pool.refresh(0)
        with pytest.raises(Transient, match="is not the directory that it was made in"):
            site.everything()
    finally:
        shutil.rmtree(here)
        away.rename(here)
    assert site.everything() == there
    assert pool.storageVolLookupByName(mark.name()).info()[1] == 0, "it is marked from now on"
    connection.close()


def test_a_disk_that_is_made_while_the_pool_is_removed_is_not_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = VolumeSpec(key="s/vnf/one/disk/data", owner=OWNER, host="lab", name="d", size_bytes=1 << 20)
    site.ensure(disk)
    look = Directory.find

    class Raced:
        """The pool, in which another process makes a disk just when it was found to be empty."""

        def __init__(self, pool: Any) -> None:
            self._pool = pool

        def __getattr__(self, name: str) -> Any:
            return getattr(self._pool, name)

        def setAutostart(self, on: int) -> Any:
            monkeypatch.undo()
            if not on:
                name = StoredName.of(Sort.VOLUME, OWNER, "s/vnf/two/disk/data", "abc")
                self._pool.createXML(volume_xml(str(name), 1 << 20, "qcow2"), 0)
            return self._pool.setAutostart(on)

    monkeypatch.setattr(Directory, "find", lambda directory, **how: Raced(look(directory, **how)))
    site.vim.remove(ref_of(disk), site.ctx)
    assert [*site.everything()] == ["s/vnf/two/disk/data"]


def test_a_snapshot_of_a_running_machine_holds_what_it_held_and_the_machine_goes_back_to_it(site: Site) -> None:
    volume = VolumeSpec(key="s/vnf/one/disk/data", owner=OWNER, host="lab", name="d", size_bytes=32 << 20)
    one = site.node("one", 1, disks=(Disk(volume=volume.key),))
    snapshot = SnapshotSpec(
        key="s/snapshot/before/one", owner=OWNER, host="lab", name="before", node=one.key, volumes=(volume.key,)
    )
    site.base()
    site.ensure(volume, one)
    site.wait_for_agent(one)
    site.run(one, "printf first | dd of=/dev/vda bs=512 seek=100 conv=sync && sync")
    (taken,) = site.ensure(snapshot)
    assert (taken.phase, taken.spec_hash) == (Phase.ACTIVE, spec_hash(snapshot))
    site.run(one, "printf later | dd of=/dev/vda bs=512 seek=100 conv=sync && sync")
    (again,) = site.ensure(snapshot)
    assert again.native_id == taken.native_id, "twice is once: it is not taken again"

    site.vim.remove(ref_of(one), site.ctx)
    site.vim.remove(ref_of(volume), site.ctx)
    site.ensure(dataclasses.replace(volume, snapshot=snapshot.key), one)
    site.wait_for_agent(one)
    assert site.run(one, "dd if=/dev/vda bs=512 skip=100 count=1 2>/dev/null | head -c 5") == "first"
    site.vim.remove(ref_of(snapshot), site.ctx)
    assert site.everything()[volume.key].phase is Phase.ACTIVE, "a copy needs its snapshot no more"
    assert not any("snapshot" in path.name for path in site.lab.pool_dir.iterdir())


def test_a_snapshot_of_a_machine_that_is_off_and_one_that_was_never_finished(site: Site, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "32M"], check=True)
    subprocess.run(["qemu-io", "-c", "write -P 7 0 64k", str(disk)], check=True, stdout=subprocess.DEVNULL)
    image = site.image("disk", disk, DiskFormat.QCOW2)
    volume = VolumeSpec(key="s/vnf/one/disk/root", owner=OWNER, host="lab", name="d", size_bytes=0, image=image.key)
    one = site.node("one", 1, disks=(Disk(volume=volume.key),), power=PowerState.STOPPED)
    snapshot = SnapshotSpec(
        key="s/snapshot/off/one", owner=OWNER, host="lab", name="off", node=one.key, volumes=(volume.key,)
    )
    site.base()
    site.ensure(image, volume, one)
    for fuse in range(20):  # die at each look at the clock
        try:
            bomb = CallContext(deadline=time.monotonic() + 60, clock=Bomb(fuse))
            site.vim.ensure(snapshot, bomb)
            break
        except KilledError:
            seen = site.everything().get(snapshot.key)
            assert seen is None or seen.phase is Phase.PENDING, "half a snapshot is none"
    (taken,) = site.ensure(snapshot)
    assert taken.phase is Phase.ACTIVE
    site.vim.remove(ref_of(one), site.ctx)
    site.vim.remove(ref_of(volume), site.ctx)
    (made,) = site.ensure(dataclasses.replace(volume, snapshot=snapshot.key))
    held = subprocess.run(
        ["qemu-io", "-U", "-r", "-c", "read -P 7 0 64k", str(made.detail["path"])], check=True, capture_output=True
    )
    assert b"verification failed" not in held.stdout
