"""The VNF manager protocol: what happens inside a VNF's machines. A manager creates no resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from manor.api.context import CallContext
from manor.api.vim import GuestResult

__all__ = ["BootData", "Guest", "Health", "Script", "Scripted", "VnfView", "VnfcView", "Vnfm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfcView:
    """One machine of a VNF, for reading."""

    key: str
    name: str
    vdu_id: str
    index: int
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """IP addresses with prefix length by connection point name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfView:
    """A VNF instance, for reading."""

    id: str
    name: str
    service: str
    vnfd_id: str
    flavour_id: str
    vnfcs: tuple[VnfcView, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    boot_templates: Mapping[str, str] = field(default_factory=dict)
    """Text of the boot data (cloud-init user-data) that the package carries, by VDU id."""
    day1: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Commands (argv) to run in each VNFC once it is up, by VDU id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BootData:
    """Day 0: what a machine finds when it first starts."""

    user_data: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Whether a VNF does its work, as far as its manager can see."""

    ready: bool
    reason: str = ""
    checks: Mapping[str, bool] = field(default_factory=dict)
    """Result by VNFC key."""


class Guest(Protocol):
    """The way into one VNFC, given by core where the VIM has it."""

    def ping(self, ctx: CallContext) -> bool:
        """Whether the agent inside answers."""
        ...

    def run(self, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        """Run a program inside and wait for it."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """A program of the package: a lifecycle script (``scale_end``), or a named action of day 2."""

    name: str
    kind: str
    """The artifact's type as the descriptor has it, or the file name's ending."""
    content: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    vdu_id: str = ""
    """Only in the machines of this VDU; empty for all."""


@runtime_checkable
class Scripted(Protocol):
    """Optional, of a VNF manager: run what the package brings along, inside."""

    def runs(self, kind: str) -> bool:
        """Whether scripts of this kind can be run. Pure."""
        ...

    def run_script(self, vnf: VnfView, guests: Mapping[str, Guest], script: Script, ctx: CallContext) -> None:
        """Run it in each machine that it is for, one after the other; ``guests`` is by VNFC key.

        It may be run again where Manor died in between. Raises Permanent where it fails.
        """
        ...


class Vnfm(Protocol):
    """Manages what is inside VNFs of the kinds it is named for in ``vnfm_info``."""

    def boot_data(self, vnf: VnfView, vnfc: VnfcView) -> BootData:
        """Day-0 data of one machine. Pure: equal input gives equal output."""
        ...

    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        """Day 1 and 2: bring the inside to what the view says. Idempotent. ``guests`` is by VNFC key."""
        ...

    def health(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> Health:
        """Whether the VNF is ready for service. Never mutates."""
        ...

    def quiesce(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        """Prepare for removal or healing: drain, flush, sign off. Absent machines are no error."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
