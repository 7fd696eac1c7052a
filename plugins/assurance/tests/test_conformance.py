"""The contracts of detectors, policies and plugins on what this distribution brings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from manor.api import Detector, HealPolicy
from manor.testing import (
    DetectorConformance,
    DetectorSpecs,
    HealPolicyConformance,
    PluginConformance,
)
from manor_assurance.config import CautiousConfig, CombinedConfig, LimitsConfig
from manor_assurance.detector import CombinedDetector
from manor_assurance.limits import LimitsDetector
from manor_assurance.policy import CautiousPolicy


class TestPlugin(PluginConformance):
    module = "manor_assurance"


@pytest.mark.slow
class TestCombined(DetectorConformance):
    @pytest.fixture
    def create(self) -> Callable[[], Detector]:
        return lambda: CombinedDetector(CombinedConfig())

    @pytest.fixture
    def specs(self) -> DetectorSpecs:
        return DetectorSpecs(warmup_rows=288, period_s=300.0, memory_rows=10_000)


class TestLimits(DetectorConformance):
    @pytest.fixture
    def create(self) -> Callable[[], Detector]:
        return lambda: LimitsDetector(LimitsConfig(above={"cpu": 115.0}, below={"sessions": 0.0}))

    @pytest.fixture
    def specs(self) -> DetectorSpecs:
        return DetectorSpecs(warmup_rows=0)


class TestCautious(HealPolicyConformance):
    @pytest.fixture
    def policy(self) -> HealPolicy:
        return CautiousPolicy(CautiousConfig())
