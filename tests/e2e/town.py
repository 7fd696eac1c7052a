"""What the lifecycle tests run on: two hosts on one network, packages whose VNFs show what was done to them, a VNF
manager that drains, and a stream of datagrams that shows what traffic lost."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import textwrap
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manor.testing.lab import LabHost

from . import hosts
from .conftest import ROOT, Site

__all__ = ["FIREWALL", "NEXT_FIREWALL", "Loss", "Stream", "Town", "next_version", "onboarded", "opened"]

HERE = Path(__file__).parent / "town-packages"
HOSTS = ("kvm1", "kvm2")
FIREWALL, NEXT_FIREWALL = "2888f974-c366-572e-8226-bd5ec7588181", "2888f974-c366-572e-8226-bd5ec7588182"
_INTERVAL_S = 0.05
_DRAINER = '''
    """The generic manager's work, and before a machine goes it is asked how long it ran."""
    import os
    import time

    from pydantic import BaseModel

    from manor.api import BootData, Health, VnfmDriver, hookimpl
    from manor.errors import DriverError, Permanent

    class Settings(BaseModel):
        pass

    class Drainer:
        def __init__(self, settings, environment):
            pass

        def boot_data(self, vnf, vnfc):
            return BootData(user_data=vnf.boot_templates.get(vnfc.vdu_id, ""))

        def configure(self, vnf, guests, ctx):
            for vnfc in vnf.vnfcs:
                for argv in vnf.day1.get(vnfc.vdu_id, ()):
                    done = guests[vnfc.key].run(argv, ctx)
                    if done.exit_code:
                        raise Permanent(f"{vnfc.name}: {done.stderr!r}")

        def health(self, vnf, guests, ctx):
            checks = {}
            for key, guest in guests.items():
                try:
                    checks[key] = guest.ping(ctx)
                except DriverError:
                    checks[key] = False
            return Health(ready=all(checks.values()), reason="" if all(checks.values()) else "no answer", checks=checks)

        def quiesce(self, vnf, guests, ctx):
            for key, guest in guests.items():
                uptime = guest.run(("cat", "/proc/uptime"), ctx).stdout.split()[0].decode()
                with open(os.environ["DRAINED"], "a") as file:
                    file.write(f"{vnf.name} {uptime} {ctx.patience_s}\\n")

        def close(self):
            pass

    @hookimpl
    def manor_vnfm_drivers():
        yield VnfmDriver(name="drainer", summary="Drains.", config=Settings, connect=Drainer)
'''


@dataclass(frozen=True, kw_only=True)
class Town(Site):
    """Two lab hosts as one VIM and one controller, and a plugin beside the product's own."""

    labs: Mapping[str, LabHost]
    plugins: Path

    @property
    def env(self) -> dict[str, str]:
        paths = os.pathsep.join(filter(None, (str(self.plugins), os.environ.get("PYTHONPATH", ""))))
        return {**super().env, "PYTHONPATH": paths, "DRAINED": str(self._drained)}

    @property
    def _drained(self) -> Path:
        return self.home.parent / "drained"

    def drained(self) -> list[str]:
        """What was drained since this was asked last."""
        lines = self._drained.read_text().splitlines() if self._drained.exists() else []
        self._drained.unlink(missing_ok=True)
        return lines

    def machine(self, vnf: str, service: str = "shop") -> Any:
        """The one machine of a VNF, as the topology has it."""
        (found,) = [each for each in self.ask("ns", "topology", service)["vnfs"] if each["name"] == vnf]
        return found["vnfcs"][0]

    def address(self, vnf: str, service: str = "shop", port: str = "eth") -> str:
        (found,) = [each for each in self.machine(vnf, service)["ports"] if each["name"] == port]
        return str(found["addresses"][0].partition("/")[0])

    def kill(self, vnf: str) -> None:
        """Have a VNF's only machine die, behind everybody's back."""
        machine = f"-vnf-{vnf}-{vnf.partition('-')[0]}-0"
        on = [(lab, name) for lab in self.labs.values() for name in lab.run("virsh", "-q", "list", "--name").split()]
        ((lab, name),) = [(lab, name) for lab, name in on if machine in name]
        lab.run("virsh", "destroy", name)

    def says(self, vnf: str, script: str) -> str:
        """What a shell in the machine prints; it has to end well."""
        done = self.inside(vnf, "sh", "-c", script)
        assert done.returncode == 0, (vnf, script, done.stdout, done.stderr)
        return done.stdout.strip()

    def last(self) -> Any:
        """The operation that ended last, with its problem and its steps."""
        return self.ask("op", "show", self.ask("op", "list")[0]["id"])


def opened() -> AbstractContextManager[Town]:
    """The two hosts, registered in an installation of their own."""

    def made(work: Path, labs: Mapping[str, LabHost]) -> Town:
        return Town(lab=labs["kvm1"], home=work / "home", labs=labs, plugins=_plugin(work / "plugins"))

    return hosts.opened(HOSTS, made)


def _plugin(folder: Path) -> Path:
    info = folder / "drainer-1.dist-info"
    info.mkdir(parents=True)
    (folder / "drainer.py").write_text(textwrap.dedent(_DRAINER))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: drainer\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[manor.plugins.v1]\ndrainer = drainer\n")
    return folder


def onboarded(town: Town, packages: Path, work: Path) -> None:
    """On-board the host's package, the demo's firewall in two versions and its client, and the services of them."""
    host = shutil.copytree(HERE / "host", work / "host")
    (host / "Files/images").mkdir()
    for image in ("vmlinuz", "initramfs"):
        shutil.copyfile(ROOT / "build/images" / image, host / "Files/images" / image)
    demo = packages / "secure-web"
    second = work / "town-2.yaml"
    text = (HERE / "town.yaml").read_text().replace("descriptor_id: town-1", "descriptor_id: town-2")
    second.write_text(text.replace("{ether_type: ipv4}", "{ether_type: ipv4, protocol: tcp}"))
    vnfs = (
        host,
        demo / "firewall.csar",
        next_version(demo / "firewall.csar", work / "firewall"),
        demo / "client.csar",
    )
    services = (HERE / "town.yaml", second, HERE / "region.yaml", HERE / "hamlet.yaml")
    town.manor("package", "onboard", *map(str, (*vnfs, *services)))


def next_version(package: Path, folder: Path) -> Path:
    """The same package as the product's next version, which says so when it boots."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    manifest = next(folder.glob("*.mf"))
    for path in (folder / "Definitions/firewall.yaml", folder / "Files/boot.sh", manifest):
        text = path.read_text().replace(FIREWALL, NEXT_FIREWALL)
        path.write_text(text + "\ntouch /run/version-2\n" if path.name == "boot.sh" else text)
    text = manifest.read_text()
    for name in ("Definitions/firewall.yaml", "Files/boot.sh"):
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        text = re.sub(rf"(Source: {re.escape(name)}\nAlgorithm: SHA-256\nHash: )\w+", rf"\g<1>{digest}", text)
    manifest.write_text(text)
    return folder


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a stream of datagrams, there and back, lost."""

    sent: int
    lost: int
    longest_s: float
    """The longest time without an answer."""


class Stream:
    """Datagrams from one VNF to an address, twenty a second, each answered, as long as the context lasts."""

    def __init__(self, town: Town, vnf: str, address: str) -> None:
        self._town, self._vnf, self._address = town, vnf, address
        self.loss = Loss(sent=0, lost=0, longest_s=0.0)

    def __enter__(self) -> Stream:
        ping = f"ping -i {_INTERVAL_S} {self._address} >/run/stream 2>&1 </dev/null & echo $! >/run/stream.pid"
        self._town.says(self._vnf, f"{ping}; until grep -q seq= /run/stream; do sleep 0.1; done")
        return self

    def __exit__(self, *_: object) -> None:
        end = "kill -INT $(cat /run/stream.pid); until grep -q transmitted /run/stream; do sleep 0.1; done"
        told = self._town.says(self._vnf, f"{end}; cat /run/stream")
        sent, received = (int(found) for found in re.findall(r"(\d+) packets (?:transmitted|received)", told))
        numbers = [-1, *sorted({int(number) for number in re.findall(r"seq=(\d+)", told)}), sent]
        gaps = [after - before - 1 for before, after in itertools.pairwise(numbers)]
        self.loss = Loss(sent=sent, lost=sent - received, longest_s=round(max(gaps) * _INTERVAL_S, 2))
