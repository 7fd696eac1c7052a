"""The image under test, and machines that end with the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "descriptors"))

from images.trial import Machine, start_machine  # noqa: E402
from images.vnf import VnfImage, build_image  # noqa: E402


@pytest.fixture(scope="session")
def image() -> VnfImage:
    """The built image; from ``build/images`` where it is current."""
    return build_image(ROOT / "build" / "images")


@pytest.fixture
def boot(image: VnfImage, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """``boot(name, user_data=, network_config=, nics=)`` starts a machine."""
    machines: list[Machine] = []

    def start(name: str, **seed: Any) -> Machine:
        machine = start_machine(image, tmp_path, name, **seed)
        machines.append(machine)
        return machine

    yield start
    for machine in machines:
        machine.stop()
