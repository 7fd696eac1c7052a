"""What people and power cuts do behind our back is seen, and repaired, and the next operation works: on a real host."""

import contextlib
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from manor.api import CallContext
from manor.lcm.runtime import open_runtime

MANOR = str(Path(sys.executable).parent / "manor")
pytestmark = [pytest.mark.real, pytest.mark.slow]
DEAD = ("host-emptied", "node-stopped", "node-absent", "crashed")
DISKS = """
    root:
      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage
      properties: {virtual_block_storage_data: {size_of_storage: 4 MiB}}
      artifacts:
        image:
          type: tosca.artifacts.nfv.SwImage
          file: ../Files/images/root.qcow2
          properties: {name: root, version: "1.0", container_format: bare, disk_format: qcow2, min_disk: 4 MiB}
    data:
      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage
      properties: {virtual_block_storage_data: {size_of_storage: 1 MiB}}
"""


def with_disks(package: Path, folder: Path) -> Path:
    """The package of a machine that has a disk on an image and a blank one too."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    image = folder / "Files/images/root.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "4M"], check=True)
    descriptor, manifest = folder / "Definitions/hello.yaml", next(folder.glob("*.mf"))
    text = descriptor.read_text()
    own = "      artifacts:\n        # Direct boot"
    text = text.replace(own, f"      requirements: [{{virtual_storage: root}}, {{virtual_storage: data}}]\n{own}")
    descriptor.write_text(text.replace("    cp:\n      type: tosca", f"{DISKS}    cp:\n      type: tosca"))
    digest = hashlib.sha256(descriptor.read_bytes()).hexdigest()
    listed = r"(Source: Definitions/hello.yaml\nAlgorithm: SHA-256\nHash: )\w+"
    manifest.write_text(re.sub(listed, rf"\g<1>{digest}", manifest.read_text()))
    return folder


@pytest.fixture(scope="module")
def hello(site: Any, packages: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    vnf = with_disks(packages / "hello-vm/hello.csar", tmp_path_factory.mktemp("hello"))
    site.manor("package", "onboard", str(vnf), str(packages / "hello-vm/nsd.csar"))
    site.manor("ns", "create", "hello-vm", "--name", "hi")
    site.manor("ns", "instantiate", "hi", "--yes")
    assert not drifted(site)
    return site


def drifted(site: Any) -> bool:
    """Whether anything is not as it should be."""
    command = [MANOR, "--json", "ns", "drift", "hi"]
    done = subprocess.run(command, env=site.env, capture_output=True, text=True, timeout=100)
    return bool(json.loads(done.stdout)["drift"])


def repaired(site: Any) -> None:
    """Brought back, proven by the guest's own answer."""
    site.manor("ns", "drift", "hi", "--repair", "--yes")
    assert not drifted(site)
    assert site.inside("hi/hello", "true").returncode == 0


def virsh(site: Any, *argv: str) -> str:
    return str(site.lab.run("virsh", "-q", *argv))


def test_a_machine_destroyed_or_forgotten_by_hand(hello: Any) -> None:
    (domain,) = hello.domains()
    virsh(hello, "destroy", domain)
    assert drifted(hello)
    hello.manor("vnf", "stop", "hi/hello", "--yes")  # straight onto what is broken, with no repair before
    assert not drifted(hello)
    virsh(hello, "undefine", domain)
    assert drifted(hello)
    hello.manor("vnf", "start", "hi/hello", "--yes")
    assert not drifted(hello)
    assert hello.inside("hi/hello", "true").returncode == 0
    virsh(hello, "destroy", domain)
    virsh(hello, "undefine", domain)
    assert drifted(hello)
    repaired(hello)


def test_a_killed_machine_is_known_in_less_than_a_second(hello: Any) -> None:
    (domain,) = hello.domains()
    took_s = []
    with open_runtime(hello.home) as rt:
        vim: Any = rt.vim("lab")
        vim.capabilities(CallContext.within(60.0))  # which connects
        for _ in range(8):  # one is enough: this machine may have other things to do
            seen = vim.await_events(1_000, CallContext.within(1.0))  # what there was to hear of so far
            pid = (hello.lab.workdir / f"run/libvirt/qemu/{domain}.pid").read_text().strip()
            killed_s = time.monotonic()
            hello.lab.run("kill", "-KILL", pid)
            assert vim.await_events(seen, CallContext.within(60.0)) > seen
            took_s.append(time.monotonic() - killed_s)
            while virsh(hello, "domstate", domain).strip() != "shut off":  # it may have been told of something else
                assert time.monotonic() < killed_s + 60.0
            virsh(hello, "start", domain)
            if took_s[-1] < 1.0:
                break
    print(f"known after {', '.join(f'{one:.2f}' for one in took_s)} s")
    assert min(took_s) < 1.0, took_s
    until_s = time.monotonic() + 120
    while hello.inside("hi/hello", "true").returncode:  # it boots, and was not brought back by us
        assert time.monotonic() < until_s
    repaired(hello)


def test_a_tap_unplugged(hello: Any) -> None:
    (domain,) = hello.domains()
    tap = virsh(hello, "domiflist", domain).split()[0]
    hello.lab.run("ovs-vsctl", "--if-exists", "del-port", tap)
    assert drifted(hello)
    repaired(hello)


def test_a_tap_set_down(hello: Any) -> None:
    (domain,) = hello.domains()
    tap = virsh(hello, "domiflist", domain).split()[0]
    hello.lab.run("ip", "link", "set", tap, "down")
    until_s = time.monotonic() + 60
    while not drifted(hello):  # the switch tells of it by itself
        assert time.monotonic() < until_s
    repaired(hello)
    assert "UP" in str(hello.lab.run("ip", "-o", "link", "show", tap)).partition("<")[2].partition(">")[0].split(",")


def files(site: Any, sort: str) -> list[Path]:
    """Files of this sort in the pool."""
    return sorted(path for path in site.lab.pool_dir.iterdir() if path.name.startswith(f"{sort}+"))


def test_a_file_deleted(hello: Any) -> None:
    files(hello, "image")[0].unlink()
    assert drifted(hello)
    repaired(hello)


def test_a_disk_with_data_and_one_from_an_image_deleted(hello: Any) -> None:
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = hello.inside("hi/hello", "sh", "-c", boot).stdout
    disks = files(hello, "volume")
    assert len(disks) == 2
    for disk in disks:
        disk.unlink()
    assert drifted(hello)
    repaired(hello)
    assert files(hello, "volume") == disks
    write = "for d in a b; do echo kept | dd of=/dev/vd$d conv=fsync 2>/dev/null; done; sync"
    after = hello.inside("hi/hello", "sh", "-c", f"{write}; {boot}").stdout
    assert after != before, "it was made anew: the old one would go on writing to files that nobody can open"
    written = subprocess.run(["grep", "-l", "kept", *map(str, disks)], capture_output=True, text=True).stdout
    assert len(written.split()) == 2, "what it writes is in the files"


def test_a_snapshot_deleted_is_told_and_taken_off_the_books(hello: Any) -> None:
    hello.manor("vnf", "snapshot", "create", "hi/hello", "clean", "--yes")
    for file in files(hello, "snapshot"):
        file.unlink()
    looked = hello.manor("ns", "drift", "hi", expect=1)
    assert "snapshot clean/hello/" in looked
    assert "is lost, and nothing brings it back" in looked
    assert files(hello, "snapshot") == []
    hello.manor("vnf", "snapshot", "delete", "hi", "clean", "--yes")
    assert not drifted(hello)


@contextlib.contextmanager
def served(site: Any, settings: str) -> Iterator[None]:
    """``manor serve`` runs meanwhile, with these settings of assurance."""
    (site.home / "assurance.yaml").write_text(settings)
    with open(site.home / "serve.log", "w") as log:
        serve = subprocess.Popen([MANOR, "serve"], env=site.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.wait(180)
        (site.home / "assurance.yaml").unlink()


def until(site: Any, is_so: Callable[[], bool], timeout_s: float = 400.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end_s, (site.home / "serve.log").read_text()[-3000:]
        time.sleep(1.0)


def test_repaired_by_serve_where_the_operator_wants_it(hello: Any) -> None:
    before = {one["id"] for one in hello.ask("op", "list", "hi")}
    (image, *_) = files(hello, "image")
    image.unlink()

    def alarms() -> list[Any]:
        return [one for one in hello.ask("alarm", "list", "hi", "--all") if one["probable_cause"] == "drift"]

    def done() -> list[Any]:
        return [one for one in hello.ask("op", "list", "hi") if one["id"] not in before]

    def is_over() -> bool:
        return any(one["alarm_cleared_time_s"] for one in alarms()) and {o["state"] for o in done()} == {"COMPLETED"}

    with served(hello, "{drift: repair, drift_s: 1, degraded_s: 1, heartbeat_lost_s: 3600, detector: '', probe_s: 0}"):
        until(hello, is_over)
    (alarm,) = alarms()
    assert "image" in alarm["fault_details"][0]
    assert image.exists()
    assert {(one["operation"], one["is_automatic"]) for one in done()} == {("REPAIR", True)}
    assert not drifted(hello)


def test_the_network_deleted(hello: Any) -> None:
    (network,) = virsh(hello, "net-list", "--all", "--name").split()
    virsh(hello, "net-destroy", network)
    virsh(hello, "net-undefine", network)
    assert drifted(hello)
    repaired(hello)


def test_the_host_rebooted_with_two_services_is_one_event_and_both_are_started_again(hello: Any) -> None:
    hello.manor("ns", "create", "hello-vm", "--name", "ho")
    hello.manor("ns", "instantiate", "ho", "--yes")
    kept = {path: path.stat().st_ino for sort in ("image", "volume") for path in files(hello, sort)}
    known = {one["id"] for one in hello.ask("op", "list")}
    rebooted_s = time.time()

    def heals() -> list[Any]:
        return [one for one in hello.ask("op", "list") if one["id"] not in known]

    def alarms() -> list[Any]:
        return [one for one in hello.ask("alarm", "list", "--all") if one["alarm_raised_time_s"] > rebooted_s]

    def is_over() -> bool:
        ended = [one["state"] for one in heals()] == ["COMPLETED"] * 2
        return ended and all(one["alarm_cleared_time_s"] for one in alarms())

    with served(hello, "{degraded_s: 2, heartbeat_lost_s: 3600, detector: '', probe_s: 0}"):
        hello.lab.power_off()
        hello.lab.power_on()
        until(hello, is_over)
    dead = [one for one in alarms() if one["probable_cause"] in DEAD]  # it may be told, besides, that nobody answered
    (root,) = (one for one in dead if one["is_root_cause"])
    assert "2 machines of 2 services" in root["fault_details"][0]
    assert {one["probable_cause"] for one in dead} == {"host-emptied"}
    assert [one["correlated_alarm_ids"] for one in dead if one is not root] == [[root["id"]]] * 2
    assert {(one["operation"], one["is_automatic"]) for one in heals()} == {("HEAL", True)}
    done = {step["step"]["change"] for one in heals() for step in hello.ask("op", "show", one["id"])["steps"]}
    assert not done & {"create", "replace", "remove"}, "what only had to be started was started"
    assert {path: path.stat().st_ino for path in kept} == kept
    for service in ("hi", "ho"):
        assert hello.ask("ns", "drift", service)["drift"] is False
        assert hello.inside(f"{service}/hello", "true").returncode == 0
    hello.manor("ns", "delete", "ho", "--force", "--yes")


@pytest.mark.long
def test_a_machine_alone_on_a_host_that_is_rebooted_twice_is_started_and_never_made_anew(hello: Any) -> None:
    known = {one["id"] for one in hello.ask("op", "list")}
    begun_s = time.time()

    def heals() -> list[Any]:
        return [one for one in hello.ask("op", "list") if one["id"] not in known]

    def is_over(number: int) -> bool:
        alarms = [one for one in hello.ask("alarm", "list", "--all") if one["alarm_raised_time_s"] > begun_s]
        ended = [one["state"] for one in heals()] == ["COMPLETED"] * number
        return ended and all(one["alarm_cleared_time_s"] for one in alarms)

    patience = "degraded_s: 2, heartbeat_lost_s: 3600, cool_down_s: 1, policy_settings: {dead_settle_s: 1}"
    with served(hello, f"{{{patience}, detector: '', probe_s: 0}}"):
        for number in (1, 2):
            hello.lab.power_off()
            hello.lab.power_on()
            until(hello, lambda number=number: is_over(number))
    done = {step["step"]["change"] for one in heals() for step in hello.ask("op", "show", one["id"])["steps"]}
    assert not done & {"create", "replace", "remove"}, "what only had to be started was started, the second time too"
    assert hello.inside("hi/hello", "true").returncode == 0


def test_the_host_gone_and_come_back(hello: Any) -> None:
    (domain,) = hello.domains()
    hello.lab.power_off()
    looked = subprocess.run([MANOR, "ns", "drift", "hi"], env=hello.env, capture_output=True, text=True, timeout=100)
    assert looked.returncode not in (0, 1), "nobody can say that all is well, or what is wrong"
    assert "lab" in looked.stderr
    assert "Traceback" not in looked.stderr
    left = subprocess.run(
        [MANOR, "ns", "delete", "hi", "--force", "--yes"], env=hello.env, capture_output=True, text=True, timeout=300
    )
    assert "/vnf/hello/" in left.stdout + left.stderr, "what could not be reached is named"
    hello.lab.power_on()
    assert hello.domains() == [domain]
    hello.manor("vim", "orphans", "--remove", "--yes")
    assert hello.domains() == []
    hello.manor("ns", "create", "hello-vm", "--name", "hi")
    hello.manor("ns", "instantiate", "hi", "--yes")
    assert not drifted(hello)
