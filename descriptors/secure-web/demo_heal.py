#!/usr/bin/env python3
"""The healing demo: secure-web under traffic on this machine; its firewall is killed, then made sick; Manor mends it.

``manor serve`` watches with the settings that are printed. Nothing here helps it: this script breaks things, and tells
what the host's own counters and Manor's alarms say. Every claim is a check; one that fails makes the exit code 1.
"""

from __future__ import annotations

import contextlib
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
# The demo has no time to wait: everything is asked for often, and the detector is to say something after minutes. In so
# short a time it can learn no more than levels, and a few false alarms a day have to be allowed.
collect_s: 0.5
guest_s: 1
cool_down_s: 5
helped_within_s: 240
learned_mode: auto          # the default is shadow: it would only say what it would have done
detector_settings:
  {channels: [median, level], warmup_s: 60, warmup_rows: 280, budget_per_day: 4, margin: 1.1, smooth: 5, clear_s: 5,
   relearn_s: 120}
policy_settings: {settle_s: 20}
"""
LOG = HOME / "serve.log"
LEARN_ROWS = 330
"""It fits anew at 256 rows, and knows its own scores by then."""
PATIENCE_S = 600.0
"""A machine that has other things to do boots a guest in minutes."""
LOOP = "while :; do timeout 3 wget -q -O /dev/null http://{at}/; usleep $((300000 + RANDOM % 300000)); done"
VISITS = "for i in 1 2; do setsid sh -c '{loop}' >/dev/null 2>&1 </dev/null & done; "
VISITS += "setsid ping -i 0.2 {at} >/dev/null 2>&1 </dev/null &"
"""Two visitors, and a stream that does not slow down when some of it is lost, so that the loss can be counted."""
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
        self.served: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """``manor serve``, as long as the context lasts."""
        argv, env = [MANOR, "serve", "--metrics", str(self.port)], {**os.environ, "MANOR_HOME": str(HOME)}
        with LOG.open("wb") as log:
            self.served = subprocess.Popen(argv, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            self.served.terminate()
            try:
                self.served.wait(60)
            except subprocess.TimeoutExpired:
                self.served.kill()
                self.demo.check("manor serve ends when it is told to", False)

    def rate(self, seconds: float = 1.5) -> float:
        """Packets per second that the web server answers, as the host counts them."""
        before, began = self._count(), time.monotonic()
        time.sleep(seconds)
        return (self._count() - before) / (time.monotonic() - began)

    def passes(self) -> bool:
        """Whether more goes through than a server sends by itself."""
        return self.rate() > 4

    def rows(self) -> int:
        """How often the machines' KPIs were collected; 0 where that is not told."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                told = re.search(r'calls_total\{plugin="vim-libvirt",verb="samples"\} (\S+)', answer.read().decode())
        except OSError:
            return 0
        return int(float(told[1])) if told else 0

    def samples(self, since_s: float, until_s: float) -> int:
        """How often the firewall was measured after the one time and up to the other."""
        back_s = int(time.time() - since_s) + 5
        rows = self.demo.ask("kpi", "export", f"{NS}/firewall", "--since", f"{back_s}s")
        return sum(since_s < row["time_s"] <= until_s for row in rows)

    def _count(self) -> int:
        try:
            return int(self.counter.read_text())
        except OSError:
            return 0

    def alarms(self, since_s: float, *, learned: bool) -> list[dict[str, Any]]:
        """Alarms about the firewall that were raised since then, the newest first."""
        found = self.demo.ask("alarm", "list", "--all")
        return [
            alarm
            for alarm in found
            if alarm["alarm_raised_time_s"] >= since_s
            and "/vnf/firewall/" in alarm["resource_key"]
            and alarm["learned"] is learned
        ]

    def is_calm(self) -> bool:
        """Whether no alarm is up."""
        return not self.demo.ask("alarm", "list")

    def healed(self, since_s: float) -> dict[str, Any] | None:
        """The heal since then, once it has completed."""
        found = [op for op in self.demo.ask("op", "list", NS) if op["operation"] == "HEAL" and op["start_s"] >= since_s]
        return next((op for op in found if op["state"] == "COMPLETED"), None)

    def wait(self, what: str, so: Callable[[], Any], told: Callable[[], str] = lambda: "") -> Any:
        """Wait until it is so, and tell that, with what there is by now; what it was, or None. Raises SystemExit where
        ``manor serve`` has ended."""
        began = shown = time.monotonic()
        again = "\r\033[K" if sys.stdout.isatty() else "\n"
        print(f"  \033[2m… until {what}", end="", flush=True)
        while not (found := so()) and (now := time.monotonic()) - began < PATIENCE_S:
            if self.served is not None and self.served.poll() is not None:
                raise SystemExit(f"manor serve has ended by itself: {LOG}")
            if now - shown >= (1.0 if again[0] == "\r" else 10.0):
                shown = now
                print(f"{again}  … until {what} {told()} ({now - began:.0f} s)", end="", flush=True)
            time.sleep(0.5)  # asking takes of what the machines have
        took = time.monotonic() - began
        print(f": {took:.1f} s\033[0m" if found else f": given up after {took:.0f} s\033[0m", flush=True)
        return found


def firewall_pid() -> int:
    """QEMU's process of the firewall; 0 while there is none."""
    for name in host("virsh", "-q", "list", "--name").split():
        if "-vnf-firewall-firewall-0" in name:
            with contextlib.suppress(OSError, ValueError):  # it ends just now
                return int(Path(f"/run/libvirt/qemu/{name}.pid").read_text())
    return 0


def kill(demo: Demo, watched: Watched) -> None:
    """Part (a): QEMU is killed."""
    demo.title("The firewall's QEMU is killed with signal 9")
    demo.check("traffic passes before", bool(watched.wait("traffic passes", watched.passes)))
    pid = firewall_pid()
    if not pid:  # to kill 0 would be to kill ourselves
        raise SystemExit("the firewall does not run")
    print(f"\033[36m$ kill -9 {pid}\033[0m", flush=True)
    killed_s = time.time()
    os.kill(pid, signal.SIGKILL)
    stopped = watched.wait("nothing passes any more", lambda: not watched.passes())
    demo.check("traffic stops: the chain lets nothing past a dead firewall", bool(stopped))
    back = watched.wait("traffic passes again", watched.passes)
    back_s = time.time()
    heal = watched.wait("the heal is proven", lambda: watched.healed(killed_s))
    alarms = watched.alarms(killed_s, learned=False)
    raised_s = alarms[-1]["alarm_raised_time_s"] - killed_s if alarms else PATIENCE_S
    wanting = os.getloadavg()[0] / (os.cpu_count() or 1)
    within_s = max(1.0, round(wanting))  # what wants the processor too has its turns before
    busy = f": {wanting:.0f} processes want each core" if within_s > 1.0 else ""
    demo.check(f"an alarm within {within_s:.0f} s, by libvirt's event{busy}", raised_s <= within_s, f"{raised_s:.2f} s")
    demo.check("one fault is one alarm", len(alarms) == 1, ", ".join(alarm["probable_cause"] for alarm in alarms))
    demo.check("healed by Manor itself, the chain proven again", bool(heal) and heal["is_automatic"])
    demo.check("traffic is back", bool(back), f"{back_s - killed_s:.1f} s after the kill")
    if heal:
        demo.manor("op", "timeline", heal["id"])


def sicken(demo: Demo, watched: Watched) -> None:
    """Part (b): the firewall works on, badly."""
    demo.title("The detector learns what is normal")
    watched.wait("the server tells what it measured", watched.rows)
    first = watched.rows()
    watched.wait(
        f"it has seen {LEARN_ROWS} rows",
        lambda: watched.rows() - first >= LEARN_ROWS,
        lambda: f"({max(0, watched.rows() - first)} by now)",
    )
    watched.wait("no alarm is up", watched.is_calm)
    demo.title("The firewall falls sick: burns CPU, leaks memory, drops 30 % of its packets")
    sick_pid, asked_s = firewall_pid(), time.time()
    demo.inside("firewall", "sh", "-c", SICK)
    sick_s = time.time()
    seen = watched.wait("it is suspected", lambda: watched.alarms(asked_s, learned=True))
    demo.check("no machine died, no rule of anybody's fired: it was suspected", bool(seen) and firewall_pid() > 0)
    samples = watched.samples(sick_s, seen[-1]["alarm_raised_time_s"]) if seen else 0
    demo.check("within ten samples", bool(seen) and samples <= 10, str(samples))
    heal = watched.wait(
        "it is healed",
        lambda: watched.healed(asked_s),
        lambda: "(confirmed)" if any(one["confirmations"] for one in watched.alarms(asked_s, learned=True)) else "",
    )
    demo.check("healed by Manor itself", bool(heal) and heal["is_automatic"])
    demo.check("the sick machine is gone", firewall_pid() not in (0, sick_pid))
    demo.check("traffic passes as before", bool(watched.wait("traffic passes", watched.passes)))
    watched.wait("no alarm is up", watched.is_calm)
    if seen:
        demo.manor("alarm", "explain", seen[-1]["id"])
        story = " ".join(demo.ask("alarm", "explain", seen[-1]["id"])["story"])
        named = [kpi for kpi in ("v_cpu_usage", "v_memory_usage", "v_guest_load", "packet_", "byte_") if kpi in story]
        demo.check("it names what is wrong", bool(named), ", ".join(named))
        demo.check("somebody independent confirmed it before anything was done", "Confirmed by" in story)
        demo.check("it helped, and that is said", "It helped." in story)


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

    def show() -> None:
        prepare(demo)
        addresses = deploy(demo)
        taps.extend(devices(demo))
        demo.title("manor serve watches")
        (HOME / "assurance.yaml").write_text(SETTINGS)
        print(SETTINGS)
        watched = Watched(demo, addresses)
        demo.inside("client", "sh", "-c", VISITS.format(at=watched.at, loop=LOOP.format(at=watched.at)))
        with watched.serving():
            kill(demo, watched)
            sicken(demo, watched)
            demo.title("What was wrong, all in all")
            demo.manor("alarm", "list", "--all")

    well = attempt("the demo stopped", show)
    if well:
        well = attempt("taking it down stopped", lambda: remove(demo))
        prove_nothing_left(demo, before, taps)
    else:
        attempt("clearing", lambda: give_back(demo))
    took = time.monotonic() - demo.began
    if demo.failed or not well:
        why = f"{len(demo.failed)} claims failed: {'; '.join(demo.failed)}" if demo.failed else "It did not get through"
        print(f"\n\033[31m{why}\033[0m ({took:.0f} s; what the server said: {LOG})")
        return 1
    print(f"\n\033[32mEvery claim was true.\033[0m {took:.0f} s")
    host("rm", "-rf", str(HOME))
    return 0


if __name__ == "__main__":
    sys.exit(main())
