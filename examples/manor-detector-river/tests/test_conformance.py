"""Manor's contract of a detector, on ours."""

import pytest
from manor.testing import DetectorConformance, DetectorSpecs

from manor_detector_river.config import RiverConfig
from manor_detector_river.detector import RiverDetector


class TestRiverDetector(DetectorConformance):
    @pytest.fixture
    def create(self):
        return lambda: RiverDetector(RiverConfig())

    @pytest.fixture
    def specs(self):
        return DetectorSpecs(warmup_rows=220, memory_rows=1000)
