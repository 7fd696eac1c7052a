"""The demo's service on a real hypervisor and a real switch: the chain is proven by the functions' own counters."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]
KILLS = 4
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

    page = shop.inside("shop/client", "timeout", "10", "wget", "-q", "-O", "-", f"http://{at['web']}/")
    assert "Hello from" in page.stdout
    firewall, monitor = counters(shop, "firewall"), counters(shop, "monitor")
    assert (firewall["web_forward"], firewall["web_backward"]) == (monitor["forward"], monitor["backward"])
    assert min(firewall["web_forward"], firewall["web_backward"]) > 0

    # Denied: the firewall stops it, so the monitor behind it sees nothing, though the server listens there.
    assert shop.inside("shop/web", "timeout", "5", "wget", "-q", "-O", "-", "http://127.0.0.1:2323/").returncode == 0
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
    ways = shop.ask("chain", "verify", "shop")["probes"]
    assert [(way["way"], [hop["name"] for hop in way["hops"]]) for way in ways] == [
        ("there", ["client", "firewall", "monitor", "web"]),
        ("back", ["web", "monitor", "firewall", "client"]),
    ]
    assert all(hop["verdict"] == "passed" for way in ways for hop in way["hops"])
    # A probe that was sent twice, on a busy machine, tells no times.
    assert any(measured(shop.ask("chain", "verify", "shop")["probes"]) for _ in range(8))

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


def test_killed_at_any_moment_it_ends_whole_or_not_at_all(shop: Any) -> None:
    """SIGKILL to the working process, again and again, then one command that only watches."""
    chance = random.Random(20261121)
    for _ in range(KILLS):
        working = subprocess.Popen(
            [*_manor("ns", "instantiate", "shop", "--yes")],
            env=shop.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _again in range(3):
            try:
                working.wait(timeout=chance.uniform(2.0, 9.0))
                break
            except subprocess.TimeoutExpired:
                os.killpg(working.pid, signal.SIGKILL)
                working.wait()
            operations = shop.ask("op", "list")
            if not operations or operations[0]["state"] != "PROCESSING":
                break
            working = subprocess.Popen(
                [*_manor("op", "watch", operations[0]["id"])],
                env=shop.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        else:
            working.kill()
            working.wait()
        last = shop.ask("op", "list")[0]
        if last["state"] == "PROCESSING":
            shop.manor("op", "watch", last["id"])
        state = shop.ask("ns", "show", "shop")["ns"]["state"]
        if state == "INSTANTIATED":
            assert len(shop.domains()) == 4
            assert shop.ask("ns", "drift", "shop")["drift"] is False
            shop.manor("ns", "terminate", "shop", "--yes")
        assert shop.domains() == []
        shop.manor("vim", "orphans")  # exits 1 where it finds one


def _manor(*argv: str) -> tuple[str, ...]:
    return (str(Path(sys.executable).parent / "manor"), *argv)
