"""The demo service under ``manor serve``, and what a test asks of it: its traffic, its alarms, its operations.

What is judged is what passes the chain, as the host's own interface counters have it, and what Manor says of itself.
"""

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from manor.testing.ports import free_port

MANOR = str(Path(sys.executable).parent / "manor")
LOOP = "while :; do timeout {limit_s} wget -q -O /dev/null {urls}; usleep $((300000 + RANDOM % 300000)); done"


class Shop:
    """The service with its traffic, its server process, and what the tests ask of them."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.served: subprocess.Popen[str] | None = None
        self.at = ""
        self.web_device = ""
        self.port = free_port()

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
        return self.called("samples")

    def called(self, verb: str) -> int:
        """How often the server has called the VIM's verb."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            found = re.search(
                rf'manor_plugin_calls_total\{{plugin="vim-libvirt",verb="{verb}"\}} (\S+)', answer.read().decode()
            )
        return int(float(found[1])) if found else 0

    def calls(self, verb: str, *, within_s: float) -> int:
        """How often the server calls the VIM's verb from now on."""
        before = self.called(verb)
        time.sleep(within_s)
        return self.called(verb) - before

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server process."""
        if self.served is not None:
            self.served.send_signal(number)
            self.served.wait(180)
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
        return found if found["state"] != "PROCESSING" else None

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
