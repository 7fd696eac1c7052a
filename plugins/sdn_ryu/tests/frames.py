"""Frames by hand, for what no ordinary machine would send; and functions that no ordinary machine is."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import threading
from types import TracebackType
from typing import Self

from manor.testing.ovs import Netns

__all__ = ["Aware", "Echo", "arp_reply", "checksum", "ipv4", "ipv6", "mac_of", "udp"]

_OUTGOING = 4


def mac_of(number: int) -> bytes:
    """The MAC address of the rig's machine ``number``."""
    return bytes([2, 0, 0, 0, 0, number])


def checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def ipv4(
    source: str, target: str, payload: bytes, *, protocol: int, eth: tuple[bytes, bytes], tos: int = 0, vlan: int = 0
) -> bytes:
    """An IPv4 packet in a frame; ``eth`` is (source, destination)."""
    header = bytes([0x45, tos]) + (20 + len(payload)).to_bytes(2, "big") + bytes([0, 0, 0, 0, 64, protocol, 0, 0])
    header += ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    tag = b"\x81\x00" + vlan.to_bytes(2, "big") if vlan else b""
    return eth[1] + eth[0] + tag + b"\x08\x00" + header[:10] + checksum(header) + header[12:] + payload


def udp(payload: bytes, *, sport: int = 9, dport: int = 9) -> bytes:
    """A datagram without a checksum, which UDP over IPv4 allows."""
    return (
        sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload
    )


def ipv6(source: str, target: str, payload: bytes, *, protocol: int, eth: tuple[bytes, bytes]) -> bytes:
    """An IPv6 packet in a frame; an ICMPv6 message gets its checksum."""
    ends = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(target).packed
    if protocol == 58:
        pseudo = ends + len(payload).to_bytes(4, "big") + bytes([0, 0, 0, 58])
        payload = payload[:2] + checksum(pseudo + payload) + payload[4:]
    header = b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes([protocol, 255])
    return eth[1] + eth[0] + b"\x86\xdd" + header + ends + payload


def arp_reply(*, eth: tuple[bytes, bytes], says: str, mac: bytes) -> bytes:
    """Somebody says where ``says`` lives."""
    body = bytes.fromhex("0001080006040002") + mac + ipaddress.IPv4Address(says).packed + eth[1] + bytes(4)
    return eth[1] + eth[0] + b"\x08\x06" + body


class _Function:
    """What a thread does with each frame that comes in by some interfaces, as long as the context lasts."""

    def __init__(self, netns: Netns, *interfaces: str) -> None:
        self._sockets = [netns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in interfaces]
        for opened, interface in zip(self._sockets, interfaces, strict=True):
            opened.bind((interface, 0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for opened in self._sockets:
            opened.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for ready in select.select(self._sockets, [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    frame, address = ready.recvfrom(4096)
                    if address[2] != _OUTGOING:
                        self._take(ready, frame)

    def _take(self, came_by: socket.socket, frame: bytes) -> None:
        raise NotImplementedError


class Echo(_Function):
    """A function with one port: gives back every frame that it gets, as it came, and keeps them."""

    def __init__(self, netns: Netns) -> None:
        super().__init__(netns, "eth0")
        self.frames: list[bytes] = []

    def _take(self, came_by: socket.socket, frame: bytes) -> None:
        self.frames.append(frame)
        came_by.send(frame)


class Aware(_Function):
    """An NSH-aware function: what has the header goes out of the other interface (or of the only one) with its index
    one lower; anything else it drops. Tells the (service path, index) of what it got."""

    def __init__(self, netns: Netns, *interfaces: str) -> None:
        super().__init__(netns, *interfaces)
        self.met: list[tuple[int, int]] = []
        self.decrements = True

    def _take(self, came_by: socket.socket, frame: bytes) -> None:
        if frame[12:14] != _NSH or frame[17] != _ETHERNET_INSIDE:
            return
        path, index = int.from_bytes(frame[18:21], "big"), frame[21]
        self.met.append((path, index))
        lower = index - 1 if self.decrements else index
        out = self._sockets[self._sockets.index(came_by) - 1]
        out.send(frame[6:12] + frame[:6] + frame[12:21] + bytes([lower]) + frame[22:])


_NSH, _ETHERNET_INSIDE = b"\x89\x4f", 3
