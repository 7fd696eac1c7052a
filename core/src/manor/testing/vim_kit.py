"""The VIM contract, as tests. Basic tests hold for every driver; a capability's run where it is claimed FULL.

Twice is once; absent is removed; ``observe`` never changes anything; nobody else's resources are touched; an error
says what to do next. A claim of UNSUPPORTED has to refuse, and to change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from manor.api import (
    CallContext,
    ResourceKind,
    Vim,
)
from manor.testing.conformance import Conformance
from manor.testing.vim_basic import VimBasicTests
from manor.testing.vim_capabilities import VimCapabilityTests
from manor.testing.vim_misfortune import VimMisfortuneTests
from manor.testing.vim_specs import VimSpecs
from manor.testing.vim_world import VimWorld

__all__ = ["VimConformance"]


class VimConformance(VimBasicTests, VimMisfortuneTests, VimCapabilityTests, Conformance):
    """Subclass it, and give the fixtures ``driver`` and ``specs``, and best ``world``."""

    @pytest.fixture
    def driver(self) -> Vim:
        """A connected driver, its owner tag ``specs.owner``."""
        raise NotImplementedError("give a fixture 'driver' that returns a connected Vim")

    @pytest.fixture
    def specs(self) -> VimSpecs:
        """What to ask it for."""
        raise NotImplementedError("give a fixture 'specs' that returns VimSpecs")

    @pytest.fixture
    def world(self) -> VimWorld:
        """What can be done behind its back."""
        return VimWorld()

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        """Passwords and the like that the driver was given; they may show nowhere."""
        return ()

    @pytest.fixture
    def ctx(self, specs: VimSpecs) -> CallContext:
        """A context for a few calls."""
        return CallContext.within(specs.deadline_s * 4)

    @pytest.fixture
    def vim(self, driver: Vim, specs: VimSpecs) -> Iterator[Vim]:
        """The driver, with all that the test made removed afterwards, which has to work."""
        yield driver
        ctx = CallContext.within(specs.deadline_s * 4)
        left = [observed.ref for observed in driver.observe(specs.everything(), ctx)]
        for kind in (
            ResourceKind.SNAPSHOT,
            ResourceKind.NODE,
            ResourceKind.VOLUME,
            ResourceKind.NETWORK,
            ResourceKind.IMAGE,
        ):
            for ref in left:
                if ref.kind is kind:
                    driver.remove(ref, ctx)
        assert not driver.observe(specs.everything(), ctx), "removed resources are still observed"
        driver.close()
