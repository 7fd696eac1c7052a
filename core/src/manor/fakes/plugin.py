"""The fakes as drivers named ``fake``, through the same door as everybody's."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from manor.api import DriverEnvironment, Sdn, SdnDriver, Vim, VimDriver, hookimpl
from manor.fakes.rules import REPLACE_ON
from manor.fakes.sdn import FakeSdn
from manor.fakes.vim import FakeVim
from manor.fakes.world import FakeHost, World


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class HostSettings(_Settings):
    """A host of the fake platform."""

    name: str
    vcpus: int = 64
    memory_bytes: int = 256 << 30
    storage_bytes: int = 4 << 40
    zone: str = ""
    lacks: dict[str, str] = Field(default_factory=dict)
    """Capabilities that cannot be had on it, and why."""
    hugepages_bytes: dict[int, int] = Field(default_factory=lambda: {2 << 20: 16 << 30})
    """Memory set aside as huge pages, by the size of a page."""
    outside: tuple[str, ...] = ()
    """Devices of its switch behind which the outside is."""


class WorldSettings(_Settings):
    """Where the fake platform is kept."""

    state_file: str = "world.json"
    """File in the endpoint's state directory, or an absolute path to share one platform among endpoints and processes;
    empty keeps it in memory, and it ends with the connection."""
    hosts: list[HostSettings] = Field(default_factory=lambda: [HostSettings(name="host-1")])
    """Taken when the platform is first made."""

    def world(self, environment: DriverEnvironment) -> World:
        """The platform that these settings mean."""
        return World(
            hosts=[FakeHost(**host.model_dump()) for host in self.hosts],
            state_file=environment.state_dir / self.state_file if self.state_file else None,
        )


class VimSettings(WorldSettings):
    """A fake VIM."""

    boot_s: float = 0.0
    """How long a node takes until its guest answers."""
    unsupported: list[str] = Field(default_factory=list)
    """Capabilities to refuse."""


class SdnSettings(WorldSettings):
    """A fake controller. Give it the state file of a fake VIM to make it see that VIM's nodes."""

    follow_nodes: bool = False
    """Only ports of running nodes are there; needs the VIM's state file."""
    unsupported: list[str] = Field(default_factory=list)
    """Capabilities to refuse."""


def connect_vim(settings: VimSettings, environment: DriverEnvironment) -> Vim:
    """A connection to the fake platform."""
    return FakeVim(
        settings.world(environment),
        owner=environment.owner,
        unsupported=settings.unsupported,
        boot_s=settings.boot_s,
    )


def connect_sdn(settings: SdnSettings, environment: DriverEnvironment) -> Sdn:
    """A connection to the fake platform's switches."""
    return FakeSdn(
        settings.world(environment),
        owner=environment.owner,
        unsupported=settings.unsupported,
        follow_nodes=settings.follow_nodes,
    )


@hookimpl
def manor_vim_drivers() -> Iterable[VimDriver]:
    yield VimDriver(
        name="fake",
        summary="An in-memory VIM for trials and tests; nothing real is made",
        config=VimSettings,
        connect=connect_vim,
        replace_on=REPLACE_ON,
    )


@hookimpl
def manor_sdn_drivers() -> Iterable[SdnDriver]:
    yield SdnDriver(
        name="fake",
        summary="An in-memory controller for trials and tests; no switch is touched",
        config=SdnSettings,
        connect=connect_sdn,
    )
