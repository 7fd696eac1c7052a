"""One HTTP request to a VNF's own exporter, from Manor's host to the VNF's management address.

The descriptor chooses port and path, the plan the address; both may be hostile. So there is no name to resolve, no
redirect, no proxy and no credential; addresses that mean this machine or its neighbours are refused, and what comes is
bounded in size and time.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from manor.errors import DeadlineExceeded, Permanent, Transient

__all__ = ["Place", "is_vnf_address", "place_of", "scrape"]

Place = tuple[int, str]
"""Port and path."""
_URL = re.compile(r"http://:(\d{1,5})(/[\x21-\x7e]{0,200})?")
_CHUNK = 1 << 16


def place_of(command: tuple[str, ...]) -> Place | None:
    """Port and path where an indicator's command is ``http://:PORT/PATH`` alone; else None."""
    found = _URL.fullmatch(command[0]) if len(command) == 1 else None
    if found is None or not 0 < int(found[1]) < 65536:
        return None
    return int(found[1]), found[2] or "/metrics"


def is_vnf_address(address: str) -> bool:
    """Whether it can be a VNF's: no loopback, no link-local (a cloud's metadata), no group, nothing reserved."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved)


def scrape(
    address: str,
    place: Place,
    *,
    most_bytes: int,
    within_s: float,
    allowed: Callable[[str], bool] = is_vnf_address,
) -> bytes:
    """What the exporter answers. Raises DriverError where it may not be asked, is silent, or answers too much."""
    port, path = place
    where = f"{address}:{port}{path}"
    if not allowed(address):
        raise Permanent(f"{where} is not asked: that is no address of a VNF")
    end_s = time.monotonic() + within_s
    connection = HTTPConnection(address, port, timeout=within_s)
    try:
        connection.connect()
        with _hung_up(connection.sock, max(0.0, end_s - time.monotonic())):
            connection.request(
                "GET", path, headers={"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}
            )
            answer = connection.getresponse()
            if answer.status != 200:
                raise Transient(f"{where} answers {answer.status}")
            data = b""
            while chunk := answer.read1(_CHUNK):
                data += chunk
                if len(data) > most_bytes:
                    raise Permanent(f"{where} answers more than {most_bytes} bytes")
        if time.monotonic() >= end_s:  # what ended with the connection may have been longer
            raise DeadlineExceeded(f"{where} had not answered in full after {within_s:g} s")
        return data
    except (OSError, HTTPException) as error:
        raise Transient(f"{where} does not answer: {error}") from error
    finally:
        connection.close()


@contextlib.contextmanager
def _hung_up(connected: socket.socket, after_s: float) -> Iterator[None]:
    """Hang up when the time is over: to one who says a little now and then a socket's own timeout never comes."""

    def hang_up() -> None:
        with contextlib.suppress(OSError):  # it has ended
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(after_s, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
