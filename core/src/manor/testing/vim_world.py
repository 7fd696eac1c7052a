"""What the kit may do behind a driver's back. Give what the platform allows; the rest of the tests skip, and say so."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

import pytest

from manor.api import Observed, Vim

__all__ = ["VimWorld"]


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

    def inventory(self) -> Collection[str]:
        """Names of everything that the platform holds, ours or not: machines, files, interfaces."""
        self._cannot("list the platform")

    def _cannot(self, what: str) -> NoReturn:
        pytest.skip(f"the world fixture of this driver cannot {what}")
