#!/usr/bin/env python3
"""The demo: deploy secure-web on this machine with the ``manor`` command, prove what it claims, leave nothing behind.

Every claim is a check that is printed with its outcome; one that fails makes the exit code 1. The proof looks at the
world itself (packets in the functions, domains, files, interfaces, flows), not only at Manor's word.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".demo"
MANOR = str(Path(sys.executable).parent / "manor")
BRIDGE = "manor-demo"
NS = "demo"


class Demo:
    """One run: what was shown, and what of it was true."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.began = time.monotonic()

    def title(self, text: str) -> None:
        """A new part."""
        print(f"\n\033[1m── {text}\033[0m", flush=True)

    def check(self, claim: str, truth: bool, seen: str = "") -> None:
        """Say whether a claim is true; a false one is remembered."""
        mark = "\033[32m✔\033[0m" if truth else "\033[31m✘\033[0m"
        print(f"  {mark} {claim}" + (f"  ({seen})" if seen else ""), flush=True)
        if not truth:
            self.failed.append(claim)

    def manor(self, *argv: str, quiet: bool = False, must: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as a user would, showing it and what it prints."""
        if not quiet:
            print(f"\033[36m$ manor {' '.join(argv)}\033[0m", flush=True)
        done = subprocess.run(
            [MANOR, *argv],
            env={**os.environ, "MANOR_HOME": str(HOME)},
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if must and done.returncode:
            raise SystemExit(f"manor {' '.join(argv)} exited {done.returncode}\n{done.stderr or ''}")
        return done

    def ask(self, *argv: str) -> Any:
        """What a command answers, as JSON."""
        return json.loads(self.manor("--json", *argv, quiet=True).stdout)

    def inside(self, vnf: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a machine of the service, by its guest agent."""
        print(f"\033[36m$ manor vnf exec {NS}/{vnf} -- {' '.join(argv)}\033[0m", flush=True)
        return self.manor("vnf", "exec", f"{NS}/{vnf}", "--", *argv, quiet=True, must=False)

    def counters(self, vnf: str) -> dict[str, int]:
        """A function's own packet counters."""
        counted: dict[str, int] = json.loads(self.inside(vnf, "vnf-counters").stdout)
        return counted


def host(*argv: str) -> str:
    """What a command on this machine says; empty where it fails, as for a bridge that is not there."""
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def prepare(demo: Demo) -> None:
    """Daemons, images, packages, endpoints."""
    demo.title("The machine")
    demo.manor("doctor", "--fix", must=False)
    demo.title("VNF images from Debian packages, and the packages that carry them")
    subprocess.run([sys.executable, str(ROOT / "descriptors/build.py"), "secure-web"], check=True)
    demo.title("A VIM, a controller, the packages")
    name = os.uname().nodename.split(".")[0] or "localhost"
    settings = ("-o", f"bridge={BRIDGE}")
    demo.manor("vim", "add", "lab", "--driver", "libvirt", "-o", "uri=qemu:///system", "-o", f"name={name}", *settings)
    demo.manor("sdn", "add", "net", "--driver", "ryu", "-o", f"host={name}", *settings)
    accelerator = demo.ask("vim", "show", "lab")
    shown = json.dumps(accelerator)
    demo.check("the hypervisor runs machines", "kvm" in shown or "tcg" in shown, "KVM" if '"kvm"' in shown else "TCG")
    archives = sorted(str(path) for path in (ROOT / "build/secure-web").glob("*.csar"))
    demo.manor("package", "onboard", *archives)
    demo.manor("ns", "create", "secure-web", "--name", NS)


def deploy(demo: Demo) -> dict[str, str]:
    """Plan, instantiate, show; the machines' addresses by VNF."""
    demo.title("The plan, and its execution")
    demo.manor("ns", "plan", NS)
    began = time.monotonic()
    demo.manor("ns", "instantiate", NS, "--yes")
    demo.check("four machines and their chain are up", True, f"{time.monotonic() - began:.0f} s")
    demo.title("What runs now")
    demo.manor("ns", "topology", NS)
    operation = demo.ask("op", "list")[0]["id"]
    demo.manor("op", "timeline", operation)
    service = demo.ask("ns", "topology", NS)
    addresses = {
        vnf["name"]: port["addresses"][0].split("/")[0]
        for vnf in service["vnfs"]
        for vnfc in vnf["vnfcs"]
        for port in vnfc["ports"]
        if port["addresses"]
    }
    demo.check("machines are active", all(m["state"] == "active" for v in service["vnfs"] for m in v["vnfcs"]))
    demo.check("functions have no address: the client cannot know of them", set(addresses) == {"client", "web"})
    return addresses


def prove(demo: Demo, addresses: dict[str, str]) -> None:
    """Traffic, and the functions' own counters before and after it."""
    client, web = addresses["client"], addresses["web"]
    demo.title("Proof by traffic")
    before = {vnf: demo.counters(vnf) for vnf in ("firewall", "monitor")}
    page = demo.inside("client", "timeout", "10", "wget", "-q", "-O", "-", f"http://{web}/")
    demo.check("an allowed request arrives", page.returncode == 0 and "Hello from" in page.stdout, page.stdout.strip())
    after = {vnf: demo.counters(vnf) for vnf in ("firewall", "monitor")}
    grown = {vnf: {name: after[vnf][name] - before[vnf][name] for name in after[vnf]} for vnf in after}
    for vnf, there, back in (("firewall", "web_forward", "web_backward"), ("monitor", "forward", "backward")):
        seen = f"{there} +{grown[vnf][there]}, {back} +{grown[vnf][back]}"
        demo.check(f"it went through the {vnf}, both ways", grown[vnf][there] > 0 and grown[vnf][back] > 0, seen)
    demo.check(
        "firewall and monitor saw the very same packets",
        (grown["firewall"]["web_forward"], grown["firewall"]["web_backward"])
        == (grown["monitor"]["forward"], grown["monitor"]["backward"]),
    )

    local = demo.inside("web", "timeout", "5", "wget", "-q", "-O", "-", "http://127.0.0.1:2323/")
    demo.check("the web server does listen on the denied port", local.returncode == 0)
    denied = demo.inside("client", "timeout", "4", "wget", "-q", "-O", "-", f"http://{web}:2323/")
    demo.check("a request to the denied port does not arrive", denied.returncode != 0 and not denied.stdout)
    then = {vnf: demo.counters(vnf) for vnf in ("firewall", "monitor")}
    dropped = then["firewall"]["denied_forward"] - after["firewall"]["denied_forward"]
    passed = then["monitor"]["connections_forward"] - after["monitor"]["connections_forward"]
    seen = f"firewall dropped {dropped}, monitor saw {passed}"
    demo.check("on the way there the firewall comes first", dropped > 0 and passed == 0, seen)

    back = demo.inside("web", "timeout", "4", "wget", "-q", "-O", "-", f"http://{client}:9999/")
    demo.check("the web server may not open a connection to the client", back.returncode != 0)
    last = {vnf: demo.counters(vnf) for vnf in ("firewall", "monitor")}
    counted = last["monitor"]["connections_backward"] - then["monitor"]["connections_backward"]
    stopped = last["firewall"]["denied_backward"] - then["firewall"]["denied_backward"]
    seen = f"monitor counted {counted}, then firewall dropped {stopped}"
    demo.check("on the way back the monitor comes first", counted > 0 and stopped > 0, seen)

    ping = demo.inside("client", "ping", "-c", "2", "-W", "2", web)
    demo.check("ICMP takes the chain too and is let through", ping.returncode == 0)
    demo.manor("chain", "counters", NS)
    drift = demo.ask("ns", "drift", NS)
    demo.check("nothing has drifted from what was planned", drift["drift"] is False)


def remove(demo: Demo) -> None:
    """Everything goes, by the commands that a user has."""
    demo.title("Taking it down")
    for argv in (
        ("ns", "terminate", NS, "--yes"),
        ("ns", "delete", NS),
        *(("package", "delete", package["id"]) for package in sorted(demo.ask("package", "list"), key=_services_first)),
        ("vim", "orphans"),
        ("sdn", "remove", "net"),
        ("vim", "remove", "lab"),
    ):
        demo.manor(*argv)


def _services_first(package: dict[str, Any]) -> bool:
    return bool(package["kind"] != "ns")


def devices(demo: Demo) -> list[str]:
    """Names of the host's interfaces that belong to the service's ports."""
    service = demo.ask("ns", "topology", NS)
    return [p["device"] for vnf in service["vnfs"] for vnfc in vnf["vnfcs"] for p in vnfc["ports"]]


def prove_nothing_left(demo: Demo, before: dict[str, str], taps: list[str]) -> None:
    """Look at the machine itself."""
    demo.title("Proof that nothing is left")
    after = world()
    for what in before:
        new = sorted(set(after[what].split()) - set(before[what].split()))
        demo.check(f"no {what} of ours is left", not new, ", ".join(new[:3]))
    links = host("ip", "-o", "link")
    demo.check("no interface of ours is left", not any(tap in links for tap in taps))
    demo.check("no switch port, bridge or flow of ours is left", BRIDGE not in host("ovs-vsctl", "show"))
    agents = [line for line in host("ps", "-eo", "args").splitlines() if "manor_sdn_ryu" in line and str(HOME) in line]
    demo.check("no process of ours is left", not agents)


def world() -> dict[str, str]:
    """What libvirt and the file system hold."""
    pools = Path("/var/lib/libvirt")
    return {
        "domain": host("virsh", "-q", "list", "--all", "--name"),
        "network": host("virsh", "-q", "net-list", "--all", "--name"),
        "storage pool": host("virsh", "-q", "pool-list", "--all", "--name"),
        "disk or image": "\n".join(
            str(path) for path in pools.rglob("*") if path.is_file() and "qemu/channel" not in str(path)
        ),
    }


def give_back(demo: Demo) -> None:
    """After a failure: take away what can be taken away, and say what cannot."""
    services = demo.ask("ns", "list")
    for service in services:
        demo.manor("ns", "delete", service["name"], "--force", "--yes", must=False)
    for kind in ("sdn", "vim"):
        for endpoint in demo.ask(kind, "list"):
            demo.manor(kind, "remove", endpoint["name"], "--force", must=False)


def attempt(what: str, act: Callable[[], None]) -> bool:
    """Whether it went through; what stopped it is said in one line."""
    try:
        act()
    except SystemExit as error:
        print(f"{what}: {error}", file=sys.stderr)
        return False
    return True


def main() -> int:
    """Run the demo; 0 where every claim was true."""
    parser = argparse.ArgumentParser(description="Deploy secure-web, prove it, remove it.")
    parser.add_argument("--keep", action="store_true", help="leave the service up")
    keep = parser.parse_args().keep
    demo = Demo()
    if HOME.exists():
        demo.title("Left from an earlier run: taken away first")
        attempt("clearing", lambda: give_back(demo))
        host("rm", "-rf", str(HOME))
    addresses: dict[str, str] = {}
    state: dict[str, Any] = {}

    def show() -> None:
        prepare(demo)
        addresses.update(deploy(demo))
        state["taps"] = devices(demo)
        prove(demo, addresses)

    demo.manor("doctor", "--fix", quiet=True, must=False)  # so that what is there before can be looked at
    state["before"] = world()
    well = attempt("the demo stopped", show)
    if keep and well:
        print(f"\nThe service is up. Look:  MANOR_HOME={HOME} {MANOR} ns topology {NS}")
        print("Run `make demo` again to take it away.")
    elif well:
        well = attempt("taking it down stopped", lambda: remove(demo))
        prove_nothing_left(demo, state["before"], state["taps"])
    if not well and not keep:
        attempt("clearing", lambda: give_back(demo))
    took = time.monotonic() - demo.began
    if demo.failed or not well:
        why = (
            f"{len(demo.failed)} claims failed: {'; '.join(demo.failed)}"
            if demo.failed
            else "The demo did not get through"
        )
        print(f"\n\033[31m{why}\033[0m ({took:.0f} s)")
        return 1
    print(f"\n\033[32mEvery claim was true.\033[0m {took:.0f} s")
    if not keep:
        host("rm", "-rf", str(HOME))
    return 0


if __name__ == "__main__":
    sys.exit(main())
