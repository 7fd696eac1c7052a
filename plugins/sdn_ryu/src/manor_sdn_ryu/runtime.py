"""The one place that knows there are two controller libraries: Ryu, and os-ken, its maintained fork.

Ryu runs on eventlet, which must patch the standard library before anything else is imported; os-ken runs on
threads. Behind :func:`load` both look the same: ordinary threads, locks and sockets, an application base class, and
:meth:`Library.serve`, which speaks OpenFlow over a socket that we connected.

Manor dials the switch instead of letting the switch dial the controller: Open vSwitch always listens on
``BRIDGE.mgmt`` in its run directory, guarded by file permission. So nothing listens here, nobody can pose as a
switch, and the bridge needs no controller setting, whose coming and going would flush every flow in it.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Library", "Runtime", "load"]


class Runtime(StrEnum):
    """Which library the agent runs on."""

    RYU = "ryu"
    OS_KEN = "os-ken"


class _NoListener:
    """In place of the library's own TCP listener."""

    def __call__(self) -> None:
        return


class _Socket:
    """A connected socket of any family for a library that assumes TCP."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if self._connected.family != socket.AF_UNIX:
            self._connected.setsockopt(level, option, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected, name)


@dataclass(frozen=True, kw_only=True)
class Library:
    """What is used of a controller library."""

    name: str
    version: str
    base: type[Any]
    """RyuApp or OSKenApp."""
    events: Any
    handle: Callable[..., Any]
    """The decorator ``set_ev_cls``."""
    main: str
    dead: str
    _datapath: type[Any]
    _manager: Any

    def run(self, application: type[Any]) -> None:
        """Start the application and the library's own, which does the OpenFlow handshake."""
        root = self._manager.__module__.split(".")[0]
        self._manager.applications_cls[f"{root}.controller.ofp_handler"] = self._manager.load_app(
            f"{root}.controller.ofp_handler"
        )
        self._manager.applications_cls[application.__module__] = application
        self._manager.instantiate_apps()

    def serve(self, connected: socket.socket, address: str) -> None:
        """Speak OpenFlow with the switch at the other end until it or we hang up."""
        with contextlib.closing(self._datapath(_Socket(connected), address)) as datapath:
            datapath.serve()


def load(runtime: Runtime) -> Library:
    """Import the library. The first thing that a process does: Ryu changes the standard library under it."""
    if runtime is Runtime.RYU:
        import eventlet

        eventlet.monkey_patch()
        import eventlet.wsgi

        if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):  # gone since eventlet 0.33; Ryu 4.34 still asks for it
            eventlet.wsgi.ALREADY_HANDLED = object()
    root = "ryu" if runtime is Runtime.RYU else "os_ken"

    def part(name: str) -> Any:
        return importlib.import_module(f"{root}.{name}")

    manager = part("base.app_manager")
    controller, handler = part("controller.controller"), part("controller.handler")
    part("controller.ofp_handler").OpenFlowController = _NoListener
    from manor_sdn_ryu.wire import learn

    learn(part("ofproto.ofproto_v1_3_parser"))

    class _Datapath(controller.Datapath):  # type: ignore[name-defined, misc]
        def _recv_loop(self) -> None:
            try:
                super()._recv_loop()
            finally:
                # Threads of os-ken cannot be killed: the sending one, which waits for work, is told to end.
                self.send(b"", close_socket=True)

    return Library(
        name=str(runtime),
        version=importlib.import_module(root).__dict__.get("version", "") or _version(runtime),
        base=manager.RyuApp if runtime is Runtime.RYU else manager.OSKenApp,
        events=part("controller.ofp_event"),
        handle=handler.set_ev_cls,
        main=handler.MAIN_DISPATCHER,
        dead=handler.DEAD_DISPATCHER,
        _datapath=_Datapath,
        _manager=manager.AppManager.get_instance(),
    )


def _version(runtime: Runtime) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ryu" if runtime is Runtime.RYU else "os-ken")
    except PackageNotFoundError:
        return ""
