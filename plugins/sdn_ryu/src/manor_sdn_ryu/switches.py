"""The hosts' switches that this agent keeps a line to, by host."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from manor.errors import Transient
from manor_sdn_ryu.keeper import Address, Keeper
from manor_sdn_ryu.runtime import Library
from manor_sdn_ryu.session import Session

__all__ = ["Switches"]

_ASK_S = 10.0


class Switches:
    """Keepers by host. ``converge`` is called, by a keeper's thread, when its switch came or its ports changed."""

    def __init__(self, library: Library, converge: Callable[[Keeper, set[str] | None], None]) -> None:
        self._library = library
        self._converge = converge
        self._keepers: dict[str, Keeper] = {}

    def dial(self, addresses: Iterable[Address]) -> None:
        """Keep exactly these; one that is no longer named is let go as it is."""
        wanted = {address.host: address for address in addresses}
        for host, keeper in list(self._keepers.items()):
            if wanted.get(host) != keeper.address:
                keeper.stop()
                del self._keepers[host]
        for host, address in wanted.items():
            if host not in self._keepers:
                self._keepers[host] = Keeper(address, self._library, self._converge)
                self._keepers[host].start()

    def up(self, session: Session) -> None:
        """A switch finished its handshake; its address is its host's name."""
        keeper = self._keepers.get(session.address)
        if keeper is None:
            session.hang_up()
        else:
            keeper.up(session)

    def down(self, session: Session) -> None:
        """A switch went away."""
        keeper = self._keepers.get(session.address)
        if keeper is not None:
            keeper.down(session)

    def __iter__(self) -> Iterator[Keeper]:
        return iter([keeper for _, keeper in sorted(self._keepers.items())])

    def get(self, host: str) -> Keeper | None:
        """The keeper of a host's switch."""
        return self._keepers.get(host)

    def session(self, host: str) -> Session:
        """The line to a host's switch. Raises Transient while there is none."""
        keeper = self._keepers.get(host)
        if keeper is None:
            raise Transient(f"host {host} has no switch at this controller")
        return keeper.session

    def hosts(self) -> set[str]:
        """Every host, connected or not."""
        return set(self._keepers)

    def ready(self, hosts: Iterable[str]) -> list[str]:
        """Those of the hosts whose switch is connected now."""
        return [host for host in sorted(hosts) if (keeper := self._keepers.get(host)) and keeper.ready.is_set()]

    def without_bridge(self, hosts: Iterable[str], deadline: float) -> set[str]:
        """Those of the hosts whose bridge is gone, and every rule with it; one that cannot be asked in time is not."""
        until = min(time.monotonic() + _ASK_S, deadline - 0.5)
        gone = set()
        for host in sorted(hosts):
            keeper = self._keepers.get(host)
            if keeper is None or keeper.ready.is_set() or time.monotonic() > until:
                continue
            if keeper.address.has_no_bridge(max(1.0, until - time.monotonic())):
                gone.add(host)
        return gone

    def await_ready(self, hosts: Iterable[str], deadline: float) -> None:
        """Give switches that are away a moment to come back, one for all of them."""
        until = min(time.monotonic() + 10.0, deadline - 0.5)
        for host in hosts:
            keeper = self._keepers.get(host)
            if keeper is not None:
                keeper.ready.wait(max(0.0, until - time.monotonic()))

    def await_tried(self, deadline: float, *, most_s: float) -> None:
        """Give switches that are new here a moment to answer."""
        for keeper in self:
            until = min(keeper.began + most_s, deadline - 0.5)
            keeper.tried.wait(max(0.0, until - time.monotonic()))

    def status(self, deadline: float) -> list[dict[str, Any]]:
        """Every switch as it is now."""
        self.await_tried(deadline, most_s=2.0)
        return [keeper.status() for keeper in self]
