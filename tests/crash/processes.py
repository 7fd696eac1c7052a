"""A worker as a process of its own, to be killed or frozen: run this file with a database URL and a world's file.

It says ``working`` once it is the worker, and ``idle`` each time nothing is at work; with ``--once`` it ends then.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from subprocess import PIPE, Popen

sys.path.insert(0, str(Path(__file__).parents[2] / "core" / "tests" / "lcm"))

__all__ = ["WorkerProcess"]


class WorkerProcess:
    """A worker process on a database and a world."""

    def __init__(
        self, url: str, world: Path, *, once: bool = False, calls: Path | None = None, usual_lease: bool = False
    ) -> None:
        argv = [sys.executable, __file__, url, str(world), *(["--once"] if once else [])]
        argv += ["--calls", str(calls)] if calls else []
        argv += ["--usual-lease"] if usual_lease else []
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
    from manor.lcm.recovery import BEAT_S, LEASE_S
    from manor.lcm.worker import Worker
    from manor.store import operations
    from manor.store.database import Database

    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("world", type=Path)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--calls", type=Path)
    parser.add_argument("--usual-lease", action="store_true", help="as the product beats, not as a hurried test does")
    args = parser.parse_args()

    class Telling(FakeExecutor):
        """Writes down each call before it is made, with this process's number."""

        def perform(self, step: Step, ctx: CallContext) -> object:  # type: ignore[override]
            if args.calls:
                with args.calls.open("a") as file:
                    file.write(f"{ctx.operation} {step.id}\n")
            return super().perform(step, ctx)

    database = Database.open(args.url)
    beat_s, lease_s = (BEAT_S, LEASE_S) if args.usual_lease else (0.3, 1.5)
    world = World(state_file=args.world)
    worker = Worker(database, Telling(world), beat_s=beat_s, lease_s=lease_s, grace_s=2.0)
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
