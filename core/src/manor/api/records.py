"""What provider hooks return: frozen records that name a thing and say how to get it.

``connect`` and ``create`` are called later, so heavy imports belong inside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manor.api.context import CallContext, DriverEnvironment

if TYPE_CHECKING:
    from pydantic import BaseModel

    from manor.api.assure import Detector, HealPolicy
    from manor.api.placement import PlacementPolicy
    from manor.api.sdn import Sdn
    from manor.api.telemetry import TelemetrySource
    from manor.api.vim import Vim
    from manor.api.vnfm import Vnfm

__all__ = [
    "CliCommand",
    "DescriptorFormat",
    "DetectorType",
    "DoctorCheck",
    "Finding",
    "HealPolicyType",
    "PlacementPolicyType",
    "SdnDriver",
    "Severity",
    "TelemetrySourceType",
    "VimDriver",
    "VnfmDriver",
    "is_legal_name",
]

_NAME = re.compile(r"[a-z][a-z0-9-]{1,38}")


def is_legal_name(name: str) -> bool:
    """Whether a record may carry this name: lower case letters, digits and dashes, 2 to 39 of them."""
    return _NAME.fullmatch(name) is not None


class Severity(StrEnum):
    """An ERROR refuses, a WARNING is worth a look, INFO names what Manor keeps but does not act on."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing found in a descriptor, a plan or on a host."""

    severity: Severity
    code: str
    """Stable and short, as ``toscatype-unknown``."""
    message: str
    file: str = ""
    line: int = 0
    """1-based; 0 where there is none."""
    column: int = 0
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VimDriver:
    """A kind of VIM."""

    name: str
    summary: str
    config: type[BaseModel]
    connect: Callable[[Any, DriverEnvironment], Vim]
    replace_on: frozenset[str] = frozenset()
    """Spec fields (as ``node.firmware``) whose change means remove and create, so that a plan says "replace"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SdnDriver:
    """A kind of SDN controller."""

    name: str
    summary: str
    config: type[BaseModel]
    connect: Callable[[Any, DriverEnvironment], Sdn]


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfmDriver:
    """A kind of VNF manager; ``vnfm_info`` patterns of VNFDs choose by name."""

    name: str
    summary: str
    config: type[BaseModel]
    connect: Callable[[Any, DriverEnvironment], Vnfm]


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetrySourceType:
    """A kind of telemetry source."""

    name: str
    summary: str
    config: type[BaseModel]
    connect: Callable[[Any, DriverEnvironment], TelemetrySource]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorType:
    """A kind of detector."""

    name: str
    summary: str
    config: type[BaseModel]
    create: Callable[[Any], Detector]


@dataclass(frozen=True, kw_only=True, slots=True)
class HealPolicyType:
    """A kind of heal policy."""

    name: str
    summary: str
    config: type[BaseModel]
    create: Callable[[Any], HealPolicy]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementPolicyType:
    """A kind of placement policy."""

    name: str
    summary: str
    config: type[BaseModel]
    create: Callable[[Any], PlacementPolicy]


@dataclass(frozen=True, kw_only=True, slots=True)
class DescriptorFormat:
    """A descriptor language beside SOL001 and SOL006.

    ``recognise`` says from a parsed document whether it is of this format; ``translate`` turns it into a SOL001
    service template (JSON values), which core then reads like any other.
    """

    name: str
    summary: str
    recognise: Callable[[Mapping[str, Any], Path], bool]
    translate: Callable[[Mapping[str, Any], Path], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CliCommand:
    """A command group mounted at ``manor <name>``; imported only when run."""

    name: str
    help: str
    target: str
    """``package.module:app`` of a Typer application."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorCheck:
    """A check of the machine for ``manor doctor``. No finding above INFO means healthy."""

    name: str
    summary: str
    check: Callable[[CallContext], Iterable[Finding]]
    fix: Callable[[CallContext], None] | None = None
    """Mends what the check finds, where that is safe; called by ``manor doctor --fix``."""
    detail: Mapping[str, str] = field(default_factory=dict)
