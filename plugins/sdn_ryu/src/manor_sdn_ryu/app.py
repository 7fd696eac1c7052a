"""The controller application: a shim that hands events of the library to the switch sessions. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manor_sdn_ryu.runtime import Library
from manor_sdn_ryu.session import Session

__all__ = ["make_application"]

_OPENFLOW_1_3 = 4
_MESSAGES = (
    "PortStatus", "PacketIn", "BarrierReply", "ErrorMsg", "PortDescStatsReply", "FlowStatsReply", "PortStatsReply",
    "MeterFeaturesStatsReply", "MeterConfigStatsReply",
)  # fmt: skip
"""What a session takes."""


def make_application(library: Library, on_up: Callable[[Session], None], on_down: Callable[[Session], None]) -> type:
    """An application class of this library. ``on_up`` gets a session once its switch is ready."""
    events, handle, main, dead = library.events, library.handle, library.main, library.dead
    messages = [getattr(events, f"EventOFP{name}") for name in _MESSAGES]

    class ManorSwitches(library.base):  # type: ignore[name-defined, misc]
        OFP_VERSIONS = (_OPENFLOW_1_3,)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.sessions: dict[Any, Session] = {}

        @handle(events.EventOFPStateChange, [main, dead])
        def state(self, event: Any) -> None:
            datapath = event.datapath
            if event.state == main:
                session = self.sessions[datapath] = Session(datapath)
                on_up(session)
            elif (session := self.sessions.pop(datapath, None)) is not None:
                session.closed()
                on_down(session)

        @handle(messages, main)
        def message(self, event: Any) -> None:
            session = self.sessions.get(event.msg.datapath)
            if session is not None:
                session.deliver(event.msg)

    return ManorSwitches
