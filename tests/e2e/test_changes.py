"""A running service changed on a real hypervisor and a real switch: a firewall upgraded beside the old one, a VNF and
a link that the NSD does not know, and an end that asks the guests."""

from pathlib import Path
from typing import Any

import pytest

from .town import NEXT_FIREWALL, next_version

pytestmark = [pytest.mark.real, pytest.mark.slow]


def machine(site: Any, name: str) -> Any:
    (vnf,) = [vnf for vnf in site.ask("ns", "topology", "shop")["vnfs"] if vnf["name"] == name]
    return vnf["vnfcs"][0]


def page(site: Any) -> bool:
    at = machine(site, "web")["ports"][0]["addresses"][0].split("/")[0]
    asked = site.inside("shop/client", "timeout", "60", "wget", "-q", "-O", "-", f"http://{at}/")
    return asked.returncode == 0 and "Hello from" in asked.stdout


def test_upgraded_beside_grown_and_ended_in_order(site: Any, packages: Path, tmp_path: Path) -> None:
    built = sorted((packages / "secure-web").glob("*.csar"))
    site.manor("package", "onboard", *map(str, built))
    site.manor("package", "onboard", str(next_version(packages / "secure-web" / "firewall.csar", tmp_path / "fw2")))
    site.manor("ns", "create", "secure-web", "--name", "shop")
    site.manor("ns", "instantiate", "shop", "--yes")
    assert page(site)
    before = machine(site, "firewall")

    site.manor("vnf", "upgrade", "shop/firewall", "--package", NEXT_FIREWALL, "--strategy", "blue-green", "--yes")
    after = machine(site, "firewall")
    assert after["key"] != before["key"]
    assert [port["mac"] for port in after["ports"]] == [port["mac"] for port in before["ports"]]
    assert site.inside("shop/firewall", "ls", "/run/version-2").returncode == 0
    assert page(site), "traffic goes through the new one"
    assert len(site.domains()) == 4

    site.manor("ns", "update", "shop", "--type", "CREATE_NS_VIRTUAL_LINK", "--set", "virtualLinkId=dmz", "--yes")
    client = machine(site, "client")
    (vnfd,) = [p["descriptor_id"] for p in site.ask("package", "list") if p["kind"] == "vnf" and "client" in p["name"]]
    add = ("--set", "vnfProfileId=second", "--set", f"vnfdId={vnfd}", "--set", "extVirtualLinks.virtual_link=dmz")
    site.manor("ns", "update", "shop", "--type", "INSTANTIATE_VNF", *add, "--yes")
    assert machine(site, "second")["ports"][0]["link"].endswith("/vl/dmz")
    (lan,) = {port["link"] for port in client["ports"]}
    there = ("--connect", f"virtual_link={lan.rpartition('/')[2]}", "--yes")
    site.manor("vnf", "change-ext-conn", "shop/second", *there)
    assert machine(site, "second")["ports"][0]["link"] == lan
    assert page(site)
    site.manor("ns", "update", "shop", "--type", "REMOVE_VNF", "--set", "removeVnfInstanceId=second", "--yes")
    assert site.ask("ns", "drift", "shop")["drift"] is False

    site.manor("ns", "terminate", "shop", "--graceful", "--timeout", "20", "--yes")
    assert set(site.leftovers()) <= {"pools", "files"}
