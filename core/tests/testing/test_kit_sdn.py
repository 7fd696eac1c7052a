"""The SDN kit on the fake controller, alone and with less than every capability."""

from __future__ import annotations

import pytest

from manor.api import Sdn, SdnCapability
from manor.fakes import FakeHost, FakeSdn, World
from manor.testing import SdnConformance, SdnSpecs


class TestFakeSdn(SdnConformance):
    @pytest.fixture
    def platform(self) -> World:
        return World(hosts=[FakeHost(name="host-1"), FakeHost(name="host-2")])

    @pytest.fixture
    def driver(self, platform: World) -> Sdn:
        return FakeSdn(platform)

    @pytest.fixture
    def stranger(self, platform: World) -> Sdn | None:
        return FakeSdn(platform, owner="manor/stranger")

    @pytest.fixture
    def specs(self) -> SdnSpecs:
        return SdnSpecs(owner="manor/test")


class TestFakeSdnWithoutFrills(TestFakeSdn):
    @pytest.fixture
    def driver(self, platform: World) -> Sdn:
        return FakeSdn(platform, unsupported=set(SdnCapability) - {SdnCapability.SEGMENT})
