"""Ports for the servers of a test.

The kernel gives whoever connects somewhere a port of a range of its own. One of that range which was free a moment ago,
or while a server was away that is to come back to it, may be a client's by now; those below it nobody is given.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

__all__ = ["free_port"]

_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SOME = 8192


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens, and that nobody gets who did not ask for it."""
    end = int(_GIVEN.read_text().split()[0])
    begin = max(1024, end - _SOME)
    while True:
        port = begin + secrets.randbelow(end - begin) if end > begin else 0
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
