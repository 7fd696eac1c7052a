"""Kill -9 at random, over a mixed sequence of operations on real machines, until nobody can say that it was luck.

    .venv/bin/python tests/crash/kill_real.py --kills 100 --seed 1

makes two hosts of its own (libvirt, QEMU under TCG, Open vSwitch, one SDN agent), keeps one service on them and lets
one operation follow the other. Whichever process works it off (the command itself, ``manor op watch`` or ``manor
serve``) is killed at random moments and another one goes on, until the operation rests; at some kills the SDN agent
dies too, or the directory of its socket is emptied. After each operation the domains are counted and drift is asked
for; at the end everything is taken down and the hosts must be empty. What it did is printed line by line, and a summary
as JSON. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kill_packages import FIREWALL, NEXT_FIREWALL, next_firewall, scalable, with_disk

from manor.model.instance import NsLcmOpOcc, OperationState
from manor.store import operations
from manor.store.database import Database
from manor.testing.lab import LabHost, underlay

ROOT = Path(__file__).parents[2]
MANOR = str(Path(sys.executable).parent / "manor")
NAME = "shop"
HOSTS = ("kvm1", "kvm2")
PLACES = tuple(word for vnf in ("client", "firewall", "monitor", "web") for word in ("--place", f"{vnf}=lab/kvm1"))
OPERATIONS: dict[str, tuple[str, ...]] = {
    "instantiate": ("ns", "instantiate", NAME, *PLACES),
    "scale-out": ("ns", "scale", NAME, "--vnf", "firewall=2"),
    "scale-in": ("ns", "scale", NAME, "--vnf", "firewall=1"),
    "chain-off": ("chain", "disable", f"{NAME}/path"),
    "chain-on": ("chain", "enable", f"{NAME}/path"),
    "stop": ("vnf", "stop", f"{NAME}/web", "--timeout", "10"),
    "start": ("vnf", "start", f"{NAME}/web"),
    "move": ("vnf", "move", f"{NAME}/monitor", "lab/kvm2"),
    "move-back": ("vnf", "move", f"{NAME}/monitor", "lab/kvm1"),
    "snapshot": ("vnf", "snapshot", "create", f"{NAME}/web", "kept"),
    "revert": ("vnf", "snapshot", "revert", f"{NAME}/web", "kept"),
    "forget": ("vnf", "snapshot", "delete", NAME, "kept"),
    "heal": ("vnf", "heal", f"{NAME}/monitor", "--cause", "a trial"),
    "upgrade": ("vnf", "upgrade", f"{NAME}/firewall", "--package", NEXT_FIREWALL, "--strategy", "blue-green"),
    "upgrade-back": ("vnf", "upgrade", f"{NAME}/firewall", "--package", FIREWALL, "--strategy", "rolling"),
    "terminate": ("ns", "terminate", NAME),
}


@dataclass
class Service:
    """What the service should be by what completed so far."""

    runs: bool = False
    firewalls: int = 1
    chain: bool = True
    web: bool = True
    upgraded: bool = False
    moved: bool = False
    kept: bool = False
    """There is a snapshot."""
    done: Counter[str] = field(default_factory=Counter)

    def next(self, dice: random.Random) -> str:
        """An operation that changes something; what was done least is the likeliest."""
        if not self.runs:
            return "instantiate"
        may = {
            "scale-out": self.firewalls == 1,
            "scale-in": self.firewalls == 2,
            "chain-off": self.chain,
            "chain-on": not self.chain,
            "stop": self.web,
            "start": not self.web,
            "move": not self.moved,
            "move-back": self.moved,
            "snapshot": not self.kept,
            "revert": self.kept,
            "forget": self.kept,
            "heal": True,
            "upgrade": not self.upgraded,
            "upgrade-back": self.upgraded,
            "terminate": True,
        }
        names = [name for name, is_so in may.items() if is_so]
        rarity = {name: 1 / (1 + self.done[name]) ** 2 for name in names}
        return dice.choices(names, weights=[rarity[name] / (2 if name == "terminate" else 1) for name in names])[0]

    def did(self, name: str) -> None:
        """It completed."""
        self.done[name] += 1
        match name:
            case "instantiate" | "terminate":
                self.runs, self.firewalls, self.chain, self.web = name == "instantiate", 1, True, True
                self.upgraded = self.moved = self.kept = False
            case "scale-out" | "scale-in":
                self.firewalls = 2 if name == "scale-out" else 1
            case "chain-off" | "chain-on":
                self.chain = name == "chain-on"
            case "stop" | "start":
                self.web = name == "start"
            case "move" | "move-back":
                self.moved = name == "move"
            case "snapshot" | "forget":
                self.kept = name == "snapshot"
            case "upgrade" | "upgrade-back":
                self.upgraded = name == "upgrade"

    @property
    def machines(self) -> int:
        """How many domains there should be, running or not."""
        return 3 + self.firewalls if self.runs else 0


@dataclass
class Trial:
    """The installation, its hosts and the tally."""

    labs: Mapping[str, LabHost]
    home: Path
    dice: random.Random
    kills: int = 0
    """Of a process that had an operation at work."""
    agents: int = 0
    """Kills of the SDN agent within an operation."""
    emptied: int = 0
    """Times that Manor's directory of sockets was emptied within one."""
    answered: int = 0
    """Operations that stopped and were rolled back by hand."""
    ended: dict[str, int] = field(default_factory=dict)
    by_operation: dict[str, int] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "MANOR_HOME": str(self.home)}

    def manor(self, *argv: str, expect: tuple[int, ...] = (0,)) -> str:
        """Run a command to its end; what it printed."""
        done = subprocess.run([MANOR, *argv], env=self.env, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode not in expect:
            raise SystemExit(f"manor {argv} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def ask(self, *argv: str) -> Any:
        """What a command answers, as JSON; a difference is an answer too."""
        return json.loads(self.manor("--json", *argv, expect=(0, 1)))

    def begin(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a worker, in a process group of its own."""
        quiet = subprocess.DEVNULL
        with (self.home.parent / "said").open("wb") as said:
            return subprocess.Popen(
                [MANOR, *argv], env=self.env, stdin=quiet, stdout=quiet, stderr=said, start_new_session=True
            )

    def at_work(self) -> NsLcmOpOcc | None:
        """The operation that somebody should be working on."""
        database = Database.open(self.home / "manor.db")
        try:
            with database.read() as tx:
                return next(iter(operations.at_work(tx)), None)
        finally:
            database.close()

    def last(self) -> NsLcmOpOcc | None:
        """The newest operation, None where there was none yet."""
        newest = next(iter(self.ask("op", "list")), None)
        if newest is None:
            return None
        database = Database.open(self.home / "manor.db")
        try:
            with database.read() as tx:
                return operations.get(tx, newest["id"])
        finally:
            database.close()

    def work_off(self, name: str, kills: int) -> tuple[NsLcmOpOcc | None, int]:
        """Do it, killing whoever works on it up to so many times; the operation as it rests, None if it never began."""
        before = self.last()
        worker = self.begin(*OPERATIONS[name], "--yes")
        killed = 0
        if self.dice.random() < 0.9:  # else it may die before it was accepted, which must leave nothing either
            while worker.poll() is None and self.at_work() is None:
                time.sleep(0.2)
        while killed < kills:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(self.dice.uniform(0.0, 3.5))
                break
            under_way = self.at_work()
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            if under_way is None:
                break
            killed += 1
            self.hurt()
            worker = self.begin(*self.dice.choice([("serve",), ("op", "watch", under_way.id)]))
            time.sleep(self.dice.uniform(0.0, 2.0))  # killing it before it has come up would be killing nobody
        if worker.poll() is None and worker.args[1] != "serve":  # type: ignore[index]
            worker.wait(900)
        while (under_way := self.at_work()) is not None:
            if worker.poll() is None:
                time.sleep(0.2)
            else:
                self.manor("op", "watch", under_way.id, expect=tuple(range(10)))
        if worker.poll() is None:
            worker.terminate()
            worker.wait(60)
        if worker.returncode in (2, 4):
            raise SystemExit(f"{name} was refused: {(self.home.parent / 'said').read_text()}")
        after = self.last()
        is_new = after is not None and (before is None or after.id != before.id)
        return (after if is_new else None), killed

    def hurt(self) -> None:
        """Now and then the SDN agent dies too, or somebody empties the directory that its socket is in."""
        run, fate = self.home / "run", self.dice.random()
        if fate < 0.3:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((run / "sdn-net/agent.pid").read_text()), signal.SIGKILL)
                self.agents += 1
        elif fate < 0.45:
            shutil.rmtree(run, ignore_errors=True)
            self.emptied += 1

    def leftovers(self) -> dict[str, str]:
        """What is on the hosts beside an empty hypervisor and an empty switch; nothing should be."""
        left: dict[str, str] = {}
        for host, lab in self.labs.items():
            links = [line.split()[0].partition("@")[0] for line in lab.run("ip", "-br", "link").splitlines()]
            own = ("lo", "ovs-netdev", "ovs-system", "br-phy", "to1", "to2")
            seen = {
                "domains": _domains(lab),
                "networks": lab.run("virsh", "-q", "net-list", "--all", "--name").split(),
                "pools": lab.run("virsh", "-q", "pool-list", "--all", "--name").split(),
                "files": [str(path) for path in lab.pool_dir.rglob("*") if path.is_file()],
                "interfaces": [name for name in links if name not in own],
                "bridges": [name for name in lab.run("ovs-vsctl", "list-br").split() if name != "br-phy"],
            }
            left |= {f"{what} of {host}": " ".join(names) for what, names in seen.items() if names}
        return left

    def domains(self) -> list[str]:
        return [name for lab in self.labs.values() for name in _domains(lab)]


def _domains(lab: LabHost) -> list[str]:
    return lab.run("virsh", "-q", "list", "--all", "--name").split()


@contextlib.contextmanager
def prepared(dice: random.Random) -> Iterator[Trial]:
    """Two hosts with a VIM, a controller, and the service created."""
    subprocess.run([sys.executable, str(ROOT / "descriptors/build.py"), "secure-web"], check=True, capture_output=True)
    with tempfile.TemporaryDirectory(prefix="manor-kill-", dir="/tmp") as folder:
        work = Path(folder)
        work.chmod(0o711)
        with contextlib.ExitStack() as stack:
            labs = {host: stack.enter_context(LabHost(host, work / host)) for host in HOSTS}
            trial, addresses = Trial(labs=labs, home=work / "home", dice=dice), underlay(labs)
            machines = [
                {"name": h, "uri": lab.uri, "ovsdb": lab.ovsdb, "pool_dir": str(lab.pool_dir)}
                for h, lab in labs.items()
            ]
            switches = [{"host": h, "ovsdb": lab.ovsdb, "underlay": addresses[h]} for h, lab in labs.items()]
            (work / "vim.json").write_text(json.dumps({"hosts": machines, "accel": "tcg"}))
            (work / "sdn.json").write_text(json.dumps({"switches": switches}))
            trial.manor("vim", "add", "lab", "--driver", "libvirt", "--config", str(work / "vim.json"))
            trial.manor("sdn", "add", "net", "--driver", "ryu", "--config", str(work / "sdn.json"))
            demo = ROOT / "build/secure-web"
            vnfs = [demo / f"{name}.csar" for name in ("client", "firewall", "monitor")]
            own = [next_firewall(demo / "firewall.csar", work), with_disk(demo / "web.csar", work)]
            nsd = scalable(ROOT / "descriptors/secure-web/nsd", work)
            trial.manor("package", "onboard", *map(str, (*vnfs, *own, nsd)))
            trial.manor("ns", "create", "secure-web", "--name", NAME)
            try:
                yield trial
            finally:
                trial.manor("ns", "delete", NAME, "--force", "--yes", expect=tuple(range(10)))  # or its agent stays
                trial.manor("sdn", "remove", "net", "--force", expect=(0, 2))


def run(*, kills: int, seed: int) -> dict[str, Any]:
    """Operation after operation until so many kills were done, then all down; the tally. Raises SystemExit."""
    dice = random.Random(seed)
    service, began = Service(), time.monotonic()
    with prepared(dice) as trial:
        while trial.kills < kills:
            name = service.next(dice)
            since = time.monotonic()
            operation, killed = trial.work_off(name, min(dice.randint(2, 6), kills - trial.kills))
            trial.kills += killed
            trial.by_operation[name] = trial.by_operation.get(name, 0) + killed
            if operation is not None and operation.state is OperationState.FAILED_TEMP:
                print(f"    {name} stopped: {operation.error}", flush=True)
                trial.manor("op", "rollback", operation.id, expect=tuple(range(10)))
                trial.answered += 1
                operation = trial.last()
            state = str(operation.state) if operation else "never begun"
            trial.ended[state] = trial.ended.get(state, 0) + 1
            if state == "COMPLETED":
                service.did(name)
            elif state not in ("ROLLED_BACK", "never begun"):
                raise SystemExit(f"{name} rests in {state}: {operation and operation.error}")
            found = len(trial.domains())
            told = f"{name}: {state} after {killed} kills, {time.monotonic() - since:.0f} s, {found} domains"
            print(f"[{trial.kills}/{kills}] {told}", flush=True)
            if found != service.machines:
                raise SystemExit(f"{found} domains where {service.machines} should be")
            if service.runs and trial.ask("ns", "drift", NAME)["drift"]:
                raise SystemExit(f"drift after {name}: {trial.manor('ns', 'drift', NAME, expect=(0, 1))}")
            trial.manor("vim", "orphans")  # ends with 1 where it finds one
        if service.runs:
            trial.manor("ns", "terminate", NAME, "--yes")
        trial.manor("ns", "delete", NAME, "--yes")
        for package in trial.ask("package", "list"):
            trial.manor("package", "delete", package["id"])
        trial.manor("sdn", "remove", "net")
        trial.manor("vim", "remove", "lab")
        left = trial.leftovers()
        if left:
            raise SystemExit(f"the hosts are not empty: {left}")
        return {
            "kills": trial.kills,
            "agents_killed": trial.agents,
            "run_emptied": trial.emptied,
            "by_operation": trial.by_operation,
            "ended": trial.ended,
            "rolled_back_by_hand": trial.answered,
            "seconds": round(time.monotonic() - began),
            "left": left,
        }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps(run(kills=args.kills, seed=args.seed)))


if __name__ == "__main__":
    main()
