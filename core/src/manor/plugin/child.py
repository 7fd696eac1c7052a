"""A plugin's own process: connects one driver and carries out its verbs, each on a thread, until core lets go.

Core starts it where the operator isolates a plugin (``MANOR_PLUGINS_ISOLATE``). When core ends, however it ends, the
socket closes and this process goes at once: no verb outlives the operation that it belongs to.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from manor.api import ENTRY_POINT_GROUP, CallContext, DriverEnvironment
from manor.errors import PluginError, Transient
from manor.plugin.validation import validate
from manor.plugin.wire import VERBS, Channel, Signature, error_from_json, error_to_json, guest_verbs

__all__ = ["main"]


class _Guest:
    """A guest that core has: each verb is asked back over the channel, within the call that it was given to."""

    def __init__(self, work: _Work, call: int, key: str) -> None:
        for name, signature in guest_verbs().items():
            setattr(self, name, self._verb(work, call, key, signature))

    @staticmethod
    def _verb(work: _Work, call: int, key: str, signature: Signature) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(args, kwargs)
            _, ctx = signature.context_of(arguments)
            head = {"guest": key, "verb": signature.name, "context": _told(ctx)}
            return signature.result_from_json(work.ask(call, head, signature.arguments_to_json(arguments)))

        return ask


def _told(ctx: CallContext | None) -> dict[str, Any] | None:
    return None if ctx is None else {"remaining_s": ctx.remaining_s()}


class _Work:
    """The calls that are under way."""

    def __init__(self, channel: Channel, driver: Any) -> None:
        self._channel = channel
        self._driver = driver
        self._cancelled: dict[int, threading.Event] = {}
        self._asked: dict[int, SimpleQueue[tuple[dict[str, Any], bytes]]] = {}
        self._numbers = itertools.count()

    def begin(self, head: Mapping[str, Any], body: bytes) -> None:
        """Carry a call out on a thread of its own."""
        self._cancelled[head["call"]] = threading.Event()
        threading.Thread(target=self._carry_out, args=(head, body), daemon=True, name=f"call {head['verb']}").start()

    def cancel(self, call: int) -> None:
        """Core wants this call to give up."""
        if call in self._cancelled:
            self._cancelled[call].set()

    def ask(self, call: int, head: Mapping[str, Any], body: bytes) -> bytes:
        """Ask core for something within a call, and wait for it."""
        number = next(self._numbers)
        self._asked[number] = SimpleQueue()
        self._channel.send({"ask": number, "call": call, **head}, body)
        told, answer = self._asked[number].get()
        del self._asked[number]
        if "error" in told:
            raise error_from_json(told["error"])
        return answer

    def told(self, head: dict[str, Any], body: bytes) -> None:
        """Core's answer to an ask."""
        self._asked[head["told"]].put((head, body))

    def _carry_out(self, head: Mapping[str, Any], body: bytes) -> None:
        call = head["call"]
        try:
            signature = VERBS[head["verb"]]
            arguments = signature.arguments_from_json(body)
            name, _ = signature.context_of({})
            if name:
                arguments[name] = self._context(head["context"], self._cancelled[call])
            name, _ = signature.guests_of({})
            if name:
                arguments[name] = {key: _Guest(self, call, key) for key in head["guests"]}
            result = getattr(self._driver, signature.name)(**arguments)
            answer: tuple[dict[str, Any], bytes] = {"answer": call}, signature.result_to_json(result)
        # A stranger's code may raise anything, and even try to exit; core's guard says what it means.
        except (Exception, SystemExit) as error:
            answer = {"answer": call, "error": error_to_json(error)}, b""
        self._cancelled.pop(call, None)
        with contextlib.suppress(OSError):  # core is gone: so is this process, in a moment
            self._channel.send(*answer)

    def _context(self, told: Mapping[str, Any], cancelled: threading.Event) -> CallContext:
        return CallContext(
            deadline=time.monotonic() + told["remaining_s"],
            operation=told["operation"],
            attempt=told["attempt"],
            patience_s=told["patience_s"],
            log=logging.getLogger(told["log"]),
            secrets=told["secrets"],
            is_cancelled=cancelled.is_set,
        )


class _Log(logging.Handler):
    """What the plugin logs is core's to show."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self._channel.send({"log": record.name, "level": record.levelno, "text": record.getMessage()})


def _connect(head: Mapping[str, Any]) -> Any:
    """The driver's connection. Raises what the plugin raises."""
    sys.path[:] = head["path"]
    plugin = EntryPoint(name=head["plugin"], value=head["target"], group=ENTRY_POINT_GROUP).load()
    for record in validate(plugin)[head["hook"]]():
        if record.name == head["name"]:
            told = head["environment"]
            environment = DriverEnvironment(
                name=told["name"],
                owner=told["owner"],
                state_dir=Path(told["state_dir"]),
                runtime_dir=Path(told["runtime_dir"]),
            )
            return record.connect(record.config.model_validate(head["config"]), environment)
    raise PluginError(f"{head['plugin']} has no {head['name']!r} in a process of its own")


def main(descriptor: int) -> None:
    """Serve the socket ``descriptor`` until its other end is gone."""
    # What a library prints may not get between the lines of a command's own output.
    os.dup2(2, 1)
    channel = Channel(connection=Connection(descriptor))
    with contextlib.suppress(EOFError, OSError):
        head, _ = channel.receive()
        logging.basicConfig(level=head["level"], handlers=[_Log(channel)])
        try:
            driver = _connect(head)
        # As of a verb: whatever it is, core is told and decides.
        except (Exception, SystemExit) as error:
            channel.send({"error": error_to_json(error)})
        else:
            verbs = [name for name in VERBS if callable(getattr(driver, name, None))]
            channel.send({"verbs": verbs, "gave": type(driver).__name__})
            _serve(channel, _Work(channel, driver))
    # Not sys.exit: threads may be inside the driver, and they may not go on without core.
    os._exit(0)


def _serve(channel: Channel, work: _Work) -> None:
    while True:
        head, body = channel.receive()
        if "verb" in head:
            work.begin(head, body)
        elif "cancel" in head:
            work.cancel(head["cancel"])
        elif "told" in head:
            work.told(head, body)
        else:
            raise Transient("core said something that this process does not know")


if __name__ == "__main__":
    main(int(sys.argv[1]))
