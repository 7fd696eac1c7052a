#!/usr/bin/env python3
"""The healing demo: secure-web under traffic on this machine; its firewall is killed, then made sick; Manor mends it.

``manor serve`` watches with the settings that are printed. Nothing here helps it: this script breaks things, and tells
what the host's own counters and Manor's alarms say. Every claim is a check; one that fails makes the exit code 1.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo import (
    HOME,
    MANOR,
    NS,
    Demo,
    attempt,
    deploy,
    devices,
    give_back,
    host,
    prepare,
    prove_nothing_left,
    remove,
    world,
)

SETTINGS = """\
# The demo has no time to wait: everything is asked for often, and the detector says something after a minute. In so
# short a time it can learn no more than levels, and false alarms have to be cheap.
collect_s: 0.5
guest_s: 1
cool_down_s: 5
learned_mode: auto          # the default is shadow: it would only say what it would have done
detector_settings: {channels: [median, level], warmup_s: 60, budget_per_day: 48, margin: 1.1, clear_s: 10}
policy_settings: {settle_s: 20}
"""
LEARN_ROWS = 330
"""It fits anew at 256 rows, and knows its own scores by then."""
PATIENCE_S = 240.0
"""A machine that has other things to do boots a guest in minutes."""
PORT = 9741
LOOP = "while :; do timeout 3 wget -q -O /dev/null http://{at}/; usleep $((200000 + RANDOM % 300000)); done"
SICK = (
    "setsid sh -c 'while :; do :; done' >/dev/null 2>&1 </dev/null & "
    "setsid sh -c 'for i in $(seq 10); do dd if=/dev/zero of=/run/leak$i bs=1M count=2; sleep 1; done' "
    ">/dev/null 2>&1 </dev/null & "
    "nft insert rule bridge filter forward meta random lt 1288490188 drop"
)
"""Burns CPU, leaks memory, and drops 30 % of the packets (0.3 times 2^32)."""


class Watched:
    """What is seen of the service from outside."""

    def __init__(self, demo: Demo, addresses: dict[str, str]) -> None:
        self.demo = demo
        service = demo.ask("ns", "topology", NS)
        (web,) = (vnf for vnf in service["vnfs"] if vnf["name"] == "web")
        self.counter = Path(f"/sys/class/net/{web['vnfcs'][0]['ports'][0]['device']}/statistics/rx_packets")
        self.at = addresses["web"]

    def rate(self, seconds: float = 1.5) -> float:
        """Packets per second that the web server answers, as the host counts them."""
        before, began = self._count(), time.monotonic()
        time.sleep(seconds)
        return (self._count() - before) / (time.monotonic() - began)

    def passes(self) -> bool:
        """Whether more goes through than a server sends by itself."""
        return self.rate() > 4

    def rows(self) -> int:
        """How often the machines' KPIs were collected."""
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as answer:
            told = re.search(r'calls_total\{plugin="vim-libvirt",verb="samples"\} (\S+)', answer.read().decode())
        return int(float(told[1])) if told else 0

    def _count(self) -> int:
        try:
            return int(self.counter.read_text())
        except OSError:
            return 0

    def alarms(self, since_s: float) -> list[dict[str, Any]]:
        """Alarms about the firewall that were raised since then, the newest first."""
        found = self.demo.ask("alarm", "list", "--all")
        return [a for a in found if a["alarm_raised_time_s"] >= since_s and "/vnf/firewall/" in a["resource_key"]]

    def healed(self, since_s: float) -> dict[str, Any] | None:
        """The heal since then, once it has completed."""
        found = [op for op in self.demo.ask("op", "list", NS) if op["operation"] == "HEAL" and op["start_s"] >= since_s]
        return next((op for op in found if op["state"] == "COMPLETED"), None)


def firewall_pid() -> int:
    """QEMU's process of the firewall; 0 while there is none."""
    for name in host("virsh", "-q", "list", "--name").split():
        if "-vnf-firewall-firewall-0" in name:
            return int(Path(f"/run/libvirt/qemu/{name}.pid").read_text())
    return 0


def wait(what: str, so: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Wait until it is so, with a line that shows the time; what it was, or None."""
    began = time.monotonic()
    while not (found := so()) and time.monotonic() - began < timeout_s:
        print(f"\r  \033[2m{what} … {time.monotonic() - began:4.0f} s\033[0m", end="", flush=True)
        time.sleep(0.1)
    print("\r\033[K", end="", flush=True)
    return found


def kill(demo: Demo, watched: Watched) -> None:
    """Part (a): QEMU is killed."""
    demo.title("The firewall's QEMU is killed with signal 9")
    demo.check("traffic passes before", bool(wait("waiting for traffic", watched.passes)))
    pid = firewall_pid()
    if not pid:  # to kill 0 would be to kill ourselves
        raise SystemExit("the firewall does not run")
    print(f"\033[36m$ kill -9 {pid}\033[0m", flush=True)
    killed_s = time.time()
    os.kill(pid, signal.SIGKILL)
    stopped = wait("waiting for silence", lambda: not watched.passes(), 15.0)
    demo.check("traffic stops: the chain lets nothing past a dead firewall", bool(stopped))
    back = wait("waiting for traffic", watched.passes)
    back_s = time.time()
    heal = wait("waiting for the heal to be proven", lambda: watched.healed(killed_s))
    alarms = watched.alarms(killed_s)
    raised_s = alarms[-1]["alarm_raised_time_s"] - killed_s if alarms else 999.0
    demo.check("an alarm within a second, by libvirt's event", raised_s <= 1.0, f"{raised_s:.2f} s")
    demo.check("one fault is one alarm", len(alarms) == 1, ", ".join(alarm["probable_cause"] for alarm in alarms))
    demo.check("healed by Manor itself, the chain proven again", bool(heal) and heal["is_automatic"])
    demo.check("traffic is back", bool(back), f"{back_s - killed_s:.1f} s after the kill")
    if heal:
        demo.manor("op", "timeline", heal["id"])


def sicken(demo: Demo, watched: Watched) -> None:
    """Part (b): the firewall works on, badly."""
    demo.title("The detector learns what is normal")
    enough = watched.rows() + LEARN_ROWS
    wait("learning", lambda: watched.rows() >= enough, 4 * PATIENCE_S)
    demo.title("The firewall falls sick: burns CPU, leaks memory, drops 30 % of its packets")
    sick_pid = firewall_pid()
    sick_s = time.time()
    demo.inside("firewall", "sh", "-c", SICK)
    sick_rows = watched.rows()
    seen = wait("waiting for suspicion", lambda: [a for a in watched.alarms(sick_s) if a["learned"]])
    samples = watched.rows() - sick_rows
    demo.check("no machine died, no rule of anybody's fired: it was suspected", bool(seen) and firewall_pid() > 0)
    demo.check("within ten samples", bool(seen) and samples <= 10 + 2, f"{samples}, two of them for asking")
    heal = wait("waiting for the heal", lambda: watched.healed(sick_s))
    demo.check("healed by Manor itself", bool(heal) and heal["is_automatic"])
    demo.check("the sick machine is gone", firewall_pid() not in (0, sick_pid))
    demo.check("traffic passes as before", bool(wait("waiting for traffic", watched.passes)))
    if seen:
        demo.manor("alarm", "explain", seen[0]["id"])
        story = " ".join(demo.ask("alarm", "explain", seen[0]["id"])["story"])
        named = [kpi for kpi in ("v_cpu_usage", "v_memory_usage", "packet_", "byte_") if kpi in story]
        demo.check("it names what is wrong", bool(named), ", ".join(named))
        demo.check("somebody independent confirmed it before anything was done", "Confirmed by" in story)


def main() -> int:
    """Run the demo; 0 where every claim was true."""
    demo = Demo()
    if HOME.exists():
        demo.title("Left from an earlier run: taken away first")
        attempt("clearing", lambda: give_back(demo))
        host("rm", "-rf", str(HOME))
    demo.manor("doctor", "--fix", quiet=True, must=False)
    before = world()
    taps: list[str] = []
    serving: list[subprocess.Popen[bytes]] = []

    def show() -> None:
        prepare(demo)
        addresses = deploy(demo)
        taps.extend(devices(demo))
        demo.title("manor serve watches")
        (HOME / "assurance.yaml").write_text(SETTINGS)
        print(SETTINGS)
        log = (HOME / "serve.log").open("wb")
        env = {**os.environ, "MANOR_HOME": str(HOME)}
        serving.append(
            subprocess.Popen(
                [MANOR, "serve", "--metrics", str(PORT)], env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        )
        watched = Watched(demo, addresses)
        loop = LOOP.format(at=watched.at)
        demo.inside("client", "sh", "-c", f"for i in 1 2; do setsid sh -c '{loop}' >/dev/null 2>&1 </dev/null & done")
        wait("waiting for traffic", watched.passes)
        kill(demo, watched)
        sicken(demo, watched)
        demo.title("What was wrong, all in all")
        demo.manor("alarm", "list", "--all")

    well = attempt("the demo stopped", show)
    for process in serving:
        process.terminate()
        process.wait(60)
    if well:
        well = attempt("taking it down stopped", lambda: remove(demo))
        prove_nothing_left(demo, before, taps)
    else:
        attempt("clearing", lambda: give_back(demo))
    took = time.monotonic() - demo.began
    if demo.failed or not well:
        why = f"{len(demo.failed)} claims failed: {'; '.join(demo.failed)}" if demo.failed else "It did not get through"
        print(f"\n\033[31m{why}\033[0m ({took:.0f} s)")
        return 1
    print(f"\n\033[32mEvery claim was true.\033[0m {took:.0f} s")
    host("rm", "-rf", str(HOME))
    return 0


if __name__ == "__main__":
    sys.exit(main())
