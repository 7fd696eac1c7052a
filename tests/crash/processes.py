"""A worker as a process of its own, to be killed or frozen: run this file with a database URL and a world's file.

It says ``working`` once it is the worker, and ``idle`` each time nothing is at work; with ``--once`` it ends then.
With ``--sits-in`` calls of such steps say ``sits`` and stay, before they have their effect, until the process is woken.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from subprocess import PIPE, Popen

sys.path.insert(0, str(Path(__file__).parents[2] / "core" / "tests" / "lcm"))

__all__ = ["WorkerProcess"]

HURRIED_S = 1.5
"""A lease for tests in which somebody has to be missed."""
_IDLE_S = 60.0
"""On a busy machine a thread that works may be still for as long as the product lets a node be that is frozen."""


class WorkerProcess:
    """A worker process on a database and a world. ``lease_s`` is in seconds; None is the product's."""

    def __init__(
        self,
        url: str,
        world: Path,
        *,
        once: bool = False,
        calls: Path | None = None,
        lease_s: float | None = HURRIED_S,
        sits_in: str = "",
    ) -> None:
        argv = [sys.executable, __file__, url, str(world), *(["--once"] if once else [])]
        argv += ["--calls", str(calls)] if calls else []
        argv += ["--lease", str(lease_s)] if lease_s is not None else []
        argv += ["--sits-in", sits_in] if sits_in else []
        self.process = Popen(argv, stdout=PIPE, text=True)

    def wait_for(self, word: str) -> None:
        """Read until the process says so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        raise AssertionError(f"the worker ended before it said {word!r}: {self.process.wait()}")

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def main() -> None:
    """Be the worker."""
    import faulthandler

    faulthandler.dump_traceback_later(180)  # a worker that does not come up says where it hangs
    from lcm_world import FakeExecutor

    from manor.api import CallContext, Step
    from manor.fakes import World
    from manor.lcm import engine
    from manor.lcm.recovery import BEAT_S, LEASE_S
    from manor.lcm.worker import Worker
    from manor.store import database as databases
    from manor.store import operations
    from manor.store.database import Database

    databases.IDLE_TRANSACTION_S = engine.IDLE_TRANSACTION_S = _IDLE_S

    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("world", type=Path)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--calls", type=Path)
    parser.add_argument("--lease", type=float, default=LEASE_S)
    parser.add_argument("--sits-in", default="")
    args = parser.parse_args()
    woken = threading.Event()
    signal.signal(signal.SIGCONT, lambda *_: woken.set())

    class Telling(FakeExecutor):
        """Writes down each call before it is made, with this process's number."""

        def perform(self, step: Step, ctx: CallContext) -> object:  # type: ignore[override]
            if args.calls:
                with args.calls.open("a") as file:
                    file.write(f"{ctx.operation} {step.id}\n")
            if args.sits_in and step.id.startswith(args.sits_in):
                os.write(1, b"sits\n")  # whole, whoever else says it
                woken.wait()
            return super().perform(step, ctx)

    database = Database.open(args.url)
    world = World(state_file=args.world)
    beat_s = min(BEAT_S, args.lease / 5)
    worker = Worker(database, Telling(world), beat_s=beat_s, lease_s=args.lease, grace_s=2.0)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not worker.start():
        ended.wait(0.1)
    faulthandler.cancel_dump_traceback_later()
    print("working", flush=True)
    while not ended.is_set():
        with database.read() as tx:
            idle = not operations.at_work(tx)
        if idle:
            print("idle", flush=True)
            if args.once:
                break
        ended.wait(0.1)
    worker.close()
    database.close()


if __name__ == "__main__":
    main()
