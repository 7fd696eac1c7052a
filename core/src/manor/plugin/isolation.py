"""A driver that runs in a process of its own, as core sees it: the same verbs, and a crash is an error among others.

What a dead process leaves behind is what any interrupted call leaves: nobody knows. So a verb that may have had an
effect ends as *indeterminate*, which core answers by observing, and the next call starts a new process. A call that
does not come back in its time is given up; its process takes no new ones, and is killed when its other calls are done.
"""

from __future__ import annotations

import functools
import itertools
import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from manor.api import CallContext, DriverEnvironment, Guest
from manor.errors import DeadlineExceeded, Indeterminate, ManorError, Transient
from manor.plugin.calling import Provided
from manor.plugin.wire import VERBS, Channel, Signature, error_from_json, error_to_json, guest_verbs

__all__ = ["Isolated", "isolated"]

CONNECT_S = 60.0
"""How long a new process may take to import its plugin and connect."""
WITHOUT_CONTEXT_S = 60.0
"""How long a verb without a context of its own may take."""
GRACE_S = 2.0
"""How much later than its deadline an answer may come: the driver's own error says more than ours."""
_LOOK_S = 0.2
"""How often a call that waits looks whether it was cancelled."""

_Told = tuple[dict[str, Any], bytes]


class _Process:
    """One process with one connected driver."""

    def __init__(self, who: str, start: Mapping[str, Any]) -> None:
        self.who = who
        self._waiting: dict[int, queue.SimpleQueue[_Told | None]] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._is_retired = False
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: nothing is imported from the folder that the operator happens to be in. A group of its own: Ctrl-C is
            # core's to answer.
            argv = [sys.executable, "-P", "-m", "manor.plugin.child", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0
            )
        self._channel = Channel(connection=Connection(ours.detach()))
        self.verbs, self.gave = self._connected(start)
        threading.Thread(target=self._read, daemon=True, name=f"manor-isolated {who}").start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _connected(self, start: Mapping[str, Any]) -> tuple[frozenset[str], str]:
        """The driver's verbs, and what its class is called."""
        head: dict[str, Any] = {}
        try:
            self._channel.send(start)
            deadline = time.monotonic() + CONNECT_S
            while not ("verbs" in head or "error" in head):
                if not self._channel.connection.poll(max(0.0, deadline - time.monotonic())):
                    raise Transient(f"{self.who}: its process did not connect within {CONNECT_S:.0f} s")
                head, _ = self._channel.receive()
                _log(head)
        except (EOFError, OSError) as error:
            raise Transient(f"{self.who}: its process {self._ending()} while it connected") from error
        finally:
            if "verbs" not in head:
                self.kill()
                self._channel.close()
        if "error" in head:
            raise error_from_json(head["error"])
        return frozenset(head["verbs"]), str(head["gave"])

    def call(self, signature: Signature, arguments: Mapping[str, Any], ctx: CallContext | None) -> Any:
        """Have the verb carried out there."""
        _, guests = signature.guests_of(arguments)
        head = {"verb": signature.name, "context": _context(ctx), "guests": list(guests)}
        body = signature.arguments_to_json(arguments)
        number = next(self._numbers)
        answers: queue.SimpleQueue[_Told | None] = queue.SimpleQueue()
        with self._lock:
            self._waiting[number] = answers
        try:
            try:
                self._channel.send({"call": number, **head}, body)
            except OSError as error:
                # The process was gone before it could read this.
                raise Transient(f"{self.who}: its process {self._ending()}", retry_after_s=0.1) from error
            return self._answer(number, answers, signature, ctx, guests)
        finally:
            with self._lock:
                del self._waiting[number]
            self._kill_when_idle()

    def _answer(
        self,
        number: int,
        answers: queue.SimpleQueue[_Told | None],
        signature: Signature,
        ctx: CallContext | None,
        guests: Mapping[str, Guest],
    ) -> Any:
        give_up = time.monotonic() + GRACE_S + (WITHOUT_CONTEXT_S if ctx is None else ctx.remaining_s())
        is_told = False
        while True:
            try:
                told = answers.get(timeout=_LOOK_S)
            except queue.Empty:
                if ctx is not None and not is_told and ctx.is_cancelled():
                    is_told = True
                    self._channel.send({"cancel": number})
                if time.monotonic() > give_up:
                    self.retire()
                    raise DeadlineExceeded(
                        f"{self.who}: {signature.name} has not come back", hint="its process is given up"
                    ) from None
                continue
            if told is None:
                raise self._died(signature)
            head, body = told
            if "ask" in head:
                self._give(head, body, guests, ctx)
            elif "error" in head:
                raise error_from_json(head["error"])
            else:
                return signature.result_from_json(body)

    def _give(self, head: Mapping[str, Any], body: bytes, guests: Mapping[str, Guest], ctx: CallContext | None) -> None:
        """What the driver wants of a guest, done on the thread that called the driver."""
        signature = guest_verbs()[head["verb"]]
        try:
            arguments = signature.arguments_from_json(body)
            remaining_s = min(head["context"]["remaining_s"], ctx.remaining_s() if ctx else WITHOUT_CONTEXT_S)
            arguments["ctx"] = CallContext.within(remaining_s, operation=ctx.operation if ctx else "")
            result = getattr(guests[head["guest"]], signature.name)(**arguments)
            told: _Told = {"told": head["ask"]}, signature.result_to_json(result)
        # The manager is to hear what its guest raised, whatever it is.
        except Exception as error:
            told = {"told": head["ask"], "error": error_to_json(error)}, b""
        self._channel.send(*told)

    def _died(self, signature: Signature) -> ManorError:
        what = f"{self.who}: its process {self._ending()} in the middle of {signature.name}"
        if signature.only_looks:
            return Transient(what, retry_after_s=0.1)
        return Indeterminate(what, hint="it may have happened: a retry looks first what became of it")

    def _ending(self) -> str:
        """How it ended, in words; it is waited for a moment, for the socket closes first."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "hung up"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    def _read(self) -> None:
        try:
            while True:
                head, body = self._channel.receive()
                if _log(head):
                    continue
                with self._lock:
                    waiting = self._waiting.get(head["answer"] if "answer" in head else head["call"])
                if waiting is not None:
                    waiting.put((head, body))
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            # Gone, or talking nonsense, which comes to the same: everyone who waits has to know.
            self._is_retired = True
            with self._lock:
                for waiting in self._waiting.values():
                    waiting.put(None)
            self.kill()
            self._channel.close()

    @property
    def is_usable(self) -> bool:
        """Whether it takes calls."""
        return not self._is_retired and self._process.poll() is None

    def retire(self) -> None:
        """Take no new calls; what is under way may end."""
        self._is_retired = True
        self._kill_when_idle()

    def _kill_when_idle(self) -> None:
        with self._lock:
            is_idle = self._is_retired and not self._waiting
        if is_idle:
            self.kill()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()


def _log(head: Mapping[str, Any]) -> bool:
    if "log" not in head:
        return False
    logging.getLogger(str(head["log"])).log(int(head["level"]), "%s", head["text"])
    return True


def _context(ctx: CallContext | None) -> dict[str, Any] | None:
    if ctx is None:
        return None
    return {
        "remaining_s": ctx.remaining_s(),
        "operation": ctx.operation,
        "attempt": ctx.attempt,
        "patience_s": ctx.patience_s,
        "log": ctx.log.name,
        "secrets": dict(ctx.secrets),
    }


class Isolated:
    """Stands for a driver. Its verbs are instance attributes, so that optional protocols show as in the driver."""

    def __init__(self, start: Callable[[], _Process]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._process: _Process | None = start()
        self.gave = self._process.gave
        """What the driver's class is called: core has only this stand-in to name."""
        for name in sorted(self._process.verbs - {"close"}):
            setattr(self, name, functools.partial(self._call, VERBS[name]))

    @property
    def pid(self) -> int | None:
        """Process id of the one that runs now."""
        process = self._process
        return process.pid if process is not None and process.is_usable else None

    def close(self) -> None:
        """Let the driver go, and its process."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.is_usable:
                process.call(VERBS["close"], {}, CallContext.within(5))
        finally:
            process.retire()

    def _call(self, signature: Signature, *args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(args, kwargs)
        _, ctx = signature.context_of(arguments)
        return self._running().call(signature, arguments, ctx)

    def _running(self) -> _Process:
        with self._lock:
            if self._process is None or not self._process.is_usable:
                self._process = None
                self._process = self._start()
            return self._process


def isolated(
    provided: Provided[Any], hook: str, target: str, config: Mapping[str, Any], environment: DriverEnvironment
) -> Isolated:
    """The driver ``provided``, connected in a process of its own. Raises what its ``connect`` raises."""
    who = f"{provided.plugin}: {environment.name}"
    start = {
        "path": [str(place) for place in sys.path],
        "level": logging.getLogger("manor").getEffectiveLevel(),
        "plugin": provided.plugin,
        "target": target,
        "hook": hook,
        "name": provided.record.name,
        "config": dict(config),
        "environment": {
            "name": environment.name,
            "owner": environment.owner,
            "state_dir": str(environment.state_dir),
            "runtime_dir": str(environment.runtime_dir),
        },
    }
    return Isolated(lambda: _Process(who, start))
