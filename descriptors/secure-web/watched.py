"""The demo service under ``manor serve``, as it is seen from outside: its traffic, its alarms, its heals.

What is judged is what passes the chain, as the host's own interface counters have it, and what Manor says of itself.
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

from demo import HOME, MANOR, NS, Demo, host

__all__ = ["LOG", "PATIENCE_S", "Watched", "firewall_pid", "is_gone"]

LOG = HOME / "serve.log"
PATIENCE_S = 600.0
"""A machine that has other things to do boots a guest in minutes."""
LOOP = "while :; do timeout {limit_s} wget -q -O /dev/null {urls}; usleep $((300000 + RANDOM % 300000)); done"
VISIT = "for i in $(seq {loops}); do setsid sh -c '{loop}' >/dev/null 2>&1 </dev/null & echo $! >>/run/visitors; done"
STREAM = "setsid ping -i 0.2 {at} >/dev/null 2>&1 </dev/null &"
LEAVE = "for loop in $(cat /run/visitors); do kill -9 -$loop; done; rm /run/visitors"


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
        LOG.unlink(missing_ok=True)
        self.serve()
        try:
            yield
        finally:
            if self.served is not None:
                self.served.terminate()
                try:
                    self.served.wait(60)
                except subprocess.TimeoutExpired:
                    self.served.kill()
                    self.demo.check("manor serve ends when it is told to", False)

    def serve(self) -> None:
        """Start the server."""
        argv, env = [MANOR, "serve", "--metrics", str(self.port)], {**os.environ, "MANOR_HOME": str(HOME)}
        with LOG.open("ab") as log:
            self.served = subprocess.Popen(argv, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill_server(self) -> None:
        """End the server as a crash does."""
        if self.served is not None:
            self.served.send_signal(signal.SIGKILL)
            self.served.wait()
            self.served = None

    def visit(self, visitors: int, *, pages: int = 1) -> None:
        """Let so many more visitors ask for so many pages, again and again, until :meth:`leave`."""
        loop = LOOP.format(urls=f"http://{self.at}/ " * pages, limit_s=3 + pages)
        self._in_client(VISIT.format(loops=visitors, loop=loop))

    def stream(self) -> None:
        """A stream that does not slow down when some of it is lost, so that the loss can be counted."""
        self._in_client(STREAM.format(at=self.at))

    def leave(self) -> None:
        """Send all visitors home."""
        self._in_client(LEAVE)

    def _in_client(self, script: str) -> None:
        self.demo.manor("vnf", "exec", f"{NS}/client", "--", "sh", "-c", script, quiet=True)

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

    def alarms(self, since_s: float, *, vnf: str = "firewall", learned: bool = False) -> list[dict[str, Any]]:
        """Alarms about a VNF that were raised since then, the newest first."""
        found = self.demo.ask("alarm", "list", "--all")
        return [
            alarm
            for alarm in found
            if alarm["alarm_raised_time_s"] >= since_s
            and f"/vnf/{vnf}/" in alarm["resource_key"]
            and alarm["learned"] is learned
        ]

    def is_calm(self, *, learned: bool = True) -> bool:
        """Whether no alarm is up; what detectors suspect counts with ``learned``."""
        return not [alarm for alarm in self.demo.ask("alarm", "list") if learned or not alarm["learned"]]

    def operations(self, since_s: float) -> list[dict[str, Any]]:
        """Operations on the service begun since then."""
        return [op for op in self.demo.ask("op", "list", NS) if op["start_s"] >= since_s]

    def heals(self, since_s: float) -> list[dict[str, Any]]:
        """Heals begun since then."""
        return [op for op in self.operations(since_s) if op["operation"] == "HEAL"]

    def healed(self, since_s: float) -> dict[str, Any] | None:
        """The heal since then, once it has completed."""
        return next((op for op in self.heals(since_s) if op["state"] == "COMPLETED"), None)

    def wait(self, what: str, so: Callable[[], Any], told: Callable[[], str] = lambda: "", pause_s: float = 0.5) -> Any:
        """Wait until it is so, and tell that, with what there is by now; what it was, or None. Raises SystemExit where
        ``manor serve`` has ended. Asking takes of what the machines have, so there is a pause between."""
        began = shown = time.monotonic()
        again = "\r\033[K" if sys.stdout.isatty() else "\n"
        print(f"  \033[2m… until {what}", end="", flush=True)
        while not (found := so()) and (now := time.monotonic()) - began < PATIENCE_S:
            if self.served is not None and self.served.poll() is not None:
                raise SystemExit(f"manor serve has ended by itself: {LOG}")
            if now - shown >= (1.0 if again[0] == "\r" else 10.0):
                shown = now
                print(f"{again}  … until {what} {told()} ({now - began:.0f} s)", end="", flush=True)
            time.sleep(pause_s)
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


def is_gone(pid: int) -> bool:
    """Whether there is no such process any more, not even a dead one that its parent has not buried yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
