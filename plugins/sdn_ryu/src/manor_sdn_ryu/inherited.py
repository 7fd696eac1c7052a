"""Rules of ours that were in a switch before this agent first saw it, and that no program has.

An agent that begins without the state of the one before it (a home restored in part, a lost disk) finds them. They
carry traffic, so they stay until somebody says what is to become of them: a put or a removal of what they belong to.
What turns up later without a program was left over, or is somebody's hand, and goes. Nothing of it has to be
remembered: the next agent finds what is still there.

A cookie is a hash: what it stands for can be asked and not read. Who asks by key is told under that key, who asks for
everything is told a name made of the cookie.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from manor_sdn_ryu.pipeline import OWNER_MASK, owner_bits

__all__ = ["Inherited", "name_of"]


def name_of(number: int) -> str:
    """The key that stands for a cookie."""
    return f"unknown/0x{number:016x}"


class Inherited:
    """Cookies by host. Changed with its owner's lock held, read without."""

    def __init__(self) -> None:
        self._kept: dict[str, frozenset[int]] = {}
        """A host is in it from the first look on."""

    def look(self, host: str, unknown: Iterable[int]) -> None:
        """These cookies of ours, which no program has, are on this host now. The first look decides what stays."""
        there = frozenset(unknown)
        self._kept = {**self._kept, host: there & self._kept.get(host, there)}

    def settle(self, number: int) -> None:
        """It was said what becomes of this cookie."""
        self._kept = {host: kept - {number} for host, kept in self._kept.items()}

    def keep(self, hosts: Collection[str]) -> None:
        """No other host is ours any more; one that comes back is looked at anew."""
        self._kept = {host: kept for host, kept in self._kept.items() if host in hosts}

    def keeps(self, host: str, number: int) -> bool:
        """Whether what is under this cookie stays although no program has it."""
        return host not in self._kept or number in self._kept[host]

    def has_none(self, host: str) -> bool:
        """Whether this host was looked at, and nothing there is kept."""
        return host in self._kept and not self._kept[host]

    def on(self, host: str) -> frozenset[int]:
        """What is kept on this host."""
        return self._kept.get(host, frozenset())

    def hosts(self, number: int) -> set[str]:
        """Where something is kept under this cookie."""
        return {host for host, kept in self._kept.items() if number in kept}

    def of(self, owner: str) -> set[int]:
        """What is kept of this owner's, anywhere."""
        return {number for kept in self._kept.values() for number in kept if number & OWNER_MASK == owner_bits(owner)}

    def __bool__(self) -> bool:
        return any(self._kept.values())
