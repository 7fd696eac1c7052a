"""What the kit may do behind a driver's back. Give what the platform allows; the rest of the tests skip, and say so."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn

import pytest

from manor.api import Observed, Vim
from manor.fakes import FakeHost, FakeVim, World

__all__ = ["FakeVimWorld", "VimWorld"]


class VimWorld:
    """Override what can be done on this platform, without the driver's help."""

    def stop(self, observed: Observed) -> None:  # noqa: ARG002
        """Kill the machine of a node, as a crash would; its definition stays."""
        self._cannot("stop a node")

    def destroy(self, observed: Observed) -> None:  # noqa: ARG002
        """Take a resource away altogether, as another administrator would."""
        self._cannot("destroy a resource")

    def disconnect(self) -> None:
        """Break the driver's connection to the platform; the platform goes on."""
        self._cannot("break the connection")

    def stranger(self) -> Vim:
        """A connection to the same platform under another owner tag, ``manor/stranger``."""
        self._cannot("connect as another owner")

    def beside_a_dead_host(self, owner: str, dead: str) -> AbstractContextManager[Vim]:  # noqa: ARG002
        """A connection to the same platform where one host more, ``dead``, belongs to it and does not answer."""
        self._cannot("have a host that is dead")

    def inventory(self) -> Collection[str]:
        """Names of everything that the platform holds, ours or not: machines, files, interfaces."""
        self._cannot("list the platform")

    def _cannot(self, what: str) -> NoReturn:
        pytest.skip(f"the world fixture of this driver cannot {what}")


class FakeVimWorld(VimWorld):
    """Everything can be done to a fake; an example for others."""

    def __init__(self, world: World) -> None:
        self._world = world

    def stop(self, observed: Observed) -> None:
        """The node crashes."""
        self._world.stop(observed.ref.key)

    def destroy(self, observed: Observed) -> None:
        """The resource is gone."""
        self._world.destroy(observed.ref.key)

    def disconnect(self) -> None:
        """A fake has no connection to lose."""

    def stranger(self) -> Vim:
        """Another owner in the same world."""
        return FakeVim(self._world, owner="manor/stranger")

    @contextmanager
    def beside_a_dead_host(self, owner: str, dead: str) -> Iterator[Vim]:
        """The same world with a host more, for so long."""
        with self._world.look() as state:
            hosts = state.hosts
        self._world.set_hosts(FakeHost(name=dead, reachable=False), *hosts)
        try:
            yield FakeVim(self._world, owner=owner)
        finally:
            self._world.set_hosts(*hosts)

    def inventory(self) -> Collection[str]:
        """All natives, of whomever."""
        return [native.native_id for native in self._world.natives()]
