"""The VIM kit on the fake VIM: in memory, in a file shared by processes, and with less than every capability."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.api import Vim, VimCapability
from manor.fakes import FakeVim, World
from manor.testing import FakeVimWorld, VimConformance, VimSpecs, VimWorld, vim_machine


class TestFakeVim(VimConformance):
    @pytest.fixture
    def platform(self) -> World:
        return World()

    @pytest.fixture
    def driver(self, platform: World) -> Vim:
        return FakeVim(platform)

    @pytest.fixture
    def specs(self, tmp_path: Path) -> VimSpecs:
        return VimSpecs(owner="manor/test", host="host-1", workdir=tmp_path, boots=True)

    @pytest.fixture
    def world(self, platform: World) -> VimWorld:
        return FakeVimWorld(platform)


class TestFakeVimInAFile(TestFakeVim):
    @pytest.fixture
    def platform(self, tmp_path: Path) -> World:
        return World(state_file=tmp_path / "world.json")

    @pytest.fixture
    def driver(self, tmp_path: Path, platform: World) -> Vim:
        return FakeVim(World(state_file=tmp_path / "world.json"))


class TestFakeVimWithoutFrills(TestFakeVim):
    @pytest.fixture
    def driver(self, platform: World) -> Vim:
        kinds = {VimCapability.NODE, VimCapability.NETWORK, VimCapability.VOLUME, VimCapability.IMAGE}
        return FakeVim(platform, unsupported=set(VimCapability) - kinds)


class TestFakeVimWithoutVolumes(TestFakeVim):
    @pytest.fixture
    def driver(self, platform: World) -> Vim:
        return FakeVim(platform, unsupported={VimCapability.VOLUME, VimCapability.IMAGE})


def _fresh(directory: Path) -> tuple[Vim, VimSpecs]:
    return FakeVim(), VimSpecs(owner="manor/test", host="host-1", workdir=directory)


TestRandomVerbs = vim_machine(_fresh)
