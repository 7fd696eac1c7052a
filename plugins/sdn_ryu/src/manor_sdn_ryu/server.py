"""The agent's door: takes requests from drivers, checks them, calls the controller, answers."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manor.api import Query, ResourceKind, ResourceRef, SwitchLink
from manor.errors import DeadlineExceeded, Indeterminate, ManorError, Permanent
from manor_sdn_ryu.controller import Controller
from manor_sdn_ryu.keeper import Address
from manor_sdn_ryu.protocol import VERSION, at_path, decode, encode, failure, read_line
from manor_sdn_ryu.store import program_from_json

__all__ = ["Server"]

_LOG = logging.getLogger("manor.sdn.server")
_TIMEOUT_MAX_S = 600.0


class Server:
    """Serves until told to stop. One thread a connection; a driver keeps few."""

    def __init__(
        self, path: Path, controller: Controller, identity: Mapping[str, Any], stop: Callable[[], None]
    ) -> None:
        self._path = path
        self._controller = controller
        self._identity = dict(identity)
        self._stop = stop

    def listen(self) -> None:
        """Open the socket (mode 0600) and take connections in the background; one that was opened before stays open."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with at_path(self._path) as address:
                listener.bind(address)
        finally:
            os.umask(before)
        listener.listen(32)
        threading.Thread(target=self._accept, args=(listener,), name="accept", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:  # as when no file can be opened: an agent that hears nobody could not be told to end
                _LOG.exception("a connection could not be taken")
                time.sleep(0.1)
                continue
            threading.Thread(target=self._talk, args=(connected,), name="driver", daemon=True).start()

    def _talk(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), connected, connected.makefile("rb") as lines:
            while True:
                try:
                    line = read_line(lines)
                    if not line:
                        return
                    request = decode(line)
                except ValueError as error:
                    why = Permanent(f"the agent did not understand: {error}", hint="use the Manor that started it")
                    connected.sendall(encode(failure(why)))
                    return
                connected.sendall(encode(self._answer(request)))

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        verb, args = request.get("verb"), request.get("args") or {}
        try:
            timeout_s = min(float(request.get("timeout_s", 30.0)), _TIMEOUT_MAX_S)
            if timeout_s <= 0:
                raise DeadlineExceeded(f"no time left for {verb}")
            call = self._verbs().get(str(verb))
            if call is None:
                raise Permanent(f"the agent has no verb {verb!r}")
            return {"ok": True, "result": call(args, time.monotonic() + timeout_s)}
        except ManorError as error:
            return failure(error)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _LOG.warning("%s refused", verb, exc_info=True)
            return failure(Permanent(f"the agent refused {verb}: {error}"))
        except Exception as error:  # an answer must go out; what happened is in the log
            _LOG.exception("%s failed", verb)
            return failure(Indeterminate(f"the agent failed at {verb}: {error!r}", hint="see the agent's log"))

    def _verbs(self) -> dict[str, Callable[[Mapping[str, Any], float], Any]]:
        return {
            "hello": lambda *_: {**self._identity, "version": VERSION},
            "configure": self._configure,
            "prove": self._prove,
            "devices": lambda *_: self._controller.devices(),
            "switches": lambda _, deadline: self._controller.switches.status(deadline),
            "apply": lambda args, deadline: self._controller.apply(program_from_json(args["program"]), deadline),
            "remove": self._remove,
            "observe": self._observe,
            "around": self._around,
            "probe": self._probe,
            "shutdown": self._shutdown,
        }

    def _configure(self, args: Mapping[str, Any], _deadline: float) -> None:
        self._controller.configure(
            str(args["owner"]),
            [Address(**switch) for switch in args["switches"]],
            [SwitchLink(**link) for link in args.get("links", ())],
        )

    def _remove(self, args: Mapping[str, Any], deadline: float) -> None:
        ref = ResourceRef(kind=ResourceKind(args["kind"]), key=str(args["key"]))
        self._controller.remove(str(args["owner"]), ref, deadline)

    def _observe(self, args: Mapping[str, Any], deadline: float) -> list[dict[str, Any]]:
        kinds, keys = args.get("kinds"), args.get("keys")
        query = Query(
            owner=str(args["owner"]),
            kinds=None if kinds is None else frozenset(map(ResourceKind, kinds)),
            keys=None if keys is None else frozenset(map(str, keys)),
            prefix=str(args.get("prefix", "")),
        )
        return self._controller.observe(query, deadline)

    def _around(self, args: Mapping[str, Any], _deadline: float) -> list[dict[str, Any]]:
        return self._controller.around(str(args["owner"]), str(args["key"]))

    def _probe(self, args: Mapping[str, Any], deadline: float) -> list[dict[str, Any]]:
        packets = [{str(name): value for name, value in packet.items()} for packet in args["packets"]]
        return self._controller.probe(str(args["owner"]), str(args["key"]), packets, deadline)

    def _prove(self, args: Mapping[str, Any], deadline: float) -> None:
        sender, receiver = (tuple(map(str, args[end])) for end in ("sender", "receiver"))
        self._controller.prove(
            (sender[0], sender[1]), (receiver[0], receiver[1]), min(int(args["mtu"]), 65_000), deadline
        )

    def _shutdown(self, args: Mapping[str, Any], _deadline: float) -> bool:
        done = bool(args.get("force")) or self._controller.shutdown()
        if done:
            threading.Timer(0.1, self._stop).start()
        return done
