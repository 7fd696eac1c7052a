"""What all kits share: deviations are declared, never smuggled, and a test that needs a capability says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from manor.api import CallContext, Capabilities, Support

__all__ = ["Conformance", "kit_tests", "require"]


class Conformance:
    """Base of the kits. Authors subclass a kit, give its fixtures, and declare what cannot hold."""

    deviations: ClassVar[Mapping[str, str]] = {}
    """Why a kit test cannot hold for this driver, by test name. Such a test must then fail (a strict xfail)."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raises TypeError where the class is marked away as a whole, for then its tests could not say so."""
        super().__init_subclass__(**kwargs)
        marks = vars(cls).get("pytestmark", [])
        for mark in marks if isinstance(marks, list) else [marks]:
            if mark.name in ("skip", "xfail"):
                raise TypeError(f"{cls.__name__} is marked {mark.name}: declare tests in deviations instead")

    @pytest.fixture(autouse=True)
    def _deviation(self, request: pytest.FixtureRequest) -> None:
        """A declared deviation has to fail, so that it is taken back once it holds."""
        name = getattr(request.node, "originalname", request.node.name)
        reason = self.deviations.get(name, "")
        if reason.strip() and name != "test_kit_is_whole":
            request.applymarker(pytest.mark.xfail(reason=f"declared deviation: {reason}", strict=True))

    def test_kit_is_whole(self) -> None:
        """No kit test is overridden, taken away, skipped or marked away; deviations name real tests and say why."""
        cheats = []
        for name, kit in kit_tests(type(self)).items():
            if getattr(type(self), name, None) is not vars(kit)[name]:
                cheats.append(f"{name} is overridden; declare it in deviations")
        for name, reason in self.deviations.items():
            if name not in kit_tests(type(self)):
                cheats.append(f"deviations names {name}, which is no test of this kit")
            if not reason.strip():
                cheats.append(f"deviations gives no reason for {name}")
            if name == "test_kit_is_whole":
                cheats.append("deviations cannot take this very test away")
        assert not cheats, "\n".join(cheats)


def kit_tests(cls: type) -> dict[str, type]:
    """The tests that a class has from the kit, with the kit's class that holds each."""
    found: dict[str, type] = {}
    for base in cls.__mro__:
        if _of_kit(base):
            for name in vars(base):
                if name.startswith("test_"):
                    found.setdefault(name, base)
    return found


def _of_kit(cls: type) -> bool:
    return cls.__module__.startswith("manor.testing.")


def require(driver: Any, capability: str, ctx: CallContext) -> Capabilities:
    """Skip the test where the driver does not claim ``capability`` FULL: only what is claimed is tested."""
    capabilities: Capabilities = driver.capabilities(ctx)
    support = capabilities.has(capability)
    if support is not Support.FULL:
        pytest.skip(f"claims {capability} {support}")
    return capabilities
