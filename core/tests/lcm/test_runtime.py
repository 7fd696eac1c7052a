"""One process's connections: an endpoint that hangs keeps nobody from the others."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydantic import BaseModel

from manor.api import DriverEnvironment, VimDriver, hookimpl
from manor.errors import StoreError
from manor.fakes import FakeVim
from manor.lcm.runtime import open_runtime
from manor.model.instance import Endpoint, EndpointKind
from manor.plugin import Plugins, PluginSettings
from manor.store import endpoints


class _Settings(BaseModel):
    hangs: bool = False


class _Hanging:
    def __init__(self) -> None:
        self.begun, self.answered = threading.Event(), threading.Event()

    def connect(self, settings: _Settings, env: DriverEnvironment) -> FakeVim:
        if settings.hangs:
            self.begun.set()
            assert self.answered.wait(60.0)
        return FakeVim(owner=env.owner)

    @hookimpl
    def manor_vim_drivers(self) -> Iterable[VimDriver]:
        yield VimDriver(name="slow", summary="", config=_Settings, connect=self.connect)


def test_a_connection_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    plugin = _Hanging()
    plugins = Plugins(extra={"slow": plugin}, entry_points=False, settings=PluginSettings())
    with open_runtime(tmp_path, plugins=plugins) as rt:
        with rt.store.begin() as tx:
            for name in ("hangs", "well"):
                config = {"hangs": name == "hangs"}
                endpoints.add(tx, Endpoint(kind=EndpointKind.VIM, name=name, driver="slow", config=config))
        waiting = threading.Thread(target=rt.vim, args=("hangs",))
        waiting.start()
        assert plugin.begun.wait(60.0)
        assert rt.vim("well") is rt.vim("well")
        assert rt.url
        plugin.answered.set()
        waiting.join(60.0)
        assert rt.vim("hangs") is rt.vim("hangs")


def test_who_outlives_an_installation_does_not_open_it_again(tmp_path: Path) -> None:
    with open_runtime(tmp_path) as rt:
        assert rt.owner
    with pytest.raises(StoreError, match="closed"):
        rt.owner  # noqa: B018
