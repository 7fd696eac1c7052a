"""A real host for the command line to work on: libvirt, QEMU and Open vSwitch in namespaces of their own."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from manor.testing.lab import LabHost

ROOT = Path(__file__).parents[2]
MANOR = str(Path(sys.executable).parent / "manor")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A lab host with a VIM ``lab`` and a controller ``net`` registered in an installation of its own."""

    lab: LabHost
    home: Path
    db: str = ""
    """Its database; empty for a file in the home."""

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "MANOR_HOME": str(self.home), "MANOR_DB": self.db}

    def manor(self, *argv: str, expect: int = 0) -> str:
        """Run a command; what it printed."""
        done = subprocess.run(
            [MANOR, *argv], env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=400
        )
        assert done.returncode == expect, (
            f"manor {argv}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done.stdout

    def ask(self, *argv: str) -> Any:
        """What a command answers, as JSON."""
        return json.loads(self.manor("--json", *argv))

    def proven(self, service: str) -> Any:
        """``chain verify`` once every probe comes through: on a busy machine one may come too late."""
        end_s = time.monotonic() + 180.0
        argv = [MANOR, "--json", "chain", "verify", service]
        while True:
            done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=100)
            if done.returncode == 0:
                return json.loads(done.stdout)
            assert time.monotonic() < end_s, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def inside(self, vnf: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a machine."""
        return subprocess.run(
            [MANOR, "vnf", "exec", vnf, "--", *argv], env=self.env, capture_output=True, text=True, timeout=100
        )

    def domains(self) -> list[str]:
        return self.lab.run("virsh", "-q", "list", "--all", "--name").split()

    def leftovers(self) -> dict[str, str]:
        """What is on the host beside an empty hypervisor and an empty switch; nothing should be."""
        links = [line.split()[0] for line in self.lab.run("ip", "-br", "link").splitlines()]
        seen = {
            "domains": "".join(self.domains()),
            "networks": self.lab.run("virsh", "-q", "net-list", "--all", "--name").strip(),
            "pools": self.lab.run("virsh", "-q", "pool-list", "--all", "--name").strip(),
            "files": " ".join(str(path) for path in self.lab.pool_dir.rglob("*") if path.is_file()),
            "interfaces": " ".join(name for name in links if name not in ("lo", "ovs-netdev", "ovs-system")),
            "bridges": self.lab.run("ovs-vsctl", "list-br").strip(),
        }
        return {what: text for what, text in seen.items() if text}


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of the demo services' packages, built (once per checkout) from Debian packages."""
    for service in ("hello-vm", "secure-web"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "descriptors/build.py"), service], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    return ROOT / "build"


@pytest.fixture(scope="module")
def db() -> str:
    """URL of the database that ``site`` is given; a module may have one of its own."""
    return ""


@pytest.fixture(scope="module")
def site(db: str) -> Iterator[Site]:
    # Unix sockets allow few characters, so not pytest's long directory names.
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manor-e2e-", dir="/tmp")))
        work.chmod(0o711)
        lab = stack.enter_context(LabHost("kvm1", work / "lab"))
        made = Site(lab=lab, home=work / "home", db=db)
        host = ("-o", f"ovsdb={lab.ovsdb}")
        made.manor(
            *("vim", "add", "lab", "--driver", "libvirt", "-o", f"uri={lab.uri}", "-o", "name=kvm1", *host),
            *("-o", f"pool_dir={lab.pool_dir}", "-o", "accel=tcg"),
        )
        made.manor("sdn", "add", "net", "--driver", "ryu", "-o", "host=kvm1", *host)
        try:
            yield made
        finally:
            for service in made.ask("ns", "list"):
                made.manor("ns", "delete", service["name"], "--force", "--yes")
            made.manor("sdn", "remove", "net", "--force")
