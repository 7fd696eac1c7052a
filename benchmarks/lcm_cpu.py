"""What orchestration itself costs: a one-machine service from create to delete, on the fake VIM, database on disk.

SQLite in WAL with synchronous=FULL, as in production; CPU seconds of the whole process, threads and queue included.
"""

import tempfile
import time
from pathlib import Path

from figure import report
from sample import onboard

LIVES, WARM = 20, 3


def main() -> None:
    """CPU and wall seconds a life, after a few to warm up."""
    from manor.api import OperationKind
    from manor.lcm import endpoints, ns, work
    from manor.lcm.runtime import open_runtime
    from manor.model.instance import EndpointKind, OperationState

    with tempfile.TemporaryDirectory() as home, open_runtime(Path(home)) as rt:
        file = Path(home) / "image"
        file.write_bytes(b"x")
        endpoints.add(rt, EndpointKind.VIM, "lab", driver="fake", config={"state_file": ""})
        onboard(rt, 1, {"kernel": file, "initramfs": file})
        with work.working(rt):
            for life in range(WARM + LIVES):
                if life == WARM:
                    cpu, wall = time.process_time(), time.perf_counter()
                ns.create(rt, "bench", name="one")
                for operation in (OperationKind.INSTANTIATE, OperationKind.TERMINATE):
                    accepted = ns.start(rt, ns.propose(rt, "one", operation))
                    if rt.operations.wait(accepted).state is not OperationState.COMPLETED:
                        raise SystemExit(f"{operation} did not complete")
                ns.delete(rt, "one")
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    report("lcm-cpu", cpu / LIVES, "CPU s", 0.05, wall_s=round(wall / LIVES, 3), lives=LIVES)
