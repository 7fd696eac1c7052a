"""What the operator decides about assurance: one YAML file in the home, read again when it changes.

Everything has a default: plain faults heal by themselves from the start; what a detector infers only says what it
would have done, until the operator trusts it.
"""

from __future__ import annotations

import logging
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from manor.api.assure import HealAction
from manor.errors import ManorError
from manor.homefile import checked, loaded

__all__ = [
    "FILE",
    "AssuranceSettings",
    "DriftPolicy",
    "Mode",
    "Rule",
    "ServiceSettings",
    "SettingsFile",
    "Window",
    "read_settings",
]

FILE = "assurance.yaml"
_log = logging.getLogger("manor.assure")


class Mode(StrEnum):
    """How far a decision goes."""

    OFF = "off"
    """Nothing is decided; alarms are still raised."""
    SHADOW = "shadow"
    """It is recorded what would have been done."""
    ASK = "ask"
    """It waits for ``manor heal approve``."""
    AUTO = "auto"
    """It is done, within the budget."""


class DriftPolicy(StrEnum):
    """What is done where a service is not as it should be, beside healing what is dead."""

    IGNORE = "ignore"
    """Nothing: it is not even looked for."""
    REPORT = "report"
    """It is an alarm."""
    REPAIR = "repair"
    """It is an alarm, and an operation brings it back, as healing would: within budget, lock, window and mode."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Window(_Settings):
    """A maintenance window: alarms are raised, nothing is healed."""

    begin: datetime
    """A time without a zone is the machine's local time."""
    end: datetime


class ServiceSettings(_Settings):
    """What differs for one service."""

    static_mode: Mode | None = None
    learned_mode: Mode | None = None
    drift: DriftPolicy | None = None
    locked: bool = False
    """Nothing is healed until this is taken away."""
    maintenance: tuple[Window, ...] = ()


class Rule(_Settings):
    """What is done about some alarms, whatever the policy would say. Names and causes may have ``*`` in them."""

    cause: str
    """Of the alarm, as ``manor alarm list`` shows it: ``node-stopped``, ``threshold-crossed v_cpu_usage_mean_vnf``."""
    action: HealAction
    service: str = "*"
    vnf: str = "*"
    aspect: str = ""
    """For ``scale-out``: the VNF's scaling aspect; empty for one more VNF of the kind."""


class Targets(_Settings):
    """A file for Prometheus's ``file_sd_configs`` that is kept fresh."""

    file: Path
    listen: str = "127.0.0.1:9740"
    """Where ``manor serve --metrics`` answers."""
    exporter: int = Field(default=0, ge=0, le=65535)
    """Port of an exporter that each VNFC has; 0 for none."""


class AssuranceSettings(_Settings):
    """All of ``assurance.yaml``."""

    enabled: bool = True
    observe_s: float = Field(default=1.0, gt=0, le=60)
    """How often the VIMs are asked for the state of machines; less often where an answer takes long."""
    collect_s: float = Field(default=5.0, gt=0, le=300)
    """Period of KPIs, of flow counters and of the state of links and chains."""
    heartbeat_s: float = Field(default=10.0, gt=0)
    """How often each guest agent is asked whether it is there."""
    guest_s: float = Field(default=15.0, ge=1, le=300)
    """How often each guest is asked for its own KPIs and its VNF's indicators."""
    scrape: bool = False
    """Whether exporters that VNFDs declare are asked over the network, at the VNFs' management addresses."""
    probe_s: float = Field(default=30.0, ge=0, le=3600)
    """How often marked frames are sent along each chain; 0 for never."""
    heartbeat_lost_s: float = Field(default=45.0, gt=0)
    """Silence of a guest agent that had answered, after which its heartbeat is lost."""
    degraded_s: float = Field(default=15.0, ge=0)
    """How long a link, a chain, a machine on hold or a silent endpoint has to last before it is an alarm."""
    clear_s: float = Field(default=5.0, ge=0)
    """How long a fault has to be gone before its alarm clears."""

    drift: DriftPolicy = DriftPolicy.REPORT
    drift_s: float = Field(default=60.0, ge=1, le=86_400)
    """How often each service is compared with what is real; more seldom where that takes long."""

    static_mode: Mode = Mode.AUTO
    """For what is plainly seen: a machine that is gone, a heartbeat that is lost."""
    learned_mode: Mode = Mode.SHADOW
    """For what a detector infers. Even in ``auto`` it needs an independent confirmation."""
    services: dict[str, ServiceSettings] = Field(default_factory=dict)
    """By the service's name."""

    rules: tuple[Rule, ...] = ()
    """The operator's own; the first that fits an alarm is followed."""

    detector: str = "combined"
    """Empty for none."""
    detector_settings: dict[str, Any] = Field(default_factory=dict)
    policy: str = "cautious"
    policy_settings: dict[str, Any] = Field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of further telemetry sources, by the name of their kind."""
    prometheus: str = Field(default="", pattern=r"^(https?://[^/\s]+.*)?$")
    """Base URL of a Prometheus that scrapes this ``serve``: then KPIs are kept there alone, and read from there."""

    targets: Targets | None = None
    """For a Prometheus that scrapes this ``serve``; none where it is not said."""

    heals_per_resource_hour: int = Field(default=4, ge=0)
    heals_per_vnf_hour: int = Field(default=5, ge=0)
    heals_per_service_hour: int = Field(default=6, ge=0)
    heals_per_site_hour: int = Field(default=20, ge=0)
    """Of all that one VIM holds."""
    heals_per_hour: int = Field(default=30, ge=0)
    """Of the whole installation. Each budget counts operations that were begun; this one and that of a site count those
    of one host that was emptied once."""
    cool_down_s: float = Field(default=30.0, ge=0)
    """Least time between two heals of one resource."""
    blast_radius: float = Field(default=0.5, gt=0, le=1)
    """Most of those that stand in for each other (machines of a VDU, functions at one position of a chain) that may be
    out of service at once by our doing; one always may."""
    held_s: float = Field(default=600.0, ge=0)
    """How long a heal is held back before its alarm is handed to a person; a lock or a window holds it for ever."""
    helped_within_s: float = Field(default=60.0, ge=0)
    """An alarm that is still there so long after a heal was not helped by it: that heal is not repeated."""
    keep_days: float = Field(default=90.0, gt=0)
    """How long cleared alarms and decisions are kept."""

    def mode(self, service: str, *, learned: bool) -> Mode:
        """How far decisions about a service go."""
        own = self.services.get(service, ServiceSettings())
        return (own.learned_mode or self.learned_mode) if learned else (own.static_mode or self.static_mode)

    def drift_of(self, service: str) -> DriftPolicy:
        """What is done about a service's drift."""
        return self.services.get(service, ServiceSettings()).drift or self.drift

    def hold(self, service: str, now_s: float) -> str:
        """Why nothing may be healed in a service now; empty where it may."""
        own = self.services.get(service, ServiceSettings())
        if own.locked:
            return f"{service} is locked in {FILE}"
        for window in own.maintenance:
            if window.begin.timestamp() <= now_s < window.end.timestamp():
                return f"{service} is in maintenance until {window.end:%Y-%m-%d %H:%M}"
        return ""


def read_settings(home: Path) -> AssuranceSettings:
    """The file's settings, or the defaults where there is no file. Raises UsageError naming what is wrong in it."""
    path = home / FILE
    return checked(AssuranceSettings, loaded(path), path, hint="docs/assurance.md lists the settings")


class SettingsFile:
    """The file, read again whenever it has changed. A mistake in it is told, and what it said before stays in force."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._taken: tuple[int, int] | None = None
        self._looked: tuple[int, int] | None = None
        self.now = AssuranceSettings()

    def read(self) -> AssuranceSettings:
        """The settings that are in force now."""
        stamp, before = self._stamp(), self._looked
        self._looked = stamp
        # Who saves it may empty it, or put it aside, for a moment: what it forbids is not allowed meanwhile.
        is_saved = stamp[1] > 0 or stamp == before or self._taken is None
        if stamp != self._taken and is_saved:
            settings, mistake = self.now, ""
            try:
                settings = read_settings(self._home)
            except ManorError as error:
                mistake = error.message
            if self._stamp() == stamp:  # else what was read may be half of it
                self._taken, self.now = stamp, settings
                if mistake:
                    _log.error("%s; the settings before stay in force", mistake)
        return self.now

    def _stamp(self) -> tuple[int, int]:
        """When it was written last, and its size; zeros where it is not there."""
        try:
            stat = (self._home / FILE).stat()
        except OSError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_size
