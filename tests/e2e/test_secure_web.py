"""The demo's service on a real hypervisor and a real switch: the chain is proven by the functions' own counters."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]
FAILED = 5


@pytest.fixture(scope="module")
def shop(site: Any, packages: Path) -> Iterator[Any]:
    site.manor("package", "onboard", *map(str, sorted((packages / "secure-web").glob("*.csar"))))
    site.manor("ns", "create", "secure-web", "--name", "shop")
    return site


def counters(site: Any, vnf: str) -> dict[str, int]:
    counted: dict[str, int] = json.loads(site.inside(f"shop/{vnf}", "vnf-counters").stdout)
    return counted


def addresses(site: Any) -> dict[str, str]:
    return {
        vnf["name"]: port["addresses"][0].split("/")[0]
        for vnf in site.ask("ns", "topology", "shop")["vnfs"]
        for port in vnf["vnfcs"][0]["ports"]
        if port["addresses"]
    }


def test_traffic_takes_the_chain_both_ways_and_nothing_is_left_afterwards(shop: Any) -> None:
    shop.manor("ns", "instantiate", "shop", "--yes")
    at = addresses(shop)
    assert set(at) == {"client", "web"}

    page = shop.inside("shop/client", "timeout", "60", "wget", "-q", "-O", "-", f"http://{at['web']}/")
    assert "Hello from" in page.stdout
    until_s = time.monotonic() + 60
    while True:  # the last acknowledgements come after the page
        firewall, monitor = counters(shop, "firewall"), counters(shop, "monitor")
        if (firewall["web_forward"], firewall["web_backward"]) == (monitor["forward"], monitor["backward"]):
            break
        assert time.monotonic() < until_s, (firewall, monitor)
    assert min(firewall["web_forward"], firewall["web_backward"]) > 0

    # Denied: the firewall stops it, so the monitor behind it sees nothing, though the server listens there.
    assert shop.inside("shop/web", "timeout", "60", "wget", "-q", "-O", "-", "http://127.0.0.1:2323/").returncode == 0
    assert shop.inside("shop/client", "timeout", "4", "wget", "-q", "-O", "-", f"http://{at['web']}:2323/").returncode
    after = counters(shop, "firewall")
    assert after["denied_forward"] > firewall["denied_forward"]
    assert counters(shop, "monitor")["connections_forward"] == monitor["connections_forward"]

    # The other way the monitor comes first.
    seen = counters(shop, "monitor")["connections_backward"]
    assert shop.inside("shop/web", "timeout", "4", "wget", "-q", "-O", "-", f"http://{at['client']}:9999/").returncode
    assert counters(shop, "monitor")["connections_backward"] > seen
    assert counters(shop, "firewall")["denied_backward"] > after["denied_backward"]

    assert shop.ask("ns", "drift", "shop")["drift"] is False
    probes_are_seen_at_each_hop_and_no_operation_ends_well_without(shop)
    shop.manor("ns", "terminate", "shop", "--yes")
    assert set(shop.leftovers()) <= {"pools", "files"}  # cached images, until their packages go


def probes_are_seen_at_each_hop_and_no_operation_ends_well_without(shop: Any) -> None:
    ways = shop.proven("shop")["probes"]
    assert [(way["way"], [hop["name"] for hop in way["hops"]]) for way in ways] == [
        ("there", ["client", "firewall", "monitor", "web"]),
        ("back", ["web", "monitor", "firewall", "client"]),
    ]
    assert all(hop["verdict"] == "passed" for way in ways for hop in way["hops"])
    # A probe that was sent twice, on a busy machine, tells no times.
    assert any(measured(shop.proven("shop")["probes"]) for _ in range(8))

    shop.manor("chain", "disable", "shop/path", "--yes")
    assert shop.inside("shop/monitor", "ip", "link", "set", "eth1", "down").returncode == 0
    shop.manor("chain", "enable", "shop/path", "--yes", expect=FAILED)
    operation = shop.ask("op", "list")[0]
    assert operation["state"] == "ROLLED_BACK"
    assert "stops at monitor on kvm1: it went in and did not come out" in operation["error"]
    assert shop.inside("shop/monitor", "ip", "link", "set", "eth1", "up").returncode == 0
    shop.manor("chain", "enable", "shop/path", "--yes")


def measured(ways: list[dict[str, Any]]) -> bool:
    return all(hop["latency_s"] is not None for way in ways for hop in way["hops"])
