"""Kill -9 at random, over a mixed sequence of operations on real machines, until nobody can say that it was luck.

    .venv/bin/python tests/crash/kill_real.py --kills 100 --seed 1

makes a host of its own (libvirt, QEMU under TCG, Open vSwitch, the SDN agent), keeps one service on it and lets one
operation follow the other. Whichever process works it off (the command itself, ``manor op watch`` or ``manor serve``)
is killed at random moments and another one goes on, until the operation rests. After each operation the domains are
counted and drift is asked for; at the end everything is taken down and the host must be empty. What it did is printed
line by line, and a summary as JSON. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.model.instance import NsLcmOpOcc, OperationState
from manor.store import operations
from manor.store.database import Database
from manor.testing.lab import LabHost

ROOT = Path(__file__).parents[2]
MANOR = str(Path(sys.executable).parent / "manor")
NAME = "shop"
FIREWALL, NEXT_FIREWALL = "2888f974-c366-572e-8226-bd5ec7588181", "2888f974-c366-572e-8226-bd5ec7588182"
OPERATIONS: dict[str, tuple[str, ...]] = {
    "instantiate": ("ns", "instantiate", NAME),
    "scale-out": ("ns", "scale", NAME, "--vnf", "firewall=2"),
    "scale-in": ("ns", "scale", NAME, "--vnf", "firewall=1"),
    "chain-off": ("chain", "disable", f"{NAME}/path"),
    "chain-on": ("chain", "enable", f"{NAME}/path"),
    "stop": ("vnf", "stop", f"{NAME}/web", "--timeout", "10"),
    "start": ("vnf", "start", f"{NAME}/web"),
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
                self.upgraded = False
            case "scale-out" | "scale-in":
                self.firewalls = 2 if name == "scale-out" else 1
            case "chain-off" | "chain-on":
                self.chain = name == "chain-on"
            case "stop" | "start":
                self.web = name == "start"
            case "upgrade" | "upgrade-back":
                self.upgraded = name == "upgrade"

    @property
    def machines(self) -> int:
        """How many domains there should be, running or not."""
        return 3 + self.firewalls if self.runs else 0


@dataclass
class Trial:
    """The installation, its host and the tally."""

    lab: LabHost
    home: Path
    dice: random.Random
    kills: int = 0
    """Of a process that had an operation at work."""
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
        if worker.returncode == 2:
            raise SystemExit(f"{name} was refused: {(self.home.parent / 'said').read_text()}")
        after = self.last()
        is_new = after is not None and (before is None or after.id != before.id)
        return (after if is_new else None), killed

    def leftovers(self) -> dict[str, str]:
        """What is on the host beside an empty hypervisor and an empty switch; nothing should be."""
        links = [line.split()[0] for line in self.lab.run("ip", "-br", "link").splitlines()]
        seen = {
            "domains": self.domains(),
            "networks": self.lab.run("virsh", "-q", "net-list", "--all", "--name").split(),
            "pools": self.lab.run("virsh", "-q", "pool-list", "--all", "--name").split(),
            "files": [str(path) for path in self.lab.pool_dir.rglob("*") if path.is_file()],
            "interfaces": [name for name in links if name not in ("lo", "ovs-netdev", "ovs-system")],
            "bridges": self.lab.run("ovs-vsctl", "list-br").split(),
        }
        return {what: " ".join(names) for what, names in seen.items() if names}

    def domains(self) -> list[str]:
        return self.lab.run("virsh", "-q", "list", "--all", "--name").split()


@contextlib.contextmanager
def prepared(dice: random.Random) -> Iterator[Trial]:
    """A host with a VIM, a controller, and the service created."""
    subprocess.run([sys.executable, str(ROOT / "descriptors/build.py"), "secure-web"], check=True, capture_output=True)
    with tempfile.TemporaryDirectory(prefix="manor-kill-", dir="/tmp") as folder:
        work = Path(folder)
        work.chmod(0o711)
        with LabHost("kvm1", work / "lab") as lab:
            trial = Trial(lab=lab, home=work / "home", dice=dice)
            host = ("-o", f"ovsdb={lab.ovsdb}", "-o")
            trial.manor(
                *("vim", "add", "lab", "--driver", "libvirt", "-o", f"uri={lab.uri}", "-o", "name=kvm1", *host),
                *(f"pool_dir={lab.pool_dir}", "-o", "accel=tcg"),
            )
            trial.manor("sdn", "add", "net", "--driver", "ryu", *host, "host=kvm1")
            vnfs = [p for p in sorted((ROOT / "build/secure-web").glob("*.csar")) if p.name != "nsd.csar"]
            trial.manor("package", "onboard", *map(str, vnfs), str(_next_firewall(work)), str(_scalable(work)))
            trial.manor("ns", "create", "secure-web", "--name", NAME)
            try:
                yield trial
            finally:
                trial.manor("sdn", "remove", "net", "--force", expect=(0, 2))


def _next_firewall(work: Path) -> Path:
    """The firewall's next version, which says so when it boots."""
    folder, data = work / "firewall", ("Definitions/firewall.yaml", "Files/boot.sh")
    with zipfile.ZipFile(ROOT / "build/secure-web/firewall.csar") as archive:
        archive.extractall(folder)
    (manifest,) = folder.glob("*.mf")
    said = manifest.read_text().replace(FIREWALL, NEXT_FIREWALL)
    for name in data:
        before = (folder / name).read_text()
        after = before.replace(FIREWALL, NEXT_FIREWALL) + ("\ntouch /run/version-2\n" if name.endswith(".sh") else "")
        (folder / name).write_text(after)
        old, new = (hashlib.sha256(text.encode()).hexdigest() for text in (before, after))
        said = said.replace(old, new)
    manifest.write_text(said)
    return folder


def _scalable(work: Path) -> Path:
    """The demo's service with up to two firewalls."""
    nsd = work / "nsd"
    shutil.copytree(ROOT / "descriptors/secure-web/nsd", nsd)
    file = nsd / "Definitions/secure_web.yaml"
    head, firewall = file.read_text().split("    firewall:\n", 1)
    firewall = firewall.replace("max_number_of_instances: 1", "max_number_of_instances: 2", 1)
    file.write_text(f"{head}    firewall:\n{firewall}")
    return nsd


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
            raise SystemExit(f"the host is not empty: {left}")
        return {
            "kills": trial.kills,
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
