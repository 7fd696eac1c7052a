"""The image boots, takes its seed, serves its agent, and the demo's four packages make of it what they promise."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from images.trial import BOOT_S, Machine
from images.vnf import VnfImage, build_image

Boot = Callable[..., Machine]
DESCRIPTORS = Path(__file__).resolve().parents[2] / "descriptors"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU"),
]

BLOCK_STYLE = """\
version: 2
ethernets:
  eth0:
    match:
      macaddress: '52:54:00:00:00:01'
    mtu: 1442
    addresses:
    - 10.10.0.5/24
    - fd00:10::5/64
    routes:
    - to: default
      via: 10.10.0.1
    nameservers:
      addresses:
      - 9.9.9.9
"""
FLOW_STYLE = json.dumps(
    {
        "network": {
            "version": 2,
            "ethernets": {
                "id0": {
                    "addresses": ["10.10.0.5/24", "fd00:10::5/64"],
                    "match": {"macaddress": "52:54:00:00:00:01"},
                    "routes": [{"to": "default", "via": "10.10.0.1"}],
                    "mtu": 1442,
                }
            },
        }
    }
)
ALONE = "hubport,hubid=0"


@pytest.mark.parametrize("network_config", [BLOCK_STYLE, FLOW_STYLE], ids=["block", "flow"])
def test_a_machine_is_what_its_seed_says(boot: Boot, network_config: str) -> None:
    user_data = "#!/bin/sh\necho written by user-data >/run/proof\n"
    machine = boot("vm-1", user_data=user_data, network_config=network_config, nics=[("52:54:00:00:00:01", ALONE)])
    machine.wait_for("manor-vnf: READY vm-1 ")
    machine.command("guest-ping")
    assert machine.run("cat", "/run/proof") == (0, "written by user-data\n")
    assert machine.run("hostname") == (0, "vm-1\n")
    addresses = machine.run("ip", "address", "show", "eth0")[1]
    assert "inet 10.10.0.5/24" in addresses
    assert "inet6 fd00:10::5/64" in addresses
    assert "mtu 1442" in addresses
    assert "default via 10.10.0.1" in machine.run("ip", "route")[1]
    assert machine.run("vnf-ready") == (0, "ready\n")


def test_a_machine_without_a_seed_still_boots_and_the_agent_can_switch_it_off(boot: Boot) -> None:
    machine = boot("vm-2")
    machine.wait_for("manor-vnf: READY ")
    machine.command("guest-ping")
    request = json.dumps({"execute": "guest-shutdown", "arguments": {"mode": "powerdown"}})
    machine.agent.sendall(request.encode() + b"\n")
    machine.process.wait(timeout=BOOT_S)


def test_boot_data_that_fails_is_told_and_the_agent_tells_why(boot: Boot) -> None:
    machine = boot("vm-3", user_data="#!/bin/sh\necho no such thing\nexit 3\n")
    with pytest.raises(AssertionError, match="FAILED vm-3: user-data ended with 3"):
        machine.wait_for("READY")
    assert machine.run("vnf-ready") == (1, "no such thing\n")


def test_the_agent_comes_back_when_it_dies(boot: Boot) -> None:
    machine = boot("vm-4")
    machine.wait_for("READY")
    machine.command("guest-ping")
    before = machine.run("pidof", "qemu-ga")[1].strip()
    kill = f"sleep 0.3; kill -9 {before}; until pidof qemu-ga >/dev/console; do :; done; echo BACK >/dev/console"
    machine.command("guest-exec", path="/bin/sh", arg=["-c", kill])
    machine.wait_for("BACK")
    machine.command("guest-ping")
    assert machine.run("pidof", "qemu-ga")[1].strip() != before


def test_the_image_is_reused_and_a_new_build_of_it_is_the_same(image: VnfImage, tmp_path: Path) -> None:
    debs = Path(image.kernel.path).parent / "debs"
    tmp_path.joinpath("debs").symlink_to(debs)
    with ThreadPoolExecutor(2) as threads:
        again, other = threads.map(build_image, [tmp_path] * 2)
    assert other == again, "two that ask at once take turns"
    assert (again.kernel.sha256, again.initramfs.sha256) == (image.kernel.sha256, image.initramfs.sha256)
    made = Path(again.initramfs.path).stat().st_mtime_ns
    assert build_image(tmp_path) == again
    assert Path(again.initramfs.path).stat().st_mtime_ns == made
    Path(again.initramfs.path).write_bytes(b"damaged")
    assert build_image(tmp_path).initramfs.sha256 == image.initramfs.sha256


def test_packages_that_several_ask_for_at_once_are_whole(image: VnfImage, tmp_path: Path) -> None:
    argv = [sys.executable, str(DESCRIPTORS / "build.py"), "secure-web", "--out", str(tmp_path / "built")]
    asked = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for one in asked:
        said, error = one.communicate(timeout=300)
        assert one.returncode == 0, error
        for archive in said.split():
            assert zipfile.ZipFile(archive).testzip() is None


def address(mac: str, cidr: str) -> str:
    return f"version: 2\nethernets:\n  eth0:\n    match: {{macaddress: '{mac}'}}\n    addresses: [{cidr}]\n"


def script(vnf: str) -> str:
    return DESCRIPTORS.joinpath("secure-web", vnf, "Files/boot.sh").read_text()


def counters(machine: Machine) -> dict[str, int]:
    code, text = machine.run("vnf-counters")
    assert code == 0, text
    return json.loads(text)


def test_the_functions_filter_and_count_in_order_both_ways(boot: Boot, tmp_path: Path) -> None:
    def cable(number: int, *, server: bool) -> str:
        side = "on" if server else "off"
        return f"stream,server={side},addr.type=unix,addr.path={tmp_path}/cable{number}"

    mac = "52:54:00:00:00:0{}".format
    web = boot(
        "web",
        user_data=script("web"),
        network_config=address(mac(6), "10.10.0.2/24"),
        nics=[(mac(6), cable(3, server=True))],
    )
    monitor = boot(
        "monitor",
        user_data=script("monitor"),
        nics=[(mac(4), cable(2, server=True)), (mac(5), cable(3, server=False))],
    )
    firewall = boot(
        "firewall",
        user_data=script("firewall"),
        nics=[(mac(2), cable(1, server=True)), (mac(3), cable(2, server=False))],
    )
    client = boot(
        "client",
        user_data=script("client"),
        network_config=address(mac(1), "10.10.0.1/24"),
        nics=[(mac(1), cable(1, server=False))],
    )
    for machine in (web, monitor, firewall, client):
        machine.wait_for("READY")

    # Allowed: the page arrives, and both functions saw it both ways.
    code, page = client.run("timeout", "60", "wget", "-q", "-O", "-", "http://10.10.0.2/")
    assert (code, page) == (0, "Hello from web, through the chain.\n")
    deadline = time.monotonic() + BOOT_S
    while True:  # the last acknowledgements come after the page
        filtered, counted = counters(firewall), counters(monitor)
        if (counted["forward"], counted["backward"]) == (filtered["web_forward"], filtered["web_backward"]):
            break
        assert time.monotonic() < deadline, (filtered, counted)
    assert filtered["web_forward"] >= 4
    assert filtered["web_backward"] >= 3
    assert filtered["denied_forward"] == 0
    assert (counted["connections_forward"], counted["connections_backward"]) == (1, 0)
    assert int(firewall.run("vnf-counters", "denied_forward")[1]) == 0

    # Denied although the server listens: stopped at the firewall, before the monitor.
    assert web.run("wget", "-q", "-O", "-", "http://127.0.0.1:2323/")[0] == 0
    assert client.run("timeout", "6", "wget", "-q", "-O", "-", "http://10.10.0.2:2323/")[0] != 0
    assert counters(firewall)["denied_forward"] > 0
    assert counters(monitor)["connections_forward"] == 1

    # The way back has the reverse order: the monitor sees what the firewall then stops.
    assert client.run("wget", "-q", "-O", "-", "http://127.0.0.1:9999/")[0] == 0
    assert web.run("timeout", "6", "wget", "-q", "-O", "-", "http://10.10.0.1:9999/")[0] != 0
    assert counters(monitor)["connections_backward"] == counters(firewall)["denied_backward"] > 0

    # Not a connection from the web port either: only answers come back from there.
    assert client.run("ping", "-c", "1", "-W", "30", "10.10.0.2")[0] == 0
    assert counters(firewall)["passed_icmp"] == 2
