"""The agent: a process of its own that keeps the switches as desired, whether or not ``manor`` runs.

``python -m manor_sdn_ryu.agent --state-dir DIR --socket PATH [--runtime ryu|os-ken] [--detach]``

It ends by itself when told to and holding no program; killed in any way it loses nothing, and the switches go on
forwarding. A lock in the state directory sees to it that there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

__all__ = ["main"]

ALREADY_RUNS = 3
"""Exit code when another agent has the lock."""


def main(argv: list[str] | None = None) -> int:
    """Run the agent; returns its exit code."""
    parser = argparse.ArgumentParser(prog="manor-sdn-agent", description="Keeps Open vSwitch as Manor desires.")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--runtime", choices=["ryu", "os-ken"], default="ryu")
    parser.add_argument("--settle-s", type=float, default=0.3, help="pause for frames under way")
    parser.add_argument("--audit-s", type=float, default=0.0, help="how often to look for what was altered by hand")
    parser.add_argument("--detach", action="store_true", help="go to the background at once")
    given = parser.parse_args(argv)
    os.umask(0o077)
    given.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if given.detach and (child := os.fork()):
        print(child)  # noqa: T201
        return 0
    if given.detach:
        os.setsid()
        _log_to(given.state_dir / "agent.log")
    lock = os.open(given.state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _take(lock):
        return ALREADY_RUNS
    try:
        return _run(given)
    except Exception:  # threads of the library may run already and would keep a dead agent alive
        traceback.print_exc()
        os._exit(1)


def _take(lock: int) -> bool:
    for _ in range(10):  # a driver that looks whether an agent starts holds the lock for a moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


def _inode(path: Path) -> int:
    """0 where nothing is there."""
    with contextlib.suppress(OSError):
        return path.stat().st_ino
    return 0


def _log_to(path: Path) -> None:
    if path.exists() and path.stat().st_size > 10_000_000:
        path.replace(path.with_suffix(".log.1"))
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((0, nothing), (1, log), (2, log)):
        os.dup2(target, number)
    os.close(nothing)
    os.close(log)
    os.chdir("/")


def _run(given: argparse.Namespace) -> int:
    from manor_sdn_ryu.runtime import Runtime, load

    library = load(Runtime(given.runtime))  # before anything that uses threads or sockets: see there
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)

    from manor_sdn_ryu.app import make_application
    from manor_sdn_ryu.controller import Controller
    from manor_sdn_ryu.server import Server
    from manor_sdn_ryu.store import Store

    pid_file = given.socket.with_suffix(".pid")

    def stop(*_: object) -> None:
        # Everything is on disk and in the switches; the library's threads cannot be ended one by one.
        given.socket.unlink(missing_ok=True)
        pid_file.unlink(missing_ok=True)
        logging.shutdown()
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    gc.set_threshold(100_000, 20, 100)  # thousands of programs are no garbage, and looking through them takes long
    controller = Controller(Store(given.state_dir), library, settle_s=given.settle_s, audit_s=given.audit_s)
    library.run(make_application(library, controller.switches.up, controller.switches.down))
    controller.start()
    identity = {"pid": os.getpid(), "runtime": library.name, "library_version": library.version}
    server, log = Server(given.socket, controller, identity, stop), logging.getLogger("manor.sdn.agent")
    forever, door = threading.Event(), 0
    while True:
        if not door or _inode(given.socket) != door:  # somebody has emptied /run, and nobody else could take over
            try:
                # Not sooner: while it was empty it could be taken away, as by a starter that gave up waiting.
                pid_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                pid_file.write_text(f"{os.getpid()}\n")
                server.listen()
            except OSError as error:
                if not door:
                    raise
                log.warning("no socket can be opened at %s: %s", given.socket, error)  # yet: it may still be emptied
            else:
                door = _inode(given.socket)
                log.info("serving at %s on %s %s", given.socket, library.name, library.version)
        forever.wait(0.5)  # the kernel may give a signal to another thread; Python then acts when this one wakes


if __name__ == "__main__":
    sys.exit(main())
