"""What changes a running service: on two real hypervisors with a switch each, by command line, judged from inside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manor.testing.lab import LabHost

from .town import FIREWALL, NEXT_FIREWALL, Stream, Town, onboarded, opened

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.long]
"""In the suite there is one move, in ``test_overlay.py``, and one blue-green upgrade, in ``test_changes.py``."""
FAILED, REFUSED = 5, 4
WRITE = "d=$(grep -lx 2048 /sys/block/vd?/size); d=${d%/size}; d=/dev/${d##*/};"
"""The blank disk's name: it is the one of 1 MiB."""


@pytest.fixture(scope="module")
def town(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with opened() as made:
        onboarded(made, packages, tmp_path_factory.mktemp("town"))
        yield made


def deployed(town: Town, nsd: str = "town-1", **places: str) -> None:
    town.manor("ns", "create", nsd, "--name", "shop")
    where = [word for vnf, host in places.items() for word in ("--place", f"{vnf}=lab/{host}")]
    town.manor("ns", "instantiate", "shop", "--yes", *where)


def ended(town: Town, *how: str) -> None:
    """Nothing but cached images is left of it."""
    town.manor("ns", "terminate", "shop", *how, "--yes")
    town.manor("ns", "delete", "shop")
    for lab in town.labs.values():
        left = Town(lab=lab, home=town.home, labs=town.labs, plugins=town.plugins).leftovers()
        interfaces = {name.partition("@")[0] for name in left.pop("interfaces", "").split()}
        assert interfaces <= {"br-phy", "to1", "to2"}, interfaces
        assert left.pop("bridges", "") == "br-phy"
        assert set(left) <= {"pools", "files"}, left


def page(town: Town, client: str = "client", server: str = "server") -> str:
    """The page that the client gets from the server; empty where it gets none."""
    url = f"http://{town.address(server)}/"
    return town.inside(f"shop/{client}", "timeout", "60", "wget", "-q", "-O", "-", url).stdout.strip()


def in_time(town: Town, *names: str) -> list[Any]:
    """Steps of the last operation as its timeline has them."""
    bars = {bar["name"]: bar for bar in town.ask("op", "timeline", "shop")["bars"]}
    return [bars[name] for name in names]


def written(town: Town, text: str) -> None:
    town.says("shop/server", f"{WRITE} printf %-16s {text} | dd of=$d conv=fsync 2>/dev/null")


def read(town: Town) -> str:
    return town.says("shop/server", f"{WRITE} dd if=$d bs=16 count=1 2>/dev/null | tr -d '\\0'").strip()


def uptime_s(town: Town, vnf: str) -> float:
    return float(town.says(f"shop/{vnf}", "cut -d' ' -f1 /proc/uptime"))


def forwarded(town: Town) -> int:
    """Pings and their answers that the firewall let pass."""
    return int(town.says("shop/firewall", "vnf-counters passed_icmp"))


@contextlib.contextmanager
def hardly_any_room(lab: LabHost) -> Iterator[None]:
    """The host's storage pool, if it has one, on a file system of 1 MiB."""
    pool = str(lab.pool_dir)
    lab.run("mkdir", "-p", pool)
    marks = [name for name in lab.run("ls", pool).split() if name.startswith("pool+")]
    lab.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", pool)
    for mark in marks:  # or it would be taken for one that is not mounted
        lab.run("touch", f"{pool}/{mark}")
    try:
        yield
    finally:
        lab.run("umount", pool)
        for name in lab.run("virsh", "-q", "pool-list", "--name").split():
            for verb in ("pool-refresh",) if marks else ("pool-destroy", "pool-undefine"):
                lab.run("virsh", "-q", verb, name)


def test_one_goes_back_to_its_snapshot_and_one_to_another_host(town: Town) -> None:
    deployed(town, client="kvm1", server="kvm1", firewall="kvm1")
    written(town, "before")
    town.manor("vnf", "snapshot", "create", "shop/server", "clean", "--yes")
    written(town, "after")
    town.manor("vnf", "snapshot", "revert", "shop/server", "clean", "--yes")
    assert read(town) == "before"

    before = {vnf["name"]: vnf["vnfcs"][0] for vnf in town.ask("ns", "topology", "shop")["vnfs"]}
    (address,) = before["server"]["ports"][0]["addresses"]
    with Stream(town, "shop/client", address.partition("/")[0]) as stream:
        town.manor("vnf", "move", "shop/firewall", "lab/kvm2", "--yes")
    print("move", stream.loss)
    assert stream.loss.sent > 10
    assert stream.loss.longest_s < 5, stream.loss
    after = town.machine("firewall")
    assert (before["firewall"]["host"], after["host"]) == ("kvm1", "kvm2")
    assert [port["mac"] for port in after["ports"]] == [port["mac"] for port in before["firewall"]["ports"]]
    made, turned, gone = in_time(town, "node firewall/firewall-0.1", "segment lan", "remove node firewall/firewall-0")
    assert made["end_s"] <= turned["start_s"] <= turned["end_s"] <= gone["start_s"]
    ended(town)


def test_every_change_of_a_running_service(town: Town) -> None:
    deployed(town, client="kvm1", server="kvm1", firewall="kvm1")
    at = town.address("server")
    assert town.says("shop/client", "cat /run/peers") == at, "told of another VNF's address"
    town.drained()

    # Another flavour: the machine is made anew with more memory, under its name and address, and keeps its data.
    written(town, "kept")
    small = int(town.says("shop/server", "awk '/MemTotal/ {print $2}' /proc/meminfo"))
    town.manor("vnf", "change-flavour", "shop/server", "large", "--yes")
    assert int(town.says("shop/server", "awk '/MemTotal/ {print $2}' /proc/meminfo")) > small + 20_000
    assert (town.address("server"), read(town)) == (at, "kept")
    (line,) = town.drained()
    assert line.startswith("server "), "its manager drained it before it went"

    # Another link: the client learns the new address, and nothing of the client is made anew.
    town.manor("ns", "update", "shop", "--type", "CREATE_NS_VIRTUAL_LINK", "--set", "virtualLinkId=dmz", "--yes")
    for vnf in ("server", "client"):
        town.manor("vnf", "change-ext-conn", f"shop/{vnf}", "--connect", "spare=dmz", "--yes")
    spare = town.address("server", port="spare")
    assert town.says("shop/client", "cat /run/peers") == f"{at} {spare}"
    assert town.inside("shop/client", "ping", "-c", "2", "-W", "5", spare).returncode == 0
    up_s = uptime_s(town, "client")
    town.manor("vnf", "change-ext-conn", "shop/server", "--connect", "spare=", "--yes")
    assert town.says("shop/client", "cat /run/peers") == at
    assert uptime_s(town, "client") > up_s, "its machine only learnt of it"
    assert page(town) == "shop-server-main-0"

    # A host whose disk is full: what failed is told to the driver's own words, and all is as it was.
    with hardly_any_room(town.labs["kvm2"]):
        town.manor("vnf", "move", "shop/firewall", "lab/kvm2", "--yes", expect=FAILED)
    told = town.last()
    print(told["operation"]["error"], told["problem"])
    problem = told["problem"]
    assert (told["operation"]["state"], problem["title"]) == ("ROLLED_BACK", "ensure image")
    assert (problem["driver"], problem["host"], problem["endpoint"]) == ("libvirt", "kvm2", "vim:lab")
    assert "No space left on device" in problem["detail"]
    assert problem["hint"]
    assert town.machine("firewall")["host"] == "kvm1"

    # Another version of the NSD: its path is for TCP alone, so that pings go past the firewall.
    counted = forwarded(town)
    assert town.inside("shop/client", "ping", "-c", "2", "-W", "5", at).returncode == 0
    assert forwarded(town) > counted
    town.manor("ns", "update", "shop", "--type", "ASSOC_NEW_NSD_VERSION", "--set", "newNsdId=town-2", "--yes")
    counted = forwarded(town)
    assert town.inside("shop/client", "ping", "-c", "2", "-W", "5", at).returncode == 0
    assert (forwarded(town), page(town)) == (counted, "shop-server-main-0")
    town.manor("ns", "update", "shop", "--type", "ASSOC_NEW_NSD_VERSION", "--set", "newNsdId=town-1", "--yes")

    assert town.ask("ns", "drift", "shop")["drift"] is False

    # At the end each is drained by its manager while it still runs, for as long as was said.
    town.drained()
    ended(town, "--graceful", "--timeout", "20")
    town.manor("vim", "orphans")  # exits 1 where it finds one
    assert {(line.split()[0], line.split()[2]) for line in town.drained()} == {("client", "20.0"), ("server", "20.0")}


def test_a_function_is_upgraded_under_traffic(town: Town) -> None:
    deployed(town, client="kvm1", server="kvm1", firewall="kvm1")
    at = town.address("server")

    def upgraded(package: str, *how: str, expect: int = 0) -> Any:
        with Stream(town, "shop/client", at) as stream:
            town.manor("vnf", "upgrade", "shop/firewall", "--package", package, *how, "--yes", expect=expect)
        name = "-".join(word.strip("-") for word in how[:2]) + ("-taken-back" if expect else "")
        print(name, stream.loss)
        assert page(town) == "shop-server-main-0"
        return stream.loss

    def is_new() -> bool:
        return town.inside("shop/firewall", "ls", "/run/version-2").returncode == 0

    # A gate that is not stood: as a canary the old machine is made anew, beside it the old one was never touched.
    impossible = ("--gate", "v_memory_size<1", "--soak", "1")
    upgraded(NEXT_FIREWALL, "--strategy", "canary", *impossible, expect=FAILED)
    problem = town.last()["problem"]
    assert (problem["title"], problem["cause"], problem["driver"]) == ("verify kpi", "Permanent", "generic")
    assert "v_memory_size is" in problem["detail"]
    assert not is_new()
    old = town.machine("firewall")["key"]
    turned = upgraded(NEXT_FIREWALL, "--strategy", "blue-green", *impossible, expect=FAILED)
    assert (town.machine("firewall")["key"], is_new()) == (old, False)

    possible = ("--gate", "v_memory_size>1", "--soak", "1")
    beside = upgraded(NEXT_FIREWALL, "--strategy", "blue-green", *possible)
    assert is_new()
    rolling = upgraded(FIREWALL, "--strategy", "rolling")
    assert not is_new()
    assert rolling.longest_s > 1.0, "alone at its position it is missed while it is made anew"
    assert max(beside.longest_s, turned.longest_s) < 1.0
    town.manor("ns", "scale", "shop", "--vnf", "firewall=2", "--yes")
    with Stream(town, "shop/client", at) as stream:
        both = ("shop/firewall", "shop/firewall-2", "--package", NEXT_FIREWALL, "--strategy", "canary")
        town.manor("vnf", "upgrade", *both, "--fraction", "0.5", *possible, "--yes")
    print("two of them, canary", stream.loss)

    # One that is stopped first has left the chain before it goes, and comes back once it is proven.
    with Stream(town, "shop/client", at) as stream:
        for vnf in ("shop/firewall", "shop/firewall-2"):
            town.manor("vnf", "stop", vnf, "--yes")
            town.manor("vnf", "upgrade", vnf, "--package", FIREWALL, "--yes")
            town.manor("vnf", "start", vnf, "--yes")
    print("two of them, each stopped first", stream.loss)
    assert stream.loss.longest_s < 1.0
    assert town.ask("ns", "drift", "shop")["drift"] is False
    ended(town)


def test_a_town_within_a_region(town: Town) -> None:
    deployed(town, "region-1")
    vnfs = {vnf["name"] for vnf in town.ask("ns", "topology", "shop")["vnfs"]}
    assert vnfs == {"visitor", "east.client", "east.firewall", "east.server"}
    assert town.says("shop/east.client", "cat /run/peers") == town.address("east.server")
    assert page(town, "visitor", "east.server") == "shop-east-server-main-0"
    assert page(town, "east.client", "east.server") == "shop-east-server-main-0"
    town.manor("vnf", "heal", "shop/east.server", "--yes")
    assert page(town, "visitor", "east.server") == "shop-east-server-main-0"

    west = ("nsProfileId=west", "nsdId=hamlet-1", "extVirtualLinks.front=street")
    sets = [word for one in west for word in ("--set", one)]
    town.manor("ns", "update", "shop", "--type", "ADD_NESTED_NS", *sets, "--yes")
    assert page(town, "visitor", "west.server") == "shop-west-server-main-0"
    town.manor("ns", "update", "shop", "--type", "REMOVE_NESTED_NS", "--set", "removeNestedNsId=west", "--yes")
    assert {vnf["name"] for vnf in town.ask("ns", "topology", "shop")["vnfs"]} == vnfs
    ended(town)
