"""The driver's side of the agent: starts it where it does not run, and asks it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manor.api import CallContext, DriverEnvironment
from manor.errors import DeadlineExceeded, Indeterminate, Permanent, Transient
from manor_sdn_ryu.config import RyuConfig
from manor_sdn_ryu.protocol import VERSION, WrongVersion, connect, decode, encode, raise_failure, read_line
from manor_sdn_ryu.tunnels import links

__all__ = ["AgentLink"]


class AgentLink:
    """Asks the agent, one connection a call. Safe to use from several threads."""

    def __init__(self, config: RyuConfig, environment: DriverEnvironment, claim: Callable[[CallContext], None]) -> None:
        self._config = config
        self._state_dir = environment.state_dir
        self._owner = environment.owner
        self._claim = claim
        """Makes sure that the switches are this controller's, before the agent hears of them."""
        self.socket: Path = environment.runtime_dir / "agent.sock"
        self._lock = threading.Lock()
        self._known_pid = 0

    def ask(self, verb: str, ctx: CallContext, **args: Any) -> Any:
        """The agent's answer, with the agent started and told its switches if need be.

        Raises what the agent raises; Transient where it cannot be reached, Indeterminate where it fell silent.
        """
        ctx.check(f"asking the agent to {verb}")
        self._ensure(ctx)
        return self._call(verb, ctx.remaining_s(), args)

    def running(self) -> bool:
        """Whether an agent answers now; starts none."""
        try:
            self._call("hello", 5.0, {})
        except (Transient, Indeterminate, Permanent):
            return False
        return True

    def shutdown(self, timeout_s: float, *, force: bool = False) -> bool:
        """Tell a running agent to end and wait until it is gone; False when it holds programs, unless by ``force``."""
        try:
            pid = int(self._call("hello", timeout_s, {})["pid"])
            if not self._call("shutdown", timeout_s, {"force": force}):
                return False
        except Transient:
            return True
        until = time.monotonic() + timeout_s
        while _alive(pid):
            if time.monotonic() > until:
                raise DeadlineExceeded(f"the agent (pid {pid}) does not end")
            time.sleep(0.02)
        return True

    def _ensure(self, ctx: CallContext) -> None:
        with self._lock:
            try:
                hello = self._call("hello", ctx.remaining_s(), {})
            except Transient:
                hello = self._start(ctx)
            if hello["pid"] != self._known_pid:
                switches = [
                    {
                        "host": s.host, "openflow": s.openflow_address, "datapath_id": s.datapath_id,
                        "pki_dir": str(s.pki_dir or ""), "ovsdb": s.ovsdb, "bridge": s.bridge,
                    }
                    for s in self._config.switches
                ]  # fmt: skip
                between = [{"host": k.host, "peer": k.peer, "device": k.device} for k in links(self._config.switches)]
                self._claim_switches(ctx)
                wanted = {"owner": self._owner, "switches": switches, "links": between}
                self._call("configure", ctx.remaining_s(), wanted)
                self._known_pid = hello["pid"]

    def _claim_switches(self, ctx: CallContext) -> None:
        try:
            self._claim(ctx)
        except Transient:
            # A switch that is down now was claimed when this controller first came.
            if not (self._state_dir / "settings.json").exists():
                raise

    def _start(self, ctx: CallContext) -> Mapping[str, Any]:
        argv = [
            sys.executable, "-W", "ignore", "-m", "manor_sdn_ryu.agent", "--detach",
            "--state-dir", str(self._state_dir), "--socket", str(self.socket),
            "--runtime", str(self._config.runtime), "--settle-s", str(self._config.settle_s),
            "--audit-s", str(self._config.audit_s),
        ]  # fmt: skip
        within_s = max(1.0, min(self._config.start_timeout_s, ctx.remaining_s()))
        until, log, is_behind = time.monotonic() + within_s, self._state_dir / "agent.log", False
        late = Transient(f"the SDN agent did not start within {within_s:.0f} s", hint=f"see {log}")
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=within_s)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise late from None
        if done.returncode != 0:
            raise Permanent(f"the SDN agent did not start: {done.stderr.decode(errors='replace').strip()}")
        child = int(done.stdout)
        while time.monotonic() < until:
            try:
                answer: Mapping[str, Any] = self._call("hello", max(0.1, until - time.monotonic()), {})
                if answer["pid"] != child:
                    _end(child)  # another was first; this one would come up as soon as that one ends
                return answer
            except Transient:
                is_gone = not _alive(child)
                if is_gone and self._another_starts():
                    is_behind = True
                elif is_gone and is_behind:
                    raise Transient("the SDN agent that was first has ended", hint=f"see {log}") from None
                elif is_gone:
                    last = log.read_text(errors="replace").splitlines()[-1:] if log.exists() else []
                    raise Permanent(f"the SDN agent ended at once: {''.join(last)}", hint=f"see {log}") from None
                time.sleep(0.02)
        raise late

    def _another_starts(self) -> bool:
        """Whether some agent holds the lock: one that another process started at the same moment."""
        with open(self._state_dir / "agent.lock", "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _call(self, verb: str, timeout_s: float, args: Mapping[str, Any]) -> Any:
        try:
            connected = connect(self.socket, 5.0)
        except OSError as error:
            raise Transient(f"the SDN agent does not answer at {self.socket}: {error}") from error
        # The agent keeps to the deadline by itself; the extra second lets its own words arrive.
        connected.settimeout(timeout_s + 1.0)
        with connected, connected.makefile("rb") as lines:
            try:
                connected.sendall(encode({"verb": verb, "timeout_s": timeout_s, "args": args}))
                answer = decode(read_line(lines) or b"null")
            except TimeoutError as error:
                raise DeadlineExceeded(f"the SDN agent did not answer {verb} in time") from error
            except WrongVersion as error:
                raise self._another_release(error.theirs) from error
            except (OSError, ValueError) as error:
                # A greeting changes nothing: an agent that died over it is one that is not there.
                kind = Transient if verb == "hello" else Indeterminate
                raise kind(f"the SDN agent broke off at {verb}: {error}") from error
        if not answer.get("ok"):
            raise_failure(answer)
        return answer.get("result")

    def _another_release(self, theirs: int) -> Permanent:
        pid_file = self.socket.with_suffix(".pid")
        try:
            end = f"kill {int(pid_file.read_text())}"
        except (OSError, ValueError):
            end = f"end the process that listens at {self.socket}"
        spoken = "of another kind" if theirs < 0 else theirs
        return Permanent(
            f"the SDN agent at {self.socket} speaks protocol {spoken}, this Manor {VERSION}",
            hint=f"use the Manor that started it, which is newer, or {end}"
            if theirs > VERSION
            else f"{end}: switches go on as they are, and the next command starts this release's agent",
        )


def _end(pid: int) -> None:
    if _alive(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"
