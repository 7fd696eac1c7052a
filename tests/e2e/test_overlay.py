"""Three hosts, each with its own hypervisor and switch, and one service over all of them: by the command line alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from manor.testing.lab import LabHost, plugged_in

from .conftest import ROOT, Site
from .hosts import opened

pytestmark = [pytest.mark.real, pytest.mark.slow]
HOSTS = ("kvm1", "kvm2", "kvm3")
NSD = ROOT / "descriptors/secure-web/nsd/Definitions/secure_web.yaml"
MTU = 1450
"""Of a link whose descriptor says nothing: what a tunnel leaves of 1500."""
_HEADERS = 28
"""Of IPv4 and ICMP, before a ping's payload."""


@dataclass(frozen=True, kw_only=True)
class Region(Site):
    """Three lab hosts on one network, registered as one VIM and one controller."""

    labs: Mapping[str, LabHost]

    def on(self, host: str) -> Site:
        return Site(lab=self.labs[host], home=self.home)

    def tunnels(self) -> int:
        listed = [lab.run("ovs-vsctl", "list-ports", "manor-int") for lab in self.labs.values()]
        return sum(port.startswith("mvx-") for ports in listed for port in ports.split())

    def counted(self, function: str) -> tuple[int, int]:
        """Packets that the firewall or the monitor let pass, there and back."""
        seen: dict[str, int] = json.loads(self.inside(f"shop/{function}", "vnf-counters").stdout)
        names = ("web_forward", "web_backward") if function == "firewall" else ("forward", "backward")
        return seen[names[0]], seen[names[1]]


@pytest.fixture(scope="module")
def region(packages: Path) -> Iterator[Region]:
    with opened(HOSTS, lambda work, labs: Region(lab=labs["kvm1"], home=work / "home", labs=labs)) as made:
        made.manor("package", "onboard", *map(str, sorted((packages / "secure-web").glob("[!n]*.csar"))))
        yield made


def described(path: Path, *, order: tuple[str, str]) -> Path:
    """The demo's NSD, with its functions in this order."""
    text = NSD.read_text().replace("name: secure-web", f"name: {order[0]}-first")
    if order == ("monitor", "firewall"):
        text = text.replace("708b25be-3153-5325-b5fa-91bab132541b", "708b25be-3153-5325-b5fa-91bab132541c")
        text = re.sub(r"(        - nfp_position: at_firewall\n)(        - nfp_position: at_monitor\n)", r"\2\1", text)
    path.write_text(text)
    return path


def a_host_dies(region: Region, web: str) -> None:
    """The one with the firewall, for good as it seems: the firewall goes elsewhere, and nobody else is held up."""
    kvm2 = region.labs["kvm2"]
    (domain,) = kvm2.run("virsh", "-q", "list", "--name").split()
    kvm2.power_off()
    looked = region.manor("--json", "ns", "drift", "shop", expect=6)
    assert "kvm2 does not answer" in looked
    moved = region.manor("vnf", "move", "shop/firewall", "lab/kvm3", "--yes")
    assert "may run on there" in moved
    page = region.inside("shop/client", "timeout", "60", "wget", "-q", "-O", "-", f"http://{web}/")
    assert "Hello from" in page.stdout, page.stderr
    assert min(region.counted("firewall")) > 0, "by way of the new one"

    kvm2.power_on()
    plugged_in(region.labs, "kvm2")
    assert kvm2.run("virsh", "-q", "list", "--all", "--name").split() == [domain]
    assert "/vnf/firewall/" in region.manor("vim", "orphans", expect=1)
    region.manor("vim", "orphans", "--remove", "--yes")
    assert kvm2.run("virsh", "-q", "list", "--all", "--name").split() == []
    assert region.ask("ns", "drift", "shop")["drift"] is False


@pytest.mark.parametrize(
    ("order", "places"),
    [
        (("firewall", "monitor"), {"client": "kvm1", "firewall": "kvm2", "monitor": "kvm3", "web": "kvm1"}),
        pytest.param(
            ("monitor", "firewall"),
            {"client": "kvm3", "firewall": "kvm3", "monitor": "kvm1", "web": "kvm2"},
            marks=pytest.mark.long,
        ),
    ],
    ids=["there and back again", "another order, other hosts"],
)
def test_a_chain_over_three_hypervisors(
    region: Region, tmp_path: Path, order: tuple[str, str], places: Mapping[str, str]
) -> None:
    region.manor("package", "onboard", str(described(tmp_path / "nsd.yaml", order=order)))
    region.manor("ns", "create", f"{order[0]}-first", "--name", "shop")
    where = [word for vnf, host in places.items() for word in ("--place", f"{vnf}=lab/{host}")]
    region.manor("ns", "instantiate", "shop", "--yes", *where)

    vnfs: list[Any] = region.ask("ns", "topology", "shop")["vnfs"]
    assert {vnf["name"]: vnf["vnfcs"][0]["host"] for vnf in vnfs} == dict(places)
    at = {v["name"]: p["addresses"][0].split("/")[0] for v in vnfs for p in v["vnfcs"][0]["ports"] if p["addresses"]}
    for host, lab in region.labs.items():
        assert len(lab.run("virsh", "-q", "list", "--name").split()) == list(places.values()).count(host)
    assert region.tunnels() == 6

    # In order, both ways: what the first function lets pass the second sees, and what is denied stops at the firewall.
    page = region.inside("shop/client", "timeout", "60", "wget", "-q", "-O", "-", f"http://{at['web']}/")
    assert "Hello from" in page.stdout, page.stderr
    until_s = time.monotonic() + 60
    while True:  # the last acknowledgements come after the page
        first, second = (region.counted(name) for name in order)
        if first == second:
            break
        assert time.monotonic() < until_s, (first, second)
    assert min(first) > 0
    (path,) = region.ask("chain", "list", "shop")
    assert path["path"] == " > ".join(("client", *order, "web"))
    assert region.proven("shop")["ok"] is True

    # The largest packet whole, never cut up: Linux pings with "do not fragment".
    assert f"mtu {MTU}" in region.inside("shop/client", "ip", "link", "show", "eth0").stdout
    largest = region.inside("shop/client", "ping", "-c", "3", "-W", "30", "-s", str(MTU - _HEADERS), at["web"])
    assert largest.returncode == 0, largest.stdout

    legs = region.ask("chain", "show", "shop", "--format", "json")["legs"]
    assert [leg["wrong"] for leg in legs] == [0] * 6
    assert any(leg["tunnels"] for leg in legs)
    assert {link["state"] for link in region.ask("sdn", "links", "net")} == {"built"}
    traced = region.ask("chain", "trace", "shop", "--packet", "tcp,dst_port=80")
    assert traced["arrives"] is True
    met = [hop["port"].partition("/")[0] for hop in traced["hops"] if hop["table"] is None and hop["port"]]
    assert [name for name in met if name in places] == [*order, "web"]

    # A function moves to another host: the new machine is made before the links turn to it, the old one goes last.
    old = vnfs[[vnf["name"] for vnf in vnfs].index(order[1])]["vnfcs"][0]
    region.manor("vnf", "move", f"shop/{order[1]}", "lab/kvm2" if old["host"] == "kvm1" else "lab/kvm1", "--yes")
    (new,) = [vnf["vnfcs"][0] for vnf in region.ask("ns", "topology", "shop")["vnfs"] if vnf["name"] == order[1]]
    assert new["host"] != old["host"]
    assert [port["mac"] for port in new["ports"]] == [port["mac"] for port in old["ports"]]
    bars = {bar["name"]: bar for bar in region.ask("op", "timeline", "shop")["bars"]}
    name = f"{order[1]}/{order[1]}-0"
    made, turned, gone = (bars[step] for step in (f"node {name}.1", "segment lan", f"remove node {name}"))
    assert made["end_s"] <= turned["start_s"] <= turned["end_s"] <= gone["start_s"]
    page = region.inside("shop/client", "timeout", "60", "wget", "-q", "-O", "-", f"http://{at['web']}/")
    assert "Hello from" in page.stdout, page.stderr
    assert min(region.counted(order[1])) > 0

    assert region.ask("ns", "drift", "shop")["drift"] is False
    died = places["firewall"] if places["firewall"] == "kvm2" else ""
    if died:
        a_host_dies(region, at["web"])
    region.manor("ns", "terminate", "shop", "--yes")
    region.manor("ns", "delete", "shop", "--yes")
    for host in HOSTS:
        left = region.on(host).leftovers()
        bridge = {"manor-int"} if host == died else set()  # its links went while it was away: the next one tidies
        interfaces = set(left.pop("interfaces", "").split()) - {"br-phy", "to1", "to2", "to3"} - bridge
        assert {name.partition("@")[0] for name in interfaces} <= {"to1", "to2", "to3"}, interfaces
        assert set(left.pop("bridges", "").split()) - bridge == {"br-phy"}
        assert set(left) <= {"pools", "files"}, left  # cached images, until their packages go
