"""virtlogd, which writes the consoles of machines: without it none can start, and libvirtd says nothing until then."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

__all__ = ["REMEDY", "SOCKET", "is_dead", "socket_beside"]

SOCKET = "virtlogd-sock"
"""Its socket's name, which libvirtd's errors have too."""
REMEDY = "systemctl start virtlogd.socket (without systemd: virtlogd -d)"
_DIRECTORY = Path("/run/libvirt")


def socket_beside(uri: str) -> Path | None:
    """Where the virtlogd of this libvirtd listens; None where it is on another machine, or has none."""
    parts = urlsplit(uri)
    if parts.scheme not in ("qemu", "qemu+unix") or parts.netloc or parts.path != "/system":
        return None
    own = parse_qs(parts.query).get("socket")
    return (Path(own[0]).parent if own else _DIRECTORY) / SOCKET


def is_dead(path: Path) -> bool:
    """Whether there is a socket, and nobody behind it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            pass  # there is none, or it is not ours to ask: nothing can be said
    return False
