"""What of a rate limit arrives, measured with enough offered: of a trickle all would arrive, limited or not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass

from manor.testing.ovs import Netns

from .conftest import Pace, eventually, goes_first, receiver

RATE_BPS = 2_000_000
"""The limit that all this is about."""
_OFFERED_BPS, _HELD_BPS, _MOST = 2.5 * RATE_BPS, 1.75 * RATE_BPS, 0.6
_COUNT, _AT_ONCE, _PAYLOAD = 1000, 10, bytes(1250)


@dataclass(frozen=True, kw_only=True)
class _Carried:
    took_s: float
    received_bytes: int

    @property
    def offered_bps(self) -> float:
        return 8 * _COUNT * len(_PAYLOAD) / self.took_s

    @property
    def share(self) -> float:
        return self.received_bytes / (_COUNT * len(_PAYLOAD))


def is_held(source: Netns, target: Netns, address: str) -> bool:
    """Whether no more than the rate arrives, with the burst before it, of two and a half times as much or more."""
    carried = _carried(source, target, address)
    return carried.share * carried.offered_bps < _HELD_BPS


def passes(source: Netns, target: Netns, address: str) -> bool:
    """Whether most arrives of what the rate would not let through."""
    return _carried(source, target, address).share > _MOST


def _carried(source: Netns, target: Netns, address: str) -> _Carried:
    def enough() -> _Carried | None:
        carried = _once(source, target, address)
        return carried if carried.offered_bps > _OFFERED_BPS else None

    found: _Carried = eventually(enough, "well over the rate is offered")
    return found


def _once(source: Netns, target: Netns, address: str) -> _Carried:
    """10 Mbit at 10 Mbit/s, or as fast as this machine sends them."""
    received = 0
    took_s: list[float] = []

    def send() -> None:
        goes_first()
        began, pace = time.monotonic(), Pace(_COUNT / _AT_ONCE)
        for _ in range(_COUNT // _AT_ONCE):
            for _ in range(_AT_ONCE):
                client.sendto(_PAYLOAD, (address, 9))
            pace.wait()
        took_s.append(time.monotonic() - began)

    with receiver(target) as server, source.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        server.bind((address, 9))
        server.settimeout(0.5)
        sender = threading.Thread(target=send)
        sender.start()
        sender.join()
        with contextlib.suppress(TimeoutError):
            while True:
                received += len(server.recv(2000))
    return _Carried(took_s=took_s[0], received_bytes=received)
