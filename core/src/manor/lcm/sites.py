"""The operator's sites: which VIM is where, and what lies between. One YAML file in the home, no file for no sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manor.api import Candidate, Demand, SiteLink
from manor.errors import UsageError
from manor.homefile import checked, loaded

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "FILE",
    "PLACEMENT_FILE",
    "Site",
    "Sites",
    "placement_settings",
    "read_placement",
    "read_sites",
    "spans",
    "spent",
]

FILE = "sites.yaml"
PLACEMENT_FILE = "placement.yaml"
_MBIT = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """An NFVI-PoP."""

    vims: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the operator says of it; hosts there carry them too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sites:
    """All of ``sites.yaml``."""

    sites: Mapping[str, Site] = field(default_factory=dict)
    links: Mapping[tuple[str, str], SiteLink] = field(default_factory=dict)
    """By the two sites in order."""

    def of(self, vim: str) -> str:
        """The site of a VIM, empty where none is said."""
        return next((name for name, site in self.sites.items() if vim in site.vims), "")

    def located(self, candidate: Candidate, spent: Mapping[tuple[str, str], int]) -> Candidate:
        """The host with its site, the site's labels, and what is free of the ways from there."""
        name = self.of(candidate.vim)
        if not name:
            return candidate
        ways = {
            (two if one == name else one): replace(link, bandwidth_bps=link.bandwidth_bps - spent.get((one, two), 0))
            for (one, two), link in self.links.items()
            if name in (one, two)
        }
        host = replace(candidate.host, labels={**self.sites[name].labels, **candidate.host.labels})
        return replace(candidate, host=host, site=name, site_links=ways)


def spans(demands: tuple[Demand, ...], placed: Mapping[str, tuple[str, str]], sites: Sites) -> dict[str, int]:
    """bit/s that a service holds of the ways between sites, by ``<site> <site>`` in order."""
    reached: dict[str, set[str]] = {}
    wanted: dict[str, int] = {}
    for demand in demands:
        vim = placed[demand.key][0]
        for need in demand.links:
            reached.setdefault(need.name, set()).add(sites.of(vim) or vim)
            wanted[need.name] = need.bitrate_bps
    found: dict[str, int] = {}
    for name, members in reached.items():
        for one in members:
            for two in members:
                if one < two and wanted[name]:
                    found[f"{one} {two}"] = found.get(f"{one} {two}", 0) + wanted[name]
    return found


def spent(tx: Connection, *, but_ns: str) -> dict[tuple[str, str], int]:
    """bit/s that the other services hold of each way between sites, or will once what they are at has ended."""
    from manor.store import instances, operations

    now, soon = instances.site_spans(tx, but_ns=but_ns), operations.site_spans(tx, but_ns=but_ns)
    found: dict[tuple[str, str], int] = {}
    for service in now.keys() | soon.keys():
        here, there = now.get(service, {}), soon.get(service, {})
        for way in here.keys() | there.keys():
            one, _, two = way.partition(" ")
            found[one, two] = found.get((one, two), 0) + max(int(here.get(way, 0)), int(there.get(way, 0)))
    return found


def read_sites(home: Path) -> Sites:
    """The file's sites, none where there is no file. Raises UsageError naming what is wrong in it."""
    content = loaded(home / FILE)
    return _checked(content, home / FILE) if content else Sites()


def placement_settings(home: Path, policy: str) -> Mapping[str, Any]:
    """The operator's settings of a placement policy: its part of ``placement.yaml``."""
    return read_placement(home).get(policy, {})


def read_placement(home: Path) -> Mapping[str, Mapping[str, Any]]:
    """All of ``placement.yaml``. Raises UsageError where it is not settings by policy."""
    content = loaded(home / PLACEMENT_FILE)
    if not isinstance(content, dict) or not all(isinstance(own, dict) for own in content.values()):
        raise UsageError(f"{home / PLACEMENT_FILE}: not settings by policy", hint="as: balanced: {cpu_overcommit: 4}")
    return content


def _checked(content: Any, path: Path) -> Sites:
    from pydantic import BaseModel, ConfigDict, Field

    class _SiteFile(BaseModel):
        model_config = ConfigDict(extra="forbid")
        vims: list[str] = Field(default_factory=list)
        labels: dict[str, str] = Field(default_factory=dict)

    class _LinkFile(BaseModel):
        model_config = ConfigDict(extra="forbid")
        between: tuple[str, str]
        latency_ms: float = Field(default=0.0, ge=0)
        bandwidth_mbps: float = Field(default=0.0, ge=0)

    class _File(BaseModel):
        model_config = ConfigDict(extra="forbid")
        sites: dict[str, _SiteFile]
        links: list[_LinkFile] = Field(default_factory=list)

    file = checked(_File, content, path, hint="docs/operating.md shows one")
    owner: dict[str, str] = {}
    for name, site in file.sites.items():
        if not name or " " in name:
            raise UsageError(f"{path}: '{name}' is no name of a site", hint="one word")
        for vim in site.vims:
            if owner.setdefault(vim, name) != name:
                raise UsageError(f"{path}: VIM {vim} is at {owner[vim]} and at {name}", hint="name it once")
    links: dict[tuple[str, str], SiteLink] = {}
    for link in file.links:
        one, two = sorted(link.between)
        for end in (one, two):
            if end not in file.sites:
                raise UsageError(f"{path}: a link names the site {end}, which is not there", hint="add it to sites")
        if one == two:
            raise UsageError(f"{path}: a link joins {one} to itself", hint="name two sites")
        links[one, two] = SiteLink(latency_s=link.latency_ms / 1e3, bandwidth_bps=int(link.bandwidth_mbps * _MBIT))
    return Sites(
        sites={name: Site(vims=tuple(site.vims), labels=site.labels) for name, site in file.sites.items()}, links=links
    )
