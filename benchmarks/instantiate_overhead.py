"""Ten small machines through Manor, over the same domains defined and started by bare libvirt-python.

Both in one run on one lab host, in turns, with the same parallelism and the images on the host already. Manor's time
is the whole operation: plan, journal, seeds, network, domains, and each machine observed active.
"""

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from figure import report
from sample import onboard

MACHINES, PARALLEL, ROUNDS = 10, 8, 3
ROOT = Path(__file__).parents[1]


def main() -> None:
    """The ratio of the medians, and both medians in seconds."""
    import subprocess
    import sys

    import libvirt

    from manor.api import OperationKind
    from manor.lcm import endpoints, ns, work
    from manor.lcm.runtime import open_runtime
    from manor.model.instance import EndpointKind, OperationState
    from manor.testing.lab import LabHost

    subprocess.run([sys.executable, str(ROOT / "descriptors/build.py"), "hello-vm"], check=True, capture_output=True)
    images = {"kernel": ROOT / "build/images/vmlinuz", "initramfs": ROOT / "build/images/initramfs"}
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mb-") as work_dir:
        Path(work_dir).chmod(0o711)
        with LabHost("kvm1", Path(work_dir) / "lab") as lab, open_runtime(Path(work_dir) / "home") as rt:
            config = {"uri": lab.uri, "name": "kvm1", "ovsdb": lab.ovsdb, "pool_dir": str(lab.pool_dir), "accel": "tcg"}
            endpoints.add(rt, EndpointKind.VIM, "lab", driver="libvirt", config=config)
            onboard(rt, MACHINES, images, memory_mib=64)
            ns.create(rt, "bench", name="ten")
            bare = libvirt.open(lab.uri)

            def operate(kind: OperationKind) -> float:
                began = time.perf_counter()
                accepted = ns.start(rt, ns.propose(rt, "ten", kind))
                if rt.operations.wait(accepted, poll_s=0.02).state is not OperationState.COMPLETED:
                    raise SystemExit(f"{kind} did not complete: {rt.operations.get(accepted)[0].error}")
                return time.perf_counter() - began

            with work.working(rt):
                operate(OperationKind.INSTANTIATE)  # brings the images and warms both sides
                xml = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) for domain in bare.listAllDomains()]
                seeds = {path: path.read_bytes() for path in lab.pool_dir.rglob("*") if "seed" in path.name}
                through_manor, by_hand = [], []
                for _ in range(ROUNDS):
                    for domain in bare.listAllDomains():
                        domain.destroy()
                        domain.undefine()
                    for path, data in seeds.items():
                        path.write_bytes(data)
                    by_hand.append(_bare(libvirt, lab.uri, xml))
                    operate(OperationKind.TERMINATE)
                    through_manor.append(operate(OperationKind.INSTANTIATE))
                operate(OperationKind.TERMINATE)
            bare.close()
    manor_s, bare_s = statistics.median(through_manor), statistics.median(by_hand)
    report(
        "instantiate-overhead",
        manor_s / bare_s,
        "ratio",
        1.10,
        manor_s=round(manor_s, 2),
        bare_s=round(bare_s, 2),
        machines=MACHINES,
        parallel=PARALLEL,
    )


def _bare(libvirt: object, uri: str, xml: list[str]) -> float:
    """Define and start these domains, as fast as libvirt-python goes."""

    def start(text: str) -> None:
        connection.defineXML(text).create()

    connection = libvirt.open(uri)  # type: ignore[attr-defined]
    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        list(pool.map(start, xml))
    took = time.perf_counter() - began
    connection.close()
    return took
