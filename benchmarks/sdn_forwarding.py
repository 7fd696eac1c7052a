"""What steering costs frames: TCP through a chain of three functions over TCP through the same kind of functions by
plain ``NORMAL`` forwarding (four learning bridges in a row, a function between each two), and through three that know
of network service headers over the first. Functions are namespaces that bridge, in the kernel, and count the service
index down where they know of it; the switch is Open vSwitch with the userspace datapath; all three stand in one daemon
and are measured in turn.
"""

import itertools
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from figure import report

from manor.api import (
    CallContext,
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    DriverEnvironment,
    ElementMode,
    SdnPort,
    SegmentSpec,
)
from manor.testing.ovs import Netns, OvsHost, PrivateOvs, missing_for_ovs

OWNER, FUNCTIONS, RUNS, SECONDS = "manor/bench", 3, 5, 2.0
MTU_WITH_NSH = 1538
ADDRESSES = ("10.0.0.1", "10.0.0.2")


def bits_per_s(client: Netns, server: Netns) -> float:
    """TCP from one namespace to the other for a while."""
    block = bytes(1 << 17)
    with server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESSES[1], 5000))
        listener.listen()
        listener.settimeout(20)
        with client.socket(socket.AF_INET, socket.SOCK_STREAM) as sender:
            sender.settimeout(20)
            sender.connect((ADDRESSES[1], 5000))
            taken, _ = listener.accept()
            stop = threading.Event()

            def send() -> None:
                try:
                    while not stop.is_set():
                        sender.sendall(block)
                except OSError:
                    return

            sending = threading.Thread(target=send)
            sending.start()
            with taken:
                buffer = bytearray(1 << 18)
                _receive(taken, buffer, 0.3)  # past the slow start
                began = time.perf_counter()
                received = _receive(taken, buffer, SECONDS)
                spent = time.perf_counter() - began
                stop.set()
                _receive(taken, buffer, 0.3)
            sending.join()
    return 8 * received / spent


def _receive(taken: socket.socket, buffer: bytearray, seconds: float) -> int:
    taken.settimeout(seconds)
    until, received = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        try:
            received += taken.recv_into(buffer)
        except TimeoutError:
            break
    return received


def machines(ovs: PrivateOvs, label: str, bridges: tuple[str, str]) -> tuple[list[Netns], list[SdnPort]]:
    """The two ends."""
    found, ports = [], []
    for number, (bridge, address) in enumerate(zip(bridges, ADDRESSES, strict=True), 1):
        mac, device = f"02:00:00:00:00:0{number}", f"{label}{number}"
        found.append(ovs.add_host(bridge, device, mac=mac, cidrs=[f"{address}/24"], device=device).netns)
        ports.append(SdnPort(key=device, host=label, device=device, mac=mac, addresses=(address,)))
    return found, ports


def controller(ovs: PrivateOvs, directory: str, *bridges: str) -> Any:
    """A driver, with an agent, of these bridges, each of which is a host."""
    from manor_sdn_ryu.config import RyuConfig
    from manor_sdn_ryu.driver import RyuSdn

    switches = [{"host": bridge, "ovsdb": ovs.ovsdb, "bridge": bridge} for bridge in bridges]
    for bridge in bridges:
        ovs.add_bridge(bridge)
    path = Path(directory)
    return RyuSdn(
        RyuConfig.model_validate({"switches": switches, "runtime": "os-ken"}),
        DriverEnvironment(name="b", owner=OWNER, state_dir=path / "state", runtime_dir=path / "run"),
    )


def chained(ovs: PrivateOvs, driver: Any, host: str, mode: ElementMode) -> list[Netns]:
    """Steered by rules on one bridge, which the host is named after; the ends."""
    ends, ports = machines(ovs, host, (host, host))
    elements = []
    for number in range(FUNCTIONS):
        function = ovs.add_bump(host, f"{host}f{number}")
        if mode is ElementMode.NSH:
            counts_down(ovs, function, number)
        sides = [SdnPort(key=d, host=host, device=d, mac="", transparent=True) for d in function.devices]
        elements.append(ChainElement(ingress=sides[0], egress=sides[1], mode=mode))
    ctx = CallContext.within(120)
    lan = SegmentSpec(key=f"{host}/vl/lan", owner=OWNER, name="lan", ports=tuple(ports))
    chain = ChainSpec(
        key=f"{host}/chain/c", owner=OWNER, name="c", segment=lan.key, classifiers=(Classifier(ether_type="ipv4"),),
        sources=(ports[0],), destinations=(ports[1],),
        positions=tuple(ChainPosition(name=f"p{n}", elements=(e,)) for n, e in enumerate(elements)),
    )  # fmt: skip
    for spec in (lan, chain):
        driver.apply(driver.compile(spec, driver.topology(ctx)), ctx)
    return ends


def counts_down(ovs: PrivateOvs, function: OvsHost, number: int) -> None:
    """The function has room for the header, and gives it back with the index that follows from its place each way."""
    for device in function.devices:
        ovs.netns.run("ip", "link", "set", device, "mtu", str(MTU_WITH_NSH))
    for inside in ("eth0", "eth1", "br0"):
        function.netns.run("ip", "link", "set", inside, "mtu", str(MTU_WITH_NSH))
    script = ["add table bridge nsh", "add chain bridge nsh forth { type filter hook forward priority 0; }"]
    for side, place in (("eth0", number), ("eth1", FUNCTIONS - 1 - number)):
        script.append(f"add rule bridge nsh forth iifname {side} ether type 0x894f @nh,56,8 set {254 - place}")
    function.netns.run("nft", "; ".join(script))


def plain(ovs: PrivateOvs) -> list[Netns]:
    """The same functions, each between two bridges that learn."""
    bridges = [f"n{number}" for number in range(FUNCTIONS + 1)]
    for bridge in bridges:
        ovs.add_bridge(bridge)
        ovs.ofctl("add-flow", bridge, "actions=NORMAL")
    for number, (here, there) in enumerate(itertools.pairwise(bridges)):
        devices = ovs.add_bump(here, f"g{number}").devices
        ovs.vsctl("del-port", devices[1])
        ovs.vsctl("add-port", there, devices[1])
    return machines(ovs, "d", (bridges[0], bridges[-1]))[0]


def main() -> None:
    """Two ratios, of the medians of several runs in turn."""
    if reason := missing_for_ovs():
        raise SystemExit(reason)
    with PrivateOvs() as ovs, tempfile.TemporaryDirectory() as directory:
        driver = controller(ovs, directory, "chain", "nsh")
        try:
            ways = {
                "chain": chained(ovs, driver, "chain", ElementMode.TRANSPARENT),
                "nsh": chained(ovs, driver, "nsh", ElementMode.NSH),
                "plain": plain(ovs),
            }
            for name, ends in ways.items():
                if not ends[0].pings(ADDRESSES[1], count=50):
                    raise SystemExit(f"{name}: the ends do not reach each other")
            found: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(RUNS):
                for name, ends in ways.items():
                    found[name].append(bits_per_s(*ends))
        finally:
            driver.shutdown(CallContext.within(20), force=True)
    rates = {name: statistics.median(values) for name, values in found.items()}
    report("sdn_chain_throughput_over_normal", rates["chain"] / rates["plain"], "ratio", None, functions=FUNCTIONS,
           chain_mbit_s=round(rates["chain"] / 1e6), normal_mbit_s=round(rates["plain"] / 1e6))  # fmt: skip
    report("sdn_nsh_throughput_over_transparent", rates["nsh"] / rates["chain"], "ratio", None, functions=FUNCTIONS,
           nsh_mbit_s=round(rates["nsh"] / 1e6))  # fmt: skip


if __name__ == "__main__":
    main()
