"""A thousand chains of five functions over twenty hosts: what compiling, programming and changing them costs.

The switches are real (Open vSwitch, twenty bridges of one private daemon). Programming is what the agent does when
switches come back: from its programs to the answer of the switch, in bundles; ``ovs-ofctl --bundle add-flows`` puts
the same rules in the same run.
"""

import gc
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from figure import report

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    FlowProgram,
    PortRange,
    SdnPort,
    SegmentSpec,
    SwitchLink,
    Topology,
)
from manor.testing.ovs import PrivateOvs, missing_for_ovs

CHAINS, HOPS, HOSTS = 1000, 5, 20
OWNER = "manor/bench"
NAMES = [f"h{number}" for number in range(HOSTS)]
TOPOLOGY = Topology(
    switches=(),
    links=tuple(SwitchLink(host=a, peer=b, device=f"t{b}") for a, b in itertools.permutations(NAMES, 2)),
)


def port(kind: str, number: int, host: int, *, transparent: bool = False) -> SdnPort:
    """A port with a name, a MAC and an address of its own."""
    mac = "" if transparent else f"02:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}:01"
    addresses = () if transparent else (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",)
    name = f"{kind}{number}"
    return SdnPort(
        key=name, host=NAMES[host % HOSTS], device=name, mac=mac, addresses=addresses, transparent=transparent
    )


def service(number: int, *, dport: int = 80) -> tuple[SegmentSpec, ChainSpec]:
    """A client, a server and five functions in a row, each on another host."""
    ends = [port("e", 2 * number + side, number + side) for side in (0, 1)]
    positions = []
    for hop in range(HOPS):
        sides = [port(f"f{number}{side}", hop, number + hop + 1, transparent=True) for side in "io"]
        positions.append(ChainPosition(name=f"p{hop}", elements=(ChainElement(ingress=sides[0], egress=sides[1]),)))
    lan = SegmentSpec(key=f"{number:08x}/vl/lan", owner=OWNER, name="lan", ports=tuple(ends))
    rule = Classifier(protocol="tcp", destination_port_range=PortRange(lower=dport, upper=dport))
    chain = ChainSpec(
        key=f"{number:08x}/chain/web", owner=OWNER, name="web", segment=lan.key, classifiers=(rule,),
        sources=(ends[0],), destinations=(ends[1],), positions=tuple(positions),
    )  # fmt: skip
    return lan, chain


@contextmanager
def controller(ovs: PrivateOvs, directory: str) -> Iterator[Any]:
    """The agent's own parts in this process, connected to every bridge."""
    from manor_sdn_ryu.app import make_application
    from manor_sdn_ryu.controller import Controller
    from manor_sdn_ryu.keeper import Address
    from manor_sdn_ryu.runtime import Runtime, load
    from manor_sdn_ryu.store import Store

    library = load(Runtime.OS_KEN)
    made = Controller(Store(Path(directory)), library)
    library.run(make_application(library, made.switches.up, made.switches.down))
    made.configure(
        OWNER, [Address(host=name, openflow=f"unix:{ovs.directory}/{name}.mgmt") for name in NAMES], TOPOLOGY.links
    )
    for keeper in made.switches:
        if not keeper.ready.wait(30):
            raise SystemExit(f"{keeper.address.host}: {keeper.reason}")
    yield made


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """(wall, CPU of this process) in seconds."""
    gc.collect()
    gc.set_threshold(100_000, 20, 100)  # as the agent sets it
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def switch_cpu_s(ovs: PrivateOvs) -> float:
    """What ovs-vswitchd has used so far."""
    fields = Path(f"/proc/{ovs.pid('ovs-vswitchd')}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_cpu_s() -> float:
    """What programs that were run and ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def number_ports(made: Any, programs: list[FlowProgram]) -> None:
    """Give every device a number, as if its machine were there."""
    from manor_sdn_ryu.facts import devices_of

    numbers: dict[str, dict[str, int]] = {name: {} for name in NAMES}
    for host, device in sorted(set().union(*map(devices_of, programs))):
        numbers[host].setdefault(device, len(numbers[host]) + 1)
    for host, ports in numbers.items():
        made.switches.get(host).session.ports = ports


def main() -> None:
    """In a process of its own: the controller library's threads know no end."""
    subprocess.run([sys.executable, __file__], check=True)


def measure() -> None:
    """Twenty switches, four figures."""
    if reason := missing_for_ovs():
        raise SystemExit(reason)
    from manor_sdn_ryu.compile import compile_spec

    specs = [service(number) for number in range(CHAINS)]
    programs: list[FlowProgram] = []
    compile_s = timed(lambda: programs.extend(compile_spec(s, TOPOLOGY) for pair in specs for s in pair))[1]
    rules = sum(len(program.rules) for program in programs)
    report("sdn_compile_1000_chains_s", compile_s, "s CPU", None, chains=CHAINS, hops=HOPS, hosts=HOSTS, rules=rules)
    with PrivateOvs() as ovs, tempfile.TemporaryDirectory() as directory:
        for name in NAMES:
            ovs.add_bridge(name)
        with controller(ovs, directory) as made:
            number_ports(made, programs)
            put_s = timed(lambda: [made._desired.programs.put(program, TOPOLOGY) for program in programs])[1]
            report("sdn_take_up_s", put_s, "s CPU", None, programs=len(programs))
            program(ovs, made, rules)
            change(made)


def program(ovs: PrivateOvs, made: Any, rules: int) -> None:
    """All rules onto all switches, by the agent's way and by ovs-ofctl, three times in turn; the fastest count."""
    ours, theirs, our_cpu, their_cpu = [], [], [], []
    texts: dict[str, Path] = {}
    for _ in range(3):
        for name in NAMES:
            ovs.ofctl("del-flows", name)
        resync = [lambda keeper=keeper: made._converger.converge_switch(keeper, None) for keeper in made.switches]
        before = switch_cpu_s(ovs)
        ours.append(timed(lambda resync=resync: [each() for each in resync]))
        our_cpu.append(ours[-1][1] + switch_cpu_s(ovs) - before)
        if not texts:
            flows = {name: ovs.flows(name) for name in NAMES}
            installed = sum(map(len, flows.values()))
            for name, lines in flows.items():
                texts[name] = ovs.directory / f"{name}.flows"
                texts[name].write_text("\n".join(lines) + "\n")
        for name in NAMES:
            ovs.ofctl("del-flows", name)
        before = switch_cpu_s(ovs) + children_cpu_s()
        theirs.append(timed(lambda: [ovs.ofctl("--bundle", "add-flows", n, str(t)) for n, t in texts.items()]))
        their_cpu.append(switch_cpu_s(ovs) + children_cpu_s() - before)
    (wall, cpu), (other, _) = min(ours), min(theirs)
    more = {"flows": installed, "ours_s": round(wall, 3), "ours_cpu_s": round(cpu, 3), "ovs_ofctl_s": round(other, 3)}
    report("sdn_program_time_over_ovs_ofctl", wall / other, "ratio", 2.0, rules=rules, **more)
    # On a busy machine the clock tells more about the others: what both ends of the line worked is steadier.
    both = {"ours_with_switch_s": round(min(our_cpu), 3), "ovs_ofctl_with_switch_s": round(min(their_cpu), 3)}
    report("sdn_program_cpu_over_ovs_ofctl", min(our_cpu) / min(their_cpu), "ratio", 2.0, **both)


def change(made: Any) -> None:
    """One chain out of a thousand gets another classifier: what is sent, and the CPU of deciding it."""
    from manor_sdn_ryu.compile import compile_spec
    from manor_sdn_ryu.facts import hosts_of

    sent: list[int] = []
    for keeper in made.switches:
        session = keeper.session
        original = session.send

        def send(changes: Any, *args: Any, original: Any = original, **more: Any) -> None:
            sent.append(len(changes))
            original(changes, *args, **more)

        session.send = send
    figures = []
    for number in range(9):
        _, spec = service(500, dport=8000 + number)
        changed: SimpleNamespace = SimpleNamespace()

        def once(spec: ChainSpec = spec, changed: SimpleNamespace = changed) -> None:
            changed.program = compile_spec(spec, TOPOLOGY)
            made.apply(changed.program, time.monotonic() + 60)

        sent.clear()
        figures.append(timed(once)[1])
    rules = len(changed.program.rules)
    figures.sort()
    report("sdn_change_one_of_1000_cpu_s", figures[len(figures) // 2], "s CPU", 0.05, messages=sum(sent), rules=rules,
           hosts=len(hosts_of(changed.program)))  # fmt: skip


if __name__ == "__main__":
    status = 1
    try:
        measure()
        status = 0
    except Exception:  # told here, since the library's threads would keep a failed process for ever
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
