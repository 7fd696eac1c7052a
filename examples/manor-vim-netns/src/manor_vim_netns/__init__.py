"""A VIM for Manor. This module only registers: what is heavy is imported when something is used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from manor.api import DriverEnvironment, VimDriver, hookimpl

from manor_vim_netns.config import NetnsConfig

if TYPE_CHECKING:
    from manor.api import Vim

__all__ = ["manor_vim_drivers"]


def _connect(config: NetnsConfig, environment: DriverEnvironment) -> Vim:
    from manor_vim_netns.driver import NetnsVim

    return NetnsVim(config, environment)


@hookimpl
def manor_vim_drivers() -> Iterable[VimDriver]:
    """What this plugin provides. Called once per process; has to give equal records each time."""
    yield VimDriver(
        name="netns",
        summary="A VIM: netns",
        config=NetnsConfig,
        connect=_connect,
    )
