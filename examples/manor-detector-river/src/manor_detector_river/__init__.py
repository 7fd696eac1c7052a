"""A detector for Manor. This module only registers: what is heavy is imported when something is used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from manor.api import DetectorType, hookimpl

from manor_detector_river.config import RiverConfig

if TYPE_CHECKING:
    from manor.api import Detector

__all__ = ["manor_detectors"]


def _create(config: RiverConfig) -> Detector:
    from manor_detector_river.detector import RiverDetector

    return RiverDetector(config)


@hookimpl
def manor_detectors() -> Iterable[DetectorType]:
    """What this plugin provides. Called once per process; has to give equal records each time."""
    yield DetectorType(
        name="river",
        summary="Half-space trees on each VNF's KPIs, learned online (river)",
        config=RiverConfig,
        create=_create,
    )
