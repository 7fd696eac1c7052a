"""Operations on a running service, on a real hypervisor and a real switch, judged by the traffic."""

from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]


def page(site: Any, at: str, *, within_s: int = 60) -> bool:
    """Whether the client gets the page through the chain."""
    asked = site.inside("shop/client", "timeout", str(within_s), "wget", "-q", "-O", "-", f"http://{at}/")
    return asked.returncode == 0 and "Hello from" in asked.stdout


def test_heal_stop_start_and_a_chain_switched_off(site: Any, packages: Any) -> None:
    site.manor("package", "onboard", *map(str, sorted((packages / "secure-web").glob("*.csar"))))
    site.manor("ns", "create", "secure-web", "--name", "shop")
    site.manor("ns", "instantiate", "shop", "--yes")
    before = site.ask("ns", "topology", "shop")["vnfs"]
    (at,) = (p["addresses"][0].split("/")[0] for v in before if v["name"] == "web" for p in v["vnfcs"][0]["ports"])
    assert page(site, at)

    site.manor("vnf", "heal", "shop/web", "--cause", "a test", "--yes")
    assert [v["vnfcs"][0]["ports"] for v in site.ask("ns", "topology", "shop")["vnfs"]] == [
        v["vnfcs"][0]["ports"] for v in before
    ]
    assert page(site, at)

    site.manor("vnf", "stop", "shop/firewall", "--timeout", "20", "--yes")
    assert site.ask("ns", "drift", "shop")["drift"] is False
    assert not page(site, at, within_s=8), "a firewall that is off lets nothing pass"

    (chain,) = site.ask("chain", "list", "shop")
    site.manor("chain", "disable", f"shop/{chain['name']}", "--yes")
    assert page(site, at), "without its chain the traffic goes straight"
    site.manor("vnf", "start", "shop/firewall", "--yes")
    site.manor("chain", "enable", f"shop/{chain['name']}", "--yes")
    assert page(site, at)
    assert site.ask("ns", "drift", "shop")["drift"] is False

    site.manor("vnf", "stop", "shop/client", "shop/web", "--forceful", "--yes")
    assert site.ask("ns", "drift", "shop")["drift"] is False
    site.manor("ns", "terminate", "shop", "--yes")
    assert set(site.leftovers()) <= {"pools", "files"}
