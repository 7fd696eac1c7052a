"""Hearing of events, so that a dead machine is looked at when it dies and not at the next turn.

An event only wakes the loop: what is so is found by observing, as ever. One thread waits at each VIM that can tell.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from manor.api import CallContext, Eventful
from manor.errors import ManorError
from manor.lcm.runtime import Runtime

__all__ = ["Listening"]

_WAIT_S = 5.0
_AGAIN_S = 2.0


class Listening:
    """Sets ``woken`` whenever one of the VIMs that it listens to has heard of a change."""

    def __init__(self, rt: Runtime, woken: threading.Event) -> None:
        self._rt = rt
        self._woken = woken
        self._end = threading.Event()
        self._wanted: Collection[str] = ()
        self._threads: dict[str, threading.Thread] = {}

    def to(self, endpoints: Collection[str]) -> None:
        """Listen to exactly these VIMs from now on. One thread at a time calls this."""
        self._wanted = frozenset(endpoints)
        self._threads = {name: thread for name, thread in self._threads.items() if name in endpoints}
        for endpoint in self._wanted - self._threads.keys():
            thread = threading.Thread(target=self._listen, args=(endpoint,), name=f"hear-{endpoint}", daemon=True)
            self._threads[endpoint] = thread
            thread.start()

    def stop(self) -> None:
        """Listen no more. A thread that waits just now ends by itself."""
        self._end.set()

    def _listen(self, endpoint: str) -> None:
        heard = 0
        while not self._end.is_set() and endpoint in self._wanted:
            try:
                vim = self._rt.driver(endpoint)
                if not isinstance(vim, Eventful):
                    return  # it is looked at once a period
                before, heard = heard, vim.await_events(heard, CallContext.within(_WAIT_S))
            except ManorError:
                self._end.wait(_AGAIN_S)  # the loop's own look says what is wrong
                continue
            if heard > before:
                self._woken.set()
