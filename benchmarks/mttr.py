"""A killed firewall of secure-web healed by ``manor serve``, over the time that its guest takes to boot by itself.

The guest's own boot time is what bare libvirt needs on the same host: from ``create`` of the same domain to the first
answer of its agent. The time to repair is from the kill of QEMU until the healing is through, with its chain proven,
and packets come through that again, as the host's counters of the web server's interface have it: a client pings it ten
times a second. Both in turns, for a busy machine is slow at both; the ratio is the median of the turns' ratios.
"""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figure import report

ROUNDS = 3
TARGET = 1.3
ALARM_TARGET_S = 1.0
ROOT = Path(__file__).parents[1]
MANOR = str(Path(sys.executable).parent / "manor")
SETTINGS = (
    "{services: {shop: {locked: %s}}, detector: '', probe_s: 0, cool_down_s: 0, heals_per_resource_hour: 100, "
    "heals_per_vnf_hour: 100, heals_per_service_hour: 100, heals_per_hour: 100, policy_settings: {max_heals: 100}}"
)
LOOP = "exec ping -i 0.1 {at}"


class Host:
    """The lab with the service in it, by the command line and by the host's own counters."""

    def __init__(self, lab: Any, home: Path) -> None:
        self.lab, self.home = lab, home
        self.device = ""

    def manor(self, *argv: str) -> str:
        """Run a command."""
        env = {**os.environ, "MANOR_HOME": str(self.home)}
        done = subprocess.run([MANOR, *argv], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"manor {' '.join(argv)} exited {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def sent(self) -> int:
        """Packets that the web server has sent."""
        lines = Path(f"/proc/{self.lab.pid}/net/dev").read_text()
        found = re.search(rf"^\s*{re.escape(self.device)}:\s*\d+\s+(\d+)", lines, re.M)
        return int(found[1]) if found else 0

    def qemu(self) -> int:
        """Process of the firewall."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = path.read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(self.lab.workdir) in text and re.search(r"guest=[^,]*firewall-firewall-0", text):
                return int(path.parent.name)
        raise SystemExit("the firewall does not run")


def main() -> None:
    """The ratio, with the medians of both in seconds; and how long it took to know."""
    from manor.testing.lab import LabHost

    build = [sys.executable, str(ROOT / "descriptors/build.py"), "secure-web"]
    subprocess.run(build, check=True, capture_output=True)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mb-") as work_dir:
        work = Path(work_dir)
        work.chmod(0o711)
        with LabHost("kvm1", work / "lab") as lab:
            host = Host(lab, work / "home")
            ovs = ("-o", f"ovsdb={lab.ovsdb}")
            vim = ("-o", f"uri={lab.uri}", "-o", "name=kvm1", "-o", f"pool_dir={lab.pool_dir}", "-o", "accel=tcg")
            host.manor("vim", "add", "lab", "--driver", "libvirt", *vim, *ovs)
            host.manor("sdn", "add", "net", "--driver", "ryu", "-o", "host=kvm1", *ovs)
            try:
                _measure(host)
            finally:
                host.manor("ns", "delete", "shop", "--force", "--yes")
                host.manor("sdn", "remove", "net", "--force")


def _measure(host: Host) -> None:
    _lock(host, is_locked=True)
    host.manor("package", "onboard", *map(str, sorted((ROOT / "build/secure-web").glob("*.csar"))))
    host.manor("ns", "create", "secure-web", "--name", "shop")
    host.manor("ns", "instantiate", "shop", "--yes")
    vnfs = json.loads(host.manor("--json", "ns", "topology", "shop"))["vnfs"]
    (port,) = next(vnf for vnf in vnfs if vnf["name"] == "web")["vnfcs"][0]["ports"]
    host.device = port["device"]
    loop = LOOP.format(at=port["addresses"][0].split("/")[0])
    host.manor("vnf", "exec", "shop/client", "--", "sh", "-c", f"setsid sh -c '{loop}' >/dev/null 2>&1 </dev/null &")
    env = {**os.environ, "MANOR_HOME": str(host.home)}
    serving = subprocess.Popen([MANOR, "serve"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    turns = []
    try:
        for _ in range(ROUNDS):
            _lock(host, is_locked=True)
            boot_s = _boot_s(host)
            _lock(host, is_locked=False)
            turns.append((boot_s, *_repair_s(host)))
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait(60)
    boot_s, repair_s, alarm_s = (statistics.median(column) for column in zip(*turns, strict=True))
    report(
        "mttr",
        statistics.median(repair_s / boot_s for boot_s, repair_s, _ in turns),
        "ratio",
        TARGET,
        repair_s=round(repair_s, 2),
        boot_s=round(boot_s, 2),
        rounds=ROUNDS,
    )
    report("mttr-alarm", alarm_s, "s", ALARM_TARGET_S, rounds=ROUNDS)


def _lock(host: Host, *, is_locked: bool) -> None:
    """Whether Manor may heal. The pause is longer than it takes to be read."""
    (host.home / "assurance.yaml").write_text(SETTINGS % str(is_locked).lower())
    time.sleep(3.0)


def _boot_s(host: Host) -> float:
    """How long the firewall's domain takes from bare libvirt's ``create`` to its agent's first answer."""
    import libvirt
    import libvirt_qemu

    connection = libvirt.open(host.lab.uri)
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    (domain,) = (one for one in connection.listAllDomains() if "firewall" in one.name())
    domain.destroy()
    began_s = time.monotonic()
    domain.create()

    def answers() -> bool:
        try:
            libvirt_qemu.qemuAgentCommand(domain, '{"execute": "guest-ping"}', 1, 0)
        except libvirt.libvirtError:
            return False
        return True

    _until("the guest's agent answers", answers)
    took_s = time.monotonic() - began_s
    connection.close()
    return took_s


def _repair_s(host: Host) -> tuple[float, float]:
    """Seconds from a kill to traffic, and to the alarm."""
    _until("the service is calm", lambda: json.loads(host.manor("--json", "alarm", "list")) == [], pause_s=1.0)
    before = host.sent()
    _until("traffic passes", lambda: host.sent() > before + 20)
    qemu, killed_s = host.qemu(), time.time()
    os.kill(qemu, signal.SIGKILL)
    time.sleep(0.5)  # what was under way arrives
    before = host.sent()
    _until("traffic is back", lambda: host.sent() > before + 5)
    traffic_s = time.time() - killed_s
    newest = json.loads(host.manor("--json", "alarm", "list", "--all"))[0]
    host.manor("op", "watch", json.loads(host.manor("--json", "op", "list"))[0]["id"])
    healed_s = json.loads(host.manor("--json", "op", "list"))[0]["state_entered_s"] - killed_s
    return max(traffic_s, healed_s), newest["alarm_raised_time_s"] - killed_s


def _until(what: str, so: Callable[[], bool], timeout_s: float = 400.0, pause_s: float = 0.02) -> None:
    end_s = time.monotonic() + timeout_s
    while not so():
        if time.monotonic() > end_s:
            raise SystemExit(f"not within {timeout_s:g} s: {what}")
        time.sleep(pause_s)


if __name__ == "__main__":
    main()
