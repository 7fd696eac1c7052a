"""Core's own VNF manager and placement policy, held to what every author's are."""

from __future__ import annotations

import pytest

from manor.api import PlacementPolicy, Vnfm
from manor.nfvo.placement import Balanced
from manor.testing import PlacementConformance, PlacementSpecs, VnfmConformance
from manor.vnfm.generic import GenericVnfm


class TestGenericVnfm(VnfmConformance):
    @pytest.fixture
    def manager(self) -> Vnfm:
        return GenericVnfm()


class TestBalanced(PlacementConformance):
    @pytest.fixture
    def policy(self) -> PlacementPolicy:
        return Balanced()

    @pytest.fixture
    def specs(self) -> PlacementSpecs:
        return PlacementSpecs(parallel_machines=1000)


class TestQuick(PlacementConformance):
    """Without the solver."""

    @pytest.fixture
    def policy(self) -> PlacementPolicy:
        return Balanced(exact_up_to=0)
