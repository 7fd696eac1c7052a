"""Healing on real machines by a real ``manor serve``: secure-web under traffic, and five ways to go wrong.

One service for all of them, in the order of the file: each leaves it whole. What is judged is what passes the chain, as
the host's own interface counters have it, and what the alarms and operations say.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.real, pytest.mark.slow]

SETTINGS: dict[str, Any] = {
    "collect_s": 0.5,
    "guest_s": 1.0,
    "probe_s": 0.0,
    "heartbeat_s": 1.0,
    "heartbeat_lost_s": 6.0,
    "degraded_s": 2.0,
    "cool_down_s": 1.0,
    "detector": "",
    "policy_settings": {"max_heals": 10, "settle_s": 20.0},
    "helped_within_s": 240.0,
    "heals_per_resource_hour": 10,
    "heals_per_vnf_hour": 20,
    "heals_per_service_hour": 20,
}
WATCHING: dict[str, Any] = {
    **SETTINGS,
    "learned_mode": "auto",
    # What a detector says on a machine that is too busy for any learning in a minute.
    "detector": "limits",
    "detector_settings": {"above": {"firewall-0|v_memory_usage_mean_vnf": 48.0}},
}
LEARNING: dict[str, Any] = {
    **WATCHING,
    "detector": "combined",
    # A detector that is minutes old can know of levels alone.
    "detector_settings": {
        "channels": ["median", "level"],
        "smooth": 5,
        "warmup_rows": 280,
        "warmup_s": 60.0,
        "budget_per_day": 4.0,
        "margin": 1.1,
        "clear_s": 5.0,
        "relearn_s": 120.0,
    },
}
WARM_ROWS = 330
"""It fits anew at 256 rows, and knows its own scores by then."""
MANOR = str(Path(sys.executable).parent / "manor")
LOOP = "while :; do timeout {limit_s} wget -q -O /dev/null {urls}; usleep $((300000 + RANDOM % 300000)); done"


class Shop:
    """The service with its traffic, its server process, and what the tests ask of them."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.served: subprocess.Popen[str] | None = None
        self.at = ""
        self.web_device = ""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def set(self, **settings: Any) -> None:
        """Write the operator's settings; a running server takes them."""
        (self.site.home / "assurance.yaml").write_text(yaml.safe_dump(settings))

    def detect(self, settings: dict[str, Any]) -> int:
        """Take these settings with their detector, once it has been loaded; how often was measured before."""
        self.set(**settings)
        before = self.measured()
        self.until("it goes on, with a detector loaded", lambda: self.measured() >= before + 5, 240)
        return before

    def serve(self) -> None:
        """Start ``manor serve``."""
        argv = [MANOR, "serve", "--metrics", str(self.port)]
        with open(self.site.home / "serve.log", "a") as log:
            self.served = subprocess.Popen(
                argv, env=self.site.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, text=True
            )

    def measured(self) -> int:
        """How often the machines' KPIs were collected, as the server exports it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            found = re.search(
                r'manor_plugin_calls_total\{plugin="vim-libvirt",verb="samples"\} (\S+)', answer.read().decode()
            )
        return int(float(found[1])) if found else 0

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server process."""
        if self.served is not None:
            self.served.send_signal(number)
            self.served.wait(60)
            self.served = None

    def inside(self, vnf: str, script: str) -> str:
        """Run a script in a machine."""
        done = self.site.inside(f"shop/{vnf}", "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def visit(self, loops: int, *, pages: int = 1, kept: str = "/run/visitors") -> None:
        """Let so many more visitors in the client ask for so many pages, again and again, until :meth:`leave`."""
        loop = LOOP.format(urls=f"http://{self.at}/ " * pages, limit_s=3 + pages)
        script = f"setsid sh -c '{loop}' >/dev/null 2>&1 </dev/null & echo $! >>{kept}"
        self.inside("client", f"for i in $(seq {loops}); do {script}; done")

    def leave(self, kept: str) -> None:
        """Send home those who came by :meth:`visit`."""
        self.inside("client", f"for loop in $(cat {kept}); do kill -9 -$loop; done; rm {kept}")

    def answered(self) -> int:
        """Packets that the web server has sent: as many as requests came to it through the chain, and back."""
        lines = Path(f"/proc/{self.site.lab.pid}/net/dev").read_text()
        found = re.search(rf"^\s*{re.escape(self.web_device)}:\s*\d+\s+(\d+)", lines, re.M)
        return int(found[1]) if found else 0

    def rate(self, seconds: float) -> float:
        """Packets per second that the web server sends."""
        before, began_s = self.answered(), time.monotonic()
        time.sleep(seconds)
        return (self.answered() - before) / (time.monotonic() - began_s)

    def qemu(self, vnf: str) -> int:
        """Process of a machine of this lab; 0 while there is none."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = path.read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(self.site.lab.workdir) in text and re.search(rf"guest=[^,]*{vnf}-{vnf}-0", text):
                return int(path.parent.name)
        return 0

    def alarms(self, since_s: float = 0.0, *, all: bool = True) -> list[dict[str, Any]]:
        """Alarms raised since then, the newest first."""
        found = self.site.ask("alarm", "list", *(["--all"] if all else []))
        return [one for one in found if one["alarm_raised_time_s"] >= since_s]

    def operations(self, since_s: float) -> list[dict[str, Any]]:
        """Operations on it begun since then."""
        return [one for one in self.site.ask("op", "list", "shop") if one["start_s"] >= since_s]

    def ended(self, operation_id: str) -> dict[str, Any] | None:
        """An operation that has ended, as it ended."""
        found = next(one for one in self.operations(0.0) if one["id"] == operation_id)
        return found if found["state"] not in ("STARTING", "PROCESSING") else None

    def heals(self, since_s: float = 0.0) -> list[dict[str, Any]]:
        """HEAL operations begun since then."""
        return [one for one in self.operations(since_s) if one["operation"] == "HEAL"]

    def healed(self, since_s: float) -> list[dict[str, Any]]:
        """HEAL operations begun since then that completed."""
        return [one for one in self.heals(since_s) if one["state"] == "COMPLETED"]

    def steps(self, operation_id: str) -> dict[str, float]:
        """What an operation did, with the seconds that each step took."""
        records = self.site.ask("op", "show", operation_id)["steps"]
        return {record["step"]["id"]: record["ended_s"] - record["started_s"] for record in records}

    def samples(self, vnf: str, since_s: float, until_s: float) -> int:
        """How often a VNF's KPIs were measured after the one time and up to the other."""
        back_s = int(time.time() - since_s) + 5
        rows = self.site.ask("kpi", "export", f"shop/{vnf}", "--since", f"{back_s}s")
        return sum(since_s < row["time_s"] <= until_s for row in rows)

    def explained(self, alarm: dict[str, Any]) -> str:
        """An alarm's story."""
        return "\n".join(self.site.ask("alarm", "explain", alarm["id"])["story"])

    def until(self, what: str, so: Callable[[], Any], timeout_s: float, pause_s: float = 0.5) -> Any:
        """Wait until it is so, and give back what it was."""
        end_s = time.monotonic() + timeout_s
        while not (found := so()):
            if time.monotonic() > end_s:
                story = "\n\n".join(map(self.explained, self.alarms()[:4]))
                log = (self.site.home / "serve.log").read_text()[-2000:]
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{story}\n{log}")
            time.sleep(pause_s)
        return found

    def flows(self) -> bool:
        """Whether traffic passes now, by half a second's count."""
        return self.rate(0.7) >= 4.0

    def calm(self) -> None:
        """Wait until all is whole: traffic passes, nothing is being healed, no alarm that matters is up."""
        self.until("traffic passes", self.flows, 240)
        self.until("no operation runs", lambda: all(op["state"] == "COMPLETED" for op in self.heals()), 120)
        matters = ("CRITICAL", "MAJOR")
        self.until(
            "alarms clear", lambda: not [a for a in self.alarms(all=False) if a["perceived_severity"] in matters], 120
        )


@pytest.fixture(scope="module")
def shop(site: Any, packages: Any) -> Iterator[Shop]:
    made = Shop(site)
    made.set(**SETTINGS)
    site.manor("package", "onboard", *map(str, sorted((packages / "secure-web").glob("*.csar"))))
    site.manor("ns", "create", "secure-web", "--name", "shop")
    site.manor("ns", "instantiate", "shop", "--yes")
    (web,) = (vnf for vnf in site.ask("ns", "topology", "shop")["vnfs"] if vnf["name"] == "web")
    (port,) = web["vnfcs"][0]["ports"]
    made.at, made.web_device = port["addresses"][0].split("/")[0], port["device"]
    made.visit(2)
    # What does not wait for an answer goes on at its pace when some is lost, so that the loss can be counted.
    made.inside("client", f"setsid ping -i 0.2 {made.at} >/dev/null 2>&1 </dev/null &")
    made.serve()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def watching(shop: Shop) -> None:
    """A detector is there that knows a limit."""
    shop.detect(WATCHING)


@pytest.fixture(scope="module")
def learned(shop: Shop) -> None:
    """A detector has seen minutes of what is usual."""
    shop.calm()
    before = shop.detect(LEARNING)
    shop.until("the detector has seen enough", lambda: shop.measured() - before >= WARM_ROWS, 1800, 2.0)


def test_a_killed_firewall_is_known_at_once_and_healed_by_itself(shop: Shop) -> None:
    shop.calm()
    qemu, killed_s = shop.qemu("firewall"), time.time()
    os.kill(qemu, signal.SIGKILL)
    shop.until("traffic stops", lambda: not shop.flows(), 30, 0.0)
    shop.until("traffic is back", shop.flows, 240, 0.0)
    back_s = time.time()

    (operation,) = shop.until("it is healed", lambda: shop.healed(killed_s), 240)
    assert operation["is_automatic"]
    steps = shop.steps(operation["id"])
    assert any(re.fullmatch(r"verify chain \S+/chain/path", step) for step in steps), "the chain is proven again"
    (alarm,) = shop.alarms(killed_s)
    assert (alarm["probable_cause"], alarm["learned"]) == ("crashed", False), "one fault is one alarm"
    assert alarm["resource_key"].endswith("/vnf/firewall/firewall-0")
    # How fast on a machine that has time for it, and over the guest's own boot, is measured by benchmarks/mttr.py.
    assert alarm["alarm_raised_time_s"] - killed_s <= 10.0
    booting_s = max(took for step, took in steps.items() if step.startswith("verify vnf"))
    assert back_s - killed_s < 2.0 * booting_s + 20.0, "little more than the time that the guest takes to boot"
    shop.calm()


def test_a_server_that_is_killed_in_the_middle_of_a_heal_finishes_it_once(shop: Shop) -> None:
    shop.calm()
    qemu, killed_s = shop.qemu("firewall"), time.time()
    os.kill(qemu, signal.SIGKILL)
    # It takes a busy kernel a while to bury the old one.
    shop.until("the machine is being started again", lambda: shop.qemu("firewall") not in (0, qemu), 60, 0.02)
    shop.stop(signal.SIGKILL)
    (operation,) = shop.heals(killed_s)
    assert operation["state"] == "PROCESSING", "it was killed in the middle"
    started = shop.qemu("firewall")
    shop.serve()
    (after,) = shop.until("it is healed", lambda: shop.healed(killed_s), 240)
    assert after["id"] == operation["id"], "the same operation"
    shop.calm()
    time.sleep(3.0)
    assert len(shop.heals(killed_s)) == 1
    assert shop.qemu("firewall") == started, "the machine was started once"


def test_an_agent_that_dies_in_a_machine_that_works_is_told_and_nothing_is_healed(shop: Shop, watching: None) -> None:
    shop.calm()
    began_s = time.time()
    agent = "P=$(pidof qemu-ga); (sleep 1; kill -STOP $P; sleep 30; kill -CONT $P) >/dev/null 2>&1 </dev/null &"
    shop.inside("monitor", agent)

    def told(*, all: bool = True) -> list[dict[str, Any]]:
        return [alarm for alarm in shop.alarms(began_s, all=all) if not alarm["learned"]]

    (alarm,) = shop.until("the silence is told", told, 90)
    assert alarm["probable_cause"] == "agent-silent"
    assert alarm["resource_key"].endswith("/vnf/monitor/monitor-0")
    shop.until("it clears", lambda: not told(all=False), 120)
    assert shop.heals(began_s) == []
    shop.until("traffic passes", shop.flows, 120)


def test_a_sick_firewall_is_suspected_confirmed_and_healed(shop: Shop, watching: None) -> None:
    alarm, _ = falls_sick_and_is_healed(shop)
    assert "v_memory_usage_mean_vnf" in " ".join(alarm["fault_details"])


# These two learn for minutes first.
@pytest.mark.long
def test_a_flash_crowd_scales_out_and_heals_nothing(shop: Shop, learned: None) -> None:
    shop.calm()
    began_s = time.time()

    def scaled() -> list[dict[str, Any]]:
        shop.visit(2, pages=30, kept="/run/crowd")  # as many as it takes this machine to make a crowd
        time.sleep(3.0)
        return [op for op in shop.operations(began_s) if op["operation"] == "SCALE"]

    (operation,) = shop.until("there is a crowd, and it scales out", scaled, 300)
    assert operation["is_automatic"]
    ended = shop.until("it has grown", lambda: shop.ended(operation["id"]), 240)
    assert ended["state"] == "COMPLETED"
    time.sleep(10.0)  # for whatever would come of it
    shop.leave("/run/crowd")
    assert [op["operation"] for op in shop.operations(began_s)] == ["SCALE"], "nothing is healed"
    for alarm in shop.alarms(began_s):
        # An agent may be too busy to answer; that is told and no more.
        assert alarm["learned"] or alarm["probable_cause"] in ("indicator crowd", "agent-silent"), shop.explained(alarm)
    plain = lambda: [alarm for alarm in shop.alarms(all=False) if not alarm["learned"]]  # noqa: E731
    shop.until("the crowd is gone", lambda: not plain(), 240)
    shop.site.manor("vnf", "scale", "shop/monitor", "--aspect", "capacity", "--in", "1", "--yes")


@pytest.mark.long
def test_a_detector_that_learned_suspects_a_sick_firewall_within_ten_samples(shop: Shop, learned: None) -> None:
    alarm, taken = falls_sick_and_is_healed(shop)
    assert taken <= 10, shop.explained(alarm)
    told = " ".join(alarm["fault_details"])
    assert re.search(r"v_cpu_usage_mean_vnf|v_memory_usage_mean_vnf|v_guest_load|packet_|byte_", told), told


def falls_sick_and_is_healed(shop: Shop) -> tuple[dict[str, Any], int]:
    """A gray failure inside: it burns CPU, leaks memory and drops three packets of ten, and is healed by itself."""
    shop.calm()
    shop.until("nothing is suspected", lambda: not shop.alarms(all=False), 240)
    well, asked_s = shop.qemu("firewall"), time.time()
    shop.inside(
        "firewall",
        "setsid sh -c 'while :; do :; done' >/dev/null 2>&1 </dev/null & "
        "setsid sh -c 'for i in $(seq 6); do dd if=/dev/zero of=/run/leak$i bs=1M count=4; sleep 1; done' "
        ">/dev/null 2>&1 </dev/null & "
        # Three packets of ten: the number is 0.3 times 2^32.
        "nft insert rule bridge filter forward meta random lt 1288490188 drop",
    )
    sick_s = time.time()

    def suspected() -> list[dict[str, Any]]:
        return [a for a in shop.alarms(asked_s) if a["learned"] and a["resource_key"].endswith("/firewall-0")]

    *_, alarm = shop.until("it is suspected", suspected, 120)
    taken = shop.samples("firewall", sick_s, alarm["alarm_raised_time_s"])
    print(f"\nsuspected after {taken} samples: {alarm['fault_details']}")
    (operation,) = shop.until("it is healed", lambda: shop.healed(asked_s), 240)
    assert operation["is_automatic"]
    assert shop.qemu("firewall") not in (0, well)
    story = shop.explained(alarm)
    assert "Confirmed by chain counters" in story, story
    shop.calm()
    (ruling,) = (r for r in shop.site.ask("alarm", "show", alarm["id"])["rulings"] if r["operation_id"])
    assert (ruling["action"] in ("restart", "recreate"), ruling["succeeded"]) == (True, True)
    shop.until("it helped, and is said to", lambda: "It helped." in shop.explained(alarm), 240, 1.0)
    assert len(shop.heals(asked_s)) == 1, "once"
    return alarm, taken


@pytest.fixture
def hang(shop: Shop) -> Iterator[Callable[[bool], None]]:
    """Stops libvirtd's process and lets it go on."""
    lab = shop.site.lab
    pid = (lab.workdir / "run/libvirtd.pid").read_text().strip()

    def say(stands_still: bool) -> None:
        lab.run("kill", f"-{(signal.SIGSTOP if stands_still else signal.SIGCONT).value}", pid)

    yield say
    say(False)


@pytest.mark.long
def test_a_hypervisor_that_hangs_is_told_refused_and_found_again(shop: Shop, hang: Callable[[bool], None]) -> None:
    shop.calm()
    began_s, process = time.time(), shop.served
    hang(True)
    shop.until("it is told", lambda: shop.alarms(began_s), 90)
    asked_s = time.monotonic()
    done = subprocess.run(
        [MANOR, "vnf", "heal", "shop/web", "--yes"], env=shop.site.env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode != 0
    assert re.search(r"error: .*(kvm1|lab).*(answer|says nothing)", done.stderr), done.stderr
    assert time.monotonic() - asked_s < 120.0
    time.sleep(20.0)  # until keepalive has given up what was open
    hang(False)
    shop.until("it is found again", lambda: not shop.alarms(all=False), 90)
    assert {alarm["probable_cause"] for alarm in shop.alarms(began_s)} <= {"endpoint-silent", "host-lost"}
    assert shop.heals(began_s) == []
    assert process is shop.served is not None
    assert shop.served.poll() is None, "the same process, all the time"
    shop.calm()


def test_a_server_is_told_to_end_while_the_hypervisor_hangs(shop: Shop, hang: Callable[[bool], None]) -> None:
    assert shop.served is not None
    shop.until("it has measured", shop.measured, 60)
    hang(True)
    time.sleep(1.0)  # so that it has begun to wait for an answer
    began_s = time.monotonic()
    shop.served.send_signal(signal.SIGTERM)
    shop.served.wait(60)
    assert time.monotonic() - began_s < 45.0, (shop.site.home / "serve.log").read_text()[-3000:]
    shop.served = None
